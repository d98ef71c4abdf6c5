"""Callbacks: small objects that the Trainer calls at its events, each with the Trainer.

A callback has any of the methods fit_start, step_end, epoch_end, interrupted, fit_end. The attributes that it
names in ``state`` go into the checkpoints too.
"""

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from dl_course.training.history import is_better


class EarlyStopping:
    """Stops a training that has not become better by min_delta for ``patience`` epochs.

    monitor: a column of ``history.epochs``. In a loop of your own: ``if stopping.update(val_loss): break``.
    """

    state = ("best", "waited")

    def __init__(self, patience: int = 5, monitor: str = "val_loss", min_delta: float = 0.0) -> None:
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta
        self.best, self.waited = math.nan, 0

    def update(self, value: float) -> bool:
        """Take the epoch's figure; return whether it is time to stop."""
        better = is_better(self.monitor, value, self.best, self.min_delta)
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        return self.waited >= self.patience

    def fit_start(self, trainer: Any) -> None:
        """Stop at once where a resumed training had stopped."""
        if self.waited >= self.patience:
            self._stop(trainer)

    def epoch_end(self, trainer: Any) -> None:
        """Look at the epoch's row; KeyError where it has no such column."""
        row = trainer.history.last
        if self.monitor not in row:
            raise KeyError(
                f"no '{self.monitor}' to watch (a val_loader missing?); there is: {', '.join(row)}"
            )
        if self.update(row[self.monitor]):
            self._stop(trainer)

    def _stop(self, trainer: Any) -> None:
        trainer.stopped = f"{self.monitor} was no better than {self.best:.4g} for {self.waited} epochs"


class CSVLog:
    """Keeps the table of epochs in a file, also of a run that is killed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def epoch_end(self, trainer: Any) -> None:
        """Write the table, in the old one's place."""
        trainer.history.to_csv(self.path)


class GradientMonitor:
    """Keeps each parameter's gradient norm, every so many steps; ``table`` has them, after clipping.

    In a loop of your own: ``monitor.record(model, step)`` after backward().
    """

    def __init__(self, every: int = 10) -> None:
        self.every, self._rows = every, list[dict[str, Any]]()

    def record(self, model: nn.Module, step: int) -> None:
        """Add a row for each parameter that has a gradient: both norms, and the one beside the other."""
        for name, p in model.named_parameters():
            if p.grad is not None:
                norms = [torch.linalg.vector_norm(t.detach().float()).item() for t in (p.grad, p)]
                self._rows.append(
                    dict(step=step, parameter=name, gradient_norm=norms[0], weight_norm=norms[1])
                )

    def step_end(self, trainer: Any) -> None:
        """Record when it is due."""
        if trainer.step % self.every == 0:
            self.record(trainer.model, trainer.step)

    @property
    def table(self) -> pd.DataFrame:
        """step, parameter, gradient_norm, weight_norm, ratio = gradient_norm / weight_norm."""
        table = pd.DataFrame(self._rows, columns=["step", "parameter", "gradient_norm", "weight_norm"])
        return table.assign(ratio=table.gradient_norm / table.weight_norm)


class LivePlot:
    """Draws the learning curves anew after every epoch, in the notebook's cell; elsewhere it does nothing."""

    def __init__(self) -> None:
        self._handle: Any = None

    def fit_start(self, trainer: Any) -> None:
        """Say once where there is no notebook to draw in."""
        from IPython.core.getipython import get_ipython

        self._handle = None
        self._there = hasattr(get_ipython(), "kernel")
        if not self._there:
            logging.getLogger("dl_course").warning("LivePlot: no notebook here, so nothing to see")

    def epoch_end(self, trainer: Any) -> None:
        """Draw over the last picture."""
        if not self._there:
            return
        import matplotlib.pyplot as plt
        from IPython.display import display

        figure = trainer.history.plot()[0].figure
        if self._handle is None:
            self._handle = display(figure, display_id=True)
        else:
            self._handle.update(figure)
        plt.close(figure)  # or the cell shows it a second time
