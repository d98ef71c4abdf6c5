"""Hooks: look at a network while it runs, and leave nothing behind. The only file that registers one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
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


@contextmanager
def watching(model: nn.Module, leave: Leave, enter: Enter | None = None) -> Iterator[None]:
    """Call back whenever a module of the model is called, containers too, in the order of execution.

    enter(name, module) comes before the call, leave(name, module, args, kwargs, output) after it; what leave
    returns, unless None, takes the output's place. The model's own name is ""; of several names the first is
    given, as often as the module is called. No hook stays, also after an error.
    """
    handles = []
    try:
        for name, module in model.named_modules():
            if enter is not None:
                handles.append(module.register_forward_pre_hook(lambda m, args, name=name: enter(name, m)))
            hook = lambda m, args, kwargs, output, name=name: leave(name, m, args, kwargs, output)  # noqa: E731
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an output: itself, or those in its tuples, lists, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping) or is_dataclass(value):
        yield from tensors_in(list((value if isinstance(value, Mapping) else vars(value)).values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)


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
