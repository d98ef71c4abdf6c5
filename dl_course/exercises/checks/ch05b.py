"""Judging chapter 05b: what a network looks at. The right answers can be told to make a slip."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.exercises.checks.ch05 import NEXT, _in_words, _network
from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case, Outputs
from dl_course.hooks import capture


def _cam(model: nn.Module, layer: str, images: Tensor, targets: Tensor, slip: str = "") -> Tensor:
    layer = NEXT.get(layer, layer) if slip == "no copy" else layer
    images = images.clone().requires_grad_()
    with capture(model, layer, gradients=True) as seen:
        scores = model(images).softmax(1) if slip == "softmax" else model(images)
    chosen = scores.gather(1, (scores.argmax(1) if slip == "predicted" else targets)[:, None])
    torch.autograd.grad(chosen.sum(), images)
    grad = seen[layer][0].gradient
    kept = seen[layer][0].activation
    weights = grad if slip == "local" else grad.mean((0, 2, 3) if slip == "batch" else (2, 3), keepdim=True)
    parts = weights * kept * (grad[0, 0].numel() if slip == "sum" else 1)
    maps = (parts.clamp(min=0) if slip == "early" else parts).sum(1)
    return maps if slip == "no relu" else maps.clamp(min=0)


class GradCAM(Exercise):
    """Grad-CAM."""

    name = "grad_cam"
    points = 2
    not_allowed = ("gradcam", "gradcam_classes", "LayerGradCam", "captum", "capture", "dl_course.explain")
    hints = (
        "The hook keeps `output` itself, in the graph, and returns `output.clone()` for the next layers.",
        "`torch.autograd.grad(score, kept)[0]`: let score be `scores[range(len(images)), targets].sum()`.",
        "Weights are the gradient's `mean((2, 3), keepdim=True)`; weigh the maps, `sum(1)`, clamp at 0.",
    )
    reference = staticmethod(_cam)
    slips: ClassVar = {
        "no copy": "the next layer worked in place on what you kept: let the hook return a clone",
        "no relu": "what speaks against the class is still in the map: clamp it at 0",
        "local": "average the gradient over height and width first: one weight a channel",
        "sum": "the gradient is averaged over height and width, not summed",
        "batch": "every picture has weights of its own: average over height and width, not over the batch",
        "early": "first add up the channels, then clamp at 0: channels may speak against the class, too",
        "softmax": "take the score itself, before softmax",
        "predicted": "you explain the predicted class; `targets` asks for others",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {"one picture": (1, "body.act"), "several pictures": (3, "body.act")}
        kinds |= {"a layer before a ReLU that works in place": (draw(rng, 2, 4), "more")}
        for about, (n, layer) in kinds.items():
            case = _network(rng, about, n, layer=layer)
            yield case | {"targets": rng.integers(case["classes"], size=n).tolist()}

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        return _in_words(super().judge(case, outputs))


def _pointing(maps: Tensor, masks: Tensor, slip: str = "") -> Any:
    (n, height, width) = maps.shape
    flat = maps.flatten(1)
    if slip == "share":
        return ((maps * masks).sum((1, 2)) / maps.sum((1, 2)).clamp(min=1e-12)).mean()
    peaks = flat.argmax().expand(n) % (height * width) if slip == "whole" else flat.argmax(1)
    peaks = torch.full_like(peaks, height // 2 * width + width // 2) if slip == "centre" else peaks
    rows, columns = (peaks % width, peaks // width) if slip == "swapped" else (peaks // width, peaks % width)
    hits = masks[torch.arange(n), rows, columns].float()
    uneven = flat.amax(1) > flat.amin(1)
    return (hits[uneven] if slip == "dropped" else hits if slip == "plateau" else hits * uneven).mean()


class PointingScore(Exercise):
    """The pointing game."""

    name = "pointing_score"
    not_allowed = ("pointing_game", "dl_course.explain")
    hints = (
        "`maps.flatten(1).argmax(1)` is where the peaks are, (N,); `masks.flatten(1)` has the same places.",
        "A map is flat if its largest number isn't above its smallest. It misses, and still counts.",
    )
    reference = staticmethod(_pointing)
    slips: ClassVar = {
        "plateau": "a map that is the same everywhere points nowhere: it misses",
        "dropped": "a map that is the same everywhere is a miss; don't leave it out",
        "share": "that is how much of the maps lies in the masks; only the peak counts here",
        "whole": "each map has a peak of its own; yours is the highest of all maps",
        "centre": "that is how often the picture's centre hits: what you get without looking",
        "swapped": "rows and columns are swapped",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {"square pictures": (12, 12, 0), "wide pictures": (7, 13, 0), "flat maps": (9, 8, 2)}
        for about, (height, width, flat) in [each for each in kinds.items() for _ in range(2)]:
            n = draw(rng, 7, 11)
            maps = rng.uniform(0, 0.9, (n, height, width))
            masks = np.zeros((n, height, width), bool)
            for i, hit in enumerate(rng.permutation(np.arange(n) < draw(rng, 3, n - 3))):
                top, left = int(rng.integers(height - 3)), int(rng.integers(width - 3))
                masks[i, top : top + 3, left : left + 3] = True
                maps[(i, *rng.permutation(np.argwhere(masks[i] == hit))[0])] = rng.uniform(1, 2)
            maps[:flat] = 0
            masks[:flat, 0, 0] = True
            yield {"about": about, "maps": maps.astype(np.float32), "masks": masks}


def _nearest(features: Tensor, query: int, k: int, slip: str = "") -> Tensor:
    rows = features if slip == "dot" else F.normalize(features, dim=1)
    likeness = rows @ rows[query]
    if slip == "distance":
        likeness = -torch.cdist(features, features[query : query + 1])[:, 0]
    if slip != "itself":
        likeness[query] = torch.inf if slip == "least" else -torch.inf
    found = likeness.topk(k, largest=slip != "least")
    return found.values if slip == "values" else found.indices


class Nearest(Exercise):
    """The nearest neighbours among features."""

    name = "nearest"
    not_allowed = ("NearestNeighbors",)
    hints = (
        "`F.normalize(features, dim=1)` gives every row the length 1; products of rows are then cosines.",
        "`rows @ rows[query]` gives all N cosines. Exclude the query by setting its own to −inf.",
        "`topk(k)` sorts by itself, and has values and indices.",
    )
    reference = staticmethod(_nearest)
    slips: ClassVar = {
        "itself": "every picture is most similar to itself: leave the query out",
        "dot": "that is the plain product, which prefers long rows: divide by both lengths",
        "distance": "that goes by the smallest distance; take the largest cosine, which ignores lengths",
        "least": "those are the least similar: the largest cosine comes first",
        "values": "those are the cosines; return the indices of the rows",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about in ("features of any sign", "features after a ReLU"):
            x = rng.normal(size=(draw(rng, 14, 20), draw(rng, 5, 8))) * rng.uniform(0.2, 5, (1,))
            x = (np.maximum(x + 0.5, 0) if "ReLU" in about else x) * rng.uniform(0.2, 4, (len(x), 1))
            sizes = {"query": draw(rng, 0, len(x) - 1), "k": draw(rng, 3, 6)}
            yield {"about": about, "features": x.astype(np.float32), **sizes}


def _attacked(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, slip: str = "") -> Tensor:
    x = images.clone().requires_grad_()
    scores = model(x)
    loss = F.cross_entropy(scores, labels, reduction="sum")
    up = scores.gather(1, labels[:, None]).sum() if slip == "score" else loss
    slope = torch.autograd.grad(up, x)[0]
    step = epsilon * (slope / slope.abs().max() if slip == "slope" else slope.sign())
    moved = images - step if slip == "downhill" else images + step
    return moved if slip == "unclipped" else moved.clamp(0, 1)


class Attack(Exercise):
    """The fast gradient sign method."""

    name = "attack"
    points = 2
    not_allowed = ("fgsm", "FGSM", "dl_course.explain", "captum")
    hints = (
        "Work on a copy that asks for its gradient: `x = images.clone().requires_grad_()`.",
        "`torch.autograd.grad(F.cross_entropy(model(x), labels), x)` returns a tuple with one gradient.",
        "`(images + epsilon * gradient.sign()).clamp(0, 1)`",
    )
    reference = staticmethod(_attacked)
    slips: ClassVar = {
        "unclipped": "the result leaves [0, 1], so it is no picture any more: clamp it",
        "downhill": "that makes the network surer: add the sign of the gradient, don't subtract it",
        "score": "that raises the label's score; it's the loss that must rise",
        "slope": "take the gradient's sign: every value moves by the whole epsilon, however flat it is there",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, n in {"one picture": 1, "several pictures": draw(rng, 2, 4)}.items():
            case = _network(rng, about, n)
            x = rng.uniform(size=case["x"].shape)
            labels = rng.integers(case["classes"], size=n).tolist()
            yield case | {"x": x, "labels": labels, "epsilon": float(rng.uniform(0.05, 0.2))}

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        return _in_words(super().judge(case, outputs))
