"""Whether an answer can be loaded by its definition alone, because no other cell can change what it does.

A test that is False in doubt: then the cells are run in order, which always tells, and takes longer.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dl_course.notebooks import Statement, needed

_OPEN = {"exec", "eval", "globals", "locals", "setattr", "delattr", "__import__", "__builtins__"}
_SHARED = re.compile(r"set_default_\w+|set_grad_enabled|seterr|import_module|reload|chdir|__dict__")
_LOOKS = {"os", "plt", "mpl", "matplotlib", "sns", "pd", "warnings"}  # what is set there changes no answer
_QUIET = {"check", "hint", "ask", "print", "isinstance", "issubclass", "help", "display", "len", "type"}
_USUAL = {
    "solution",
    "dataclass",
    "property",
    "setter",
    "staticmethod",
    "classmethod",
    "no_grad",
    "inference_mode",
}
_USUAL |= {"wraps", "lru_cache", "cache", "contextmanager", "abstractmethod", "overload", "total_ordering"}
_MAGICS = "matplotlib|config|load_ext|autoreload|precision|pip|conda|pinfo|pinfo2|timeit"
_IDLE = re.compile(rf"get_ipython\(\)\.(system\(|run_\w+_magic\('({_MAGICS})').*", re.DOTALL)
_GIVEN = {*dir(builtins), "display", "__name__", "__doc__"}


@dataclass(frozen=True)
class _Effects:
    """What a statement may do to names: mention them, alias them, pass them to a call, set a part of them.

    `sets_arguments`: a function in it sets a part of what it is given; `unknown`: nobody knows.
    """

    mentions: frozenset[str]
    aliases: frozenset[str]
    passes: frozenset[str]
    sets: frozenset[str]
    sets_arguments: bool
    unknown: bool


def stands_alone(statements: Sequence[Statement], name: str) -> bool:
    """Return whether the last definition, with what it needs, is what it is after all statements have run.

    False in doubt: where something that it needs is bound anew, changed in place, or handed to who knows
    whom, or where a setting is changed that all code shares. KeyError where nothing defines the name.
    """
    places = needed(statements, name)
    taken = [statements[place] for place in places]
    kinds = {kind: _names(each for each in taken if _kind(each) == kind) for kind in _KINDS}
    bound = _names(taken)
    reads = frozenset[str]().union(*(each.reads for each in taken))
    if kinds["other"] or reads - bound - _GIVEN or not _in_order(statements, places, name):
        return False
    touchy = kinds["data"] and bound - kinds["import"]  # calling a function may change the data that it reads
    library = _names(each for each in statements if _kind(each) == "import") - _LOOKS
    others = [_effects(each.source) for each in statements if each not in taken]
    setters = any(_effects(each.source).sets_arguments for each in statements)
    return not any(
        each.unknown
        or each.sets & (bound | library)
        or each.aliases & kinds["class"]
        or each.mentions & touchy
        or (setters and each.passes & (kinds["class"] | library))
        for each in others
    )


def changes_unseen(statements: Iterable[Statement]) -> bool:
    """Return whether a statement may bind names that it doesn't show."""
    return any("*" in each.binds or _effects(each.source).unknown for each in statements)


def checked(statement: Statement, name: str) -> bool:
    """Return whether a statement has the name checked."""
    return {"check", name} <= statement.reads


def last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name, of a decorator with arguments too."""
    called = node.func if isinstance(node, ast.Call) else node
    return str(getattr(called, "attr", getattr(called, "id", "")))


def _names(statements: Iterable[Statement]) -> frozenset[str]:
    return frozenset[str]().union(*(each.binds for each in statements))


def _in_order(statements: Sequence[Statement], places: Sequence[int], name: str) -> bool:
    """Return whether nothing that is needed is bound anew later, nor the name between a check and its end."""
    last = places[-1]
    for each in _names(statements[place] for place in places):
        binders = [i for i, other in enumerate(statements) if each in other.binds]
        checks = [i for i, other in enumerate(statements) if checked(other, name)] or [last]
        late = max(checks) < last if each == name else max(binders) > last
        if late and len({statements[i].source for i in binders}) > 1:
            return False
    return True


_KINDS = ("import", "function", "class", "constant", "data", "other")


@lru_cache(maxsize=2048)
def _kind(statement: Statement) -> str:
    node = _tree(statement.source)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return "other" if "*" in statement.binds else "import"
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        plain = statement.binds == {node.name}  # and no `global` in it
        return ("class" if isinstance(node, ast.ClassDef) else "function") if plain else "other"
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not node.value:
        return "other"
    if _root(node.value):
        return "import"  # another name for what has one
    return "constant" if _is_constant(node.value) else "data"


def _is_constant(value: ast.expr) -> bool:
    try:
        hash(ast.literal_eval(value))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _root(node: ast.expr) -> str:
    """Return the name that a chain of attributes and indices begins with, "" for another expression."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


@lru_cache(maxsize=2048)
def _tree(source: str) -> ast.stmt:
    return ast.parse(source).body[0]


@lru_cache(maxsize=2048)
def _effects(source: str) -> _Effects:
    nodes = list(ast.walk(_tree(source)))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    used = {id(part) for part in _uses(nodes)}
    given = {id(part): last_name(call.func) for call in calls for part in call.args}
    parts = [node for node in nodes if isinstance(node, _PARTS) and not isinstance(node.ctx, ast.Load)]
    sets = {_root(node) for node in parts}
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)} - {"self"}
    magic = "get_ipython" in {node.id for node in names} and not _IDLE.fullmatch(source)
    return _Effects(
        mentions=frozenset(node.id for node in names if given.get(id(node)) != "check") - {"check"},
        aliases=frozenset(node.id for node in names if id(node) not in used | given.keys()),
        passes=frozenset(node.id for node in names if given.get(id(node), "check") not in _QUIET),
        sets=frozenset(sets - parameters),
        sets_arguments=any(_root(node) in parameters for node in parts if _of_an_object(node)),
        unknown=magic or any(map(_is_unknown, nodes)),
    )


_PARTS = (ast.Attribute, ast.Subscript)


def _of_an_object(part: ast.Attribute | ast.Subscript) -> bool:
    return isinstance(part, ast.Attribute) or isinstance(part.value, ast.Attribute)


def _uses(nodes: Iterable[ast.AST]) -> Iterable[ast.expr]:
    """Yield where a class stands to be called, derived from, or as a type."""
    for node in nodes:
        if isinstance(node, ast.Call):
            yield node.func
        elif isinstance(node, ast.ClassDef):
            yield from node.bases
        elif isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns:
            yield node.returns


def _is_unknown(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _OPEN or bool(_SHARED.fullmatch(node.id))
    if isinstance(node, ast.Call) and last_name(node.func) == "vars" and not node.args:
        return True
    if isinstance(node, ast.Attribute):
        return bool(_SHARED.fullmatch(node.attr))
    return any(last_name(each) not in _USUAL for each in getattr(node, "decorator_list", ()))
