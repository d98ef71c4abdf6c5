"""Losses that torch does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FocalLoss(nn.Module):
    """Cross-entropy in which each class's term counts (1 - p)**gamma: what is recognised well, little.

    With gamma 0 it is ``F.cross_entropy``: the same weight (C,), label_smoothing, ignore_index, reduction
    ("mean", "sum" or "none"), labels (N, …) or probabilities (N, C, …). In float32 at least. Lin et al.,
    2017, eq. 4 and 5. Raises ValueError for impossible settings, and for labels of another shape.
    """

    weight: Tensor | None

    def __init__(
        self, gamma: float = 2.0, weight: Tensor | None = None, label_smoothing: float = 0.0,
        reduction: str = "mean", ignore_index: int = -100,
    ) -> None:  # fmt: skip
        super().__init__()
        if gamma < 0 or not 0 <= label_smoothing <= 1 or reduction not in ("mean", "sum", "none"):
            given = f"{gamma=}, {label_smoothing=}, {reduction=}"
            raise ValueError(
                f"gamma ≥ 0, 0 ≤ label_smoothing ≤ 1, reduction mean, sum or none; given: {given}"
            )
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, 0-dim or (N, …), of logits (N, C, …) for labels (N, …) or (N, C, …)."""
        shape = logits.shape
        if labels.shape not in (shape, shape[:1] + shape[2:]):
            given = f"{tuple(shape)} and {tuple(labels.shape)}"
            raise ValueError(
                f"needs logits (N, C, …), labels (N, …) or probabilities (N, C, …); given: {given}"
            )
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
        log_p = log_p.movedim(1, -1)  # (N, …, C)
        weight = log_p.new_ones(shape[1]) if self.weight is None else self.weight.to(log_p)
        if labels.shape == shape:
            target = labels.movedim(1, -1).to(log_p)
            counted = log_p.new_ones(log_p.shape[:-1])
            divisor = counted
        else:
            kept = labels != self.ignore_index
            known = labels.masked_fill(~kept, 0)
            target = F.one_hot(known, shape[1])
            counted = kept.to(log_p)
            divisor = counted * weight[known]
        target = target * (1 - self.label_smoothing) + self.label_smoothing / shape[1]
        log_p = log_p.masked_fill(target == 0, 0.0)  # as 0 · log 0 is 0
        tiny = torch.finfo(log_p.dtype).tiny  # at 0 the slope of x**gamma is infinite for gamma < 1
        loss = -(target * weight * log_p * (-log_p.expm1()).clamp_min(tiny) ** self.gamma).sum(-1) * counted
        if self.reduction == "mean":
            total = divisor.sum()  # where nothing counts, NaN without a gradient, as torch has it
            return torch.where(total > 0, loss.sum() / total.clamp_min(tiny), torch.nan)
        return loss.sum() if self.reduction == "sum" else loss
