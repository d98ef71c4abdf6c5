"""What the package says, in the reader's language: recognised where it is shown, by a made-up catalogue."""

import json
import re
from pathlib import Path

import polib
import pytest

from dl_course import check, hint, language
from dl_course.authoring.templates import is_prose, sentences
from dl_course.clinic.ward import BEDS
from dl_course.diagnostics.rules.finding import CHECKS, CURVES
from dl_course.diagnostics.rules.report import Finding, Report
from dl_course.doctor import Health, Item
from dl_course.exercises.asking import Asked, ask
from dl_course.exercises.checks import all_exercises
from dl_course.exercises.progress_file import progress
from dl_course.exercises.questions import Choice, all_questions
from dl_course.exercises.results import Box
from dl_course.language import catalogue_path, filled, say, say_page, with_name
from dl_course.widgets import ConvolutionStepper

PACKAGE = Path(__file__).resolve().parent.parent / "dl_course"
SENTENCES = [each.text for each in sentences(PACKAGE)]


def speaking(patch, folder, translations):
    """Let the package speak the made-up language of these translations."""
    po = polib.POFile()
    po.extend(polib.POEntry(msgid=text, msgstr=said) for text, said in translations.items())
    path = folder / "zh_CN" / "LC_MESSAGES" / "dl_course.po"
    path.parent.mkdir(parents=True)
    po.save(str(path))
    patch.setattr(language, "_LOCALE", folder)
    patch.setenv("DL_COURSE_LANGUAGE", "zh_CN")
    language._catalogue.cache_clear()
    language._said.cache_clear()


@pytest.fixture
def chinese(tmp_path, monkeypatch, home):
    """Every sentence of the package stands in 「…」."""
    speaking(monkeypatch, tmp_path / "locale", {text: f"「{text}」" for text in SENTENCES})
    yield
    language._catalogue.cache_clear()
    language._said.cache_clear()


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A handful of translations, with their values in another order."""
    few = {
        "{bad} of {count} inputs are bad": "{count} 个输入里有 {bad} 个是坏的",
        "in eval mode {what}: it is off": "在评估模式下{what}：不对",
        "random numbers are drawn": "抽取了随机数",
        "not looked for: {each}": "没有检查：{each}",
        "needs two whole epochs": "需要完整的两轮",
        "dead-units": "死亡神经元",
    }
    speaking(monkeypatch, tmp_path / "locale", few)
    yield
    language._catalogue.cache_clear()
    language._said.cache_clear()


@pytest.mark.parametrize(
    ("english", "said"),
    [
        ("3 of 10 inputs are bad", "10 个输入里有 3 个是坏的"),
        ("in eval mode random numbers are drawn: it is off", "在评估模式下抽取了随机数：不对"),
        (
            "not looked for: lr-too-low, plateau: needs two whole epochs",
            "没有检查：lr-too-low, plateau：需要完整的两轮",
        ),
        ("3 of 4 inputs are bad; random numbers are drawn", "4 个输入里有 3 个是坏的；抽取了随机数"),
        ("a sentence: that nobody translated", "a sentence: that nobody translated"),
        ("float32 (3,): 1 2 3", "float32 (3,): 1 2 3"),
    ],
)
def test_a_sentence_is_recognised_by_its_template_and_keeps_its_values(few, english, said):
    assert say(english) == said


def test_behind_a_faults_name_stands_what_it_is_called(few):
    assert with_name("dead-units") == "dead-units（死亡神经元）"
    assert with_name("plateau") == "plateau"
    finding = Finding("dead-units", "error", "relu1", "3 of 10 inputs are bad", "Do.")
    assert "dead-units（死亡神经元），位于 relu1\n    found：10 个输入里有 3 个是坏的" in repr(finding)
    assert "<td>10 个输入里有 3 个是坏的</td>" in Report((finding,), {})._repr_html_()
    assert json.loads(Report((finding,), {}).to_json())["findings"][0]["evidence"] == finding.evidence


def test_among_values_only_phrases_of_ours_are_translated(few):
    box = Box("note", "", (("expected", "random numbers are drawn"), ("came out", "dead-units")))
    assert [text for _, text in box._said()] == ["抽取了随机数", "dead-units"]


def test_a_chinese_character_takes_two_columns():
    assert [len(filled(text, 6)) for text in ("ab", "步幅")] == [6, 4]


def test_in_english_everything_stays_as_it_is(few, monkeypatch):
    monkeypatch.setenv("DL_COURSE_LANGUAGE", "en")
    assert say("random numbers are drawn") == "random numbers are drawn"


def test_every_hint_title_diagnosis_question_and_advice_is_a_message(chinese):
    exercises = [each for name, each in all_exercises().items() if each.chapter != "00"]
    shown = [each.title for each in exercises] + [
        text for each in exercises for text in (*each.hints, *each.mistakes)
    ]
    for question in all_questions().values():
        shown += [question.text, question.why, *question.mistakes.values()]
        shown += list(question.options.values()) if isinstance(question, Choice) else []
    shown += [story for story, _ in BEDS.values()]
    rules = [*CHECKS, *CURVES]
    shown += [rule.fault for rule in rules]
    shown += [" ".join(rule.__doc__.rpartition("\n\n")[2].split()) for rule in rules]
    assert len(shown) > 1000
    assert [text for text in shown if is_prose(text) and say(text) == text] == []


def test_a_check_a_hint_and_progress_are_shown_in_the_language_and_values_as_they_are(chinese):
    def standardize(images):
        print("no sentence of the course")
        return images * 0 + 7.0

    result = check(standardize)
    lines = {label: text for label, text in result._said()}
    assert set(lines["「it printed」"].split("\n")) <= {"no sentence of the course", ""}
    assert lines["「next」"] == "「hint(standardize) gives a hint」"
    assert lines["「came out」"].startswith("「float32 (5, 1, 4, 7): 7 7")
    assert repr(result).startswith("✗ 「standardize: not yet (")
    assert result.headline.startswith("standardize: not yet (")  # graders and progress read English
    first = hint("standardize")
    assert f"「{first.lines[0][1]}」" in repr(first)
    assert "「Standardize a batch」" in repr(progress("01"))


def test_a_question_is_asked_and_explained_in_the_language_and_answered_in_english_words_too(chinese):
    name = next(each.id for each in all_questions().values() if isinstance(each, Choice))
    asked = ask(name)
    assert isinstance(asked, Asked)
    assert repr(asked).startswith(f"「{asked.question.text}」\n  a  ")
    asked.answer("a")
    assert "「" in asked.explanation.value
    assert f"「{asked.question.text[:20]}" in asked._repr_mimebundle_()["text/html"].replace(
        "<code>", "`"
    ).replace("</code>", "`")


def test_the_doctor_speaks_the_language(chinese):
    health = Health((Item("memory", "note", "3.0 GiB, 1.0 GiB free", "not installed"),))
    first, fix, last = repr(health).split("\n")
    assert first == "· 「memory」  「3.0 GiB, 1.0 GiB free」"
    assert fix.strip() == "「fix」：「not installed」"
    assert last == "「everything needed is here」"


def test_the_services_page_is_shown_in_the_language_and_its_script_stays(chinese):
    page = (PACKAGE / "deploy" / "page.html").read_text("utf-8")
    said = say_page(page)
    assert '<html lang="zh-CN">' in said
    assert "<h1>「What does it read?」</h1>" in said and 'aria-label="「drawing pad」"' in said
    assert '"「Draw a digit.」"' in said
    assert said.replace("「", "").replace("」", "").replace("zh-CN", "en") == page


def test_a_widgets_script_is_handed_what_it_says_and_no_more(chinese, monkeypatch):
    words = ConvolutionStepper().words
    assert words["To the end"] == "「To the end」" and words["vertical edges"] == "「vertical edges」"
    assert "Draw a digit with mouse or finger." not in words
    monkeypatch.setenv("DL_COURSE_LANGUAGE", "en")
    assert ConvolutionStepper().words == {}


def test_what_the_explorer_says_of_a_layer_is_said_in_the_language(monkeypatch):
    monkeypatch.setenv("DL_COURSE_LANGUAGE", "zh_CN")
    assert say("fc, picture 0: what each unit weighs of its input").startswith("fc，第 0 张图片：")
    refused = (
        "pool, picture 3: pool (AvgPool2d) has no kernels of its own; take a convolution or a linear layer"
    )
    assert re.findall("[a-zA-Z]{2,}", say(refused)) == ["pool", "pool", "AvgPool"]
    assert say("all (38)") != "all (38)"


def test_the_catalogue_travels_in_the_wheel():
    assert catalogue_path("zh_CN").is_relative_to(PACKAGE)
    assert '"**/*.po"' in (PACKAGE.parent / "pyproject.toml").read_text("utf-8")


def test_a_template_without_words_and_a_single_word_are_no_sentences():
    assert not is_prose("{0}: {1}")
    assert not is_prose("float32")
    assert is_prose("not yet")
