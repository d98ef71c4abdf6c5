"""Data sets by name: what every one of them promises, and what happens where one is not here."""

import gzip
import hashlib
import logging
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate
from torchvision import datasets
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor

from dl_course import data
from dl_course.data.published import PUBLISHED
from dl_course.files import DataUnavailable

EMBEDDED = ("digits", "shapes", "shapes-imbalanced", "shapes-shortcut")


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize("split", ["val", "test"])
def test_an_item_is_a_float_picture_from_0_to_1_and_its_label(root, name, split):
    pictures = data.load(name, split, root=root)
    x, label = pictures[len(pictures) - 1]
    assert x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1 and type(label) is int
    assert x.shape == ((1, 28, 28) if name == "digits" else (3, 64, 64))
    assert label == pictures.labels[-1] and pictures.name == name and len(pictures.classes) == 10
    assert default_collate([pictures[0], pictures[1]])[1].tolist() == pictures.labels[:2].tolist()


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_mean_and_std_are_those_of_the_training_pictures(root, name):
    x, _ = data.load(name, root=root).tensors()
    for split in data.SPLITS:
        pictures = data.load(name, split, root=root)
        torch.testing.assert_close(torch.tensor(pictures.mean), x.mean((0, 2, 3)), atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.tensor(pictures.std), x.std((0, 2, 3)), atol=1e-4, rtol=0)


def test_the_splits_of_digits_are_all_of_scikit_learns_pictures_each_once(root):
    from sklearn.datasets import load_digits

    parts = [data.load("digits", split, root=root) for split in data.SPLITS]
    ours = torch.cat([torch.cat([part.images.flatten(1), part.labels[:, None]], 1) for part in parts])
    bunch = load_digits()
    small = torch.from_numpy(bunch.images[:, None] / 16).float()
    theirs = v2.functional.resize(small, [28, 28], antialias=False).mul(255).round().flatten(1)
    theirs = torch.cat([theirs, torch.from_numpy(bunch.target)[:, None]], 1)
    assert len(ours) == len(ours.unique(dim=0)) == 1797
    nearest = torch.cdist(ours.float(), theirs, p=torch.inf).min(0)
    assert nearest.values.max() <= 1 and len(nearest.indices.unique()) == 1797  # a half may round either way
    assert torch.equal(ours[nearest.indices, -1], theirs[:, -1].long())


def test_generated_pictures_are_drawn_once_then_read(root, monkeypatch):
    first = data.load("shapes", "val", root=root)
    monkeypatch.setattr(data.shapes, "draw", None)
    again = data.load("shapes", "val", root=root)
    for key in ("images", "labels", "masks", "patches"):
        assert torch.equal(getattr(first, key), getattr(again, key))


def test_a_read_only_root_is_not_written_to(tmp_path):
    tmp_path.chmod(0o555)
    assert len(data.load("shapes", "val", root=tmp_path)) == 1000
    assert list(tmp_path.iterdir()) == []


def test_a_subset_keeps_pictures_labels_and_masks_together(root):
    whole = data.load("shapes-shortcut", "val", root=root, transform=v2.Identity())
    part = whole.subset(torch.tensor([5, 3]))
    assert len(part) == 2 and part.classes == whole.classes and part.transform is whole.transform
    for key in ("images", "labels", "masks", "patches"):
        assert torch.equal(getattr(part, key), getattr(whole, key)[[5, 3]])


def test_a_transform_is_done_to_every_picture_by_function_or_by_name(root):
    plain = data.load("digits", "test", root=root)[3][0]
    assert torch.equal(data.load("digits", "test", root=root, transform=lambda x: 1 - x)[3][0], 1 - plain)
    assert torch.equal(data.load("digits", "test", root=root, transform="none")[3][0], plain)


def test_misspelt_names_are_answered_with_the_nearest(root):
    with pytest.raises(ValueError, match="unknown data set 'shape-shortcut'; did you mean 'shapes-shortcut'"):
        data.load("shape-shortcut", root=root)
    with pytest.raises(ValueError, match="unknown split 'tets'; did you mean 'test'"):
        data.load("digits", "tets", root=root)
    with pytest.raises(ValueError, match="unknown transform 'flipshift'; did you mean 'flip-shift'"):
        data.load("digits", root=root, transform="flipshift")


def test_without_the_set_the_error_names_the_files_and_a_fallback_says_what_it_gave(tmp_path, caplog):
    with pytest.raises(DataUnavailable, match="train-images-idx3-ubyte.gz") as error:
        data.load("mnist", root=tmp_path)
    for mirror in datasets.MNIST.mirrors:
        assert mirror in str(error.value)
    with caplog.at_level(logging.WARNING):
        pictures = data.load("mnist", "test", root=tmp_path, fallback="digits")
    assert pictures.name == "digits" and len(caplog.messages) == 1
    assert caplog.messages[0].startswith("mnist is not here; this is digits: 359 pictures")


def test_download_false_asks_for_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("DL_COURSE_OFFLINE")
    with pytest.raises(DataUnavailable, match="download=False"):
        data.load("cifar10", root=tmp_path, download=False)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnists_files_placed_by_hand_are_read_as_torchvision_reads_them(tmp_path, monkeypatch, name, packed):
    kind, rng = PUBLISHED[name][0], np.random.default_rng(0)
    raw = tmp_path / kind.__name__ / "raw"
    raw.mkdir(parents=True)
    resources = []
    for part, count in (("train", 200), ("t10k", 50)):
        for what, values in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), np.uint8)),
            ("labels-idx1", np.arange(count, dtype=np.uint8) % 10),
        ):
            file = raw / f"{part}-{what}-ubyte"
            content = gzip.compress(idx(values)) if packed else idx(values)
            (raw / f"{file.name}.gz" if packed else file).write_bytes(content)
            resources.append((f"{file.name}.gz", md5(content)))
    monkeypatch.setattr(kind, "resources", resources)
    train, val, test = (data.load(name, split, root=tmp_path) for split in data.SPLITS)
    theirs, theirs_test = kind(tmp_path, train=True), kind(tmp_path, train=False)
    assert (len(train), len(val), len(test)) == (180, 20, 50) and val.labels.bincount().tolist() == [2] * 10
    both = torch.cat([train.images, val.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), theirs.data.flatten(1).unique(dim=0))
    assert torch.equal(test.images[:, 0], theirs_test.data) and torch.equal(test.labels, theirs_test.targets)
    here = list(data.available(tmp_path).query("state == 'here'").index)
    assert here == sorted([*EMBEDDED, "photos", "textures", "textures-random", name])


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifars_archive_placed_by_hand_is_read_as_torchvision_reads_it(tmp_path, monkeypatch, name):
    kind, rng, source = PUBLISHED[name][0], np.random.default_rng(0), tmp_path / "source"
    key, classes = ("labels", 10) if name == "cifar10" else ("fine_labels", 100)
    (source / kind.base_folder).mkdir(parents=True)
    count = 20 * classes
    names = {kind.meta["key"]: [f"class {i}" for i in range(classes)]}
    contents = {kind.meta["filename"]: names}
    for file, _ in kind.train_list + kind.test_list:
        values = rng.integers(0, 256, (count, 3072), np.uint8)
        contents[file] = {"data": values, key: [i % classes for i in range(count)]}
    for file, content in contents.items():
        (source / kind.base_folder / file).write_bytes(pickle.dumps(content))
    sums = {file: md5((source / kind.base_folder / file).read_bytes()) for file in contents}
    with tarfile.open(tmp_path / kind.filename, "w:gz", compresslevel=1) as tar:
        tar.add(source / kind.base_folder, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", md5((tmp_path / kind.filename).read_bytes()))
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[kind.meta["filename"]]})
    monkeypatch.setattr(kind, "train_list", [[file, sums[file]] for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[file, sums[file]] for file, _ in kind.test_list])

    test, theirs = data.load(name, "test", root=tmp_path), kind(tmp_path, train=False)
    assert test.classes == tuple(names[kind.meta["key"]]) and test.labels.tolist() == theirs.targets
    torch.testing.assert_close(test[7][0], to_tensor(theirs[7][0]))
    parts = [data.load(name, split, root=tmp_path) for split in ("train", "val")]
    assert len(parts[1]) == round(0.1 * sum(map(len, parts)))

    (tmp_path / kind.base_folder / kind.test_list[0][0]).write_bytes(b"half")
    with pytest.raises(DataUnavailable, match="damaged"):
        data.load(name, "test", root=tmp_path)


def md5(content):
    return hashlib.md5(content).hexdigest()


def test_real_mnist_keeps_its_test_set_and_its_published_statistics(mnist_root):
    train, val, test = (data.load("mnist", split, root=mnist_root) for split in data.SPLITS)
    assert len(train) + len(val) == 60_000 and len(test) == 10_000 and train.classes == tuple("0123456789")
    share = val.labels.bincount() / (val.labels.bincount() + train.labels.bincount())
    torch.testing.assert_close(share, torch.full((10,), 0.1), atol=1e-3, rtol=0)
    x, _ = train.tensors()
    torch.testing.assert_close(x.mean().item(), train.mean[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std().item(), train.std[0], atol=1e-3, rtol=0)
