"""The description finds what was planted."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset

from dl_course.data import Pictures, describe, folder_per_class


@pytest.fixture
def pictures():
    images = torch.randint(90, 160, (60, 2, 6, 5), generator=torch.Generator().manual_seed(0)).byte()
    images[7] = images[31]
    images[11], images[12] = 255, 125
    return Pictures("planted", images, torch.arange(60) % 2 * 2, ("a", "<b>", "c"), (0, 0), (1, 1))


def test_counts_range_and_statistics_are_those_of_the_pictures(pictures):
    found, (x, _) = describe(pictures), pictures.tensors()
    assert found.shapes == {(2, 6, 5): 60} and found.balance == {"a": 30, "<b>": 0, "c": 30}
    assert found.range == pytest.approx((x.min().item(), 1.0))
    np.testing.assert_allclose(found.mean, x.double().mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found.std, x.double().std((0, 2, 3), correction=0), rtol=1e-6)


def test_duplicates_and_outliers_are_named(pictures):
    found = describe(pictures)
    assert found.duplicates == [[7, 31]] and found.outliers == [11, 12]


def test_it_shows_itself_as_text_and_as_html(pictures):
    found = describe(pictures)
    for shown in (repr(found), found._repr_html_()):
        assert "60 of 2×6×5" in shown and "[7, 31]" in shown and "planted" in shown
    assert "&lt;b&gt;" in found._repr_html_()


def test_files_of_several_sizes_are_described_too(tmp_path):
    (tmp_path / "a").mkdir()
    for number, size in enumerate([(4, 3), (4, 3), (8, 8)]):
        Image.new("RGB", size, (number * 100, 0, 0)).save(tmp_path / "a" / f"{number}.png")
    found = describe(folder_per_class(tmp_path))
    assert found.shapes == {(3, 3, 4): 2, (3, 8, 8): 1} and found.duplicates == []
    assert found.mean[0] == pytest.approx((100 * 12 + 200 * 64) / 88 / 255)


class Torchvisions(Dataset):
    """As torchvision's data sets are: PIL pictures, ``targets``, ``classes``; counts what is opened."""

    def __init__(self, targets, classes=("cat", "dog")):
        self.targets, self.classes, self.opened = targets, list(classes), 0

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.opened += 1
        return Image.new("L", (4, 3), 10 * index), self.targets[index]


def test_targets_and_pil_pictures_of_torchvision_are_described():
    found = describe(Torchvisions([0, 1, 1]))
    assert (
        found.name == "Torchvisions"
        and found.shapes == {(1, 3, 4): 3}
        and found.balance == {"cat": 1, "dog": 2}
    )
    assert found.range == pytest.approx((0, 20 / 255))


def test_parts_of_sets_and_sets_in_a_row_are_described():
    part = Subset(Torchvisions([0, 1, 1, 0]), [3, 2])
    assert describe(part).balance == {"cat": 1, "dog": 1}
    row = describe(ConcatDataset([part, Torchvisions([1])]))
    assert row.balance == {"cat": 1, "dog": 2} and row.name == "part of Torchvisions + Torchvisions"


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Torchvisions([0, 5]), "label 5 is none of 2 classes"),
        (Torchvisions([0, -1]), "whole numbers from 0"),
        (Torchvisions([0.5, 1.0]), "whole numbers from 0"),
        (Torchvisions(None), "no labels in a Torchvisions"),
    ],
)
def test_labels_that_are_no_classes_are_refused_before_a_picture_is_opened(dataset, message):
    with pytest.raises(ValueError, match=message):
        describe(dataset)
    assert dataset.opened == 0


def test_what_is_no_picture_is_refused_at_the_first():
    class Numbers(Torchvisions):
        def __getitem__(self, index):
            self.opened += 1
            return index, 0

    numbers = Numbers([0, 1])
    with pytest.raises(ValueError, match=r"picture 0 must be a tensor \(C, H, W\) or PIL's; given: int"):
        describe(numbers)
    assert numbers.opened == 1
