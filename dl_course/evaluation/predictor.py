"""A predictor: a network, what prepares its pictures, and its classes' names, in one file for strangers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course.data import TRANSFORMS
from dl_course.files import atomic
from dl_course.hooks import evaluating
from dl_course.models import MODELS
from dl_course.runtime import device_of

Steps = Callable[[Tensor], Tensor] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Predictor:
    """Names what pictures show: files, PIL pictures, arrays, tensors, or lists of them.

    model: gives logits (N, C); or a configuration for ``MODELS.build`` · transform: done to (N, C, H, W) in
    [0, 1]; a configuration for ``TRANSFORMS.build``, or several, can be saved · classes: the C names ·
    shape: (channels, height, width) that pictures are brought to, where the network needs one ·
    architecture: the model's configuration, so that whoever loads the file need not bring the network.
    """

    def __init__(
        self, model: nn.Module | Mapping[str, Any], transform: Steps = None, classes: Sequence[str] = (), *,
        shape: tuple[int, int, int] | None = None, architecture: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.architecture = dict(model) if isinstance(model, Mapping) else architecture
        self.model: nn.Module = MODELS.build(model) if isinstance(model, Mapping) else model
        self.classes, self.shape, self.steps = tuple(classes), shape, _steps(transform)
        built = [TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in self.steps]
        self.transform: Callable[[Tensor], Tensor] = v2.Compose(built) if built else v2.Identity()

    def tensors(self, pictures: Any) -> Tensor:
        """Return the pictures as the network is given them, (N, C, H, W); ValueError where it can't."""
        batch = [_fitted(each, self.shape) for each in _each(pictures)]
        if not batch:
            raise ValueError("no picture was given")
        if len({each.shape for each in batch}) > 1:
            raise ValueError(f"pictures of several shapes, {_shapes(batch)}: give the predictor a shape")
        return self.transform(torch.stack(batch))

    def probabilities(self, pictures: Any) -> Tensor:
        """Return the probability of every class, (N, C) float32 on the CPU."""
        with evaluating(self.model), torch.no_grad():
            return self.model(self.tensors(pictures).to(device_of(self.model))).float().softmax(1).cpu()

    def __call__(self, pictures: Any) -> pd.DataFrame:
        """Return a row a picture: the class, and with which confidence."""
        confidence, predicted = self.probabilities(pictures).max(1)
        names = [self.classes[c] if self.classes else str(c) for c in predicted.tolist()]
        return pd.DataFrame({"class": names, "confidence": confidence.tolist()})

    def save(self, path: Path | str) -> None:
        """Write network, preparation and names into one safetensors file; a stop leaves no half of it."""
        unnamed = [step for step in self.steps if not isinstance(step, Mapping)]
        if unnamed:
            raise ValueError(
                f"a transform is saved by its configuration, {{'name': …}}; given: {unnamed[0]!r}"
            )
        about = {"architecture": self.architecture, "transform": self.steps, "classes": self.classes}
        with atomic(Path(path)) as part:
            save_model(self.model, str(part), {"dl_course": json.dumps(about | {"shape": self.shape})})

    @classmethod
    def load(cls, path: Path | str, model: nn.Module | None = None) -> Predictor:
        """Return the predictor saved at the path, on the CPU; nothing in the file is executed.

        model: the network to put the weights into, where the file names none; it is changed.
        ValueError where the file is no predictor's, or its weights are not the model's.
        """
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["dl_course"])
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} was not written by Predictor.save: {error}") from error
        if model is None and about["architecture"] is None:
            raise ValueError(
                f"{path} doesn't say which network it has: Predictor.load(path, model=YourNetwork())"
            )
        shape = tuple(about["shape"]) if about["shape"] else None
        chosen = MODELS.build(about["architecture"]) if model is None else model
        predictor = cls(
            chosen, about["transform"], about["classes"], shape=shape, architecture=about["architecture"]
        )
        try:
            load_model(predictor.model, path)
        except RuntimeError as error:
            raise ValueError(
                f"the weights in {path} are not those of {type(chosen).__name__}: {error}"
            ) from error
        return predictor

    def __repr__(self) -> str:
        kind = type(self.model).__name__
        return f"Predictor: {kind}, {len(self.classes)} classes, shape {self.shape or 'any'}"


def _steps(transform: Steps) -> list[Any]:
    if transform is None:
        return []
    several = list(transform) if isinstance(transform, Sequence) else [transform]
    return [
        {"name": "normalize", "mean": list(step.mean), "std": list(step.std)}
        if isinstance(step, v2.Normalize)
        else step
        for step in several
    ]


def _each(pictures: Any) -> list[Tensor]:
    """Return each picture as float (C, H, W) in [0, 1]."""
    if isinstance(pictures, list | tuple):
        return [tensor for each in pictures for tensor in _each(each)]
    if isinstance(pictures, str | Path):
        return [_opened(Path(pictures))]
    if isinstance(pictures, Image.Image):
        return [_from_pil(pictures)]
    if isinstance(pictures, np.ndarray) and pictures.ndim in (2, 3):
        channels_last = pictures[..., None] if pictures.ndim == 2 else pictures
        return [_scaled(torch.from_numpy(channels_last.copy()).permute(2, 0, 1))]
    if isinstance(pictures, Tensor) and pictures.ndim in (2, 3, 4):
        each = {2: pictures[None, None], 3: pictures[None], 4: pictures}.get(pictures.ndim, pictures)
        return [_scaled(picture) for picture in each]
    given = f"{type(pictures).__name__} {getattr(pictures, 'shape', '')}".strip()
    raise ValueError(
        "a picture is a file, a PIL picture, an array (H, W) or (H, W, C), a tensor (C, H, W) or "
        f"(N, C, H, W), or a list of them; given: {given}"
    )


def _opened(path: Path) -> Tensor:
    try:
        with Image.open(path) as picture:
            return _from_pil(picture)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} can't be read as a picture: {error}") from error


def _from_pil(picture: Image.Image) -> Tensor:
    picture = ImageOps.exif_transpose(picture)  # as the camera was held
    if picture.mode.startswith("I;16"):  # which PIL would cut off at 255
        return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 65535)[None]
    if picture.mode in ("I", "F"):
        raise ValueError(
            f"a picture of mode {picture.mode} doesn't say what is white; give an array in [0, 1]"
        )
    return (
        v2.functional.pil_to_tensor(picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")) / 255
    )


def _scaled(picture: Tensor) -> Tensor:
    if picture.shape[0] not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 channels; given: {tuple(picture.shape)} as (C, H, W)")
    if picture.dtype == torch.uint8:
        return picture / 255
    picture = picture.float()
    if not bool(((picture >= 0) & (picture <= 1)).all()):
        low, high = picture.min().item(), picture.max().item()
        raise ValueError(f"a picture of floats lies in [0, 1]; given: {low:g} … {high:g}")
    return picture


def _fitted(picture: Tensor, shape: tuple[int, int, int] | None) -> Tensor:
    if shape is None:
        return picture
    if picture.shape[0] != shape[0]:
        to_grey = shape[0] == 1
        picture = v2.functional.rgb_to_grayscale(picture) if to_grey else picture.repeat(3, 1, 1)
    if tuple(picture.shape[1:]) != tuple(shape[1:]):
        picture = v2.functional.resize(picture, list(shape[1:]), antialias=True)
    return picture


def _shapes(batch: Sequence[Tensor]) -> str:
    return ", ".join(sorted({str(tuple(each.shape)) for each in batch}))
