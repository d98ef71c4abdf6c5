"""A learner's notebook, inside the worker: its cells read leniently, its answers loaded by name."""

from __future__ import annotations

import ast
import json
import linecache
import sys
import types
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dl_course.notebooks import defined_names, needed_by


def read_cells(path: Path) -> list[str]:
    """Return the source of the code cells, whatever else is missing; ValueError says why there are none."""
    try:
        notebook = json.loads(path.read_bytes().decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not a notebook: it is no JSON ({error})") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError(f"{path.name} is not a notebook: it has no list of cells")
    code = (each for each in cells if isinstance(each, dict) and each.get("cell_type") == "code")
    sources = [_text(each.get("source")) for each in code]
    if not any(each.strip() for each in sources):
        raise ValueError(f"{path.name} has no code in it")
    return sources


def _text(source: Any) -> str:
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))


class NotThere(Exception):
    """Nothing in the notebook defines the name."""


class Answers:
    """The answers of one notebook. Each is loaded in a module of its own, with what it needs."""

    def __init__(self, sources: list[str]) -> None:
        self.cells = [list(_definitions_marked(source)) for source in sources]
        self.everything: dict[str, Any] = {}
        self.skipped: list[str] = []

    def count(self, name: str) -> int:
        """Return how often the learner's own cells define the name."""
        return sum(defined_names(source).count(name) for source in self._sources({name}))

    def load(self, name: str, passed: Collection[str]) -> Any:
        """Return the learner's last definition of a name; NotThere where there is none.

        As in the notebook, other answers that it leans on are the learner's where they passed, else those
        of the `@solution` cells, where the notebook has them. If this fails, all cells are run.
        """
        try:
            needed = needed_by(self._sources({name, *passed}), name)
        except KeyError as error:
            raise NotThere(name) from error
        try:
            return _run(needed, f"<notebook: {name}>", _module())[name]
        except Exception as error:
            self.everything = self.everything or self._all_cells(str(error))
            if name not in self.everything:
                raise
            return self.everything[name]

    def _sources(self, own: Collection[str]) -> list[str]:
        """Return the cells without the `@solution` of the names that are to be the learner's own."""
        return ["\n".join(text for text, solves in cell if solves not in own) for cell in self.cells]

    def _all_cells(self, why: str) -> dict[str, Any]:
        names = _module()
        for number, cell in enumerate(self.cells, 1):
            source = "\n".join(text for text, solves in cell if not solves)
            try:
                _run(source, f"<notebook: code cell {number}>", names)
            except Exception as error:
                self.skipped.append(f"code cell {number} raised {type(error).__name__}: {error}"[:200])
        return names


def _definitions_marked(source: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a cell: (source, the name that it solves by `@solution`, else "")."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        text = TransformerManager().transform_cell(source)
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield source, ""
        return
    lines = text.split("\n")
    done = 0
    for node in body:
        marks = [each for each in getattr(node, "decorator_list", []) if _is_solution(each)]
        if marks:
            assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            first = min(each.lineno for each in node.decorator_list) - 1
            yield "\n".join(lines[done:first]), ""
            kept = [n for n in range(first, node.end_lineno or 0) if n + 1 not in {m.lineno for m in marks}]
            yield "\n".join(lines[n] for n in kept), node.name
            done = node.end_lineno or 0
    yield "\n".join(lines[done:]), ""


def _is_solution(decorator: ast.expr) -> bool:
    return getattr(decorator, "id", getattr(decorator, "attr", "")) == "solution"


def _module() -> dict[str, Any]:
    module = types.ModuleType("__main__")  # where dataclasses and pickles look for what a notebook defines
    sys.modules["__main__"] = module
    vars(module)["display"] = lambda *values, **options: None
    return vars(module)


def _run(source: str, file: str, names: dict[str, Any]) -> dict[str, Any]:
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), names)
    return names
