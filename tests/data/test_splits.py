"""Splits share out every class, are the same on every machine, and survive being stored."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dl_course.data import load_splits, save_splits, stratified_split


@given(
    st.lists(st.integers(3, 60), min_size=1, max_size=6),
    st.sampled_from([(0.8, 0.2), (0.7, 0.1, 0.2), (0.98, 0.01, 0.01), (1.0,)]),
    st.integers(0, 1000),
)
def test_every_picture_is_in_one_part_and_every_class_in_proportion_in_all(counts, fractions, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    parts = stratified_split(labels, fractions, seed)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
    for part, fraction in zip(parts, fractions, strict=True):
        for label, count in enumerate(counts):
            members = int((labels[part] == label).sum())
            assert members >= 1 and abs(members - fraction * count) <= max(1, len(fractions) - 1)


def test_the_split_is_the_same_on_every_machine_and_differs_with_the_seed():
    labels = [0, 1] * 10
    assert stratified_split(labels, (0.7, 0.3))[1].tolist() == [3, 6, 7, 14, 15, 18]
    assert stratified_split(labels, (0.7, 0.3), seed=1)[1].tolist() != [3, 6, 7, 14, 15, 18]


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (0.9, 0.2), (1.2, -0.2), (1.0, 0.0)])
def test_fractions_that_do_not_add_up_are_refused(fractions):
    with pytest.raises(ValueError, match="add up to 1"):
        stratified_split([0, 1] * 10, fractions)


def test_a_class_with_one_member_is_named():
    with pytest.raises(ValueError, match="class 7 has too few members for 2 parts: 1"):
        stratified_split(np.array([3, 3, 3, 7]), (0.5, 0.5))


def test_stored_splits_come_back_as_they_were(tmp_path):
    splits = {"train": torch.tensor([4, 0, 2]), "val": torch.tensor([1, 3]), "test": torch.tensor([]).long()}
    save_splits(tmp_path / "splits.json", splits)
    loaded = load_splits(tmp_path / "splits.json", 5)
    assert list(loaded) == list(splits)
    for name, part in splits.items():
        assert torch.equal(loaded[name], part) and loaded[name].dtype == torch.int64


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": [0, 1], "val": [1]}, "in two parts"),
        ({"train": [0, 1], "val": [9]}, "picture 9, but the set has 5"),
        ({"train": [-1]}, "picture -1, but the set has 5"),
    ],
)
def test_stored_splits_that_leak_or_do_not_fit_are_refused(tmp_path, parts, message):
    (tmp_path / "splits.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=message):
        load_splits(tmp_path / "splits.json", 5)


@given(
    st.integers(2, 120),
    st.integers(2, 12),
    st.sampled_from([(0.5, 0.5), (0.7, 0.3), (0.8, 0.1, 0.1), (0.6, 0.2, 0.2)]),
)
def test_parts_have_their_share_of_all_pictures_however_small_the_classes(classes, members, fractions):
    labels = np.repeat(np.arange(classes), members)
    if members < len(fractions):
        return
    parts = stratified_split(labels, fractions)
    for part, fraction in zip(parts, fractions, strict=True):
        counts = np.bincount(labels[part], minlength=classes)
        assert counts.min() >= 1 and abs(counts - fraction * members).max() <= len(fractions) - 1
        if fraction * members >= 1 and min(fractions) * members >= 1:
            assert abs(len(part) - fraction * len(labels)) <= 1 + 1e-9


def test_a_hundred_classes_of_five_are_halved():
    assert [len(part) for part in stratified_split(np.repeat(np.arange(100), 5), (0.5, 0.5))] == [250, 250]
