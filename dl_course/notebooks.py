"""Notebooks read and written: tags, ids, definitions by name with what they need. Nothing runs a cell."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import symtable
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

Cell = Any  # nbformat.NotebookNode
Notebook = Any

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

_MAGIC = re.compile(r"get_ipython\(\)\.\w+\(.*\)$", re.MULTILINE)  # what IPython makes of its own lines
_TIMED = re.compile(r"\A\s*(?:%%(?:time|capture|prun|memit)\b[^\n]*(?:\n|\Z))+|^%time[ \t]+", re.MULTILINE)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp)


def read(path: str | Path) -> Notebook:
    """Return the notebook in the newest nbformat 4; ValueError says why a file is none."""
    import nbformat  # seconds, for its checks of addresses, which a grader's worker has no use for

    try:
        return nbformat.read(str(path), as_version=4)
    except Exception as error:  # nbformat raises its own, json's and jsonschema's, with no common base
        raise ValueError(f"{path} is not a notebook: {type(error).__name__}: {error}") from error


def write(notebook: Notebook, path: Path) -> None:
    """Write a notebook, atomically."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)


def tags(cell: Cell) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.metadata.get("tags", []))


def code_of(notebook: Notebook) -> list[str]:
    """Return the source of every code cell, in order."""
    return ["".join(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def defined_names(source: str) -> list[str]:
    """Return the functions and classes that stand at the top level; [] where the source is no Python."""
    return [node.name for node in _parsed(source)[1] if isinstance(node, _DEFINITIONS)]


def stable_id(kind: str, text: str, taken: set[str]) -> str:
    """Return an id made of kind and text, the same on every build; a repeated one gets a number."""
    base = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    count = next(n for n in range(1, len(taken) + 2) if (base if n == 1 else f"{base}-{n}") not in taken)
    taken.add(found := base if count == 1 else f"{base}-{count}")
    return found


@dataclass(frozen=True)
class Statement:
    """A top-level statement: its source, the names that it binds, the names that it reads.

    Its source is Python: of IPython's own lines, what IPython makes of them.
    """

    source: str
    binds: frozenset[str]
    reads: frozenset[str]


def needed_by(sources: Sequence[str], name: str) -> str:
    """Return the source of the last definition of `name`, after the statements that it needs, in their order.

    A statement is needed where it binds a name that the definition, or another needed statement, reads; an
    `import *` may bind any name. So an answer can be loaded without running its whole notebook. KeyError
    where nothing defines the name.
    """
    statements = [each for source in sources for each in statements_of(source)]
    return joined(statements[place] for place in needed(statements, name))


def joined(statements: Iterable[Statement]) -> str:
    """Return statements as one source, which runs outside a notebook: of IPython's own lines, None stays."""
    return _MAGIC.sub("None", "\n\n".join(each.source for each in statements))


def needed(statements: Sequence[Statement], name: str) -> list[int]:
    """Return the places of the statements that `needed_by` takes, in the order to run them in."""
    last = max((i for i, each in enumerate(statements) if name in each.binds), default=None)
    if last is None:
        raise KeyError(f"nothing defines '{name}'")
    futures = {i for i, each in enumerate(statements) if each.source.startswith("from __future__ ")}
    found = {last}
    pending = [last]
    while pending:
        reads = statements[pending.pop()].reads
        binders = {i for i, each in enumerate(statements) if each.binds & {*reads, "*"} and i != last}
        pending += binders - found
        found |= binders
    return [*sorted(futures), *sorted(found - futures - {last}), last]


@lru_cache(maxsize=2048)
def statements_of(source: str) -> tuple[Statement, ...]:
    """Return the top-level statements of a cell; () of one that Python refuses."""
    text, nodes = _parsed(source)
    return tuple(_statement(part, node) for part, node in _parts(text, nodes))


@lru_cache(maxsize=2048)
def _parsed(source: str) -> tuple[str, list[ast.stmt]]:
    """Return the cell as Python, and its statements: none of a cell that Python refuses, as in the notebook.

    Code under %time, or under another magic that runs it where it stands, is read as if that weren't there.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        text = TransformerManager().transform_cell(_TIMED.sub("", source))
        symtable.symtable(text, "cell", "exec")
        return text, ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", []


def _parts(text: str, nodes: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    lines = text.split("\n")
    for node in nodes:
        if isinstance(node, _DEFINITIONS):  # a segment would leave out its decorators
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield "\n".join(lines[first - 1 : node.end_lineno]), node
        else:
            yield ast.get_source_segment(text, node) or "", node


def _scoped(source: str) -> str:
    """Return the source with generator expressions in place of comprehensions, for their scopes' sake.

    From Python 3.12 on (PEP 709), comprehensions have no scope of their own in the symbol table: their own
    variables look like those of the scope around them, and what `:=` binds there is lost.
    """
    tree = ast.parse(source)
    found = [node for node in ast.walk(tree) if isinstance(node, _COMPREHENSIONS)]
    if not found:
        return source
    for node in found:
        if isinstance(node, ast.DictComp):
            pair = ast.Tuple([node.key, node.value], ast.Load())
            vars(node)["elt"] = pair
        node.__class__ = ast.GeneratorExp  # type: ignore[assignment]  # in place: its parents keep it
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 100_000))  # unparse calls itself for every operator of a long sum
    try:
        return ast.unparse(tree)
    finally:
        sys.setrecursionlimit(limit)


def _statement(source: str, node: ast.stmt) -> Statement:
    binds = {"*"} if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" else set()
    reads = set()
    pending = [symtable.symtable(_scoped(source), "cell", "exec")]
    while pending:
        scope = pending.pop()
        pending += scope.get_children()
        for symbol in scope.get_symbols():  # of a function, only what is global: its own variables are none
            if scope.get_type() == "module" or symbol.is_global():
                binds |= {symbol.get_name()} if symbol.is_assigned() or symbol.is_imported() else set()
                reads |= {symbol.get_name()} if symbol.is_referenced() else set()
    return Statement(source, frozenset(binds), frozenset(reads))
