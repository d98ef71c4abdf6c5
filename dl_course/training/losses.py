"""Losses that torch does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FocalLoss(nn.Module):
    """Cross-entropy in which each class's term counts (1 - p)**gamma: what is recognised well, little.

    With gamma 0 it is ``F.cross_entropy``: the same weight (C,), label_smoothing, reduction ("mean", "sum" or
    "none"), labels (N,) or probabilities (N, C). In float32 at least. Lin et al., 2017, eq. 4 and 5.
    """

    weight: Tensor | None

    def __init__(
        self, gamma: float = 2.0, weight: Tensor | None = None, label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__()
        if gamma < 0 or not 0 <= label_smoothing <= 1 or reduction not in ("mean", "sum", "none"):
            given = f"{gamma=}, {label_smoothing=}, {reduction=}"
            raise ValueError(
                f"gamma ≥ 0, 0 ≤ label_smoothing ≤ 1, reduction mean, sum or none; given: {given}"
            )
        self.gamma, self.label_smoothing, self.reduction = gamma, label_smoothing, reduction
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, 0-dim or (N,), of logits (N, C) for labels (N,) or (N, C)."""
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
        weight = log_p.new_ones(log_p.shape[1]) if self.weight is None else self.weight.to(log_p)
        target = F.one_hot(labels, len(weight)) if labels.ndim == 1 else labels
        target = target * (1 - self.label_smoothing) + self.label_smoothing / len(weight)
        log_p = log_p.masked_fill(target == 0, 0.0)  # as 0 · log 0 is 0
        tiny = torch.finfo(log_p.dtype).tiny  # at 0 the slope of x**gamma is infinite for gamma < 1
        loss = -(target * weight * log_p * (-log_p.expm1()).clamp_min(tiny) ** self.gamma).sum(1)
        if self.reduction == "mean":
            return loss.sum() / (weight[labels].sum() if labels.ndim == 1 else len(labels))
        return loss.sum() if self.reduction == "sum" else loss
