"""History: what a training left in numbers, a row an epoch and a row a step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from dl_course.files import atomic

Row = Mapping[str, float]
OTHERS = {"step", "epoch", "learning_rate", "gradient_norm", "seconds", "samples_per_second"}


class History:
    """Two tables that grow while a model trains; shows, draws and saves the one of epochs.

    last, last_step: the newest row of each, empty before the first.
    """

    def __init__(self) -> None:
        self._epochs, self._steps = list[Any](), list[Any]()
        self.last: dict[str, float] = {}
        self.last_step: dict[str, float] = {}

    @property
    def epochs(self) -> pd.DataFrame:
        """epoch (from 1), train_… and val_loss, …, learning_rate, gradient_norm, samples_per_second, seconds.

        train_…: means over the epoch's samples, in train mode while the weights moved · learning_rate: the
        last step's · gradient_norm: the steps' median, before clipping · samples_per_second: in training.
        """
        return pd.DataFrame(self._epochs)

    @property
    def steps(self) -> pd.DataFrame:
        """step, epoch (from 1), samples, loss, …, learning_rate, gradient_norm, seconds, samples a second."""
        return pd.DataFrame(self._steps)

    def add_step(self, row: Row) -> None:
        """Add an update's figures, with the seconds since the one before."""
        self.last_step = dict(row) | {"samples_per_second": row["samples"] / row["seconds"]}
        self._steps.append(self.last_step)

    def add_epoch(self, epoch: int, validation: Row, seconds: float) -> Row:
        """Sum up the epoch's steps, with what validation found and the seconds it took; return the row."""
        steps = [row for row in self._steps if row["epoch"] == epoch]
        samples, spent = sum(row["samples"] for row in steps), sum(row["seconds"] for row in steps)
        self.last = {"epoch": epoch}
        self.last |= {f"train_{name}": value for name, value in mean(steps).items() if name not in OTHERS}
        self.last |= {f"val_{name}": value for name, value in validation.items()}
        self.last |= dict(learning_rate=steps[-1]["learning_rate"])
        self.last |= dict(gradient_norm=median(row["gradient_norm"] for row in steps))
        self.last |= dict(samples_per_second=samples / spent, seconds=spent + seconds)
        self._epochs.append(self.last)
        return self.last

    def plot(self, ax: Any = None) -> Any:
        """Draw training beside validation over the epochs; return the panels' axes."""
        from dl_course.plots import learning_curves

        return learning_curves(self.epochs, ax)

    def to_csv(self, path: str | Path) -> None:
        """Write the table of epochs, whole or not at all; ``history.steps.to_csv(path)`` writes the other."""
        with atomic(Path(path)) as part:
            self.epochs.to_csv(part, index=False)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return both tables as columns of tensors."""
        tables = {"epochs": self.epochs, "steps": self.steps}
        return {
            name: {str(k): torch.tensor(v.to_numpy()) for k, v in t.items()} for name, t in tables.items()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take both tables from columns of tensors."""
        columns = {name: {k: v.numpy() for k, v in table.items()} for name, table in state.items()}
        self._epochs, self._steps = (list[Any](pd.DataFrame(t).to_dict("records")) for t in columns.values())
        self.last, self.last_step = (rows[-1] if rows else {} for rows in (self._epochs, self._steps))

    def __len__(self) -> int:
        return len(self._epochs)

    def __repr__(self) -> str:
        return self.epochs.to_string(index=False)

    def _repr_html_(self) -> str:
        return self.epochs.to_html(index=False, float_format="{:.4g}".format)


def mean(rows: Sequence[Row]) -> dict[str, float]:
    """Return the means over all samples, of which a row has "samples"."""
    samples = sum(row["samples"] for row in rows)
    return {n: sum(row[n] * row["samples"] for row in rows) / samples for n in rows[0] if n != "samples"}


def is_better(column: str, value: float, best: float, by: float = 0.0) -> bool:
    """Return whether value beats best by more than that; columns of a loss or error fall, others rise.

    Anything beats a NaN, and a NaN beats nothing.
    """
    gain = best - value if "loss" in column or "error" in column else value - best
    return gain > by or (math.isnan(best) and not math.isnan(value))
