"""Callbacks: small objects that the Trainer calls at its events, each with the Trainer.

A callback has any of the methods on_fit_start, on_step_end, on_epoch_end, on_interrupt, on_fit_end. What its
``state_dict()`` returns goes into the checkpoints, and comes back by ``load_state_dict(state)``.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dl_course.training.history import direction, is_better


class EarlyStopping:
    """Stops a training that has not become better by min_delta for ``patience`` epochs.

    monitor: a column of ``history.epochs`` · mode: "min" or "max", needed for a name that
    ``history.direction`` doesn't know · restore_best: ``fit`` ends with the weights of the best epoch, which
    checkpoints hold too. In a loop of your own: ``if stopping.update(val_loss): break``.
    """

    def __init__(
        self, patience: int = 5, monitor: str = "val_loss", min_delta: float = 0.0, mode: str | None = None,
        restore_best: bool = False,
    ) -> None:  # fmt: skip
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.mode = direction(monitor, mode)
        self.restore_best = restore_best
        self.best = math.nan
        self.waited = 0
        self._weights: dict[str, Tensor] = {}

    def update(self, value: float) -> bool:
        """Take the epoch's figure; return whether it is time to stop."""
        better = is_better(self.mode, value, self.best, self.min_delta)
        self.best = value if better else self.best
        self.waited = 0 if better else self.waited + 1
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return the best figure, the epochs since, and that epoch's weights if they are to be restored."""
        return {"best": self.best, "waited": self.waited, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the patience of before."""
        self.best = state["best"]
        self.waited = state["waited"]
        self._weights = dict(state["weights"])

    def on_fit_start(self, trainer: Any) -> None:
        """Stop at once where a resumed training had stopped."""
        if self.waited >= self.patience:
            self._stop(trainer)

    def on_epoch_end(self, trainer: Any) -> None:
        """Look at the epoch's row; KeyError where it has no such column."""
        stop = self.update(trainer.history.watched(self.monitor))
        if self.restore_best and not self.waited:
            self._weights = {k: v.detach().cpu().clone() for k, v in trainer.model_state().items()}
        if stop:
            self._stop(trainer)

    def on_fit_end(self, trainer: Any) -> None:
        """Put the best weights back; not after the Stop button or an error, when training is to go on."""
        if self._weights and not trainer.stopped.startswith(("interrupted", "failed")):
            trainer.load_model_state(self._weights)

    def _stop(self, trainer: Any) -> None:
        trainer.stopped = f"{self.monitor} was no better than {self.best:.4g} for {self.waited} epochs"


class EMA:
    """Keeps a moving average of the weights, by torch's AveragedModel: ``ema.model``, to be evaluated.

    decay: how much of the average stays at every step. Checkpoints hold the average too.
    ``trainer.evaluate(loader, ema.model)`` measures it. Polyak & Juditsky, 1992.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is at least 0 and below 1; given: {decay}")
        self.decay = decay
        self.model: Any = None
        self._loaded: Mapping[str, Any] = {}

    def on_fit_start(self, trainer: Any) -> None:
        """Begin with the model's weights, or go on with the average of before."""
        if self.model is None:
            average = get_ema_multi_avg_fn(self.decay)
            self.model = AveragedModel(trainer.model, multi_avg_fn=average, use_buffers=True)
        if self._loaded:
            self.model.load_state_dict(self._loaded)
            self._loaded = {}

    def on_step_end(self, trainer: Any) -> None:
        """Take the step's weights in."""
        self.model.update_parameters(trainer.model)

    def state_dict(self) -> dict[str, Any]:
        """Return the average; {} before the first fit."""
        return {} if self.model is None else self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the average over when ``fit`` begins."""
        self._loaded = state


class CSVLog:
    """Keeps the table of epochs in a file, also of a run that is killed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_epoch_end(self, trainer: Any) -> None:
        """Write the table, in the old one's place."""
        trainer.history.to_csv(self.path)


class GradientMonitor:
    """Keeps each parameter's gradient norm, every so many steps; ``table`` has them, after clipping.

    In a loop of your own: ``monitor.record(model, step)`` after backward().
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._rows: list[dict[str, Any]] = []

    def record(self, model: nn.Module, step: int) -> None:
        """Add a row for each parameter that has a gradient: both norms, and the one beside the other."""
        for name, p in model.named_parameters():
            if p.grad is not None:
                norms = [torch.linalg.vector_norm(t.detach().float()).item() for t in (p.grad, p)]
                self._rows.append(
                    dict(step=step, parameter=name, gradient_norm=norms[0], weight_norm=norms[1])
                )

    def on_step_end(self, trainer: Any) -> None:
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

    def on_fit_start(self, trainer: Any) -> None:
        """Say once where there is no notebook to draw in."""
        from IPython.core.getipython import get_ipython

        self._handle = None
        self._there = hasattr(get_ipython(), "kernel")
        if not self._there:
            logging.getLogger("dl_course").warning("LivePlot: no notebook here, so nothing to see")

    def on_epoch_end(self, trainer: Any) -> None:
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
