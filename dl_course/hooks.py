"""Hooks: look at a network while it runs, and leave nothing behind. The only file that registers one."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from dl_course.registry import nearest
from dl_course.runtime import preserved_rng

Enter = Callable[[str, nn.Module], None]
Leave = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]


def resolve(model: nn.Module, name: str) -> nn.Module:
    """Return the layer that ``model.named_modules()`` calls so; ValueError suggests the nearest name."""
    layers = dict(model.named_modules(remove_duplicate=False))
    if name not in layers:
        raise ValueError(f"unknown layer '{name}'{nearest(name, layers.keys() - {''})}")
    return layers[name]


def name_of(model: nn.Module, layer: str | nn.Module) -> str:
    """Return the name that ``model.named_modules()`` has for a layer, given by name or itself.

    Raises ValueError for an unknown name, and for a module that is not inside the model.
    """
    if isinstance(layer, str):
        resolve(model, layer)
        return layer
    names = [name for name, module in model.named_modules() if module is layer]
    if not names:
        raise ValueError(f"this {type(layer).__name__} is no layer of the {type(model).__name__}")
    return names[0]


@contextmanager
def watching(
    model: nn.Module, leave: Leave, enter: Enter | None = None, layers: Iterable[str] | None = None
) -> Iterator[None]:
    """Call back whenever a module of the model is called, containers too, in the order of execution.

    enter(name, module) comes before the call, leave(name, module, args, kwargs, output) after it; what leave
    returns, unless None, takes the output's place. The model's own name is ""; of several names the first is
    given, as often as the module is called. layers: only these, by the names given. Compiled models run as
    they were before compilation, which would pass over the hooks. No hook stays, also after an error.
    """
    watched = model.named_modules() if layers is None else [(name, resolve(model, name)) for name in layers]
    handles = []
    try:
        for name, module in watched:
            if enter is not None:
                handles.append(module.register_forward_pre_hook(lambda m, args, name=name: enter(name, m)))
            hook = lambda m, args, kwargs, output, name=name: leave(name, m, args, kwargs, output)  # noqa: E731
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        with _uncompiled():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _uncompiled() -> Any:
    # Whatever is compiled has loaded dynamo; to load it for a look at a plain network would take seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class Call:
    """One call of a layer: what it put out, and after ``backward`` the gradient there.

    activation: the output as it left the layer, tensors copied and detached, in the same tuples, dicts and
    dataclasses · gradient: of the last backward, in the same shape; None where none has come.
    """

    def __init__(self, output: Any) -> None:
        self.activation = mapped(lambda tensor: tensor.detach().clone(), output)
        self._gradients: dict[int, Tensor] = {}

    @property
    def gradient(self) -> Any:
        """The gradient with respect to the activation; None in a tensor's place where none has come."""
        place = count()
        return mapped(lambda tensor: self._gradients.get(next(place)), self.activation)

    def listen(self, output: Any) -> Any:
        """Return the output in copies whose gradients will arrive here."""
        place = count()
        kept = tensors_in(self.activation)

        def copied(tensor: Tensor) -> Tensor:
            index = next(place)
            mine = next(kept)
            if not (tensor.is_floating_point() or tensor.is_complex()):
                return tensor
            # A copy: the next layer may work in place, on a view even, and lose the gradient.
            given = (tensor if tensor.requires_grad else mine.detach().requires_grad_()).clone()
            given.register_hook(lambda grad: self._gradients.update({index: grad.detach().clone()}))
            return given

        return mapped(copied, output)

    def __repr__(self) -> str:
        shapes = [tuple(tensor.shape) for tensor in tensors_in(self.activation)]
        return f"Call(activation {shapes}, {len(self._gradients)} gradients)"


@contextmanager
def capture(
    model: nn.Module, layers: str | Iterable[str] | None = None, *, gradients: bool = False
) -> Iterator[dict[str, list[Call]]]:
    """Record what layers put out: ``with capture(model, "layer4") as seen: model(x)``; ``seen["layer4"][0]``.

    Gives each layer's calls, in order; none for one that was never called. layers: one name, several, or None
    for all, containers and the model itself (""). gradients: record them whenever ``backward`` comes, also
    in a frozen network. Raises ValueError for an unknown layer; RuntimeError where gradients are wanted and a
    layer runs without autograd.
    """
    names = [layers] if isinstance(layers, str) else layers
    chosen = dict(model.named_modules()) if names is None else list(names)
    seen: dict[str, list[Call]] = {name: [] for name in chosen}

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if torch._C._current_graph_task_id() != -1:
            return None  # gradient checkpointing runs the layer once more during backward
        if gradients and not torch.is_grad_enabled():
            raise RuntimeError(
                f"no gradients reach '{name}': it ran under torch.no_grad() or torch.inference_mode(); "
                "run the model outside of them, or capture without gradients=True"
            )
        seen[name].append(call := Call(output))
        return call.listen(output) if gradients else None

    with watching(model, leave, layers=None if names is None else seen):
        yield seen


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an output: itself, or those in its tuples, lists, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in([getattr(value, field.name) for field in fields(value)])
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


def mapped(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Return the same output, in containers of its own, with function(tensor) in the place of each tensor."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        items = [mapped(function, item) for item in value]
        return value._make(items) if hasattr(value, "_make") else type(value)(items)
    if isinstance(value, Mapping):
        taken = copy.copy(value) if isinstance(value, MutableMapping) else dict(value)
        for key, item in value.items():
            taken[key] = mapped(function, item)
        return taken
    if is_dataclass(value) and not isinstance(value, type):
        other = copy.copy(value)
        for field in fields(value):
            object.__setattr__(other, field.name, mapped(function, getattr(value, field.name)))
        return other
    return value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode inside; on leaving, also by an error, every module gets its flag back."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def preserved(model: nn.Module, seed: int | None = None) -> Iterator[None]:
    """Put training flags, buffers and random state back on leaving, also after an error.

    seed: what to seed the random numbers with inside; they go on where they are without one.
    """
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (m, name, b, b.clone()) for m in model.modules() for name, b in m._buffers.items() if b is not None
    ]
    with preserved_rng(seed):
        try:
            yield
        finally:
            for module, flag in flags:
                module.training = flag
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    module._buffers[name] = buffer.copy_(value)
