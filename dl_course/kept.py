"""What a caller's code can reach, put back as it was: closures, globals, attributes, tensors, dice."""

import copy
import itertools
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ATOMS = (str, bytes, int, float, complex, type(None), torch.dtype, torch.device, torch.Size, ModuleType)
LIVE = {"logging", "threading", "multiprocessing", "asyncio", "concurrent", "queue", "weakref"}
ROOM = 2**30  # bytes of data, besides parameters, that are copied
MANY = 100_000  # items that are followed
COUNTERS: Any = (itertools.count, type(iter(range(0))), type(iter([])), type(iter(())))


def _root(thing: Any) -> str:
    return str(thing if isinstance(thing, str) else getattr(thing, "__module__", "")).partition(".")[0]


def _foreign(thing: Any) -> bool:
    """Return whether a function, a class or a module's name is a library's, not the caller's."""
    root = _root(thing)
    file = str(getattr(sys.modules.get(root), "__file__", ""))
    known = root in sys.stdlib_module_names or root == "dl_course" or root not in sys.modules
    return known or "site-packages" in file or "dist-packages" in file


class Kept:
    """All that can be reached from some objects; ``restore()`` puts it back, in place, bit for bit.

    The code of functions is read for the globals and attributes that it names; libraries' code isn't.
    lost: kinds of things that can't be put back, such as generators.
    """

    def __init__(self, *roots: Any) -> None:
        self.lost = set[str]()
        self.room = ROOM
        self._seen = dict[int, Any]()
        self._fresh = dict[int, Any]()
        self._back = list[Callable[[], Any]]()
        todo = list(roots)
        while todo:
            thing = todo.pop()
            if not isinstance(thing, ATOMS) and id(thing) not in self._seen:
                self._seen[id(thing)] = thing  # held, so that no other object takes its id
                save = next((save for kind, save in KINDS.items() if isinstance(thing, kind)), Kept._object)
                todo += save(self, thing)

    def restore(self) -> None:
        """Put everything back."""
        for back in self._back:
            back()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._seen.values())

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

    def _tensor(self, tensor: Tensor) -> list[Any]:
        if not isinstance(tensor, nn.Parameter) and not self._fits(tensor.numel() * tensor.element_size()):
            return []
        held = tensor.data
        flag = tensor.requires_grad
        leaf = tensor.is_leaf
        values = held.clone()
        grad = tensor.grad if leaf else None

        def back() -> None:
            if tensor.data.data_ptr() != held.data_ptr() or tensor.shape != held.shape:
                tensor.data = held
            if held.layout != torch.strided or not torch.equal(held, values):
                held.copy_(values)
            if leaf:
                tensor.requires_grad_(flag).grad = grad

        self._back.append(back)
        return [grad, *getattr(tensor, "__dict__", {}).values()]

    def _array(self, array: Any) -> list[Any]:
        if array.flags.writeable and self._fits(array.nbytes):
            self._back.append(partial(array.__setitem__, ..., array.copy()))
        return list(array.flat)[:MANY] if array.dtype == object else []

    def _items(self, items: Any) -> list[Any]:
        """Save a list, deque, set or dict."""
        pairs = items.items() if isinstance(items, dict) else enumerate(items)
        counted = {key: self._counted(value) for key, value in pairs}
        saved = counted if isinstance(items, dict) else [*counted.values()]
        was = [*map(id, _flat(saved))]

        def back() -> None:
            if [*map(id, _flat(items))] != was:
                items.clear()
                getattr(items, "update" if hasattr(items, "update") else "extend")(saved)

        self._back.append(back)
        return [*_flat(saved)[:MANY], getattr(items, "__dict__", None)]

    def _attributes(self, owner: Any, names: Iterable[str]) -> list[Any]:
        saved = {name: self._counted(getattr(owner, name)) for name in names if hasattr(owner, name)}
        plain = {name: value for name, value in saved.items() if not callable(value)}

        def back() -> None:
            for name, value in plain.items():
                if getattr(owner, name, None) is not value:
                    setattr(owner, name, value)

        self._back.append(back)
        return [*saved.values()]

    def _function(self, function: FunctionType) -> list[Any]:
        reached: list[Any] = [*(function.__closure__ or ()), function.__defaults__, function.__kwdefaults__]
        if _foreign(function):
            return [*reached, vars(function)]
        places = function.__globals__
        names = _names(function.__code__)
        saved = {name: self._counted(places[name]) for name in names if name in places}

        def back() -> None:
            for name in names & places.keys() - saved.keys():
                del places[name]
            places.update(saved)

        self._back.append(back)
        for module in saved.values():
            if isinstance(module, ModuleType) and not _foreign(module.__name__):
                reached += self._attributes(module, names & vars(module).keys())
        return [*reached, vars(function), *saved.values()]

    def _class(self, kind: type) -> list[Any]:
        if _foreign(kind):
            return []
        names = [name for name in vars(kind) if name == "__call__" or not name.startswith("__")]
        return [*self._attributes(kind, names), *kind.__bases__]

    def _object(self, thing: Any) -> list[Any]:
        if _root(type(thing)) in LIVE:
            return []
        if isinstance(thing, Iterator) and not isinstance(thing, COUNTERS) and not hasattr(thing, "__dict__"):
            self.lost.add(type(thing).__name__)
        slots = [vars(kind).get("__slots__", ()) for kind in type(thing).__mro__]
        names = {name for each in slots for name in ([each] if isinstance(each, str) else each)}
        own = self._attributes(thing, names - {"__dict__", "__weakref__"}) if names else []
        return [*own, getattr(thing, "__dict__", None), type(thing)]


def _flat(items: Any) -> list[Any]:
    return [*items, *items.values()] if isinstance(items, dict) else [*items]


def _names(code: CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _state(get: str, put: str) -> Callable[[Kept, Any], list[Any]]:
    def save(kept: Kept, source: Any) -> list[Any]:
        kept._back.append(partial(getattr(source, put), getattr(source, get)()))
        return []

    return save


def _only(*names: str) -> Callable[[Kept, Any], list[Any]]:
    return lambda kept, thing: [getattr(thing, name) for name in names]


KINDS: dict[Any, Callable[[Any, Any], list[Any]]] = {
    Tensor: Kept._tensor, np.ndarray: Kept._array, (list, deque, bytearray, set, dict): Kept._items,
    (tuple, frozenset): lambda kept, items: list(items)[:MANY], FunctionType: Kept._function,
    MethodType: _only("__self__", "__func__"), partial: _only("func", "args", "keywords", "__dict__"),
    CellType: lambda kept, cell: kept._attributes(cell, ["cell_contents"]), type: Kept._class,
    property: _only("fget"), (staticmethod, classmethod): _only("__func__"),
    torch.Generator: _state("get_state", "set_state"), random.Random: _state("getstate", "setstate"),
    np.random.RandomState: _state("get_state", "set_state"), np.random.Generator: _only("bit_generator"),
    np.random.BitGenerator: lambda kept, bits: kept._attributes(bits, ["state"]) and [],
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
