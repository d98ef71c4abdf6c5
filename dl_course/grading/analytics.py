"""How a class did, exercise by exercise: shares as a picture, and when learners passed, where they say so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from dl_course.grading.late import moment
from dl_course.grading.submissions import Submission

PROGRESS = "dl_course_progress.json"  # what progress.export() writes
_MOST_BYTES = 2**20
_COLOURS = {"passed": "#029e73", "not yet": "#d55e00", "not attempted": "#949494"}
_ROW = 26  # pixels


def first_passes(submissions: Iterable[Submission], chapter: str) -> dict[str, list[datetime]]:
    """Return the times at which learners passed each exercise, of those who handed in their progress file.

    A file that isn't one, or is larger than a progress file is, says nothing: it is the student's own, and
    no mark depends on it.
    """
    found: dict[str, list[datetime]] = {}
    for each in submissions:
        try:
            files, _ = each.files(chapter)
            entries = _entries(files.get(PROGRESS, b""))
        except ValueError:
            continue
        for name, entry in entries.items():
            if time := _time(entry):
                found.setdefault(name, []).append(time)
    return found


def _entries(content: bytes) -> Mapping[str, Any]:
    if not content or len(content) > _MOST_BYTES:
        return {}
    try:
        entries = json.loads(content)["exercises"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _time(entry: Any) -> datetime | None:
    if (
        not isinstance(entry, dict)
        or entry.get("status") != "passed"
        or not isinstance(entry.get("when"), str)
    ):
        return None
    try:
        return moment(entry["when"])
    except ValueError:
        return None


def in_words(times: Sequence[datetime]) -> str:
    """Return how many passed, and when half of them had: "12, half of them by 2026-11-24 18:05"."""
    if not times:
        return ""
    half = datetime.fromtimestamp(median(time.timestamp() for time in times))
    return f"{len(times)}, half of them by {half:%Y-%m-%d %H:%M}"


def picture(results: Sequence[Mapping[str, Any]]) -> str:
    """Return an SVG of each exercise's shares of passed, not yet and not attempted, with its words."""
    names = list(results[0]["exercises"]) if results else []
    bars = []
    said = []
    for row, name in enumerate(names):
        counts = Counter(each["exercises"][name]["status"] for each in results)
        said.append(f"{name}: " + ", ".join(f"{counts[status]} {status}" for status in _COLOURS))
        left = 0.0
        for status, colour in _COLOURS.items():
            width = 400 * counts[status] / len(results)
            top = row * _ROW + 4
            bars.append(
                f'<rect x="{220 + left:.1f}" y="{top}" width="{width:.1f}" height="18" fill="{colour}"/>'
            )
            left += width
        bars.append(f'<text x="210" y="{row * _ROW + 18}" text-anchor="end">{name}</text>')
    words = "; ".join(said)
    height = len(names) * _ROW + 8
    legend = " · ".join(
        f'<span style="color:{colour}">■</span> {status}' for status, colour in _COLOURS.items()
    )
    head = f'<svg role="img" aria-label="{words}" viewBox="0 0 630 {height}" width="100%" font-size="13">'
    return f"<p>{legend}</p>{head}{''.join(bars)}</svg>" if names else ""
