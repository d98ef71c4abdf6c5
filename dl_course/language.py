"""Which language a reader sees; English where none is chosen, or where there is no translation."""

from __future__ import annotations

import locale
import os

ENGLISH = "en"
LANGUAGES = ("zh_CN",)  # those that the course is, or is being, translated into


def chosen() -> str:
    """Return the reader's language: DL_COURSE_LANGUAGE, else the system's, if the course has it."""
    asked = os.environ.get("DL_COURSE_LANGUAGE") or locale.getlocale(locale.LC_CTYPE)[0] or ENGLISH
    return named(asked.partition(".")[0])


def named(language: str, strict: bool = False) -> str:
    """Return the course's name of a language, "zh_CN" for "zh", "zh-Hans" or "zh_CN"; else "en".

    Raises ValueError, where strict, for a language that the course doesn't have.
    """
    first = language.replace("-", "_").partition("_")[0].lower()
    known = {each.partition("_")[0]: each for each in (ENGLISH, *LANGUAGES)}
    if strict and first not in known:
        raise ValueError(f"there is no translation into '{language}'; there are: {', '.join(known.values())}")
    return known.get(first, ENGLISH)
