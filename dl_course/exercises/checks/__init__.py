"""Judging an answer: cases, references, mistakes. It stays with the judge; a grader's worker never has it."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

from dl_course.exercises.judging import Exercise
from dl_course.registry import nearest

PRIVATE = "dl_course_private"  # where an instructor's own modules stand among all modules


def all_exercises() -> dict[str, Exercise]:
    """Return every exercise of the course by name, in the order of the chapters."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return Exercise.registered


def find_exercise(name: str) -> Exercise:
    """Return the exercise of that name; ValueError names the nearest one."""
    exercises = all_exercises()
    if name not in exercises:
        raise ValueError(f"no exercise is named '{name}'{nearest(name, exercises)}")
    return exercises[name]


def add_private(folder: Path) -> None:
    """Take in an instructor's own exercises: probes/chNN.py and checks/chNN.py in a folder."""
    for kind in ("probes", "checks"):
        for path in sorted((folder / kind).glob("*.py")):
            name = f"{PRIVATE}.{kind}.{path.stem}"
            if name not in sys.modules:
                spec = importlib.util.spec_from_file_location(name, path)
                assert spec and spec.loader
                sys.modules[name] = importlib.util.module_from_spec(spec)
                try:
                    spec.loader.exec_module(sys.modules[name])
                except BaseException:  # a half-made module would pass for a whole one the next time
                    del sys.modules[name]
                    raise
