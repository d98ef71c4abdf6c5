"""Rules on a short trial, on copies: can it learn, and at this rate?"""

from math import isfinite
from statistics import mean

from dl_course.diagnostics.rules.evidence import STEPS, Evidence
from dl_course.diagnostics.rules.finding import Found, rule


@rule("lr-too-high", "error")
def too_high(e: Evidence) -> Found:
    """The loss falls by a tenth, does not jump to 3 times its start, or what one answer for all costs, and
    weights move by less than half their size a step (1e-3 is usual); or no lower rate makes it fall, and has
    it a quarter lower all along.

    Divide the learning rate by 10, twice if need be; or look for it: find_learning_rate.
    """
    losses, before, after, moved = e.trial(1.0)
    if after < 0.9 * before and max(losses) < 3 * max(losses[0], e.alike) and moved < 0.5 * STEPS:
        return None
    others = [e.trial(rate) for rate in (0.1, 0.01, 1e-4)]
    good = [run for run in others if run[2] < before and not mean(run[0]) > 0.75 * mean(losses)]
    text = f"in {len(losses)} steps from {before:.3g} to {after:.3g}, weights moved {moved:.2g} of their size"
    return bool(good) and f"{text}, at most {max(losses):.3g}; a lower rate leads to {good[0][2]:.3g}"


@rule("lr-too-low")
def too_low(e: Evidence) -> Found:
    """The loss moves by 0.5 % in 40 steps, or no rate 100 times as high, or more, lowers it 20 times as far,
    and by 0.2 % at least.

    Multiply the learning rate by 10, twice if need be; or look for it: find_learning_rate.
    """
    losses, before, after, moved = e.trial(1.0)
    if not isfinite(after) or abs(before - after) > 0.005 * before:
        return None
    for rate in (1e3, 1e4, 1e5, 1e6, 1e2, 1e7, 1e8):
        if (gain := before - e.trial(rate)[2]) > max(20 * (before - after), 0.002 * before):
            text = f"{len(losses)} steps lowered the loss, {before:.3g}, by {before - after:.1g}"
            return f"{text}; {rate:.0e} times the rate by {gain:.2g}"
    return None


@rule("cannot-overfit-batch", "error")
def cannot_overfit(e: Evidence) -> Found:
    """A network that works learns 16 samples by heart, to 80 % of the way to the least loss there can be.

    It has Adam, at three rates, and as many steps as 100 more bring it 2 % on.

    Something cuts the way from input to loss: go through forward, labels and loss with these 16 samples.
    """
    first, best, floor = e.overfit
    missed = isfinite(first) and first - floor > 1e-3 and best - floor > 0.2 * (first - floor)
    return missed and f"from {first:.3g} the loss came to {best:.3g}; the least possible is {floor:.3g}"
