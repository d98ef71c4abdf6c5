"""What `dl-course regrade` does: answer a request, and keep what was decided and why."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from dl_course.grading import results as store
from dl_course.grading.command import grade
from dl_course.grading.desk import Desk, decide, read_decisions
from dl_course.grading.names import file_name, printable
from dl_course.registry import nearest


def regrade(
    student: str, out: str | Path, *, exercise: str, because: str, points: float | None = None
) -> pd.DataFrame:
    """Answer a regrade request, keep old and new mark and the reason in regrades.csv; return the grades.

    out: where `grade` has put its results · points: the new mark, by hand; None: the judge tries the answer
    again, for instance after a check was mended. The last decision counts. ValueError for a student,
    exercise or mark that can't be.
    """
    out = Path(out)
    path = out / "results" / f"{file_name(student)}.json"
    old = store.read_result(path, student)
    if old is None:
        raise ValueError(f"no result of '{printable(student, 60)}' in '{out}': grade first")
    if exercise not in old["exercises"]:
        raise ValueError(f"no exercise '{exercise}' was graded{nearest(exercise, old['exercises'])}")
    decided = read_decisions(out)
    of = old["exercises"][exercise]["of"]
    if points is not None and not 0 <= points <= of:
        raise ValueError(f"'{exercise}' has from 0 to {of:g} points; given: {points:g}")
    settings = _settings(out / "settings.json")
    desk = Desk(**settings.pop("desk"))
    if points is None:
        store.write_whole(path, json.dumps(old | {"fingerprint": "asked for again"}, indent=1))
        grade(out=out, **settings, desk=desk)
        again = store.read_result(path, student) or old
    own = [row for row in decided if (row["student"], row["exercise"]) == (student, exercise)]
    by_hand = bool(own) and own[-1]["by"] == "hand"
    was = own[-1]["new"] if by_hand else f"{old['exercises'][exercise]['points']:g}"
    now = points if points is not None else again["exercises"][exercise]["points"]
    when = datetime.now().isoformat(sep=" ", timespec="seconds")
    row = {"when": when, "student": student, "exercise": exercise, "old": was, "new": f"{now:g}"}
    decide(out, row | {"because": because, "by": "judge" if points is None else "hand"})
    return grade(out=out, **settings, desk=desk)


def _settings(path: Path) -> dict[str, Any]:
    """Return what the last run was told; ValueError where its file is missing or isn't one."""
    try:
        found = json.loads(path.read_text("utf-8"))
        found["desk"]["due"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"'{path}', where grade keeps what it was told, can't be read: grade first"
        ) from error
    return dict(found)
