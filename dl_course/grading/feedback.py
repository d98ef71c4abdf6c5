"""Feedback as HTML: a page for each student, an overview of the class. Everything is escaped and bounded."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dl_course.exercises.results import SIGNS
from dl_course.grading.names import printable

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{text-align:left;padding:.2em .8em .2em 0;vertical-align:top}
th{white-space:nowrap}ul{list-style:none;padding:0;margin:0}ul:empty{display:none}
section{border-left:4px solid #949494;padding-left:1em;margin:1.2em 0}
.passed{border-color:#029e73}.not-yet{border-color:#d55e00}code{white-space:pre-wrap}"""


def student_page(result: dict[str, Any]) -> str:
    """Return a student's page: what was checked, what came out, a hint; no hidden inputs or right answers."""
    student = result["student"]
    points = result["points"]
    of = result["of"]
    note = f"<p><b>{_safe(result['note'])}</b></p>" if result["note"] else ""
    sections = "".join(_section(name, mark) for name, mark in result["exercises"].items())
    promise = (
        "<p><small>Your answers were called on inputs that nobody had seen before, and the numbers that came "
        "back were compared. Kinds of input earn their share of the points.</small></p>"
    )
    head = f"<h1>Chapter {_safe(result['chapter'])}: {points:g} of {of:g} points</h1>"
    return _page(
        f"{student}, chapter {result['chapter']}", f"<p>{_safe(student)}</p>{head}{note}{sections}{promise}"
    )


def _section(name: str, mark: dict[str, Any]) -> str:
    kinds = "".join(
        f"<li>{SIGNS['passed' if right else 'not yet']} {_safe(about)}</li>"
        for about, right in mark["groups"].items()
    )
    labels = {"diagnosis": "What went wrong", "came_out": "What came out", "hint": "Hint"}
    rows = "".join(
        f"<tr><th>{label}</th><td><code>{_safe(mark[key])}</code></td></tr>"
        for key, label in labels.items()
        if mark[key]
    )
    notes = "".join(f"<p>{_safe(note)}</p>" for note in (*mark["notes"], *mark["flags"]))
    sign = SIGNS[mark["status"]]
    kind = mark["status"].replace(" ", "-")
    head = f"<h2>{sign} {_safe(mark['title'])} <small>({_safe(name)})</small></h2>"
    earned = f"<p>{_safe(mark['status'])}: {mark['points']:g} of {mark['of']:g}</p>"
    return f'<section class="{kind}">{head}{earned}<ul>{kinds}</ul><table>{rows}</table>{notes}</section>'


def class_page(results: Sequence[dict[str, Any]]) -> str:
    """Return the overview: per exercise who solved it and what typically went wrong; who has a note."""
    names = list(results[0]["exercises"]) if results else []
    rows = "".join(_exercise_row(name, [each["exercises"][name] for each in results]) for name in names)
    heads = "".join(f"<th>{each}</th>" for each in ("exercise", "passed", "mean points", "typical mistakes"))
    noted = "".join(
        f"<tr><td>{_safe(each['student'])}</td><td>{_safe(each['note'])}</td></tr>"
        for each in results
        if each["note"]
    )
    isolation = ", ".join(sorted({each["isolation"] for each in results if each["isolation"]}))
    body = f"<h1>{len(results)} students</h1><table><tr>{heads}</tr>{rows}</table>"
    body += f"<h2>Notes</h2><table>{noted}</table>" if noted else ""
    return _page("Overview", f"{body}<p><small>Answers ran in: {_safe(isolation)}.</small></p>")


def _exercise_row(name: str, marks: Sequence[dict[str, Any]]) -> str:
    passed = sum(mark["status"] == "passed" for mark in marks) / len(marks)
    mean = sum(mark["points"] for mark in marks) / len(marks)
    typical = Counter(mark["diagnosis"] for mark in marks if mark["diagnosis"]).most_common(3)
    said = "".join(f"<li>{count} × {_safe(text)}</li>" for text, count in typical)
    share = f"<td>{passed:.0%}</td><td>{mean:.2f} of {marks[0]['of']:g}</td>"
    return f"<tr><td>{_safe(name)}</td>{share}<td><ul>{said}</ul></td></tr>"


def _safe(text: Any) -> str:
    return html.escape(printable(text, 600))


def _page(title: str, body: str) -> str:
    rule = "default-src 'none'; style-src 'unsafe-inline'"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{rule}">'
    head = f'<meta charset="utf-8">{policy}<title>{_safe(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
