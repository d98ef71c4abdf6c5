"""A lesson's text, read and held to its rules: which cells are exercises, and which their checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

from dl_course.authoring.stubs import ExerciseCell, LessonError, parse_exercise
from dl_course.exercises.checks import all_exercises
from dl_course.notebooks import tags

_CHECK = re.compile(r"^check\((\w+)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Lesson:
    """A chapter as its author wrote it: cells, and what is an exercise (by the cell's index)."""

    path: Path
    cells: Sequence[Any]
    exercises: dict[int, ExerciseCell]
    checks: dict[int, str]

    @property
    def stem(self) -> str:
        """The file's name without its ending, "01_setup"."""
        return self.path.stem

    @property
    def chapter(self) -> str:
        """The chapter's number, "01", or "05b" of a second part."""
        return self.stem.partition("_")[0]


def read_lesson(path: Path) -> Lesson:
    """Return the lesson; LessonError, with file and line, where it breaks a rule."""
    text = path.read_text(encoding="utf-8")
    cells = jupytext.reads(text, fmt="py:percent").cells
    lines = list(_first_lines(text, cells))
    exercises = {}
    checks = {}
    for index, (cell, line) in enumerate(zip(cells, lines, strict=True)):
        if "exercise" in tags(cell):
            exercises[index] = parse_exercise(cell.source, line, path.name)
        elif "BEGIN SOLUTION" in cell.source:
            raise LessonError(
                f"{path.name}, line {line}: a solution region in a cell without the tag 'exercise'"
            )
        if "check" in tags(cell):
            found = _CHECK.findall(cell.source)
            if len(found) != 1:
                raise LessonError(
                    f"{path.name}, line {line}: a check cell has one line check(name); here are {len(found)}"
                )
            checks[index] = found[0]
    lesson = Lesson(path, cells, exercises, checks)
    _paired(lesson, lines)
    return lesson


def read_lessons(folder: Path) -> list[Lesson]:
    """Return every lesson of a folder in order; LessonError where two have an exercise of one name."""
    lessons = [read_lesson(path) for path in sorted(folder.glob("[0-9][0-9]*_*.py"))]
    seen: dict[str, str] = {}
    for lesson in lessons:
        for exercise in lesson.exercises.values():
            if exercise.name in seen:
                raise LessonError(
                    f"{lesson.path.name}, line {exercise.line}: "
                    f"exercise '{exercise.name}' is in {seen[exercise.name]} too"
                )
            seen[exercise.name] = lesson.path.name
    return lessons


def _paired(lesson: Lesson, lines: Sequence[int]) -> None:
    """Refuse an exercise that is not followed by its check before the next exercise, and a check of none."""
    waiting: tuple[int, str] | None = None
    names: set[str] = set()

    def refuse(index: int, why: str) -> LessonError:
        return LessonError(f"{lesson.path.name}, line {lines[index]}: {why}")

    for index in sorted([*lesson.exercises, *lesson.checks]):
        if index in lesson.checks:
            if not waiting or waiting[1] != lesson.checks[index]:
                raise refuse(index, f"check({lesson.checks[index]}) without its exercise before it")
            waiting = None
            continue
        name = lesson.exercises[index].name
        if waiting:
            raise refuse(waiting[0], f"exercise '{waiting[1]}' has no check after it")
        if problem := _problem_with(name, names, lesson.chapter):
            raise refuse(index, problem)
        names.add(name)
        waiting = index, name
    if waiting:
        raise refuse(waiting[0], f"exercise '{waiting[1]}' has no check after it")


def _problem_with(name: str, earlier: set[str], chapter: str) -> str:
    if name in earlier:
        return f"a second exercise named '{name}'"
    if name not in all_exercises() or all_exercises()[name].chapter != chapter:
        return f"no check for '{name}' in dl_course/exercises/checks/ch{chapter}.py"
    return ""


def _first_lines(text: str, cells: Sequence[Any]) -> Iterator[int]:
    """Yield the 1-based line on which each cell's source begins; Jupytext doesn't keep them."""
    starts = [number for number, line in enumerate(text.splitlines(), 1) if re.match(r"# %%(\s|$)", line)]
    if len(starts) == len(cells):
        yield from (start + 1 for start in starts)
    else:  # text before the first marker is a cell of its own
        yield from (1 for _ in range(len(cells) - len(starts)))
        yield from (start + 1 for start in starts)
