"""A released assignment: no solution in it, checks kept, ids that stay, metadata that nbgrader takes."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from dl_course.authoring.lesson import read_lesson, read_lessons
from dl_course.authoring.release import assignment, parsed_points, release
from dl_course.authoring.stubs import LessonError
from dl_course.cli import main
from dl_course.exercises.checking import hint
from dl_course.exercises.checks import find_exercise
from tests.authoring.cells import CHECK_DOUBLE, CHECK_TALLY, CHECK_TRIPLE, DOUBLE, TALLY, TRIPLE

ROOT = Path(__file__).resolve().parents[2]
REPORT = '# %% [markdown] tags=["manual"]\n# *Your report goes here.*'
LONG = DOUBLE.replace("    return x + x", "    y = x + x\n    assert len(y)\n    z = y - 0\n    return z")


def released(course, *cells, **options):
    return assignment(read_lesson(course.write(*cells)), course.root, **options)


def by_id(notebook):
    return {cell.id: cell for cell in notebook.cells}


def test_no_chapter_of_the_course_gives_a_solution_away():
    for lesson in read_lessons(ROOT / "solutions"):
        cells = by_id(assignment(lesson, ROOT))
        names = {exercise.name for exercise in lesson.exercises.values()}
        assert {f"exercise-{name}" for name in names} | {f"check-{name}" for name in names} <= cells.keys()
        assert not any(place.startswith("solution-") for place in cells)
        for exercise in lesson.exercises.values():
            assert cells[f"exercise-{exercise.name}"].source == exercise.stub()


def test_the_stub_stays_an_answer_cell_and_the_check_a_locked_one_with_its_points(course):
    cells = by_id(released(course, DOUBLE, CHECK_DOUBLE))
    assert cells["exercise-double"].metadata["nbgrader"] == {
        "schema_version": 3,
        "grade": False,
        "solution": True,
        "locked": False,
        "task": False,
        "grade_id": "exercise-double",
    }
    check = cells["check-double"]
    assert check.source == "check(double)" and check.metadata.tags == ["check"]
    assert (check.metadata.deletable, check.metadata.editable) == (False, False)
    assert check.metadata["nbgrader"]["grade"] and check.metadata["nbgrader"]["locked"]
    assert check.metadata["nbgrader"]["points"] == find_exercise("double").points
    assert cells["exercise-double"].metadata.deletable is False
    assert "editable" not in cells["exercise-double"].metadata


def test_nbgrader_finds_every_cell_as_its_schema_3_wants_it(course, tmp_path):
    validator = pytest.importorskip("nbgrader.nbgraderformat").MetadataValidator()
    notebook = released(course, DOUBLE, CHECK_DOUBLE, REPORT, TALLY, CHECK_TALLY)
    nbformat.validate(notebook)
    validator.validate_nb(notebook)
    ids = [cell.metadata.nbgrader.grade_id for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert ids == ["exercise-double", "check-double", "manual-1", "exercise-Tally", "check-Tally"]


def test_a_text_to_be_graded_by_hand_is_an_answer_with_points(course):
    report = by_id(released(course, REPORT, points={"manual-1": 12}))["manual-1"]
    assert report.metadata["nbgrader"]["grade"] and report.metadata["nbgrader"]["solution"]
    assert report.metadata["nbgrader"]["points"] == 12
    assert "editable" not in report.metadata


def test_exercises_that_are_not_chosen_keep_their_solution_and_earn_nothing(course):
    cells = by_id(released(course, DOUBLE, CHECK_DOUBLE, TRIPLE, CHECK_TRIPLE, exercises=["triple"]))
    assert "solution-double" in cells and "solution-triple" not in cells
    assert "nbgrader" not in cells["check-double"].metadata and "nbgrader" in cells["check-triple"].metadata


@pytest.mark.parametrize(
    ("leak", "lesson"),
    [
        ("# %%\ndef twice(x):\n    return  x+x", DOUBLE),
        ("# %% [markdown]\n# So `return x + x` it is.", DOUBLE),
        ("# %%\ny = 1\nassert len(y)\nz = y - 0\nreturn_ = z", LONG),
        ("# %%\n# @title Solution: double\npass", DOUBLE),
    ],
    ids=["the whole of it, laid out differently", "in the text", "three lines of four", "its label"],
)
def test_a_solution_that_shows_in_another_cell_is_refused(course, leak, lesson):
    if lesson is LONG:
        leak = leak.replace("y = 1", "y = x + x")
    with pytest.raises(LessonError, match="gives away the solution of 'double'"):
        released(course, lesson, CHECK_DOUBLE, leak)


def test_a_single_line_out_of_a_longer_solution_may_stand_elsewhere(course):
    assert released(course, LONG, CHECK_DOUBLE, "# %%\ny = x + x")


def test_names_and_points_that_fit_nothing_are_refused_with_what_would_fit(course):
    course.write(DOUBLE, CHECK_DOUBLE, TRIPLE, CHECK_TRIPLE)
    out = course.root / "out"
    for wrong, says in {
        ("91", (), ()): "no chapter is named '91'",
        ("90", ("doubel",), ()): "has no exercise 'doubel'; did you mean 'double'?",
        ("90", ("double",), (("triple", 1.0),)): "points for 'triple', which isn't graded here",
        ("90", (), (("double", float("inf")),)): "inf points for 'double'",
    }.items():
        name, exercises, points = wrong
        with pytest.raises(ValueError, match=re.escape(says)):
            release(course.root, name, out, exercises, dict(points))
    assert not out.exists()
    for text in ("double", "double=", "double=-1", "=2", "double=1e9"):
        with pytest.raises(ValueError, match="NAME=NUMBER"):
            parsed_points([text])


def test_the_command_writes_the_notebook_without_outputs_and_says_where(course, capsys):
    course.write(DOUBLE, CHECK_DOUBLE, TRIPLE, CHECK_TRIPLE)
    for again in range(2):  # the same bytes: a mark can point at a cell of any copy
        status = main(
            ["release", "90", "-o", f"out{again}", "--exercises", "double", "--points", "double=2.5"]
        )
        assert status == 0
    first, second = (course.root / f"out{n}" / "90_made_up.ipynb" for n in range(2))
    assert capsys.readouterr().out.splitlines()[0].endswith("90_made_up.ipynb")
    assert first.read_bytes() == second.read_bytes()
    cells = json.loads(first.read_text("utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells)
    assert [cell["metadata"]["nbgrader"]["points"] for cell in cells if cell["id"] == "check-double"] == [2.5]
    assert main(["release", "90", "-o", "out3", "--points", "double"]) == 1
    assert "NAME=NUMBER" in capsys.readouterr().err


def test_the_last_hint_doesnt_send_the_reader_of_an_assignment_to_a_cell_that_isnt_there():
    exercise = find_exercise("relu")
    texts = [hint("relu").lines[0][1] for _ in range(len(exercise.hints) + 1)]
    assert texts[:-1] == list(exercise.hints)
    assert "An assignment has no such cell" in texts[-1]
