"""Names of students and texts from strangers: made visible, compared, turned into names of files."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_LONGEST = 120
_PLAIN = re.compile(r"(?!.*-[0-9a-f]{12}$)[a-z0-9][a-z0-9_.-]{0,79}")


def printable(text: object, most: int = 300) -> str:
    """Return text on one line, without control and formatting characters, not longer than `most`."""
    shown = "".join(each if each.isprintable() else " " for each in str(text)[: 4 * most])
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def visible(name: str, ascii_only: bool = False) -> str:
    r"""Return a name in which everything can be seen: a zero-width space as \u200b, a second space as \x20.

    Different names stay different, `printable` changes nothing in them, and long ones end in a digest.
    """
    spaced = re.sub(r"^ | $|(?<= ) ", "\x00", name)
    shown = "".join(_shown(each, ascii_only) for each in spaced).replace(r"\x00", r"\x20")
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 20]}…{_digest(name)}"


def _shown(character: str, ascii_only: bool) -> str:
    plain = character.isascii() if ascii_only else not _UNSEEN.match(character)
    if plain and character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode()


def identity(name: str) -> str:
    """Return what two spellings of a name have in common: without case, width, unseen signs."""
    text = unicodedata.normalize("NFKC", name)
    text = "".join(
        each for each in text if each.isspace() or (each.isprintable() and not _UNSEEN.match(each))
    )
    text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.split()) or name


def file_name(student: str) -> str:
    """Return a name for a student's files: safe everywhere, and never that of another student's files."""
    if _PLAIN.fullmatch(student):
        return student
    safe = re.sub(r"[^a-z0-9_.-]+", "_", student.lower())[:60].strip("._") or "student"
    return f"{safe}-{_digest(student)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
