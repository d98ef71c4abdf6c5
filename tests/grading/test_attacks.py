"""A class of attackers and two honest students is graded: no undeserved point, no mark of others changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from dl_course.exercises.checks import all_exercises, find_exercise
from dl_course.grading import command, grade, judge
from dl_course.grading.names import file_name
from dl_course.notebooks import read, tags
from tests.grading import attacks_on_the_judge  # noqa: F401 - files its attacks with the others
from tests.grading.attacks import AFTER, ATTACKS, BEFORE, HARMLESS_TO_ITSELF, notebook

pytestmark = pytest.mark.timeout(600)  # it starts programs or trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = ROOT / "chapters" / "02_neural_basics.ipynb"
POINTS = sum(each.points for each in all_exercises().values() if each.chapter == "02")
FILES = {
    "broken": b'{"cells": [',
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "empty": b"",
    "no_cells": b'{"cells": "all right"}',
    "nested": b'{"cells": ' + b"[" * 10**6,
}


def solved() -> str:
    """Return the chapter's solutions as an honest student's own answers."""
    cells = [cell.source for cell in read(CHAPTER).cells if "solution" in tags(cell)]
    return notebook("import numpy as np", *(source.replace("@solution\n", "") for source in cells))


@pytest.fixture(scope="module")
def graded(tmp_path_factory, close_cages):
    folder = tmp_path_factory.mktemp("class")
    submissions, out = folder / "in", folder / "out"
    submissions.mkdir()
    places = {"SUBMISSIONS": submissions, "RESULTS": out, "ROOT": ROOT, "MARKER": folder}
    for name, source in ATTACKS.items():
        for word, place in places.items():
            source = source.replace(word, str(place))
        (submissions / f"{name}.ipynb").write_text(notebook(BEFORE, source, AFTER))
    for name, content in FILES.items():
        (submissions / f"{name}.ipynb").write_bytes(content)
    for name in ("a_honest", "z_honest"):
        (submissions / f"{name}.ipynb").write_text(solved())
    (submissions / "untouched.ipynb").write_bytes(CHAPTER.read_bytes())
    (submissions / "link.ipynb").symlink_to("z_honest.ipynb")
    os.mkfifo(submissions / "pipe.ipynb")
    (submissions / "<script>alert(1)<x>\x1b[2J.ipynb").write_text(notebook(BEFORE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setattr(command, "_cages", {})  # one of its own, which is closed at its end as anybody's is
        patch.setattr(command, "_close_cages", close_cages)
        patch.setattr(judge, "PATIENCE", 2.0)
        patch.setenv("A_SECRET", "SECRET")
        if not namespaces():
            (submissions / "fork_bomb.ipynb").unlink()
        table = grade(submissions, out, chapter="02", seed="secret", memory="1G")
    return folder, table


def namespaces() -> bool:
    """Return whether the kernel lets workers into namespaces."""
    code = "from dl_course.grading.sandbox import enter_namespaces; enter_namespaces()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_there_are_a_hundred_attacks():
    assert len(ATTACKS) >= 100


def result(folder, name):
    return json.loads((folder / "out" / "results" / f"{file_name(name)}.json").read_text())


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_earns_nothing(graded, name):
    folder, table = graded
    if name not in table.index:
        pytest.skip("a fork bomb is lit inside a process namespace only, which this kernel doesn't grant")
    mark = result(folder, name)["exercises"]["relu"]
    apart = result(folder, name)["isolation"] == "namespaces"
    needs_walls = {"reads_a_neighbour", "reads_the_solutions", "environment_and_proc", "network"}
    needs_walls |= attacks_on_the_judge.NEED_WALLS
    if not apart and name in needs_walls:
        pytest.skip("without namespaces a worker sees files and the network")
    assert mark["points"] == 0, mark
    assert mark["status"] == "not yet"
    assert table.loc[name, "points"] <= 2


@pytest.mark.parametrize("name", HARMLESS_TO_ITSELF)
def test_an_attack_leaves_the_marks_of_the_other_answers(graded, name):
    _, table = graded
    if name in table.index:
        assert table.loc[name, "points"] == 2


def test_honest_students_before_and_after_the_attackers_have_full_marks(graded):
    _, table = graded
    assert table.loc["a_honest", "points"] == table.loc["z_honest", "points"] == POINTS


def test_every_student_has_a_mark_and_a_page(graded):
    folder, table = graded
    students = list((folder / "in").iterdir())
    assert len(set(table.index)) == len(table) == len(students)
    assert len(list((folder / "out" / "feedback").glob("*.html"))) == len(students)


@pytest.mark.parametrize("name", [*FILES, "link", "pipe"])
def test_a_file_that_is_no_notebook_gets_a_reason(graded, name):
    _, table = graded
    assert table.loc[name, "points"] == 0
    assert "notebook" in table.loc[name, "note"] or "link" in table.loc[name, "note"] or name == "pipe"
    assert table.loc[name, "note"]


def test_an_untouched_chapter_is_not_attempted_though_it_holds_the_solutions(graded):
    folder, _ = graded
    assert {each["status"] for each in result(folder, "untouched")["exercises"].values()} == {"not attempted"}


def test_nothing_runs_on_and_no_file_stays(graded):
    folder, _ = graded
    lines = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    assert [line for line in lines if str(folder) in line] == []
    assert not list(folder.glob("dl_course_cage_*"))


def test_feedback_holds_neither_scripts_nor_escapes_and_is_small(graded):
    folder, _ = graded
    pages = [*(folder / "out").glob("**/*.html"), folder / "out" / "grades.csv"]
    for page in pages:
        text = page.read_text("utf-8")
        assert "<script" not in text or page.suffix == ".csv"
        assert not any(ord(each) < 32 and each != "\n" for each in text)
        assert "\u202e" not in text
        assert len(text) < 100_000


def test_feedback_tells_nothing_of_the_hidden_inputs(graded):
    folder, _ = graded
    seed = command._number("secret")
    hidden = [
        case["x"] for name in ("relu", "linear_forward") for case in find_exercise(name).seeded_cases(seed)
    ]
    numbers = {repr(abs(float(value)))[:9] for x in hidden for value in x.ravel() if value}
    for path in (folder / "out").glob("**/*.*"):
        if path.suffix in (".html", ".json", ".csv"):
            text = path.read_text("utf-8")
            assert not [number for number in numbers if number in text], path
    told = result(folder, "tells_what_it_is_given")["exercises"]["relu"]
    assert "GIVEN" in told["came_out"]  # of an example that was drawn afresh, which stands beside it
    assert ": x = float" in told["example"]


def test_the_last_definition_counts_and_the_feedback_says_so(graded):
    folder, _ = graded
    mark = result(folder, "twice_defined")["exercises"]["relu"]
    assert mark["notes"] == ["it is defined 2 times; the last definition counts"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("os_exit", "exit status 0"),
        ("segfault", "SIGSEGV"),
        ("endless", "endless loop"),
        ("huge_array", "too large"),
    ],
)
def test_the_student_is_told_how_it_ended(graded, name, says):
    folder, _ = graded
    mark = result(folder, name)["exercises"]["relu"]
    assert says in " ".join([mark["diagnosis"], *mark["notes"]])
