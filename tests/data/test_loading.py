"""The loader: the same batches on every run and for any number of workers, and each picture once an epoch."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, Subset
from torchvision.transforms import v2

from dl_course import data
from dl_course.data import Pictures


def numbered(count=23, transform=None):
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    return Pictures("numbered", images, torch.arange(count) % 3, "abc", (0.5,), (0.25,), transform=transform)


def noisy(picture):
    """Random in all the ways that a learner's transform may be."""
    return picture + torch.rand(1) + random.random() + np.random.rand()


def epochs(loader, count=2):
    return [torch.cat([x[:, 0, 0, 0] for x, _ in loader]) for _ in range(count)]


@given(
    st.integers(0, 40), st.integers(1, 50), st.integers(0, 2**31), st.booleans(), st.booleans(), st.booleans()
)
def test_batches_are_torchs_for_the_same_order(count, size, seed, shuffle, drop_last, fast):
    pictures = numbered(count, transform=None if fast else lambda x: x)
    loader = data.loader(pictures, size, shuffle=shuffle, seed=seed, drop_last=drop_last)
    batches = list(loader)
    order = (torch.cat([x for x, _ in batches])[:, 0, 0, 0] * 255).round().long().tolist() if batches else []
    rest = [] if not drop_last else [i for i in range(count) if i not in order]
    assert sorted(order + rest) == list(range(count)) and len(rest) < size
    theirs = list(DataLoader(Subset(numbered(count), order), size, drop_last=drop_last)) if order else []
    assert len(batches) == len(loader) == len(theirs)
    for (x, labels), (expected, expected_labels) in zip(batches, theirs, strict=True):
        assert torch.equal(x, expected) and torch.equal(labels, expected_labels)


@pytest.mark.parametrize("transform", [None, noisy])
def test_order_and_augmentation_are_the_same_for_every_number_of_workers(transform):
    runs = [
        epochs(data.loader(numbered(transform=transform), 5, shuffle=True, seed=3, num_workers=workers))
        for workers in (0, 1, 2)
    ]
    for run in runs[1:]:
        assert all(torch.equal(one, other) for one, other in zip(run, runs[0], strict=True))
    assert not torch.equal(*runs[0])  # another epoch, another order


def test_each_epoch_and_each_picture_is_augmented_differently():
    pictures = Pictures(
        "same", torch.zeros(50, 1, 1, 1, dtype=torch.uint8), torch.zeros(50).long(), "a", (0,), (1,)
    )
    pictures.transform = noisy
    assert len(torch.cat(epochs(data.loader(pictures, 8, num_workers=2))).unique()) == 100


def test_setting_the_epoch_resumes_where_a_run_was_left():
    whole = epochs(data.loader(numbered(transform=noisy), 5, shuffle=True, seed=3), 3)
    resumed = data.loader(numbered(transform=noisy), 5, shuffle=True, seed=3)
    resumed.epoch = 2
    assert torch.equal(epochs(resumed, 1)[0], whole[2])


def test_another_seed_gives_another_order():
    one, other = (epochs(data.loader(numbered(), 5, shuffle=True, seed=seed), 1)[0] for seed in (0, 1))
    assert not torch.equal(one, other)


def test_nobodys_random_numbers_are_touched():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for transform in (None, noisy):
        epochs(data.loader(numbered(transform=transform), 5, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1] and np.random.get_state()[1].tolist() == before[2]


def test_a_normalization_is_done_to_whole_batches_with_the_same_result():
    pictures = numbered(transform=v2.Normalize([0.5], [0.25]))
    (x, _), *_ = data.loader(pictures, 7)
    torch.testing.assert_close(x, torch.stack([pictures[i][0] for i in range(7)]))


def test_weights_draw_the_classes_evenly_without_reading_a_picture():
    labels = torch.tensor([0] * 900 + [1] * 100)
    pictures = Pictures("rare", torch.zeros(1000, 1, 1, 1, dtype=torch.uint8), labels, "ab", (0,), (1,))
    weights = (1 / labels.bincount())[labels]
    drawn = torch.cat([batch for _, batch in data.loader(pictures, 64, weights=weights)])
    assert len(drawn) == 1000 and abs(drawn.float().mean() - 0.5) < 0.05


def test_weights_of_the_wrong_length_or_beside_shuffle_are_refused():
    with pytest.raises(ValueError, match="one a picture"):
        data.loader(numbered(), 5, weights=torch.ones(7))
    with pytest.raises(ValueError, match="replace shuffle"):
        data.loader(numbered(), 5, weights=torch.ones(23), shuffle=True)


@pytest.mark.parametrize("fast", [True, False])
def test_batches_of_nothing_are_refused(fast):
    with pytest.raises(ValueError, match="batch_size counts from 1; given: 0"):
        data.loader(numbered(transform=None if fast else noisy), 0)


class Stream(IterableDataset):
    def __iter__(self):
        yield from ((torch.tensor(float(i)), i) for i in range(7))


def test_a_stream_comes_in_its_own_order_and_takes_neither_shuffle_nor_weights():
    batches = data.loader(Stream(), 3)
    for _ in range(2):
        assert [y.tolist() for _, y in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    with pytest.raises(TypeError):
        len(batches)
    for how in ({"shuffle": True}, {"weights": torch.ones(7)}):
        with pytest.raises(ValueError, match="an order of its own: no shuffle and no weights"):
            data.loader(Stream(), 3, **how)
