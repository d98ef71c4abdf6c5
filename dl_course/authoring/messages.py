"""What of a chapter is translated: paragraphs, items, rows, headings, alt texts, docstrings, comments.

One walk serves both ways. It hands every message to a function and puts the answer in its place: to collect
messages, the function notes them; to translate, it looks them up. So what is asked for is what is used.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import nbformat

from dl_course.notebooks import Cell, Notebook, tags

Say = Callable[[str, str], str]  # (text, kind) -> what stands there instead

WIDTH = 96  # columns of a cell; a Chinese character takes two
_START = re.compile(r"\s*(#{1,6} |[-*+] |\d{1,2}[.)] |> ?)")
_LITERAL = re.compile(r"\s*(\[!\[|\||<[/\w!]|:::|>>>|-{3,}$|$)")
_ROW = re.compile(r"\s*\|.*\|\s*$")
_RULER = re.compile(r"[\s|:-]+$")
_DIRECTIVE = re.compile(r"# ?@|noqa|type: |fmt: |%%")
_BRACKETED = re.compile(r"[([{][^()]*[)\]}]")
_NOT_WORDS = re.compile(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|<[^>]*>|https?://\S+")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_CLOSING = "，。；：、！？）》」』”’…"


@dataclass(frozen=True)
class Message:
    """A piece of English, the id of the cell that it stands in, and what it is."""

    context: str
    text: str
    kind: str


def messages(notebook: Notebook) -> list[Message]:
    """Return the chapter's messages in order, each once for its cell."""
    found: dict[Message, None] = {}
    for cell in notebook.cells:

        def note(text: str, kind: str, context: str = context_of(cell)) -> str:
            found.setdefault(Message(context, text, kind))
            return text

        rewrite(nbformat.from_dict(cell), note)
    by_key = {(each.context, each.text): each for each in reversed(found)}
    return [each for each in found if by_key[each.context, each.text] is each]


def context_of(cell: Cell) -> str:
    """Return the id that a cell's messages stand under: a solution's are those of its exercise."""
    return re.sub("^solution-", "exercise-", cell["id"])


def rewrite(cell: Cell, say: Say) -> None:
    """Put into a cell, and into the alt texts of its figures, what `say` makes of every message; ids stay."""
    if "bootstrap" in tags(cell):
        return
    cell.source = prose(cell.source, say) if cell.cell_type == "markdown" else code(cell.source, say)
    if "alt" in cell.metadata:
        cell.metadata["alt"] = say(cell.metadata["alt"], "alt text of the figure")
    for output in cell.get("outputs", []):
        for about in output.get("metadata", {}).values():
            if "alt" in about:
                about["alt"] = cell.metadata["alt"]


def wordless(text: str) -> bool:
    """True where nothing is left to translate beside code, mathematics, addresses, names and numbers."""
    return not re.search(r"[^\W\d_]", _NOT_WORDS.sub("", text))


def prose(text: str, say: Say) -> str:
    """Return Markdown with every paragraph, list item, table row and heading said by `say`, on one line."""
    return "\n".join(before + (said(words, say, before)) for before, words in pieces(text))


def said(words: str, say: Say, before: str = "") -> str:
    """Return what `say` makes of words, or the words where they are none."""
    if not words or wordless(words):
        return words
    sign = before.strip()[:1] or words[0]
    kind = "list item" if before.strip() else "text"
    return say(words, {"#": "heading", "|": "table row"}.get(sign, kind))


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield (what stays as it is, words) for each line or paragraph; code, formulas, HTML have no words."""
    fence = ""
    before = words = ""
    for line in text.split("\n"):
        opens = next((mark for mark in ("```", "$$") if line.strip().startswith(mark)), "")
        literal = bool(fence or opens or _ROW.match(line) or _LITERAL.match(line))
        start = _START.match(line)
        if words and not literal and not start:
            words += " " + line.strip()
            continue
        if words:
            yield before, words
        before = words = ""
        if literal:
            row = not fence and _ROW.match(line) and not _RULER.match(line)
            yield ("", line) if row else (line, "")
        else:
            before = start[0] if start else re.match(r"\s*", line)[0]  # type: ignore[index]
            words = line[len(before) :].rstrip()
        fence = _fence_after(line, opens, fence)
    if words:
        yield before, words


def _fence_after(line: str, opens: str, fence: str) -> str:
    if fence:
        return "" if line.rstrip().endswith(fence) else fence
    return opens if opens and line.strip().count(opens) == 1 else ""


def code(source: str, say: Say) -> str:
    """Return a cell's Python with docstrings and comments said by `say`; every other character stays."""
    try:
        tree = ast.parse(source)
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError):  # a cell of magics has no prose
        return source
    lines = source.split("\n")
    starts = set(_docstring_lines(tree))
    new = {}
    for token in tokens:
        if token.type == tokenize.STRING and token.start[0] in starts:
            new[token] = _docstring(token.string, token.start[1], say)
        elif token.type == tokenize.COMMENT and _is_prose(token.string):
            new[token] = "# " + say(token.string.lstrip("# "), "comment in code: short")
    for token, text in reversed(new.items()):
        first, column = token.start
        last, end = token.end
        whole = lines[first - 1][:column] + text + lines[last - 1][end:]
        lines[first - 1 : last] = whole.split("\n")
    return "\n".join(lines)


def _is_prose(comment: str) -> bool:
    """True unless a comment is for a tool, or says no more than a shape."""
    words = re.search(r"(?<![\w.])[a-z]{2,}", _BRACKETED.sub("", comment))
    return bool(words) and not _DIRECTIVE.search(comment)


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS) and ast.get_docstring(node) is not None:
            yield node.body[0].lineno


def _docstring(literal: str, indent: int, say: Say) -> str:
    quotes = '"""' if literal.endswith('"""') else literal[-1]
    head, _, body = literal.partition(quotes)
    inside = textwrap.dedent(" " * indent + body.removesuffix(quotes))
    new = prose(inside, lambda text, _: say(text, "docstring"))
    if new == prose(inside, lambda text, _: text):
        return literal
    room = WIDTH - indent - len(quotes) * (1 if "\n" in new else 2)
    wrapped = "\n".join(wrap(line, room) for line in new.split("\n"))
    return (
        head + quotes + wrapped.replace("\n", "\n" + " " * indent).replace(" " * indent + "\n", "\n") + quotes
    )


def wrap(line: str, width: int) -> str:
    """Return a line broken at spaces or between wide characters, never before closing punctuation."""
    rows = [""]
    for word in re.findall(rf"(?:[^\s\u2e80-\uffef]+|\s+|.)[{_CLOSING}]*", line):
        if columns(rows[-1] + word) > width and rows[-1]:
            rows.append("")
        rows[-1] += word if rows[-1] or len(rows) == 1 else word.lstrip()
    return "\n".join(row.rstrip() for row in rows)


def columns(text: str) -> int:
    """Return how many columns a text takes: two for a wide character."""
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def bare(source: str) -> str:
    """Return what a translation may not change of a cell's code: all but docstrings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return ast.dump(tree)
