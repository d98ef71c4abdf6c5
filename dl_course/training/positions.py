"""Positions: where loaders and random numbers stand, so that a training goes on as if it had not stopped."""

import copy
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader


def random_state() -> dict[str, Any]:
    """Return the state of all global random numbers."""
    kind, words, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(words).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the global random numbers back to where ``random_state`` found them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def parts_of(loader: Any) -> Iterator[Any]:
    """Yield a loader and what it is made of: samplers, wrapped loaders, data sets, their attributes."""
    seen: set[int] = set()
    waiting = [loader]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, type | ModuleType | FunctionType | Tensor):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, list | tuple) and len(part) <= 100:  # a longer list holds data
            waiting += part
        elif hasattr(part, "__dict__") and not isinstance(part, torch.Generator):
            # _iterator: worker processes, which begin anew
            waiting += [value for name, value in vars(part).items() if name != "_iterator"]


def _sources(loaders: Iterable[Any]) -> list[Any]:
    """Return what decides the order of the next pass: torch's generators, and what counts epochs."""
    parts = [part for loader in loaders for part in parts_of(loader)]
    return [part for part in parts if isinstance(_get(part), Tensor | int)]


def _get(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    return vars(part).get("epoch") if hasattr(part, "__dict__") else None


def position(loaders: Iterable[Any]) -> dict[str, Any]:
    """Return where the loaders' next pass begins: their generators, epochs, and the global random numbers."""
    return {"sources": [_get(source) for source in _sources(loaders)], "random": random_state()}


def set_position(loaders: Iterable[Any], state: Mapping[str, Any]) -> None:
    """Put the loaders and the global random numbers where ``position`` found them.

    Raises ValueError for loaders made of other parts.
    """
    for source, value in zip(_sources(loaders), state["sources"], strict=True):
        if isinstance(source, torch.Generator):
            source.set_state(value)
        else:
            source.epoch = value
    set_random_state(state["random"])


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the samplers that want to be told, as torch's DistributedSampler, which epoch (from 0) comes."""
    for part in parts_of(loader):
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)


def batches_from(loader: Any, start: int) -> Iterator[Any]:
    """Return a pass without its first ``start`` batches, which are not loaded if that changes nothing.

    That is so for the course's loaders, and for torch's without workers and with a data set that has no
    random generator of its own; it is for the caller to restore the global ones. Else they are loaded again.
    """
    if callable(getattr(loader, "batches", None)):  # not a list that somebody's loader calls so
        return iter(loader.batches(start))
    if start and _can_skip(loader):
        rest = copy.copy(loader)
        order = iter(loader.batch_sampler)
        vars(rest)["batch_sampler"] = order  # which a DataLoader locks
        batches = iter(rest)
        deque(islice(order, start), maxlen=0)  # now, before the caller restores the random numbers
        return batches
    batches = iter(loader)
    deque(islice(batches, start), maxlen=0)
    return batches


def _can_skip(loader: Any) -> bool:
    plain = type(loader) is DataLoader and loader.num_workers == 0 and loader.batch_sampler is not None
    return plain and not _sources([loader.dataset])


def is_inexact(loader: Any) -> bool:
    """Return whether workers that persist keep random numbers of their own, which no checkpoint can know."""
    loaders = [part for part in parts_of(loader) if isinstance(part, DataLoader)]
    return any(each.persistent_workers and not hasattr(each.dataset, "seeded") for each in loaders)
