"""Rules on how a data set is read: its store, its workers, and the order of numbers in a picture."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_convert

from dl_course.diagnostics.rules.evidence import SAMPLES, Evidence, joined
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.hooks import tensors_in
from dl_course.kept import SOURCES, Kept, kept
from dl_course.runtime import preserved_rng


@rule("data-changes", "error")
def data_changes(e: Evidence) -> Found:
    """The same index, read twice with the same random numbers, gives the same sample. (A set's own dice are
    turned back, too.)

    Work on copies in __getitem__: clone() before -=, /= or anything else in place.
    """
    sets: list[Any] = [getattr(loader, "dataset", None) for loader in (e.train_loader, e.given["val_loader"])]
    for store in [each for each in sets if hasattr(each, "__getitem__") and hasattr(each, "__len__")]:
        dice = [part for part in Kept(store) if isinstance(part, SOURCES)]
        for index in sorted({0, len(store) // 2, len(store) - 1} if len(store) else ()):
            if not _same(_read(store, index, dice), _read(store, index, dice)):
                return f"sample {index}", f"{type(store).__name__}[{index}] differs when it is read again"
    return None


def _read(store: Any, index: int, dice: list[Any]) -> list[Tensor]:
    with preserved_rng(0), kept(*dice):
        return [tensor.detach().clone() for tensor in tensors_in(default_convert(store[index]))]


def _same(once: list[Tensor], twice: list[Tensor]) -> bool:
    return len(once) == len(twice) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(once, twice, strict=True)
    )


@rule("constant-input", "error")
def few_of_many(e: Evidence) -> Found:
    """Where a pass brings each input ten times or more, they are all that the data set has.

    A sampler's weights are a number a sample, not a class: WeightedRandomSampler(weights[labels], len(y)).
    """
    store: Any = getattr(e.train_loader, "dataset", None)
    x = next(tensors_in(joined(e.train, SAMPLES))).flatten(1).double()
    sums = _weighed(x).unique()
    if (
        len(x) < max(100, 10 * len(sums))
        or not hasattr(store, "__getitem__")
        or not hasattr(store, "__len__")
    ):
        return None
    rows = [
        next(tensors_in(default_convert(store[i]))).flatten().double()
        for i in torch.linspace(0, len(store) - 1, 32).long().tolist()
    ]
    met = sum(bool((_weighed(row) - sums).abs().min() < 1e-6) for row in rows)
    text = f"{len(x)} inputs that were drawn are {len(sums)}, again and again"
    return met < 8 and f"{text}; of 32 in the data set {met} are among them"


def _weighed(x: Tensor) -> Tensor:
    """Return a number for each input (…, values), by which they are told apart."""
    return x @ torch.linspace(1, 2, x.shape[-1]).double()


@rule("workers-alike", "error")
def workers_alike(e: Evidence) -> Found:
    """Two workers, each given the same index eight times, draw different random numbers for it; and two
    workers of an IterableDataset give different batches.

    A generator made in the data set is copied into each worker: draw from torch's global one, or seed anew in
    worker_init_fn by torch.initial_seed(). An IterableDataset divides its stream by get_worker_info().
    """
    loader = e.train_loader
    if not isinstance(loader, DataLoader) or loader.num_workers < 2:
        raise Skip
    if isinstance(loader.dataset, IterableDataset):
        twins = len(e.train) > 1 and _same(*(list(tensors_in(list(batch))) for batch in e.train[:2]))
        return twins and "the first batches of two workers are the same in every number"
    drawn = _by_two_workers(loader)
    alike = all(_same(one, other) for one, other in zip(drawn[::2], drawn[1::2], strict=True))
    changes = not all(_same(drawn[0], each) for each in drawn)
    return alike and changes and "two workers change sample 0 in the same way, eight times, not always alike"


def _by_two_workers(loader: Any) -> list[list[Tensor]]:
    with preserved_rng(0), kept(loader.dataset):
        probe = DataLoader(
            loader.dataset, None, sampler=[0] * 16, num_workers=2, worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
        )  # fmt: skip
        return [list(tensors_in(default_convert(sample))) for sample in probe]


@rule("scrambled-input", "error")
def scrambled(e: Evidence) -> Found:
    """Neighbours in a picture of several channels are alike: their differences are 0.5 to 0.6 of what they
    are where the same numbers are read as (H, W, C), the channels of each pixel together; noise has 1.

    A picture (H, W, C) becomes (C, H, W) by permute(2, 0, 1), or ToTensor; view and reshape tear it apart.
    """
    x = e.x
    if x.dim() != 4 or not 2 <= x.shape[1] <= 4 or min(x.shape[2:]) < 8:
        raise Skip
    other = x.reshape(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
    ratio = _roughness(x) / max(_roughness(other), 1e-12)
    return ratio > 1.5 and f"neighbours differ {ratio:.2g} times as much as if read as (H, W, C); limit 1.5"


def _roughness(x: Tensor) -> float:
    return (x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()).item()
