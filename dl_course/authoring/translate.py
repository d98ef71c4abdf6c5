"""What `dl-course translate` does: every chapter, or those named; a table, an update, a check, a look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polib

from dl_course.authoring.messages import Message, messages
from dl_course.authoring.translation import (
    catalogue,
    code_is_kept,
    complaints,
    path_of,
    read_po,
    translated,
    updated,
)
from dl_course.notebooks import Notebook, read, write
from dl_course.registry import nearest


def chapters(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the built chapters, or those named ("01", "01_setup"); ValueError for an unknown one."""
    paths = sorted((root / "chapters").glob("*.ipynb"))
    by_name = {name: path for path in paths for name in (path.stem, path.stem.partition("_")[0])}
    for name in names:
        if name not in by_name:
            raise ValueError(f"no chapter is named '{name}'{nearest(name, by_name)}")
    return [by_name[name] for name in names] or paths


def update(root: Path, names: Sequence[str], language: str) -> list[str]:
    """Bring catalogues up to date, and begin those that are named; return a line about each."""
    said = []
    for chapter in chapters(root, names):
        path = path_of(root, language, chapter.stem)
        if names or path.exists():
            wanted = messages(read(chapter))
            path.parent.mkdir(parents=True, exist_ok=True)
            po = updated(read_po(path), wanted)
            po.save(str(path), newline="\n")
            said.append(_line(path, po, wanted))
    return said or ["no chapter is being translated; name one to begin, such as 01"]


def state(root: Path, names: Sequence[str], language: str) -> list[str]:
    """Return a line about each chapter: how much of it is translated, and whether readers get it."""
    lines = []
    for chapter in chapters(root, names):
        path = path_of(root, language, chapter.stem)
        wanted = messages(read(chapter)) if path.exists() else []
        lines.append(_line(path, read_po(path), wanted) if wanted else f"{path.name}: not begun")
    return lines


def _line(path: Path, po: polib.POFile, wanted: Sequence[Message]) -> str:
    keys = {(each.context, each.text) for each in wanted}
    there = [e for e in po if ((e.msgctxt or ""), e.msgid) in keys and e.msgstr]
    fuzzy = sum(e.fuzzy for e in there)
    counts = f"{len(there) - fuzzy} translated, {fuzzy} fuzzy, {len(keys) - len(there)} missing"
    return f"{path.name}: {po.metadata.get('X-State')}: {counts}"


def check(root: Path, names: Sequence[str], language: str) -> list[str]:
    """Return what is wrong with the catalogues that are there; [] where nothing is."""
    wrong = []
    for chapter in chapters(root, names):
        path = path_of(root, language, chapter.stem)
        if path.exists():
            notebook = read(chapter)
            po = read_po(path)
            wrong += [f"{path.name}: {each}" for each in complaints(po, messages(notebook))]
            if not code_is_kept(notebook, translated(notebook, catalogue(po), language)):
                wrong.append(
                    f"{path.name}: a docstring breaks its cell's code: look for quotes or backslashes"
                )
    known = {chapter.stem for chapter in chapters(root, [])} | {"README", "TEACHING"}
    strays = sorted(path_of(root, language, "x").parent.glob("*.po"))
    return wrong + [f"{path.name}: there is no such chapter" for path in strays if path.stem not in known]


def render(root: Path, names: Sequence[str], language: str, out: Path) -> list[Path]:
    """Write translated chapters, drafts too, to a folder to look at; return where."""
    written = []
    for chapter in chapters(root, names):
        path = path_of(root, language, chapter.stem)
        if path.exists():
            write(in_language(root, chapter, language), out / chapter.name)
            written.append(out / chapter.name)
    return written


def in_language(root: Path, chapter: Path, language: str) -> Notebook:
    """Return a built chapter in another language; what isn't translated stays English."""
    po = read_po(path_of(root, language, chapter.stem))
    return translated(read(chapter), catalogue(po), language)
