"""The judge's end of the cage: starts the zygote, with a course that has no checks; talks to its workers."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import dl_course
from dl_course.exercises.wire import weight
from dl_course.files import data_root
from dl_course.grading import sandbox
from dl_course.grading.channel import REPLY_BYTES, Lost, receive_bytes, received, send
from dl_course.grading.replies import checked

_HIDDEN = ("checks", "authoring")
ROOM = 2 * REPLY_BYTES  # for all replies about an exercise, by `weight`
_GRACE = 2.0  # seconds for a reply on its way
_START_SECONDS = 600.0  # a busy machine may take minutes to import torch


class Unenclosed(OSError):
    """Students' code can't be kept apart here as it must be: no reason to judge anybody."""


class Cage:
    """Where workers run. `isolation` says what keeps them apart from the machine; close it when done."""

    def __init__(self, memory: int, private: Path | None = None, namespaces: bool = True) -> None:
        if not hasattr(os, "fork"):
            raise Unenclosed("grading needs fork(), which this system hasn't: use Linux, macOS or WSL")
        self.folder = Path(tempfile.mkdtemp(prefix="dl_course_cage_"))
        self.folder.chmod(0o711)
        self.control, theirs = socket.socketpair()
        self.control.settimeout(_START_SECONDS)
        self.log = self.folder / "log.txt"
        course = self._course(private)
        visible = [str(course), sys.prefix, sys.base_prefix, *sandbox.SYSTEM, str(data_root().resolve())]
        settings = {"control": theirs.fileno(), "root": str(self.folder / "root"), "visible": visible}
        settings |= {"memory": memory, "namespaces": namespaces}
        (self.folder / "root").mkdir()
        command = [sys.executable, "-P", "-m", "dl_course.grading.worker", json.dumps(settings)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, cwd=self.folder,
                env=_environment(course), pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        theirs.close()
        self.isolation = self._heard()

    def warm_up(self) -> None:
        """Import, once for all workers to come, what networks for pictures need; no worker may be there."""
        self.control.sendall(b"i")
        self._heard()

    def worker(self) -> Worker:
        """Return a fresh worker; the one before must have ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"s"], [theirs.fileno()])
        return Worker(ours, self)

    def end_worker(self) -> str:
        """End the worker and all that it started; return how it had ended by itself, or what it took."""
        self.control.sendall(b"e")
        return self._heard()

    def close(self) -> None:
        """End everything in the cage."""
        self.control.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _course(self, private: Path | None) -> Path:
        """Copy the package but for what grades; with an instructor's own probes."""
        course = self.folder / "course"
        package = course / "dl_course"
        shutil.copytree(
            Path(dl_course.__file__).parent, package, ignore=shutil.ignore_patterns(*_HIDDEN), symlinks=True
        )
        for path in sorted((private / "probes").glob("*.py")) if private else ():
            shutil.copy(path, package / "exercises" / "probes" / f"private_{path.name}")
        return course

    def _heard(self) -> str:
        line = b""
        with contextlib.suppress(OSError):
            while not line.endswith(b"\n") and (part := self.control.recv(4096)):
                line += part
        if not line.endswith(b"\n"):
            said = self.log.read_text("utf-8", "replace")[-1000:]
            raise OSError(f"the workers' parent process doesn't answer: {said or 'it ended'}")
        return json.loads(line)


class Worker:
    """One worker, asked one question after another."""

    def __init__(self, end: socket.socket, cage: Cage) -> None:
        self.end = end
        self.cage = cage
        self.room = ROOM

    def open(self, files: Mapping[str, bytes], notebook: str, seconds: float) -> str:
        """Give it a submission's files; return what is wrong with the notebook, "" if nothing."""
        content = {name: np.frombuffer(data, np.uint8) for name, data in files.items()}
        return str(self._exchange({"files": content, "notebook": notebook}, seconds).get("problem", ""))

    def ask(self, question: str, seconds: float, **details: Any) -> dict[str, Any]:
        """Return the reply to one of Desk's questions; Lost where none came within the seconds.

        The code asked about has a little less, so that the worker can still say that it took too long.
        """
        self.room = ROOM if question == "load" else self.room
        given = seconds - min(_GRACE, seconds / 4)
        return self._exchange({"ask": question, "seconds": given, **details}, seconds)

    def close(self) -> str:
        """End the worker; return how it had ended by itself, "" if it hadn't."""
        self.end.close()
        return self.cage.end_worker()

    def _exchange(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        number = secrets.token_hex(8)  # so that no reply that was laid ready is taken for this one's
        until = time.monotonic() + seconds
        send(self.end, {**question, "number": number}, seconds)
        data = receive_bytes(self.end, max(until - time.monotonic(), 0), min(REPLY_BYTES, self.room))
        return self._taken(data, number)

    def _taken(self, data: bytearray, number: str) -> dict[str, Any]:
        self.room -= weight(data)
        if self.room < 0:
            raise Lost("its replies about one exercise are too large together")
        return checked(received(data), number)


def _environment(course: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "DL_COURSE_DATA") if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    fixed = {"PYTHONPATH": str(course), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    fixed["LOGNAME"] = "student"  # there is no user database in the cage; torch 2.9 fails without a name
    fixed |= {"HOME": "/tmp", "TMPDIR": "/tmp", "MPLBACKEND": "Agg", "DL_COURSE_OFFLINE": "1"}
    return kept | threads | fixed
