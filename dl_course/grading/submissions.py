"""Submissions in a folder: whose they are, and their files; nothing is followed, parsed or run here."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

MOST_BYTES = 2**28
MOST_FILES = 100


@dataclass(frozen=True)
class Submission:
    """A student's name, and the file or folder that was handed in."""

    student: str
    path: Path

    def files(self, chapter: str) -> tuple[dict[str, bytes], str]:
        """Return the contents by relative name, and the notebook's name; ValueError says why there is none.

        Of several notebooks, those whose name begins with the chapter's number go first, then by name.
        """
        if self.path.is_symlink():
            raise ValueError("a symbolic link was handed in; links are not followed")
        if not self.path.is_dir():
            return {self.path.name: _content(self.path)}, _notebook([self.path], chapter).name
        paths = list(_regular_files(self.path))
        notebook = _notebook(paths, chapter)
        beside = [path for path in paths if notebook.parent in path.parents and path.suffix != ".ipynb"]
        if sum(path.lstat().st_size for path in (notebook, *beside)) > MOST_BYTES:
            raise ValueError(f"the files are larger than {MOST_BYTES // 2**20} MiB together")
        files = {str(path.relative_to(notebook.parent)): _content(path) for path in (notebook, *beside)}
        return files, notebook.name


def find_submissions(folder: Path) -> list[Submission]:
    """Return the submissions of a folder, one for each entry that isn't hidden, in the order of names."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder '{folder}' with submissions")
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    shared = Counter(entry.stem for entry in entries)
    return [
        Submission(entry.stem if shared[entry.stem] == 1 else entry.name, entry)
        for entry in entries
    ]  # fmt: skip


def usual_chapter(submissions: list[Submission]) -> str:
    """Return the chapter that most notebooks' names begin with; ValueError where none does."""
    names = [path.name for each in submissions for path in _notebooks(each.path)]
    number = re.compile(r"(?:ch)?(\d\d(?:[a-z](?![^\W_]))?)(?!\d)")  # 05, or 05b of a second part
    found = Counter(match[1] for name in names if (match := number.match(name)))
    if not found:
        raise ValueError("no notebook's name begins with a chapter's number: name it, --chapter 04")
    return found.most_common(1)[0][0]


def printable(text: object, most: int = 300) -> str:
    """Return text on one line, without control and formatting characters, not longer than `most`."""
    shown = "".join(each if each.isprintable() else " " for each in str(text)[: 4 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def file_name(student: str, taken: Iterable[str]) -> str:
    """Return a name for a student's files that is safe everywhere, and none of those taken."""
    safe = re.sub(r"[^\w.-]+", "_", student)[:100].strip(".") or "student"
    lower = {each.lower() for each in taken}  # as some file systems compare
    numbered = (f"{safe}-{number}" for number in count(2))
    return next(name for name in chain([safe], numbered) if name.lower() not in lower)


def _regular_files(folder: Path) -> Iterator[Path]:
    found = 0
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(here, name) for name in sorted(names) if not name.startswith(".")):
            if stat.S_ISREG(path.lstat().st_mode):
                found += 1
                if found > MOST_FILES:
                    raise ValueError(f"more than {MOST_FILES} files were handed in")
                yield path


def _notebooks(path: Path) -> list[Path]:
    try:
        paths = list(_regular_files(path)) if path.is_dir() and not path.is_symlink() else [path]
    except ValueError:
        return []
    return [each for each in paths if each.suffix == ".ipynb"]


def _notebook(paths: list[Path], chapter: str) -> Path:
    notebooks = [path for path in paths if path.suffix == ".ipynb"]
    if not notebooks:
        there = ", ".join(printable(path.name, 40) for path in paths[:3])
        raise ValueError(f"there is no notebook (.ipynb); there is: {there or 'nothing'}")
    return min(notebooks, key=lambda path: (not re.match(rf"(ch)?{chapter}(?![^\W_])", path.name), str(path)))


def _content(path: Path) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("that is no ordinary file")
        if state.st_size > MOST_BYTES:
            raise ValueError(f"the file is larger than {MOST_BYTES // 2**20} MiB")
        return file.read(MOST_BYTES)
