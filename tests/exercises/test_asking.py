"""Questions before a cell is run: what they accept and say, what is remembered; and the course's own."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from dl_course import ask, progress
from dl_course.exercises import questions
from dl_course.exercises.asking import card_html
from dl_course.exercises.questions import Choice, Number, Shape, all_questions

ROOT = Path(__file__).resolve().parents[2]
COURSE = all_questions()
CHOICES = [question for question in COURSE.values() if isinstance(question, Choice)]

COLOUR = Choice(
    "90-colour", "Which of them is `red`?", lambda: "Blood", "It is.", {"Milk": "White.", "Tar": "Black."}
)
HALF = Number("90-half", "Half of 3?", lambda: 3 / 2, "3 / 2.", {2: "That is rounded."}, tolerance=0.01)
SIZE = Shape(
    "90-size", "The shape of a picture?", (3, 8, 8), "C, H, W.", {(8, 8, 3): "That is channels last."}
)

every_question = pytest.mark.parametrize("question", COURSE.values(), ids=COURSE.keys())


@pytest.fixture(autouse=True)
def made_up(home, monkeypatch):
    """Three questions of a chapter 90 beside the course's own, and an empty progress file."""
    known = COURSE | {question.id: question for question in (COLOUR, HALF, SIZE)}
    monkeypatch.setattr(questions, "all_questions", lambda: known)
    return home


def entry(home, name):
    return json.loads((home / "progress.json").read_text())["exercises"][name]


def press(form, choice):
    """Press the button beside a choice, and return the status."""
    rows = [row.children for row in form.entries.children]
    next(button for button, words in rows if words.value == choice).click()
    return form.status.value


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("90-colour", ["Blood", "blood", " BLOOD ", {v: k for k, v in COLOUR.options.items()}["Blood"]]),
        ("90-half", [1.5, "1.5", 1.505, torch.tensor(1.5)]),
        (
            "90-size",
            [
                (3, 8, 8),
                [3, 8, 8],
                torch.Size([3, 8, 8]),
                "(3, 8, 8)",
                "3 8 8",
                "3×8×8",
                "torch.Size([3, 8, 8])",
            ],
        ),
    ],
)
def test_a_right_answer_may_be_written_in_several_ways(name, right):
    for answer in right:
        said = ask(name, answer)
        assert said.kind == "passed" and said.lines[0][1] == questions.find_question(name).why, answer


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("90-colour", "Milk", "White."),
        ("90-half", "2", "That is rounded."),
        ("90-half", 700, "The answer is 1.5. 3 / 2."),
        ("90-half", 1.52, "The answer is 1.5. 3 / 2."),
        ("90-size", (8, 8, 3), "That is channels last."),
        ("90-size", "8 8", "The answer is (3, 8, 8). C, H, W."),
    ],
)
def test_a_wrong_answer_gets_its_own_explanation_else_the_right_one(name, wrong, says):
    said = ask(name, wrong)
    assert said.kind == "not yet" and said.lines[0][1] == says
    assert said.headline.startswith("Not quite: ")


@pytest.mark.parametrize(
    ("name", "accepted", "given"),
    [
        ("90-colour", "one of 'a' .*, 'b' .*, 'c' ", ["Wine", "d", 3, None, ("Blood",)]),
        (
            "90-half",
            "a number, such as",
            ["much", True, None, [1, 2], float("nan"), "inf", 10**400, torch.zeros(2)],
        ),
        ("90-size", "a shape, such as", ["flat", 3, None, (1.5, 2), (True, 3), {"N": 1}, "-3, 8, 8"]),
    ],
)
def test_another_kind_of_answer_is_refused_with_what_is_accepted(name, accepted, given, made_up):
    for answer in given:
        with pytest.raises(ValueError, match=f"'{name}' asks for {accepted}.*; given: "):
            ask(name, answer)
    assert not made_up.exists()


def test_an_unknown_question_suggests_the_nearest():
    with pytest.raises(ValueError, match="no question is named '90-color'; did you mean '90-colour'?"):
        ask("90-color")


def test_the_latest_answer_is_remembered_and_nothing_is_graded(made_up):
    before = repr(progress())
    for answer in ("Tar", "Milk", "Blood", "Tar"):
        ask("90-colour", answer)
    kept = entry(made_up, "90-colour")
    assert (kept["answer"], kept["attempts"], kept["status"]) == ("Tar", 4, "passed")
    assert repr(progress()) == before
    assert ask("90-colour").status.value == "Your last answer: Tar"
    assert ask("90-half").status.value == ""


def test_an_answer_that_cant_be_saved_is_still_answered(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "file"))
    said = ask("90-colour", "Milk")
    assert said.lines[0][1] == "White." and said.lines[1][1].startswith("not saved: ")


def test_the_form_answers_by_button_and_says_what_ask_says(made_up):
    form = ask("90-colour")
    assert press(form, "Milk") == "✗ Not quite: Milk" and form.explanation.value == "White."
    assert press(form, "Blood") == "✓ Right: Blood" and form.explanation.value == "It is."
    assert entry(made_up, "90-colour")["attempts"] == 2


def test_the_line_to_type_in_answers_once_by_enter_or_button_and_says_what_it_takes(made_up):
    form = ask("90-size")
    line, button = form.entries.children[0].children
    button.click()
    assert form.status.value == "" and not made_up.exists()
    line.value = "8, 8, 3"  # what the front end sends on Enter, and when a click takes the focus away
    button.click()
    assert form.status.value == "✗ Not quite: (8, 8, 3)" and entry(made_up, "90-size")["attempts"] == 1
    line.value = "square"
    assert "asks for a shape" in form.status.value and form.explanation.value == ""


def test_without_a_kernel_each_choice_opens_to_its_explanation():
    shown = card_html(COLOUR)
    assert shown.count("<details>") == 3 and "<code>red</code>" in shown
    assert re.findall(r"<summary>(.*?)</summary><p>(.)", shown) == [
        (choice, "✓" if choice == "Blood" else "✗") for choice in COLOUR.options.values()
    ]
    assert "1.5. 3 / 2." in card_html(HALF) and "(3, 8, 8). C, H, W." in card_html(SIZE)
    tricky = Choice("90-tags", "Is `a < b`?", "<b>yes</b>", "&", {"no": "…"})
    assert "<code>a &lt; b</code>" in card_html(tricky) and "&lt;b&gt;yes" in card_html(tricky)


def test_what_is_stored_of_a_form_is_the_same_on_every_machine_and_after_an_answer():
    first = ask("90-colour")._repr_mimebundle_()
    ask("90-colour", "Milk")
    again = ask("90-colour")._repr_mimebundle_()
    widget = "application/vnd.jupyter.widget-view+json"
    assert first.pop(widget) != again.pop(widget)
    assert first == again and set(first) == {"text/plain", "text/html"}
    assert first["text/plain"].endswith("To answer: ask('90-colour', answer)")


@every_question
def test_every_choice_of_the_course_has_an_explanation_of_its_own(question):
    words = [question.why, *question.mistakes.values()]
    assert all(len(each) >= 15 for each in words) and len(set(words)) == len(words)
    assert isinstance(question, Choice) <= (2 <= len(question.mistakes) <= 4)
    assert question.text.rstrip().endswith("?")


@every_question
def test_the_right_answer_of_the_course_is_right_and_the_mistakes_are_not(question):
    assert question.is_right(question.answer) and question.explain(question.answer) == question.why
    for wrong, words in question.mistakes.items():
        answer = question.read(wrong)
        assert not question.is_right(answer) and question.explain(answer) == words
    card_html(question)


@every_question
def test_an_id_names_the_chapter_whose_module_holds_the_question(question):
    module = __import__(f"dl_course.exercises.questions.ch{question.chapter}", fromlist=["QUESTIONS"])
    assert question in module.QUESTIONS
    assert re.fullmatch(r"\d\d[a-z]?(-[a-z0-9]+)+", question.id)


def best_guess(guess):
    """Return the share of right answers by a guess that looks at the choices alone, less that of chance."""
    right = [guess(list(question.options.values())) == question.answer for question in CHOICES]
    chance = [1 / len(question.options) for question in CHOICES]
    return (sum(right) - sum(chance)) / len(CHOICES)


def test_no_question_is_answered_by_position_or_by_length():
    most = 0.25 if len(CHOICES) < 20 else 0.15
    for place in (0, 1, 2, -1):
        assert best_guess(lambda options, place=place: options[place % len(options)]) <= most, place
    assert best_guess(lambda options: max(options, key=len)) <= 0.25
    assert best_guess(lambda options: min(options, key=len)) <= 0.25


def test_within_a_chapter_the_right_one_stands_equally_often_in_each_place(monkeypatch):
    many = {f"91-q{i}": Choice(f"91-q{i}", "?", "right", "", {"x": "", "y": ""}) for i in range(9)}
    monkeypatch.setattr(questions, "all_questions", lambda: many)
    places = [list(question.options.values()).index("right") for question in many.values()]
    assert Counter(places) == {0: 3, 1: 3, 2: 3}
    few = {name: Choice(name, "?", "right", "", {"x": "", "y": ""}) for name in list(many)[:7]}
    monkeypatch.setattr(questions, "all_questions", lambda: few)
    assert [list(question.options.values()).index("right") for question in few.values()] == places[:7]


def asked(path):
    """Return the ids that a lesson asks, in order."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    names = [
        call.args[0].value for call in calls if isinstance(call.func, ast.Name) and call.func.id == "ask"
    ]
    return sorted(names)


@pytest.mark.parametrize("path", sorted(ROOT.glob("solutions/[0-9]*.py")), ids=lambda path: path.stem)
def test_a_lesson_asks_each_question_of_its_chapter_once_and_no_other(path):
    number = path.stem.partition("_")[0]
    assert asked(path) == sorted(name for name, question in COURSE.items() if question.chapter == number)


@pytest.mark.parametrize("chapter", sorted({question.chapter for question in COURSE.values()}))
def test_a_chapter_has_four_to_eight_questions(chapter):
    assert 4 <= sum(question.chapter == chapter for question in COURSE.values()) <= 8
