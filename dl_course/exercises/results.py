"""What a learner sees of a check: a small box in the notebook, plain lines in a terminal."""

from __future__ import annotations

import html
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dl_course.language import filled, say, say_phrase, width

Status = Literal["passed", "not yet", "not attempted"]

SIGNS = {"passed": "✓", "not yet": "✗", "not attempted": "○", "note": "→"}
_COLOURS = {"passed": "#029e73", "not yet": "#d55e00", "not attempted": "#949494", "note": "#0173b2"}


def framed(inside: str, kind: str = "note") -> str:
    """Return HTML beside a bar in the kind's colour, as every answer of the course is shown."""
    style = f"border-left:4px solid {_COLOURS[kind]};padding:.3em .8em;margin:.2em 0"
    return f'<div style="{style}">{inside}</div>'


@dataclass(frozen=True)
class Box:
    """A sign, a headline and labelled lines; shows itself as text and as HTML."""

    kind: str
    headline: str
    lines: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        lines = self._said()
        most = max((width(label) for label, _ in lines), default=0)
        indented = (text.replace("\n", "\n" + " " * (most + 4)) for _, text in lines)
        rows = [f"  {filled(label, most)}  {text}" for (label, _), text in zip(lines, indented, strict=True)]
        return "\n".join([f"{SIGNS[self.kind]} {say(self.headline)}", *rows])

    def _said(self) -> list[tuple[str, str]]:
        """Return the lines in the reader's language; values and what was printed stay as they are."""
        how: dict[str, Callable[[str], str]]
        how = {"came out": _said_value, "expected": _said_value, "it printed": str}
        return [(say(label), how.get(label, say)(text)) for label, text in self.lines]

    def _repr_html_(self) -> str:
        plain = 'style="margin:0;background:none;white-space:pre-wrap"'
        left = 'style="text-align:left;vertical-align:top;white-space:nowrap"'
        rows = "".join(
            f"<tr><td {left}><i>{html.escape(label)}</i></td>"
            f"<td {left}><pre {plain}>{html.escape(text)}</pre></td></tr>"
            for label, text in self._said()
        )
        table = f'<table style="margin:.3em 0 0 1.2em;border:none">{rows}</table>' if rows else ""
        return framed(f"<b>{SIGNS[self.kind]}</b> {html.escape(say(self.headline))}{table}", self.kind)


def _said_value(text: str) -> str:
    return say(text) if " …, from " in text else say_phrase(text)


@dataclass(frozen=True, repr=False)
class Result(Box):
    """The outcome of a check: `status`, and what to do about it."""

    status: Status = field(default="not attempted", kw_only=True)

    @property
    def passed(self) -> bool:
        """True where the answer is right."""
        return self.status == "passed"


def result(status: Status, headline: str, *lines: tuple[str, str]) -> Result:
    """Return a Result; lines without text are left out."""
    return Result(status, headline, tuple(line for line in lines if line[1]), status=status)


def shown(value: Any) -> str:
    """Return a value on few lines: small arrays whole, large ones by dtype, shape and range, texts cut."""
    if isinstance(value, np.ndarray) and value.ndim and value.size:
        if value.size <= 24 and value.ndim <= 2:
            numbers = np.array2string(value, precision=4, max_line_width=90, suppress_small=True)
            return f"{value.dtype} {value.shape}" + ("\n" if value.ndim > 1 else " ") + numbers
        first = " ".join(f"{number:.4g}" for number in value.ravel()[:4].tolist())
        least, most = value.min().item(), value.max().item()
        return f"{value.dtype} {value.shape}: {first} …, from {least:.4g} to {most:.4g}"
    if isinstance(value, (np.ndarray, np.generic)):
        return shown(value.item()) if value.size == 1 else f"{value.dtype} {value.shape}, empty"
    if isinstance(value, float):
        return f"{value:.6g}"
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxlist = short.maxdict = 8
    return value[:400] if isinstance(value, str) else short.repr(value)


def first_differing(got: Any, expected: Any, rtol: float, atol: float) -> str:
    """Return "[0, 2]: 1.5 instead of 2" for the first differing entry of two arrays, "" for anything else."""
    if not (isinstance(got, np.ndarray) and isinstance(expected, np.ndarray)) or got.shape != expected.shape:
        return ""
    with np.errstate(all="ignore"):
        wrong = np.argwhere(~np.isclose(got, expected, rtol, atol, equal_nan=True))
    if not got.ndim or not len(wrong):
        return ""
    index = tuple(int(i) for i in wrong[0])
    there = f"{list(index)}: {got[index]:.4g} instead of {expected[index]:.4g}"
    return f"{there}; {len(wrong)} of {got.size} entries differ"
