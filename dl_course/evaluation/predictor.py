"""A predictor: a network, what prepares its pictures, and its classes' names, in one file for strangers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from dl_course.data import TRANSFORMS
from dl_course.files import atomic
from dl_course.hooks import evaluating
from dl_course.images import read_image
from dl_course.models import MODELS, Preparation, fitted
from dl_course.runtime import fitted_to, preserved_rng

Steps = Callable[[Tensor], Tensor] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Predictor:
    """Names what pictures show: files or their bytes, PIL pictures, arrays, tensors, or lists of them.

    model: gives logits (N, C); or a configuration for ``MODELS.build`` · transform: done to (N, C, H, W) in
    [0, 1]; what can be saved: a configuration for ``TRANSFORMS.build``, torchvision's Normalize, Resize and
    CenterCrop, or several · classes: the C names · shape: (channels, height, width) that pictures are brought
    to, where the network needs one · crop: the share of the shorter side that a cut from the middle keeps;
    None squeezes the whole picture into the shape · architecture: the model's configuration, so that whoever
    loads the file need not bring the network · batch_size: pictures that the network sees at once.
    Raises ValueError where names and outputs differ in number: at once where a shape is given, else in use.
    """

    def __init__(
        self, model: nn.Module | Mapping[str, Any], transform: Steps = None, classes: Sequence[str] = (), *,
        shape: tuple[int, int, int] | None = None, architecture: Mapping[str, Any] | None = None,
        batch_size: int = 64, crop: float | None = None,
    ) -> None:  # fmt: skip
        if batch_size < 1:
            raise ValueError(f"a batch has at least one picture; given: batch_size={batch_size}")
        self.architecture = dict(model) if isinstance(model, Mapping) else architecture
        self.model: nn.Module = MODELS.build(model) if isinstance(model, Mapping) else model
        self.classes = tuple(classes)
        self.shape = shape
        self.crop = crop
        self.batch_size = batch_size
        self.steps = _steps(transform)
        built = [TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in self.steps]
        self.transform: Callable[[Tensor], Tensor] = v2.Compose(built) if built else v2.Identity()
        if classes and shape:
            with preserved_rng():
                self._logits(self.transform(torch.zeros(1, *shape)))

    @classmethod
    def of(cls, model: nn.Module) -> Predictor:
        """Return the predictor of a network that ``models.pretrained`` gave, also with another head.

        ValueError for a network that doesn't say how its pictures are prepared, and for misfit class names.
        """
        about: Preparation | None = getattr(model, "preparation", None)
        if about is None:
            raise ValueError(
                f"a {type(model).__name__} doesn't say how its pictures are prepared, as networks of "
                "models.pretrained do: use Predictor(model, transform, classes)"
            )
        normalize = {"name": "normalize", "mean": list(about.mean), "std": list(about.std)}
        known = {"shape": about.shape, "crop": about.crop, "architecture": model.architecture}
        return cls(model, normalize, model.classes, **known)  # type: ignore[arg-type]

    def tensors(self, pictures: Any) -> Tensor:
        """Return the pictures as the network is given them, (N, C, H, W); ValueError where it can't."""
        return self._prepared(_sources(pictures))

    def _prepared(self, sources: Sequence[Any]) -> Tensor:
        batch = [self._fitted(_tensor(each)) for each in sources]
        if not batch:
            raise ValueError("no picture was given")
        if len({each.shape for each in batch}) > 1:
            raise ValueError(f"pictures of several shapes, {_shapes(batch)}: give the predictor a shape")
        return self.transform(torch.stack(batch))

    def _fitted(self, picture: Tensor) -> Tensor:
        return picture if self.shape is None else fitted(picture, self.shape, self.crop)

    def _logits(self, inputs: Tensor) -> Tensor:
        with evaluating(self.model), torch.no_grad():
            logits = self.model(fitted_to(self.model, inputs))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"the model must give logits ({len(inputs)}, C); it gave: {given}")
        if self.classes and logits.shape[1] != len(self.classes):
            raise ValueError(f"{len(self.classes)} names of classes for {logits.shape[1]} outputs")
        return logits

    def probabilities(self, pictures: Any) -> Tensor:
        """Return the probability of every class, (N, C) float32 on the CPU; ValueError as of ``tensors``."""
        sources = _sources(pictures)
        parts = [
            sources[start : start + self.batch_size] for start in range(0, len(sources), self.batch_size)
        ]
        logits = [self._logits(self._prepared(part)).float() for part in parts or [[]]]
        return torch.cat(logits).softmax(1).cpu()

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
                "a transform is saved by its configuration, {'name': …}, for TRANSFORMS.build; "
                f"given: {unnamed[0]!r}"
            )
        about = {"architecture": self.architecture, "transform": self.steps, "classes": self.classes}
        size = {"shape": self.shape, "crop": self.crop}
        with atomic(Path(path)) as part:
            save_model(self.model, str(part), {"dl_course": json.dumps(about | size)})

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
        known = {"shape": shape, "crop": about.get("crop"), "architecture": about["architecture"]}
        chosen = MODELS.build(about["architecture"]) if model is None else model
        predictor = cls(chosen, about["transform"], about["classes"], **known)
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
    """Return the steps, each as its configuration where it has one."""
    if transform is None or isinstance(transform, v2.Identity):
        return []
    if isinstance(transform, Sequence):
        return [step for each in transform for step in _steps(each)]
    if isinstance(transform, v2.Compose | v1.Compose):
        return _steps(transform.transforms)
    return [_configuration(transform)]


def _configuration(step: Any) -> Any:
    if isinstance(step, v2.Normalize | v1.Normalize):
        return {"name": "normalize", "mean": list(step.mean), "std": list(step.std)}
    if isinstance(step, v2.CenterCrop | v1.CenterCrop):
        return {"name": "center-crop", "size": _sides(step.size)}
    if isinstance(step, v2.Resize | v1.Resize):
        interpolation = getattr(step.interpolation, "value", step.interpolation)
        how = {"interpolation": interpolation, "max_size": step.max_size}
        return {"name": "resize", "size": _sides(step.size), "antialias": step.antialias} | how
    return step


def _sides(size: Any) -> Any:
    return size if isinstance(size, int) or size is None else list(size)


def _sources(pictures: Any) -> list[Any]:
    """Return each picture for itself, as it was given; ValueError for what is none."""
    if isinstance(pictures, list | tuple):
        return [source for each in pictures for source in _sources(each)]
    if isinstance(pictures, str | Path | bytes | Image.Image) or hasattr(pictures, "read"):
        return [pictures]
    if isinstance(pictures, np.ndarray | Tensor) and pictures.ndim in (2, 3, 4):
        return list(pictures) if pictures.ndim == 4 else [pictures]
    given = f"{type(pictures).__name__} {getattr(pictures, 'shape', '')}".strip()
    raise ValueError(
        "a picture is a file or its bytes, a PIL picture, an array (H, W), (H, W, C) or (N, H, W, C), a "
        f"tensor (H, W), (C, H, W) or (N, C, H, W), or a list of them; given: {given}"
    )


def _tensor(source: Any) -> Tensor:
    """Return a picture as float (C, H, W) in [0, 1]."""
    if isinstance(source, np.ndarray):
        channels_last = source[..., None] if source.ndim == 2 else source
        return _scaled(torch.from_numpy(channels_last.copy()).permute(2, 0, 1))
    if isinstance(source, Tensor):
        return _scaled(source[None] if source.ndim == 2 else source)
    return torch.from_numpy(read_image(source))


def _scaled(picture: Tensor) -> Tensor:
    if picture.shape[0] not in (1, 3):
        raise ValueError(f"a picture has 1 or 3 channels; given: {tuple(picture.shape)} as (C, H, W)")
    if picture.dtype == torch.uint8:
        return picture / 255
    picture = picture.float()
    if not bool(((picture >= 0) & (picture <= 1)).all()):
        low = picture.min().item()
        high = picture.max().item()
        raise ValueError(f"a picture of floats lies in [0, 1]; given: {low:g} … {high:g}")
    return picture


def _shapes(batch: Sequence[Tensor]) -> str:
    return ", ".join(sorted({str(tuple(each.shape)) for each in batch}))
