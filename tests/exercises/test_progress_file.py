"""The progress file: two notebooks at once, crashes, damage, other machines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dl_course.exercises import progress_file
from dl_course.exercises.checks import all_exercises
from dl_course.exercises.progress_file import progress

WRITER = """
import sys
from dl_course.exercises.progress_file import Progress
for k in range(40):
    assert Progress().record(f"{sys.argv[1]}{k}", "passed") == ""
"""


def entries(home):
    return json.loads((home / "progress.json").read_text())["exercises"]


def test_nothing_is_passed_at_first_and_the_first_exercise_is_next(home):
    shown = repr(progress("01"))
    assert shown.startswith("→ Chapter 01: 0 of 4 exercises passed")
    assert "next  Standardize a batch (standardize)" in shown
    assert not home.exists()


def test_what_passed_stays_passed_and_attempts_are_counted(home):
    for status in ("not yet", "passed", "not yet", "not attempted"):
        assert progress.record("standardize", status) == ""
    assert entries(home)["standardize"]["status"] == "passed"
    assert entries(home)["standardize"]["attempts"] == 3
    assert "1 of 4" in repr(progress("01")) and "next  Broadcasting" in repr(progress("01"))


def test_all_done_says_so(home):
    for name in all_exercises():
        progress.record(name, "passed")
    assert "all done" in repr(progress()) and repr(progress()).startswith("✓ The course")


def test_an_unknown_chapter_is_refused_with_those_there_are(home):
    with pytest.raises(ValueError, match="no exercises in chapter '99'; there are chapters 01"):
        progress("99")


def test_two_processes_that_write_at_once_lose_nothing(home):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(entries(home)) == sorted(f"{name}{k}" for name in "ab" for k in range(40))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file_whole(home, monkeypatch, moment):
    progress.record("standardize", "passed")

    def crash(*args):
        raise SystemError("power cut")

    with monkeypatch.context() as broken, pytest.raises(SystemError):
        broken.setattr(progress_file.os, moment, crash)
        progress.record("seeded_split", "passed")
    assert list(entries(home)) == ["standardize"]
    assert progress.record("seeded_split", "passed") == ""  # and the lock was let go
    assert sorted(path.name for path in home.iterdir()) == ["progress.json", "progress.lock"]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"exercises": {"x": 3}}', '{"exercises": 3}', '{"format": 1}']
)
def test_a_damaged_file_is_kept_aside_and_said(home, damage):
    home.mkdir()
    (home / "progress.json").write_text(damage)
    with pytest.warns(UserWarning, match="is kept as progress.damaged"):
        progress.record("standardize", "passed")
    assert entries(home)["standardize"]["status"] == "passed"
    assert next(home.glob("progress.damaged-*.json")).read_text() == damage


def test_an_export_merges_into_another_machines_progress(home, tmp_path, monkeypatch):
    progress.record("standardize", "passed")
    progress.record("seeded_split", "not yet")
    file = progress.export(tmp_path / "mine.json")
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "other"))
    progress.record("seeded_split", "passed")
    progress.record("standardize", "not yet")
    assert "2 of" in repr(progress.import_from(file))
    assert {name: entry["status"] for name, entry in entries(tmp_path / "other").items()} == {
        "standardize": "passed",
        "seeded_split": "passed",
    }


def test_importing_something_else_says_what_is_wrong(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="progress.export"):
        progress.import_from(tmp_path / "nothing.json")
    (tmp_path / "other.json").write_text('{"exercises": {"x": 3}}')
    with pytest.raises(ValueError, match="not as dl_course writes them"):
        progress.import_from(tmp_path / "other.json")


def test_forgetting_takes_an_exercise_back(home):
    progress.record("standardize", "passed")
    progress.forget(["standardize", "never_tried"])
    assert entries(home) == {}
