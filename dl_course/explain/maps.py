"""What all methods share: a network at rest, its scores and classes, maps made ready to look at."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib import colormaps
from torch import Tensor, nn

from dl_course.hooks import preserved, tensors_in
from dl_course.runtime import fitted_to

Target = Tensor | Sequence[int] | int | None


@contextmanager
def at_rest(model: nn.Module, images: Tensor) -> Iterator[Tensor]:
    """Give the images where the model is, in eval mode and with autograd on; it is left as it was."""
    with torch.inference_mode(False), preserved(model):
        model.eval()
        images = fitted_to(model, images.detach())
        yield images.clone() if images.is_inference() else images  # which autograd refuses


def scores_of(output: Any, count: int) -> Tensor:
    """Return the scores (N, classes) in what a model puts out; ValueError for none or several.

    A single logit, (N, 1) or (N,), speaks for class 1, its negative for class 0. Of a segmentation, logits
    (N, classes, H, W) or torchvision's dict with them as "out", a class's score is its mean logit over the
    pixels it is predicted for.
    """
    if isinstance(output, Mapping) and getattr(output.get("out"), "ndim", 0) == 4:
        output = output["out"]  # and not "aux"
    tensors = list(tensors_in(output))
    found = [tensor for tensor in tensors if tensor.ndim == 2 and len(tensor) == count]
    if len(tensors) == 1 and len(tensors[0].shape) in (1, 4) and len(tensors[0]) == count:
        found = [tensors[0][:, None] if tensors[0].ndim == 1 else _of_pixels(tensors[0])]
    if len(found) != 1:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise ValueError(f"a model must put out one tensor of scores, (N, classes); this one: {shapes}")
    scores = found[0]
    return torch.cat([-scores, scores], 1) if scores.shape[1] == 1 else scores


def _of_pixels(logits: Tensor) -> Tensor:
    predicted = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1)
    return (logits * predicted).sum((2, 3)) / predicted.sum((2, 3)).clamp(min=1)


def classes(target: Target, scores: Tensor) -> Tensor:
    """Return a class for each row of scores (N, classes): the target, or for None the best; or ValueError."""
    count = len(scores)
    number = scores.shape[1]
    given = scores.argmax(1) if target is None else torch.as_tensor(target, device=scores.device)
    if given.is_floating_point() or given.shape not in [(), (count,)]:
        raise ValueError(f"target must be one class, or one for each of {count} pictures; given {target}")
    if ((given < 0) | (given >= number)).any():
        raise ValueError(f"the model has the classes 0 to {number - 1}; given {target}")
    return given.long().expand(count)


def channels_last(shape: Sequence[int], images: Tensor) -> bool:
    """Whether maps of that shape, in proportion to the images (N, C, H, W), can only be (N, h, w, C)."""
    high, wide = images.shape[2:]
    fits = [abs(h * wide - w * high) <= max(high, wide) for h, w in (shape[1:3], shape[2:])]  # to a pixel
    return fits == [True, False]


def ready(maps: Tensor, images: Tensor, normalize: bool, method: str) -> Tensor:
    """Return maps (N, h, w) as they are; normalized: their positive part, enlarged to the images, peak 1."""
    if not normalize:
        return maps
    maps = F.interpolate(maps.clamp(min=0)[:, None], images.shape[2:], mode="bilinear")[:, 0]
    peaks = maps.amax((1, 2), keepdim=True)
    if empty := (peaks == 0).flatten().nonzero().flatten().tolist():
        warnings.warn(f"{method}: nothing speaks for the class in maps {empty}, all zeros", stacklevel=3)
    return maps / peaks.where(peaks != 0, 1)


def overlay(images: Tensor, maps: Tensor, strength: float = 0.5) -> Tensor:
    """Return pictures with their maps laid over in viridis, (N, 3, H, W); strength: the maps' share.

    images: (N, 1 or 3, H, W) in [0, 1], not normalized · maps: (N, H, W) in [0, 1]. ValueError for others.
    """
    for x in (images, maps):
        if images[:, 0].shape != maps.shape or ((x < 0) | (x > 1)).any():
            given = f"{tuple(x.shape)} from {x.min():.2f} to {x.max():.2f}"
            raise ValueError(f"overlay needs pictures (N, C, H, W), maps (N, H, W), both in [0, 1]; {given}")
    colours = torch.tensor(colormaps["viridis"](range(256))[:, :3]).to(images)[(maps * 255).round().long()]
    return (1 - strength) * images + strength * colours.movedim(-1, 1)
