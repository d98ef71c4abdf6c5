"""Late work: when something was due, how late it came, and what that costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from dl_course.grading.names import identity, printable
from dl_course.grading.results import plain, read_columns


@dataclass(frozen=True)
class LateRule:
    """When work is due and what a late day costs.

    due: a local time · percent: of the points that were earned, for each day begun after the grace ·
    grace: minutes that cost nothing · most: percent that lateness can cost · extensions: by student, another
    time. ValueError for percents outside [0, 100] and a grace below 0.
    """

    due: datetime
    percent: float = 10.0
    grace: float = 0.0
    most: float = 100.0
    extensions: Mapping[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in {"late": self.percent, "late-most": self.most}.items():
            if not 0 <= value <= 100:
                raise ValueError(f"{name} is a percentage from 0 to 100; given: {value:g}")
        if not 0 <= self.grace < math.inf:
            raise ValueError(f"grace is a number of minutes from 0 up; given: {self.grace:g}")

    def lost(self, student: str, handed_in: datetime) -> tuple[float, str]:
        """Return the share of the points that lateness costs, in [0, 1], and why in words, "" if nothing."""
        due = self.extensions.get(student, self.due)
        late = handed_in.astimezone() - due.astimezone()  # clocks may have been changed in between
        if late <= timedelta(minutes=self.grace):
            return 0.0, ""
        days = math.ceil(late / timedelta(days=1))
        share = min(days * self.percent, self.most) / 100
        extended = ", extended" if student in self.extensions else ""
        return share, f"{in_words(late)} late (due {due:%Y-%m-%d %H:%M}{extended}): −{100 * share:g} %"


def in_words(span: timedelta) -> str:
    """Return a positive span in its two largest units, such as "1 day 3 h"."""
    minutes = max(1, math.ceil(span.total_seconds() / 60))
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    named = [(days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min")]
    said = [f"{count} {unit}" for count, unit in named if count]
    return " ".join(said[:2])


def moment(text: str) -> datetime:
    """Return "2026-11-29 23:59", "2026-11-29T23:59" or a day's end ("2026-11-29"), local; ValueError."""
    try:
        found = datetime.fromisoformat(text.strip())
        if not 1970 < found.year < 9999:
            raise ValueError("no year of any work")
    except ValueError as error:
        raise ValueError(f"'{printable(text, 60)}' is no time: write 2026-11-29 23:59") from error
    if not re.search(r"[ T:]", text.strip()):
        found = found.replace(hour=23, minute=59, second=59)
    return found if found.tzinfo is None else found.astimezone().replace(tzinfo=None)


def read_times(path: Path) -> dict[str, datetime]:
    """Return the times of a CSV with the columns student and due (or time), by `identity`.

    ValueError names who has a wrong one, or two.
    """
    times: dict[str, datetime] = {}
    for row in read_columns(path, "student"):
        name = plain(row["student"].strip())
        if "due" not in row and "time" not in row:
            raise ValueError(f"{path}: takes a CSV with the columns student and due; it has {list(row)}")
        try:
            found = moment(row["due"] if "due" in row else row["time"])
        except ValueError as error:
            raise ValueError(f"{path}, {printable(name, 60)}: {error}") from error
        if times.setdefault(identity(name), found) != found:
            raise ValueError(f"{path} has two times of '{printable(name, 60)}': keep one")
    return times
