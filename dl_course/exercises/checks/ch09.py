"""Judging chapter 09: photographs. The right answers can be told to make a slip."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case


def _top(logits: Tensor, names: Sequence[str], k: int, slip: str = "") -> list[tuple[str, float]]:
    chances = logits.sigmoid() if slip == "sigmoid" else logits.softmax(0)
    scores = {"logits": logits, "lowest": -chances}.get(slip, chances)
    places = scores.topk(k).indices
    values = logits[places] if slip == "logits" else chances[places]
    if slip == "among few":
        values = values / values.sum()
    found = [(names[place], value) for place, value in zip(places.tolist(), values.tolist(), strict=True)]
    return found[::-1] if slip == "reversed" else found


class TopClasses(Exercise):
    """The most probable classes."""

    name = "top_classes"
    hints = (
        "`logits.softmax(0)` makes probabilities among all classes.",
        "`values, places = probabilities.topk(k)` gives the largest and where they stand.",
    )
    reference = staticmethod(_top)
    slips: ClassVar = {
        "logits": "these are logits: softmax makes probabilities of them",
        "sigmoid": "sigmoid looks at each class alone: one picture has one class, take softmax",
        "among few": "you scaled the best few to add up to 1: take probabilities among all classes",
        "lowest": "these are the least probable classes: take the largest",
        "reversed": "the best one comes first",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, k in (("the best three", 3), ("the best alone", 1), ("all classes", 6)):
            names = rng.permutation(["cat", "cup", "moon", "tripod", "palace", "daisy"]).tolist()
            yield {"about": about, "logits": rng.normal(0, 3, 6), "names": names, "k": k}


def _statistics(images: Tensor, slip: str = "") -> tuple[Tensor, Tensor]:
    scaled = images.double() if slip == "bytes" else images.double() / 255
    axes = (0, 1, 2, 3) if slip == "together" else (0, 2, 3)
    mean = scaled.mean(axes)
    std = scaled.std(axes, correction=0)
    if slip == "each picture":
        std = scaled.std((2, 3), correction=0).mean(0)
    if slip == "of means":
        std = scaled.mean((2, 3)).std(0)
    return mean, (std.square() if slip == "variance" else std)


class ChannelStatistics(Exercise):
    """Mean and standard deviation of each channel."""

    name = "channel_statistics"
    rtol = 5e-3
    hints = (
        "Scale to [0, 1] first: `images / 255`.",
        "Average over all axes but the channels': `mean((0, 2, 3))`.",
        "The deviation is from the mean of *all* pictures, over the same three axes.",
    )
    reference = staticmethod(_statistics)
    slips: ClassVar = {
        "bytes": "these are the numbers of bytes, 0 to 255: divide by 255",
        "together": "one number for all channels: keep axis 1, average over (0, 2, 3)",
        "each picture": "you averaged the pictures' own deviations: how pictures differ is then left out",
        "of means": "that is how far the pictures' means differ: take all pixels",
        "variance": "that is the variance: take its root",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, channels in (("colour", 3), ("gray", 1)):
            shape = (draw(rng, 40, 60), channels, draw(rng, 12, 20), draw(rng, 12, 20))
            level = rng.uniform(40, 200, (shape[0], channels, 1, 1))  # pictures differ in brightness
            images = (level + rng.normal(0, 20, shape)).clip(0, 255).astype(np.uint8)
            yield {"about": f"pictures in {about}", "images": images}


def _shared(train: Tensor, test: Tensor, slip: str = "") -> list[int]:
    def key(picture: Tensor) -> Any:
        return picture.double().mean().item() if slip == "mean" else picture.numpy().tobytes()

    known = [key(picture) for picture in train]
    if slip == "place":
        return [i for i, picture in enumerate(test) if i < len(known) and known[i] == key(picture)]
    if slip == "of train":
        wanted = {key(picture) for picture in test}
        return [i for i, each in enumerate(known) if each in wanted]
    found = [i for i, picture in enumerate(test) if key(picture) in known]
    if slip == "within":
        keys = [key(picture) for picture in test]
        found = [i for i in range(len(test)) if i in found or keys.count(keys[i]) > 1]
    return found


class SharedPictures(Exercise):
    """Pictures in both splits."""

    name = "shared_pictures"
    hints = (
        "`picture.numpy().tobytes()` is a picture as one value, which a set can hold.",
        "Make a set of the training pictures, then ask of each test picture whether it is in it.",
    )
    reference = staticmethod(_shared)
    slips: ClassVar = {
        "place": "a copy may stand anywhere in train: you compared pictures of the same index",
        "of train": "these are indices in train: the test pictures' are asked for",
        "mean": "two pictures with one mean need not be copies: compare every pixel",
        "within": "copies within the test set alone are no leak: look for them in train",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        copies = "copies at other places, or none"
        for about, kind in (
            (copies, "copies"),
            (copies, "none"),
            ("the same pixels in another order", "order"),
        ):
            shape = (draw(rng, 9, 14), 3, 5, 5)
            train = rng.integers(0, 256, shape, np.uint8)
            test = rng.integers(0, 256, (8, *shape[1:]), np.uint8)
            test[6] = test[1]  # a copy within the test set
            one, other, third = rng.permutation([0, 3, 4, 5, 7])[:3]
            if kind == "copies":
                test[[one, other, third]] = train[[4, 8, 4]]
                test[2] = train[2]
            if kind == "order":
                test[one] = train[5, :, ::-1]
                test[other] = train[1]
            yield {"about": about, "train": train, "test": test}


def _nearest(query: Tensor, features: Tensor, k: int, slip: str = "") -> Tensor:
    if slip == "distance":
        return (features - query).norm(dim=1).topk(k, largest=False).indices
    if slip == "dot":
        return (features @ query).topk(k).indices
    axis = 0 if slip == "columns" else 1
    similarity = F.normalize(features, dim=axis) @ F.normalize(query, dim=0)
    if slip == "values":
        return similarity.topk(k).values
    return similarity.topk(k, largest=slip != "farthest").indices


class NearestPictures(Exercise):
    """Nearest neighbours by cosine."""

    name = "nearest_pictures"
    hints = (
        "The cosine of two vectors is their dot product, after each was divided by its length.",
        "`F.normalize(features, dim=1)` divides every row by its length.",
        "`similarity.topk(k).indices` are the places of the largest.",
    )
    reference = staticmethod(_nearest)
    slips: ClassVar = {
        "dot": "long vectors win like this: divide every row by its length first",
        "distance": "that is the distance, which depends on lengths: take the cosine",
        "columns": "you divided columns by their length: each picture is a row, dim=1",
        "farthest": "these are the least similar ones: take the largest cosine",
        "values": "these are the similarities: the indices are asked for",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, k in (("a few neighbours", 4), ("the nearest", 1), ("the nearest", 1)):
            n = draw(rng, 20, 30)
            size = draw(rng, 5, 8)
            features = rng.normal(size=(n, size)) * rng.uniform(0.1, 10, (n, 1))
            yield {"about": about, "query": rng.normal(size=size), "features": features, "k": k}


def _by_place(lefts: Tensor, width: int, border: int, gap: int, slip: str = "") -> tuple[Tensor, Tensor]:
    ends = lefts if slip == "left edge" else lefts + width
    train = ends < border if slip == "strict" else ends <= border
    test = lefts >= border + (0 if slip == "no gap" else gap)
    if slip == "the rest":
        test = ~train
    return (test, train) if slip == "swapped" else (train, test)


class SplitByPlace(Exercise):
    """A split by place."""

    name = "split_by_place"
    not_allowed = ("loop",)
    hints = (
        "A crop's last column is `lefts + width - 1`.",
        "Two comparisons, one for each mask; some crops are in neither.",
    )
    reference = staticmethod(_by_place)
    slips: ClassVar = {
        "left edge": "a training crop must end before the border, too: look at lefts + width",
        "no gap": "the test begins at border + gap: without the gap, crops touch",
        "the rest": "what isn't training is not all for the test: crops across the border are left out",
        "strict": "a crop whose last column is border - 1 is still for training: <=",
        "swapped": "the masks are the wrong way round: training first",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, gap in (("a gap", draw(rng, 6, 12)), ("a narrow gap", 2)):
            width = draw(rng, 16, 32)
            border = draw(rng, 100, 150)
            lefts = np.append(rng.integers(0, 256, 60), [border - width, border, border + gap, border - 1])
            yield {"about": about, "lefts": lefts, "width": width, "border": border, "gap": gap}


def _head_step(
    model: nn.Module, head: str, images: Tensor, labels: Tensor, optimizer: Any, slip: str = ""
) -> float:
    model.train(slip == "train")
    model.get_submodule(head).train(slip != "head at rest")
    scores = model(images)
    loss = F.cross_entropy(scores.softmax(1) if slip == "softmax" else scores, labels)
    if slip != "adds up":
        optimizer.zero_grad()
    loss.backward()
    if slip != "no step":
        optimizer.step()
    if slip == "after":
        loss = F.cross_entropy(model(images), labels)
    return loss.item()


class HeadStep(Exercise):
    """A step of the head alone."""

    name = "head_step"
    points = 2
    hints = (
        "`model.eval()` first, then `model.get_submodule(head).train()`: the order matters.",
        "Then the usual five: scores, loss, zero_grad, backward, step.",
    )
    reference = staticmethod(_head_step)
    slips: ClassVar = {
        "train": "the body's statistics moved (and its dropout drew): only the head is in training mode",
        "head at rest": "the head's own norm didn't learn its statistics: put the head in training mode",
        "adds up": "gradients add up over steps: optimizer.zero_grad() before backward",
        "no step": "nothing was learnt: optimizer.step()",
        "softmax": "cross_entropy takes logits: it applies softmax itself",
        "after": "the loss after the step was returned: the one before is asked for",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, training in (("a model in training mode", True), ("a model in evaluation mode", False)):
            n = draw(rng, 6, 10)
            images = rng.normal(1, 2, (n, 3, 7, 7)).astype(np.float32)
            known = {"width": draw(rng, 4, 7), "seed": draw(rng, 0, 99), "rate": 0.1}
            yield {"about": about, "training": training, "images": images, **known} | {
                "labels": rng.integers(0, 4, n)
            }
