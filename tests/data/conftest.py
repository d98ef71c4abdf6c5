from pathlib import Path

import pytest

from dl_course.files import data_root


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("DL_COURSE_OFFLINE", "1")


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """A data root that starts empty; the generated sets are cached in it."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture
def mnist_root() -> Path:
    if not (data_root() / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip("MNIST isn't here: set DL_COURSE_DATA to a folder that holds MNIST/raw")
    return data_root()
