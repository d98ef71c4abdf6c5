"""Fair to the honest: over 260 notebooks, right and wrong, handed in anyhow, get the marks they deserve."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from functools import cache

import pytest

from dl_course.exercises.answers import names_used
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.judging import earned, verdict
from dl_course.exercises.probes import find_probe, sent
from dl_course.exercises.probes.tools import answer_outputs, finished
from dl_course.exercises.wire import dump, load
from dl_course.grading import command, grade, judge
from dl_course.runtime import preserved_rng
from tests.grading.answers import Written
from tests.grading.attacks import notebook
from tests.grading.honest import HABITS, variants
from tests.grading.odd import ODD
from tests.test_chapters import LESSONS, ROOT, chapter, code_cells

pytestmark = pytest.mark.timeout(900)  # it starts programs or trains: more than a test has otherwise

COUNTS = {"01": 30, "02": 70, "03": 8, "04": 22, "05": 8, "06": 12}
SEED = "a secret of this test"


@pytest.fixture(scope="module")
def grading(tmp_path_factory):
    """Return a function that grades a folder as `grade` does, and returns the results by student.

    Of a chapter, the exercises with one of the names are judged, or all.
    """
    every = command.chosen

    def graded(folder, chapter, names=(), timeout=3000):
        def chosen(*settings):
            return [each for each in every(*settings) if not names or each.name in names]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "chosen", chosen)
            patch.setattr(judge, "PATIENCE", 100.0)  # what is asked here is not how busy the machine is
            patch.setattr(judge, "_LOADING", 300.0)
            grade(folder, folder.parent, chapter=chapter, seed=SEED, timeout=timeout)
        files = (folder.parent / "results").glob("*.json")
        return {each.stem: json.loads(each.read_text("utf-8")) for each in files}

    return graded


@pytest.fixture(scope="module")
def graded(grading, tmp_path_factory):
    """The variants by chapter, each with its result."""
    everything = {}
    for number, count in COUNTS.items():
        folder = tmp_path_factory.mktemp(number) / "submissions"
        made = {f"student{n:03}": each for n, each in enumerate(variants(number, count))}
        for student, variant in made.items():
            variant.hand_in(folder, student)
        results = grading(folder, number)
        everything[number] = [(each, results[student]) for student, each in made.items()]
    return everything


@pytest.fixture(scope="module")
def odd_ones(grading, tmp_path_factory):
    """The results of the odd notebooks, by their names."""
    folder = tmp_path_factory.mktemp("odd") / "submissions"
    folder.mkdir()
    students = {f"student{n:03}": name for n, name in enumerate(ODD)}
    for student, name in students.items():
        (folder / f"{student}.ipynb").write_text(notebook(*ODD[name]), encoding="utf-8")
    results = grading(folder, "02", names=("relu", "linear_forward"))
    return {name: results[student] for student, name in students.items()}


@cache
def deserved(answer: Written | None) -> tuple[float, bool]:
    """The points of an answer by the rules, and whether it is to be flagged for what the exercise rules out.

    Points go by the share of the kinds of input that go right, in hundredths; but nothing is earned where an
    error, a constant or an argument handed back would get the same kinds right.
    """
    if answer is None:
        return 0.0, False
    exercise, seed = find_exercise(answer.exercise), command._number(SEED)
    names: dict = {"__name__": "__main__"}
    exec(f"{answer.above}\n\n{answer.definition}", names)
    outputs = []
    with preserved_rng(seed):
        cases = exercise.seeded_cases(seed)
        for case in cases:
            given = load(dump(sent(case)))
            out = load(dump(answer_outputs(find_probe(exercise.name), names[exercise.name], given)))
            outputs.append(finished(exercise.name, out, case))
        share = earned(exercise, cases, outputs, verdict(exercise, cases, outputs))
    flagged = bool(set(exercise.not_allowed) & names_used(names[exercise.name]))
    return round(exercise.points * share, 2), flagged


@pytest.mark.parametrize("chapter", COUNTS)
def test_every_honest_notebook_gets_exactly_the_marks_and_flags_that_it_deserves(graded, chapter):
    wrong = []
    for variant, result in graded[chapter]:
        for name, answer in variant.counts.items():
            mark, should = result["exercises"][name], deserved(answer)
            if (mark["points"], bool(mark["flags"])) != should:
                wrong.append((result["student"], name, should, mark))
    assert wrong == []


@pytest.mark.parametrize("chapter", COUNTS)
def test_right_answers_earn_all_points_and_wrong_ones_less_or_a_flag(chapter):
    answers = {each for variant in variants(chapter, COUNTS[chapter]) for each in variant.counts.values()}
    for answer in answers - {None}:
        points, flagged = deserved(answer)
        full = points == find_exercise(answer.exercise).points
        assert full and not flagged if answer.right else not full or flagged, answer


def test_there_are_hundreds_with_every_habit_and_answers_right_wrong_and_not_begun():
    made = [each for chapter, count in COUNTS.items() for each in variants(chapter, count)]
    kinds = Counter(answer and answer.right for each in made for answer in each.counts.values())
    assert len(HABITS) >= 12
    assert min(kinds[True], kinds[False], kinds[None]) >= 30
    assert len(made) + len(ODD) + len(LESSONS) >= 265


@pytest.mark.parametrize("name", ODD)
def test_an_odd_notebook_that_passes_in_jupyter_has_all_points(odd_ones, name):
    answers = [
        each for each in ("relu", "linear_forward") if any(f"def {each}" in cell for cell in ODD[name])
    ]
    for mark in (odd_ones[name]["exercises"][each] for each in {"relu", *answers}):
        assert mark["points"] == mark["of"], mark


def test_an_answer_below_a_training_without_end_has_all_points(grading, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    endless = "import time\nlows = []\ntime.sleep(600)\nlows.append(1)"
    cells = [
        "import numpy as np",
        endless,
        "lows.append(0)",
        "def relu(x):\n    return np.maximum(x, lows[-1])",
    ]
    (tmp_path / "in/alice.ipynb").write_text(notebook(*cells))
    mark = grading(tmp_path / "in", "02", names=("relu",), timeout=15)["alice"]["exercises"]["relu"]
    assert mark["points"] == mark["of"], mark
    assert any("code cell 2 was stopped after" in note for note in mark["notes"])


@pytest.mark.parametrize("stem", LESSONS)
def test_a_solved_chapter_has_all_points(grading, tmp_path, stem):
    cells = code_cells(chapter(LESSONS[stem], ROOT, solved=True))
    handed_in = tmp_path / "in/alice"
    handed_in.mkdir(parents=True)
    (handed_in / f"{stem}.ipynb").write_text(notebook(*(cell.source for cell in cells)), encoding="utf-8")
    shutil.copy(ROOT / "dl_course/models/trained/challenge.safetensors", handed_in)  # of chapter 06
    result = grading(tmp_path / "in", stem.partition("_")[0])["alice"]
    assert result["points"] == result["of"] > 0, result
