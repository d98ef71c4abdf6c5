"""The loader beside a torch DataLoader without workers: pictures a second on MNIST, in turns.

    DL_COURSE_DATA=… python benchmarks/loader.py

Exits 1 where ours isn't ten times as fast. Without MNIST it takes random pictures of that size.
"""

import statistics
import sys
import time

import torch
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from dl_course import data
from dl_course.files import DataUnavailable, data_root

BATCH, ROUNDS = 64, 5


def main() -> int:
    ours, theirs = sources()
    pairs = [(pictures_per_second(ours), pictures_per_second(theirs)) for _ in range(ROUNDS)]
    for name, rates in zip(
        ("dl_course.data.loader", "torch DataLoader"), zip(*pairs, strict=True), strict=True
    ):
        print(f"{name:<24} {statistics.median(rates):>12,.0f} pictures/s")
    ratio = statistics.median(one / other for one, other in pairs)
    print(f"{'ratio':<24} {ratio:>12.1f} (>= 10 asked for)")
    return int(ratio < 10)


def sources():
    """Return both loaders of the same pictures, each as its user would write it."""
    to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    try:
        pictures = data.load("mnist", download=False)
        raw = datasets.MNIST(data_root(), transform=to_tensor)
    except DataUnavailable:
        print("MNIST isn't here: random pictures of its size instead")
        images = torch.randint(0, 256, (54_000, 1, 28, 28), dtype=torch.uint8)
        pictures = data.Pictures(
            "random", images, torch.randint(0, 10, (54_000,)), "0123456789", (0.5,), (0.3,)
        )
        raw = pictures
    return data.loader(pictures, BATCH, shuffle=True), DataLoader(raw, BATCH, shuffle=True)


def pictures_per_second(loader) -> float:
    start, count = time.perf_counter(), 0
    for x, _ in loader:
        count += len(x)
        if time.perf_counter() - start > 3:
            break
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
