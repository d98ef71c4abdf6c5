"""Whose object is it? Keeps the learner's answers and the references apart, within one kernel."""

from __future__ import annotations

import ast
import dis
import linecache
import sys
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any, TypeVar

from dl_course.exercises.probes import is_exercise
from dl_course.exercises.probes.tools import code_objects
from dl_course.exercises.results import Box

Answer = TypeVar("Answer", bound=Callable[..., Any])

STUB = "Your turn: "  # a built stub raises NotImplementedError with a message that begins so

_REFERENCE = "__dl_course_reference__"
_mine: dict[str, Any] = {}  # the learner's own latest object
_passed: dict[str, Any] = {}  # the learner's object that passed, this very one


def is_reference(answer: Any) -> bool:
    """True for what `@solution` marked; a class derived from it is the learner's own."""
    return _REFERENCE in getattr(answer, "__dict__", {})


def remember(name: str, answer: Any, passed: bool) -> None:
    """Note the learner's object and whether it passed."""
    _mine[name] = answer
    if passed:
        _passed[name] = answer


def solution(reference: Answer) -> Answer:
    """Return the learner's own object if that very one passed in this kernel, else the reference; say which.

    So Run All works on an untouched notebook, keeps a right answer, and never stops at a wrong one.
    """
    name = reference.__name__
    current = sys._getframe(1).f_globals.get(name)
    if current is not None and not is_reference(current):
        _mine[name] = current
    if name in _passed and _passed[name] is _mine.get(name):
        _say(Box("note", f"{name}: your own answer is used from here on"))
        return _passed[name]
    setattr(reference, _REFERENCE, True)
    _say(Box("note", f"{name}: the reference solution is used from here on; yours has not passed yet"))
    return reference


def stubs(answer: Any) -> list[str]:
    """Return the messages of the stubs that still stand in an answer's code."""
    constants = (constant for code in code_objects(answer) for constant in code.co_consts)
    return [each for each in constants if isinstance(each, str) and each.startswith(STUB)]


def untouched(answer: Any) -> bool:
    """True where every stub that was built still stands; "(1 of 3)" in a stub's message counts them."""
    left = stubs(answer)
    built = {int(each.rpartition(" of ")[2].rstrip(")")) for each in left if each.endswith(")")} or {1}
    return bool(left) and len(left) >= max(built)


def source_of(answer: Any) -> str:
    """Return the text of a function or class from its cell; the whole cell where it isn't found there."""
    file = next((code.co_filename for code in code_objects(answer)), "")
    cell = "".join(linecache.getlines(file))
    with suppress(SyntaxError):
        for node in ast.parse(cell).body:
            if getattr(node, "name", "") == getattr(answer, "__name__", None):
                return ast.get_source_segment(cell, node) or cell
    return cell.strip() or "(its text can't be found)"


def names_used(answer: Any) -> set[str]:
    """Return the global and attribute names in an answer's code; "loop" where it has for or while.

    With those of the helpers that it names, and theirs: functions and classes of the same module. Another
    exercise's answer is none: it has been asked for.
    """
    names: set[str] = set()
    seen: list[Any] = []
    pending = [answer]
    while pending:
        seen.append(helper := pending.pop())
        own = set[str]().union(*map(_names_in, code_objects(helper)))
        names |= own
        members = [
            getattr(each, "__func__", each) for each in (helper, *getattr(helper, "__dict__", {}).values())
        ]
        beside: dict[str, Any] = next(
            (each.__globals__ for each in members if hasattr(each, "__globals__")), {}
        )
        named = [beside.get(name) for name in sorted(own) if not is_exercise(name)]
        pending += [
            each
            for each in (*named, *getattr(helper, "__mro__", ()))
            if isinstance(each, (type, FunctionType)) and each.__module__ == answer.__module__
            if not any(each is known for known in seen)
        ]
    return names


def _names_in(code: CodeType) -> set[str]:
    operations = {instruction.opname for instruction in dis.get_instructions(code)}
    loops = any(op == "FOR_ITER" or ("JUMP_BACKWARD" in op and "NO_INTERRUPT" not in op) for op in operations)
    return {*code.co_names, *(["loop"] if loops else [])}


def _say(box: Box) -> None:
    from IPython.display import display

    display(box)
