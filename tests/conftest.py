"""Every test runs offline, with progress of its own, and in a known hash order."""

from __future__ import annotations

import os
import tempfile

os.environ["DL_COURSE_OFFLINE"] = "1"
os.environ["PYTHONHASHSEED"] = "0"  # for the kernels and processes that tests start
os.environ["DL_COURSE_HOME"] = tempfile.mkdtemp(prefix="dl_course_test_")

import pytest  # noqa: E402


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty place for the progress file."""
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
