"""Paired comparison: McNemar's test against the binomial sum, the bootstrap against its definition."""

from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dl_course.evaluation import Predictions, compare


def with_right(right):
    """Predictions of class 0, whose labels are all 0, right where it is said."""
    right = torch.as_tensor(right)
    return Predictions(torch.where(right[:, None], torch.tensor([1.0, 0]), torch.tensor([0.0, 1])),
                       torch.zeros(len(right), dtype=torch.int64))  # fmt: skip


def pair(both, only_a, only_b, neither):
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return with_right(a), with_right(b)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_p_value_is_twice_the_smaller_binomial_tail(only_a, only_b):
    found = compare(*pair(5, only_a, only_b, 5), samples=10)
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.difference == pytest.approx((only_b - only_a) / (n + 10))


def test_the_interval_is_the_bootstraps_of_whole_pairs():
    a, b = pair(70, 5, 15, 10)
    gains = b.correct.double().numpy() - a.correct.double().numpy()
    rng = np.random.default_rng(1)
    means = gains[rng.integers(0, 100, (20_000, 100))].mean(1)
    expected = np.quantile(means, (0.025, 0.975))
    np.testing.assert_allclose(compare(a, b, samples=20_000).interval, expected, atol=0.011)


def test_without_a_difference_a_false_alarm_is_rare():
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(1000):
        first, second = rng.random((2, 400)) < 0.9
        alarms += compare(with_right(first), with_right(second), samples=10).p_value < 0.05
    assert alarms <= 0.07 * 1000


def test_a_true_difference_is_found():
    found = compare(*pair(900, 10, 60, 30))
    assert found.p_value < 1e-6 and found.interval[0] > 0 and "hardly luck" in repr(found)


def test_the_same_network_twice_is_no_difference():
    a, _ = pair(5, 3, 0, 2)
    found = compare(a, a)
    assert (found.p_value, found.interval, found.difference) == (1.0, (0.0, 0.0), 0.0)
    assert "could be luck" in repr(found)


def test_predictions_of_other_pictures_are_refused():
    a, b = pair(5, 3, 0, 2)
    shuffled = Predictions(b.logits, b.labels, ids=torch.arange(10).flip(0))
    for other in (shuffled, with_right([True]), Predictions(b.logits, 1 - b.labels)):
        with pytest.raises(ValueError, match="the same pictures in the same order"):
            compare(a, other)
