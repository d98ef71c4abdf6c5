"""A class in which nobody did the work is graded: no notebook gets a point for what it forges."""

from __future__ import annotations

import json

import pytest

from dl_course.grading import grade
from dl_course.grading.desk import Desk
from tests.grading.attacks import notebook
from tests.grading.attacks_on_marks import FORGERIES, MARKS, NEVER

pytestmark = pytest.mark.timeout(900)  # it starts programs or trains: more than a test has otherwise

GROUPS = [
    (chapter, exercise, {name: source for name, (aim, source) in attacks.items() if aim == exercise})
    for chapter, attacks in MARKS.items()
    for exercise in dict.fromkeys(aim for aim, _ in attacks.values())
]


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    """The marks that the attacks on each chapter got."""
    found = {}
    for chapter, exercise, attacks in GROUPS:
        folder = tmp_path_factory.mktemp(exercise)
        (folder / "submissions").mkdir()
        for name, source in attacks.items():
            (folder / "submissions" / f"{name}.ipynb").write_text(notebook(source), "utf-8")
        alone = Desk(only=(exercise,))
        grade(folder / "submissions", folder, chapter=chapter, seed="a secret", timeout=600, desk=alone)
        for name in attacks:
            result = json.loads((folder / "results" / f"{name}.json").read_text("utf-8"))
            found[name] = result["exercises"][exercise]
    return found


@pytest.mark.parametrize("name", [name for attacks in MARKS.values() for name in attacks])
def test_an_attack_on_a_mark_earns_nothing(marks, name):
    assert marks[name]["points"] == 0, marks[name]
    assert marks[name]["status"] == "not yet"


@pytest.mark.parametrize("name", sorted(FORGERIES))
def test_a_forgery_takes_the_place_of_the_probe_and_earns_nothing_nevertheless(marks, name):
    assert NEVER not in marks[name]["diagnosis"]


def test_there_are_many_of_them_in_every_chapter_that_tempts():
    assert sum(map(len, MARKS.values())) >= 40
    assert {"01", "02", "03", "05c", "06", "08", "09"} <= set(MARKS)
