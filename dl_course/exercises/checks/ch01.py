"""Judging chapter 01: tensors, broadcasting, parameters, seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise
from dl_course.exercises.probes import Case, Outputs


def _standardized(images: Tensor, dims: tuple[int, ...], correction: int = 0) -> Tensor:
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    centred = images - images.mean(dims, keepdim=True)
    return torch.nan_to_num(centred / images.std(dims, correction=correction, keepdim=True), 0.0, 0.0, 0.0)


class Standardize(Exercise):
    """Standardize a batch."""

    name = "standardize"
    hints = (
        "Which axes belong to one channel? In (N, C, H, W) that is all but the second: dim=(0, 2, 3).",
        "`images.mean(dim=(0, 2, 3), keepdim=True)` has shape (1, C, 1, 1) and broadcasts back.",
        "PyTorch takes no mean of whole numbers: start with `images.float()`. Replace a deviation of 0 by 1.",
    )
    reference = staticmethod(lambda images: _standardized(images, (0, 2, 3)))
    mistakes: ClassVar = {
        "you used one mean and one std for all channels; each channel has its own": lambda images: (
            _standardized(images, (0, 1, 2, 3))
        ),
        "you standardized each picture by itself; take the mean over the whole batch": lambda images: (
            _standardized(images, (2, 3))
        ),
        "you took a mean for each pixel; average over a channel's pixels, too": lambda images: _standardized(
            images, (0,)
        ),
        "you divided by N − 1; ask for the plain standard deviation with correction=0": lambda images: (
            _standardized(images, (0, 2, 3), 1)
        ),
        "you subtracted the mean, but didn't divide by the standard deviation": lambda images: (
            images.float() - images.float().mean((0, 2, 3), keepdim=True)
        ),
        "you divided by the variance, not by its square root": lambda images: (
            _standardized(images, (0, 2, 3))
            / images.float().std((0, 2, 3), correction=0, keepdim=True).clamp(min=1e-12)
        ),
        "a constant channel has a standard deviation of 0: your 0/0 is NaN there": lambda images: (
            (images.float() - images.float().mean((0, 2, 3), keepdim=True))
            / images.float().std((0, 2, 3), correction=0, keepdim=True)
        ),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def pictures(n: int, channels: int) -> np.ndarray:
            size = (n, channels, int(rng.integers(3, 6)), int(rng.integers(6, 9)))
            scale, offset = rng.uniform(1, 9, (2, channels, 1, 1))
            return (rng.normal(size=size) * scale + offset * rng.choice([-1, 1])).astype(np.float32)

        yield {"about": "a small batch of grey pictures", "images": pictures(int(rng.integers(3, 6)), 1)}
        yield {
            "about": "colour pictures, every channel on its own scale",
            "images": pictures(int(rng.integers(4, 8)), 3),
        }
        yield {"about": "a batch of one picture", "images": pictures(1, 2)}
        whole = rng.integers(0, 256, (int(rng.integers(2, 5)), 3, 4, 5)).astype(np.uint8)
        yield {"about": "whole numbers from 0 to 255 (uint8), as in image files", "images": whole}
        flat = pictures(3, 2)
        flat[:, int(rng.integers(2))] = 7
        yield {"about": "one channel is the same everywhere", "images": flat}


class PairwiseDistances(Exercise):
    """Broadcasting without a loop."""

    name = "pairwise_distances"
    hints = (
        "Give a the shape (N, 1, D) and b the shape (1, M, D): their difference broadcasts to (N, M, D).",
        "`a[:, None]` inserts an axis of length 1. Then square, sum over the last axis, take the root.",
    )
    not_allowed = ("loop", "cdist", "pairwise_distance", "vmap")
    reference = staticmethod(lambda a, b: (a[:, None] - b[None]).pow(2).sum(-1).sqrt())
    mistakes: ClassVar = {
        "your result is transposed: rows belong to a, columns to b": lambda a, b: (
            (a[None] - b[:, None]).pow(2).sum(-1).sqrt()
        ),
        "the square root is missing": lambda a, b: (a[:, None] - b[None]).pow(2).sum(-1),
        "you averaged over the D coordinates; a distance sums over them": lambda a, b: (
            (a[:, None] - b[None]).pow(2).mean(-1).sqrt()
        ),
        "you added up absolute differences; a Euclidean distance squares them": lambda a, b: (
            (a[:, None] - b[None]).abs().sum(-1)
        ),
        "a² + b² − 2ab loses its digits far from the origin; subtract first, then square": lambda a, b: (
            (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None] - 2 * a @ b.T
        ).sqrt(),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def points(n: int, d: int, centre: float = 0.0) -> np.ndarray:
            return (rng.normal(size=(n, d)) + centre).astype(np.float32)

        n, m, d = (int(k) for k in rng.permutation(np.arange(3, 8))[:3])
        yield {"about": "N points and M others in D dimensions", "a": points(n, d), "b": points(m, d)}
        yield {"about": "as many points as others", "a": points(4, 3), "b": points(4, 3)}
        yield {"about": "one point", "a": points(1, d), "b": points(m, d)}
        yield {"about": "one coordinate", "a": points(n, 1), "b": points(m, 1)}
        yield {"about": "points far from the origin", "a": points(n, d, 3000.0), "b": points(m, d, 3000.0)}


def _count(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def _count_state(model: nn.Module, trainable_only: bool = False, once: bool = False) -> int:
    state = list(model.state_dict().values())
    state = list({value.data_ptr(): value for value in state}.values()) if once else state
    return _count(model, True) if trainable_only else sum(value.numel() for value in state)


def _count_twice(model: nn.Module, trainable_only: bool = False) -> int:
    owned = (p for module in model.modules() for p in module.parameters(recurse=False))
    return sum(p.numel() for p in owned if p.requires_grad or not trainable_only)


def _count_matrices(model: nn.Module, trainable_only: bool = False) -> int:
    return sum(
        p.numel() for p in model.parameters() if p.ndim > 1 and (p.requires_grad or not trainable_only)
    )


class CountParameters(Exercise):
    """Count parameters."""

    name = "count_parameters"
    hints = (
        "`model.parameters()` yields each parameter once, even if two layers share it.",
        "`p.numel()` is the number of values in a parameter; `p.requires_grad` says whether it is trained.",
    )
    reference = staticmethod(_count)
    mistakes: ClassVar = {
        "you counted tensors; count the numbers in them, with numel()": lambda model, trainable_only=False: (
            sum(p.requires_grad or not trainable_only for p in model.parameters())
        ),
        "you counted buffers, too: BatchNorm's running averages are state, not parameters": partial(
            _count_state, once=True
        ),
        "state_dict() has buffers too, and shared weights twice; parameters() has each once": _count_state,
        "you counted a shared weight twice, once for each of its layers": _count_twice,
        "trainable_only makes no difference: leave out parameters with requires_grad=False": (
            lambda model, trainable_only=False: _count(model)
        ),
        "frozen parameters count, too, unless trainable_only is set": (
            lambda model, trainable_only=False: _count(model, True)
        ),
        "you left out the biases": _count_matrices,
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def network(about: str, frozen: int = 0, tied: bool = False, batchnorm: bool = False) -> Case:
            widths = [int(width) for width in rng.integers(2, 30, int(rng.integers(3, 6)))]
            return {"about": about, "widths": widths, "frozen": frozen, "tied": tied, "batchnorm": batchnorm}

        yield network("a plain network of linear layers")
        yield network("its first layer is frozen", frozen=1)
        yield network("it has BatchNorm, with running averages", batchnorm=True)
        yield network("two layers share one weight", tied=True)


class SeededSplit(Exercise):
    """A seeded split."""

    name = "seeded_split"
    hints = (
        "`torch.randperm(n)` shuffles all indices; cutting it in two gives two parts without overlap.",
        "Use a generator of your own and leave the global one alone: `torch.Generator().manual_seed(seed)`.",
        "`torch.randperm(n, generator=g)`; the validation part has round(n * share) members.",
    )

    @staticmethod
    def reference(n: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        size = round(n * share)
        return order[size:], order[:size]

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        yield {
            "about": "a hundred pictures, a fifth for validation",
            "n": 100,
            "share": 0.2,
            "seed": int(rng.integers(1000)),
        }
        n = int(rng.integers(600, 900)) * 2 + 1
        yield {
            "about": "a number that doesn't divide evenly",
            "n": n,
            "share": 0.15,
            "seed": int(rng.integers(1000)),
        }
        for share in (0.1, 0.0):
            yield {
                "about": "little or nothing for validation",
                "n": int(rng.integers(200, 300)),
                "share": share,
                "seed": int(rng.integers(1000)),
            }

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        if "raised" in outputs or not _is_pair(outputs.get("split")):
            return super().judge(case, outputs)
        n = case["n"]
        size = round(case["n"] * case["share"])
        train, val = outputs["split"]
        both = set(train) & set(val)
        everything = sorted([*train, *val])
        if both:
            return Difference(
                "split", f"{len(both)} in both", "none in both", "some indices are in both parts"
            )
        if everything != list(range(n)):
            return Difference(
                "split",
                f"{len(everything)} indices",
                f"0 to {n - 1}, each once",
                "each index belongs in exactly one part",
            )
        if len(val) != size:
            swapped = (
                "the two parts are swapped: training first"
                if len(train) == size
                else "the validation part has the wrong size"
            )
            return Difference("split", len(val), size, swapped)
        if outputs["again"] != outputs["split"]:
            return Difference(
                "again",
                outputs["again"],
                outputs["split"],
                "the same seed gave a different split the second time",
            )
        if size and outputs["another seed"] == outputs["split"]:
            unmoved = sorted(val) in (list(range(size)), list(range(n - size, n)))
            why = (
                "nothing is shuffled: the data may be sorted by class"
                if unmoved
                else "a different seed gave the same split"
            )
            return Difference("another seed", "the same split", "another split", why)
        val_of_another = set(outputs["another seed"][1])
        return _not_by_chance(set(val), val_of_another, n) or self._touched(case, outputs)

    def _touched(self, case: Case, outputs: Outputs) -> Difference | None:
        expected = self.outputs_of(SeededSplit.reference, case)["random numbers"]
        if np.allclose(outputs["random numbers"], expected):
            return None
        says = "you seeded or used the global generator; give randperm a generator of its own"
        return Difference("random numbers", "changed", "untouched", says)


def _not_by_chance(val: set[int], other: set[int], n: int) -> Difference | None:
    """Return what is too regular about the validation parts of two seeds, beyond seven deviations."""
    share = len(val) / n
    expected = len(val) * share
    room = 7 * (1 - share) * expected**0.5 + 1
    gap, often = max(Counter(np.diff(sorted(val)).tolist()).items(), key=lambda each: each[1], default=(0, 0))
    if often > expected + room:
        says = "the validation part has a pattern: take its indices at random from all of them"
        return Difference("split", f"{often} times a gap of {gap:.0f}", f"about {expected:.0f}", says)
    if abs(len(val & other) - expected) > room:
        says = "two seeds give nearly the same, or disjoint, parts: each has to shuffle anew"
        return Difference("another seed", f"{len(val & other)} in common", f"about {expected:.0f}", says)
    return None


def _is_pair(split: object) -> bool:
    return isinstance(split, list) and len(split) == 2 and all(isinstance(part, list) for part in split)
