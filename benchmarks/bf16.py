"""bf16 beside fp32: the Trainer's seconds for the same steps, in alternating pairs; reports, demands nothing.

    python benchmarks/bf16.py

What is won depends on the processor: on a CPU only one with AVX512_BF16 or AMX computes in bf16 itself.
"""

import statistics
import time

import torch
from torch import nn

from dl_course import data
from dl_course.models import resnet18
from dl_course.runtime import pick_device, preserved_rng
from dl_course.training import Trainer

PAIRS, STEPS, BATCH = 7, 4, 16


def seconds(precision: str, pictures: data.Pictures) -> float:
    with preserved_rng(0):
        model = resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loader = data.loader(pictures, BATCH)
    trainer = Trainer(model, loader, loss_fn=nn.CrossEntropyLoss(), optimizer=optimizer, precision=precision)
    start = time.perf_counter()
    trainer.fit(1)
    return time.perf_counter() - start


def main() -> None:
    images = torch.randint(0, 256, (STEPS * BATCH, 3, 64, 64), dtype=torch.uint8)
    labels = torch.arange(len(images)) % 10
    pictures = data.Pictures("random", images, labels, "0123456789", (0.5,), (0.3,))
    seconds("bf16", pictures), seconds("fp32", pictures)
    pairs = [(seconds("fp32", pictures), seconds("bf16", pictures)) for _ in range(PAIRS)]
    ratio = statistics.median(fp32 / bf16 for fp32, bf16 in pairs)
    native = torch.cpu._is_avx512_bf16_supported() if pick_device().type == "cpu" else "-"
    print(f"resnet18 on 64×64, {pick_device()}, {torch.get_num_threads()} threads, bf16 in the CPU: {native}")
    print(f"fp32 takes {ratio:.2f} times as long as bf16 (median of {PAIRS} pairs)")


if __name__ == "__main__":
    main()
