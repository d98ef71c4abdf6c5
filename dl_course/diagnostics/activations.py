"""What layers put out over a whole data set, reduced while it passes by, and which units never speak."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dl_course.diagnostics.statistics import Running
from dl_course.diagnostics.table import Table, batches, numbered, table
from dl_course.hooks import preserved, tensors_in, watching
from dl_course.runtime import device_of

FEATURES_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention)
RELUS = {F.relu, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}


def activation_statistics(model: nn.Module, loader: Any, layers: Iterable[str] | None = None) -> Table:
    """Return ``tensor_statistics`` and histograms of all outputs over the loader; no activation is kept.

    A row a call, in order: "fc", "fc #2" for its second in a forward, "fc[1]" for the second tensor of its
    output, "block: relu" for a ReLU called as a function; containers where they change what their last layer
    put out. layers: only these. In the mode the model is in; buffers and random state are put back.
    """
    found: dict[str, Running] = {}
    measure = lambda name, kind, output: found.setdefault(name, Running()).update(output)  # noqa: E731
    _Pass(model, measure).run(loader, layers)
    histograms = {name: running.histogram() for name, running in found.items()}
    return table({name: running.found for name, running in found.items()}, histograms=histograms)


def dead_units(model: nn.Module, loader: Any, rare: float = 0.01) -> Table:
    """Return for every ReLU, module or function, how many units are never > 0 over all of the loader.

    A unit is a channel of (N, C, …), or a feature of (…, features) after Linear or LayerNorm. rare: active in
    a share of the places below that, but not dead; active: the mean share. Otherwise like
    ``activation_statistics``. More data can only revive a unit.
    """
    rows = {}
    for name, (counts, places) in relu_activity(model, loader).items():
        share = counts / places
        dead = (counts == 0).sum().item()
        few = (share < rare).sum().item() - dead
        rows[name] = {"units": len(share), "dead": dead, "rare": few, "active": share.mean().item()}
    return table(rows, "" if rows else "no ReLU was called, so no unit can die")


def relu_activity(model: nn.Module, loader: Any) -> dict[str, tuple[Tensor, int]]:
    """Return for every ReLU in how many places each unit is > 0, and how many there are."""
    active: dict[str, Any] = {}
    places: Counter[str] = Counter()

    def measure(name: str, kind: str, output: Tensor) -> None:
        if kind.lower() in ("relu", "relu6"):
            axis = -1 if watch.features_last else min(1, output.dim() - 1)
            speaking = (output > 0).movedim(axis, 0).flatten(1)  # (units, places)
            active[name] = active.get(name, 0) + speaking.sum(1)
            places[name] += speaking.shape[1]

    watch = _Pass(model, measure)
    watch.run(loader)
    return {name: (counts, places[name]) for name, counts in active.items()}


class _Pass(TorchFunctionMode):
    """Hands every output, also of a ReLU called as a function, to ``measure(name, kind, output)``."""

    def __init__(self, model: nn.Module, measure: Callable[[str, str, Tensor], None]) -> None:
        super().__init__()
        self.model = model
        self.measure = measure
        self.features_last = False
        self.calls = Counter[str]()
        self.running = list[tuple[str, nn.Module]]()
        self.last = list[Tensor]()
        self.known = list[tuple[int, int]]()

    def run(self, loader: Any, layers: Iterable[str] | None = None) -> None:
        self.all = layers is None
        watched = watching(self.model, self.leave, self.enter, layers)
        with preserved(self.model), torch.no_grad(), watched:
            for inputs, _ in batches(loader, device_of(self.model)):
                self.calls.clear()
                with self:
                    self.model(*inputs)

    def enter(self, name: str, module: nn.Module) -> None:
        self.running.append((name, module))

    def leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.running.pop()
        if any(True for _ in module.parameters(recurse=False)):
            self.features_last = isinstance(module, FEATURES_LAST)
        self.take(name, type(module).__name__, output, self.all and any(True for _ in module.children()))

    def take(self, name: str, kind: str, output: Any, container: bool = False) -> None:
        with torch._C.DisableTorchFunction():  # what is measured needn't pass through this mode
            tensors = [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]
            put_out = [(id(tensor), tensor._version) for tensor in tensors]
            if container and put_out == self.known:
                return
            self.last = tensors  # held, so that no other tensor takes its id meanwhile
            self.known = put_out
            self.calls[name] += 1
            for place, tensor in enumerate(tensors):
                self.measure(numbered(name, self.calls[name], place), kind, tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self.all and func in RELUS and self.running:
            name, module = self.running[-1]
            if not isinstance(module, nn.ReLU | nn.ReLU6):  # whose output comes by itself
                self.take(f"{name or '(model)'}: relu", "relu", output)
        return output
