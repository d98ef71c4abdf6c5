import numpy as np
import pytest
import torch
from scipy.ndimage import sobel
from scipy.stats import norm

from dl_course.explain import compare_methods, edges, removal_areas
from tests.explain.test_trust import Left

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise


def test_edges_are_the_sobel_slopes_of_the_mean_channel():
    x = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    gray = x.mean(1).numpy()
    slopes = [np.hypot(sobel(each, 0, mode="nearest"), sobel(each, 1, mode="nearest")) for each in gray]
    np.testing.assert_allclose(edges(Left(), x, normalize=False), slopes, rtol=1e-4)
    assert edges(Left(), x).amax((1, 2)).tolist() == [1, 1]


def truth(model, images, target=None, *, normalize=True):
    """Return maps that know which half of the picture `Left` looks at."""
    maps = torch.rand(len(images), *images.shape[2:], generator=torch.Generator().manual_seed(1))
    maps[..., : images.shape[3] // 2] += 1
    return maps


def test_a_method_that_knows_the_truth_wins_where_it_should_and_one_that_ignores_the_network_never_forgets():
    x = torch.randn(12, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = (torch.arange(32) < 16).expand(12, 32, 32)
    table = compare_methods(Weighing(), x, masks, {"truth": truth, "edges": edges}, 0, progress=False)
    assert list(table.index) == ["truth", "edges"] and table["pictures"].tolist() == [12, 12]
    assert table.loc["truth", ("pointing", "mean")] == 1
    z2 = norm.ppf(0.975) ** 2  # of 12 hits in 12 pictures, Wilson's interval goes from n / (n + z²) to 1
    assert table.loc["truth", "pointing"][["low", "high"]].tolist() == pytest.approx([12 / (12 + z2), 1])
    assert table.loc["truth", ("deletion", "low")] > 0 and table.loc["truth", ("insertion", "low")] > 0
    assert (table["forgetting"].loc["edges"] == 1).all()


class Weighing(Left):
    """`Left`, with a layer to forget that the answer doesn't depend on."""

    def __init__(self):
        super().__init__()
        self.idle = torch.nn.Linear(2, 2)


def test_gains_are_means_of_differences_to_random_pixels_picture_by_picture():
    x = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    masks = torch.ones(6, 16, 16, dtype=torch.bool)
    row = compare_methods(Weighing(), x, masks, {"truth": truth}, 0, seed=4, progress=False).iloc[0]
    dice = torch.rand(6, 16, 16, generator=torch.Generator().manual_seed(4))
    mine, chance = (removal_areas(Weighing(), x, maps, 0, steps=8) for maps in (truth(None, x), dice))
    for test, gain in (("deletion", chance[0] - mine[0]), ("insertion", mine[1] - chance[1])):
        half = 2.570582 * gain.std().item() / 6**0.5  # Student's t, 5 degrees of freedom
        expected = [gain.mean().item(), gain.mean().item() - half, gain.mean().item() + half]
        assert row[test].tolist() == pytest.approx(expected, rel=1e-4)


def test_pictures_in_parts_have_their_own_targets():
    seen = []

    def method(model, images, target=None, *, normalize=True):
        seen.append((len(images), target.tolist()))
        return torch.rand(len(images), 8, 8)

    x, target = torch.randn(60, 1, 8, 8), torch.arange(60) % 2
    masks = torch.ones(60, 8, 8, dtype=torch.bool)
    compare_methods(Weighing(), x, masks, {"it": method}, target, forgetting=3, shuffles=1, progress=False)
    assert seen == [(50, target[:50].tolist()), (10, target[50:].tolist()), (3, [0, 1, 0]), (3, [0, 1, 0])]


def test_a_layers_coarse_maps_are_enlarged_to_the_pictures():
    def coarse(model, images, target=None, *, normalize=True):
        return truth(model, images[..., ::4, ::4])

    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    masks = (torch.arange(32) < 16).expand(4, 32, 32)
    options = {"forgetting": 2, "shuffles": 2, "progress": False}
    assert (
        compare_methods(Weighing(), x, masks, {"it": coarse}, 0, **options)["pointing"].loc["it", "mean"] == 1
    )
