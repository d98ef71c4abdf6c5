"""Weights, balanced draws and undersampling, beside scikit-learn, and without opening a picture."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, WeightedRandomSampler

from dl_course import data
from dl_course.data import labels_of
from dl_course.training.sampling import balanced_sampler, class_weights, undersampled

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


class Closed(Dataset):
    """A data set whose pictures must not be opened."""

    def __init__(self, labels, name="labels"):
        setattr(self, name, labels)
        self.size = len(labels)

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        raise AssertionError("a picture was opened")


def pictures(labels):
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return data.Pictures("few", images, torch.as_tensor(labels), "abcde", [0.0], [1.0])


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
@pytest.mark.parametrize("name", ["labels", "targets"])
def test_labels_are_read_wherever_they_lie_and_no_picture_is_opened(kind, name):
    dataset = Closed(kind([2, 0, 1, 1]), name)
    for source, expected in [(kind([2, 0, 1, 1]), [2, 0, 1, 1]), (dataset, [2, 0, 1, 1])]:
        assert labels_of(source).tolist() == expected
    assert labels_of(Subset(Subset(dataset, [3, 1, 0]), torch.tensor([2, 0]))).tolist() == [2, 1]


def test_a_data_set_without_labels_is_refused_and_not_searched_for_them():
    dataset = Closed([0, 1])
    del dataset.labels
    for function in (class_weights, balanced_sampler, undersampled):
        with pytest.raises(ValueError, match="no labels in a Closed; give the labels themselves"):
            function(dataset)
    with pytest.raises(ValueError, match="no labels in a list"):
        class_weights([])


@given(LABELS)
def test_class_weights_are_scikit_learns(labels):
    present = sorted(set(labels))
    dense = [present.index(label) for label in labels]
    expected = compute_class_weight("balanced", classes=np.arange(len(present)), y=dense)
    torch.testing.assert_close(class_weights(dense), torch.tensor(expected, dtype=torch.float32))


def test_a_class_without_a_sample_is_named_in_a_part_of_a_set_too():
    with pytest.raises(ValueError, match=r"no sample of class \[1, 3, 4\]"):
        class_weights(pictures([0, 2, 2]))
    with pytest.raises(ValueError, match=r"no sample of class \[2, 3, 4\]"):
        class_weights(Subset(pictures([0, 1, 2, 3, 4]), [0, 1]))


def test_sets_in_a_row_have_their_labels_in_a_row():
    whole = ConcatDataset([pictures([0, 1, 2]), Subset(pictures([3, 4, 0]), [1, 0])])
    assert labels_of(whole).tolist() == [0, 1, 2, 4, 3]
    torch.testing.assert_close(class_weights(whole), torch.ones(5))
    others = Closed([0, 1])
    others.classes = ("x", "y")
    with pytest.raises(ValueError, match="name their classes differently"):
        class_weights(ConcatDataset([others, pictures([0])]))


@given(LABELS)
def test_draws_are_in_scikit_learns_proportions_and_sum_to_one(labels):
    expected = torch.from_numpy(compute_sample_weight("balanced", labels))
    weights = balanced_sampler(labels)
    assert weights.shape == (len(labels),) and weights.sum().item() == pytest.approx(1)
    torch.testing.assert_close(weights, expected / expected.sum())


def test_the_courses_loader_and_torchs_sampler_then_draw_all_classes_equally():
    labels = [0] * 200 + [1] * 20 + [4] * 4
    dataset, weights = pictures(labels), balanced_sampler(labels)
    sampler = WeightedRandomSampler(weights, 10_000, generator=torch.Generator().manual_seed(0))
    ours = torch.cat([y for _ in range(45) for _, y in data.loader(dataset, 64, weights=weights, seed=_)])
    theirs = torch.cat([y for _, y in DataLoader(dataset, 64, sampler=sampler)])
    for drawn in (ours, theirs):  # 10,000 draws: a standard deviation of 0.005
        shares = drawn.bincount() / len(drawn)
        torch.testing.assert_close(shares[[0, 1, 4]], torch.full((3,), 1 / 3), atol=0.025, rtol=0)


@given(LABELS, st.integers(0, 9))
def test_undersampled_keeps_as_many_of_each_class_as_the_rarest_has(labels, seed):
    kept = undersampled(pictures(labels), seed)
    counts = np.bincount(labels)
    expected = np.where(counts > 0, counts[counts > 0].min(), 0)
    assert kept.labels.bincount(minlength=len(counts)).tolist() == expected.tolist()
    places = kept.images.flatten().tolist()
    assert places == sorted(set(places)) and [labels[place] for place in places] == kept.labels.tolist()
    assert kept.classes == tuple("abcde")


def test_undersampled_is_drawn_by_its_seed_alone():
    labels = [0] * 100 + [1] * 5
    once, again, other = (undersampled(pictures(labels), seed).images for seed in (0, 0, 1))
    torch.rand(1)
    assert torch.equal(once, again) and not torch.equal(once, other)


def test_undersampled_takes_any_data_set():
    kept = undersampled(Closed([0, 0, 1]))
    assert isinstance(kept, Subset) and labels_of(kept).tolist() == [0, 1]
