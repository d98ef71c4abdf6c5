"""Published data sets, downloaded once. torchvision knows their addresses, checksums and formats."""

from pathlib import Path
from typing import Any

import torch
from torchvision import datasets

from dl_course.data.pictures import Pictures
from dl_course.data.splits import stratified_split
from dl_course.files import DataUnavailable, fetch, unpack

CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CIFAR100 = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
# torchvision's class, what it holds, mean and std per channel of all its training pictures.
PUBLISHED: dict[str, tuple[Any, str, tuple[float, ...], tuple[float, ...]]] = {
    "mnist": (datasets.MNIST, "70,000 handwritten digits, 28×28 grey", (0.1307,), (0.3081,)),
    "fashion_mnist": (datasets.FashionMNIST, "70,000 clothes, 28×28 grey", (0.2860,), (0.3530,)),
    "cifar10": (datasets.CIFAR10, "60,000 photographs in 10 classes, 32×32 colour", *CIFAR10),
    "cifar100": (datasets.CIFAR100, "60,000 photographs in 100 classes, 32×32 colour", *CIFAR100),
}


def read(name: str, split: str, root: Path, download: bool) -> Pictures:
    """Return the pictures of a published set, in torchvision's layout under root; raise DataUnavailable."""
    kind, _, mean, std = PUBLISHED[name]
    for archive, mirrors, md5 in missing(name, root):
        unpack(fetch(archive, mirrors, f"md5:{md5}", download), archive.parent)
    try:
        pool = kind(root, train=split != "test")
    except (RuntimeError, ValueError, AssertionError, OSError) as error:
        raise DataUnavailable(
            f"{name} in {root} is damaged ({error}): delete its files, load again"
        ) from error
    images = torch.as_tensor(pool.data)
    labels = torch.as_tensor(pool.targets)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    classes = [label.partition(" - ")[0] for label in pool.classes]  # of "3 - three"
    pictures = Pictures(name, images, labels, classes, mean, std)
    if split == "test":
        return pictures
    return pictures.subset(stratified_split(labels, (0.9, 0.1))[split == "val"])


def missing(name: str, root: Path) -> list[tuple[Path, list[str], str]]:
    """Return the archives whose files are not under root: where each belongs, its mirrors, its MD5."""
    kind = PUBLISHED[name][0]
    if issubclass(kind, datasets.MNIST):
        raw = root / kind.__name__ / "raw"
        wanted = [(file, md5) for file, md5 in kind.resources if not (raw / file).with_suffix("").is_file()]
        return [(raw / file, [mirror + file for mirror in kind.mirrors], md5) for file, md5 in wanted]
    files = [kind.meta["filename"], *(file for file, _ in kind.train_list + kind.test_list)]
    here = all((root / kind.base_folder / file).is_file() for file in files)
    return [] if here else [(root / kind.filename, [kind.url], kind.tgz_md5)]
