"""Judging an answer: cases, references, mistakes. It stays with the judge; a grader's worker never has it."""

from __future__ import annotations

import importlib
import pkgutil

from dl_course.exercises.judging import Exercise
from dl_course.registry import nearest


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
