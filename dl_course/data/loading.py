"""The loader: batches in an order, and with an augmentation, that the seed and the epoch alone decide."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from dl_course.data.pictures import Pictures


class Loader:
    """Batches of a data set, (pictures (N, C, H, W), labels (N,)); each pass over it is the next epoch.

    shuffle: a new order every epoch, the same on every run and with any number of workers, as each picture's
    augmentation is · weights: (len(dataset),), draw as many pictures with replacement in these proportions ·
    drop_last: leave out a last batch that is not full · epoch: what the next pass draws; set it to resume.
    Pictures in memory, at most normalized, are sliced as tensors; the rest goes through torch's DataLoader.
    """

    def __init__(
        self, dataset: Any, batch_size: int = 64, *, shuffle: bool = False, seed: int = 0,
        num_workers: int = 0, weights: Tensor | None = None, drop_last: bool = False,
    ) -> None:  # fmt: skip
        if weights is not None and (shuffle or weights.shape != (len(dataset),)):
            raise ValueError(
                f"weights replace shuffle, one a picture; given: {tuple(weights.shape)}, {shuffle=}"
            )
        self.dataset, self.batch_size, self.seed, self.epoch = dataset, batch_size, seed, 0
        self._shuffle, self._weights, self._drop_last = shuffle, weights, drop_last
        plain = getattr(dataset, "transform", None) is None or isinstance(dataset.transform, v2.Normalize)
        self._torch: DataLoader[Any] | None = None
        if not (isinstance(dataset, Pictures) and plain):
            self._torch = DataLoader(
                _Seeded(dataset, seed), batch_sampler=_Keys(self), num_workers=num_workers,
                persistent_workers=num_workers > 0, generator=torch.Generator(),
                pin_memory=torch.cuda.is_available(),
            )  # fmt: skip

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._torch is not None:
            yield from self._torch
            return
        for _, indices in self._batches():
            pictures, labels = self.dataset.tensors(indices)
            yield self.dataset.transform(pictures) if self.dataset.transform else pictures, labels

    def _batches(self) -> Iterator[tuple[int, Tensor]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        generator, size = torch.Generator().manual_seed(_mixed(self.seed, epoch)), len(self.dataset)
        order = torch.randperm(size, generator=generator) if self._shuffle else torch.arange(size)
        if self._weights is not None:
            order = torch.multinomial(self._weights, size, replacement=True, generator=generator)
        yield from ((epoch, batch) for batch in order.split(self.batch_size)[: len(self)])


class _Keys:
    """What torch's DataLoader asks for: the epoch goes along with each index, as workers keep no state."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch, indices in self.loader._batches():
            yield [(epoch, index) for index in indices.tolist()]


class _Seeded(Dataset[Any]):
    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        with _drawing(_mixed(self.seed, *key)):
            return self.dataset[key[1]]


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Like runtime.preserved_rng, but of the CPU alone: a forked worker must not touch CUDA."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)


def _mixed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])
