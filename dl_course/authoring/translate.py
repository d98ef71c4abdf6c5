"""What `dl-course translate` does: every text, or those named; a table, an update, a check, a look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import polib

from dl_course.authoring.messages import Message, messages, prose
from dl_course.authoring.templates import sentences
from dl_course.authoring.translation import (
    catalogue,
    code_is_kept,
    complaints,
    is_offered,
    path_of,
    read_po,
    translated,
    updated,
)
from dl_course.language import catalogue_path
from dl_course.notebooks import Notebook, read, write
from dl_course.registry import nearest

DOCUMENTS = ("README", "TEACHING")
PACKAGE = "dl_course"


@dataclass(frozen=True)
class Source:
    """Something that is translated: a chapter, a document, or what the package says; and its catalogue."""

    name: str
    path: Path
    find: Callable[[], list[Message]]

    @cached_property
    def wanted(self) -> list[Message]:
        """Its messages."""
        return self.find()

    @property
    def po(self) -> polib.POFile:
        """Its catalogue, an empty one where there is none yet."""
        return read_po(self.path)

    def __str__(self) -> str:
        if not self.path.exists():
            return f"{self.name}: not begun"
        po = self.po
        keys = {(each.context, each.text) for each in self.wanted}
        there = [e for e in po if ((e.msgctxt or ""), e.msgid) in keys and e.msgstr]
        fuzzy = sum(e.fuzzy for e in there)
        counts = f"{len(there) - fuzzy} translated, {fuzzy} fuzzy, {len(keys) - len(there)} missing"
        return f"{self.name}: {po.metadata.get('X-State')}: {counts}"


def sources(root: Path, names: Sequence[str], language: str) -> list[Source]:
    """Return all, or those named ("01", "01_setup", "README"); ValueError for an unknown one."""
    chapters = sorted((root / "chapters").glob("*.ipynb"))
    find: dict[str, Callable[[], list[Message]]] = {}
    for chapter in chapters:
        find[chapter.stem] = partial(_of_chapter, chapter)
    for path in (root / f"{name}.md" for name in DOCUMENTS):
        if path.exists():
            find[path.stem] = partial(_of_document, path)
    every = {name: Source(name, path_of(root, language, name), how) for name, how in find.items()}
    if (root / PACKAGE).is_dir():
        every[PACKAGE] = Source(PACKAGE, catalogue_path(language), partial(sentences, root / PACKAGE))
    by_name = {path.stem.partition("_")[0]: every[path.stem] for path in chapters} | every
    for name in names:
        if name not in by_name:
            raise ValueError(f"there is no text named '{name}'{nearest(name, by_name)}")
    return [by_name[name] for name in names] or list(every.values())


def _of_chapter(path: Path) -> list[Message]:
    return messages(read(path))


def _of_document(path: Path) -> list[Message]:
    found: dict[Message, None] = {}

    def note(text: str, kind: str) -> str:
        found.setdefault(Message("", text, kind))
        return text

    prose(path.read_text(encoding="utf-8"), note)
    return list({each.text: each for each in reversed(found)}.values())[::-1]


def update(root: Path, names: Sequence[str], language: str) -> list[str]:
    """Bring catalogues up to date, and begin those that are named; return a line about each."""
    said = []
    for source in sources(root, names, language):
        if names or source.path.exists():
            source.path.parent.mkdir(parents=True, exist_ok=True)
            updated(source.po, source.wanted).save(str(source.path), newline="\n")
            if source.name in DOCUMENTS and is_offered(source.path):
                text = document(root, source.name, language)
                document_path(root, source.name, language).write_text(text, encoding="utf-8")
            said.append(str(source))
    return said or ["nothing is being translated; name something to begin, such as 01"]


def state(root: Path, names: Sequence[str], language: str) -> list[str]:
    """Return a line about each text: how much of it is translated, and whether readers get it."""
    return [str(source) for source in sources(root, names, language)]


def check(root: Path, names: Sequence[str], language: str) -> list[str]:
    """Return what is wrong with the catalogues that are there; [] where nothing is."""
    wrong = []
    for source in sources(root, names, language):
        if source.path.exists():
            found = [*complaints(source.po, source.wanted), *_broken(root, source, language)]
            wrong += [f"{source.name}: {each}" for each in found]
    known = {source.name for source in sources(root, [], language)}
    strays = sorted(path_of(root, language, "x").parent.glob("*.po"))
    return wrong + [f"{path.name}: there is no such text" for path in strays if path.stem not in known]


def _broken(root: Path, source: Source, language: str) -> Iterator[str]:
    chapter = root / "chapters" / f"{source.name}.ipynb"
    if chapter.exists() and not code_is_kept(read(chapter), in_language(root, chapter, language)):
        yield "a docstring breaks its cell's code: look for quotes or backslashes"
    written = document_path(root, source.name, language)
    if written.exists() and written.read_text(encoding="utf-8") != document(root, source.name, language):
        yield f"{written.name} is not what its catalogue makes; run: dl-course translate --update"


def render(root: Path, names: Sequence[str], language: str, out: Path) -> list[Path]:
    """Write what is translated, drafts too, to a folder to look at; return where."""
    written = []
    for source in sources(root, names, language):
        chapter = root / "chapters" / f"{source.name}.ipynb"
        if not source.path.exists() or source.name == PACKAGE:
            continue
        path = out / (chapter.name if chapter.exists() else document_path(root, source.name, language).name)
        if chapter.exists():
            write(in_language(root, chapter, language), path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(document(root, source.name, language), encoding="utf-8")
        written.append(path)
    return written


def in_language(root: Path, chapter: Path, language: str) -> Notebook:
    """Return a built chapter in another language; what isn't translated stays English."""
    po = read_po(path_of(root, language, chapter.stem))
    return translated(read(chapter), catalogue(po), language)


def document(root: Path, name: str, language: str) -> str:
    """Return a document of the root, such as README, in another language."""
    lookup = catalogue(read_po(path_of(root, language, name)))
    english = (root / f"{name}.md").read_text(encoding="utf-8")
    return prose(english, lambda text, _: lookup("", text))


def document_path(root: Path, name: str, language: str) -> Path:
    """Return where a document stands in another language: README.zh-CN.md."""
    return root / f"{name}.{language.replace('_', '-')}.md"
