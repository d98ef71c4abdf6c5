"""Weights: what they are like, and how they move during a training."""

from typing import Any

import torch
from torch import Tensor, nn

from dl_course.diagnostics.statistics import Running, tensor_statistics
from dl_course.diagnostics.table import Table, table


def weight_statistics(model: nn.Module) -> Table:
    """Return ``tensor_statistics`` and histograms of every parameter, a shared one once; shape; trainable."""
    rows = {}
    histograms = {}
    for name, parameter in model.named_parameters():
        (running := Running()).update(parameter)
        rows[name] = {"shape": tuple(parameter.shape), "trainable": parameter.requires_grad, **running.found}
        histograms[name] = running.histogram()
    return table(rows, histograms=histograms)


class WeightHistory:
    """Follows a model's weights: ``record()`` at each step, or as a Trainer's callback each epoch."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.steps = 0
        self._rows = list[dict[str, Any]]()
        self._last = dict[str, Tensor]()

    @torch.no_grad()
    def record(self) -> None:
        """Add for each parameter step (0, …), layer, ``tensor_statistics``, and update.

        update: norm of the change since the last record / norm of the weights then; NaN in the first record.
        """
        for name, now in self.model.named_parameters():
            last = self._last.get(name, torch.full_like(now, torch.nan))
            row = {"step": self.steps, "layer": name, "update": ((now - last).norm() / last.norm()).item()}
            self._rows.append(row | tensor_statistics(now))
            self._last[name] = now.clone()
        self.steps += 1

    def on_epoch_end(self, trainer: Any) -> None:
        """Record."""
        self.record()

    def table(self) -> Table:
        """Return the rows so far; ``plots.traces(table, "update")`` draws them."""
        return Table(self._rows)
