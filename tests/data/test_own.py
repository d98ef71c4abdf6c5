"""One's own pictures: what goes in comes out, and what is wrong is named."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.functional import to_tensor

from dl_course import data
from dl_course.data import CSVImageDataset, folder_per_class


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("dog", "cat"):
        (tmp_path / label).mkdir()
        for number in range(3):
            pixels = rng.integers(0, 256, (5, 7, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    rows = [(f"{label}/{number}.png", label) for number in range(3) for label in ("dog", "cat")]
    pd.DataFrame(rows, columns=["file", "label"]).to_csv(tmp_path / "list.csv", index=False)
    return tmp_path


def test_a_csvs_rows_are_pictures_and_their_labels(folder):
    pictures = CSVImageDataset(folder / "list.csv")
    assert pictures.classes == ("cat", "dog") and pictures.labels.tolist() == [1, 0] * 3
    x, label = pictures[3]
    expected = np.asarray(Image.open(folder / "cat" / "1.png")).transpose(2, 0, 1) / 255
    assert x.dtype == torch.float32 and label == 0
    torch.testing.assert_close(x.double(), torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_a_folder_per_class_is_read_as_torchvision_reads_it_but_for_what_is_no_picture(folder):
    theirs = ImageFolder(folder, to_tensor)
    for name in ("notes.txt", "paper.pdf", "._0.png"):
        (folder / "cat" / name).write_text("no picture")
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "0.png").write_text("no picture")
    (folder / "cat" / "more.png").mkdir()
    ours = folder_per_class(folder)
    assert list(ours.classes) == theirs.classes and ours.labels.tolist() == theirs.targets
    for (x, label), (expected, expected_label) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, expected)
        assert label == expected_label


def test_columns_folder_grey_and_transform_can_be_chosen(folder, tmp_path):
    table = pd.read_csv(folder / "list.csv").rename(columns={"file": "path", "label": "animal"})
    table.to_csv(folder / "other.csv", index=False)
    pictures = CSVImageDataset(
        str(folder / "other.csv"), folder, file_column="path", label_column="animal", mode="L",
        transform=v2.Resize((4, 4)),
    )  # fmt: skip
    assert pictures[0][0].shape == (1, 4, 4)
    assert next(iter(data.loader(pictures, 6)))[0].shape == (6, 1, 4, 4)


def test_numbers_as_labels_are_classes_in_their_order(folder):
    table = pd.DataFrame({"file": ["dog/0.png", "dog/1.png", "dog/2.png"], "label": [10, 2, 2]})
    pictures = CSVImageDataset(table, folder)
    assert pictures.classes == ("2", "10") and pictures.labels.tolist() == [1, 0, 0]


def edited(folder, text):
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,labels\ndog/0.png,dog\n", "no column 'label'; did you mean 'labels'"),
        (
            "file,label\ndog/0.png,dog\ndog/9.png,dog\n",
            "row 3: .*dog/9.png can't be read .*: it is not there",
        ),
        ("file,label\ndog/0.png,dog\n,dog\n", "row 3: the column 'file' is empty"),
        ("file,label\ndog/0.png,\n", "row 2: the column 'label' is empty"),
        ("file,label\nlist.csv,dog\n", "row 2: .*list.csv can't be read"),
        ("file,label\n", "lists no pictures"),
    ],
)
def test_what_is_wrong_in_a_csv_is_named_at_construction(folder, text, message):
    with pytest.raises(ValueError, match=message):
        CSVImageDataset(edited(folder, text))


def test_a_picture_whose_end_is_broken_is_named_when_it_is_read(folder):
    file = folder / "dog" / "0.png"
    file.write_bytes(file.read_bytes()[:-40])
    pictures = CSVImageDataset(folder / "list.csv")
    with pytest.raises(ValueError, match="row 2: .*0.png can't be read"):
        pictures[0]


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no pictures"):
        folder_per_class(tmp_path)


def test_only_grey_and_colour_are_modes(folder):
    with pytest.raises(ValueError, match="'RGB' or 'L'; given: 'RGBA'"):
        CSVImageDataset(folder / "list.csv", mode="RGBA")
