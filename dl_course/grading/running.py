"""A learner's notebook run from top to bottom, as far as somebody asks, under IPython's rules."""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import time
import types
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dl_course.exercises.limits import TimeUp, time_limit
from dl_course.grading.alone import checked, last_name
from dl_course.notebooks import Statement, statements_of

_LONGEST = 10.0  # seconds for a statement; fewer as time runs out, so that the last one has some, too
_SHORTEST = 0.1
_HARMLESS = ("def ", "class ", "async def ", "@", "import ", "from ")  # they run below an error, too
_MAY_FAIL = ("import ", "from ", "get_ipython()")  # what the learner's machine has, and this one hasn't


class NotThere(Exception):
    """Nothing in the notebook defines the name."""


@dataclass(frozen=True)
class Step:
    """A statement of a cell, and the name that it solves by `@solution`, "" where it is the learner's own."""

    cell: int
    statement: Statement

    @cached_property
    def solves(self) -> str:
        """The name of the exercise that the statement is the course's solution of, else ""."""
        return str(getattr(self._node, "name", "")) if self._marks else ""

    @cached_property
    def plain(self) -> Statement:
        """The statement without the mark."""
        lines = self.statement.source.split("\n")
        kept = [line for number, line in enumerate(lines, 1) if number not in self._marks]
        return statements_of("\n".join(kept))[0] if self._marks else self.statement

    @cached_property
    def _node(self) -> ast.stmt:
        return ast.parse(self.statement.source).body[0]

    @cached_property
    def _marks(self) -> set[int]:
        decorators = getattr(self._node, "decorator_list", ())
        return {each.lineno for each in decorators if last_name(each) == "solution"}


class Run:
    """A notebook's statements, run in order in an IPython shell; `notes` says what went wrong, cell by cell.

    An error ends its cell, as in the notebook, but for definitions and imports below it: what failed may be
    there on the learner's machine. Each statement has a limit of time, and one that is stopped ends nothing.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.notes: list[str] = []
        self._module = types.ModuleType("__main__")  # where dataclasses and pickles look for definitions
        self._done = 0
        self._failed: set[int] = set()
        self._own: dict[str, Any] = {}  # the learner's, where a solution has taken the name
        self._when_checked: dict[str, dict[str, Any]] = {}  # name → the notebook's names at its last check
        self._shell = _shell(self._module)
        self._now = dict(vars(self._module))

    def answer(self, name: str, passed: Collection[str], seconds: float, to_the_end: bool) -> Any:
        """Return what the name stands for when it is checked, or at the end; the other names are as then.

        Raises NotThere where the run doesn't bind it.
        """
        self._become(self._now)
        place = len(self.steps) if to_the_end else self._place(name)
        self._until(place, passed, time.monotonic() + seconds)
        self._now = dict(vars(self._module))
        if not to_the_end:
            self._become(self._when_checked.get(name, self._now))
        found = vars(self._module).get(name)
        if _is_reference(found):
            found = self._own.get(name)
        if found is None:
            raise NotThere(name)
        vars(self._module)[name] = found
        return found

    def _become(self, names: dict[str, Any]) -> None:
        vars(self._module).clear()
        vars(self._module).update(names)
        sys.modules["__main__"] = self._module

    def _place(self, name: str) -> int:
        """Return after which statement the answer is there: its last check, if any, else its last binding."""
        own = [i for i, step in enumerate(self.steps) if name in step.statement.binds and step.solves != name]
        checks = [i for i, step in enumerate(self.steps) if checked(step.statement, name)]
        after = [i for i in checks if not own or i > own[0]]
        return max(after or own, default=len(self.steps) - 1) + 1

    def _until(self, place: int, passed: Collection[str], end: float) -> None:
        names = vars(self._module)
        while self._done < place:
            step = self.steps[self._done]
            self._done += 1
            if "check" in step.statement.reads:
                self._when_checked |= dict.fromkeys(step.statement.reads, dict(names))
            if step.solves and not _is_reference(names.get(step.solves)):
                self._own[step.solves] = names.get(step.solves)
            below_an_error = step.cell in self._failed and not step.statement.source.startswith(_HARMLESS)
            if step.solves not in passed and not below_an_error:
                self._run(step, max(min(_LONGEST, (end - time.monotonic()) / 4), _SHORTEST))

    def _run(self, step: Step, seconds: float) -> None:
        source = step.statement.source
        error: BaseException | None = TimeUp()
        with contextlib.suppress(TimeUp), time_limit(seconds):
            outcome = self._shell.run_cell(source, silent=True)
            error = outcome.error_before_exec or outcome.error_in_exec
        if isinstance(error, TimeUp):
            self.notes.append(f"code cell {step.cell} was stopped after {seconds:.2g} s")
        elif error:
            self.notes.append(f"code cell {step.cell} raised {type(error).__name__}: {error}"[:200])
            if not source.startswith(_MAY_FAIL):
                self._failed.add(step.cell)


def _is_reference(answer: Any) -> bool:
    from dl_course.exercises.answers import is_reference  # with torch, after the namespaces are entered

    return is_reference(answer)


def _shell(module: types.ModuleType) -> Any:
    """Return a shell of IPython's that keeps no history, shows nothing, and asks the system for nothing."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    quiet = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell.instance(
        user_module=module, config=quiet, ipython_dir=os.path.abspath(".ipython")
    )
    for name in ("showtraceback", "showsyntaxerror", "system", "enable_gui", "enable_matplotlib"):
        setattr(shell, name, lambda *arguments, **options: None)
    shell.getoutput = lambda *arguments, **options: []  # type: ignore[method-assign]
    nothing = {"display": lambda *values, **options: None, "input": lambda *prompt: "1"}
    vars(module).update(nothing)
    return shell
