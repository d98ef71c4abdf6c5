"""Lessons of a made-up chapter 90, in a course of their own."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dl_course.exercises import probes
from dl_course.exercises.checks import all_exercises
from dl_course.exercises.judging import Exercise

ROOT = Path(__file__).resolve().parents[2]


class Course:
    """A course in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, *cells: str, name: str = "90_made_up") -> Path:
        """Write a lesson: a title, then the cells, each with its own marker line."""
        path = self.root / "solutions" / f"{name}.py"
        path.write_text("\n\n".join(["# %% [markdown]\n# # 90 · Made up", *cells]) + "\n", encoding="utf-8")
        return path


@contextmanager
def made_up(root: Path) -> Iterator[Course]:
    """An empty course in a folder; chapter 90's exercises are known as long as the block lasts."""
    shutil.copy(ROOT / "pyproject.toml", root / "pyproject.toml")
    for name in ("solutions", "chapters"):
        (root / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exercise, "registered", dict(all_exercises()))
        patch.setattr(probes, "_probes", dict(probes._probes))
        sys.modules.pop("tests.authoring.ch90", None)
        importlib.import_module("tests.authoring.ch90")
        patch.chdir(root)
        yield Course(root)


@pytest.fixture
def course(tmp_path):
    """An empty course: `course.write(cells…)` makes its lesson, `course.root` is its folder."""
    with made_up(tmp_path) as course:
        yield course
