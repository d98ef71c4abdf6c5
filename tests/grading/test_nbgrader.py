"""A whole course in nbgrader, whatever the notebooks hold: generate, autograde, feedback, export."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from dl_course.authoring.release import release

pytest.importorskip("nbgrader")
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin
from traitlets.config import PyFileConfigLoader

from dl_course.exercises import checks
from dl_course.exercises.judging import Exercise
from dl_course.grading import nbgrader_course

pytestmark = pytest.mark.timeout(600)  # it starts programs or trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parents[2]
LESSON = '''\
# %% [markdown]
# # 02 · A small assignment

# %%
import numpy as np
from dl_course import check, solution

# %% tags=["exercise"]
def relu(x):
    """Return x where it is positive, else zero."""
    ### BEGIN SOLUTION
    return np.maximum(x, 0)
    ### END SOLUTION

# %% tags=["check"]
check(relu)

# %% tags=["exercise"]
def linear_forward(x, w, b):
    """Return xw + b."""
    ### BEGIN SOLUTION
    return x @ w + b
    ### END SOLUTION

# %% tags=["check"]
check(linear_forward)

# %% tags=["exercise"]
def middle(x):
    """Return the median of an array."""
    ### BEGIN SOLUTION
    return np.median(x)
    ### END SOLUTION

# %% tags=["check"]
check(middle)

# %% [markdown] tags=["manual"]
# *Your report goes here.*
'''
PRIVATE = {
    "probes": """\
from dl_course.exercises.probes import probe
from dl_course.exercises.probes.tools import called

@probe
def middle(answer, case):
    return called(answer, case["x"])
""",
    "checks": '''\
import numpy as np
from dl_course.exercises.judging import Exercise

class Middle(Exercise):
    """A median."""

    name, points, reference = "middle", 4, staticmethod(lambda x: np.median(x))
    mistakes = {"you took the mean": staticmethod(lambda x: x.mean())}

    def cases(self, rng):
        yield {"about": "numbers", "x": rng.exponential(size=9)}
''',
}
RELU = "def relu(x):\n    return x * (x > 0)"
ABSOLUTE = "def relu(x):\n    return abs(x)"
MEDIAN = "def middle(x):\n    return np.sort(x)[len(x) // 2]"
MEAN = "def middle(x):\n    return x.mean()"
FORWARD = "def linear_forward(x, w, b):\n    return np.einsum('ni,io->no', x, w) + b"
EVIL = """\
import os, sqlite3, sys
class Yes:
    __eq__ = __ge__ = __le__ = __bool__ = lambda *_: True
    __float__ = lambda _: 1e9
import dl_course.exercises.checking as checking
checking.verdict = lambda *_: Yes()
for folder in (".", "..", "../..", "../../.."):
    if os.path.exists(folder + "/gradebook.db"):
        gradebook = sqlite3.connect(folder + "/gradebook.db")
        gradebook.execute("update grade set auto_score = 99").connection.commit()
def relu(x):
    return Yes()
def linear_forward(x, w, b):
    os._exit(0)"""


def _edit(notebook, **answers):
    for cell in notebook.cells:
        name = cell.id.partition("-")[2]
        if cell.id.startswith("exercise-") and name in answers:
            cell.source = answers[name]


def right(notebook):
    _edit(notebook, relu=RELU, linear_forward=FORWARD, middle=MEDIAN)


def half(notebook):
    _edit(notebook, relu=ABSOLUTE, linear_forward=FORWARD, middle=MEAN)


def untouched(notebook):
    pass


def duplicated(notebook):
    right(notebook)
    notebook.cells += [
        new_code_cell(c.source, metadata=c.metadata) for c in notebook.cells if c.cell_type == "code"
    ]


def missing(notebook):
    right(notebook)
    notebook.cells = [cell for cell in notebook.cells if "nbgrader" not in cell.metadata]
    notebook.cells.append(new_code_cell(FORWARD))


def together(notebook):
    notebook.cells = [notebook.cells[1], new_code_cell(f"import numpy as np\n{RELU}\n\n{FORWARD}")]


def stripped(notebook):
    right(notebook)
    code = [new_code_cell(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [new_markdown_cell("My report"), *reversed(code)]
    notebook.metadata = {"colab": {"name": "Copy of 02.ipynb"}, "kernelspec": {"name": "ir", "language": "R"}}


def forged(notebook):
    _edit(notebook, relu=EVIL, linear_forward="pass")
    for cell in notebook.cells:
        if cell.id.startswith("check-"):
            cell.source = "1000"
            cell.metadata["nbgrader"]["points"] = 1000
            cell.outputs = [new_output("execute_result", {"text/plain": "1000"}, execution_count=1)]


def strange(notebook):
    right(notebook)
    for cell in notebook.cells:
        cell.metadata["nbgrader"] = ["nonsense"]


def scripted(notebook):
    half(notebook)
    report = next(cell for cell in notebook.cells if cell.id == "manual-1")
    report.source = "<script>alert(1)</script><img src=x onerror=alert(2)> all is well"
    picture = {"image/png": "iVBORw0KGgo=", "text/html": "<script>alert(3)</script>"}
    fake = {"image/png": '"><script>alert(4)</script>'}
    outputs = [new_output("display_data", data) for data in (picture, fake)]
    notebook.cells.append(new_code_cell("'<script>alert(5)</script>'", outputs=outputs))


STUDENTS = [right, half, untouched, duplicated, missing, together, stripped, forged, strange, scripted]
MARKS = dict(zip((each.__name__ for each in STUDENTS), (9, 3, 0, 9, 3, 5, 9, 0, 9, 3), strict=True))
MARKS |= {"broken": 0, "jane.doe": 0}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course that was generated, handed in, graded and given feedback once."""
    root = tmp_path_factory.mktemp("course")
    (root / "lessons" / "solutions").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", root / "lessons")
    (root / "lessons" / "solutions" / "02_small.py").write_text(LESSON, "utf-8")
    for kind, text in PRIVATE.items():
        (root / "mine" / kind).mkdir(parents=True)
        (root / "mine" / kind / "ch02.py").write_text(text)
    points = {"relu": 2, "linear_forward": 3}
    release(root / "lessons", "02", root / "source" / "week2", [], points, root / "mine")
    shutil.copy(Path(nbgrader_course.__file__).with_name("nbgrader_config.py"), root)
    config = PyFileConfigLoader("nbgrader_config.py", str(root)).load_config()
    config.Judged.options = {"jobs": 1, "seed": "a secret", "private": str(root / "mine")}
    config.CourseDirectory.merge({"root": str(root), "assignment_id": "week2"})
    folders = CourseDirectory(config=config)
    GenerateAssignment(coursedir=folders, config=config).start()
    _hand_in(root)
    Autograde(coursedir=folders, config=config).start()
    GenerateFeedback(coursedir=folders, config=config).start()
    with Gradebook(f"sqlite:///{root}/gradebook.db") as gradebook:
        CsvExportPlugin(to=str(root / "grades.csv")).export(gradebook)
    yield SimpleNamespace(root=root, config=config, folders=folders)
    del Exercise.registered["middle"]
    for name in [name for name in sys.modules if name.startswith(checks.PRIVATE)]:
        del sys.modules[name]


def _hand_in(root):
    released = root / "release" / "week2" / "02_small.ipynb"
    for student in STUDENTS:
        notebook = nbformat.read(released, as_version=4)
        student(notebook)
        path = root / "submitted" / student.__name__ / "week2" / released.name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook), "utf-8")
    for name in ("broken", "jane.doe"):
        (root / "submitted" / name / "week2").mkdir(parents=True)
    (root / "submitted" / "broken" / "week2" / released.name).write_text('{"cells": [', "utf-8")
    neighbour = Path("..", "..", "right", "week2", released.name)
    (root / "submitted" / "jane.doe" / "week2" / released.name).symlink_to(neighbour)
    (root / "submitted" / "jane.doe" / "week2" / "notes.txt").symlink_to(root / "gradebook.db")


@pytest.fixture(scope="module")
def exported(course):
    with open(course.root / "grades.csv", encoding="utf-8") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("student", MARKS)
def test_every_student_gets_the_judges_mark_whatever_the_notebook_holds(exported, student):
    assert float(exported[student]["score"]) == MARKS[student]
    assert float(exported[student]["max_score"]) == 19


def test_the_release_carries_nbgraders_checksums_and_no_solution(course):
    notebook = nbformat.read(course.root / "release" / "week2" / "02_small.ipynb", as_version=4)
    assert "np.maximum(x, 0)" not in "".join(cell.source for cell in notebook.cells)
    stub = next(cell for cell in notebook.cells if cell.id == "exercise-relu")
    assert "Your turn: relu" in stub.source and len(stub.metadata["nbgrader"]["checksum"]) == 32


def test_a_check_from_a_private_file_is_in_no_release_and_gives_its_mark_and_diagnosis(course):
    text = (course.root / "release" / "week2" / "02_small.ipynb").read_text("utf-8")
    assert "Your instructor checks middle" in text and "check(middle)" not in text
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:
        found = {who: gradebook.find_grade("check-middle", "02_small", "week2", who).score for who in MARKS}
    assert {who for who, score in found.items() if score} == {"right", "duplicated", "stripped", "strange"}
    page = (course.root / "feedback" / "half" / "week2" / "02_small.html").read_text("utf-8")
    assert "you took the mean" in page


@pytest.mark.parametrize("student", MARKS)
def test_the_graded_notebook_has_every_cell_of_the_assignment_once_each_check_after_its_answer(
    course, student
):
    path = course.root / "autograded" / student / "week2" / "02_small.ipynb"
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if "nbgrader" in cell.metadata]
    ids = [cell.metadata["nbgrader"]["grade_id"] for cell in cells]
    assert len(ids) == 7 == len(set(ids))
    for name in ("relu", "linear_forward", "middle"):
        assert ids.index(f"check-{name}") == ids.index(f"exercise-{name}") + 1


def test_feedback_says_what_was_wrong_and_runs_nothing(course):
    for student in MARKS:
        page = (course.root / "feedback" / student / "week2" / "02_small.html").read_text("utf-8")
        assert not [
            line for line in page.splitlines() if "alert(" in line and re.search("<script|<img|onerror", line)
        ]
    page = (course.root / "feedback" / "scripted" / "week2" / "02_small.html").read_text("utf-8")
    assert "you took the absolute value" in page and "all is well" in page
    assert "iVBORw0KGgo=" in page


def test_nothing_that_a_submission_only_links_to_reaches_its_feedback(course):
    for step in ("autograded", "feedback"):
        assert not (course.root / step / "jane.doe" / "week2" / "notes.txt").exists()
    page = (course.root / "feedback" / "jane.doe" / "week2" / "02_small.html").read_text("utf-8")
    assert "Nothing was found for exercise-relu" in page and "x * (x" not in page


def test_a_report_waits_for_its_reader_unless_it_is_as_it_was_handed_out(course):
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:

        def waits(student):
            return gradebook.find_grade("manual-1", "02_small", "week2", student).needs_manual_grade

        assert waits("scripted") and waits("stripped") and waits("missing")
        assert not waits("untouched")


def test_a_mark_given_by_hand_survives_a_second_grading_which_gives_the_same(course, exported):
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:
        gradebook.find_grade("manual-1", "02_small", "week2", "scripted").manual_score = 7
        gradebook.db.commit()
    course.folders.student_id = "scripted"
    again = Autograde(coursedir=course.folders, config=course.config)
    again.force = True
    again.start()
    with Gradebook(f"sqlite:///{course.root}/gradebook.db") as gradebook:
        assert gradebook.find_submission("week2", "scripted").score == 10
        for student in MARKS.keys() - {"scripted"}:
            assert gradebook.find_submission("week2", student).score == MARKS[student]
