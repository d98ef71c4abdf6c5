"""Judging chapter 05: what layers do. The right answers can be told to make a slip."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case, Outputs
from dl_course.hooks import capture


def _network(rng: np.random.Generator, about: str, n: int, **more: Any) -> Case:
    x = rng.normal(size=(n, 2, draw(rng, 8, 10), draw(rng, 11, 14))).astype(np.float32)
    sizes = {"channels": draw(rng, 4, 6), "classes": draw(rng, 4, 7), "seed": draw(rng, 0, 9999)}
    return {"about": about, "x": x, "breaks": False, **sizes, **more}


NEXT, BEFORE = {"more": "after", "body.norm": "body.act"}, {"more": "body.act", "body.norm": "body.conv"}


def _captured(model: nn.Module, layer: str, x: Tensor, slip: str = "") -> Tensor:
    # Not copied, a layer's output is what the next one made of it in place: that one's output.
    layer = {"no copy": NEXT, "input": BEFORE}.get(slip, {}).get(layer, layer)
    with capture(model, layer) as seen:
        model(x)
    return seen[layer][0].activation


LEFT = {
    "hooks left": "your hook is still on the network: keep the handle, and call handle.remove()",
    "hooks left by it": "when the network fails, your hook stays: remove it in a `finally:`",
    "parameters with a gradient": "backward() fills parameters, too: use torch.autograd.grad(score, kept)",
    "tied to the graph": "it keeps the graph of the whole run alive: detach it",
    "the error": "the network raised an error, and you hid it from your caller: let it pass",
}


def _in_words(found: Difference | None) -> Difference | None:
    return found and replace(found, diagnosis=LEFT.get(found.where, found.diagnosis))


class ActivationOf(Exercise):
    """Capture with a hook, and remove it."""

    name = "activation_of"
    points = 2
    not_allowed = ("capture", "watching", "create_feature_extractor", "dl_course.hooks")
    hints = (
        "`model.get_submodule(layer).register_forward_hook(function)` hooks a layer and returns a handle.",
        "It is called with (module, inputs, output): append `output.detach().clone()` to a list of yours.",
        "Run the network in `try:`, and call `handle.remove()` in `finally:`.",
    )
    reference = staticmethod(_captured)
    slips: ClassVar = {
        "no copy": "the next layer works in place and wrote over what you kept: clone it in the hook",
        "input": "that is what went into the layer; a hook is called with (module, inputs, output)",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        yield _network(rng, "a layer with nothing in place behind it", 2, layer="body.act")
        yield _network(rng, "a layer before a ReLU that works in place", 3, layer="more")
        yield _network(rng, "networks that work, and break", 1, layer="body.norm")
        yield _network(rng, "networks that work, and break", 2, layer="body.norm", breaks=True)

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        return _in_words(super().judge(case, outputs))


def _dead(batches: Sequence[Tensor], slip: str = "") -> Any:
    if slip == "averaged":
        return float(np.mean([_dead([batch]) for batch in batches]))
    everything = torch.cat(list(batches))
    quiet = (everything == 0 if slip == "not zero" else everything <= 0).reshape(*everything.shape[:2], -1)
    return {"zeros": quiet, "places": quiet.all(0)}.get(slip, quiet.all(2).all(0)).float().mean()


class DeadShare(Exercise):
    """The share of dead units."""

    name = "dead_share"
    not_allowed = ("dead_units", "dl_course.diagnostics")
    hints = (
        "The second axis is the units. A unit is alive as soon as *one* of its numbers is above 0, anywhere.",
        "`(batch > 0).transpose(0, 1).flatten(1).any(1)` says who is alive in a batch; join them with `|`.",
    )
    reference = staticmethod(_dead)
    slips: ClassVar = {
        "zeros": "that is the share of zeros among all numbers; a unit is dead if all of its own are zeros",
        "averaged": "that is the mean of the batches' shares: a unit may wake up in another batch",
        "places": "a channel is one unit, with all its places: one active place is enough",
        "not zero": "a number below 0 isn't active either: ask for > 0, not for == 0",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        last = draw(rng, 1, 3)
        kinds: dict[str, tuple[list[int], tuple[int, ...], float]] = {  # batches, places, slope below 0
            "one batch of a linear layer": ([5 + last], (), 0.0),
            "batches of a linear layer": ([6, 6, last], (), 0.0),
            "batches of feature maps": ([5, 5, last], (draw(rng, 3, 4), 5), 0.0),
            "a leaky ReLU": ([4, last], (3, 2), 0.3),
        }
        for about, (sizes, shape, slope) in [each for each in kinds.items() for _ in range(2)]:
            units = draw(rng, 9, 16)
            dead = draw(rng, 2, 5)
            x = rng.normal(size=(sum(sizes), units, int(np.prod(shape))))
            order = rng.permutation(units)
            x[:, order[: dead + 2]] = -np.abs(x[:, order[: dead + 2]])
            x[0, order[dead : dead + 2], -1] = 1  # two wake up once
            y = np.where(x > 0, x, slope * x).astype(np.float32).reshape(*x.shape[:2], *shape)
            yield {"about": about, "batches": np.split(y, np.cumsum(sizes)[:-1])}


def _statistics(batches: Sequence[Tensor], slip: str = "") -> tuple[Tensor, Tensor]:
    if slip == "mean of means":
        found = [_statistics([batch]) for batch in batches]
        return torch.stack([mean for mean, _ in found]).mean(0), torch.stack([std for _, std in found]).mean(
            0
        )
    x = torch.cat(list(batches)).double()
    axes = {"pictures": (0,), "everything": (0, 1, 2, 3)}.get(slip, (0, 2, 3))
    mean, variance = x.mean(axes), x.var(axes, correction=1 if slip == "minus one" else 0)
    return mean, variance if slip == "variance" else variance.sqrt()


class LayerStatistics(Exercise):
    """Mean and spread of each channel, batch by batch."""

    name = "layer_statistics"
    not_allowed = ("activation_statistics", "dl_course.diagnostics", "cat")
    hints = (
        "Keep three things: how many numbers each channel has had, their sum, and the sum of their squares.",
        "`batch.sum((0, 2, 3))` gives a number per channel; use `batch.double()`: sums of squares are large.",
        "The variance is the mean of the squares minus the square of the mean.",
    )
    reference = staticmethod(_statistics)
    slips: ClassVar = {
        "mean of means": "that averages the batches' results; the last one is shorter, and spreads don't "
        "average",
        "pictures": "a channel is one unit with all its places: sum over height and width, too",
        "everything": "that is one number for everything; every channel has a mean and a spread of its own",
        "variance": "that is the variance; take its root",
        "minus one": "divide by N, not by N − 1: these are all the numbers there are, not a sample",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, count in {"one batch": 1, "batches, the last one shorter": draw(rng, 2, 4)}.items():
            size = draw(rng, 4, 6)
            channels = draw(rng, 3, 5)
            x = rng.normal(size=(size * count + draw(rng, 1, 2), channels, draw(rng, 3, 4), 5))
            x = (x * rng.uniform(0.5, 3, (channels, 1, 1)) + rng.normal(size=(channels, 1, 1))).astype(
                np.float32
            )
            yield {"about": about, "batches": np.split(x, range(size, len(x), size)) if count > 1 else [x]}


def _ratios(model: nn.Module, slip: str = "") -> dict[str, float | None]:
    def ratio(weight: Tensor) -> float | None:
        grad = torch.zeros_like(weight) if weight.grad is None and slip == "zero" else weight.grad
        if grad is None or slip == "none" and not grad.any():
            return None
        over, under = grad.norm(), weight.detach().norm()
        return float({"alone": over, "upside down": under / over}.get(slip, over / under))

    weights = {name: weight for name, weight in model.named_parameters() if weight.ndim > 1}
    return {name: ratio(w) for name, w in weights.items() if slip != "skip" or w.grad is not None}


class GradientRatios(Exercise):
    """A table of the gradient's flow."""

    name = "gradient_ratios"
    not_allowed = ("gradient_flow", "gradient_statistics", "dl_course.diagnostics")
    hints = (
        "`model.named_parameters()` gives names and parameters; matrices and kernels have `ndim >= 2`.",
        "`(parameter.grad.norm() / parameter.norm()).item()`; where `parameter.grad is None`, None.",
    )
    reference = staticmethod(_ratios)
    slips: ClassVar = {
        "zero": "no gradient at all isn't a gradient of zero: put None into the table",
        "none": "a gradient of zero did arrive: it counts as 0.0, not as None",
        "skip": "a parameter without a gradient belongs in the table, with None: that's what you look for",
        "alone": "that is the gradient's norm; divide it by the weight's",
        "upside down": "that is weight / gradient: the other way round",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        body = ["body.conv.weight", "body.conv.bias"]
        kinds = {"a layer left out": ([], 0), "a frozen layer": (body, 0), "silent units": ([], -1e3)}
        for about, (frozen, shift) in kinds.items():
            case = _network(rng, about, n := draw(rng, 3, 5), frozen=frozen, shift=shift)
            yield case | {"labels": rng.integers(case["classes"], size=n).tolist()}
