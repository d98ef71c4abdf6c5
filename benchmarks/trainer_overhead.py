"""What the Trainer costs beside a bare loop: SimpleCNN on MNIST on a CPU, in alternating pairs.

    DL_COURSE_DATA=… python benchmarks/trainer_overhead.py

The bare loop has no figures at all, no check and no history. Both run the same steps on the same pictures
from the same loader. Exits 1 where the median of the pairs' ratios is above 1.03.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F

from dl_course import data
from dl_course.models import SimpleCNN
from dl_course.runtime import preserved_rng
from dl_course.training import Trainer

PAIRS, STEPS, BATCH = 21, 60, 64


def bare(model, loader, optimizer) -> None:
    for images, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()


def trainer(model, loader, optimizer) -> None:
    Trainer(model, loader, loss_fn=F.cross_entropy, optimizer=optimizer, device="cpu").fit(1)


def seconds(run, pictures) -> float:
    with preserved_rng(0):
        model = SimpleCNN()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = data.loader(pictures, BATCH, shuffle=True)
    start = time.perf_counter()
    run(model, loader, optimizer)
    return time.perf_counter() - start


def main() -> int:
    pictures = data.load("mnist", download=False, fallback="digits")
    pictures = pictures.subset(torch.arange(STEPS * BATCH) % len(pictures))
    ratios = []
    for pair in range(PAIRS + 1):
        order = (bare, trainer) if pair % 2 else (trainer, bare)
        took = {run: seconds(run, pictures) for run in order}
        ratios.append(took[trainer] / took[bare])
    ratios = ratios[1:]  # the first warms up
    ratio = statistics.median(ratios)
    print(f"{pictures}; {STEPS} steps of {BATCH}, bare {1e3 * took[bare] / STEPS:.1f} ms a step")
    print(f"Trainer / bare loop: median {ratio:.3f} of {PAIRS} pairs (<= 1.03 asked for)", end="; ")
    print("quartiles {:.3f}, {:.3f}, {:.3f}".format(*statistics.quantiles(ratios)))
    return int(ratio > 1.03)


if __name__ == "__main__":
    sys.exit(main())
