"""What a caller's code can reach, put back as it was: closures, globals, attributes, tensors, dice."""

import copy
import itertools
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ATOMS = (str, bytes, int, float, complex, type(None), torch.dtype, torch.device, torch.Size, ModuleType)
LIBRARIES = sys.stdlib_module_names | {"torch", "torchvision", "numpy", "pandas", "matplotlib", "dl_course"}
LIVE = {"logging", "threading", "multiprocessing", "asyncio", "concurrent", "queue", "weakref"}
ROOM, MANY = 2**30, 100_000  # bytes of data, besides parameters, that are copied; items that are followed
COUNTERS: Any = (itertools.count, type(iter(range(0))), type(iter([])), type(iter(())))
Saved = tuple[list[Any], Callable[[], Any]]  # what can be reached from a thing, and how to put it back


def _root(thing: Any) -> str:
    return (getattr(thing, "__module__", None) or "").partition(".")[0]


class Kept:
    """All that can be reached from some objects; ``restore()`` puts it back, in place, bit for bit.

    The code of functions is read for the globals and attributes that it names; libraries' code isn't.
    lost: kinds of things that can't be put back, such as generators.
    """

    def __init__(self, *roots: Any) -> None:
        self.lost, self.room = set[str](), ROOM
        self._seen, self._fresh, self._back = dict[int, Any](), dict[int, Any](), list[Callable[[], Any]]()
        todo = list(roots)
        while todo:
            thing = todo.pop()
            if isinstance(thing, ATOMS) or id(thing) in self._seen:
                continue
            self._seen[id(thing)] = thing  # held, so that no other object takes its id
            reached, back = self._saved(thing)
            todo += reached
            self._back.append(back)

    def restore(self) -> None:
        """Put everything back."""
        for back in self._back:
            back()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._seen.values())

    def _saved(self, thing: Any) -> Saved:
        for kind, save in KINDS.items():
            if isinstance(thing, kind):
                return save(self, thing)
        return self._object(thing)

    def _counted(self, value: Any) -> Any:
        """Return a copy of a counter, which takes its place where it was found; all else as it is."""
        if isinstance(value, COUNTERS):
            return self._fresh.setdefault(id(value), copy.copy(value))
        return value

    def _fits(self, size: int) -> bool:
        fits = size <= self.room
        self.room -= size * fits
        self.lost |= set() if fits else {"data beyond 1 GiB"}
        return fits

    def _tensor(self, tensor: Tensor) -> Saved:
        if not isinstance(tensor, nn.Parameter) and not self._fits(tensor.numel() * tensor.element_size()):
            return [], lambda: None
        held, flag, leaf = tensor.data, tensor.requires_grad, tensor.is_leaf
        values, grad = held.clone(), tensor.grad if leaf else None

        def back() -> None:
            if tensor.data.data_ptr() != held.data_ptr() or tensor.shape != held.shape:
                tensor.data = held
            if held.layout != torch.strided or not torch.equal(held, values):
                held.copy_(values)
            if leaf:
                tensor.requires_grad_(flag).grad = grad

        return [grad, *getattr(tensor, "__dict__", {}).values()], back

    def _array(self, array: Any) -> Saved:
        if not array.flags.writeable or not self._fits(array.nbytes):
            return [], lambda: None
        values = array.copy()
        return list(array.flat) if array.dtype == object else [], lambda: array.__setitem__(..., values)

    def _list(self, items: Any) -> Saved:
        saved = [self._counted(item) for item in items]

        def back() -> None:
            if len(items) != len(saved) or any(a is not b for a, b in zip(items, saved, strict=True)):
                items.clear()
                items.extend(saved)

        return [*saved[:MANY], getattr(items, "__dict__", None)], back

    def _set(self, items: Any) -> Saved:
        saved = set(items)
        return list(saved)[:MANY], lambda: (items.clear(), items.update(saved))

    def _dict(self, items: Any) -> Saved:
        saved = {key: self._counted(value) for key, value in items.items()}

        def back() -> None:
            same = [*map(id, items)] == [*map(id, saved)]  # keys may be tensors
            if not same or any(items[key] is not saved[key] for key in saved):
                items.clear()
                items.update(saved)

        return [*list(saved)[:MANY], *list(saved.values())[:MANY], getattr(items, "__dict__", None)], back

    def _cell(self, cell: CellType) -> Saved:
        try:
            saved = self._counted(cell.cell_contents)
        except ValueError:  # empty
            return [], lambda: None
        return [saved], lambda: setattr(cell, "cell_contents", saved)

    def _function(self, function: FunctionType) -> Saved:
        reached: list[Any] = [
            *(function.__closure__ or ()),
            function.__defaults__,
            function.__kwdefaults__,
            vars(function),
        ]
        if _root(function) in LIBRARIES:
            return reached, lambda: None
        places, names = function.__globals__, _names(function.__code__)
        saved = {name: self._counted(places[name]) for name in names if name in places}
        for module in [each for each in saved.values() if isinstance(each, ModuleType)]:
            if module.__name__.partition(".")[0] not in LIBRARIES:
                reached.append(_Attributes(module, {n: vars(module)[n] for n in names if n in vars(module)}))

        def back() -> None:
            for name in names & places.keys() - saved.keys():
                del places[name]
            places.update(saved)

        return [*reached, *saved.values()], back

    def _class(self, kind: type) -> Saved:
        if _root(kind) in LIBRARIES:
            return [], lambda: None
        plain = {name: value for name, value in vars(kind).items() if not name.startswith("__")}
        return [_Attributes(kind, plain), *kind.__bases__, vars(kind).get("__call__")], lambda: None

    def _object(self, thing: Any) -> Saved:
        if _root(type(thing)) in LIVE:
            return [], lambda: None
        if isinstance(thing, Iterator) and not isinstance(thing, COUNTERS) and not hasattr(thing, "__dict__"):
            self.lost.add(type(thing).__name__)
        slots = [n for kind in type(thing).__mro__ for n in _listed(kind.__dict__.get("__slots__", ()))]
        held = {name: getattr(thing, name) for name in slots if hasattr(thing, name)}
        own = [_Attributes(thing, held)] if held and _root(type(thing)) not in LIBRARIES else []
        return [*own, getattr(thing, "__dict__", None), type(thing)], lambda: None

    def _attributes(self, attributes: "_Attributes") -> Saved:
        saved = {name: self._counted(value) for name, value in attributes.values.items()}

        def back() -> None:
            for name, value in saved.items():
                if getattr(attributes.owner, name, None) is not value and not isinstance(value, DESCRIPTORS):
                    setattr(attributes.owner, name, value)

        return [getattr(value, "__func__", value) for value in saved.values()], back


DESCRIPTORS = (FunctionType, staticmethod, classmethod, property)


class _Attributes:
    """Some attributes of a class, a module or an object with slots."""

    def __init__(self, owner: Any, values: dict[str, Any]) -> None:
        self.owner, self.values = owner, values


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else [n for n in names if n not in ("__dict__", "__weakref__")]


def _names(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _state(get: str, put: str) -> Callable[[Any, Any], Saved]:
    def save(kept: Kept, source: Any) -> Saved:
        state = getattr(source, get)()
        return [], lambda: getattr(source, put)(state)

    return save


def _bits(kept: Kept, source: Any) -> Saved:
    bits = getattr(source, "bit_generator", source)
    state = bits.state
    return [], lambda: setattr(bits, "state", state)


def _only(*names: str) -> Callable[[Kept, Any], Saved]:
    return lambda kept, thing: ([getattr(thing, name) for name in names], lambda: None)


KINDS: dict[Any, Callable[[Any, Any], Saved]] = {
    Tensor: Kept._tensor, np.ndarray: Kept._array, (list, deque, bytearray): Kept._list, set: Kept._set,
    dict: Kept._dict, (tuple, frozenset): lambda kept, items: (list(items)[:MANY], lambda: None),
    FunctionType: Kept._function, MethodType: _only("__self__", "__func__"), CellType: Kept._cell,
    partial: _only("func", "args", "keywords", "__dict__"), type: Kept._class, _Attributes: Kept._attributes,
    torch.Generator: _state("get_state", "set_state"), random.Random: _state("getstate", "setstate"),
    np.random.RandomState: _state("get_state", "set_state"),
    (np.random.Generator, np.random.BitGenerator): _bits,
}  # fmt: skip
SOURCES = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator, np.random.BitGenerator)


@contextmanager
def kept(*roots: Any) -> Iterator[Kept]:
    """Put all that can be reached from the objects back on leaving, also after an error."""
    saved = Kept(*roots)
    try:
        yield saved
    finally:
        saved.restore()
