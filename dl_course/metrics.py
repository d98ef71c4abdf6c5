"""Running figures of a classifier: one definition of loss and accuracy for training and for evaluation."""

import torch
from torch import Tensor


def recognised(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how far each sample or pixel is recognised, (N, …): 0 or 1, or the predicted class's share.

    logits: (N, C, …) · labels: (N, …) or, as of mixup (Zhang et al., 2018), probabilities (N, C, …).
    Raises ValueError for other shapes.
    """
    shape = logits.shape
    if logits.ndim < 2 or labels.shape not in (shape, shape[:1] + shape[2:]):
        shapes = f"{tuple(shape)} and {tuple(labels.shape)}"
        raise ValueError(f"needs logits (N, C, …) and labels (N, …) or (N, C, …); given: {shapes}")
    predicted = logits.argmax(1)
    if labels.shape != shape:
        return (predicted == labels).float()
    return labels.gather(1, predicted.unsqueeze(1)).squeeze(1).float()


class Running:
    """Loss and accuracy of all samples so far, NaN before the first; a short last batch weighs what it holds.

    Adds up on the device it is given, and waits for that only when a figure is read.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        self.samples = 0
        self._loss = torch.zeros(())
        self._sums = torch.zeros(2, num_classes or 0)

    @torch.no_grad()
    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits (N, C), labels (N,) or (N, C); ValueError for other shapes."""
        if logits.ndim > 2:
            raise ValueError(f"needs logits (N, C); given: {tuple(logits.shape)}")
        if not len(hits := recognised(logits, labels)):  # and the mean of no losses is NaN
            return
        exact = torch.float32 if logits.device.type == "mps" else torch.float64
        classes = torch.arange(logits.shape[1], device=logits.device)
        target = (labels if labels.ndim == 2 else labels[:, None] == classes).to(exact)  # (N, C)
        hit = hits.to(exact)[:, None] * (logits.argmax(1, keepdim=True) == classes)
        sums = torch.stack([target.sum(0), hit.sum(0)])
        loss = loss.to(exact) * len(logits)
        self._sums = self._sums + sums if self.samples else sums
        self._loss = self._loss + loss if self.samples else loss
        self.samples += len(logits)

    @property
    def loss(self) -> float:
        """The mean loss of a sample."""
        return self._loss.item() / self.samples if self.samples else float("nan")

    @property
    def accuracy(self) -> float:
        """The share of samples recognised, in [0, 1]."""
        return self._sums[1].sum().item() / self.samples if self.samples else float("nan")

    @property
    def per_class(self) -> tuple[Tensor, Tensor]:
        """Of each class, (C,) on the CPU: the share of its samples recognised, or NaN; their number."""
        counts, hits = self._sums.cpu()
        return hits / counts, counts
