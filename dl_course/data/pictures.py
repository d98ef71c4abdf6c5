"""Labelled pictures that lie in memory."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

Transform = Callable[[Tensor], Tensor]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures in memory, (N, C, H, W) uint8; each item is (float32 (C, H, W) in [0, 1], int label).

    labels: (N,) int64 · classes: their names · mean, std: per channel, of the training pictures ·
    masks, patches: (N, H, W) bool where the set has them · transform: done to each picture as it is taken.
    """

    def __init__(
        self, name: str, images: Tensor, labels: Tensor, classes: Sequence[str], mean: Sequence[float],
        std: Sequence[float], masks: Tensor | None = None, patches: Tensor | None = None,
        transform: Transform | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.classes = tuple(classes)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.images = images
        self.labels = labels
        self.masks = masks
        self.patches = patches
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = self.images[index] / 255
        return self.transform(picture) if self.transform else picture, int(self.labels[index])

    def tensors(self, indices: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return the pictures, (N, C, H, W) in [0, 1] and not transformed, and the labels, all at once."""
        # In NumPy: for so few numbers torch would start threads, and wait for them on a busy machine.
        chosen = self.images.numpy()[np.asarray(indices) if isinstance(indices, Tensor) else indices]
        return torch.from_numpy(np.divide(chosen, 255, dtype=np.float32)), self.labels[indices]

    def subset(self, indices: Tensor | slice) -> "Pictures":
        """Return the set of these pictures, with the same classes, statistics and transform."""
        tensors = {k: v[indices] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return Pictures(**(vars(self) | tensors))

    def __repr__(self) -> str:
        size = "×".join(str(side) for side in self.images.shape[1:])
        return f"{self.name}: {len(self):,} pictures of {size} in {len(self.classes)} classes"
