"""What a tensor's numbers are like, and those of many tensors without keeping them."""

from math import hypot, inf, nan, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

STATISTICS = ("mean", "std", "norm", "min", "max", "zero", "near_zero")


@torch.no_grad()
def tensor_statistics(tensor: Tensor, near: float = 1e-3) -> dict[str, float]:
    """Return mean, std, norm (L2), min, max, and the shares that are zero and near_zero, |x| ≤ near.

    std is that of the values themselves (no correction), 0 of one value. Computed in float32, float64 in
    float64; ``near`` is rounded alike, so a float32 of 1e-3 is near 1e-3. Without values mean, std, min, max
    and the shares are NaN. Of a sparse tensor: its stored values.
    """
    values = (tensor.coalesce().values() if tensor.is_sparse else tensor).detach().flatten()
    values = values if values.dtype is torch.float64 else values.float()
    if not (count := len(values)):
        return dict.fromkeys(STATISTICS, nan) | {"norm": 0.0}
    rows = values[: count - count % 4096].view(-1, 4096)
    rest = values[count - count % 4096 :]
    squares = torch.linalg.vector_norm(rows, dim=1).square().sum() + rest.dot(rest)  # of short rows: exact
    mean, square, low, high = torch.stack([values.mean(), squares, *values.aminmax()]).tolist()
    std = sqrt(max(0, square / count - mean**2))
    if not (abs(mean) <= 5 * std and 1e-30 < square < inf):  # too alike, small or large for their squares
        std = values.std(correction=0).item()  # which takes several times as long as all the rest
    zero, near_zero = (filled / count for filled in _counts(values, near, signed=not low >= 0))
    figures = (mean, std, sqrt(count) * hypot(mean, std), low, high, zero, near_zero)
    return dict(zip(STATISTICS, figures, strict=True))


def _counts(values: Tensor, near: float, signed: bool) -> tuple[int, int]:
    """Count zeros and values near zero; on the CPU by NumPy, several times as fast, as long as cached."""
    x: Any = values.numpy() if values.is_cpu else values
    number: Any = np.count_nonzero if values.is_cpu else torch.count_nonzero
    length = 2**16 if values.is_cpu else len(values)
    zero = 0
    near_zero = 0
    for block in (x[start : start + length] for start in range(0, len(values), length)):
        zero += int(number(block == 0))
        near_zero += int(number((block <= near) & (block >= -near) if signed else block <= near))
    return zero, near_zero


class Running:
    """The statistics of all tensors so far, and of their values a sample: every ``stride``-th.

    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self, sample: int = 2**12) -> None:
        self.limit = sample
        self.stride = 1
        self.sample = torch.empty(0)
        self.count = 0
        self.found = tensor_statistics(self.sample)

    def update(self, tensor: Tensor) -> None:
        """Take in one more tensor; nothing of it is kept but a few values."""
        if not (count := tensor.numel()):
            return
        self._take(tensor)
        old = self.found
        new = tensor_statistics(tensor)
        total = self.count + count
        if self.count:
            a, b = self.count / total, count / total
            variance = a * old["std"] ** 2 + b * new["std"] ** 2 + a * b * (new["mean"] - old["mean"]) ** 2
            new |= {key: a * old[key] + b * new[key] for key in ("mean", "zero", "near_zero")}
            new |= {"std": sqrt(variance), "norm": hypot(old["norm"], new["norm"])}
            new |= {"min": np.minimum(old["min"], new["min"]), "max": np.maximum(old["max"], new["max"])}
        self.found = new
        self.count = total

    def _take(self, tensor: Tensor) -> None:
        while (self.count + tensor.numel()) > self.limit * self.stride:
            self.sample = self.sample[::3]  # odd: no step of rows or channels
            self.stride = self.stride * 3
        taken = tensor.detach().flatten()[-self.count % self.stride :: self.stride]
        self.sample = torch.cat([self.sample, taken.float().cpu()])

    def histogram(self, bins: int = 60) -> tuple[np.ndarray, np.ndarray]:
        """Return (counts (bins,), edges (bins + 1,)) of the finite values in the sample."""
        values = self.sample[self.sample.isfinite()].double().numpy()
        low = values.min(initial=inf)
        high = values.max(initial=-inf)
        most = abs(values).max(initial=0)
        pad = 0 if high - low > 1e-6 * most else most or 1  # bins have a width, also for one value
        return np.histogram(values, bins, (low - pad, high + pad) if len(values) else (0, 1))
