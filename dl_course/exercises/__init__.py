"""Exercises: `check` an answer, get a `hint`, let `solution` fill what is missing, see your `progress`."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {"check": "checking", "hint": "checking", "solution": "answers", "progress": "progress_file"}


def __getattr__(name: str) -> Any:
    # Lazy, because a grader's worker imports the probes below and has nothing else of this room.
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
