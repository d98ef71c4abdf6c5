"""Mixed pictures, with mixed labels for a loss of probabilities: ``Trainer(model, mixup(loader, 10), …)``."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from dl_course.runtime import preserved_rng
from dl_course.training.positions import batches_from


class Mixed:
    """A loader's batches mixed, (N, C, H, W) and (N, classes), as seed, epoch and the batch's number decide.

    Of a loader without ``epoch``, as torch's, a random number takes the epoch's place.
    """

    def __init__(self, loader: Any, mix: Callable[[Tensor, Tensor], Any], seed: int = 0) -> None:
        self.loader = loader
        self.dataset = loader.dataset
        self.mix = mix
        self.seed = seed

    epoch = property(lambda self: self.loader.epoch, lambda self, epoch: setattr(self.loader, "epoch", epoch))

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return a pass from that batch on; the loader's workers start at once."""
        epoch = getattr(self.loader, "epoch", None)
        epoch = int(torch.randint(2**31, ())) if epoch is None else epoch
        return self._mixed(batches_from(self.loader, start), epoch, start)

    def _mixed(self, batches: Iterator[Any], epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        for number, batch in enumerate(batches, start):
            key = (self.seed, epoch, number)
            with preserved_rng(int(np.random.SeedSequence(key).generate_state(1)[0])):
                mixed = self.mix(*batch)
            yield mixed


def mixup(loader: Any, num_classes: int, alpha: float = 0.2, seed: int = 0) -> Mixed:
    """Return the loader with neighbours in a batch blended, by Beta(alpha, alpha). Zhang et al., 2018."""
    return Mixed(loader, v2.MixUp(alpha=alpha, num_classes=num_classes), seed)


def cutmix(loader: Any, num_classes: int, alpha: float = 1.0, seed: int = 0) -> Mixed:
    """Return the loader with a box of the neighbour in each, by Beta(alpha, alpha). Yun et al., 2019."""
    return Mixed(loader, v2.CutMix(alpha=alpha, num_classes=num_classes), seed)
