"""What the tests of the judge share."""

from __future__ import annotations

import pytest

from dl_course.grading import command


@pytest.fixture(scope="session", autouse=True)
def close_cages():
    """Runs of `grade` share a cage, whose zygote takes seconds to start; return what else closes one."""
    close = command._close_cages
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_close_cages", lambda: None)
        yield close
    close()
