"""Picture files as numbers: one reader for training, prediction and the service, so that all see the same.

NumPy and Pillow alone, for a service without torch.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

GREY = np.array([0.2989, 0.587, 0.114], np.float32)  # of red, green and blue: ITU-R 601, as in torchvision
Source = str | Path | bytes | IO[bytes] | Image.Image


def open_image(source: Source) -> Image.Image:
    """Open a picture, a file or its bytes, reading the head alone; raises ValueError for what is none."""
    if isinstance(source, Image.Image):
        return source
    try:
        return Image.open(BytesIO(source) if isinstance(source, bytes) else source)
    except Exception as error:  # a damaged head makes Pillow raise SyntaxError, TypeError, struct.error …
        raise _unreadable(source, error) from error


def read_image(source: Source, channels: int | None = None) -> NDArray[np.float32]:
    """Return a picture as (C, H, W) in [0, 1]: 1 channel of a grey one, else 3 (RGB).

    Upright, as its EXIF data say; 16 bits by their own white; transparency is left out; of an animation the
    first frame. channels: 1 or 3, to have that many of any picture.
    Raises ValueError for a file that is missing or damaged, and for numbers that don't say what is white.
    """
    image = open_image(source)
    try:
        planes, white = channels_of(image)
        picture = np.stack([np.asarray(plane, np.float32) for plane in planes]) / np.float32(white)
    except Exception as error:  # as above, once the pixels are decoded
        raise _unreadable(source, error) from error
    finally:
        if image is not source:
            image.close()
    return picture if channels is None else with_channels(picture, channels)


def channels_of(image: Image.Image) -> tuple[list[Image.Image], int]:
    """Return an open picture's channels, one or three, upright, and the value that is white.

    Raises ValueError for the modes I and F, and whatever Pillow raises while it decodes.
    """
    image = ImageOps.exif_transpose(image)  # as the camera was held
    if image.mode.startswith("I;16"):  # which Pillow's conversion would cut off at 255
        return [Image.fromarray(np.asarray(image, np.float32))], 65535
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} doesn't say what is white; give an array in [0, 1]")
    return list(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB").split()), 255


def with_channels(picture: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Return (C, H, W) with one channel, a weighed mean, or three equal ones of a grey picture."""
    if channels == 1 and len(picture) == 3:
        return np.tensordot(GREY, picture, 1)[None]
    return np.repeat(picture, channels // len(picture), 0)


def _unreadable(source: Any, error: Exception) -> ValueError:
    reasons: dict[type[Exception], str] = {
        FileNotFoundError: "it is not there",
        UnidentifiedImageError: "its format is unknown",
    }
    reason = reasons.get(type(error), str(error) or type(error).__name__)
    name = source if isinstance(source, str | Path) else getattr(source, "filename", "") or "this"
    return ValueError(f"{name} can't be read as a picture: {reason}")
