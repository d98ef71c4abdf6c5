"""Judging chapter 04: training. The right answers can be told to make a slip."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case


class _PictureFiles:
    def __init__(self, files: list[Any], labels: list[int], slip: str = "") -> None:
        self.files = files
        self.labels = labels
        self.slip = slip
        self.early = [self._read(file) for file in files] if slip == "eager" else []

    def __len__(self) -> int:
        return len(set(self.labels)) if self.slip == "classes" else len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = self.early[index] if self.early else self._read(self.files[index])
        return picture, self.labels[index - (self.slip == "shifted")]

    def _read(self, file: Any) -> Tensor:
        with Image.open(file) as picture:
            shown = np.array(picture if self.slip == "colour" else picture.convert("L"))
        pixels = torch.from_numpy(shown if shown.ndim == 3 else shown[:, :, None]).permute(2, 0, 1)
        pixels = pixels if self.slip == "bytes" else pixels / 255
        return pixels[0] if self.slip == "flat" else pixels


class PictureFiles(Exercise):
    """A data set of your own."""

    name = "PictureFiles"
    hints = (
        "`__init__` keeps the two lists, and opens nothing. `__len__` is the number of files.",
        "In `__getitem__`: `Image.open(self.files[index])`, `.convert('L')`, then `pil_to_tensor`: bytes.",
        "Divide the bytes by 255, and return the pair (picture, self.labels[index]).",
    )
    not_allowed = ("CSVImageDataset", "folder_per_class", "ImageFolder")
    reference = _PictureFiles
    slips: ClassVar = {
        "bytes": "these are bytes from 0 to 255; divide by 255",
        "flat": "the channel axis is missing: a grey picture is (1, H, W)",
        "colour": "make every picture grey: .convert('L') before it becomes a tensor",
        "eager": "the files were read in __init__: a million pictures don't fit into memory; open a file "
        "when "
        "its item is asked for",
        "classes": "__len__ is the number of pictures, not of classes",
        "shifted": "pictures and labels have come apart: both lists take the same index",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, channels in (("grey pictures", ()), ("pictures in colour", (3,))):
            count = draw(rng, 3, 5)
            shape = (count, draw(rng, 4, 7), draw(rng, 8, 11), *channels)
            early, late = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
            labels = [*range(draw(rng, 1, 2), count), 7, 7][:count]
            yield {"about": about, "early": early, "late": late, "labels": labels}


def _training(rng: np.random.Generator, about: str, samples: list[int], **more: Any) -> Case:
    inputs, hidden, classes = sizes = rng.permutation(np.arange(3, 8))[:3].tolist()
    batches = [[rng.normal(size=(n, inputs)), rng.integers(0, classes, n)] for n in samples]
    return {"about": about, "sizes": sizes, "batches": batches, "seed": draw(rng, 0, 999)} | more


def _stepped(model: nn.Module, optimizer: Any, images: Tensor, labels: Tensor, slip: str = "") -> Any:
    model.train(model.training or slip != "no train")
    if slip != "no zero":
        optimizer.zero_grad()
    logits = model(images)
    loss = F.cross_entropy(logits.softmax(1) if slip == "softmax" else logits, labels)
    loss.backward()
    if slip != "no step":
        optimizer.step()
    return loss if slip == "graph" else loss.item()


class TrainStep(Exercise):
    """A training step in PyTorch."""

    name = "train_step"
    hints = (
        "Mode, forward, loss; then `optimizer.zero_grad()`, `loss.backward()`, `optimizer.step()`.",
        "`loss.item()` is the plain number, without PyTorch's record of how it was computed.",
    )
    reference = staticmethod(_stepped)
    slips: ClassVar = {
        "no zero": "new gradients were added to old ones: call optimizer.zero_grad() before backward()",
        "no train": "the model came in eval mode, and stayed in it: begin with model.train()",
        "no step": "nothing moved: after backward() comes optimizer.step(), and no zero_grad() between them",
        "softmax": "cross_entropy takes logits and does the softmax itself; yours went through two",
        "graph": "your loss holds on to the graph of its whole batch; return loss.item()",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        yield _training(rng, "one step", [draw(rng, 4, 9)])
        yield _training(rng, "three steps", [6, 6, draw(rng, 3, 5)])
        yield _training(rng, "gradients are left from before", [draw(rng, 4, 9)], stale=True)
        yield _training(rng, "a model in eval mode", [draw(rng, 4, 9)], training=False)


def _evaluated(model: nn.Module, batches: Any, slip: str = "") -> list[float]:
    modes = [(module, module.training) for module in model.modules()]
    figures = []
    if slip != "no eval":
        model.eval()
    with torch.set_grad_enabled(slip == "graph"):
        for images, labels in batches:
            logits = model(images)
            right = (logits.argmax(1) == labels).double().mean()
            figures.append((F.cross_entropy(logits, labels).item(), right.item()))
    for module, mode in modes:
        module.training = (modes[0][1] if slip == "thawed" else mode) and slip != "left"
    loss, accuracy = np.average(figures, axis=0, weights=[len(labels) for _, labels in batches]).tolist()
    means = np.mean(figures, axis=0).tolist()
    other = {"means": means, "loss means": [means[0], accuracy], "percent": [loss, 100 * accuracy]}
    return other.get(slip, [loss, accuracy])


class Evaluate(Exercise):
    """The evaluation loop."""

    name = "evaluate"
    hints = (
        "First remember each module's mode, `[(m, m.training) for m in model.modules()]`; then "
        "`model.eval()`.",
        "Under `torch.no_grad()`, go over the batches. At the end give each module its own mode back.",
        "A batch's loss is the mean of its samples. Times len(labels) it can be added up; divide at the end.",
    )
    reference = staticmethod(_evaluated)
    slips: ClassVar = {
        "means": "the mean of the batches' means is not the mean of the samples: the last batch is shorter",
        "loss means": "the loss is a mean over batches, and the last is shorter: weight each by its samples",
        "no eval": "model.eval() is missing: in training mode, batch norm learns from what it should judge",
        "graph": "PyTorch kept everything for a backward pass that never comes: use torch.no_grad()",
        "left": "the model came in training mode, and should leave in it: give every mode back",
        "thawed": "model.train(was) sets every layer: one that was frozen in eval mode is now thawed. "
        "Remember "
        "each module's own mode",
        "percent": "the accuracy is a fraction, from 0 to 1",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        yield _training(rng, "batches of one size", [7, 7])
        yield _training(rng, "a short last batch", [11, 11, draw(rng, 2, 4)])
        yield _training(rng, "a last batch of one", [6, 1])
        yield _training(rng, "a model in eval mode", [draw(rng, 8, 12)], training=False)
        yield _training(rng, "a frozen batch norm", [draw(rng, 8, 12)], frozen=True)


def _factor(step: int, warmup: int, total: int, slip: str = "") -> float:
    if step < warmup:
        early = {"from 0": step / warmup, "top early": (step + 1) / warmup}
        return early.get(slip, (step + 1) / (warmup + 1))
    done = step / total if slip == "no shift" else (step - warmup) / (total - warmup)
    angle = math.pi * (done if slip == "rises again" else min(1.0, done))
    return (1 + math.cos(angle)) / (1 if slip == "no half" else 2)


class WarmupCosine(Exercise):
    """A warm-up and half a cosine."""

    name = "warmup_cosine"
    hints = (
        "After the warm-up: which share of the way from step `warmup` to `total` is done? At most all of it.",
        "cos goes from 1 to −1 while its angle goes from 0 to π. Add 1, and halve.",
    )
    reference = staticmethod(_factor)
    slips: ClassVar = {
        "from 0": "step 0 would have a rate of 0 and be wasted: begin with 1/(warmup + 1)",
        "top early": "the top is reached a step early: step k of the warm-up has (k + 1)/(warmup + 1)",
        "no shift": "the cosine begins after the warm-up, and has only the steps that are left",
        "rises again": "a cosine rises again after half a turn: from step `total` on the factor stays 0",
        "no half": "1 + cos goes from 2 to 0: halve it",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, warmup in (("no warm-up", 0), ("a warm-up", draw(rng, 3, 6)), ("one step of warm-up", 1)):
            yield {"about": about, "warmup": warmup, "total": warmup + draw(rng, 7, 12)}


def _accumulated(model: nn.Module, optimizer: Any, batches: Any, slip: str = "") -> float:
    n = sum(len(labels) for _, labels in batches)
    losses = []
    for index, (images, labels) in enumerate(batches):
        if slip == "erased" or (slip != "no zero" and index == 0):
            optimizer.zero_grad()
        share = {"sum": 1.0, "mean": 1 / len(batches)}.get(slip, len(labels) / n)
        losses.append(F.cross_entropy(model(images), labels) * share)
        if slip != "at once":
            losses[-1].backward()
        if slip == "many steps":
            optimizer.step()
    if slip == "at once":
        torch.stack(losses).sum().backward()
    if slip != "many steps":
        optimizer.step()
    return sum(loss.item() for loss in losses)


class AccumulatedStep(Exercise):
    """One step for many small batches."""

    name = "accumulated_step"
    points = 2
    hints = (
        "backward() adds to the gradients that are there. So: zero_grad once, backward often, step once.",
        "The big batch's loss is the mean over *all* samples: a small batch has len(labels) / all of it.",
    )
    reference = staticmethod(_accumulated)
    slips: ClassVar = {
        "sum": "the batches' means were added up, so the gradient is too large: weight each by its share",
        "mean": "the batches are of unequal size: weight each by its share of the samples",
        "many steps": "you took a step for each batch; add up first, and step once",
        "erased": "zero_grad inside the loop erases what the earlier batches gave: only the last one counted",
        "no zero": "gradients from before counted too: begin with optimizer.zero_grad()",
        "at once": "all batches were kept for one backward(), which saves no memory: call it batch by batch",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        yield _training(rng, "one batch", [draw(rng, 4, 6)])
        yield _training(rng, "batches of one size", [4, 4, 4])
        yield _training(rng, "a short last batch", [6, 6, draw(rng, 1, 3)])
        yield _training(rng, "gradients are left from before", [5, draw(rng, 2, 4)], stale=True)


def _clipped(gradients: list[Tensor], max_norm: float, slip: str = "") -> Tensor:
    norms = torch.stack([gradient.norm() for gradient in gradients])
    norm = norms.sum() if slip == "sum" else norms.norm()
    scales = max_norm / ((norms if slip == "each" else norm.expand(len(norms))) + 1e-12)
    for gradient, scale in zip(gradients, scales if slip == "always" else scales.clamp(max=1), strict=True):
        shorter = gradient.clamp(-max_norm, max_norm) if slip == "values" else gradient * scale
        gradient.copy_(gradient if slip == "nothing" else shorter)
    return torch.stack([gradient.norm() for gradient in gradients]).norm() if slip == "after" else norm


class ClipByGlobalNorm(Exercise):
    """Clipping by the global norm."""

    name = "clip_by_global_norm"
    not_allowed = ("clip_grad_norm_", "clip_grads_with_norm_", "get_total_norm")
    hints = (
        "One norm for all numbers of all gradients; one factor, max_norm / norm, but never more than 1.",
        "`gradient *= factor` changes the tensor itself; `gradient = gradient * factor` makes another.",
    )
    reference = staticmethod(_clipped)
    slips: ClassVar = {
        "each": "each tensor was clipped by itself, which bends the direction: one factor for all",
        "values": "single values were cut off, which bends the direction: one factor for all",
        "always": "short gradients were stretched too: the factor is never more than 1",
        "nothing": "the gradients are as before: change them in place, gradient *= factor",
        "sum": "norms don't add up: square them, add, and take the root",
        "after": "return the norm from before: it says whether the training is in trouble",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        few = "small ones, or zeros"
        for about, count, size in (
            ("one tensor", 1, 3.0),
            ("large ones", 3, 9.0),
            (few, 3, 0.01),
            (few, 2, 0.0),
        ):
            drawn = [rng.uniform(0.3, 3) * rng.normal(size=rng.integers(2, 6, 2)) for _ in range(count)]
            yield {"about": about, "gradients": [size * g for g in drawn], "max_norm": rng.uniform(0.5, 2)}


class _Stopping:
    def __init__(self, patience: int, min_delta: float = 0.0, slip: str = "") -> None:
        self.patience = patience + {"late": 1, "early": -1}.get(slip, 0)
        self.slip = slip
        self.min_delta = 0 if slip == "no delta" else min_delta
        self.best = math.inf
        self.bad = 0

    def update(self, loss: float) -> bool:
        bound = self.best - self.min_delta
        better = {"ties": loss <= bound, "NaN": not loss >= bound}.get(self.slip, loss < bound)
        self.bad += 1 if not better else 0 if self.slip == "no reset" else -self.bad
        self.best = loss if better or self.slip == "previous" else self.best
        return self.bad >= self.patience


class EarlyStopping(Exercise):
    """Early stopping."""

    name = "EarlyStopping"
    hints = (
        "Keep two things: `self.best`, infinite at first, and how many epochs have passed since.",
        "Better is `loss < self.best - self.min_delta`. If so: a new best, and the count is 0 again.",
    )
    reference = _Stopping
    slips: ClassVar = {
        "late": "one epoch late: the epoch that makes it `patience` epochs without progress is the last",
        "early": "one epoch early: `patience` epochs in a row must have brought nothing",
        "no reset": "a new best sets the count back to 0: only epochs in a row count",
        "previous": "compare with the best loss so far, not with the last one",
        "ties": "an equal loss is no progress: ask <, not <=",
        "no delta": "min_delta is left out: a gain as small as that is no progress",
        "NaN": "NaN counted as progress: every comparison with it is False, so ask loss < …, not >= …",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        few = draw(rng, 2, 4)
        patience = draw(rng, 3, 4)
        kinds = {
            "it falls, then rises": [-0.1] * few + [0.1] * 6,
            "ups and downs": ([-0.4] + [0.1] * (patience - 1)) * 2 + [0.1] * 6,
            "down again, but not to the best": [-0.5, 0.4] + [-0.04] * 6,
            "it stands still": [-0.1] * few + [0.0] * 6,
            "small gains": [-0.3] + [-0.04] * 9 + [0.0] * 6,
            "NaN": [-0.1] * few + [math.nan] * 6,
        }
        for about, moves in kinds.items():
            case = {"about": about, "patience": patience, "min_delta": 0.1 * (about == "small gains")}
            yield case | {"losses": rng.uniform(2, 3) + rng.uniform(0.9, 1.1) * np.cumsum(moves)}


def _focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, slip: str = "") -> Tensor:
    cost = F.cross_entropy(logits, labels, reduction="mean" if slip == "mean first" else "none")  # −log p
    p = torch.exp(-cost)
    weight = {"p": p**gamma, "linear": gamma * (1 - p)}.get(slip, (1 - p) ** gamma)
    losses = cost * (weight.detach() if slip == "detached" else weight)
    return losses.sum() if slip == "sum" else losses.mean()


class FocalLoss(Exercise):
    """Focal loss."""

    name = "focal_loss"
    hints = (
        "`logits.log_softmax(1)` has log p of every class; `gather(1, labels[:, None])` picks the true ones.",
        "`p = log_p.exp()`. Each sample's term is −(1 − p)**gamma · log p; the mean comes last.",
    )
    reference = staticmethod(_focal)
    slips: ClassVar = {
        "mean first": "the mean was taken too early: each sample has its own p, so weight, then average",
        "p": "the weight is upside down: p**gamma keeps the easy samples; take (1 - p)**gamma",
        "linear": "gamma is an exponent: (1 - p)**gamma",
        "detached": "the value is right, the gradient isn't: it must go through the weight too, no detach",
        "sum": "these are added up; take the mean over the samples",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {"gamma 0, the cross-entropy": (5, 2, 0.0), "several samples": (6, 2, 2.0)}
        kinds |= {"another gamma": (4, 2, rng.uniform(1.2, 4)), "huge logits": (5, 3000, 2.0)}
        for about, (n, scale, gamma) in kinds.items():
            logits = scale * rng.normal(size=(n, draw(rng, 3, 6)))
            labels = (logits.argmax(1) + np.arange(n) % 3) % logits.shape[1]
            yield {"about": about, "logits": logits, "labels": labels, "gamma": gamma}
