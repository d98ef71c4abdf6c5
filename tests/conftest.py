"""What all tests share."""

from __future__ import annotations

import signal
import sys

import pytest
from hypothesis import settings

# No deadline: the first example pays for loading torch, and other processes may have the cores. The same
# examples in every run, so that none turns red by luck; new ones are drawn by --hypothesis-profile=random.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("same")
# `make test &` comes with SIGINT ignored; the tests of the Stop button would then wait for ever
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip on Windows what asks for something else."""
    if sys.platform == "win32" and item.get_closest_marker("posix"):
        pytest.skip("needs fork, signals for another process, or programs that are scripts")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty place for the progress file."""
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def patient(monkeypatch):
    """Ten times the seconds of an exercise: how busy the machine is isn't what most tests ask."""
    from dl_course.exercises import checking
    from dl_course.exercises.limits import time_limit

    monkeypatch.setattr(checking, "time_limit", lambda seconds: time_limit(10 * seconds))
