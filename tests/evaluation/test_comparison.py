"""Paired comparison: McNemar's test against the binomial sum; the interval against the score test."""

from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import norm

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
    found = compare(*pair(5, only_a, only_b, 5))
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.difference == pytest.approx((only_b - only_a) / (n + 10))


def score(only_a, only_b, n, difference):
    """Return how many standard errors a difference is off, the shares found by maximising the likelihood."""

    def unlikelihood(lost):
        shares = lost, lost + difference, 1 - 2 * lost - difference
        return -xlogy((only_a, only_b, n - only_a - only_b), np.maximum(shares, 0)).sum()

    limits = max(0.0, -difference), min(1.0, (1 - difference) / 2)
    lost = minimize_scalar(unlikelihood, bounds=limits, method="bounded", options={"xatol": 1e-12}).x
    variance = 2 * lost + difference - difference**2
    return abs((only_b - only_a) / n - difference) / np.sqrt(variance / n)


@pytest.mark.parametrize(
    "only_a, only_b, n", [(5, 15, 100), (0, 1, 44), (3, 0, 359), (0, 0, 359), (60, 10, 90)]
)
def test_the_interval_ends_where_the_score_test_begins_to_refuse(only_a, only_b, n):
    ends = compare(*pair(n - only_a - only_b, only_a, only_b, 0)).interval
    assert [score(only_a, only_b, n, end) for end in ends] == pytest.approx([norm.ppf(0.975)] * 2, rel=1e-4)


def test_without_any_disagreement_the_interval_says_how_few_the_pictures_are():
    z = norm.ppf(0.975) ** 2
    for n in (10, 359):
        low, high = compare(*pair(n, 0, 0, 0)).interval
        assert -low == high == pytest.approx(z / (n + z))
        assert high > 3 / n * 0.8  # the rule of three: so much could be there, and not be seen


def test_where_one_network_alone_is_right_the_interval_ends_at_one():
    assert compare(*pair(0, 0, 20, 0)).interval[1] == 1 and compare(*pair(0, 20, 0, 0)).interval[0] == -1


@pytest.mark.parametrize("lost, gained, n", [(0.002, 0.004, 359), (0.05, 0.08, 200), (0.1, 0.1, 50)])
def test_the_interval_holds_the_true_difference_in_95_of_100_experiments(lost, gained, n):
    drawn = np.random.default_rng(0).multinomial(n, (lost, gained, 1 - lost - gained), 1000)
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    ends = np.array([compare(*pair(both, a, b, 0)).interval for a, b, both in kinds])
    holds = (ends[:, 0] <= gained - lost) & (gained - lost <= ends[:, 1])
    assert 0.93 <= counts[holds].sum() / 1000 <= (0.985 if n * lost > 1 else 1)  # rare events are discrete


def test_without_a_difference_a_false_alarm_is_rare():
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(1000):
        first, second = rng.random((2, 400)) < 0.9
        alarms += compare(with_right(first), with_right(second)).p_value < 0.05
    assert alarms <= 0.07 * 1000


def test_a_true_difference_is_found():
    found = compare(*pair(900, 10, 60, 30))
    assert found.p_value < 1e-6 and found.interval[0] > 0 and "hardly luck" in repr(found)


def test_the_same_network_twice_is_no_difference():
    a, _ = pair(5, 3, 0, 2)
    found = compare(a, a)
    assert (found.p_value, found.difference) == (1.0, 0.0) and found.interval[0] == -found.interval[1]
    assert "could be luck" in repr(found)


def test_predictions_of_other_pictures_are_refused():
    a, b = pair(5, 3, 0, 2)
    shuffled = Predictions(b.logits, b.labels, ids=torch.arange(10).flip(0))
    for other in (shuffled, with_right([True]), Predictions(b.logits, 1 - b.labels)):
        with pytest.raises(ValueError, match="the same pictures in the same order"):
            compare(a, other)
