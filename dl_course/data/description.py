"""Look at the data first: counts, shapes, ranges, class balance, duplicates, outliers."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch


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
    """Return the description of a data set of (picture (C, H, W), label) that has ``labels`` and ``classes``.

    Takes every picture once. Duplicates agree in every pixel. An outlier's mean or standard deviation is more
    than five robust standard deviations (1.48 times the median distance) from the median.
    """
    shapes, places = Counter[tuple[int, ...]](), dict[int, list[int]]()
    sums, figures = [], []
    for index in range(len(dataset)):
        picture = dataset[index][0]
        shapes[tuple(picture.shape)] += 1
        places.setdefault(hash((picture.shape, picture.numpy().tobytes())), []).append(index)
        flat = picture.double().flatten(1)
        sums.append(torch.stack([flat.sum(1), flat.square().sum(1), torch.full((len(flat),), flat.shape[1])]))
        figures.append(torch.stack([flat.mean(), flat.std(correction=0), flat.min(), flat.max()]))
    total, squares, number = torch.stack(sums).sum(0)  # (3, C)
    each = torch.stack(figures)  # (N, 4)
    distance = (each[:, :2] - each[:, :2].median(0).values).abs()
    strange = (distance > 5 * 1.48 * distance.median(0).values).any(1)
    counts = torch.bincount(dataset.labels, minlength=len(dataset.classes)).tolist()
    return Description(
        dataset.name, dict(shapes), (each[:, 2].min().item(), each[:, 3].max().item()),
        tuple((total / number).tolist()), tuple((squares / number - (total / number) ** 2).sqrt().tolist()),
        dict(zip(dataset.classes, counts, strict=True)),
        [group for group in places.values() if len(group) > 1], strange.nonzero().flatten().tolist(),
    )  # fmt: skip


def _some(found: list[Any]) -> str:
    return f"{len(found):,}" + (
        f": {', '.join(map(str, found[:5]))}{' …' * (len(found) > 5)}" if found else ""
    )
