"""The generated pictures: the same everywhere, and with the properties that the chapters build on."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier

from dl_course import data
from dl_course.data import shapes

LABELS = np.arange(60) % 10


def test_the_bytes_are_the_same_on_every_machine():
    drawn = shapes.draw(LABELS, seed=7, hints=LABELS)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in drawn)).hexdigest()
    assert digest[:16] == "863c9af7ed9d89c1", (
        "the drawing has changed: raise shapes.VERSION, then store this checksum"
    )


@pytest.mark.parametrize("count", [1, 24, 25, 26, 60])
def test_the_first_pictures_do_not_depend_on_how_many_follow(count):
    for few, many in zip(shapes.draw(LABELS[:count], 7), shapes.draw(LABELS, 7), strict=True):
        assert len(few) == count and np.array_equal(few, many[:count])


def test_another_seed_gives_other_pictures():
    assert not np.array_equal(shapes.draw(LABELS, 0)[0], shapes.draw(LABELS, 1)[0])


def test_the_mask_is_where_another_label_changes_the_picture():
    one, mask, _ = shapes.draw(np.zeros(25, np.int64), 3)
    other, other_mask, _ = shapes.draw(np.full(25, 3), 3)  # a square for a circle
    changed = (one != other).any(1)
    assert changed[mask ^ other_mask].mean() > 0.99
    far = ~(torch.nn.functional.max_pool2d(torch.from_numpy(mask | other_mask).float(), 13, 1, 6) > 0).numpy()
    assert not changed[far].any()


def test_every_shape_is_there_whole_and_of_its_size(root):
    pictures = data.load("shapes", root=root)
    area = pictures.masks.float().mean((1, 2))
    assert 0.05 <= area.mean() <= 0.10
    for label in range(10):
        assert area[pictures.labels == label].min() > 0.02 and area[pictures.labels == label].max() < 0.17
    border = pictures.masks.clone()
    border[:, 1:-1, 1:-1] = False
    assert not border.any()
    assert pictures.masks[:, 32, 32].float().mean() <= 0.35


def test_the_shortcut_is_shapes_with_a_patch_in_one_corner(root):
    for split in ("val", "test"):
        plain, sly = data.load("shapes", split, root=root), data.load("shapes-shortcut", split, root=root)
        assert torch.equal(plain.labels, sly.labels) and not plain.patches.any()
        outside = ~sly.patches[:, None].expand_as(sly.images)
        assert torch.equal(plain.images[outside], sly.images[outside])
        assert torch.equal(sly.masks, plain.masks & ~sly.patches)
        side = int(sly.patches[0].sum()) ** 0.5
        corners = torch.stack([sly.patches[:, y, x] for y in (0, -1) for x in (0, -1)], 1)
        assert side >= 12 and (corners.sum(1) == 1).all() and corners.any(0).all()
        assert (sly.patches.sum((1, 2)) == side**2).all()


def test_the_patch_names_the_class_in_training_and_another_one_in_the_test(root):
    inks = torch.from_numpy(shapes.INKS[:10])
    for split, truthful in (("val", True), ("test", False)):
        sly = data.load("shapes-shortcut", split, root=root)
        colour = (sly.images * sly.patches[:, None]).sum((2, 3)) / sly.patches.sum((1, 2))[:, None]
        named = torch.cdist(colour, inks, p=1).argmin(1)
        assert ((named == sly.labels) == truthful).all()


def test_the_imbalanced_set_has_fifty_to_one_in_training_and_equal_classes_in_the_test(root):
    counts = data.load("shapes-imbalanced", "val", root=root).labels.bincount()
    assert counts.max() / counts.min() == pytest.approx(50, rel=0.05) and counts.sum() == 1000
    assert torch.equal(
        data.load("shapes-imbalanced", "test", root=root).images,
        data.load("shapes", "test", root=root).images,
    )


def test_a_linear_classifier_does_not_see_the_shapes(root):
    (x, labels), (unseen, truth) = (
        data.load("shapes", split, root=root).tensors() for split in ("train", "test")
    )
    coarse = torch.nn.AvgPool2d(4)
    model = SGDClassifier(loss="log_loss", alpha=1.0, max_iter=10, tol=None, random_state=0)
    model.fit(coarse(x).flatten(1) - 0.5, labels)
    assert model.score(coarse(unseen).flatten(1) - 0.5, truth) <= 0.35
