"""Which of two networks is better, and could it be luck? Both judged on the same pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from dl_course.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same pictures. difference: accuracy of b minus accuracy of a.

    interval: where the difference lies in 95 % of bootstrap samples · only_a, only_b: pictures that one alone
    has right · p_value: of McNemar's exact test, how likely so uneven a pair is when neither is better.
    """

    accuracy_a: float
    accuracy_b: float
    only_a: int
    only_b: int
    interval: tuple[float, float]
    p_value: float

    @property
    def difference(self) -> float:
        """accuracy_b - accuracy_a, in [-1, 1]."""
        return self.accuracy_b - self.accuracy_a

    def __repr__(self) -> str:
        low, high = self.interval
        surely = "could be luck" if self.p_value >= 0.05 else "hardly luck"
        return (
            f"a {self.accuracy_a:.4f}, b {self.accuracy_b:.4f}: b - a = {self.difference:+.4f} "
            f"(95 % from {low:+.4f} to {high:+.4f}); only a right {self.only_a}, only b {self.only_b}, "
            f"p = {self.p_value:.3g}: {surely}"
        )


def compare(a: Predictions, b: Predictions, *, samples: int = 10_000, seed: int = 0) -> Comparison:
    """Return the paired comparison: McNemar's exact test and a bootstrap interval of the difference.

    McNemar, 1947. ValueError unless both are predictions of the same pictures in the same order.
    """
    assert a.ids is not None and b.ids is not None
    if not len(a) or not a.labels.equal(b.labels) or not a.ids.equal(b.ids):
        raise ValueError(f"needs predictions of the same pictures in the same order; given: {a} and {b}")
    right_a = a.correct.numpy()
    right_b = b.correct.numpy()
    only_a = int((right_a & ~right_b).sum())
    only_b = int((right_b & ~right_a).sum())
    # Drawing pictures with replacement means drawing how many of each of the three kinds there are.
    shares = np.array([only_a, only_b, len(a) - only_a - only_b]) / len(a)
    drawn = np.random.default_rng(seed).multinomial(len(a), shares, size=samples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / len(a), (0.025, 0.975))
    split = only_a + only_b
    p_value = float(binomtest(only_a, split).pvalue) if split else 1.0
    return Comparison(a.accuracy, b.accuracy, only_a, only_b, (float(low), float(high)), p_value)
