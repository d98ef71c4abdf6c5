"""Our docstrings as Sphinx wants them: "name: text · name: text" becomes a list of parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_NAMES = r"\*{0,2}[a-zA-Z_]\w*(?:(?:, | and |/)\*{0,2}[a-zA-Z_]\w*)*"
_FIRST = re.compile(rf"({_NAMES}): (?=\S)")
_NEXT = re.compile(rf" · (?={_NAMES}: )")
_RAISES = re.compile(r"(?:^|(?<=[.;] ))Raises (\w+)(?: and (\w+))? ")
_LITERAL = re.compile(r"``.+?``|`[^`]+`")
_MARKS = re.compile(r"([\\*|_])")
_NOT_NAMES = {"Returns", "Source", "Note", "http", "https"}


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring in place; connect it to autodoc-process-docstring."""
    parts = list(_paragraphs(lines))
    summary = [_escaped(" ".join(line.strip() for line in part)) for part in parts[:1]]
    lines[:] = [*summary, "", *(line for part in parts[1:] for line in (*_written(part), ""))]


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            part.append(line)
        elif part:
            yield part
            part = []


def _written(part: list[str]) -> Iterator[str]:
    if all(line.startswith(("    ", ">>>", "...")) for line in part) or part[0].startswith(">>>"):
        yield from ("::", "", *(f"    {line}" for line in part))
        return
    if any(line.startswith("- ") for line in part):
        yield from map(_escaped, part)
        return
    text = " ".join(line.strip() for line in part)
    start = _FIRST.match(text)
    if not start or start[1] in _NOT_NAMES:
        yield _escaped(text)
        return
    after = []
    for piece in _NEXT.split(text):
        names, _, about = piece.partition(": ")
        about, rest = _cut(about)
        after.append(rest)
        yield f"* **{_escaped(names)}** – {_escaped(about)}"
    yield from ("", _escaped(" ".join(filter(None, after))))


def _cut(about: str) -> tuple[str, str]:
    """Return what belongs to the last name, and the sentence about errors that follows it."""
    found = _RAISES.search(about)
    return (about[: found.start()].rstrip(), about[found.start() :]) if found else (about, "")


def _escaped(text: str) -> str:
    """Return the text so that reStructuredText takes nothing but its literals for markup."""
    parts, place = [], 0
    for literal in _LITERAL.finditer(text):
        parts += [
            re.sub(r"([\\*|_])", r"\\\1", text[place : literal.start()]),
            f"``{literal[0].strip('`')}``",
        ]
        place = literal.end()
        if text[place : place + 1].isalnum():
            parts.append("\\ ")
    return "".join([*parts, _MARKS.sub(r"\\\1", text[place:])])
