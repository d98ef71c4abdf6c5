"""The helper package of a Jupyter-first deep-learning course for PyTorch. Names load when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dl_course.diagnostics import checkup
    from dl_course.exercises.answers import solution
    from dl_course.exercises.asking import ask
    from dl_course.exercises.checking import check, hint
    from dl_course.exercises.progress_file import progress

__all__ = ["ask", "check", "checkup", "hint", "progress", "solution"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("dl-course")
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    room = "diagnostics" if name == "checkup" else "exercises"
    return getattr(importlib.import_module(f"dl_course.{room}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
