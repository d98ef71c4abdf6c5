"""A learner's notebook, inside the worker: its cells read leniently, its answers loaded by name."""

from __future__ import annotations

import json
import linecache
import sys
import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from dl_course.grading.alone import changes_unseen, stands_alone
from dl_course.grading.running import NotThere, Run, Step
from dl_course.notebooks import Statement, joined, needed, statements_of

HERE, AT_THE_END, ALONE = range(3)  # where an answer is taken from, in the order in which that is tried


def read_cells(path: Path) -> list[str]:
    """Return the source of the code cells, whatever else is missing; ValueError says why there are none."""
    try:
        notebook = json.loads(path.read_bytes().decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not a notebook: it is no JSON ({error})") from error
    cells = _cells(notebook)
    if cells is None:
        raise ValueError(f"{path.name} is not a notebook: it has no list of cells")
    code = (each for each in cells if isinstance(each, dict) and each.get("cell_type") == "code")
    sources = [_text(each.get("source", each.get("input"))) for each in code]
    if not any(each.strip() for each in sources):
        raise ValueError(f"{path.name} has no code in it")
    return sources


def _cells(notebook: Any) -> list[Any] | None:
    """Return the list of cells, in the third format that of all worksheets; None where there is none."""
    sheets = notebook.get("worksheets", [notebook]) if isinstance(notebook, dict) else []
    lists = [each.get("cells") for each in sheets if isinstance(each, dict)]
    found = [each for each in lists if isinstance(each, list)]
    return [cell for each in found for cell in each] if found else None


def _text(source: Any) -> str:
    lines = source if isinstance(source, list) else [source]
    text = "".join(line for line in lines if isinstance(line, str))
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Answers:
    """The answers of one notebook. Where its definition alone doesn't settle one, the cells are run in order.

    `again` says whether the answer that was loaded last may be another in another turn.
    """

    def __init__(self, sources: list[str]) -> None:
        self.steps = [
            Step(number, each) for number, source in enumerate(sources, 1) for each in statements_of(source)
        ]
        self.run: Run | None = None
        self.again = False

    @property
    def skipped(self) -> list[str]:
        """What went wrong in the cells that were run."""
        return self.run.notes if self.run else []

    def count(self, name: str) -> int:
        """Return how often the learner's own cells define the name."""
        own = (each for each in self.steps if each.solves != name and name in each.statement.binds)
        return sum(each.statement.source.startswith(("def ", "class ", "async ", "@")) for each in own)

    def load(self, name: str, passed: Collection[str], turn: int, seconds: float) -> Any:
        """Return the learner's last definition of a name; NotThere where there is none.

        HERE: by its definition alone, where no other cell can change it, else as it is when the cells have
        been run up to its check · AT_THE_END: after all cells · ALONE. As in the notebook, other answers that
        it leans on are the learner's where they passed, else those of the `@solution` cells, where the
        notebook has them.
        """
        statements = [each.plain for each in self.steps if each.solves not in {name, *passed}]
        try:
            alone = stands_alone(statements, name)
        except KeyError as error:
            if not changes_unseen(statements):
                raise NotThere(name) from error
            alone = False
        self.again = turn != ALONE and not alone
        ways: list[Callable[[], Any]] = [lambda: _alone(statements, name)]
        if turn != ALONE:
            ways.insert(int(alone), lambda: self._after(name, passed, turn, seconds))
        return _first(ways)

    def _after(self, name: str, passed: Collection[str], turn: int, seconds: float) -> Any:
        self.run = self.run or Run(self.steps)
        return self.run.answer(name, passed, seconds, to_the_end=turn == AT_THE_END)


def _first(ways: list[Callable[[], Any]]) -> Any:
    """Return what the first way gives that gives something; else raise the first error, NotThere last."""
    errors: list[Exception] = []
    for way in ways:
        try:
            return way()
        except Exception as error:  # whatever the learner's code raises: another way may do
            errors.append(error)
    raise min(errors, key=lambda error: isinstance(error, NotThere))


def _alone(statements: list[Statement], name: str) -> Any:
    try:
        source = joined(statements[place] for place in needed(statements, name))
    except KeyError as error:
        raise NotThere(name) from error
    module = types.ModuleType("__main__")  # where dataclasses and pickles look for what a notebook defines
    sys.modules["__main__"] = module
    vars(module)["display"] = lambda *values, **options: None
    file = f"<notebook: {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), vars(module))
    return vars(module)[name]
