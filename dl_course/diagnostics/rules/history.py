"""Rules on learning curves."""

from typing import Any

import numpy as np
import pandas as pd

from dl_course.diagnostics.rules.finding import CURVES, Found, Skip, rule


class Curves:
    """Losses (epochs,), of training raw, and both as running medians of 3, also at the ends; val NaN where
    there is none. noise: the standard deviation of val_loss about a smooth curve, by its median.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.raw = table["train_loss"].to_numpy(float)
        losses = [table[name] if name in table else self.raw * np.nan for name in ("train_loss", "val_loss")]
        self.train, self.val = map(_smooth, losses)
        bends = np.abs(np.diff(losses[1], 2))  # of steady curves none
        self.noise = np.median(bends) / 0.6745 / 6**0.5 if len(bends) else np.nan
        accuracy = table["train_accuracy"].iloc[-1] if "train_accuracy" in table else np.nan
        self.high = accuracy < 0.9 if np.isfinite(accuracy) else self.train[-1] > 0.5

    def need(self, epochs: int, *losses: Any) -> None:
        """Skip where there are fewer epochs, or losses that are missing or not finite."""
        if len(self.raw) < epochs or not np.isfinite([self.raw, *losses]).all():
            raise Skip(f"needs {epochs} epochs of finite losses")


def _smooth(loss: Any) -> Any:
    middle = pd.Series(loss, dtype=float).rolling(3, 3, center=True).median()
    return middle.bfill().ffill().to_numpy() if len(middle) > 2 else np.asarray(loss, float)


@rule("diverged", "error", CURVES)
def diverged(c: Curves) -> Found:
    """The training loss stays finite, and ends not 1.5 times above where it began.

    Divide the learning rate by 10, add a warm-up, clip the gradient's norm to 1, and start anew.
    """
    bad = np.flatnonzero(~np.isfinite(c.raw))
    if len(bad):
        return f"epoch {bad[0] + 1}", f"the training loss is {c.raw[bad[0]]}"
    return c.train[-1] > 1.5 * c.raw[0] > 0 and f"from {c.raw[0]:.3g} to {c.train[-1]:.3g}; limit 1.5 times"


@rule("unstable-training", "warning", CURVES)
def unstable(c: Curves) -> Found:
    """Not three times the training loss rises by 5 % of its start, by half its whole range together; nor
    twice by 15 %, in less than 15 epochs.

    Divide the learning rate by 3, take larger batches, or clip the gradient's norm.
    """
    c.need(5)
    rises = np.diff(c.raw).clip(0)
    jumps = int((rises > 0.05 * c.raw[0]).sum())
    total = rises.sum()
    span = np.ptp(c.raw)
    often = jumps > 2 or (len(c.raw) < 15 and (rises > 0.15 * c.raw[0]).sum() > 1)
    return (
        often
        and total > 0.5 * span
        and f"{jumps} rises, {total:.2g} in all, of a range of {span:.2g}; limit half"
    )


@rule("overfitting", "warning", CURVES)
def overfitting(c: Curves) -> Found:
    """From its best on, validation loses no tenth of itself, or a twentieth of what training won, which it
    keeps half of. A rise is 3.5 standard deviations of val_loss's noise at least.

    Stop at the best epoch; more data or augmentation, dropout, weight decay, or a smaller network.
    """
    c.need(4, c.val)
    best = int(c.val.argmin())
    won = c.train[0] - c.train[-1]
    rise = c.val[-1] - c.val[best]
    gap = c.val[-1] - c.train[-1]
    risen = best < len(c.val) - 2 and rise > max(0.05 * won, 0.1 * c.val[best], 3.5 * c.noise)
    text = (
        f"val_loss rose {rise:.2g} from epoch {best + 1}, is {gap:.2g} above train_loss, that fell {won:.2g}"
    )
    return f"epoch {best + 1}", won > 0.15 * c.train[0] and (
        risen or gap > 0.5 * won
    ) and f"{text}; limits 10 %, 50 %"


@rule("plateau", "warning", CURVES)
def plateau(c: Curves) -> Found:
    """Over the last half a loss still high gets 3 % better, unless it was slow all along, 5 to 20 % in all.

    Lower or raise the rate, or warm up; then look at gradients and dead units (checkup).
    """
    c.need(6)
    half = len(c.train) // 2
    fallen = 1 - c.train[-1] / c.train[0]
    better = 1 - c.train[-1] / c.train[half]
    still = c.high and -0.1 < better < 0.03 and not 0.05 < fallen < 0.2
    return f"epoch {half + 1}", still and f"the training loss got {better:.1%} better since; limit 3 %"


@rule("underfitting", "warning", CURVES)
def underfitting(c: Curves) -> Found:
    """Training does not end high, at more than half of where it began, with validation close to it (20 %).

    Where the loss is still falling, by 3 % over the last quarter, train longer; else a larger network, a
    higher rate, or less dropout and weight decay.
    """
    c.need(4)
    stuck = 0.5 < c.train[-1] / c.train[0] < 1.1
    close = not c.val[-1] > 1.2 * c.train[-1]
    quarter = max(1, len(c.train) // 4)
    better = 1 - c.raw[-1] / c.raw[-1 - quarter]
    pace = "still falling" if better > 0.03 else "no longer falling"
    text = f"train_loss is {c.train[-1]:.3g} after {c.train[0]:.3g}, {pace}: {better:.1%} in {quarter} epochs"
    return c.high and stuck and close and f"{text}; limit half"
