"""History: what a training left in numbers, a row an epoch and a row a step."""

import math
import re
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
LOWER = {"loss", "error", "mae", "mse", "rmse", "nll", "perplexity", "ece", "brier"}
HIGHER = {"accuracy", "f1", "auc", "auroc", "precision", "recall", "iou", "map"}


class History:
    """Two tables that grow while a model trains; shows, draws and saves the one of epochs.

    last, last_step: the newest row of each, empty before the first.
    """

    def __init__(self) -> None:
        self._epochs: list[Any] = []
        self._steps: list[Any] = []
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

    def add_epoch(self, epoch: int, validation: Row, seconds: float, training: Row | None = None) -> Row:
        """Sum up the epoch's steps, with what validation found and the seconds it took; return the row.

        training: figures of the whole epoch that are no means of its steps'.
        """
        steps = [row for row in self._steps if row["epoch"] == epoch]
        samples = sum(row["samples"] for row in steps)
        spent = sum(row["seconds"] for row in steps)
        found = {name: value for name, value in means(combined(steps)).items() if name not in OTHERS}
        self.last = {"epoch": epoch}
        self.last |= {f"train_{name}": value for name, value in (found | dict(training or {})).items()}
        self.last |= {f"val_{name}": value for name, value in validation.items()}
        self.last |= dict(learning_rate=steps[-1]["learning_rate"])
        self.last |= dict(gradient_norm=median(row["gradient_norm"] for row in steps))
        self.last |= dict(samples_per_second=samples / spent, seconds=spent + seconds)
        self._epochs.append(self.last)
        return self.last

    def watched(self, column: str) -> float:
        """Return the last epoch's figure; KeyError names what there is where it has no such column."""
        if column not in self.last:
            there = f"{', '.join(self.last)}"
            raise KeyError(f"no '{column}' to watch (a val_loader missing?); there is: {there}")
        return self.last[column]

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


def combined(rows: Sequence[Row]) -> dict[str, float]:
    """Return one row for several: samples added up, and of the rest the mean, by how much each weighs.

    That is NAME_weight where a row has it, else its samples. A figure that nothing counts for is 0.
    """
    samples = sum(row["samples"] for row in rows)
    joined: dict[str, float] = {"samples": samples}
    for name in (name for name in rows[0] if name != "samples" and not name.endswith("_weight")):
        weights = [weight_of(row, name) for row in rows]
        total = sum(weights)
        counted = [row[name] * weight for row, weight in zip(rows, weights, strict=True) if weight]
        joined[name] = sum(counted) / total if total else 0.0
        if total != samples:
            joined[f"{name}_weight"] = total
    return joined


def weight_of(row: Row, name: str) -> float:
    """Return how much a row's figure weighs: NAME_weight, else the row's samples."""
    weight = row.get(f"{name}_weight", math.nan)
    return row["samples"] if math.isnan(weight) else weight


def means(row: Row) -> dict[str, float]:
    """Return a combined row's figures alone."""
    return {name: value for name, value in row.items() if name != "samples" and not name.endswith("_weight")}


def direction(column: str, mode: str | None = None) -> str:
    """Return "min" or "max": the mode, or what is known of the column's name, without train_ or val_.

    Less is better of LOWER, more of HIGHER. Raises ValueError for another mode, and for another name without.
    """
    if mode in ("min", "max"):
        return mode
    name = re.sub("^(train|val|test|best)_", "", column)
    if mode is not None or name not in LOWER | HIGHER:
        known = f"known without: {', '.join(sorted(LOWER))} (min), {', '.join(sorted(HIGHER))} (max)"
        raise ValueError(
            f"'{column}' needs mode='min' or mode='max', whichever is better; given: {mode}; {known}"
        )
    return "min" if name in LOWER else "max"


def is_better(mode: str, value: float, best: float, by: float = 0.0) -> bool:
    """Return whether value beats best by more than that; mode: "min" or "max", as ``direction`` gives it.

    Anything beats a NaN, and a NaN beats nothing.
    """
    gain = best - value if mode == "min" else value - best
    return gain > by or (math.isnan(best) and not math.isnan(value))
