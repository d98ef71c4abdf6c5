"""Data sets by name: embedded, generated, published."""

import logging
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dl_course.data import photographs, published, shapes
from dl_course.data.pictures import Pictures, Transform
from dl_course.data.splits import stratified_split
from dl_course.data.transforms import TRANSFORMS
from dl_course.files import DataUnavailable, atomic, data_root, is_writable
from dl_course.registry import Registry, nearest

DATASETS = Registry("data set")  # builders: (split, root, download) → Pictures
SPLITS = ("train", "val", "test")
STATISTICS = (0.4815, 0.4809, 0.4554), (0.2399, 0.2163, 0.2038)  # per channel of shapes' training pictures
SIZES = {"train": 4000, "val": 1000, "test": 1000}  # of the generated sets
WHAT = {
    "digits": "1,797 handwritten digits of scikit-learn's, resized from 8×8 to 28×28 grey",
    "shapes": "6,000 generated scenes, 64×64 colour: one of ten shapes, with its mask",
    "shapes-imbalanced": "shapes with 50 of the commonest class to one of the rarest (test: as many of each)",
    "shapes-shortcut": "shapes with a corner patch that tells the class (test: a wrong class)",
    "textures": "2,560 crops of eight surfaces, 32×32 grey; each part from its own place",
    "textures-random": "the same, shared out at random: crops of train and test overlap",
    "photos": "12 real photographs that packages carry, each of its own size",
    **{name: what for name, (_, what, *_) in published.PUBLISHED.items()},
}


def load(
    name: str, split: str = "train", *, root: str | Path | None = None, download: bool = True,
    fallback: str | None = None, transform: str | Transform | None = None,
) -> Any:  # fmt: skip
    """Return a data set's Pictures: "train", "val" (a fixed stratified part of the training set) or "test".

    "photos", which has no parts, comes as Photographs: each picture has its own size.

    root: where data lie, by default files.data_root() · fallback: what to give where this set cannot be had,
    which one line of the log says · transform: a policy's name, or a function of one picture (C, H, W).
    Raises ValueError for an unknown name or split, DataUnavailable for a set not here and not to be had.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}'{nearest(split, SPLITS)}")
    where = Path(root) if root else data_root()
    try:
        pictures = DATASETS.get(name)(split, where, download)
    except DataUnavailable:
        if fallback is None:
            raise
        pictures = DATASETS.get(fallback)(split, where, download)
        logging.getLogger("dl_course").warning("%s is not here; this is %s", name, pictures)
    pictures.transform = TRANSFORMS.build(transform) if isinstance(transform, str) else transform
    return pictures


def available(root: str | Path | None = None) -> pd.DataFrame:
    """Return a table of the data sets there are, by name: what each holds, and whether it is here."""
    where = Path(root) if root else data_root()
    away = {name: "to be downloaded" for name in published.PUBLISHED if published.missing(name, where)}
    if photographs.missing():
        away |= dict.fromkeys(("photos", "textures", "textures-random"), photographs.INSTALL)
    rows = {name: (WHAT.get(name, ""), away.get(name, "here")) for name in DATASETS}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["what", "state"])


@DATASETS.register("digits")
def _digits(split: str, root: Path, download: bool) -> Pictures:
    images, labels = _resized_digits()
    part = stratified_split(labels, (0.7, 0.1, 0.2))[SPLITS.index(split)]
    names = [str(digit) for digit in range(10)]
    return Pictures("digits", images[part], labels[part], names, (0.3053,), (0.3242,))


@cache
def _resized_digits() -> tuple[Tensor, Tensor]:
    sklearn = find_spec("sklearn")  # only its file is read: the package takes seconds to import
    assert sklearn and sklearn.origin
    table = np.loadtxt(Path(sklearn.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    small = torch.from_numpy(table[:, :-1]).view(-1, 1, 8, 8) * (255 / 16)
    images = F.interpolate(small, size=28, mode="bilinear").round().byte()
    return images, torch.from_numpy(table[:, -1]).long()


def _generated(name: str, split: str, root: Path, download: bool) -> Pictures:
    path = root / "shapes" / f"{name}-{split}-v{shapes.VERSION}.npz"
    if path.is_file():
        with np.load(path) as stored:
            arrays = dict(stored)
    else:
        arrays = _scenes(name, split)
        if is_writable(path.parent):
            with atomic(path) as part, part.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
    images, labels, masks, patches = map(torch.from_numpy, arrays.values())
    return Pictures(name, images, labels, tuple(shapes.SHAPES), *STATISTICS, masks, patches)


def _scenes(name: str, split: str) -> dict[str, NDArray]:
    seed = SPLITS.index(split)
    size = SIZES[split]
    classes = len(shapes.SHAPES)
    balanced = name != "shapes-imbalanced" or split == "test"
    share = np.ones(classes) if balanced else 50.0 ** -np.linspace(0, 1, classes)  # 50 : 1, in equal ratios
    counts = np.diff(np.rint(np.cumsum([0, *share]) / share.sum() * size)).astype(np.int64)
    dice = shapes.Dice(seed, 2**32)
    labels = np.repeat(np.arange(classes), counts)[np.argsort(dice.uniform(0, 1, size), kind="stable")]
    wrong = (labels + 1 + dice.below(classes - 1, size)) % classes
    hints = wrong if split == "test" else labels
    images, masks, patches = shapes.draw(labels, seed, hints if name == "shapes-shortcut" else None)
    return {"images": images, "labels": labels, "masks": masks, "patches": patches}


for _name in ("shapes", "shapes-imbalanced", "shapes-shortcut"):
    DATASETS.register(_name)(partial(_generated, _name))
for _name in published.PUBLISHED:
    DATASETS.register(_name)(partial(published.read, _name))
DATASETS.register("photos")(photographs.photos)
for _name in ("textures", "textures-random"):
    DATASETS.register(_name)(partial(photographs.textures, _name))
