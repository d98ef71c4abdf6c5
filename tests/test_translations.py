"""The translations that are in the repository: held to the chapters that they translate."""

from pathlib import Path

import pytest

from dl_course.authoring import translate
from dl_course.language import LANGUAGES, chosen, named

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_lose_nothing_and_those_that_claim_to_be_complete_are_so(language):
    assert translate.check(ROOT, [], language) == [], "dl-course translate --update, then translate"


def test_the_language_is_what_the_variable_says_else_the_systems_else_english(monkeypatch):
    monkeypatch.setenv("DL_COURSE_LANGUAGE", "zh")
    assert chosen() == "zh_CN"
    monkeypatch.delenv("DL_COURSE_LANGUAGE")
    monkeypatch.setattr("locale.getlocale", lambda category: ("zh_CN", "UTF-8"))
    assert chosen() == "zh_CN"
    monkeypatch.setattr("locale.getlocale", lambda category: ("fr_FR", "UTF-8"))
    assert chosen() == "en"
    monkeypatch.setattr("locale.getlocale", lambda category: (None, None))
    assert chosen() == "en"


@pytest.mark.parametrize("given", ["zh", "zh_CN", "zh-Hans", "ZH"])
def test_a_language_has_several_names(given):
    assert named(given) == "zh_CN"
