"""A bare `pytest` or `pytest --nbval` runs offline, in a known hash order, without your own progress."""

import os
import tempfile

import pytest

os.environ["DL_COURSE_OFFLINE"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that a test starts compiles torch anew
os.environ["DL_COURSE_LANGUAGE"] = "en"  # whatever the system speaks
os.environ["PYTHONHASHSEED"] = "0"  # for the kernels and processes that tests start
HOME = tempfile.TemporaryDirectory(
    prefix="dl_course_test_", ignore_cleanup_errors=True
)  # gone with this process
os.environ["DL_COURSE_HOME"] = HOME.name

CELL_S = 330  # for a cell of a notebook, which nbval ends after 300 s


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give notebooks' cells, which train networks, more time than a test has."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.timeout(CELL_S))
