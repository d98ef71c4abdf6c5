"""Methods side by side through every test that they can fail, with intervals, and a baseline."""

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor, nn
from tqdm.auto import tqdm

from dl_course.explain.maps import Target, ready
from dl_course.explain.trust import (
    Method,
    mean_interval,
    pointing_game,
    randomization_test,
    removal_areas,
)

TESTS = ("pointing", "deletion", "insertion", "forgetting")
BETTER = torch.tensor([[-1.0], [1.0]])  # deletion's area is good when small, insertion's when large


def edges(model: nn.Module, images: Tensor, target: Target = None, *, normalize: bool = True) -> Tensor:
    """Return how fast the mean of the channels changes from pixel to pixel (Sobel), maps (N, H, W).

    A baseline with a method's arguments: it looks at neither model nor target, so it explains nothing.
    """
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gray = F.pad(images.detach().cpu().float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    slopes = F.conv2d(gray, torch.stack([kernel, kernel.T])[:, None]).norm(dim=1)
    return ready(slopes, images, normalize, "edges")


def compare_methods(
    model: nn.Module, images: Tensor, masks: Tensor, methods: Mapping[str, Method], target: Target = None,
    *, forgetting: int = 20, shuffles: int = 5, steps: int = 8, seed: int = 0, progress: bool = True,
) -> pd.DataFrame:  # fmt: skip
    """Return every method's result in every test, with 95 % intervals, as a table: a row a method.

    methods: by name, each called as ``method(model, images, target=…, normalize=False)`` · masks: (N, H, W),
    where the object is · forgetting, shuffles: how many pictures, and how often, to shuffle the last layer.
    Columns are pairs: a test, and "mean", "low" or "high". Tests: "pointing", the share of peaks in the mask
    (Wilson's interval); "deletion" and "insertion", by how much the map does better than random pixels, each
    picture compared with itself, above 0 is good; "forgetting", the rank correlation of the maps before and
    after the last layer is shuffled, near 0 is good. A last column has the number of pictures.
    """
    dice = torch.rand(masks.shape, generator=torch.Generator().manual_seed(seed))
    chance = removal_areas(model, images, dice, target, steps=steps)
    rows = {}
    for name, method in tqdm(methods.items(), disable=not progress, leave=False):
        maps = _in_parts(method, model, images, target)
        gain = BETTER * (removal_areas(model, images, maps, target, steps=steps) - chance)
        forgot = randomization_test(
            model,
            images[:forgetting],
            method,
            _part(target, 0, forgetting),
            shuffles=shuffles,
            layers=1,
            seed=seed,
        )
        found = [_share(pointing_game(maps, masks).hits), *map(mean_interval, gain), forgot.iloc[0].tolist()]
        rows[name] = [*itertools.chain(*found), len(images)]
    columns = pd.MultiIndex.from_tuples(
        [*itertools.product(TESTS, ("mean", "low", "high")), ("pictures", "")]
    )
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _share(hits: Tensor) -> tuple[float, float, float]:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return hits.float().mean().item(), interval.low, interval.high


def _in_parts(method: Method, model: nn.Module, images: Tensor, target: Any) -> Tensor:
    maps = [  # a method that keeps its graph would take gigabytes for all of them at once
        method(model, images[i : i + 50], target=_part(target, i, i + 50), normalize=False)
        for i in range(0, len(images), 50)
    ]
    joined = torch.cat(maps).cpu()[
        :, None
    ]  # signed, so that no places tie at zero; a layer's maps are coarse
    return F.interpolate(joined, images.shape[2:], mode="bilinear")[:, 0]


def _part(target: Any, start: int, end: int) -> Any:
    return target if target is None or isinstance(target, int) else target[start:end]
