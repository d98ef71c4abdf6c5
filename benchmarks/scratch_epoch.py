"""An epoch of the MLP 784-100-10 in NumPy and in PyTorch, on the CPU: is ours at most 1.5 times as long?

Both train on 60,000 random pictures with the same batches, momentum and slicing, by turns in one process, so
that what else the machine does falls on both. Run on a quiet machine: python benchmarks/scratch_epoch.py
"""

import sys
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import nn

from dl_course.scratch import SGD, CrossEntropyLoss, Linear, ReLU, Sequential

SAMPLES, BATCH, PAIRS, LIMIT = 60_000, 64, 9, 1.5


def numpy_epoch(x: np.ndarray, y: np.ndarray, order: np.ndarray) -> float:
    model, loss = Sequential(Linear(784, 100, 0), ReLU(), Linear(100, 10, 1)), CrossEntropyLoss()
    optimizer = SGD(model, learning_rate=0.1, momentum=0.9)
    start = perf_counter()
    for i in range(0, SAMPLES, BATCH):
        batch = order[i : i + BATCH]
        loss.forward(model.forward(x[batch]), y[batch])
        model.backward(loss.backward())
        optimizer.step()
    return perf_counter() - start


def torch_epoch(x: torch.Tensor, y: torch.Tensor, order: torch.Tensor) -> float:
    model, loss = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    start = perf_counter()
    for i in range(0, SAMPLES, BATCH):
        batch = order[i : i + BATCH]
        optimizer.zero_grad()
        loss(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return perf_counter() - start


def main() -> int:
    rng = np.random.default_rng(0)
    arrays = rng.random((SAMPLES, 784), np.float32), rng.integers(0, 10, SAMPLES), rng.permutation(SAMPLES)
    tensors = [torch.from_numpy(a) for a in arrays]
    pairs = [(numpy_epoch(*arrays), torch_epoch(*tensors)) for _ in range(PAIRS + 1)]
    pairs = pairs[1:]  # the first warms up
    ratio = median(ours / theirs for ours, theirs in pairs)
    for name, times in zip(("NumPy", "PyTorch"), zip(*pairs, strict=True), strict=True):
        print(f"{name:8} median {median(times):.2f} s   fastest {min(times):.2f}   slowest {max(times):.2f}")
    print(f"ratio    median {ratio:.2f} of {PAIRS} pairs, at most {LIMIT} wanted")
    return int(not ratio <= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
