"""Look at the data first: counts, shapes, ranges, class balance, duplicates, outliers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from dl_course.data.labels import classes_of, labels_of
from dl_course.images import read_image


@dataclass(frozen=True, repr=False)
class Description:
    """What ``describe`` found; duplicates are groups of indices, outliers indices."""

    name: str
    shapes: dict[tuple[int, ...], int]
    range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    balance: dict[str, int]
    duplicates: list[list[int]]
    outliers: list[int]

    def table(self) -> pd.DataFrame:
        """Return the findings in words, one row each."""
        channels = zip(self.mean, self.std, strict=True)
        rows = {
            "shapes": ", ".join(f"{n:,} of {'×'.join(map(str, size))}" for size, n in self.shapes.items()),
            "range": "{:.3g} to {:.3g}".format(*self.range),
            "mean ± std per channel": ", ".join(f"{mean:.4f} ± {std:.4f}" for mean, std in channels),
            "classes": ", ".join(f"{label}: {n:,}" for label, n in self.balance.items()),
            "duplicates": _some(self.duplicates),
            "unusually bright, dark or flat": _some(self.outliers),
        }
        return pd.DataFrame({self.name: rows})

    def __repr__(self) -> str:
        rows = self.table()[self.name].items()
        return "\n".join([self.name, *(f"  {row:<30}  {text}" for row, text in rows)])

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.table().to_html()


def describe(dataset: Any) -> Description:
    """Return the description of a data set of (picture, label), a Subset or ConcatDataset of such included.

    Takes every picture once, (C, H, W) or PIL's. Duplicates agree in every pixel. An outlier's mean or
    standard deviation is more than five robust standard deviations (1.48 times the median distance) from the
    median. Raises ValueError, before the first picture, for a data set without ``labels`` or ``targets``, and
    for labels that are no classes; then for what is no picture.
    """
    balance = _balance(dataset)
    shapes = Counter[tuple[int, ...]]()
    places: dict[int, list[int]] = {}
    sums = []
    figures = []
    for index in range(len(dataset)):
        picture = _picture(dataset, index)
        shapes[tuple(picture.shape)] += 1
        places.setdefault(hash((picture.shape, picture.numpy().tobytes())), []).append(index)
        flat = picture.double().flatten(1)
        sums.append(torch.stack([flat.sum(1), flat.square().sum(1), torch.full((len(flat),), flat.shape[1])]))
        figures.append(torch.stack([flat.mean(), flat.std(correction=0), flat.min(), flat.max()]))
    total, squares, number = torch.stack(sums).sum(0)  # (3, C)
    each = torch.stack(figures)  # (N, 4)
    distance = (each[:, :2] - each[:, :2].median(0).values).abs()
    strange = (distance > 5 * 1.48 * distance.median(0).values).any(1)
    return Description(
        _name(dataset), dict(shapes), (each[:, 2].min().item(), each[:, 3].max().item()),
        tuple((total / number).tolist()), tuple((squares / number - (total / number) ** 2).sqrt().tolist()),
        balance, [group for group in places.values() if len(group) > 1], strange.nonzero().flatten().tolist(),
    )  # fmt: skip


def _balance(dataset: Any) -> dict[str, int]:
    labels = labels_of(dataset)
    if len(labels) != len(dataset):
        raise ValueError(f"{len(labels)} labels for {len(dataset)} pictures")
    if labels.ndim != 1 or labels.is_floating_point() or labels.min() < 0:
        raise ValueError(
            f"labels are whole numbers from 0, (N,); given: {labels.dtype} {tuple(labels.shape)}"
        )
    classes = classes_of(dataset) or tuple(str(c) for c in range(int(labels.max()) + 1))
    if labels.max() >= len(classes):
        raise ValueError(f"label {int(labels.max())} is none of {len(classes)} classes")
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def _picture(dataset: Any, index: int) -> Tensor:
    item = dataset[index]
    picture = item[0] if isinstance(item, Sequence) else item
    if isinstance(picture, Image.Image):
        return torch.from_numpy(read_image(picture))
    if not isinstance(picture, Tensor) or picture.ndim != 3:
        given = f"{type(picture).__name__} {tuple(getattr(picture, 'shape', ()))}"
        raise ValueError(f"picture {index} must be a tensor (C, H, W) or PIL's; given: {given}")
    return picture


def _name(dataset: Any) -> str:
    if isinstance(dataset, Subset):
        return f"part of {_name(dataset.dataset)}"
    if isinstance(dataset, ConcatDataset):
        return " + ".join(_name(part) for part in dataset.datasets)
    return getattr(dataset, "name", type(dataset).__name__)


def _some(found: list[Any]) -> str:
    return f"{len(found):,}" + (
        f": {', '.join(map(str, found[:5]))}{' …' * (len(found) > 5)}" if found else ""
    )
