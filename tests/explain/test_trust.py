import copy
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr, ttest_1samp
from torch import nn

from dl_course.explain import deletion_insertion, gradcam, pointing_game, randomization_test, removal_areas
from dl_course.models import TinyResNet, trained
from dl_course.runtime import preserved_rng


def at(rows, columns, height=9, width=12):
    maps = torch.zeros(len(rows), height, width)
    maps[range(len(rows)), rows, columns] = 1
    return maps


def test_a_peak_in_the_mask_is_a_hit_and_the_centre_is_measured_beside_it():
    maps = at([2, 4, 8], [3, 6, 11])
    masks = at([2, 4, 0], [3, 6, 0])
    game = pointing_game(maps, masks.bool())
    assert game.hits.tolist() == [True, True, False]
    assert game.score == pytest.approx(2 / 3) and game.centre == pytest.approx(1 / 3)  # (4, 6) is the centre
    assert repr(game) == "pointing game: 0.667 of 3 maps hit, the centre 0.333"


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0, 6))
def test_a_tolerance_lets_the_peak_lie_so_many_pixels_away(seed, tolerance):
    rng = np.random.default_rng(seed)
    maps, masks = rng.random((3, 7, 10)), rng.random((3, 7, 10)) < 0.04

    def hit(mask, y, x):
        return any((i - y) ** 2 + (j - x) ** 2 <= tolerance**2 for i, j in zip(*mask.nonzero(), strict=True))

    game = pointing_game(torch.from_numpy(maps), torch.from_numpy(masks), tolerance)
    peaks = [np.unravel_index(m.argmax(), m.shape) for m in maps]
    assert game.hits.tolist() == [hit(mask, *peak) for mask, peak in zip(masks, peaks, strict=True)]
    assert game.centre == pytest.approx(np.mean([hit(mask, 3, 5) for mask in masks]))


def test_a_map_of_one_value_points_nowhere():
    everywhere = torch.ones(2, 4, 4, dtype=torch.bool)
    assert pointing_game(torch.stack([torch.zeros(4, 4), -torch.eye(4)]), everywhere).hits.tolist() == [
        False,
        True,
    ]


def test_maps_and_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must both be \(N, H, W\)"):
        pointing_game(torch.rand(2, 4, 4), torch.ones(1, 4, 4).bool())


class Left(nn.Module):
    """Class 0 wins where the left half of a picture has contrast: every pixel there counts alike."""

    def forward(self, x):
        power = x[..., : x.shape[-1] // 2].square().mean((1, 2, 3))
        return torch.stack([6 * power, torch.full_like(power, 3)], 1)


def test_deletion_and_insertion_tell_a_right_map_from_a_wrong_one_and_from_chance():
    x = torch.randn(2, 1, 32, 32)
    right = torch.rand(2, 32, 32) + torch.tensor([1.0, -1.0]).repeat_interleave(16)
    good = deletion_insertion(Left(), x, right, 0)
    bad = deletion_insertion(Left(), x, -right, 0)
    assert list(good.index) == ["map", "random", "centre"] and list(good) == ["deletion", "insertion"]
    assert good["deletion"]["map"] < good["deletion"]["random"] < bad["deletion"]["map"]
    assert good["insertion"]["map"] > good["insertion"]["random"] > bad["insertion"]["map"]
    assert good.loc["random"].equals(bad.loc["random"]) and good.loc["centre"].equals(bad.loc["centre"])
    assert not good.loc["random"].equals(deletion_insertion(Left(), x, right, 0, seed=1).loc["random"])


def test_deletion_is_the_area_under_the_probability_as_pixels_go_in_the_maps_order():
    with preserved_rng(0):
        model, x, maps = TinyResNet(width=4).eval(), torch.randn(2, 3, 16, 16), torch.rand(2, 16, 16)
    target, areas = model(x).argmax(1), []
    for n in range(2):
        order, curve = maps[n].flatten().argsort(descending=True), []
        for step in range(17):
            picture = x[n].clone().flatten(1)
            picture[:, order[: step * 16]] = 0
            curve.append(model(picture.view(1, 3, 16, 16)).softmax(1)[0, target[n]].item())
        areas.append(np.trapezoid(curve, dx=1 / 16))
    measured = deletion_insertion(model.train(), x, maps)
    assert measured["deletion"]["map"] == pytest.approx(np.mean(areas), abs=1e-6) and model.training
    both = removal_areas(model, x, maps)
    assert both[0].tolist() == pytest.approx(areas, abs=1e-6)
    assert torch.equal(removal_areas(model, x, maps, tests=["insertion"]), both[1:])


def test_insertion_begins_with_a_blurred_picture_and_ends_with_the_picture():
    class Probe(nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return torch.zeros(len(x), 2)

    seen, x = [], torch.rand(1, 3, 64, 64)
    deletion_insertion(Probe(), x, torch.rand(1, 64, 64))
    deleted, inserted = [seen[0], *seen[1:17]], [*seen[17:33], seen[0]]  # the picture itself is scored once
    assert torch.equal(deleted[0], x) and deleted[-1].eq(0).all() and torch.equal(inserted[-1], x)
    assert (deleted[8] == x).all(1).float().mean() == pytest.approx(0.5) and len(seen) == 3 * 32 + 3
    assert inserted[0].std() < 0.5 * x.std() and (inserted[0].mean() - x.mean()).abs() < 0.01
    assert (inserted[4] == x).all(1).float().mean() == pytest.approx(0.25)


def test_randomization_goes_from_the_last_layer_to_the_first_and_leaves_the_model_alone():
    model = trained("tinyresnet-shapes").train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    method = partial(gradcam, layer="stage3")
    table = randomization_test(model, x, method, shuffles=2)
    named = [
        name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))
    ]
    assert list(table.index) == named[::-1] and list(table) == ["spearman", "low", "high"]
    assert table["spearman"].abs().iloc[-5:].max() < 0.5 and table["spearman"].between(-1, 1).all()
    assert model.training and all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert table.equals(randomization_test(model, x, method, shuffles=2))
    last = randomization_test(model, x, method, shuffles=2, layers=1, seed=1)
    assert list(last.index) == ["fc"] and not table.iloc[:1].equals(last)


def test_a_row_is_scipys_rank_correlation_of_the_signed_maps_with_what_was_shuffled():
    with preserved_rng(0):
        model, x = TinyResNet(width=4).eval(), torch.randn(3, 3, 32, 32)
    first = gradcam(model, x, "stage2", 1, normalize=False)
    options = {"shuffles": 3, "layers": 1}
    row = randomization_test(model, x, partial(gradcam, layer="stage2"), 1, **options).loc["fc"]
    dice, alike = torch.Generator().manual_seed(0), []
    for _ in range(3):
        forgetful = copy.deepcopy(model)
        for parameter in (forgetful.fc.weight, forgetful.fc.bias):
            order = torch.randperm(parameter.numel(), generator=dice)
            parameter.data = parameter.data.flatten()[order].view_as(parameter)
        second = gradcam(forgetful, x, "stage2", 1, normalize=False)
        pairs = zip(first.flatten(1), second.flatten(1), strict=True)
        alike.append(np.mean([spearmanr(a, b).statistic for a, b in pairs]))
    low, high = ttest_1samp(alike, 0).confidence_interval()
    assert row.tolist() == pytest.approx([np.mean(alike), low, high])


def test_a_network_that_ignores_its_weights_fails_the_test_and_a_map_of_one_value_counts_as_0():
    class Edges(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.layer, self.idle, self.scale = nn.Identity(), nn.Linear(2, 2), scale

        def forward(self, x):
            y = self.layer(x).mean((1, 2, 3))
            return torch.stack([y * self.scale, y - y], 1)

    x = torch.randn(2, 1, 8, 8)
    method = partial(gradcam, layer="layer")
    one, none = (randomization_test(Edges(scale), x, method, 0) for scale in (1, 0))
    assert one["spearman"].tolist() == [pytest.approx(1)] and none["spearman"].tolist() == [0]
    assert randomization_test(Edges(1), x, method, 0, shuffles=1)[["low", "high"]].isna().all(axis=None)
