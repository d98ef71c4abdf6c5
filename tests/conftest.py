"""What all tests share."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# the first example pays for loading torch, and other processes may have the cores
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
# `make test &` comes with SIGINT ignored; the tests of the Stop button would then wait for ever
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty place for the progress file."""
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
