"""A chapter's catalogue, `translations/<language>/NN_name.po`: looked up, brought up to date, checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import polib

from dl_course.authoring.messages import Message, bare, context_of, rewrite, wordless
from dl_course.notebooks import Cell, Notebook

COMPLETE = "complete"  # in the header, "X-State: complete": a reader gets this file; CI holds it to that
DRAFT = "draft"
_CLOSE = 0.6  # difflib's ratio from which an old text counts as the earlier form of a new one

_KEPT = {
    "code": re.compile(r"`[^`]+`"),
    "mathematics": re.compile(r"\$[^$]+\$"),
    "link": re.compile(r"\]\(([^)\s]+)"),
    "placeholder": re.compile(r"\{\w*\}"),
    "number": re.compile(r"\d+(?:[.,]\d+)*"),
}
_ASIDE = re.compile(r"`[^`]+`|\$[^$]+\$|\]\([^)]*\)|\{\w*\}")
_NOTHING = re.compile(r"(?!)")
_NAMES = {"Adam", "Captum", "Colab", "Dask", "Docker", "Linux", "Optuna", "Python", "Windows"}


@dataclass
class Catalogue:
    """Translations by (cell, English), and by the English alone, for a text whose cell has changed."""

    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.anywhere = {text: said for (_, text), said in self.texts.items()}

    def __call__(self, context: str, text: str) -> str:
        """Return the translation, or the English text where there is none."""
        return self.texts.get((context, text)) or self.anywhere.get(text, text)


def path_of(root: Path, language: str, stem: str) -> Path:
    """Return where the translation of a chapter ("01_setup") or of README lies."""
    return root / "translations" / language / f"{stem}.po"


def read_po(path: Path) -> polib.POFile:
    """Return the file's messages, none where there is no file; ValueError says why it can't be read."""
    if not path.exists():
        po = polib.POFile(wrapwidth=100)
        kind = "text/plain; charset=UTF-8"
        language = path.parts[-3] if path.parent.name == "LC_MESSAGES" else path.parent.name
        po.metadata = {"Language": language, "Content-Type": kind, "X-State": DRAFT}
        return po
    try:
        return polib.pofile(str(path), wrapwidth=100)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a catalogue of gettext: {error}") from error


def catalogue(po: polib.POFile) -> Catalogue:
    """Return what may be shown: neither fuzzy messages nor obsolete ones."""
    return Catalogue({(e.msgctxt or "", e.msgid): e.msgstr for e in po if e.translated()})


def is_offered(path: Path) -> bool:
    """True where a translation is there, and says of itself that it is complete."""
    return path.exists() and read_po(path).metadata.get("X-State") == COMPLETE


def translated(notebook: Notebook, translations: Catalogue, language: str) -> Notebook:
    """Return a copy of the notebook in another language; ids, code, tags and outputs are the same."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        _translate(cell, translations)
    copy.metadata["dl_course"] = {"language": language}
    return copy


def _translate(cell: Cell, translations: Catalogue) -> None:
    context = context_of(cell)
    rewrite(cell, lambda text, _: translations(context, text))


def updated(old: polib.POFile, wanted: Sequence[Message]) -> polib.POFile:
    """Return the catalogue of these messages: translations kept, fuzzy where the English changed."""
    new = polib.POFile(wrapwidth=100)
    new.header = old.header
    new.metadata = old.metadata
    exact = {(e.msgctxt or "", e.msgid): e for e in old if not e.obsolete}
    by_text = {e.msgid: e for e in exact.values() if e.msgstr}
    texts = {each.text for each in wanted}
    gone = {text: e for text, e in by_text.items() if text not in texts}
    for each in wanted:
        entry = polib.POEntry(msgctxt=each.context or None, msgid=each.text, comment=each.kind)
        known = exact.get((each.context, each.text))
        if known is None or not known.msgstr:
            known = by_text.get(each.text, known)
        close = [] if known is not None else difflib.get_close_matches(each.text, gone, 1, _CLOSE)
        if known is not None:
            _take_over(entry, known)
        elif close:
            _take_over(entry, gone[close[0]])
            entry.flags = ["fuzzy"]
            entry.previous_msgid = close[0]
        new.append(entry)
    return new


def _take_over(entry: polib.POEntry, known: polib.POEntry) -> None:
    entry.msgstr = known.msgstr
    entry.flags = list(known.flags)
    entry.tcomment = known.tcomment
    entry.previous_msgid = known.previous_msgid


def complaints(po: polib.POFile, wanted: Sequence[Message]) -> Iterator[str]:
    """Yield what is wrong with a catalogue; one that claims to be complete has to be so."""
    there = {(e.msgctxt or "", e.msgid): e for e in po if not e.obsolete}
    by_text = {text: e for (_, text), e in there.items()}  # a cell's id changes with any of its words
    gone = by_text.keys() - {each.text for each in wanted}
    complete = po.metadata.get("X-State") == COMPLETE
    for each in wanted:
        entry = there.get((each.context, each.text)) or by_text.get(each.text)
        where = f"{each.context}: {each.text[:60]!r}"
        if complete and (entry is None or not entry.msgstr):
            yield f"{where} is missing"
        elif complete and entry is not None and entry.fuzzy:
            yield f"{where} is fuzzy: its English text has changed"
        if entry is not None and entry.translated():
            yield from (f"{where} {fault}" for fault in faults(each.text, entry.msgstr))
    if complete and gone:
        yield f"{len(gone)} messages are no longer in the chapter; run: dl-course translate --update"


def faults(english: str, text: str) -> Iterator[str]:
    """Yield what a translation has lost of, or added to, what has to stand in both, or that it is none."""
    if english == text and not wordless(english) and not _only_names(english):
        yield "is the English text"
    for kind, pattern in _KEPT.items():
        aside = _ASIDE if kind == "number" else _NOTHING
        ours = set(pattern.findall(aside.sub(" ", english)))
        theirs = set(pattern.findall(aside.sub(" ", text)))
        if ours != theirs:
            yield f"has another {kind}: lost {sorted(ours - theirs)}, added {sorted(theirs - ours)}"
    if english.startswith("|") and english.count("|") != text.count("|"):
        yield "has another number of columns"
    if _stars(text) > _stars(english):
        yield "has asterisks that readers will see; put a space beside what is bold or italic"


def _only_names(text: str) -> bool:
    words = re.findall(r"[^\W\d_]+", _ASIDE.sub(" ", text))
    return all(word in _NAMES or not word[1:].islower() for word in words)


def _stars(text: str) -> int:
    """Return how many asterisks Markdown leaves as they are, because of what stands beside them."""
    from markdown_it import MarkdownIt

    return MarkdownIt().renderInline(_ASIDE.sub("x", text)).count("*")


def code_is_kept(english: Notebook, other: Notebook) -> bool:
    """True where the code of both notebooks is the same but for docstrings and comments."""
    pairs = zip(english.cells, other.cells, strict=True)
    return all(_same_code(one, two) for one, two in pairs if one.cell_type == "code")


def _same_code(one: Cell, two: Cell) -> bool:
    try:
        return bare(one.source) == bare(two.source)
    except SyntaxError:  # IPython's own lines, which are never rewritten
        return one.source == two.source
