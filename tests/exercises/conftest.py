"""What the tests of exercises share."""

from __future__ import annotations

import pytest

from dl_course.exercises import checking
from dl_course.exercises.limits import time_limit


@pytest.fixture
def patient(monkeypatch):
    """Ten times the seconds of an exercise: how busy the machine is isn't what these tests ask."""
    monkeypatch.setattr(checking, "time_limit", lambda seconds: time_limit(10 * seconds))
