"""May I believe the map? Tests that it can fail, each beside what guessing would reach."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata, t
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from dl_course.explain.maps import Target, at_rest, classes, scores_of

Method = Callable[..., Tensor]


class PointingGame(NamedTuple):
    """score: share of maps whose peak hits · centre: of pictures whose middle does · hits: (N,) bool."""

    score: float
    centre: float
    hits: Tensor

    def __repr__(self) -> str:
        return f"pointing game: {self.score:.3f} of {len(self.hits)} maps hit, the centre {self.centre:.3f}"


def pointing_game(maps: Tensor, masks: Tensor, tolerance: float = 0) -> PointingGame:
    """Return how often the peak of a map lies in the mask, and how often the picture's centre does.

    maps, masks: (N, H, W) · tolerance: pixels that it may be away from the mask, 15 in the paper. Maps of one
    value have no peak, a miss. Zhang et al., "Top-down Neural Attention by Excitation Backprop", IJCV 2018.
    """
    if maps.shape != masks.shape or maps.ndim != 3:
        raise ValueError(f"maps and masks must both be (N, H, W); given {maps.shape} and {masks.shape}")
    (height, width) = maps.shape[1:]
    masks = masks.to(maps.device).bool().flatten(1)
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(maps.device)  # (H·W, 2)

    def hit(place: Tensor) -> Tensor:
        return (masks & ((places - places[place][:, None]).square().sum(2) <= tolerance**2)).any(1)

    peaks = maps.flatten(1).argmax(1)
    level = maps.amax((1, 2)) == maps.amin((1, 2))
    hits = hit(peaks) & ~level
    centre = hit(torch.full_like(peaks, height // 2 * width + width // 2))
    return PointingGame(hits.double().mean().item(), centre.double().mean().item(), hits)


def deletion_insertion(
    model: nn.Module, images: Tensor, maps: Tensor, target: Target = None, *, seed: int = 0
) -> pd.DataFrame:
    """Return the mean probability of the class while pixels go, or come, in the order of the map, as a table.

    Rows: the "map" (N, H, W); "random" pixels; from the "centre" outwards. Columns: areas under the curves of
    "deletion", to zeros (small is good), and "insertion", into a blurred picture (large is good); 16 steps.
    Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018.
    """
    height, width = maps.shape[1:]
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    dice = torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed))
    orders = {"map": maps, "random": dice, "centre": -(y**2 + x**2).expand(maps.shape)}
    table = {
        name: removal_areas(model, images, order, target).mean(1).tolist() for name, order in orders.items()
    }
    return pd.DataFrame.from_dict(table, orient="index", columns=["deletion", "insertion"])


def removal_areas(
    model: nn.Module, images: Tensor, maps: Tensor, target: Target = None, *, steps: int = 16,
    tests: Sequence[str] = ("deletion", "insertion"),
) -> Tensor:  # fmt: skip
    """Return the areas of the tests, (2, N): those of `deletion_insertion`, for each picture.

    Differences between two maps of the same pictures are paired, so that their mean has a narrower interval.
    tests: name one alone, and the areas are (1, N), in half the time. KeyError for another name.
    """
    side = min(maps.shape[1:])
    with at_rest(model, images) as images, torch.no_grad():
        whole = _scores(model, images)
        chosen = classes(target, whole)[:, None]
        rank = maps.to(images.device).flatten(1).argsort(descending=True).argsort().view(maps.shape)
        taken = [rank[:, None] < step / steps * maps[0].numel() for step in range(1, steps)]
        ends = {
            "deletion": (images, torch.zeros_like(images[:1])),
            "insertion": (gaussian_blur(images, side // 16 * 2 + 1, side / 32), images),
        }
        curves = torch.stack([  # (tests · (steps + 1), N, 1); an end that all share is scored once
            whole if x is images else _scores(model, x).expand_as(whole)
            for old, new in map(ends.__getitem__, tests)
            for x in (old, *(new.where(share, old) for share in taken), new)
        ]).softmax(2).take_along_dim(chosen[None], 2)  # fmt: skip
    return torch.trapezoid(curves.cpu().view(len(tests), steps + 1, -1), dx=1 / steps, dim=1)


def _scores(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([scores_of(model(part), len(part)) for part in x.split(50)])  # parts that a cache holds


def randomization_test(
    model: nn.Module, images: Tensor, method: Method, target: Target = None, *, shuffles: int = 5,
    layers: int | None = None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Return how alike a method's maps stay while the network forgets, from its last layer to its first.

    method: called as ``method(model, images, target=…, normalize=False)``; Grad-CAM as
    ``partial(gradcam, layer="layer4")`` · shuffles: how many times it is done anew · layers: how many to
    shuffle; None for all.
    A row for each layer: what was shuffled last, in a copy of the model. "spearman": the rank correlation
    with the maps before, signed, 0 for maps of one value; the mean over pictures and shuffles. "low", "high":
    the ends of its 95 % interval over the shuffles (t), NaN for a single one. Maps that stay alike don't show
    what was learned; maps that change aren't proven right. Adebayo et al., "Sanity Checks for Saliency Maps",
    NeurIPS 2018.
    """
    names = [name for name, module in model.named_modules() if module._parameters][::-1][:layers]
    dice = torch.Generator().manual_seed(seed)
    with at_rest(model, images) as images, torch.no_grad():
        target = classes(target, scores_of(model(images), len(images)))
        first = _ranks(method(model, images, target=target, normalize=False))
        found = np.zeros((shuffles, len(names)))
        for run in found:
            forgetful = copy.deepcopy(model)
            for place, name in enumerate(names):
                _shuffle(forgetful.get_submodule(name), dice)
                run[place] = _alike(first, _ranks(method(forgetful, images, target=target, normalize=False)))
    rows = {name: mean_interval(values) for name, values in zip(names, found.T, strict=True)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["spearman", "low", "high"])


def mean_interval(values: Any) -> tuple[float, float, float]:
    """Return the mean of values and the ends of its 95 % interval (t); NaN ends for a single value."""
    values = np.asarray(values, dtype=float)
    middle = float(values.mean())
    count = len(values)
    half = values.std(ddof=1) / count**0.5 * t.ppf(0.975, count - 1) if count > 1 else np.nan
    return middle, middle - half, middle + half


def _shuffle(module: nn.Module, dice: torch.Generator) -> None:
    for parameter in module.parameters(recurse=False):
        order = torch.randperm(parameter.numel(), generator=dice).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _ranks(maps: Tensor) -> np.ndarray:
    # Around their mean, so that nothing is left of level maps: their correlation is then 0.
    return rankdata(maps.flatten(1).cpu().numpy(), axis=1) - (maps[0].numel() + 1) / 2


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    # Lengths like this, so that maps that stay the same give exactly 1.
    return float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)).clip(min=1e-12)).mean())
