"""One build of the whole site, shared by the tests that read it."""

import pytest

from book import BookError, build
from book.live import vendored


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site's folder, built here with warnings as errors."""
    try:
        vendored("onnxruntime-web")
    except BookError as error:
        pytest.skip(str(error))
    return build.html(tmp_path_factory.mktemp("book"))
