"""Learning platforms: what Canvas, Moodle and Google Classroom hand out, and what they take back.

Names are read by the platforms' own patterns:

Canvas     doejane_12345_67890_04_training.ipynb, doejane_LATE_12345_67890_04_training-1.ipynb
Moodle     Jane Doe_12345_assignsubmission_file_/04_training.ipynb, or the same without folders
Classroom  Jane Doe - 04_training.ipynb
"""

from __future__ import annotations

import lzma
import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from dl_course.files import atomic
from dl_course.grading.names import printable
from dl_course.grading.results import csv_text, quoted
from dl_course.grading.submissions import MOST_BYTES

PLATFORMS = ("canvas", "moodle", "classroom")
_CANVAS = re.compile(r"(?P<name>[^_/]+)_(?:LATE_)?(?P<id>\d+)_(?P<attachment>\d+)_(?P<file>.+)")
_MOODLE = re.compile(r"(?P<name>[^_/]+)_(?P<id>\d+)_assignsubmission_file(?:_?/|_)(?P<file>.+)")
_MOODLE_TEXT = re.compile(r"[^_/]+_\d+_assignsubmission_(?!file)\w+(?:_?/|_).+")
_CLASSROOM = re.compile(r"(?P<name>[^/]+?) - (?P<file>[^/]+)")
_MOST_PACKED = 2**34  # bytes that a class may hand in, unpacked
_MOST_FILES = 50_000
_DAMAGED = (NotImplementedError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class HandedIn:
    """One student's part of a platform's archive.

    id: the platform's own number · late: Canvas's own word · time: when the last file came, as the archive
    says · problems: what couldn't be unpacked.
    """

    student: str
    id: str = ""
    attachment: str = ""
    late: bool = False
    time: datetime | None = None
    problems: tuple[str, ...] = ()


def unpack(archive: Path, folder: Path) -> tuple[str, dict[str, HandedIn]]:
    """Unpack a platform's ZIP into a folder with an entry for each student; return the platform, and whose.

    ValueError where it is no ZIP, no names in it have a platform's form, or it unpacks to more than a class
    hands in. What leads out of the folder (.., an absolute name, a link) is passed over, as in ``zipfile``.
    """
    try:
        packed = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(f"'{archive}' is no ZIP file: {error}") from error
    with packed:
        files = [each for each in packed.infolist() if not each.is_dir()]
        if len(files) > _MOST_FILES or sum(each.file_size for each in files) > _MOST_PACKED:
            raise ValueError(f"'{archive}' holds more than {_MOST_FILES} files, or {_MOST_PACKED >> 30} GiB")
        platform, parts = _recognised([each.filename for each in files])
        found = _students(files, parts)
        problems: dict[str, list[str]] = {}
        room: dict[str, int] = {}
        for each in files:
            if each.filename in found:
                student = found[each.filename].student
                left = room.setdefault(student, MOST_BYTES)
                problem = _unpack_one(packed, each, folder / student, parts[each.filename], left)
                if problem:
                    problems.setdefault(student, []).append(problem)
                room[student] = left - each.file_size
    known = {each.student: each for each in found.values()}
    return platform, {
        name: replace(each, problems=tuple(problems.get(name, ()))) for name, each in known.items()
    }


def _recognised(names: Sequence[str]) -> tuple[str, dict[str, dict[str, str]]]:
    """Return the platform whose form most of the names have, and the parts of each of those names."""
    plain = [name for name in names if not PurePosixPath(name).name.startswith((".", "._"))]
    best: dict[str, dict[str, str]] = {}
    platform = ""
    for candidate, pattern in zip(PLATFORMS, (_CANVAS, _MOODLE, _CLASSROOM), strict=True):
        matches = {name: pattern.fullmatch(name) or pattern.fullmatch(_without_top(name)) for name in plain}
        parts = {name: match.groupdict() for name, match in matches.items() if match}
        if len(parts) > len(best):
            platform, best = candidate, parts
    others = [name for name in plain if name not in best and not _MOODLE_TEXT.search(name)]
    if not best or len(others) > len(best):
        shown = ", ".join(plain[:3]) or "nothing"
        raise ValueError(f"no platform's names: Canvas, Moodle and Classroom are known; it holds {shown}")
    return platform, best


def _without_top(name: str) -> str:
    """Return a name without the folder that some downloads put around all."""
    return name.partition("/")[2]


def _students(
    files: Iterable[zipfile.ZipInfo], parts: Mapping[str, Mapping[str, str]]
) -> dict[str, HandedIn]:
    """Return whose each file is. Two students of one name are told apart by the platform's numbers."""
    called = _told_apart({(_shown(each["name"]), each.get("id", "")) for each in parts.values()})
    found = {}
    last: dict[str, datetime] = {}
    for each in files:
        part = parts.get(each.filename)
        if part is not None:
            student = called[_shown(part["name"]), part.get("id", "")]
            time = _time(each)
            last[student] = max(time, last.get(student, time)) if time else last.get(student, datetime.min)
            late = "_LATE_" in each.filename
            found[each.filename] = HandedIn(student, part.get("id", ""), part.get("attachment", ""), late)
    times = {student: time for student, time in last.items() if time > datetime.min}
    return {name: replace(each, time=times.get(each.student)) for name, each in found.items()}


def _told_apart(people: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return what each is called, by name and number: by the name where nobody else is called so."""
    called = {each: each[0] for each in people}
    while shared := [name for name, count in Counter(called.values()).items() if count > 1]:
        called |= {each: f"{each[0]} {each[1]}" for each, name in called.items() if name in shared}
    return called


def _time(each: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*each.date_time)
    except ValueError:  # an archive may hold any numbers, such as month 0
        return None


def _shown(name: str) -> str:
    """Return a name that can be a folder's."""
    return printable(name.replace("\\", " "), 100).lstrip(". ") or "unnamed"


def _unpack_one(
    packed: zipfile.ZipFile, each: zipfile.ZipInfo, folder: Path, part: Mapping[str, str], left: int
) -> str:
    """Unpack one file, if it has at most so many bytes; return what is wrong with it, "" if nothing."""
    file = part["file"]
    inside = PurePosixPath(file)
    link = (each.external_attr >> 16) & 0o170000 == 0o120000
    if inside.is_absolute() or ".." in inside.parts or "\\" in file or link:
        return f"passed over, since it leads out of the folder: {printable(file, 60)}"
    path = folder.joinpath(*inside.parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # two files of one name
            path = path.with_stem(f"{path.stem} {part.get('attachment') or 'again'}")
        with packed.open(each) as source, path.open("xb") as target:
            shutil.copyfileobj(source, _Bounded(target, left))
    except (*_DAMAGED, OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        # Too long a name, too large, locked by a password, damaged.
        with suppress(OSError):
            path.unlink()
        return f"not unpacked: {printable(file, 60)} ({printable(error, 100)})"
    return ""


class _Bounded:
    """A file that takes so many bytes and no more, whatever the archive said of its size."""

    def __init__(self, file: Any, most: int) -> None:
        self.file = file
        self.left = most

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(
                f"a file of the archive is larger than {MOST_BYTES >> 20} MiB, or all are together"
            )
        self.file.write(data)


def marks_for(
    platform: str, rows: Sequence[Mapping[Any, Any]], known: Mapping[str, HandedIn], assignment: str
) -> str:
    """Return a CSV that the platform imports. rows: student, points, of, note · assignment: its name there.

    Canvas matches by ID; its file's second line says how many points are possible. Moodle's grading worksheet
    matches by Identifier. ValueError for another platform, and where nobody has the platform's number.
    """
    numbered = [row for row in rows if row["student"] in known and known[row["student"]].id]
    if platform not in ("canvas", "moodle"):
        raise ValueError(f"marks can be written for canvas and moodle; given: '{platform}'")
    if not numbered:
        raise ValueError(f"nobody's {platform} number is known: grade the ZIP file that {platform} hands out")
    if platform == "canvas":
        most = max((row["of"] for row in numbered), default=0)
        lines = [["Student", "ID", "SIS Login ID", "Section", assignment]]
        lines.append(["    Points Possible", "", "", "", f"{most:g}"])
        lines += [
            [row["student"], known[row["student"]].id, "", "", f"{row['points']:g}"] for row in numbered
        ]
    else:
        lines = [["Identifier", "Full name", "Grade", "Maximum Grade", "Feedback comments"]]
        lines += [
            [
                f"Participant {known[row['student']].id}",
                row["student"],
                f"{row['points']:g}",
                f"{row['of']:g}",
                row["note"],
            ]
            for row in numbered
        ]
    return csv_text([[quoted(cell) for cell in line] for line in lines], end="\r\n")


def feedback_zip(path: Path, platform: str, pages: Mapping[str, Path], known: Mapping[str, HandedIn]) -> None:
    """Pack the students' pages, by student, in the form in which the platform gives them back to each."""
    with atomic(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
        for student, page in pages.items():
            packed.write(page, _feedback_name(platform, student, known.get(student)))


def _feedback_name(platform: str, student: str, who: HandedIn | None) -> str:
    if who and who.id and platform == "canvas":
        return f"{student}_{who.id}_{who.attachment}_feedback.html"
    if who and who.id and platform == "moodle":
        return f"{student}_{who.id}_assignsubmission_file_/feedback.html"
    return f"{student} - feedback.html"
