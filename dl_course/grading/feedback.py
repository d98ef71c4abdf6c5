"""Feedback as HTML: a page for each student, an overview of the class. Everything is escaped and bounded."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dl_course.exercises.results import SIGNS
from dl_course.grading.analytics import in_words, picture
from dl_course.grading.names import printable

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{text-align:left;padding:.2em .8em .2em 0;vertical-align:top}
td{overflow-wrap:anywhere}
th{white-space:nowrap}ul{list-style:none;padding:0;margin:0}ul:empty{display:none}
section{border-left:4px solid #949494;padding-left:1em;margin:1.2em 0}
.passed{border-color:#029e73}.not-yet{border-color:#d55e00}code{white-space:pre-wrap}
.beside{display:grid;grid-template-columns:1fr 1fr;gap:1em}.beside div{min-width:0}
pre{background:#f4f4f4;padding:.6em;overflow-wrap:anywhere;font-size:.85em}"""


def student_page(result: dict[str, Any]) -> str:
    """Return a student's page: what was checked, what came out, a hint; no hidden inputs or right answers."""
    student = result["student"]
    points = result["points"]
    of = result["of"]
    said = (result["note"], result.get("late_why", ""))
    note = "".join(f"<p><b>{safe(each)}</b></p>" for each in said if each)
    sections = "".join(_section(name, mark) for name, mark in result["exercises"].items())
    promise = (
        "<p><small>Your answers were called on inputs that nobody had seen before, and the numbers that came "
        "back were compared. Kinds of input earn their share of the points. Examples were drawn "
        "afresh.</small></p>"
    )
    head = f"<h1>Chapter {safe(result['chapter'])}: {points:g} of {of:g} points</h1>"
    return page(
        f"{student}, chapter {result['chapter']}", f"<p>{safe(student)}</p>{head}{note}{sections}{promise}"
    )


def _section(name: str, mark: dict[str, Any]) -> str:
    kinds = "".join(
        f"<li>{SIGNS['passed' if right else 'not yet']} {safe(about)}</li>"
        for about, right in mark["groups"].items()
    )
    labels = {"diagnosis": "What went wrong", "example": "For example", "came_out": "What came out"}
    labels["hint"] = "Hint"
    rows = "".join(
        f"<tr><th>{label}</th><td><code>{safe(mark[key])}</code></td></tr>"
        for key, label in labels.items()
        if mark.get(key)
    )
    notes = "".join(f"<p>{safe(note)}</p>" for note in (*mark["notes"], *mark["flags"]))
    sign = SIGNS[mark["status"]]
    kind = mark["status"].replace(" ", "-")
    head = f"<h2>{sign} {safe(mark['title'])} <small>({safe(name)})</small></h2>"
    earned = f"<p>{safe(mark['status'])}: {mark['points']:g} of {mark['of']:g}</p>"
    return f'<section class="{kind}">{head}{earned}<ul>{kinds}</ul><table>{rows}</table>{notes}</section>'


def class_page(
    results: Sequence[dict[str, Any]], passes: Mapping[str, Sequence[datetime]] | None = None
) -> str:
    """Return the overview: per exercise who solved it and what typically went wrong; who has a note.

    passes: when learners passed each exercise, of those whose progress files say so.
    """
    names = list(results[0]["exercises"]) if results else []
    passes = passes or {}
    rows = "".join(
        _exercise_row(name, [each["exercises"][name] for each in results], in_words(passes.get(name, ())))
        for name in names
    )
    columns = [
        "exercise",
        "passed",
        "mean points",
        "typical mistakes",
        *(["passed at home"] if passes else []),
    ]
    heads = "".join(f'<th scope="col">{each}</th>' for each in columns)
    noted = "".join(
        f"<tr><td>{safe(each['student'])}</td><td>{safe(each['note'])}</td></tr>"
        for each in results
        if each["note"]
    )
    isolation = ", ".join(sorted({each["isolation"] for each in results if each["isolation"]}))
    body = f"<h1>{len(results)} students</h1>{picture(results)}<table><tr>{heads}</tr>{rows}</table>"
    body += f"<h2>Notes</h2><table>{noted}</table>" if noted else ""
    return page("Overview", f"{body}<p><small>Answers ran in: {safe(isolation)}.</small></p>")


def _exercise_row(name: str, marks: Sequence[dict[str, Any]], passes: str) -> str:
    passed = sum(mark["status"] == "passed" for mark in marks) / len(marks)
    mean = sum(mark["points"] for mark in marks) / len(marks)
    typical = Counter(mark["diagnosis"] for mark in marks if mark["diagnosis"]).most_common(3)
    said = "".join(f"<li>{count} × {safe(text)}</li>" for text, count in typical)
    share = f"<td>{passed:.0%}</td><td>{mean:.2f} of {marks[0]['of']:g}</td>"
    head = f'<th scope="row">{safe(name)}</th>'
    at_home = f"<td>{safe(passes)}</td>" if passes else ""
    return f"<tr>{head}{share}<td><ul>{said}</ul></td>{at_home}</tr>"


def safe(text: Any) -> str:
    """Return a text as HTML on one line, of bounded length."""
    return html.escape(printable(text, 600))


def page(title: str, body: str) -> str:
    """Return a whole page, which runs no script and loads nothing."""
    rule = "default-src 'none'; style-src 'unsafe-inline'"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{rule}">'
    head = f'<meta charset="utf-8">{policy}<title>{safe(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
