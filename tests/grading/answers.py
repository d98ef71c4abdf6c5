"""The answers of the wrong-answer suites as text, as a learner would have typed them into a notebook."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SUITES = Path(__file__).resolve().parents[1] / "exercises"
_OF_THE_SUITE = ("tests.", "dl_course.exercises", "pytest")


@dataclass(frozen=True)
class Written:
    """An answer to an exercise: what stands above it, its definition, and whether it is right."""

    exercise: str
    above: str
    definition: str
    right: bool


@cache
def written_answers(chapter: str) -> tuple[Written, ...]:
    """Return the answers of a chapter's suite that need nothing but libraries and what they define."""
    body = ast.parse((SUITES / f"test_ch{chapter}.py").read_text("utf-8")).body
    helpers = [node for node in body if not _filed(node) and not _suites_own(node)]
    texts = {ast.unparse(node): _bound(node) for node in helpers}
    found = []
    for node in body:
        if filed := _filed(node):
            definition = _as_typed(node, filed.args[0].value)
            above = _needed(definition, texts)
            if not re.search(r"suite|check\(|home", above + definition):
                found.append(Written(filed.args[0].value, above, definition, filed.func.id == "right"))
    return tuple(found)


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(each.asname or each.name).partition(".")[0] for each in node.names}
    stored = {
        each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }
    return {node.name} if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else stored


def _needed(definition: str, helpers: dict[str, set[str]]) -> str:
    """Return the helpers whose names the definition mentions, or one that it needs does, in their order."""
    words, needed = set(re.findall(r"\w+", definition)), {"from __future__ import annotations"}
    while more := {text for text, names in helpers.items() if names & words} - needed:
        needed |= more
        words |= {word for text in more for word in re.findall(r"\w+", text)}
    return "\n".join(text for text in helpers if text in needed)


def _filed(node: ast.stmt) -> ast.Call | None:
    """Return the decorator that files an answer with the suite, `@wrong("relu", …)`."""
    calls = [each for each in getattr(node, "decorator_list", []) if isinstance(each, ast.Call)]
    named = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id in ("wrong", "right")]
    plain = named and isinstance(named[0].args[0], ast.Constant) and len(named) == 1
    return named[0] if plain else None


def _suites_own(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return str(node.module).startswith(_OF_THE_SUITE)
    if isinstance(node, ast.Import):
        return node.names[0].name.startswith(_OF_THE_SUITE)
    return getattr(node, "name", "").startswith("test_") or "suite" in ast.unparse(node)


def _as_typed(node: ast.stmt, name: str) -> str:
    typed = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(typed, (ast.FunctionDef, ast.ClassDef))
    typed.name = name
    typed.decorator_list = [each for each in typed.decorator_list if not _is_filing(each)]
    return ast.unparse(typed)


def _is_filing(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in ("wrong", "right")
