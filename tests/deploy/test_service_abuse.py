"""The service among strangers: rubbish, bombs, a crowd, and a stop in the middle of it."""

from collections import Counter

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from benchmarks import service as bench
from dl_course.deploy import create_app

pytestmark = pytest.mark.timeout(300)  # it starts programs or trains: more than a test has otherwise

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("abuse")
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        with bench.service(bench.network(folder / "handmade.onnx")) as service:
            yield service


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_keeps_or_breaks_its_own_description_meets_no_server_error(mode, tmp_path):
    app = create_app(bench.network(tmp_path / "handmade.onnx"))
    contract = schemathesis.openapi.from_asgi("/openapi.json", app)
    statuses = set()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=contract.as_strategy(generation_mode=mode))
    def holds(case):
        statuses.add(case.call_and_validate(checks=CHECKS).status_code)

    holds()
    assert 400 in statuses and max(statuses) < 500


def test_malformed_bodies_neither_crash_it_nor_stay_in_memory_nor_on_disk(running):
    process, port, log = running
    before = [file.path for file in psutil.Process(process.pid).open_files()]
    seen, memory = bench.abuse(process, port, 340)
    assert {status // 100 for _, status in seen} <= {2, 4}
    answered = {name for name, status in seen if status == 200}
    assert answered <= {"polyglot", "bytes changed", "form of rubbish"}  # which may have a picture in them
    assert memory <= 1.1
    assert process.poll() is None and bench.ask(port, bench.png(), "image/png") == 200
    assert [file.path for file in psutil.Process(process.pid).open_files()] == before
    assert list((log.parent / "tmp").iterdir()) == []
    assert "Traceback" not in log.read_text()


def test_a_crowd_is_answered_to_the_last_request(running):
    _, port, _ = running
    answers = bench.load(port, bench.request(bench.png()), 4, least=2 * bench.CLIENTS)
    seen = Counter(status for status, _ in answers)
    assert list(seen) == ["200"] and seen["200"] > bench.CLIENTS


@pytest.mark.posix
def test_sigterm_in_a_crowd_loses_no_accepted_request(tmp_path):
    with bench.service(bench.network(tmp_path / "handmade.onnx")) as (process, port, log):
        seen = bench.load(port, bench.request(bench.png()), 3, process.pid, 2 * bench.CLIENTS)
        process.wait(60)
    assert set(status for status, _ in seen) == {"200"}
    assert log.read_text().count('"/predict", "status": 200') == len(seen)
