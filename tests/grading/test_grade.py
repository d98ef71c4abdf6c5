"""Grading a folder: what is read, what is given, what is stored, and that a second run tells what changed."""

from __future__ import annotations

import json
import os

import joblib
import nbformat
import pytest

from dl_course.authoring.build import chapter
from dl_course.authoring.lesson import read_lesson
from dl_course.authoring.release import assignment
from dl_course.authoring.translation import catalogue, path_of, read_po, translated
from dl_course.cli import main
from dl_course.exercises.judging import Exercise
from dl_course.grading import command, grade
from dl_course.grading.cage import Cage
from dl_course.grading.channel import Lost
from dl_course.notebooks import tags
from tests.grading.attacks import AFTER, BEFORE, notebook
from tests.grading.test_attacks import ROOT, solved

pytestmark = pytest.mark.timeout(300)  # it starts programs or trains: more than a test has otherwise

CAGE_OF_A_RUN = command._cage
IMPORT = "import numpy as np"
RELU = "def relu(x):\n    return np.maximum(x, 0)"
WRONG = "def relu(x):\n    return x"


@pytest.fixture(scope="module", autouse=True)
def own_exercises(tmp_path_factory):
    """A folder with an instructor's exercises, and for all tests one cage, which takes seconds to start."""
    folder = tmp_path_factory.mktemp("own")
    for kind, text in PRIVATE.items():
        (folder / kind).mkdir()
        (folder / kind / "ch91.py").write_text(text)
    cage = Cage(2**31, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_cage", lambda *settings: cage)
        yield folder
    cage.close()


@pytest.fixture
def hand_in(tmp_path):
    """Return a function that writes submissions (sources, text, or a folder's files) and grades them."""

    def grading(out="out", **submissions_and_options):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        options = {"chapter": "02", "seed": 7} | submissions_and_options.pop("options", {})
        for name, content in submissions_and_options.items():
            if isinstance(content, dict):
                for inner, text in content.items():
                    (folder / name / inner).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name / inner).write_text(text)
            else:
                text = content if isinstance(content, str) else notebook(*content)
                (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")
        return grade(folder, tmp_path / out, **options)

    grading.out = tmp_path / "out"
    grading.result = lambda student: json.loads((tmp_path / "out/results" / f"{student}.json").read_text())
    return grading


# what is read -----------------------------------------------------------------------------------------------


def as_lines(source):
    return {"cell_type": "code", "source": source.splitlines(keepends=True), "execution_count": None}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"cells": [as_lines(IMPORT), as_lines(RELU)]}),
        "\ufeff" + notebook(IMPORT, RELU),
        notebook(
            IMPORT, RELU, nbformat_minor=0, metadata={"colab": {"provenance": []}, "accelerator": "GPU"}
        ),
        notebook("%matplotlib inline\n!pip list", f"%%time\n{WRONG}", IMPORT + "\n%load_ext x\n" + RELU),
        notebook(RELU, "this is no Python", IMPORT),
        notebook("from __future__ import annotations\n" + IMPORT, "Z = 0", RELU.replace("0)", "Z)")),
    ],
    ids=["lines, no metadata", "a byte-order mark", "Colab", "magics", "order and errors", "what it needs"],
)
def test_an_answer_is_found_by_its_name_in_any_notebook(hand_in, text):
    assert hand_in(alice=text).loc["alice", "relu"] == 1


def test_who_asks_for_the_users_name_is_given_one(hand_in):
    asks = [IMPORT, "import getpass\nSIZE = len(getpass.getuser())", RELU.replace("0)", "0 * SIZE)")]
    assert hand_in(alice=asks).loc["alice", "relu"] == 1


def test_where_the_definition_alone_does_not_load_all_cells_are_run_and_failing_ones_skipped(hand_in):
    clever = "globals()['helper'] = lambda x: np.maximum(x, 0)"
    cells = [IMPORT, clever, "raise ValueError('mine')", "relu = helper"]
    assert hand_in(alice=cells).loc["alice", "relu"] == 1
    notes = " ".join(hand_in.result("alice")["exercises"]["relu"]["notes"])
    assert "code cell 3 raised ValueError: mine" in notes


def test_a_folder_may_hold_the_notebook_at_any_depth_among_others(hand_in):
    files = {"ch02/02_neural_basics.ipynb": notebook(IMPORT, RELU), "ch02/a_draft.ipynb": notebook(WRONG)}
    table = hand_in(alice=files | {"ch02/.ipynb_checkpoints/02_x.ipynb": notebook(WRONG)})
    assert table.loc["alice", "relu"] == 1


def test_two_submissions_of_one_name_are_two_rows(hand_in):
    table = hand_in(alice=[IMPORT, RELU]) is not None and hand_in(**{"alice": {"x.ipynb": notebook(WRONG)}})
    assert sorted(table.index) == ["alice", "alice.ipynb"]


def test_the_chapter_is_read_from_the_notebooks_names(hand_in):
    table = hand_in(alice={"02_neural_basics.ipynb": notebook(IMPORT, RELU)}, options={"chapter": None})
    assert "momentum_step" in table.columns
    with pytest.raises(ValueError, match="no exercises in chapter '77'; there are chapters 01"):
        hand_in(options={"chapter": "77"})


def test_a_released_chapter_in_chinese_is_graded_as_in_english(hand_in):
    lesson = read_lesson(ROOT / "solutions/02_neural_basics.py")
    answers = {cell.id: cell.source for cell in chapter(lesson, ROOT, solved=True).cells}
    english = assignment(lesson, ROOT)
    for cell in english.cells:
        cell.source = answers[cell.id] if "exercise" in tags(cell) else cell.source
    chinese = translated(english, catalogue(read_po(path_of(ROOT, "zh_CN", lesson.stem))), "zh_CN")
    step = next(cell.source for cell in chinese.cells if cell.id == "exercise-training_step")
    assert "让参数原地下降一步；返回这一步之前的损失。" in step and "loss from before" not in step
    editions = {}
    for language, written in {"en": english, "zh": chinese}.items():
        editions[f"right_{language}"] = nbformat.writes(written)
        for cell in written.cells:
            cell.source = cell.source.replace("np.maximum(x, 0)", "np.abs(x)")
        editions[f"wrong_{language}"] = nbformat.writes(written)
    marks = hand_in(**editions).drop(columns="note")
    assert marks.loc["right_en"].to_dict() == marks.loc["right_zh"].to_dict()
    assert marks.loc["wrong_en"].to_dict() == marks.loc["wrong_zh"].to_dict()
    assert marks.loc["right_zh", "relu"] == 1 > marks.loc["wrong_zh", "relu"]
    assert marks.loc["right_zh", "points"] == hand_in.result("right_zh")["of"]


# what is given ----------------------------------------------------------------------------------------------


def test_each_kind_of_input_earns_its_share_of_the_points(hand_in):
    one_column = RELU.replace("return", "return x * (x > 0) if x.ndim == 3 else")
    one_column = one_column.replace("np.maximum(x, 0)", "np.maximum(x, 0) if x.shape[1] > 1 else x")
    table = hand_in(alice=[IMPORT, one_column])
    assert table.loc["alice", "relu"] == pytest.approx(2 / 3, abs=0.01)
    groups = hand_in.result("alice")["exercises"]["relu"]["groups"]
    assert sorted(groups.values()) == [False, True, True]


def test_errors_alone_earn_nothing_though_some_inputs_must_be_refused(hand_in):
    refusing = "\n".join(
        f"def {name}(*arguments, **options):\n    raise ValueError('no')"
        for name in ("output_size", "separable_parameters", "receptive_field", "conv2d_by_hand")
    )
    assert hand_in(alice=[refusing], options={"chapter": "03"}).loc["alice", "points"] == 0


def test_an_answer_that_leans_on_a_wrong_one_gets_what_the_notebook_gives_it(hand_in):
    step = next(c["source"] for c in json.loads(solved())["cells"] if "def training_step" in c["source"])
    theirs = [
        c["source"] for c in json.loads(solved())["cells"][1:] if "def training_step" not in c["source"]
    ]
    wrong = "\n\n".join(
        f"def {name}(*a):\n    return None" for name in ("linear_forward", "relu", "cross_entropy")
    )
    solutions = [source.replace("def ", "@solution\ndef ", 1) for source in theirs]
    table = hand_in(alone=[IMPORT, wrong, step], beside=[IMPORT, wrong, *solutions, step])
    assert table["training_step"].to_dict() == {"alone": 0, "beside": 1}
    assert table["relu"].to_dict() == {"alone": 0, "beside": 0}


def test_what_is_not_allowed_is_flagged_and_not_punished(hand_in):
    by_torch = "import torch.nn.functional as F\ndef conv2d_by_hand(x, w, b, stride=1, padding=0):\n"
    table = hand_in(
        alice=[by_torch + "    return F.conv2d(x, w, b, stride, padding)"], options={"chapter": "03"}
    )
    assert table.loc["alice", "conv2d_by_hand"] > 0
    assert "conv2d_by_hand: used, though not allowed: conv2d" in table.loc["alice", "note"]


def test_the_page_tells_what_came_out_and_a_hint_but_no_right_answer(hand_in):
    hand_in(alice=[IMPORT, WRONG])
    page = (hand_in.out / "feedback" / "alice.html").read_text()
    assert "np.maximum" in page
    assert "not in the notebook" in page or "not defined in the notebook" in page
    assert "expected" not in page


# what is stored ---------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_marks_and_what_is_done_is_not_done_again(hand_in, monkeypatch):
    first = hand_in(alice=[IMPORT, RELU], bob=[IMPORT, WRONG])
    again = hand_in("again")
    assert first.equals(again)
    monkeypatch.setattr(command, "grade_submission", None)  # which would now fail
    assert hand_in().equals(first)


def test_a_run_that_was_stopped_goes_on_where_it_was(hand_in, monkeypatch):
    graded, done = command.grade_submission, []

    def stopping(submission, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(submission.student)
        return graded(submission, *rest)

    monkeypatch.setattr(command, "grade_submission", stopping)
    with pytest.raises(KeyboardInterrupt):
        hand_in(a=[IMPORT, RELU], b=[IMPORT, RELU], c=[IMPORT, WRONG])
    monkeypatch.setattr(
        command,
        "grade_submission",
        lambda submission, *rest: done.append(submission.student) or graded(submission, *rest),
    )
    assert hand_in()["relu"].to_dict() == {"a": 1, "b": 1, "c": 0}
    assert done == ["a", "b", "c"]


def test_a_damaged_result_is_made_again(hand_in):
    table = hand_in(alice=[IMPORT, RELU])
    (hand_in.out / "results" / "alice.json").write_text('{"exer')
    assert hand_in().equals(table)


def test_regrading_says_what_changed(hand_in):
    hand_in(alice=[IMPORT, WRONG], bob=[IMPORT, RELU])
    table = hand_in(alice=[IMPORT, RELU])
    assert table.loc["alice", "note"] == "regraded: relu 0 → 1"
    assert table.loc["bob", "note"] == ""


def test_a_roster_names_who_is_missing(hand_in, tmp_path):
    (tmp_path / "roster.csv").write_text("email,student\na@x,alice\nb@x,bob\n")
    table = hand_in(alice=[IMPORT, RELU], options={"roster": tmp_path / "roster.csv"})
    assert table.loc["bob", ["points", "note"]].tolist() == [0, "nothing was handed in"]
    assert "bob,0.0" in (hand_in.out / "grades.csv").read_text()


def test_manual_marks_are_filled_in_a_sheet_and_merged(hand_in):
    manual = {"options": {"manual": {"report": 10}}}
    table = hand_in(alice=[IMPORT, RELU], **manual)
    sheet = hand_in.out / "manual.csv"
    assert sheet.read_text() == "student,report\nalice,\n"
    assert (table.loc["alice", "points"], table.loc["alice", "of"]) == (1, 17)
    sheet.write_text("student,report\nalice,7.5\n")
    assert hand_in(**manual).loc["alice", "points"] == 8.5
    sheet.write_text("student,report\nalice,75\n")
    with pytest.raises(ValueError, match="alice, report: '75' is no number from 0 to 10"):
        hand_in(**manual)


def test_a_name_that_is_a_formula_is_none_in_the_table(hand_in):
    hand_in(**{"=1+1": [IMPORT, RELU]})
    assert "\n'=1+1," in (hand_in.out / "grades.csv").read_text()


def test_the_overview_counts_the_typical_mistakes(hand_in):
    absolute = "def relu(x):\n    return np.abs(x)"
    hand_in(a=[IMPORT, absolute], b=[IMPORT, absolute], c=[IMPORT, RELU])
    page = (hand_in.out / "overview.html").read_text()
    assert "2 × you took the absolute value" in page
    assert "33%" in page


# ways to run it ---------------------------------------------------------------------------------------------

PRIVATE = {
    "probes": "from dl_course.exercises.probes import probe\n"
    "from dl_course.exercises.probes.tools import called\n"
    "@probe\ndef secret_sum(answer, case):\n    return called(answer, case['x'])\n",
    "checks": '''from dl_course.exercises.judging import Exercise
class SecretSum(Exercise):
    """A private sum."""
    name, points, reference = "secret_sum", 4, staticmethod(lambda x: x.sum())
    def cases(self, rng):
        yield {"about": "numbers", "x": rng.normal(size=4)}
''',
}


def test_an_instructors_own_exercises_are_judged_too(hand_in, own_exercises, monkeypatch):
    monkeypatch.setattr(Exercise, "registered", {**Exercise.registered})
    right = "def secret_sum(x):\n    return float(x.sum())"
    table = hand_in(alice=[right], bob=[WRONG], options={"chapter": "91", "private": own_exercises})
    assert table["secret_sum"].to_dict() == {"alice": 4, "bob": 0}


def test_several_jobs_give_the_marks_of_one(hand_in):
    one = hand_in(alice=[IMPORT, RELU], bob=[IMPORT, WRONG], carol=[BEFORE, AFTER])
    with joblib.parallel_config(backend="threading"):
        assert hand_in("two", options={"jobs": 2}).equals(one)


def test_a_dask_cluster_gives_the_marks_of_one_machine(hand_in):
    distributed = pytest.importorskip("distributed")
    one = hand_in(alice=[IMPORT, RELU], bob=[IMPORT, WRONG])
    where = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**where) as cluster:
        assert hand_in("far", options={"dask": cluster.scheduler_address}).equals(one)


def test_the_command_prints_the_grades(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "alice.ipynb").write_text(notebook(IMPORT, RELU))
    given = ["grade", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--chapter", "02", "--seed", "s"]
    assert main([*given, "--manual", "report=3"]) == 0
    assert "alice" in capsys.readouterr().out
    assert main(["grade", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")]) == 1
    assert "no folder" in capsys.readouterr().err
    assert main([*given, "--memory", "lots"]) == 1
    assert "write 500M or 2G" in capsys.readouterr().err


def test_a_seed_that_nobody_gave_is_drawn_once_and_kept(hand_in):
    hand_in(alice=[IMPORT, RELU], options={"seed": None})
    seed = (hand_in.out / "seed.txt").read_text()
    assert len(seed) == 32 and os.stat(hand_in.out / "seed.txt").st_mode & 0o077 == 0
    hand_in(options={"seed": None})
    assert (hand_in.out / "seed.txt").read_text() == seed


@pytest.fixture(scope="module")
def no_namespaces():
    cage = Cage(2**30, namespaces=False)
    yield cage
    cage.close()


def test_where_namespaces_are_missing_the_cage_says_so_and_a_sandbox_can_be_required(
    hand_in, no_namespaces, monkeypatch
):
    assert no_namespaces.isolation != "namespaces"
    monkeypatch.setattr(command, "_cage", lambda *settings: no_namespaces)
    assert hand_in(alice=[IMPORT, RELU]).loc["alice", "relu"] == 1
    with pytest.raises(OSError, match="no sandbox here"):
        hand_in(bob=[IMPORT, RELU], options={"require_sandbox": True})


def test_where_namespaces_are_missing_too_a_worker_is_ended_with_its_children(no_namespaces):
    import psutil

    before = len(psutil.Process(no_namespaces.process.pid).children(recursive=True))
    source = "import os, time\ndef begin():\n    if not os.fork():\n        os.setsid()\n        os.fork()\n"
    source += "        time.sleep(600)\nBEGUN = begin()"
    worker = no_namespaces.worker()
    worker.open({"x.ipynb": notebook(source, "def relu(x):\n    return BEGUN").encode()}, "x.ipynb", 60)
    assert worker.ask("load", 60, name="relu", passed=[])["found"]
    with pytest.raises(Lost):
        worker.ask("no such question", 60)
    worker.close()
    assert len(psutil.Process(no_namespaces.process.pid).children(recursive=True)) == before


def test_what_isolates_the_submissions_is_said_before_any_is_run(monkeypatch, caplog):
    class Bare:
        isolation = "a user of its own"

    monkeypatch.setattr(command, "_cages", {})
    monkeypatch.setattr(command, "Cage", lambda *settings: Bare)
    with caplog.at_level("INFO"):
        CAGE_OF_A_RUN(2**30, None)
    assert caplog.messages == ["Submissions run in: a user of its own"]


def test_where_no_process_can_fork_nobody_is_marked_and_what_to_use_is_said(hand_in, monkeypatch):
    monkeypatch.setattr(command, "_cages", {})
    monkeypatch.setattr(command, "_cage", CAGE_OF_A_RUN)
    monkeypatch.delattr(os, "fork")  # as on Windows
    with pytest.raises(OSError, match="use Linux, macOS or WSL"):
        hand_in(alice=[IMPORT, RELU])


def test_students_code_never_runs_as_root_unenclosed(hand_in, monkeypatch):
    class Bare:
        isolation = "a process group of its own"
        close = staticmethod(lambda: None)

    monkeypatch.setattr(command, "_cages", {})
    monkeypatch.setattr(command, "_cage", CAGE_OF_A_RUN)
    monkeypatch.setattr(command, "Cage", lambda *settings: Bare)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(OSError, match="must not run as root"):
        hand_in(alice=[IMPORT, RELU])
