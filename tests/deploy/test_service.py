"""The service as its users meet it: answers, refusals with a reason, a stop that leaves nobody without."""

import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmarks import service as bench
from dl_course.cli import _parser, main
from dl_course.deploy import Limits, ServedModel, serving

ROOT = Path(__file__).parents[2]
PNG, FORM = "image/png", "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return bench.network(tmp_path_factory.mktemp("service") / "handmade.onnx")


@pytest.fixture(scope="module")
def address(network):
    with serving(network, limits=Limits(body_bytes=50_000, pictures=3, pixels=10_000)) as address:
        yield address


class Gate:
    """A network that answers when it is let; ``entered`` is set once it is asked."""

    def __init__(self):
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, quick):
        def waiting(model, pictures):
            if pictures.any():  # not what the network is tried with
                self.entered.set()
                assert self.open.wait(60)
            return quick(model, pictures)

        return waiting


@pytest.fixture
def gate(monkeypatch):
    gate = Gate()
    monkeypatch.setattr(ServedModel, "probabilities", gate(ServedModel.probabilities))
    yield gate
    gate.open.set()


def ask(address, body=None, kind=PNG, path="/predict"):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request("GET" if body is None else "POST", path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, json.loads(text) if "json" in answer.headers["Content-Type"] else text


def connected(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def asking(address, answers):
    thread = threading.Thread(target=lambda: answers.append(ask(address, bench.png())))
    thread.start()
    return thread


def test_a_picture_is_answered_with_its_class_and_every_probability(address, network):
    answer, said = ask(address, bench.png())
    model = ServedModel(network)
    expected = model.probabilities(model.pictures(bench.png(), PNG, Limits()))[0]
    assert answer.status == 200 and said["model"] == "handmade.onnx"
    (prediction,) = said["predictions"]
    assert list(prediction["probabilities"]) == list("0123456789")
    np.testing.assert_allclose(list(prediction["probabilities"].values()), expected, rtol=1e-6)
    assert prediction["class"] == str(expected.argmax()) and prediction["confidence"] == expected.max()


def test_several_pictures_are_answered_in_their_order(address):
    files = [bench.png(seed=seed) for seed in range(3)]
    together = ask(address, bench.form(*files), FORM)[1]["predictions"]
    apart = [ask(address, file)[1]["predictions"][0] for file in files]
    assert [each["class"] for each in together] == [each["class"] for each in apart]
    assert len({each["confidence"] for each in together}) == 3


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (bytes(50_001), PNG, 413, "at most 50000 bytes"),
        (bytes(400_000), PNG, 413, "at most 50000 bytes"),
        (bench.form(*[bench.png(8)] * 4), FORM, 413, "at most 3 pictures"),
        (bench.png(101), PNG, 413, "10000 pixels"),
        (bench.png()[:-30], PNG, 400, "picture 1 can't be read as PNG or JPEG"),
        (bench.form(bench.png(), b"GIF89a"), FORM, 400, "picture 2 can't be read"),
        (b"{}", "application/json", 415, "multipart/form-data"),
        (b"", PNG, 400, "can't be read"),
    ],
)
def test_what_is_too_much_or_no_picture_is_refused_with_the_reason(address, body, kind, status, reason):
    answer, said = ask(address, body, kind)
    assert answer.status == status and list(said) == ["detail"] and reason in said["detail"]
    assert ask(address, bench.png())[0].status == 200


def test_what_is_just_within_the_limits_is_answered(address):
    padded = bench.png(100)  # what follows a picture's end is not read
    assert ask(address, padded + bytes(50_000 - len(padded)))[0].status == 200


def test_unknown_addresses_and_verbs_are_refused_as_json(address):
    assert ask(address, path="/nowhere")[0].status == 404 and ask(address)[0].status == 405
    assert ask(address)[1] == {"detail": "Method Not Allowed"}


def test_health_says_what_the_network_takes(address):
    answer, said = ask(address, path="/health")
    assert answer.status == 200
    about = {"model": "handmade.onnx", "classes": list("0123456789"), "shape": [1, 28, 28]}
    assert said == {"status": "ready"} | about


def test_the_pages_ask_nothing_from_other_places_and_the_browser_would_not_let_them(address):
    for path in ("/", "/docs"):
        answer, html = ask(address, path=path)
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert re.findall(r"https?:|//\w+\.", html) == []


def test_a_body_that_comes_too_slowly_is_refused(network):
    with serving(network, limits=Limits(seconds=3)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slowly:
            slowly.sendall(bench.request(bench.png())[:-10])
            answer = b"".join(iter(lambda: slowly.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 408") and b"the body took longer than 3 s" in answer
        assert ask(address, bench.png())[0].status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /predict HTTP/1.1\r\nHost:",
        b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
    ],
    ids=["nothing", "half a head", "half a body that nobody reads"],
)
def test_a_connection_that_never_finishes_a_request_is_closed(network, sent):
    with serving(network, limits=Limits(seconds=0.5)) as address, connected(address) as connection:
        connection.sendall(sent)
        while connection.recv(1000):  # b"" once the server has closed; the socket itself gives up after 30 s
            pass


def test_a_head_that_trickles_after_an_answer_is_not_waited_for(network):
    with serving(network, limits=Limits(seconds=3)) as address, connected(address) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea")
        answer = b""
        while more := connection.recv(1000):
            answer += more
        assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1") == 1


def test_a_connection_is_kept_while_its_requests_come_in_time(network):
    with serving(network, limits=Limits(seconds=5)) as address:
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        connection.connect()
        kept = connection.sock
        for _ in range(3):
            connection.request("GET", "/health")
            answer = connection.getresponse()
            assert answer.status == 200 and answer.read()
        assert connection.sock is kept


def test_its_threads_end_with_it(network):
    def threads():
        return {thread for thread in threading.enumerate() if thread.name.startswith("dl_course service")}

    before = threads()
    with serving(network) as address:
        ask(address, bench.png())
        assert threads() > before
    assert threads() <= before


def test_an_answer_that_takes_too_long_is_given_up(network, gate):
    with serving(network, limits=Limits(seconds=2)) as address:
        answer, said = ask(address, bench.png())
        gate.open.set()
    assert answer.status == 503 and answer.headers["Retry-After"] == "1"
    assert said == {"detail": "the answer took longer than 2 s"}


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_again(network, gate):
    answers = []
    with serving(network, limits=Limits(concurrent=1, seconds=60)) as address:
        first = asking(address, answers)
        assert gate.entered.wait(30)
        answer, said = ask(address, bench.png())
        assert answer.status == 503 and answer.headers["Retry-After"] == "1"
        assert "as many as may be" in said["detail"]
        assert ask(address, path="/health")[0].status == 200
        gate.open.set()
        first.join()
        assert answers[0][0].status == 200
        assert ask(address, bench.png())[0].status == 200


def test_when_it_stops_the_accepted_are_answered_and_told_that_it_closes(network, gate, monkeypatch):
    monkeypatch.setattr("dl_course.deploy.service.DRAIN_S", 5)
    answers, farewell = [], []

    def hold(kept):
        status = 200
        while status == 200:
            kept.request("GET", "/health")
            answer = kept.getresponse()
            status, said = answer.status, json.loads(answer.read())
        farewell.append((status, answer.headers["Connection"], said["status"]))
        gate.open.set()

    with serving(network) as address:
        kept = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        threads = [asking(address, answers), threading.Thread(target=hold, args=[kept])]
        threads[1].start()
        assert gate.entered.wait(30)
    for thread in threads:
        thread.join()
    assert farewell == [(503, "close", "stopping")]
    assert answers[0][0].status == 200 and answers[0][0].headers["Connection"] == "close"
    with pytest.raises(ConnectionRefusedError):
        ask(address, bench.png())


def test_listeners_hear_of_every_answer_and_refusal(network):
    answered, refused = [], []
    with serving(
        network, on_prediction=lambda *what: answered.append(what), on_refusal=refused.append
    ) as address:
        said = ask(address, bench.form(bench.png(seed=1), bench.png(seed=2)), FORM)[1]
        ask(address, b"rubbish")
    ((probabilities, seconds, pictures),) = answered
    assert pictures.shape == (2, 1, 28, 28) and 0 < seconds < 30
    expected = [list(each["probabilities"].values()) for each in said["predictions"]]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    assert refused == ["400 picture 1 can't be read as PNG or JPEG"]


def test_a_listener_that_fails_costs_nobody_an_answer(network, caplog):
    with serving(network, on_prediction=lambda *what: 1 / 0) as address:
        assert ask(address, bench.png())[0].status == 200
    assert "a listener failed" in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_client_that_leaves_in_the_middle_leaves_no_error_behind(network, caplog):
    with serving(network) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(bench.request(bench.png())[:-10])
        time.sleep(0.2)
        assert ask(address, bench.png())[0].status == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_each_request_is_a_line_of_json_in_the_log(network, caplog):
    with caplog.at_level(logging.INFO, "dl_course.service"), serving(network) as address:
        ask(address, bench.png())
        ask(address, path='/a"b\n'.replace("\n", "%0a"))
    lines = [json.loads(r.message) for r in caplog.records if r.name == "dl_course.service"]
    assert [(each["method"], each["path"], each["status"]) for each in lines] == [
        ("POST", "/predict", 200),
        ("GET", '/a"b\n', 404),
    ]
    assert all(each["ms"] > 0 for each in lines)


def test_a_port_that_is_taken_and_a_file_that_is_none_are_said_in_a_line(network, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", str(network), "--port", str(taken.getsockname()[1])]) == 1
    assert "Address already in use" in capsys.readouterr().err
    assert main(["serve", "nowhere.onnx"]) == 1
    assert capsys.readouterr().err.startswith("dl-course: [Errno 2] No such file")


def test_the_server_needs_no_torch():
    code = "import sys, dl_course.deploy.service; print(*{'torch', 'scipy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_without_the_extra_the_error_names_it(monkeypatch):
    import dl_course.deploy

    monkeypatch.delitem(sys.modules, "dl_course.deploy.service")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(ImportError, match=r'serve needs fastapi.*pip install "dl-course\[deploy\]"'):
        _ = dl_course.deploy.serve


def test_the_container_installs_what_the_project_asks_for_and_serves_as_nobody():
    text = (ROOT / "Containerfile").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = set(re.findall(r'"([\w-]+>=[\d.]+)"', text))
    assert wanted <= {*project["dependencies"], *project["optional-dependencies"]["deploy"]}
    assert {each.partition(">")[0] for each in wanted} > {"onnxruntime", "fastapi", "uvicorn", "pillow"}
    assert re.search(r"^FROM \S+:\d\S*$", text, re.MULTILINE)
    assert re.search(r"^USER [1-9]", text, re.MULTILINE)
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    options = _parser().parse_args(json.loads(command)[1:])
    assert (options.verb.__name__, options.host) == ("serve", "0.0.0.0")
