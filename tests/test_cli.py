"""The command `dl-course`: exit statuses, and what each verb prints."""

import json
import re
import sys
from pathlib import Path

import pytest

from dl_course import cli, workspace
from dl_course.cli import main
from dl_course.exercises.progress_file import progress

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def clone(tmp_path, monkeypatch, home):
    """A course whose chapters are the real ones."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "chapters").symlink_to(ROOT / "chapters")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["doctor", "--yaml"], ["reset"], ["progress", "1", "2"]]
)
def test_wrong_usage_ends_with_status_2_and_says_what_is_right(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: dl-course" in capsys.readouterr().err


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(verb in said for verb in ("lab", "doctor", "progress", "reset", "build"))


def test_doctor_prints_json_that_agrees_with_its_exit_status(capsys, home):
    status = main(["doctor", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert status == (0 if said["healthy"] else 1)
    assert {"Python", "torch", "device", "memory", "JupyterLab", "widgets", "data"} <= {
        item["name"] for item in said["items"]
    }


def test_doctor_ends_with_status_1_where_something_needed_is_missing(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    assert "something needed is missing" in capsys.readouterr().out


def test_progress_of_the_course_and_of_a_chapter(capsys, home):
    progress.record("standardize", "passed")
    assert main(["progress"]) == 0
    assert "01 ✓" in capsys.readouterr().out
    assert main(["progress", "01"]) == 0
    assert "Chapter 01: 1 of " in capsys.readouterr().out


def test_an_unknown_chapter_ends_with_status_1_and_names_those_there_are(capsys, home):
    assert main(["progress", "77"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "dl-course: no exercises in chapter '77'; there are chapters 01" in said.err


def test_reset_says_what_it_did(clone, capsys):
    workspace.prepare(clone)
    assert main(["reset", "standardize"]) == 0
    said = capsys.readouterr().out
    assert "kept your version as work/before_reset/" in said and "is the stub again" in said


def test_an_unknown_name_and_a_folder_outside_the_course_end_with_status_1(clone, capsys, monkeypatch):
    assert main(["reset", "standardise"]) == 1
    assert "did you mean 'standardize'?" in capsys.readouterr().err
    monkeypatch.setattr(workspace, "repository_root", lambda: None)
    assert main(["reset", "standardize"]) == 1
    assert "inside a clone" in capsys.readouterr().err


def test_lab_copies_missing_chapters_and_hands_further_options_to_jupyterlab(clone, capsys, monkeypatch):
    started = []

    class Done:
        returncode = 7

    def run(command, **options):
        started.append((command, options["env"]["PYTHONHASHSEED"]))
        return Done

    monkeypatch.setattr(cli.subprocess, "run", run)
    assert main(["lab", "--no-browser", "--port=9999"]) == 7
    assert "new: work/01_setup.ipynb" in capsys.readouterr().out
    where = [f"--ServerApp.root_dir={clone / 'work'}", "--LabApp.default_url=/lab/tree/01_setup.ipynb"]
    options = [*where, "--no-browser", "--port=9999"]
    assert started == [([sys.executable, "-m", "jupyterlab", *options], "0")]
    notebook = clone / "work" / "01_setup.ipynb"
    assert notebook.read_bytes() == (ROOT / "chapters" / "01_setup.ipynb").read_bytes()


def test_lab_can_copy_the_chapters_and_open_nothing(clone, capsys, monkeypatch):
    monkeypatch.setattr(cli.subprocess, "run", None)
    assert main(["lab", "--prepare-only"]) == 0
    assert "new: work/01_setup.ipynb" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--chec"],
        ["doctor", "--js"],
        ["grade", "x", "-o", "y", "--cha", "02"],
        ["serve", "m", "--por", "0"],
    ],
)
def test_an_abbreviated_option_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err


def test_an_abbreviated_option_of_a_training_is_refused_and_the_whole_one_named(capsys):
    assert main(["train", "--config", "digits_quick", "--training.learning_rat", "3"]) == 1
    assert "did you mean 'training.learning_rate'?" in capsys.readouterr().err


def test_a_lesson_that_breaks_a_rule_ends_the_build_with_status_1_and_its_line(clone, capsys):
    (clone / "solutions").mkdir()
    lesson = '# %% [markdown]\n# # T\n\n# %% tags=["exercise"]\nx = 1\n'
    (clone / "solutions" / "01_setup.py").write_text(lesson, "utf-8")
    assert main(["build", "--check"]) == 1
    assert "dl-course: 01_setup.py, line 5: an exercise cell holds exactly one" in capsys.readouterr().err


def test_the_chapters_of_the_repository_are_what_its_lessons_make(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = main(["build", "--check"])
    assert status == 0, capsys.readouterr().out


def test_data_lists_what_is_here_and_says_what_is_not_to_be_had(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DL_COURSE_DATA", str(tmp_path))
    assert main(["data"]) == 0
    listed = capsys.readouterr().out
    assert "digits" in listed and "to be downloaded" in listed
    assert all(line == line.rstrip() for line in listed.splitlines())
    states = {re.split(r"  +", line)[1] for line in listed.splitlines()}
    assert states == {"here", "to be downloaded"}
    assert main(["data", "digits"]) == 0
    assert "digits: " in capsys.readouterr().out
    assert main(["data", "mnist"]) == 1
    assert "By hand" in capsys.readouterr().err
    assert main(["data", "digitz"]) == 1
    assert "did you mean 'digits'" in capsys.readouterr().err


PARTS = """
import torch
from torch import nn

dice = torch.Generator().manual_seed(0)
x, y = torch.randn(64, 6, generator=dice), torch.randint(2, (64,), generator=dice)
x[:, 0] += 2 * y

def parts():
    torch.manual_seed(0)
    batches = [(x[i : i + 16], y[i : i + 16] + OFFSET) for i in range(0, 64, 16)]
    return dict(model=nn.Linear(6, 2), train_loader=batches, loss_fn=nn.CrossEntropyLoss())

def misspelt():
    return parts() | {"optimiser": None}

def raising():
    raise KeyError("no such column")

def unreadable():
    return parts() | {"train_loader": 7}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Two modules of a stranger's project, one of them with labels beyond the outputs."""
    for name, offset in (("good_parts", 0), ("bad_parts", 2)):
        (tmp_path / f"{name}.py").write_text(PARTS.replace("OFFSET", str(offset)), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("good_parts", None), sys.modules.pop("bad_parts", None)


def test_checkup_ends_with_status_0_for_a_healthy_set_up_and_1_for_a_fault(project, capsys):
    assert main(["checkup", "good_parts:parts"]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert main(["checkup", "bad_parts:parts", "--format", "sarif"]) == 1
    first = json.loads(capsys.readouterr().out)["runs"][0]["results"][0]
    assert first["ruleId"] == "labels-out-of-range"
    assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "bad_parts.py"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("parts", "given 'parts': ModuleNotFoundError"),
        ("good_parts:party", "no attribute 'party'"),
        ("good_parts:misspelt", "unexpected keyword argument 'optimiser'; expected MODULE:FUNCTION"),
        ("good_parts:raising", "KeyError: 'no such column'"),
        ("good_parts:unreadable", "not judged: train_loader raised TypeError"),
    ],
)
def test_checkup_ends_with_status_2_where_it_could_not_judge(project, capsys, target, said):
    assert main(["checkup", target]) == 2
    assert said in capsys.readouterr().err
