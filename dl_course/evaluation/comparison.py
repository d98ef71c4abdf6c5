"""Which of two networks is better, and could it be luck? Both judged on the same pictures."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from dl_course.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same pictures. difference: accuracy of b minus accuracy of a.

    interval: the 95 % score interval of the difference (Tango) · only_a, only_b: pictures that only one of
    them has right · p_value: of McNemar's exact test, how likely so uneven a pair is when neither is better.
    Where only a few pictures decide, the exact test is the more cautious of the two.
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


def compare(a: Predictions, b: Predictions) -> Comparison:
    """Return the paired comparison: McNemar's exact test and Tango's score interval of the difference.

    McNemar, 1947; Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", 1998. Raises ValueError unless both have the same pictures in the same order.
    """
    assert a.ids is not None and b.ids is not None
    if not len(a) or not a.labels.equal(b.labels) or not a.ids.equal(b.ids):
        raise ValueError(f"needs predictions of the same pictures in the same order; given: {a} and {b}")
    only_a = int((a.correct & ~b.correct).sum())
    only_b = int((b.correct & ~a.correct).sum())
    split = only_a + only_b
    p_value = float(binomtest(only_a, split).pvalue) if split else 1.0
    interval = -_upper(only_a, only_b, len(a)), _upper(only_b, only_a, len(a))
    return Comparison(a.accuracy, b.accuracy, only_a, only_b, interval, p_value)


def _upper(gained: int, lost: int, n: int) -> float:
    """Return the largest difference that the 5 % score test doesn't refuse, given (gained - lost) / n.

    Unlike a bootstrap, it knows that n pictures without any disagreement don't prove that there never is one.
    """
    if gained == n:
        return 1.0
    squared = norm.ppf(0.975) ** 2

    def excess(difference: float) -> float:
        # The likeliest share of pictures lost if this is the true difference: a root of a quadratic.
        linear = (2 * n - gained + lost) * difference - gained - lost
        constant = lost * difference * (1 - difference)
        share = (max(0, linear**2 + 8 * n * constant) ** 0.5 - linear) / (4 * n)
        variance = n * (2 * share + difference * (1 - difference))
        return (gained - lost - n * difference) ** 2 - squared * variance

    return float(brentq(excess, (gained - lost) / n + 1e-9, 1))
