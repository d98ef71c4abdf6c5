"""Which language a reader sees, and what the package says in it. English is the key, and what is shown else.

Nothing calls this where a text is made: a sentence is translated where it is shown. One with values in it is
recognised by its template, "{n} of {total} images are constant", which stands in the catalogue.
"""

from __future__ import annotations

import locale
import os
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

ENGLISH = "en"
LANGUAGES = ("zh_CN",)  # those that the course is, or is being, translated into
PLACEHOLDER = re.compile(r"\{(\w+)\}")

_SIMPLIFIED = re.compile(r"zh_(CN|SG|Hans)|Chinese \(Simplified\)")  # as systems name it
_LOCALE = Path(__file__).parent / "locale"
_WORDS = re.compile(r"[a-z]{2,}\W.*[a-z]|[a-z] ?\w*[a-z]{2}", re.DOTALL)
_JOINTS = {"\n": "\n", ". ": "。", "; ": "；", ": ": "：", " (": " ("}
# What a widget's script says: between tags, in a label, to be said, as a name in a table, as a sentence.
SCRIPT_TEXT = re.compile(
    r"""(?<!=)>\s*([^<>"(){}=;]*[a-z]{2}[^<>"(){}=;]*?)(?=\s*</?\w)|(?:aria-label|alt)="([^"]+)"|"""
    r"""say\("([^"]+)"|^  "([a-z ]+)": |"([A-Z][^"<>]* [^"<>]*)\"""",
    re.MULTILINE,
)
# What a page shows: between tags, in a label, or as a sentence of its script.
PAGE_TEXT = re.compile(
    r"(?<=>)[^<>=;{}]*[a-z]{2}[^<>=;{}]*(?=</?\w)"
    r'|(?<=aria-label=")[^"]+|(?<=")[A-Z][^"<>;{}]* [^"<>;{}]*(?=")'
)


def chosen() -> str:
    """Return the reader's language: DL_COURSE_LANGUAGE, else the system's, if the course has it."""
    if asked := os.environ.get("DL_COURSE_LANGUAGE"):
        return named(asked)
    return "zh_CN" if _SIMPLIFIED.match(locale.getlocale(locale.LC_CTYPE)[0] or "") else ENGLISH


def named(language: str, strict: bool = False) -> str:
    """Return the course's name of a language, "zh_CN" for "zh", "zh-Hans" or "zh_CN.UTF-8"; else "en".

    Raises ValueError, where strict, for a language that the course doesn't have.
    """
    first = re.split(r"[-_.]", language)[0].lower()
    known = {each.partition("_")[0]: each for each in (ENGLISH, *LANGUAGES)}
    if strict and first not in known:
        raise ValueError(f"there is no translation into '{language}'; there are: {', '.join(known.values())}")
    return known.get(first, ENGLISH)


def catalogue_path(language: str) -> Path:
    """Return where the translations of what the package says lie."""
    return _LOCALE / language / "LC_MESSAGES" / "dl_course.po"


def say(text: str, language: str | None = None) -> str:
    """Return what the package shows to its reader, in the reader's language or that one, or as it is."""
    language = language or chosen()
    return text if language == ENGLISH else _said(text, language)


def titled(title: str, text: str) -> str:
    """Return "title: text", both in the reader's language."""
    return f"{say(title)}{': ' if chosen() == ENGLISH else _JOINTS[': ']}{say(text)}"


def placed(text: str, where: str) -> str:
    """Return "text at where" in the reader's language."""
    return f"{text}{' at ' if chosen() == ENGLISH else '，位于 '}{place(where)}"


def place(where: str) -> str:
    """Return "class 3" in the reader's language; one word, such as a layer's name, stays."""
    return say(where) if " " in where else where


def say_phrase(text: str) -> str:
    """Return the translation of a phrase of ours among values: word for word, so that a value stays."""
    exact = {} if chosen() == ENGLISH else _catalogue(chosen())[0]
    return exact.get(text, text) if " " in text else text


def words_in(script: str) -> dict[str, str]:
    """Return the translations of what a page's script says, by the English; {} in English."""
    exact = {} if chosen() == ENGLISH else _catalogue(chosen())[0]
    return {text: said for text, said in exact.items() if text in script}


def filled(text: str, columns: int) -> str:
    """Return the text, filled with spaces to so many columns of a terminal; Chinese characters take two."""
    return text + " " * (columns - width(text))


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def say_page(html: str) -> str:
    """Return a page of ours in the reader's language."""
    language = chosen().replace("_", "-")
    said = PAGE_TEXT.sub(lambda found: say(found[0]), html)
    return said.replace('<html lang="en">', f'<html lang="{language}">')


def with_name(fault: str) -> str:
    """Return a fault's name, with what it is called in the reader's language behind it."""
    name = say(fault)
    return fault if name == fault else f"{fault}（{name}）"


@dataclass(frozen=True)
class Template:
    """A sentence with {placeholders}: how it is recognised, and its translation."""

    pattern: re.Pattern[str]
    fragment: str  # its longest literal part: a text without it needs no closer look
    translation: str

    @classmethod
    def of(cls, english: str, translation: str) -> Template:
        """Return the template of an English sentence."""
        parts = PLACEHOLDER.split(english)
        literal = parts[::2]
        pattern = "".join(re.escape(part) if i % 2 == 0 else "(.*?)" for i, part in enumerate(parts))
        order = {name: f"{{{i}}}" for i, name in enumerate(parts[1::2])}
        ready = PLACEHOLDER.sub(lambda found: order[found[1]], translation)
        return cls(re.compile(pattern, re.DOTALL), max(literal, key=len), ready)

    def fill(self, text: str, language: str) -> str | None:
        """Return the translation with the text's values, None where the text is another sentence."""
        found = self.pattern.fullmatch(text) if self.fragment in text else None
        if found is None:
            return None
        values = [_said(each, language) if " " in each else each for each in found.groups()]
        return re.sub(r"\{(\d+)\}", lambda place: values[int(place[1])], self.translation)


@cache
def _catalogue(language: str) -> tuple[dict[str, str], list[Template]]:
    """Return whole sentences, and templates, those with most words first."""
    import polib

    path = catalogue_path(language)
    entries = polib.pofile(str(path)).translated_entries() if path.exists() else []
    exact = {entry.msgid: entry.msgstr for entry in entries}
    several = sorted(filter(PLACEHOLDER.search, exact), key=lambda each: -len(PLACEHOLDER.sub("", each)))
    return exact, [Template.of(each, exact[each]) for each in several]


@lru_cache(4096)
def _said(text: str, language: str) -> str:
    exact, templates = _catalogue(language)
    if text in exact or not _WORDS.search(text):
        return exact.get(text, text)
    filled = (template.fill(text, language) for template in templates)
    found = next((each for each in filled if each is not None), None)
    return _in_parts(text, language) if found is None else found


def _in_parts(text: str, language: str) -> str:
    """Return a text that was put together of several, each translated by itself."""
    for joint, theirs in _JOINTS.items():
        one, here, other = text.partition(joint)
        if here:
            said = _said(one, language), _said(other, language)
            if said != (one, other):
                return theirs.join(said)
    return text
