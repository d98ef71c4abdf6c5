"""Calling an answer: `probe(fn, case) -> dict` of raw outputs. A grader's worker has only this half."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

Case = dict[str, Any]
Outputs = dict[str, Any]
Probe = Callable[[Any, Case], Outputs]

_probes: dict[str, Probe] = {}


def probe(function: Probe) -> Probe:
    """Register a probe under its own name, which is the name of the exercise."""
    if function.__name__ in _probes and _probes[function.__name__].__module__ != function.__module__:
        raise ValueError(f"two probes named '{function.__name__}'")
    _probes[function.__name__] = function
    return function


def sent(case: Case) -> Case:
    """Return the part of a case that a probe is given: not "about", nor what begins with "_"."""
    return {key: value for key, value in case.items() if key != "about" and not key.startswith("_")}


def find_probe(name: str) -> Probe:
    """Return the probe of an exercise; KeyError where there is none."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return _probes[name]


def is_exercise(name: str) -> bool:
    """True for the name of an exercise whose probe has been imported."""
    return name in _probes


def second_half(name: str) -> Probe | None:
    """Return what goes on from a probe's outputs, the probe NAME_apart; None where the exercise has none.

    It is given the outputs in place of an answer, and the case's "_apart". A grader has it done by a worker
    that never had a learner's code: what it puts out can't be forged.
    """
    find_probe(name)
    return _probes.get(f"{name}_apart")
