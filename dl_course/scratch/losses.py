"""Losses: where a network's output meets the truth, and where the gradient's way back begins."""

import numpy as np

from dl_course.scratch.layers import Array


class MSELoss:
    """L = Σ (y − t)² / (N·d), as torch's; "sum" does not divide. Many texts' ½·Σ/N is d/2 times the mean."""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is 'mean' or 'sum'; given: {reduction!r}")
        self.reduction = reduction

    def forward(self, y: Array, targets: Array) -> float:
        """Return L for y and targets of one shape, (N, d); ValueError where they differ or are empty."""
        if y.shape != np.shape(targets) or y.size == 0:
            raise ValueError(f"y and targets need one shape, (N, d); given: {y.shape}, {np.shape(targets)}")
        self.error = y - np.asarray(targets, y.dtype)
        self.count = y.size if self.reduction == "mean" else 1
        return float((self.error**2).sum() / self.count)

    def backward(self, dout: float = 1.0) -> Array:
        """Return dout · ∂L/∂y = dout · 2·(y − t) / (N·d)."""
        return 2 * dout / self.count * self.error


class CrossEntropyLoss:
    """L = −Σ t·log p / N, with t one-hot and p = softmax(scores): the softmax is inside, as in torch's."""

    def forward(self, scores: Array, targets: Array) -> float:
        """Return L for scores (N, C) and targets, class numbers (N,) or one-hot (N, C); else ValueError."""
        self.one_hot = _one_hot(np.asarray(targets), scores)
        shifted = scores - scores.max(axis=1, keepdims=True)  # softmax stays the same, and exp can't overflow
        self.log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return float(-(self.one_hot * self.log_p).sum() / len(scores))

    def backward(self, dout: float = 1.0) -> Array:
        """Return dout · ∂L/∂scores = dout · (p − t) / N."""
        return dout / len(self.log_p) * (np.exp(self.log_p) - self.one_hot)


def _one_hot(targets: Array, scores: Array) -> Array:
    if scores.ndim == 2 and scores.size:
        if targets.shape == scores.shape and np.allclose(targets.sum(axis=1), 1):
            return targets.astype(scores.dtype)
        numbers = targets.shape == scores.shape[:1] and targets.dtype.kind in "iu"
        if numbers and targets.min() >= 0 and targets.max() < scores.shape[1]:
            return np.eye(scores.shape[1], dtype=scores.dtype)[targets]
    raise ValueError(
        "accepted: scores (N, C) with targets (N,), integers from 0 to C − 1, or (N, C), rows that sum to 1; "
        f"given: scores {scores.shape}, targets {targets.shape} of {targets.dtype}, {targets.ravel()[:3]} …"
    )
