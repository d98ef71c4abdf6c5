"""Real photographs, and surfaces cut from them: from packages that carry them, so without a network.

Their sources and licences stand in ``PHOTOS`` and ``SURFACES``, and on cards in datasets/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from dl_course.data.pictures import Pictures, Transform
from dl_course.files import DataUnavailable
from dl_course.images import read_image
from dl_course.registry import nearest

INSTALL = 'pip install "dl-course[photos]"'
FOLDERS = {
    "scikit-image": ("skimage", "data"),
    "scikit-learn": ("sklearn", "datasets/images"),
    "Matplotlib": ("matplotlib", "mpl-data/sample_data"),
}


@dataclass(frozen=True)
class Source:
    """Where a photograph comes from: the package and its file, who took it, on which terms.

    imagenet: the names among ImageNet's 1,000 classes that would be right; empty where it has none.
    """

    package: str
    file: str
    author: str
    licence: str
    imagenet: tuple[str, ...] = ()

    def picture(self) -> Tensor:
        """Return the picture, (3, H, W) uint8; DataUnavailable where the package is not installed."""
        module, folder = FOLDERS[self.package]
        found = find_spec(module)
        if found is None or found.origin is None:
            wanted = f"{self.file} comes with {self.package}"
            raise DataUnavailable(f"{wanted}, which is not installed: {INSTALL}")
        picture = read_image(Path(found.origin).parent / folder / self.file, 3)
        return torch.from_numpy(picture).mul(255).round().byte()


SKIMAGE = "scikit-image"
FREE = "public domain"
UNSTATED = "none stated"
CATS = ("tabby", "tiger cat", "Egyptian cat")
PHOTOS = {
    "cat": Source(SKIMAGE, "chelsea.png", "Stéfan van der Walt", "CC0", CATS),
    "coffee": Source(SKIMAGE, "coffee.png", "Rachel Michetti", "CC0", ("espresso", "cup", "coffee mug")),
    "rocket": Source(SKIMAGE, "rocket.jpg", "SpaceX", FREE, ("missile", "projectile")),
    "motorcycle": Source(SKIMAGE, "motorcycle_left.png", "Scharstein et al., Middlebury", UNSTATED),
    "cameraman": Source(SKIMAGE, "camera.png", "Lav Varshney", "CC0", ("tripod",)),
    "astronaut": Source(SKIMAGE, "astronaut.png", "NASA", FREE),
    "clock": Source(SKIMAGE, "clock_motion.png", "Stéfan van der Walt", FREE, ("wall clock", "analog clock")),
    "coins": Source(SKIMAGE, "coins.png", "Brooklyn Museum", "no known restrictions"),
    "moon": Source(SKIMAGE, "moon.png", "unknown", UNSTATED),
    "pagoda": Source("scikit-learn", "china.jpg", "Daniel Buechele", "CC BY 2.0"),
    "dahlia": Source("scikit-learn", "flower.jpg", "vultilion", "CC BY 2.0"),
    "admiral": Source("Matplotlib", "grace_hopper.jpg", "US Navy", FREE, ("military uniform",)),
}


class Photographs(Dataset[tuple[Tensor, int]]):
    """A dozen real photographs, each of its own size; an item is (float32 (3, H, W) in [0, 1], its number).

    Ask by number or by name: ``photos["cat"]``. images: bytes, (3, H, W) each · classes: their names ·
    sources: package, author, licence, and the names among ImageNet's classes that would be right.
    """

    def __init__(self, sources: dict[str, Source], transform: Transform | None = None) -> None:
        self.name = "photos"
        self.sources = dict(sources)
        self.classes = tuple(sources)
        self.images = [source.picture() for source in sources.values()]
        self.labels = torch.arange(len(sources))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | str) -> tuple[Tensor, int]:
        number = self._number(index) if isinstance(index, str) else int(self.labels[index])
        picture = self.images[number] / 255
        return self.transform(picture) if self.transform else picture, number

    def _number(self, name: str) -> int:
        if name not in self.classes:
            raise ValueError(f"no photograph '{name}'{nearest(name, self.classes)}")
        return self.classes.index(name)

    def table(self) -> pd.DataFrame:
        """Return a row a photograph: its size, where it comes from, and what ImageNet would call it."""
        rows = {
            name: {
                "size": f"{image.shape[2]}×{image.shape[1]}", "from": source.package, "author": source.author,
                "licence": source.licence, "ImageNet": ", ".join(source.imagenet) or "—",
            }
            for (name, source), image in zip(self.sources.items(), self.images, strict=True)
        }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index")

    def __repr__(self) -> str:
        return f"{self.name}: {len(self)} photographs, {', '.join(self.classes)}"

    def _repr_html_(self) -> str:
        return self.table().to_html()


def photos(split: str, root: Path, download: bool) -> Photographs:
    """Return the photographs; ValueError for a split other than "train": they are for looking at."""
    if split != "train":
        raise ValueError(f"photos are a dozen pictures to look at, without a '{split}': data.load('photos')")
    return Photographs(PHOTOS)


def missing() -> bool:
    """Return whether a package that carries photographs is not installed."""
    return any(find_spec(module) is None for module, _ in FOLDERS.values())


@dataclass(frozen=True)
class Surface:
    """A part of a photograph that shows one material: (left, top, width, height), brought to SIDE squared."""

    source: Source
    box: tuple[int, int, int, int] = (0, 0, 512, 512)

    def picture(self) -> Tensor:
        """Return the surface in grey, (1, SIDE, SIDE) float32."""
        left, top, width, height = self.box
        cut = self.source.picture()[:, top : top + height, left : left + width]
        grey = F.rgb_to_grayscale(cut).float()
        return F.resize(grey, [SIDE, SIDE], antialias=True)


SIDE = 512  # pixels of a surface
CROP = 32  # of a crop
GAP = 16  # between the parts
STRIPS = {"train": (0, 288), "val": (304, 368), "test": (384, 512)}  # columns of a surface: left, right
TEXTURES = (0.501,) * 3, (0.167,) * 3  # mean and std of training pictures
CROPS = {"train": 200, "val": 40, "test": 80}  # of each surface
SURFACES = {
    "brick": Surface(Source(SKIMAGE, "brick.png", "Lennart Demes, CC0Textures", "CC0")),
    "grass": Surface(Source(SKIMAGE, "grass.png", "linolafett", "CC0")),
    "gravel": Surface(Source(SKIMAGE, "gravel.png", "Lennart Demes, CC0Textures", "CC0")),
    "lawn": Surface(PHOTOS["cameraman"], (330, 330, 182, 182)),
    "moon": Surface(PHOTOS["moon"]),
    "retina": Surface(Source(SKIMAGE, "retina.jpg", "Häggström, Wikimedia", "CC0"), (200, 200, 1000, 1000)),
    "stars": Surface(Source(SKIMAGE, "hubble_deep_field.jpg", "NASA", FREE)),
    "tissue": Surface(Source(SKIMAGE, "ihc.png", "CMMI", "no known restrictions")),
}


def textures(name: str, split: str, root: Path, download: bool) -> Pictures:
    """Return crops of surfaces, (3, 32, 32), grey, all with one mean and one contrast; seeded.

    "textures": each part has its own strip of every surface, 16 pixels from the next, so that no crop of one
    touches one of another. "textures-random": crops from everywhere, shared out at random, as it is often
    done: a test crop then overlaps with crops of the training, and remembering pays.
    """
    generator = torch.Generator().manual_seed(list(STRIPS).index(split))
    left, right = STRIPS[split] if name == "textures" else (0, SIDE)
    crops = []
    for surface in SURFACES.values():
        picture = surface.picture()
        rows = torch.randint(SIDE - CROP + 1, (CROPS[split],), generator=generator).tolist()
        columns = torch.randint(left, right - CROP + 1, (CROPS[split],), generator=generator).tolist()
        crops += [picture[:, y : y + CROP, x : x + CROP] for y, x in zip(rows, columns, strict=True)]
    batch = torch.stack(crops)  # (N, 1, 32, 32)
    std, mean = torch.std_mean(batch, (2, 3), keepdim=True)
    even = (128 + 45 * (batch - mean) / std.clamp(min=1)).round().clamp(0, 255).byte().repeat(1, 3, 1, 1)
    labels = torch.arange(len(SURFACES)).repeat_interleave(CROPS[split])
    return Pictures(name, even, labels, tuple(SURFACES), *TEXTURES)
