"""May I believe the map? Tests that it can fail, each beside what guessing would reach."""

import copy
from statistics import mean
from typing import NamedTuple

import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from dl_course.explain.cam import gradcam
from dl_course.explain.maps import Target, at_rest, classes, scores_of


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
    (height, width), masks = maps.shape[1:], masks.to(maps.device).bool().flatten(1)
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(maps.device)  # (H·W, 2)

    def hit(place: Tensor) -> Tensor:
        return (masks & ((places - places[place][:, None]).square().sum(2) <= tolerance**2)).any(1)

    peaks, level = maps.flatten(1).argmax(1), maps.amax((1, 2)) == maps.amin((1, 2))
    hits, centre = hit(peaks) & ~level, hit(torch.full_like(peaks, height // 2 * width + width // 2))
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
    orders, table = {"map": maps, "random": dice, "centre": -(y**2 + x**2).expand(maps.shape)}, {}
    with at_rest(model, images) as images, torch.no_grad():
        chosen = classes(target, scores_of(model(images), len(images)))[:, None]
        blurred = gaussian_blur(images, min(height, width) // 16 * 2 + 1, min(height, width) / 32)
        ways = (torch.zeros_like(images), images), (images, blurred)
        for name, order in orders.items():
            rank = order.to(images.device).flatten(1).argsort(descending=True).argsort().view(maps.shape)
            taken = [rank[:, None] < share / 16 * height * width for share in range(17)]
            mixed = (new.where(t, old) for new, old in ways for t in taken)
            scores = torch.stack([scores_of(model(x), len(x)) for x in mixed]).softmax(2)  # (34, N, classes)
            curves = scores.gather(2, chosen.expand(34, -1, -1)).mean((1, 2)).view(2, 17)
            table[name] = torch.trapezoid(curves, dx=1 / 16).tolist()
    return pd.DataFrame.from_dict(table, orient="index", columns=["deletion", "insertion"])


def randomization_test(
    model: nn.Module, images: Tensor, layer: str, target: Target = None, *, seed: int = 0
) -> pd.DataFrame:
    """Return how alike Grad-CAM's maps stay while the network forgets, from its last layer to its first.

    A row for each layer: what was shuffled last, in a copy of the model. "spearman": mean rank correlation to
    the maps before, signed; 0 for maps of one value. Maps that stay alike don't show what was learned; that
    they change doesn't prove them right. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
    """
    model, dice, rows = copy.deepcopy(model), torch.Generator().manual_seed(seed), {}
    with at_rest(model, images) as images, torch.no_grad():
        target = classes(target, scores_of(model(images), len(images)))
        first = gradcam(model, images, layer, target, normalize=False)
        for name, module in reversed([(n, m) for n, m in model.named_modules() if m._parameters]):
            for parameter in module.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=dice).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
            rows[name] = _alike(first, gradcam(model, images, layer, target, normalize=False))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["spearman"])


def _alike(before: Tensor, after: Tensor) -> float:
    pairs = zip(before.flatten(1).tolist(), after.flatten(1).tolist(), strict=True)
    return mean(spearmanr(a, b).statistic if len({*a}) > 1 < len({*b}) else 0.0 for a, b in pairs)
