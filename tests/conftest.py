"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty place for the progress file."""
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
