"""The instructor's desk: which exercises count and how much, late work, decisions, platforms' forms."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from dl_course.exercises.judging import Exercise
from dl_course.grading import lms
from dl_course.grading.late import LateRule, moment, read_times
from dl_course.grading.names import identity, printable
from dl_course.grading.results import Result, csv_text, plain, quoted, read_columns, write_whole
from dl_course.grading.submissions import Submission
from dl_course.registry import nearest

DECISIONS = "regrades.csv"
_EARLIEST = 86_400.0  # a file's time may be any number
_LATEST = 2.0**34
_HEADS = ["when", "student", "exercise", "old", "new", "because", "by"]


@dataclass(frozen=True)
class Desk:
    """What an instructor sets beside the judging; all of it plain values, so that a run can be repeated.

    only: the exercises that count, all if empty · points: what they are worth, by name, as for release ·
    due: "2026-11-29 23:59"; "": nothing is late · late: percent of a student's points for a day begun ·
    grace: minutes · late_most: percent at most · extensions: a CSV of student and due · times: a CSV of
    student and time, where a file's own time isn't when it was handed in · format: "canvas" or "moodle",
    whose form marks and feedback are written in, too · assignment: its name there.
    """

    only: Sequence[str] = ()
    points: Mapping[str, float] = field(default_factory=dict)
    due: str = ""
    late: float = 10.0
    grace: float = 0.0
    late_most: float = 100.0
    extensions: str = ""
    times: str = ""
    format: str = ""
    assignment: str = "dl_course"

    def exercises(self, found: Sequence[Exercise]) -> list[Exercise]:
        """Return those that count, with their points; ValueError names one that isn't there."""
        known = {each.name: each for each in found}
        for name in (*self.only, *self.points):
            if name not in known:
                raise ValueError(f"no exercise '{name}' in this chapter{nearest(name, known)}")
        chosen = [copy.copy(known[name]) for name in known if not self.only or name in self.only]
        for each in chosen:
            vars(each)["points"] = self.points.get(each.name, each.points)
        return chosen

    def rule(self) -> LateRule | None:
        """Return the rule for late work, None where nothing is due."""
        if not self.due:
            if self.extensions or self.times:
                raise ValueError("extensions and times mean nothing without a deadline: give --due as well")
            return None
        extensions = read_times(Path(self.extensions)) if self.extensions else {}
        return LateRule(moment(self.due), self.late, self.grace, self.late_most, extensions)

    def handed_in(self) -> dict[str, datetime]:
        """Return when students handed in, by ``identity``, of those whose times the instructor gives."""
        return read_times(Path(self.times)) if self.times else {}


@contextmanager
def opened(submissions: Path) -> Iterator[tuple[Path, str, dict[str, lms.HandedIn]]]:
    """Give a folder of submissions, and of a platform's ZIP which platform's, and whose each entry is."""
    if submissions.suffix.lower() != ".zip":
        yield submissions, "", {}
        return
    with TemporaryDirectory(prefix="dl_course_desk_") as folder:
        platform, known = lms.unpack(submissions, Path(folder))
        yield Path(folder), platform, known


def with_lateness(
    results: Sequence[Result], found: Sequence[Submission], known: Mapping[str, lms.HandedIn],
    rule: LateRule, said: Mapping[str, datetime],
) -> list[Result]:  # fmt: skip
    """Return the results with the share that lateness costs, and why.

    said: times of handing in, by ``identity``; of others the archive's time counts, else the file's.
    """
    by_student = {each.student: each for each in found}
    return [_late(each, rule, by_student.get(each["student"]), known, said) for each in results]


def _late(
    result: Result, rule: LateRule, submission: Submission | None, known: Mapping[str, lms.HandedIn],
    said: Mapping[str, datetime],
) -> Result:  # fmt: skip
    if submission is None:
        return result
    key = identity(submission.student)
    of_platform = known[submission.path.name].time if submission.path.name in known else None
    of_file = datetime.fromtimestamp(min(max(submission.path.lstat().st_mtime, _EARLIEST), _LATEST))
    share, why = rule.lost(key, said.get(key) or of_platform or of_file)
    return result | {"late": share, "late_why": why}


def read_decisions(out: Path) -> list[dict[str, str]]:
    """Return the decisions of regrade requests, the oldest first."""
    path = out / DECISIONS
    rows = read_columns(path, *_HEADS) if path.exists() else []
    for row in rows:
        if not re.fullmatch(r"\d+(\.\d+)?(e[-+]?\d+)?", row["new"].strip()):
            raise ValueError(
                f"{path}: the new mark of {row['student']} is '{printable(row['new'], 40)}', no number"
            )
    return [{key: plain(row[key]) for key in _HEADS} for row in rows]


def decide(out: Path, row: Mapping[str, Any]) -> None:
    """Keep a decision: when, student, exercise, old and new mark, because, by whom (judge or hand)."""
    rows = [*read_decisions(out), {key: printable(row[key], 1000) for key in _HEADS}]
    write_whole(
        out / DECISIONS, csv_text([_HEADS, *([quoted(each[key]) for key in _HEADS] for each in rows)])
    )


def with_decisions(results: Sequence[Result], decisions: Sequence[Mapping[str, str]]) -> list[Result]:
    """Return the results with every decision's reason as a note; a mark by hand counts where it came last."""
    changed = []
    for result in results:
        result = copy.deepcopy(result)
        own = [row for row in decisions if row["student"] == result["student"]]
        last = {row["exercise"]: row for row in own}
        for row in own:
            mark = result["exercises"].get(row["exercise"])
            if mark is not None:
                mark["notes"].append(f"regraded {row['old']} → {row['new']}: {row['because']}")
                if row["by"] == "hand" and row is last[row["exercise"]]:
                    mark["points"] = float(row["new"])
        result["points"] = round(sum(mark["points"] for mark in result["exercises"].values()), 2)
        changed.append(result)
    return changed


def hand_back(
    out: Path, table: pd.DataFrame, pages: Mapping[str, Path], known: Mapping[str, lms.HandedIn], desk: Desk
) -> None:
    """Write a platform's marks and its feedback ZIP; known: whose each page is, by student."""
    rows = table.reset_index().to_dict("records")
    marks = lms.marks_for(desk.format, rows, known, desk.assignment)
    write_whole(out / f"grades_{desk.format}.csv", marks)
    lms.feedback_zip(out / f"feedback_{desk.format}.zip", desk.format, pages, known)
