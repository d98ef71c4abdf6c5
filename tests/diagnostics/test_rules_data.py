"""Rules on data, each on both sides of its limit."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from dl_course.diagnostics.rules import data, labels, reading
from dl_course.diagnostics.rules.evidence import Evidence
from dl_course.diagnostics.rules.finding import Skip


def evidence(x, y, val=None, outputs=4, batch=32, shuffle=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 16), nn.ReLU(), nn.Linear(16, outputs))
    loader, given = DataLoader(TensorDataset(x, y), batch, shuffle), dict.fromkeys(("optimizer", "scheduler"))
    val_loader = None if val is None else DataLoader(TensorDataset(*val), batch)
    return Evidence(model, loader, nn.CrossEntropyLoss(), **given, val_loader=val_loader, seed=0)


@pytest.fixture
def x():
    return torch.randn(400, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y():
    return torch.randint(0, 4, (400,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_is_found_and_counted(x, y, value):
    assert data.nonfinite_inputs(evidence(x, y)) is None
    x[[7, 9], 1, 2, 3] = value
    assert "2 of 400" in data.nonfinite_inputs(evidence(x, y)).evidence


@pytest.mark.parametrize("noise, ill", [(0.0, True), (0.005, True), (0.03, False)])
def test_pictures_that_differ_by_less_than_a_hundredth_are_constant(x, y, noise, ill):
    assert bool(data.constant_inputs(evidence(x[:1] + noise * x, y))) == ill


def test_a_dead_channel_is_named(x, y):
    x[:, 1] = 0.25
    assert data.constant_inputs(evidence(x, y)).where == "channel 1"


def test_columns_that_are_zero_in_small_pictures_are_no_dead_channel(x, y):
    x[:, :, :, 0] = 0
    assert data.constant_inputs(evidence(x, y)) is None


IMAGENET = (
    torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1),
    torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1),
)


@pytest.mark.parametrize(
    "change, ill",
    [
        (lambda x: x, False),
        (lambda x: x.sigmoid(), False),  # in [0, 1]
        (lambda x: (torch.ones_like(x) - IMAGENET[0]) / IMAGENET[1] + 0.1 * x, False),  # nearly white
        (lambda x: x.sigmoid() * 255, True),
        (lambda x: x.sigmoid() / 255, True),
        (lambda x: x + 5, True),
        (lambda x: x * torch.tensor([1, 1, 0.05]).view(3, 1, 1), True),
        (lambda x: x * torch.tensor([1, 1, 0.2]).view(3, 1, 1), False),
    ],
)
def test_inputs_have_a_size_of_about_one_in_each_channel(x, y, change, ill):
    assert bool(data.inputs_not_normalised(evidence(change(x), y))) == ill


def test_labels_have_an_output_each(x, y):
    assert labels.labels_out_of_range(evidence(x, y)) is None
    y[3], y[5] = 4, -1
    assert "2 of 400 labels are [-1, 4]" in labels.labels_out_of_range(evidence(x, y)).evidence


def test_labels_that_the_loss_leaves_out_are_fine(x, y):
    y[:9] = -100
    assert labels.labels_out_of_range(evidence(x, y)) is None


def test_floats_are_no_classes_for_a_loss_of_classes_and_fine_for_others(x, y):
    assert "float32" in labels.labels_out_of_range(evidence(x, y.float())).evidence
    regression = evidence(x, y.float())
    regression.loss_fn = lambda outputs, labels: (outputs.sum(1) - labels).square().mean()
    assert labels.labels_out_of_range(regression) is None


def test_labels_of_digits_agree_with_pictures_until_they_are_shuffled():
    bunch = load_digits()
    x, y = torch.tensor(bunch.images[:, None], dtype=torch.float32) / 16, torch.tensor(bunch.target)
    assert data.label_noise(evidence(x, y, outputs=10)) is None
    for seed in range(8):
        mixed = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
        assert data.label_noise(evidence(x, mixed, outputs=10)) is not None
    neighbours = cross_val_predict(KNeighborsClassifier(1), bunch.data[:500], mixed[:500], cv=4)
    assert (neighbours == mixed[:500].numpy()).mean() < 0.2  # a stranger finds no more in these labels


def test_a_relation_that_no_straight_line_sees_is_seen_through_filters():
    dice = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (600,), generator=dice)
    x = torch.randn(600, 1, 16, 16, generator=dice)
    stripes = x.cumsum(3) - x.cumsum(3).mean(3, keepdim=True)
    x = torch.where(y.view(-1, 1, 1, 1) == 0, stripes, stripes.transpose(2, 3)) * x.sign()[:, :, :1, :1]
    assert data.label_noise(evidence(x / x.std(), y, outputs=2)) is None


def test_too_few_samples_say_nothing_on_noise(x, y):
    with pytest.raises(Skip, match="100"):
        data.label_noise(evidence(x[:60], y[:60]))


@pytest.mark.parametrize("rare, ill", [(100, False), (30, False), (12, False), (7, True), (2, True)])
def test_a_class_ten_times_rarer_is_named(rare, ill):
    y = torch.tensor([0] * 100 + [1] * 100 + [2] * rare)
    found = labels.class_imbalance(evidence(torch.randn(len(y), 3), y, outputs=3))
    assert (found.where if found else None) == ("class 2" if ill else None)


def test_chance_makes_no_class_rare():
    for seed in range(30):
        y = torch.randint(0, 100, (1000,), generator=torch.Generator().manual_seed(seed))
        assert labels.class_imbalance(evidence(torch.randn(1000, 2), y, outputs=100)) is None


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_sorted_labels_are_found_whatever_the_batches_and_shuffled_ones_are_not(x, y, batch):
    assert labels.unshuffled(evidence(x, y, batch=batch)) is None
    assert labels.unshuffled(evidence(x, y.sort().values, batch=batch)) is not None


def test_a_sample_of_one_class_alone_is_sorted_where_the_data_set_has_others():
    x, y = torch.randn(6000, 2), torch.arange(6000) // 3000
    assert "others come later" in labels.unshuffled(evidence(x, y)).evidence
    assert labels.constant_labels(evidence(x, y)) is None
    assert labels.unshuffled(evidence(x, y * 0)) is None
    assert labels.constant_labels(evidence(x, y * 0)).evidence.startswith("all 2048 training labels are 0")


def test_an_imbalanced_order_by_chance_is_not_taken_for_sorted(x):
    y = (torch.rand(400, generator=torch.Generator().manual_seed(3)) < 0.05).long()
    assert labels.unshuffled(evidence(x, y, outputs=2)) is None


@pytest.mark.parametrize("shared, ill", [(0, False), (1, False), (8, True), (100, True)])
def test_pictures_in_both_splits_are_counted(x, y, shared, ill):
    val = torch.cat([x[300 - shared : 300], x[300:]])[:100].clone()
    found = data.leak(evidence(x[:300], y[:300], (val, y[300 : 300 + len(val)])))
    assert bool(found) == ill
    assert not ill or found.evidence.startswith(f"{shared} of 100")


def test_a_picture_with_some_noise_is_the_same_picture(x, y):
    assert data.leak(evidence(x[:300], y[:300], (x[:100] + 0.02 * torch.randn(100, 3, 6, 6), y[:100])))


def test_augmented_copies_are_split_by_picture(x, y):
    copies = x[:100].repeat_interleave(4, 0)
    copies = copies + 0.02 * torch.randn(copies.shape, generator=torch.Generator().manual_seed(3))
    labels = y[:100].repeat_interleave(4)
    mixed = torch.randperm(400, generator=torch.Generator().manual_seed(4))
    for order, ill in ((mixed, True), (torch.arange(400), False)):
        train, val = order[:300], order[300:]
        found = data.leak(evidence(copies[train], labels[train], (copies[val], labels[val])))
        assert bool(found) == ill
    assert data.leak(evidence(x[:300], y[:300], (x[300:], y[300:]))) is None


def seen(y):
    """Pictures that tell their class, 0 to 3."""
    dice = torch.Generator().manual_seed(5)
    return torch.randn(4, 3, 6, 6, generator=dice)[y] + torch.randn(len(y), 3, 6, 6, generator=dice)


@pytest.mark.parametrize("order, ill", [([0, 1, 2, 3], False), ([2, 0, 3, 1], True)])
def test_validation_has_its_classes_in_the_order_of_training(y, order, ill):
    x = seen(y)
    other = torch.tensor(order)[y[300:]]
    assert bool(data.other_order_of_classes(evidence(x[:300], y[:300], (x[300:], other)))) == ill


def test_where_nothing_is_learnt_nothing_is_said_of_the_order_of_classes(x, y):
    assert data.other_order_of_classes(evidence(x[:300], y[:300], (x[300:], y[300:].roll(1)))) is None


@pytest.mark.parametrize("weights_of, ill", [
    (lambda y: 1 / y.bincount(), True), (lambda y: (1 / y.bincount())[y], False), (lambda y: y + 1.0, False),
])  # fmt: skip
def test_a_sampler_has_a_weight_for_each_sample(x, y, weights_of, ill):
    case = evidence(x, y)
    dice = torch.Generator().manual_seed(0)
    sampler = WeightedRandomSampler(weights_of(y), len(y), generator=dice)
    case.train_loader = DataLoader(TensorDataset(x, y), 32, sampler=sampler)
    assert bool(reading.few_of_many(case)) == ill


def test_a_data_set_of_four_inputs_has_no_more_to_give():
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(100, 1)
    assert reading.few_of_many(evidence(corners, corners.sum(1).long() % 2)) is None


@pytest.mark.parametrize("loss_of, outputs, ill", [
    (lambda w: nn.CrossEntropyLoss(w), 2, True), (lambda w: nn.CrossEntropyLoss(1 / w), 2, False),
    (lambda w: lambda o, y: nn.functional.cross_entropy(o, y), 2, True),
    (lambda w: Column(pos_weight=w[0] / w[1]), 1, False), (lambda w: Column(pos_weight=w[1] / w[0]), 1, True),
])  # fmt: skip
def test_a_rare_class_that_the_loss_weighs_up_is_none(loss_of, outputs, ill):
    y = (torch.arange(800) % 25 == 0).long()
    case = evidence(torch.randn(800, 3), y, outputs=outputs)
    case.given_loss = loss_of(y.bincount() / len(y))
    assert bool(labels.class_imbalance(case)) == ill


class Column(nn.BCEWithLogitsLoss):
    def forward(self, outputs, labels):
        return super().forward(outputs[:, 0], labels.float())


def test_neighbours_are_near_where_there_are_only_two_numbers(y):
    flat = torch.rand(400, 2, generator=torch.Generator().manual_seed(2))
    assert data.leak(evidence(flat[:300], y[:300], (flat[300:], y[300:]))) is None


@pytest.mark.parametrize("count, ill", [(95, True), (20, True), (96, False), (300, False)])
def test_validation_has_enough_samples_for_ten_points(x, y, count, ill):
    assert bool(data.small_validation(evidence(x, y, (x[:count], y[:count])))) == ill


@pytest.mark.parametrize(
    "change, ill",
    [
        (lambda x: x, False),
        (lambda x: x * 1.15 + 0.1, False),
        (lambda x: x * 2, True),
        (lambda x: x + 0.5, True),
        (lambda x: x[:, :, :5], True),
    ],
)
def test_validation_is_prepared_as_training_is(x, y, change, ill):
    assert bool(data.mismatch(evidence(x[:300], y[:300], (change(x[300:]), y[300:])))) == ill


def test_means_of_eight_pictures_may_be_off_by_chance_those_of_300_may_not(x, y):
    dice = torch.Generator().manual_seed(0)
    bright = x + torch.randn(len(x), 1, 1, 1, generator=dice)  # some are bright as wholes, some dark
    for start in range(300, 360, 8):
        few = bright[start : start + 8], y[start : start + 8]
        assert data.mismatch(evidence(bright[:300], y[:300], few)) is None
    assert data.mismatch(evidence(bright[:300], y[:300], (bright[300:] + 1, y[300:]))) is not None


def test_channels_in_the_other_order_are_found_though_means_and_stds_agree(x, y):
    x[:, 1] = (x[:, 0] + x[:, 1]) / 2**0.5  # red goes with green, blue with neither
    assert data.mismatch(evidence(x[:200], y[:200], (x[200:], y[200:]))) is None
    assert "other order" in data.mismatch(evidence(x[:200], y[:200], (x[200:].flip(1), y[200:]))).evidence


def test_the_order_of_channels_shows_where_only_the_colors_tell(x, y):
    colors = torch.tensor([[1.0, 0, -1], [0, -1, 1], [-1, 1, 0]])  # turned, they agree in means and products
    dice = torch.Generator().manual_seed(0)
    x = colors[torch.randint(3, (300, 8, 8), generator=dice)].permute(0, 3, 1, 2)
    assert data.mismatch(evidence(x[:200], y[:200], (x[200:], y[200:300]))) is None
    assert data.mismatch(evidence(x[:200], y[:200], (x[200:].flip(1), y[200:300]))) is not None
