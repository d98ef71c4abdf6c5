"""Results on disk: one JSON file a student, written whole or not at all; tables, rosters, manual marks."""

from __future__ import annotations

import codecs
import csv
import hashlib
import inspect
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dl_course.exercises.judging import Exercise
from dl_course.grading.names import identity, printable, visible
from dl_course.grading.submissions import Submission

Result = dict[str, Any]

_QUOTED = (*"=+-@\uff1d\uff0b\uff0d\uff20'",)  # what makes a cell a formula, and what takes it off


def write_whole(path: Path, text: str) -> None:
    """Write beside the file and rename, so that a run that is stopped leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_result(path: Path, student: str | None = None) -> Result | None:
    """Return a stored result; None where there is none, a damaged one, or another student's than is named."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    marks = found.get("exercises") if isinstance(found, dict) else None
    whole = isinstance(marks, dict) and all(isinstance(each, dict) for each in marks.values())
    return found if whole and student in (None, found.get("student")) else None


def fingerprint(submission: Submission, chapter: str, exercises: Sequence[Exercise], seed: int) -> str:
    """Return what a result depends on: whose it is, the files, the checks, the seed."""
    digest = hashlib.sha256(f"{submission.student}\0{chapter} {seed}".encode())
    for exercise in exercises:
        digest.update(f"{exercise.name} {exercise.points}".encode())
    for module in sorted({inspect.getfile(type(each)) for each in exercises}):
        digest.update(Path(module).read_bytes())
    try:
        for name, content in sorted(submission.files(chapter)[0].items()):
            digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
            digest.update(content)
    except (ValueError, OSError) as error:
        digest.update(str(error).encode("utf-8", "replace"))
    return digest.hexdigest()


def with_changes(new: Result, old: Result | None) -> Result:
    """Note in a new result what the one before it said otherwise."""
    if old is None:
        return new
    before = {name: mark.get("points", 0) for name, mark in old["exercises"].items()}
    after = {name: mark["points"] for name, mark in new["exercises"].items()}
    changed = {name: [before.get(name, 0), points] for name, points in after.items()}
    return new | {"changed": {name: pair for name, pair in changed.items() if pair[0] != pair[1]}}


def grades(results: Sequence[Result], manual: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return a row for each student: points for each exercise and each manual part, the sum, of how many."""
    rows = {}
    for result in results:
        points = {name: mark["points"] for name, mark in result["exercises"].items()}
        parts = manual.get(result["student"], {})
        notes = [result["note"], result.get("late_why", ""), _changes(result), *_flags(result)]
        earned = sum([*points.values(), *(each for each in parts.values() if each == each)])
        lost = {"late": -round(earned * result["late"], 2) or 0.0} if "late" in result else {}
        rows[result["student"]] = {
            **points,
            **parts,
            **lost,
            "points": round(earned + sum(lost.values()), 2),
            "of": result["of"],
            "note": "; ".join(note for note in notes if note),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("student")


def _changes(result: Result) -> str:
    pairs = result.get("changed", {}).items()
    said = ", ".join(f"{name} {old:g} → {new:g}" for name, (old, new) in pairs)
    return f"regraded: {said}" if said else ""


def _flags(result: Result) -> list[str]:
    return [f"{name}: {flag}" for name, mark in result["exercises"].items() for flag in mark["flags"]]


def read_table(path: Path) -> list[list[str]]:
    """Return the rows of a CSV as spreadsheets save it: with commas, semicolons or tabs, in UTF-8 or UTF-16.

    Empty rows are left out. ValueError where it can't be read as one.
    """
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding).lstrip("\ufeff")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} can't be read as a table ({error}): save it as 'CSV UTF-8'") from error
    return [row for row in rows if any(cell.strip() for cell in row)]


def read_columns(path: Path, *names: str) -> list[dict[str, str]]:
    """Return a CSV's rows by its heads, which are compared in lower case; ValueError names a missing one."""
    heads, *rows = read_table(path) or [[]]
    known = [head.strip().lower() for head in heads]
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"{path} has no column '{missing[0]}': its first line must name it; it has {known}")
    return [dict(zip(known, [*row, *[""] * len(known)], strict=False)) for row in rows]


def read_roster(path: Path) -> list[str]:
    """Return a roster's names: a CSV's column "student", else its first.

    ValueError where it is empty, or where two of its names are one but for case, width or unseen signs.
    """
    rows = read_table(path)
    if not rows:
        raise ValueError(f"the roster {path} is empty: one student a line, or a CSV with a column 'student'")
    heads = [each.strip().lower() for each in rows[0]]
    column = heads.index("student") if "student" in heads else 0
    rows = rows[1:] if "student" in heads else rows
    cells = [row[column].strip() for row in rows if len(row) > column]
    return _told_apart([each for each in cells if each], f"the roster {path}")


def _told_apart(names: Sequence[str], where: str) -> list[str]:
    """Return the names, each once; ValueError where two that differ are one person's."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(identity(name), name)
        if other != name:
            both = f"'{visible(other)}' and '{visible(name)}'"
            raise ValueError(f"{where} has both {both}: one student, or two? Tell them apart")
    return list(known.values())


def manual_marks(
    path: Path, parts: Mapping[str, float], students: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Write the sheet of manually graded parts, a row for each student, what is filled in kept; return it.

    ValueError names the cell that is no number from 0 to the part's points.
    """
    filled: dict[str, dict[str, str]] = {}
    if path.exists():
        for row in read_columns(path, "student"):
            if (name := plain(row["student"])) in filled:
                raise ValueError(f"{path} has two rows of '{printable(name, 60)}': keep one")
            filled[name] = row
    heads = {part: part.strip().lower() for part in parts}
    given = {name for name, row in filled.items() if any(map(row.get, heads.values()))}
    names = dict.fromkeys([*students, *(name for name in filled if name in given)])
    rows = {name: [filled.get(name, {}).get(heads[part], "").strip() for part in parts] for name in names}
    write_whole(path, csv_text([["student", *parts], *([_cell(name), *row] for name, row in rows.items())]))
    return {
        name: {part: _number(cell, part, parts[part], name) for cell, part in zip(row, parts, strict=True)}
        for name, row in rows.items()
    }


def _number(cell: str, part: str, most: float, student: str) -> float:
    try:
        value = float(cell or "nan")
    except ValueError:
        value = -1.0
    if value < 0 or value > most:
        raise ValueError(f"{student}, {part}: '{printable(cell, 40)}' is no number from 0 to {most:g}")
    return value


def table_as_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV in which no cell is a formula to a spreadsheet."""
    heads = [table.index.name, *table.columns]
    rows = ([_cell(index), *("" if cell != cell else _cell(cell) for cell in row)] for index, row in zip(
        table.index, table.itertuples(index=False), strict=True))  # fmt: skip
    return csv_text([heads, *rows])


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return quoted(printable(value, 2000))


def quoted(text: str) -> str:
    """Return a cell's text so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text[:1] in _QUOTED else text


def plain(cell: str) -> str:
    """Return the text that `quoted` made a cell of."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _QUOTED else cell


def csv_text(rows: Sequence[Sequence[Any]], end: str = "\n") -> str:
    """Return rows as CSV, each with that end of line."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue()
