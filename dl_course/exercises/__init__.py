"""Exercises: `ask`, `check`, `hint`, `solution` and `progress`, which a lesson imports from `dl_course`."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "ask": "asking",
    "check": "checking",
    "hint": "checking",
    "solution": "answers",
    "progress": "progress_file",
}


def __getattr__(name: str) -> Any:
    # Lazy, because a grader's worker imports the probes below and has nothing else of this room.
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
