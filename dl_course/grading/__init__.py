"""The judge: marks that can't be forged, whatever a notebook contains. `grade` judges a folder."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    # Lazy, because a worker imports this package and has no checks.
    if name != "grade":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module("dl_course.grading.command").grade
