"""Downloads against a server of our own that is slow, cuts off, sends wrong bytes, hangs or is down."""

import gzip
import hashlib
import io
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dl_course import files
from dl_course.files import DataUnavailable, atomic, data_root, fetch, is_writable, repository_root, unpack

BODY = bytes(range(256)) * 1000
CHECKSUM = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.released = [], threading.Event()

    def url(self, kind):
        return f"http://127.0.0.1:{self.server_port}/{kind}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        kind = self.path[1:]
        self.server.asked.append(kind)
        if kind == "hangs":
            return self.server.released.wait(60)
        self.send_response(404 if kind == "absent" else 200)
        if kind != "no-length":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if kind == "stalls":
            self.wfile.write(BODY[:1000])
            self.wfile.flush()
            self.server.released.wait(60)
        elif kind == "slow":
            for start in range(0, len(BODY), len(BODY) // 5):
                self.wfile.write(BODY[start : start + len(BODY) // 5])
                self.wfile.flush()
                time.sleep(0.2)
        elif kind == "cuts":
            self.wfile.write(BODY[:1000])
        else:
            self.wfile.write(BODY[::-1] if kind == "wrong" else BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("DL_COURSE_OFFLINE", raising=False)
    monkeypatch.setattr(files, "PATIENCE", 5.0)  # shared by up to five; a machine may stand still
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def down():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/down"


def left_in(folder):
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


@pytest.mark.parametrize("kind", ["good", "no-length", "slow"])
def test_a_download_arrives_whole(server, tmp_path, kind):
    path = fetch(tmp_path / "new" / "file.bin", [server.url(kind)], CHECKSUM)
    assert path.read_bytes() == BODY
    assert left_in(path.parent) == ["file.bin"]


@pytest.mark.parametrize("kind", ["absent", "cuts", "wrong", "hangs", "stalls", None])
def test_a_mirror_that_fails_is_followed_by_the_next(server, tmp_path, kind):
    bad = server.url(kind) if kind else down()
    assert fetch(tmp_path / "file.bin", [bad, server.url("good")], CHECKSUM).read_bytes() == BODY


def test_when_all_mirrors_fail_the_error_says_why_and_what_to_do_by_hand(server, tmp_path):
    kinds = {
        "absent": "404",
        "cuts": "cut off after 1,000 of 256,000 bytes",
        "wrong": "checksum",
        "hangs": "1.0 sec|timed out",  # by our clock, or the socket's
    }
    path = tmp_path / "file.bin"
    with pytest.raises(DataUnavailable) as error:
        fetch(path, [*map(server.url, kinds), down()], CHECKSUM)
    for kind, reason in {**kinds, "down": "refused"}.items():
        line = next(line for line in str(error.value).splitlines() if f"/{kind}:" in line)
        assert re.search(reason, line)
    assert f"put it, as it is, at {path}, from http" in str(error.value)
    assert left_in(tmp_path) == []


def test_a_download_that_fails_leaves_neither_a_lock_nor_an_empty_folder(server, tmp_path):
    with pytest.raises(DataUnavailable):
        fetch(tmp_path / "new" / "deep" / "file.bin", [down()], f"sha256:{64 * '0'}")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataUnavailable):
        fetch(tmp_path / "mine" / "file.bin", [down()], f"sha256:{64 * '0'}")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]  # it was there before


def test_the_patience_covers_a_name_that_is_never_looked_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: server.released.wait(60))
    with pytest.raises(DataUnavailable, match="no answer in 5.0 seconds"):
        fetch(tmp_path / "file.bin", ["http://data.example/file"], CHECKSUM)


def test_without_a_network_it_gives_up_within_ten_seconds():
    assert files.PATIENCE <= 10


def test_an_interrupted_download_leaves_nothing_and_starts_afresh(server, tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    with monkeypatch.context() as patch:
        patch.setattr(files.tqdm, "update", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(path, [server.url("good")], CHECKSUM)
    assert left_in(tmp_path) == []
    assert fetch(path, [server.url("good")], CHECKSUM).read_bytes() == BODY


def test_what_a_killed_process_left_is_swept_away(server, tmp_path):
    (tmp_path / ".file.bin.0badcafe.part").write_bytes(BODY[:10])
    fetch(tmp_path / "file.bin", [server.url("good")], CHECKSUM)
    assert left_in(tmp_path) == ["file.bin"]


def test_a_whole_file_is_not_asked_for_again_but_a_damaged_one_is(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(BODY)
    fetch(path, [server.url("good")], CHECKSUM)
    assert server.asked == []
    path.write_bytes(BODY[:-1])
    assert fetch(path, [server.url("good")], CHECKSUM).read_bytes() == BODY


def test_two_that_want_the_same_file_download_it_once(server, tmp_path):
    arguments = (tmp_path / "file.bin", [server.url("slow")], CHECKSUM)
    both = [threading.Thread(target=fetch, args=arguments) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert server.asked == ["slow"]


def test_offline_and_read_only_folders_are_left_alone(server, tmp_path, monkeypatch):
    path = tmp_path / "closed" / "file.bin"
    path.parent.mkdir()
    path.parent.chmod(0o555)  # Windows ignores the mode of mkdir
    with pytest.raises(DataUnavailable, match="read-only"):
        fetch(path, [server.url("good")], CHECKSUM)
    monkeypatch.setenv("DL_COURSE_OFFLINE", "1")
    with pytest.raises(DataUnavailable, match="DL_COURSE_OFFLINE"):
        fetch(tmp_path / "file.bin", [server.url("good")], CHECKSUM)
    assert server.asked == [] and list(path.parent.iterdir()) == []


def test_md5_checksums_work_too(tmp_path):
    (tmp_path / "file").write_bytes(BODY)
    assert fetch(tmp_path / "file", [], f"md5:{hashlib.md5(BODY).hexdigest()}")


def test_a_failing_block_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and left_in(tmp_path) == ["file"]
    with atomic(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and left_in(tmp_path) == ["file"]


def test_archives_unpack_to_what_was_packed(tmp_path):
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(BODY))
    unpack(tmp_path / "images-idx3-ubyte.gz", tmp_path)
    assert (tmp_path / "images-idx3-ubyte").read_bytes() == BODY
    with tarfile.open(tmp_path / "batches.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("batches/one")
        member.size = len(BODY)
        tar.addfile(member, io.BytesIO(BODY))
    unpack(tmp_path / "batches.tar.gz", tmp_path)
    assert (tmp_path / "batches" / "one").read_bytes() == BODY


def test_the_data_root_is_the_variable_else_the_repositorys_folder_else_the_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("DL_COURSE_DATA", raising=False)
    repository = tmp_path / "course"
    (repository / "chapters" / "deep").mkdir(parents=True)
    (repository / "pyproject.toml").touch()
    monkeypatch.chdir(repository / "chapters" / "deep")
    assert repository_root() == repository and data_root() == repository / "datasets"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
    monkeypatch.setattr(files, "user_cache_path", lambda name: tmp_path / "cache" / name)
    assert repository_root() is None and data_root() == tmp_path / "cache" / "dl_course" / "datasets"
    monkeypatch.setenv("DL_COURSE_DATA", str(tmp_path / "mine"))
    assert data_root() == tmp_path / "mine"


def test_a_folder_yet_to_be_made_is_writable_where_its_parent_is(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o555)
    assert is_writable(tmp_path / "a" / "b") and not is_writable(tmp_path / "closed" / "b")


def test_importing_files_is_cheap():
    code = "import sys, dl_course.files; sys.exit(bool({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
