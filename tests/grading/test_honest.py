"""Fair to the honest: 200 notebooks, right and wrong, handed in anyhow, get the marks that they should."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import pytest

from dl_course.exercises.answers import names_used
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.probes import find_probe, sent
from dl_course.exercises.probes.tools import answer_outputs
from dl_course.exercises.wire import dump, load
from dl_course.grading import command, grade, judge
from dl_course.runtime import preserved_rng
from tests.grading.answers import Written
from tests.grading.honest import HABITS, variants

pytestmark = pytest.mark.timeout(900)  # it starts programs or trains: more than a test has otherwise

COUNTS = {"01": 50, "02": 90, "03": 8, "04": 28, "05": 8, "06": 16}
SEED = "a secret of this test"


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The variants by chapter, each with its result; one zygote serves all chapters."""
    everything = {}
    with pytest.MonkeyPatch.context() as patch:
        close = command._close_cages
        patch.setattr(command, "_close_cages", lambda: None)
        patch.setattr(judge, "PATIENCE", 100.0)  # what is asked here is not how busy the machine is
        patch.setattr(judge, "_LOADING", 300.0)
        try:
            for chapter, count in COUNTS.items():
                folder = tmp_path_factory.mktemp(chapter)
                made = {f"student{n:03}": each for n, each in enumerate(variants(chapter, count))}
                for student, variant in made.items():
                    variant.hand_in(folder / "submissions", student)
                grade(folder / "submissions", folder, chapter=chapter, seed=SEED, timeout=3000)
                everything[chapter] = [
                    (each, json.loads((folder / "results" / f"{student}.json").read_text("utf-8")))
                    for student, each in made.items()
                ]
        finally:
            close()
    return everything


@cache
def deserved(answer: Written | None) -> tuple[float, bool]:
    """The points of an answer by the rules, and whether it is to be flagged for what the exercise rules out.

    Points go by the share of the kinds of input that go right, in hundredths; but who only raises errors,
    which some kinds of input ask for, gets nothing.
    """
    if answer is None:
        return 0.0, False
    exercise, seed = find_exercise(answer.exercise), command._number(SEED)
    names: dict = {"__name__": "__main__"}
    exec(f"{answer.above}\n\n{answer.definition}", names)
    groups: dict[str, bool] = {}
    valued = set()
    with preserved_rng(seed):
        for case in exercise.seeded_cases(seed):
            given = load(dump(sent(case)))
            outputs = load(dump(answer_outputs(find_probe(exercise.name), names[exercise.name], given)))
            about = case["about"]
            groups[about] = groups.get(about, True) and exercise.judge(case, outputs) is None
            valued |= set() if "raised" in outputs else {about}
    share = sum(groups.values()) / len(groups) if any(groups[about] for about in valued) else 0.0
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


def test_there_are_two_hundred_with_every_habit_and_answers_right_wrong_and_not_begun():
    made = [each for chapter, count in COUNTS.items() for each in variants(chapter, count)]
    kinds = Counter(answer and answer.right for each in made for answer in each.counts.values())
    assert len(made) == 200 and len(HABITS) >= 12
    assert min(kinds[True], kinds[False], kinds[None]) >= 30
