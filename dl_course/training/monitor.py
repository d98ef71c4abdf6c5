"""What layers put out, and what gradient came back there, at every step of a training."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import pandas as pd
import torch
from torch import nn

from dl_course.diagnostics.statistics import tensor_statistics
from dl_course.hooks import Call, tensors_in, watching


class ActivationMonitor(ExitStack):
    """Watches layers, one name or several, whenever the model runs in train mode and with gradients.

    ``with ActivationMonitor(model, ["stage1", "fc"]) as monitor: trainer.fit(2)``, then ``monitor.table()``.
    Holds copies of what these layers put out until the model is called again.
    """

    def __init__(self, model: nn.Module, layers: str | Iterable[str]) -> None:
        super().__init__()
        self._model = model
        self._step = 0
        self._recording = False  # whether the model's present call is one of training
        self._layers = [layers] if isinstance(layers, str) else list(layers)
        self._calls: list[tuple[str, Call]] = []
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> "ActivationMonitor":
        self.enter_context(watching(self._model, self._leave, self._enter, layers={"", *self._layers}))
        return self

    def _enter(self, name: str, module: nn.Module) -> None:
        if name == "":
            self._reduce()
            self._recording = self._model.training and torch.is_grad_enabled()
            self._step += self._recording

    def _leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        recording = self._recording
        if name == "":
            self._recording = False  # activation checkpointing runs layers once more, after the model
        if not recording or name not in self._layers:
            return None
        call = Call(output)
        self._calls.append((name, call))
        return call.listen(output)

    def _reduce(self) -> None:
        for layer, call in self._calls:
            for of in ("activation", "gradient"):
                for tensor in filter(torch.is_floating_point, tensors_in(getattr(call, of))):
                    row = {"step": self._step, "layer": layer, "of": of}
                    self._rows.append(row | tensor_statistics(tensor))
        self._calls.clear()

    def table(self) -> pd.DataFrame:
        """Return ``tensor_statistics`` of each step (1, …) and layer, in rows "activation" and "gradient"."""
        self._reduce()
        return pd.DataFrame(self._rows)
