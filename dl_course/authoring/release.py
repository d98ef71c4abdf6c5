"""A chapter as an assignment: the learner's notebook without its solutions, marked up for nbgrader too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dl_course.authoring.build import chapter
from dl_course.authoring.lesson import Lesson, read_lessons
from dl_course.authoring.stubs import BEGIN, END, ExerciseCell, LessonError
from dl_course.exercises.checks import PRIVATE, add_private, find_exercise
from dl_course.notebooks import Cell, Notebook, tags, write
from dl_course.registry import nearest

MANUAL = "manual"  # the tag of a text cell that is graded by hand
MANUAL_POINTS = 10.0
_WINDOW = 3  # so many lines of a solution in a row, or all of a shorter one, give it away


def release(
    root: Path, name: str, out: Path, exercises: Sequence[str], points: Mapping[str, float],
    private: Path | None = None,
) -> Path:  # fmt: skip
    """Write the assignment of a chapter ("04", "04_training") to a folder, without outputs; return its path.

    exercises: those to be graded, all if empty; the others keep their solutions, as practice ·
    points: by exercise, or by the id of a manual cell ("manual-1"); what isn't named is worth what its check
    says · private: a folder with your own checks/chNN.py and probes/chNN.py, which only the judge has: a
    learner's check of such an exercise says nothing. ValueError for a name that isn't there, points that are
    none, a solution that shows somewhere else.
    """
    if private:
        add_private(private)
    known = read_lessons(root / "solutions")
    lessons = {key: lesson for lesson in known for key in (lesson.chapter, lesson.stem)}
    if name not in lessons:
        raise ValueError(f"no chapter is named '{name}'{nearest(name, lessons)}")
    path = out / f"{lessons[name].stem}.ipynb"
    write(assignment(lessons[name], root, exercises, points), path)
    return path


def parsed_points(texts: Iterable[str]) -> dict[str, float]:
    """Return {"relu": 2.0} for "relu=2"; ValueError for a text that is no name and number."""
    found = {text: re.fullmatch(r"([\w-]+)=(\d+(?:\.\d+)?)", text) for text in texts}
    for text, match in found.items():
        if not match:
            raise ValueError(f"'{text}' gives no points; write NAME=NUMBER, such as relu=2")
    return {match[1]: float(match[2]) for match in found.values() if match}


def assignment(
    lesson: Lesson, root: Path, exercises: Sequence[str] = (), points: Mapping[str, float] | None = None
) -> Notebook:
    """Return the notebook that `release` writes."""
    graded = _chosen(lesson, exercises)
    notebook = chapter(lesson, root)
    notebook.cells = [
        cell for cell in notebook.cells if cell.id not in {f"solution-{name}" for name in graded}
    ]
    worth = {name: float(find_exercise(name).points) for name in graded}
    manual = [cell for cell in notebook.cells if cell.cell_type == "markdown" and MANUAL in tags(cell)]
    for number, cell in enumerate(manual, 1):
        cell.id = f"{MANUAL}-{number}"
    worth |= {cell.id: MANUAL_POINTS for cell in manual}
    worth |= _points(points or {}, worth)
    for cell in notebook.cells:
        kind, _, name = cell.id.partition("-")
        if cell.id in worth:
            _mark(cell, solution=True, points=worth[cell.id])
        elif kind in ("exercise", "check") and name in graded:
            _mark(cell, solution=kind == "exercise", points=worth[name] if kind == "check" else None)
            if kind == "check" and type(find_exercise(name)).__module__.startswith(PRIVATE):
                cell.source = f"# Your instructor checks {name}."
    _refuse_leaks(notebook, graded.values())
    return notebook


def _chosen(lesson: Lesson, names: Sequence[str]) -> dict[str, ExerciseCell]:
    known = {exercise.name: exercise for exercise in lesson.exercises.values()}
    for name in names:
        if name not in known:
            raise ValueError(f"{lesson.stem} has no exercise '{name}'{nearest(name, known)}")
    return {name: known[name] for name in names or known}


def _points(given: Mapping[str, float], known: Iterable[str]) -> dict[str, float]:
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"points for '{name}', which isn't graded here{nearest(name, list(known))}")
        if not 0 <= value < float("inf"):
            raise ValueError(f"{value} points for '{name}'; a number from 0 up is accepted")
    return dict(given)


def _mark(cell: Cell, solution: bool, points: float | None) -> None:
    """Give a cell nbgrader's metadata, schema 3: an answer, a locked check with points, a text with both."""
    locked = not solution
    about = {"grade": points is not None, "solution": solution, "locked": locked, "task": False}
    about |= {"schema_version": 3, "grade_id": cell.id} | ({} if points is None else {"points": points})
    cell.metadata["nbgrader"] = about
    cell.metadata |= {"deletable": False} | ({"editable": False} if locked else {})


def _refuse_leaks(notebook: Notebook, exercises: Iterable[ExerciseCell]) -> None:
    """Raise LessonError where a solution, or some lines of one in a row, stand in what learners get."""
    given = {cell.id: _dense(cell.source) for cell in notebook.cells}
    for exercise in exercises:
        for part in _telling(exercise):
            for place, text in given.items():
                if part in text:
                    raise LessonError(f"cell {place} gives away the solution of '{exercise.name}': {part}")


def _telling(exercise: ExerciseCell) -> Iterator[str]:
    yield from (_dense(BEGIN), _dense(END), f"@titleSolution:{exercise.name}")
    lines = exercise.source.split("\n")
    for region in exercise.regions:
        code = [dense for line in lines[region.begin : region.end - 1] if (dense := _dense(line))]
        starts = range(max(1, len(code) - _WINDOW + 1))
        yield from ("".join(code[start : start + _WINDOW]) for start in starts)


def _dense(text: str) -> str:
    """Return a text without blanks: the same however it is laid out."""
    return re.sub(r"\s+", "", text)
