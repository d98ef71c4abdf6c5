"""What learners are told by code: sentences found in the source of the modules that say them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from dl_course.authoring.messages import Message
from dl_course.language import PAGE_TEXT, PLACEHOLDER, SCRIPT_TEXT

MODULES = (
    "exercises/*.py",
    "exercises/questions/*.py",
    "exercises/checks/*.py",
    "diagnostics/rules/*.py",
    "diagnostics/checkup.py",
    "diagnostics/forward.py",
    "clinic/*.py",
    "doctor.py",
    "widgets/explorer.py",
    "widgets/views.py",
)
# One word alone says something only in certain places: labels of lines, heads of tables, severities.
LABELS = """next diagnosis input expected progress fault severity where found error warning info fix memory
    device data widgets layer class overlay predicted picture kind view Answer Right passed right no nothing
    positive negative zero zeros padding dilation pictures kernels histogram statistics"""
# Where something is; a template of one word is given here, since it would match much.
PLACES = (
    "Chapter {chapter}",
    "needs {name}=",
    "line {number}, in {name}: {source}",
    "at line {number}, in {name}: {source}",
    "here: {names}",
    "limit {value}",
    "limits {values}",
    *(f"{kind} {{number}}" for kind in ("class", "channel", "sample", "epoch", "patient")),
    "Patient {number}",
    "{network}, {count} parameters",
    "roughly {share}",
    "{name}: {count} pictures of {size} in {classes} classes",
    "all ({count})",
    "drawing …",
    "{layer}, picture {picture}: {words}",
    "{layer} has no kernels of its own; take {where}",
    "a convolution or a linear layer",
    "'{layer}' in it",
    "{layer} put out no numbers for this picture",
    "unknown layer '{layer}'",
    "unknown layer '{layer}'; did you mean '{name}'?",
    "training labels",
    "validation labels",
)
_PROSE = re.compile(
    r"[^\W\d_]{2,}[,:;.!?’'\"()]* +(an? )?\S*[a-z]{2,}|[a-z]{3,}[^\w]* \{|\}\)? [a-z]{3,}"
    r"|^an? ([a-z]\W?){3}|^[a-z]{4,} \d+ %|[\u4e00-\uffff]"
)
_WORD = re.compile(r"[^\W\d_]{2,}|^an?\b")
# A list of names of faults.
_FAULTS = re.compile(r"(?!(.* )?(of|no|a) )(\w+(-\w+)* )*\w+(-\w+)+( \w+(-\w+)*)* ?")
_CODE = re.compile(
    r"^Your turn: |\w[;:]\s?\w+(-\w+)*:|button|0 \{|</?\w+[ >]|--\w|^[\w.]+\([^)]*\)$|^\W*[a-z_]+=|\\[dws]"
    r"|^(pip|python) "
)


def sentences(package: Path) -> list[Message]:
    """Return every sentence, template, label and fault's name, each once, in the order of the modules."""
    found: dict[str, Message] = {}
    for pattern in MODULES:
        for path in sorted(package.glob(pattern)):
            where = path.relative_to(package).as_posix()
            for text, kind in _in_module(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(text, Message("", text, f"{where}: {kind}"))
    for path in sorted([*package.glob("deploy/*.html"), *package.glob("widgets/*.js")]):
        where = path.relative_to(package).as_posix()
        for text in _in_page(path.read_text(encoding="utf-8"), path.suffix):
            found.setdefault(text, Message("", text, f"{where}: text"))
    for label in (*PLACES, *LABELS.split()):
        found.setdefault(label, Message("", label, "label"))
    return list(found.values())


def _in_page(source: str, suffix: str) -> Iterator[str]:
    """Yield what a page of ours shows, or a widget's script."""
    if suffix == ".js":
        yield from map("".join, SCRIPT_TEXT.findall(source))
    else:
        yield from (text for text in PAGE_TEXT.findall(source) if "/" not in text)


def _in_module(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in _shown(tree):
        if isinstance(node, ast.FunctionDef) and (fault := _fault_of(node)):
            yield fault, "a fault's name"
            paragraphs = (ast.get_docstring(node) or "").split("\n\n")
            yield " ".join(paragraphs[0].split()), "what has to hold"
            yield " ".join(paragraphs[-1].split()), "advice"
        elif isinstance(node, ast.ClassDef) and any(
            getattr(base, "id", "") == "Exercise" for base in node.bases
        ):
            yield (ast.get_docstring(node) or "").partition("\n")[0].rstrip("."), "an exercise's title"
        elif isinstance(node, (ast.Constant, ast.JoinedStr)):
            yield from ((text, "sentence") for text in variants(node) if is_prose(text))


def _shown(node: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes in order, without docstrings, messages of errors, annotations, and parts of f-strings."""
    yield node
    if isinstance(node, ast.JoinedStr):
        nested = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        for each in nested:
            yield from _shown(each)
        return
    for child in ast.iter_child_nodes(node):
        if not _is_aside(child):
            yield from _shown(child)


def _is_aside(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise):
        call = node.exc
        return not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Skip")
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)  # a docstring


def _fault_of(node: ast.FunctionDef) -> str:
    """Return the fault that a rule finds, "" of any other function."""
    for each in node.decorator_list:
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "rule":
            return str(ast.literal_eval(each.args[0]))
    return ""


def variants(node: ast.expr) -> list[str]:
    """Return a string's text; of an f-string its template, one for each way that an `if` inside it can go."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    texts = [""]
    assert isinstance(node, ast.JoinedStr)
    for place, part in enumerate(node.values):
        texts = [text + each for text in texts for each in _part(part, place)]
    return texts


def _part(part: ast.expr, place: int) -> list[str]:
    if isinstance(part, ast.Constant):
        return [str(part.value)]
    value = part.value  # type: ignore[attr-defined]
    if isinstance(value, ast.IfExp) and all(_is_text(each) for each in (value.body, value.orelse)):
        return [each for side in (value.body, value.orelse) for each in variants(side)]
    return [f"{{{value.id}}}" if isinstance(value, ast.Name) else f"{{{place}}}"]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def is_prose(text: str) -> bool:
    """True for a sentence or a phrase; a template needs two words of its own, or it would match anything."""
    if _CODE.search(text) or _FAULTS.fullmatch(text) or not _PROSE.search(text):
        return False
    return len(_WORD.findall(PLACEHOLDER.sub(" ", text))) >= 2
