"""An exercise cell in its three forms: what the author wrote, the stub, the collapsed solution."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dl_course.exercises.answers import STUB

Refusal = Callable[[int, str], "LessonError"]

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class LessonError(ValueError):
    """A lesson breaks a rule; the message names the file and the line."""


@dataclass(frozen=True)
class Region:
    """A solution region: the 1-based lines of its markers, and the function that it stands in."""

    begin: int
    end: int
    function: str


@dataclass(frozen=True)
class ExerciseCell:
    """The source of an exercise cell, its line in the file, its definition's name, its solution regions."""

    source: str
    line: int
    name: str
    regions: tuple[Region, ...]

    def stub(self) -> str:
        """Return the source with every region replaced by a `raise NotImplementedError`."""
        lines = self.source.split("\n")
        for number, region in reversed(list(enumerate(self.regions, 1))):
            of = f" ({number} of {len(self.regions)})" if len(self.regions) > 1 else ""
            indent = re.match(r"\s*", lines[region.begin - 1])[0]  # type: ignore[index]
            message = f'raise NotImplementedError("{STUB}{region.function}{of}")'
            lines[region.begin - 1 : region.end] = [indent + message]
        return "\n".join(lines)

    def solved(self) -> str:
        """Return the source without the markers."""
        return "\n".join(line for line in self.source.split("\n") if line.strip() not in (BEGIN, END))

    def solution(self) -> str:
        """Return the collapsed cell's source: the label that JupyterLab shows, then the definition."""
        return f"# @title Solution: {self.name}\n@solution\n{self.solved()}"


def parse_exercise(source: str, line: int, file: str) -> ExerciseCell:
    """Return the exercise of a cell that begins at a line of a file; LessonError where it breaks a rule."""

    def refuse(offset: int, why: str) -> LessonError:
        return LessonError(f"{file}, line {line + offset - 1}: {why}")

    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise refuse(error.lineno or 1, f"not Python: {error.msg}") from error
    if len(body) != 1 or not isinstance(body[0], (*_FUNCTIONS, ast.ClassDef)):
        raise refuse(
            1, f"an exercise cell holds exactly one function or class; here are {len(body)} statements"
        )
    regions = tuple(_regions(source, body[0], refuse))
    if not regions:
        raise refuse(1, f"exercise '{body[0].name}' has no region between '{BEGIN}' and '{END}'")
    exercise = ExerciseCell(source, line, body[0].name, regions)
    try:
        ast.parse(exercise.stub())
    except SyntaxError as error:
        raise refuse(regions[0].begin, "a region cuts a statement in two: its stub is not Python") from error
    return exercise


def _regions(source: str, definition: ast.stmt, refuse: Refusal) -> Iterator[Region]:
    functions = list(_functions(definition, ""))
    begin = 0
    for number, text in enumerate(source.split("\n"), 1):
        marker = text.strip()
        if marker == BEGIN and begin:
            raise refuse(number, f"a second '{BEGIN}' before '{END}'")
        if marker == END and not begin:
            raise refuse(number, f"'{END}' without '{BEGIN}'")
        if marker == BEGIN:
            begin = number
        elif marker == END:
            statements = [
                n for n in ast.walk(definition) if isinstance(n, ast.stmt) and begin < n.lineno < number
            ]
            around = [
                name for name, first, last in functions if statements and _inside(statements, first, last)
            ]
            if not around:
                raise refuse(
                    begin,
                    "a solution region stands inside the body of a function or method, around statements",
                )
            yield Region(begin, number, around[-1])
            begin = 0
    if begin:
        raise refuse(begin, f"'{BEGIN}' without '{END}'")


def _inside(statements: list[ast.stmt], first: int, last: int) -> bool:
    return all(first <= each.lineno and (each.end_lineno or 0) <= last for each in statements)


def _functions(node: ast.stmt, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Yield (dotted name, first line of the body, last line), outer before inner."""
    if isinstance(node, _FUNCTIONS):
        yield prefix + node.name, node.body[0].lineno, node.end_lineno or 0
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        for child in node.body:
            yield from _functions(child, f"{prefix}{node.name}.")
