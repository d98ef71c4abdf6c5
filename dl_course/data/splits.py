"""Splits: which pictures are for training and which for checking; drawn once, stored, read back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_course.files import atomic


def stratified_split(
    labels: Tensor | Sequence[int], fractions: Sequence[float], seed: int = 0
) -> list[Tensor]:
    """Return one sorted index tensor per fraction; every class of labels (N,) is shared out like that.

    Every class reaches every part. A part's size is within one of its share of all labels, unless classes
    have too few members for both. The same seed gives the same split on every machine.
    Raises ValueError for fractions that don't add up to 1, and for a class with fewer members than parts.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(
            f"fractions must be above 0 and add up to 1; {fractions} add up to {sum(fractions):g}"
        )
    classes = np.asarray(labels)
    order = np.argsort(np.random.Philox(key=seed).random_raw(len(classes)), kind="stable")
    part_of = np.empty(len(classes), np.int64)
    names, sizes = np.unique(classes, return_counts=True)
    for name, size in zip(names, sizes, strict=True):
        if size < len(fractions):
            raise ValueError(f"class {name} has too few members for {len(fractions)} parts: {size}")
    for name, counts in zip(names, _shared_out(sizes, np.asarray(fractions)), strict=True):
        part_of[order[classes[order] == name]] = np.repeat(np.arange(len(fractions)), counts)
    return [torch.from_numpy(np.flatnonzero(part_of == part)) for part in range(len(fractions))]


def _shared_out(sizes: NDArray, fractions: NDArray) -> NDArray:
    """Return how many of each class go to each part, (classes, parts), none of them 0."""
    edges = np.cumsum([0, *fractions])
    counts = np.diff(np.rint(edges * sizes[:, None]).astype(int), axis=1)
    for row in counts:
        while row.min() < 1:
            row[[row.argmin(), row.argmax()]] += (1, -1)
    wanted = sizes[:, None] * fractions
    while True:  # classes of one size all round the same way: move members from parts with too many
        excess = counts - wanted
        giver = excess.sum(0).argmax()
        taker = excess.sum(0).argmin()
        gain = np.where(counts[:, giver] > 1, excess[:, giver] - excess[:, taker], 0)
        if abs(excess.sum(0)).max() < 1 - 1e-9 or gain.max() <= 0:
            return counts
        counts[gain.argmax(), [giver, taker]] += (-1, 1)


def save_splits(path: str | Path, splits: Mapping[str, Tensor]) -> None:
    """Write named index tensors, such as {"train": …, "val": …}, to a JSON file."""
    with atomic(Path(path)) as part:
        part.write_text(json.dumps({name: indices.tolist() for name, indices in splits.items()}))


def load_splits(path: str | Path, size: int) -> dict[str, Tensor]:
    """Return the named index tensors of a JSON file, for a set of that many pictures.

    Raises ValueError where a picture is in two parts, or one is asked for that the set does not have.
    """
    parts = json.loads(Path(path).read_text())
    everything = [index for part in parts.values() for index in part]
    if len(set(everything)) < len(everything):
        raise ValueError(f"{path}: a picture is in two parts, or twice in one")
    if strange := sorted(set(everything) - set(range(size))):
        raise ValueError(f"{path} asks for picture {strange[-1]}, but the set has {size}")
    return {name: torch.tensor(part).long() for name, part in parts.items()}
