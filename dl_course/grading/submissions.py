"""Submissions in a folder: whose they are, and their files; nothing is followed, parsed or run here."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dl_course.grading.names import identity, printable, visible

MOST_BYTES = 2**28
MOST_FILES = 100
MOST_ENTRIES = 10_000
MOST_DEPTH = 20


@dataclass(frozen=True)
class Submission:
    """A student's name as it stands in every table, and the file or folder that was handed in.

    `key` is what the name is compared by; `note` says, for the instructor, that the name is not its alone.
    """

    student: str
    path: Path
    key: str = ""
    note: str = ""

    def files(self, chapter: str) -> tuple[dict[str, bytes], str]:
        """Return the contents by relative name, and the notebook's name; ValueError says why there is none.

        Of several notebooks, those whose name begins with the chapter's number go first, then by name.
        """
        try:
            return self._files(chapter)
        except OSError as error:  # without the instructor's own paths
            raise ValueError(f"what was handed in can't be read: {error.strerror}") from error

    def _files(self, chapter: str) -> tuple[dict[str, bytes], str]:
        if self.path.is_symlink():
            raise ValueError("a symbolic link was handed in; links are not followed")
        if not self.path.is_dir():
            return {self.path.name: _content(self.path)}, _notebook([self.path], chapter).name
        paths = _regular_files(self.path)
        notebook = _notebook(paths, chapter)
        beside = [path for path in paths if notebook.parent in path.parents and not _is_notebook(path)]
        if sum(path.lstat().st_size for path in (notebook, *beside)) > MOST_BYTES:
            raise ValueError(f"the files are larger than {MOST_BYTES // 2**20} MiB together")
        files = {str(path.relative_to(notebook.parent)): _content(path) for path in (notebook, *beside)}
        return files, notebook.name


def find_submissions(folder: Path) -> list[Submission]:
    """Return the submissions of a folder, one for each entry that isn't hidden, in the order of names.

    A student is called as the folder is, or the notebook without its ending. Entries whose names are one
    person's (in another case or spelling, or a folder and a notebook) are called by their whole names, in
    which everything can be seen, and have a note.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder '{folder}' with submissions")
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    names = [_without_ending(entry) for entry in entries]
    keys = [{identity(entry.name), identity(name)} for entry, name in zip(entries, names, strict=True)]
    taken = Counter(key for pair in keys for key in pair)
    return [
        _submission(entry, name, taken[identity(name)] > 1)
        for entry, name in zip(entries, names, strict=True)
    ]


def _submission(entry: Path, name: str, shared: bool) -> Submission:
    key = identity(name)
    if not shared:
        return Submission(visible(unicodedata.normalize("NFC", name)), entry, key)
    whole = visible(entry.name, ascii_only=True)
    note = f"the name '{printable(key, 60)}' is another hand-in's, too: which one counts, and whose is it?"
    return Submission(whole, entry, key, note)


def _without_ending(entry: Path) -> str:
    return entry.stem if _is_notebook(entry) and (entry.is_symlink() or not entry.is_dir()) else entry.name


def usual_chapter(submissions: Sequence[Submission]) -> str:
    """Return the chapter that most notebooks' names begin with; ValueError where none does."""
    names = [path.name for each in submissions for path in _notebooks(each.path)]
    number = re.compile(r"(?:ch)?(\d\d(?:[a-z](?![^\W_]))?)(?!\d)")  # 05, or 05b of a second part
    found = Counter(match[1] for name in names if (match := number.match(name)))
    if not found:
        raise ValueError("no notebook's name begins with a chapter's number: name it, --chapter 04")
    return found.most_common(1)[0][0]


def _regular_files(folder: Path) -> list[Path]:
    """Return the ordinary files below a folder but for hidden ones, sorted; ValueError beyond the bounds."""
    found: list[Path] = []
    for seen, entry in enumerate(_entries(folder, 0)):
        if seen > MOST_ENTRIES:
            raise ValueError(f"more than {MOST_ENTRIES} files and folders were handed in")
        if entry.is_file(follow_symlinks=False):
            found.append(Path(entry.path))
        if len(found) > MOST_FILES:
            raise ValueError(f"more than {MOST_FILES} files were handed in")
    return sorted(found)


def _entries(folder: Path, depth: int) -> Iterator[os.DirEntry[str]]:
    if depth > MOST_DEPTH:
        raise ValueError(f"folders were handed in that lie more than {MOST_DEPTH} deep in one another")
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    yield from _entries(Path(entry.path), depth + 1)


def _notebooks(path: Path) -> list[Path]:
    try:
        paths = _regular_files(path) if path.is_dir() and not path.is_symlink() else [path]
    except (ValueError, OSError):
        return []
    return [each for each in paths if _is_notebook(each)]


def _is_notebook(path: Path) -> bool:
    return path.suffix.lower() == ".ipynb"


def _notebook(paths: list[Path], chapter: str) -> Path:
    notebooks = [path for path in paths if _is_notebook(path)]
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
