"""Reading notebooks: tags, ids, and definitions by name with what they need. Nothing here runs a cell."""

from __future__ import annotations

import ast
import builtins
import hashlib
import symtable
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

Cell = Any  # nbformat.NotebookNode
Notebook = Any

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def read(path: str | Path) -> Notebook:
    """Return the notebook in the newest nbformat 4; ValueError says why a file is none."""
    try:
        return nbformat.read(str(path), as_version=4)
    except Exception as error:  # nbformat raises its own, json's and jsonschema's, with no common base
        raise ValueError(f"{path} is not a notebook: {type(error).__name__}: {error}") from error


def tags(cell: Cell) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.metadata.get("tags", []))


def code_of(notebook: Notebook) -> list[str]:
    """Return the source of every code cell, in order."""
    return ["".join(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def defined_names(source: str) -> list[str]:
    """Return the functions and classes that stand at the top level; [] where the source is no Python."""
    return [node.name for node in _statements(source) if isinstance(node, _DEFINITIONS)]


def stable_id(kind: str, text: str, taken: set[str]) -> str:
    """Return an id made of kind and text, the same on every build; a repeated one gets a number."""
    base = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    count = next(n for n in range(1, len(taken) + 2) if (base if n == 1 else f"{base}-{n}") not in taken)
    taken.add(found := base if count == 1 else f"{base}-{count}")
    return found


@dataclass(frozen=True)
class Statement:
    """A top-level statement: its source, the names that it binds, the names that it reads."""

    source: str
    binds: frozenset[str]
    reads: frozenset[str]


def needed_by(sources: Sequence[str], name: str) -> str:
    """Return the source of the last definition of `name`, after the statements that it needs, in their order.

    A statement is needed where it binds a name that the definition, or another needed statement, reads.
    So an answer can be loaded without running its whole notebook. KeyError where nothing defines the name.
    """
    statements = [each for source in sources for each in _bindings(source)]
    last = max((i for i, each in enumerate(statements) if name in each.binds), default=None)
    if last is None:
        raise KeyError(f"nothing defines '{name}'")
    needed, pending = {last}, [last]
    while pending:
        current = pending.pop()
        for wanted in statements[current].reads - set(dir(builtins)):
            binders = {i for i, each in enumerate(statements) if wanted in each.binds and i != last}
            pending += sorted(binders - needed)
            needed |= binders
    return (
        "\n\n".join(statements[i].source for i in sorted(needed - {last})) + "\n\n" + statements[last].source
    )


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(_without_magics(source)).body
    except SyntaxError:
        return []


def _without_magics(source: str) -> str:
    """Return the source with IPython's lines (%magic, !shell, ?help) blanked; a cell magic blanks it all."""
    if source.lstrip().startswith("%%"):
        return ""
    return "\n".join("" if line.lstrip()[:1] in ("%", "!", "?") else line for line in source.splitlines())


def _bindings(source: str) -> Iterable[Statement]:
    text = _without_magics(source)
    for node in _statements(source):
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        lines = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
        yield Statement(lines, frozenset(_bound(node)), frozenset(_read_names(lines)))


def _bound(node: ast.stmt) -> Iterable[str]:
    if isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    else:
        yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _read_names(source: str) -> Iterable[str]:
    """Yield the global names that a statement reads; a function's own variables are none."""
    pending = [symtable.symtable(source, "cell", "exec")]
    while pending:
        scope = pending.pop()
        pending += scope.get_children()
        top = scope.get_type() == "module"
        yield from (s.get_name() for s in scope.get_symbols() if s.is_referenced() and (top or s.is_global()))
