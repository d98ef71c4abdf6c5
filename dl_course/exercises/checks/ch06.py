"""Judging chapter 06: what a project needs besides its network. Reference answers can make known mistakes."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dl_course import data
from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case, Outputs
from dl_course.files import DataUnavailable


def _nearest_mean(pictures: Tensor, labels: Tensor, new: Tensor, slip: str = "") -> Tensor:
    kinds = labels.unique()
    x = pictures.flatten(1)
    y = new.flatten(1)
    if slip == "neighbour":
        return labels[torch.cdist(y, x).argmin(1)]
    members = [x[labels == kind] for kind in kinds]
    middle = {"sum": lambda x: x.sum(0), "median": lambda x: x.median(0).values}.get(
        slip, lambda x: x.mean(0)
    )
    means = torch.stack([middle(each) for each in members])
    if slip == "product":
        return kinds[(y @ means.T).argmax(1)]
    far = torch.cdist(y, means)
    place = far.argmax(1) if slip == "farthest" else far.argmin(1)
    return place if slip == "place" else kinds[place]


class NearestMean(Exercise):
    """A baseline: the nearest mean picture."""

    name = "nearest_mean"
    not_allowed = ("NearestCentroid", "KNeighborsClassifier")
    hints = (
        "`labels.unique()` gives the classes; `pictures[labels == kind].mean(0)` is the mean of one class.",
        "`torch.cdist(a.flatten(1), b.flatten(1))` gives the distance from each row of a to each row of b.",
        "`argmin(1)` gives the index of the nearest mean. Which label belongs to that index?",
    )
    reference = staticmethod(_nearest_mean)
    slips: ClassVar = {
        "place": "those are indices into your list of means; return the labels that belong to them",
        "farthest": "you took the farthest mean",
        "product": "a product isn't a distance, so bright means win; subtract, square and sum",
        "sum": "those are sums; divide by the number of pictures, or frequent classes end up far away",
        "median": "those are medians; use the mean",
        "neighbour": "that is the nearest single picture; average each class first",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds: dict[str, tuple[list[int], tuple[int, ...]]] = {
            "rows of numbers": ([0, 1, 2], (draw(rng, 5, 8),)),
            "pictures": ([0, 1, 2, 3], (1, draw(rng, 4, 5), 6)),
            "labels that don't count from 0": (sorted(rng.choice(np.arange(3, 10), 3, False)), (1, 5, 4)),
        }
        for about, (classes, shape) in kinds.items():
            n = draw(rng, 30, 40)
            counts = [draw(rng, 4, 6) * (3 if c == classes[0] else 1) for c in classes]
            labels = rng.permutation(np.repeat(np.array(classes, np.int64), counts))
            centres = {c: rng.uniform(0, 1, shape) * (1 + 0.5 * i) for i, c in enumerate(classes)}
            drawn = [centres[c] for c in (*labels, *rng.choice(classes, n))]
            every = (np.stack(drawn) * rng.exponential(1, (len(drawn), *shape))).astype(np.float32)
            yield {"about": about, "pictures": every[:-n], "labels": labels, "new": every[-n:]}


def redrawn(rng: np.random.Generator, pictures: np.ndarray) -> np.ndarray:
    """Return pictures, (N, 1, H, W) bytes, each a little turned, scaled and moved: no copies to look up."""
    n = len(pictures)
    angle = np.deg2rad(rng.uniform(-8, 8, n))
    turned = rng.uniform(0.95, 1.05, n) * np.stack(
        [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
    )
    shift = rng.uniform(-2, 2, (n, 2, 1)) / pictures.shape[-1]  # at most a pixel
    where = torch.from_numpy(np.concatenate([turned.T.reshape(n, 2, 2), shift], 2)).float()
    grid = F.affine_grid(where, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(torch.from_numpy(pictures).float(), grid, align_corners=False).numpy()
    return (moved + rng.normal(0, 6, moved.shape)).clip(0, 255).astype(np.uint8)


class ChallengeCheck(Exercise):
    """Your CNN: 60,000 parameters, 99 %."""

    name = "Challenge"
    points = 3
    seconds = 20.0
    not_allowed = ("trained", "pretrained")
    limit: ClassVar = 60_000
    moved: ClassVar = 2_000  # of so many pictures
    moved_bar: ClassVar = 0.85  # the course's own for digits, trained on unmoved ones, has 0.975 to 0.986
    hints = (
        "A block: Conv2d(…, 3, padding=1, bias=False), BatchNorm2d, ReLU, MaxPool2d(2). Three are enough.",
        "A convolution has 9 · inputs · outputs weights. AdaptiveAvgPool2d(1) keeps the Linear layer small.",
        "Not there yet? More epochs, or a larger learning rate; judge by validation accuracy alone.",
    )

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        try:
            test = data.load("mnist", "test", download=False)
            bar = 0.99
            where = "MNIST's test pictures"
        except DataUnavailable:
            test = data.load("digits", "test")
            bar = 0.97
            where = "digits' test pictures: MNIST isn't here"
        order = rng.permutation(len(test))
        pictures = test.images.numpy()[order]
        labels = test.labels.numpy()[order]
        both = np.concatenate([pictures, redrawn(rng, pictures[: self.moved])])
        yield {"about": where, "_apart": {"pictures": both}, "_labels": labels, "_bar": bar}

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        count = outputs.get("parameters")
        logits = np.asarray(outputs.get("logits"))
        if "raised" in outputs:
            why = f"your code raised {outputs['raised']} {outputs['line']}"
            why = {
                "FileNotFoundError": "train and save your network first: the cell above does both",
                "RuntimeError": "the file's weights don't fit: has the network changed since? Train it again",
                "TimeUp": outputs["message"],
            }.get(outputs["raised"], why)
            return Difference("", outputs["message"], "a trained network", why)
        if not isinstance(count, int) or not 0 < count <= self.limit:  # nor NaN, which is no larger
            return Difference("parameters", count, self.limit, "too many parameters: use fewer channels")
        labels = case["_labels"]
        wanted = (len(labels) + len(labels[: self.moved]), 10)
        if logits.shape != wanted:
            return Difference("logits", logits.shape, wanted, "return ten scores for each picture")
        hits = logits.argmax(1) == np.concatenate([labels, labels[: self.moved]])
        right = float(hits[: len(labels)].mean())
        when_moved = float(hits[len(labels) :].mean())
        if right >= case["_bar"] and when_moved < self.moved_bar:
            where = f"accuracy on {case['about']}, each a little turned and moved"
            return Difference(where, when_moved, self.moved_bar, "it knows these pictures, not digits")
        if right >= case["_bar"]:
            return None
        says = "no better than guessing: are these trained weights?" if right < 0.2 else "not accurate enough"
        return Difference(f"accuracy on {case['about']}", right, case["_bar"], says)


def _confusion(labels: Tensor, predicted: Tensor, classes: int, slip: str = "") -> Tensor:
    if slip == "once":
        table = torch.zeros(classes, classes)
        table[labels, predicted] += 1
        return table
    size = int(max(labels.max(), predicted.max())) + 1 if slip == "shape" else classes
    table = torch.bincount(labels * size + predicted, minlength=size**2).reshape(size, size)
    slips = {"mirrored": table.T, "wrong only": table - table.diag().diag()}
    return slips.get(slip, table / table.sum(1, keepdim=True) if slip == "shares" else table)


class Confusion(Exercise):
    """A confusion matrix from scratch."""

    name = "confusion"
    not_allowed = ("confusion_matrix", "crosstab", "histogram2d")
    hints = (
        "Start with `torch.zeros(classes, classes, dtype=torch.long)`, and loop over the pairs with `zip`.",
        "`table[labels, predicted] += 1` counts a repeated pair only once: add one at a time, in a loop.",
        "Without a loop: `labels * classes + predicted` numbers the pairs; `torch.bincount` counts them.",
    )
    reference = staticmethod(_confusion)
    slips: ClassVar = {
        "mirrored": "your result is transposed: rows are true classes, columns predicted ones",
        "once": "table[labels, predicted] += 1 counts a repeated pair only once",
        "shares": "those are shares of each row; return counts",
        "wrong only": "correct answers belong in the table, too, on its diagonal",
        "shape": "a class that doesn't occur still gets its row and its column",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, absent in (("all classes occur", 0), ("the last classes don't occur", 2)):
            classes = draw(rng, 3, 5)
            n = draw(rng, 40, 60)
            labels = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, n)]))
            predicted = np.where(rng.random(len(labels)) < 0.6, labels, rng.integers(0, classes, len(labels)))
            yield {"about": about, "labels": labels, "predicted": predicted, "classes": classes + absent}


def _worst(logits: Tensor, labels: Tensor, k: int, slip: str = "") -> Tensor:
    wrong = (logits.argmax(1) != labels).nonzero().flatten()
    sure = logits.amax(1) if slip == "logits" else logits.softmax(1).amax(1)
    if slip == "all":
        return sure.argsort(descending=True)[:k]
    if slip == "truth":
        return wrong[logits.softmax(1)[wrong, labels[wrong]].argsort()[:k]]
    place = sure[wrong].argsort(descending=slip != "least")[:k]
    return place if slip == "place" else wrong[place]


class WorstMistakes(Exercise):
    """The most confident mistakes."""

    name = "worst_mistakes"
    not_allowed = ("worst", "dl_course.evaluation")
    hints = (
        "`logits.softmax(1).max(1)` gives two tensors: the confidence and the predicted class.",
        "`(predicted != labels).nonzero().flatten()` gives the indices of the mistakes in the whole set.",
        "Sort the mistakes' confidences with `argsort(descending=True)[:k]`, then look up their indices.",
    )
    reference = staticmethod(_worst)
    slips: ClassVar = {
        "all": "these are the most confident answers, correct ones included; keep only the mistakes",
        "place": "those are indices among the mistakes; return indices into the whole set",
        "least": "the least confident mistakes come first; sort in descending order",
        "logits": "a large logit isn't confidence, since others may be large, too: take the softmax first",
        "truth": "you sorted by the true class's probability; how confident was it in its *answer*?",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, k in (("more mistakes than asked for", draw(rng, 3, 5)), ("fewer mistakes", 60)):
            n = draw(rng, 25, 40)
            classes = draw(rng, 4, 6)
            logits = rng.normal(0, 2, (n, classes)) + rng.normal(0, 3, (n, 1))
            labels = np.where(rng.random(n) < 0.4, logits.argmax(1), rng.integers(0, classes, n))
            yield {"about": about, "logits": logits, "labels": labels, "k": k}


def _ece(confidence: Tensor, correct: Tensor, bins: int, slip: str = "") -> Tensor:
    place = confidence * bins
    place = place.floor().long() if slip == "floor" else place.ceil().long().clamp(min=1) - 1
    inside = [place == i for i in range(bins)]
    gaps = torch.stack([confidence[i].mean() - correct[i].to(confidence).mean() for i in inside])
    share = torch.stack([i.double().mean() for i in inside])
    if slip == "nan":
        return (gaps.abs() * share).sum()
    gaps = gaps[share > 0]
    share = share[share > 0]
    if slip == "overall":
        return (gaps * share).sum().abs()
    sizes = gaps if slip == "signed" else gaps**2 if slip == "square" else gaps.abs()
    return {"plain": sizes.mean(), "largest": sizes.max()}.get(slip, (sizes * share).sum())


class CalibrationError(Exercise):
    """The calibration error."""

    name = "calibration_error"
    points = 2
    not_allowed = ("calibration_curve", "calibration", "calibrated", "dl_course.evaluation")
    hints = (
        "`(confidence * bins).ceil()` is the number of each picture's bin, from 1 to `bins`.",
        "Within a bin: `(confidence[inside].mean() - correct[inside].double().mean()).abs()`.",
        "Weight each gap by the bin's share of all pictures, `inside.double().mean()`; skip empty bins.",
    )
    reference = staticmethod(_ece)
    slips: ClassVar = {
        "plain": "every bin counts the same; weight each by its share of the pictures",
        "signed": "gaps of opposite sign cancel; take each bin's absolute gap, then sum",
        "overall": "that is the gap over all pictures at once; take each bin's gap, then sum",
        "largest": "that is the largest gap; return the mean, weighted by the bins' shares",
        "square": "take the absolute gap, not the squared one",
        "nan": "an empty bin has no mean: skip it",
        "floor": "bins include their upper edge: 1.0 is in the last bin, an edge in the bin below it",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {"every bin is filled": (0.05, 5), "empty bins": (0.55, 10), "edges of bins": (0.05, 4)}
        for about, (low, bins) in kinds.items():
            drawn = rng.uniform(low, 1, draw(rng, 40, 60))
            if about == "edges of bins":
                drawn = np.concatenate([drawn, np.repeat(np.arange(1, bins + 1) / bins, 4)])
            correct = rng.random(len(drawn)) < np.where(drawn < 0.8, 1, 0.75)  # gaps of both signs
            yield {"about": about, "confidence": drawn, "correct": correct, "bins": bins}
