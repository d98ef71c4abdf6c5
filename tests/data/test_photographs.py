"""Photographs: a dozen, each with its source, and nothing silent where a package is missing."""

import pytest
import torch
import torchvision

from dl_course import data
from dl_course.data import photographs
from dl_course.files import DataUnavailable


@pytest.fixture(scope="module")
def photos():
    return data.load("photos")


def test_there_are_a_dozen_photographs_each_with_a_name_an_author_and_a_licence(photos):
    assert len(photos) == len(photos.classes) == 12
    for number, name in enumerate(photos.classes):
        picture, label = photos[name]
        assert label == number == photos[number][1]
        assert picture.dtype == torch.float32 and picture.shape[0] == 3 and min(picture.shape[1:]) >= 300
        assert picture.min() >= 0 and 0.5 < picture.max() <= 1
    assert all(source.author and source.licence for source in photos.sources.values())
    assert len({picture.shape for picture in photos.images}) > 5


def test_the_names_that_imagenet_has_are_spelt_as_imagenet_spells_them(photos):
    known = set(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
    assert {name for source in photos.sources.values() for name in source.imagenet} < known


def test_every_photograph_is_on_the_data_card(photos):
    card = (files_root() / "datasets" / "README.md").read_text("utf-8")
    for name, source in photos.sources.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| `{name}` "))
        assert source.file in row and source.author in row and source.licence in row
    for name, surface in photographs.SURFACES.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} |"))
        assert surface.source.file in row and surface.source.licence in row


def files_root():
    from dl_course.files import repository_root

    return repository_root()


def test_it_shows_where_each_comes_from_and_describe_takes_it(photos):
    table = photos.table()
    assert list(table.index) == list(photos.classes) and table.loc["cat", "licence"] == "CC0"
    assert table.loc["cat", "size"] == "451×300" and "<table" in photos._repr_html_()
    assert len(data.describe(photos).shapes) > 5


def test_a_transform_is_done_to_each(photos):
    half = data.load("photos", transform=lambda picture: picture[:, ::2, ::2])
    assert torch.equal(half["cat"][0], photos["cat"][0][:, ::2, ::2])


def test_what_is_not_there_is_refused_by_name(photos):
    with pytest.raises(ValueError, match="no photograph 'cta'; did you mean 'cat'"):
        photos["cta"]
    with pytest.raises(ValueError, match="without a 'test'"):
        data.load("photos", "test")


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    with pytest.raises(DataUnavailable, match=r"chelsea.png comes with scikit-image.*dl-course\[photos\]"):
        data.load("photos")
    assert data.available().loc["photos", "state"] == 'pip install "dl-course[photos]"'


@pytest.mark.parametrize("name", ["textures", "textures-random"])
def test_textures_are_alike_in_brightness_and_contrast_and_the_same_every_time(name):
    for split, count in photographs.CROPS.items():
        pictures = data.load(name, split)
        assert pictures.images.shape == (8 * count, 3, 32, 32)
        assert pictures.labels.bincount().tolist() == [count] * 8
        assert torch.equal(pictures.images, data.load(name, split).images)
    x, _ = data.load(name).tensors()
    assert x.mean((1, 2, 3)).std() < 0.01  # brightness tells nothing
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.tensor(pictures.mean), atol=5e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.tensor(pictures.std), atol=5e-3, rtol=0)


def test_no_crop_of_one_part_touches_a_crop_of_another():
    ends = sorted(photographs.STRIPS.values())
    assert all(right + photographs.GAP <= left for (_, right), (left, _) in zip(ends, ends[1:], strict=False))
    assert all(right - left >= photographs.CROP for left, right in ends)


def test_a_random_split_flatters_what_remembers():
    """The nearest training crop, pixel by pixel: right more often where crops overlap."""
    right = {}
    for name in ("textures", "textures-random"):
        train, test = (data.load(name, split) for split in ("train", "test"))
        nearest = torch.cdist(test.images[:, 0].flatten(1).float(), train.images[:, 0].flatten(1).float())
        right[name] = (train.labels[nearest.argmin(1)] == test.labels).double().mean().item()
    assert right["textures-random"] > right["textures"] + 0.05
