"""The loader: batches in an order, and with an augmentation, that the seed and the epoch alone decide."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchvision.transforms import v2

from dl_course.data.pictures import Pictures


class Loader:
    """Batches of a data set, (pictures (N, C, H, W), labels (N,)); each pass over it is the next epoch.

    shuffle: a new order every epoch, the same on every run and with any number of workers, as each picture's
    augmentation is · num_workers: processes that load · weights: (len(dataset),), draw as many pictures with
    replacement in these proportions · drop_last: leave out a last batch that is not full · epoch: what the
    next pass draws; set it to resume.
    Pictures in memory, at most normalized, are sliced as tensors; the rest goes through torch's DataLoader.
    An IterableDataset comes in its own order, and draws from the global random numbers.
    Raises ValueError for a batch_size below 1, and for weights that do not fit.
    """

    def __init__(
        self, dataset: Any, batch_size: int = 64, *, shuffle: bool = False, seed: int = 0,
        num_workers: int = 0, weights: Tensor | None = None, drop_last: bool = False,
    ) -> None:  # fmt: skip
        if batch_size < 1:
            raise ValueError(f"batch_size counts from 1; given: {batch_size}")
        streams = isinstance(dataset, IterableDataset)
        if streams and (shuffle or weights is not None):
            raise ValueError("an IterableDataset has an order of its own: no shuffle and no weights")
        if weights is not None and (shuffle or weights.shape != (len(dataset),)):
            raise ValueError(
                f"weights replace shuffle, one a picture; given: {tuple(weights.shape)}, {shuffle=}"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.order = Order(dataset, batch_size, shuffle, seed, weights, drop_last)
        self._torch: DataLoader[Any] | None = None
        plain = getattr(dataset, "transform", None) is None or isinstance(dataset.transform, v2.Normalize)
        if streams:
            self._torch = DataLoader(dataset, batch_size, num_workers=num_workers, drop_last=drop_last)
        elif not (isinstance(dataset, Pictures) and plain):
            self._torch = DataLoader(
                _Seeded(dataset, seed), batch_sampler=_Keys(self.order), num_workers=num_workers,
                persistent_workers=num_workers > 0, generator=torch.Generator(),
                pin_memory=torch.cuda.is_available(),
            )  # fmt: skip

    epoch = property(lambda self: self.order.epoch, lambda self, epoch: setattr(self.order, "epoch", epoch))

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the next pass from that batch on; those before are not loaded. Workers start at once."""
        self.order.start = start
        if self._torch is None:
            return self._sliced()
        streams = isinstance(self.dataset, IterableDataset)
        return islice(self._torch, start if streams else 0, None)

    def _sliced(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _, indices in self.order:
            pictures, labels = self.dataset.tensors(indices)
            yield self.dataset.transform(pictures) if self.dataset.transform else pictures, labels


class Order:
    """Which pictures make a batch, epoch after epoch. Knows no loader: a cycle would stall workers.

    start: the batch with which the next pass begins · part: (i, n), to keep of each batch every n-th picture
    from the i-th on, and the first of all where there is none.
    """

    def __init__(
        self, dataset: Any, batch_size: int, shuffle: bool, seed: int, weights: Tensor | None, drop_last: bool
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.weights = weights
        self.drop_last = drop_last
        self.epoch = 0
        self.start = 0
        self.part = (0, 1)

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """Count the epoch, and return a pass over (epoch, indices)."""
        epoch = self.epoch
        start = self.start
        self.epoch = epoch + 1
        self.start = 0
        size = len(self.dataset)
        generator = torch.Generator().manual_seed(_mixed(self.seed, epoch))
        indices = torch.randperm(size, generator=generator) if self.shuffle else torch.arange(size)
        if self.weights is not None:
            indices = torch.multinomial(self.weights, size, replacement=True, generator=generator)
        batches = indices.split(self.batch_size)[start : len(self)]
        return iter([(epoch, self._mine(batch)) for batch in batches])

    def _mine(self, batch: Tensor) -> Tensor:
        first, step = self.part
        mine = batch[first::step]
        return mine if len(mine) else batch[:1]


class _Keys:
    """What torch's DataLoader asks for: the epoch goes along with each index, as workers keep no state."""

    def __init__(self, order: Order) -> None:
        self.order = order

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch, indices in self.order:
            yield [(epoch, index) for index in indices.tolist()]


class _Seeded(Dataset[Any]):
    seeded = True  # each picture by itself, so that workers keep no random numbers

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        with _drawing(_mixed(self.seed, *key)):
            return self.dataset[key[1]]


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Like runtime.preserved_rng, but of the CPU alone: a forked worker must not touch CUDA."""
    python = random.getstate()
    numpy_state = np.random.get_state()
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
