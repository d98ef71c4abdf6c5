"""What a learner has passed, in one JSON file that survives crashes and two notebooks at once."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from dl_course.exercises.checks import all_exercises
from dl_course.exercises.results import SIGNS, Box

Entries = dict[str, dict[str, Any]]


class Progress:
    """The learner's progress: `progress()` shows it for the course, `progress("01")` for a chapter."""

    @property
    def path(self) -> Path:
        """The file: in $DL_COURSE_HOME, else in the user's data directory."""
        home = os.environ.get("DL_COURSE_HOME") or platformdirs.user_data_path("dl_course")
        return Path(home) / "progress.json"

    def __call__(self, chapter: str | None = None) -> Box:
        """Return what is done and what is next, of one chapter ("01") or of the course."""
        exercises = {name: each for name, each in all_exercises().items() if chapter in (None, each.chapter)}
        if not exercises:
            known = ", ".join(sorted({each.chapter for each in all_exercises().values()}))
            raise ValueError(f"no exercises in chapter '{chapter}'; there are chapters {known}")
        entries = _read(self.path)
        status = {name: entries.get(name, {}).get("status", "not attempted") for name in exercises}
        lines = [
            (f"{each.chapter} {SIGNS[status[name]]}", f"{each.title} ({name})")
            for name, each in exercises.items()
        ]
        left = [name for name in exercises if status[name] != "passed"]
        done = len(exercises) - len(left)
        scope = f"Chapter {chapter}" if chapter else "The course"
        following = ("next", f"{exercises[left[0]].title} ({left[0]})" if left else "all done: well done!")
        kind = "note" if left else "passed"
        return Box(kind, f"{scope}: {done} of {len(exercises)} exercises passed", (*lines, following))

    def record(self, name: str, status: str, **more: str) -> str:
        """Note an outcome, and more about it; return a complaint where the file can't be written, else ""."""

        def update(entries: Entries) -> None:
            old = entries.get(name, {"attempts": 0})
            attempted = status != "not attempted"
            if old.get("status") != "passed" and attempted:
                old |= {"status": status, "when": datetime.now(UTC).isoformat(timespec="seconds")}
            entries[name] = old | {"attempts": old["attempts"] + attempted} | more

        if status == "not attempted":
            return ""
        try:
            self._change(update)
        except (OSError, Timeout) as error:
            return f"not saved: {error}"
        return ""

    def answer_to(self, question: str) -> str:
        """Return the latest answer to a question, "" where there is none."""
        return str(_read(self.path).get(question, {}).get("answer", ""))

    def export(self, path: str | Path = "dl_course_progress.json") -> Path:
        """Copy the progress to a file of your own, to take it to another machine; return its path."""
        _write(Path(path), _read(self.path))
        return Path(path).resolve()

    def import_from(self, path: str | Path) -> Box:
        """Merge an exported file into this machine's progress: what was passed in either stays passed."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file '{path}'; progress.export() writes one on the other machine")
        theirs = _parsed(Path(path))

        def merge(entries: Entries) -> None:
            for name, entry in theirs.items():
                if entries.get(name, {}).get("status") != "passed":
                    entries[name] = entry

        self._change(merge)
        return self()

    def forget(self, names: Iterable[str]) -> None:
        """Remove exercises from the progress, as if they had never been tried."""

        def drop(entries: Entries) -> None:
            for name in names:
                entries.pop(name, None)

        self._change(drop)

    def _change(self, update: Callable[[Entries], None]) -> None:
        with self._locked():
            entries = _read(self.path)
            update(entries)
            _write(self.path, entries)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock"), timeout=10):
            yield

    def __repr__(self) -> str:
        return repr(self())

    def _repr_html_(self) -> str:
        return self()._repr_html_()


def _parsed(path: Path) -> Entries:
    content = json.loads(path.read_text(encoding="utf-8"))
    entries = content["exercises"]
    if not all(
        isinstance(entry, dict) and isinstance(entry.get("attempts"), int) for entry in entries.values()
    ):
        raise ValueError("entries are not as dl_course writes them")
    return entries


def _read(path: Path) -> Entries:
    if not path.exists():
        return {}
    try:
        return _parsed(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        kept = path.with_suffix(f".damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}.json")
        path.replace(kept)
        warnings.warn(
            f"the progress file could not be read ({error}); it is kept as {kept.name}", stacklevel=2
        )
        return {}


def _write(path: Path, entries: Entries) -> None:
    """Write beside the file and rename, so that a crash at any moment leaves the old or the new one."""
    content = json.dumps({"format": 1, "exercises": entries}, indent=1, sort_keys=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


progress = Progress()
