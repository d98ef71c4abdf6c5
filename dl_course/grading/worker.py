"""The untrusted side: a zygote that has imported everything once, and forks a worker for each submission.

`python -m dl_course.grading.worker` with a control socket. The zygote runs no learner's code: it forks on
"s" (with the worker's end of a socket), ends the worker on "e" and says how it ended, imports more on "i",
and watches the worker's memory and processes. The worker loads answers and calls them by their probes; it
has neither checks nor seeds.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from dl_course.grading import sandbox
from dl_course.grading.cells import Answers, NotThere, read_cells
from dl_course.grading.channel import Lost, receive, send

_NO_NAMESPACES = 77
_USUAL = (
    "psutil", "numpy.random", "IPython.core.inputtransformer2", "dl_course.exercises.answers",
    "dl_course.runtime",
)  # fmt: skip
_OF_PICTURES = ("torchvision", "scipy.stats", "matplotlib.pyplot", "dl_course.data", "dl_course.clinic")
_SILENT = ("asking", "checking", "progress_file")  # what a notebook calls there does nothing here


def main(settings: dict[str, Any]) -> None:
    """Become the zygote, in namespaces where the kernel grants them."""
    status = _in_namespaces(settings) if settings["namespaces"] else _NO_NAMESPACES
    if status == _NO_NAMESPACES:
        Zygote(settings, namespaces=False).serve()


def _in_namespaces(settings: dict[str, Any]) -> int:
    """Fork twice, because a process namespace begins with a child; return how the zygote ended."""
    if outer := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(outer, 0)[1])
    try:
        sandbox.enter_namespaces()
        if inner := os.fork():
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) & 127)
        sandbox.show_only(Path(settings["root"]), settings["visible"])
    except OSError:
        os._exit(_NO_NAMESPACES)
    try:
        Zygote(settings, namespaces=True).serve()
    except BaseException:
        traceback.print_exc()
    os._exit(0)


class Zygote:
    """Forks one worker at a time, watches it, ends it."""

    def __init__(self, settings: dict[str, Any], namespaces: bool) -> None:
        self.control = socket.socket(fileno=settings["control"])
        self.namespaces = namespaces
        self.memory = settings["memory"]
        self.visible = settings["visible"]
        self.worker = 0
        self.ended = ""
        self.folder = Path()
        sandbox.adopt_orphans()

    def serve(self) -> None:
        """Answer the judge's commands until its end of the control socket closes."""
        _import_all()
        self._say(self._isolation())
        while True:
            ready, _, _ = select.select([self.control], [], [], 0.05 if self.worker else None)
            if not ready:
                self._watch()
                continue
            command, ends, _, _ = socket.recv_fds(self.control, 1, 1)
            if command == b"s":
                self._start(ends[0])
            elif command == b"e":
                self._end()
                self._say(self.ended)
            elif command == b"i":
                _warm_up()
                self._say("")
            else:
                return self._end()

    def _isolation(self) -> str:
        filtered = sandbox.filtered()  # found out here, once for all workers
        if self.namespaces:
            return sandbox.NAMESPACES if filtered else sandbox.UNFILTERED
        return sandbox.USER if sandbox.own_user(self.namespaces) else sandbox.GROUP

    def _say(self, text: str) -> None:
        self.control.sendall(json.dumps(text).encode() + b"\n")

    def _start(self, end: int) -> None:
        self.ended = ""
        number = os.urandom(8).hex()
        self.folder = Path("/tmp" if self.namespaces else os.getcwd()) / f"work-{number}"
        self.worker = sandbox.fork_apart(self.namespaces)
        if not self.worker:
            self._work(end)
        os.close(end)

    def _work(self, end: int) -> None:
        """Be the worker; never return."""
        try:
            os.setsid()
            os.dup2(end, 3)
            os.closerange(4, 4096)
            sandbox.seclude(self.namespaces, self.folder, self.visible, self.memory)
            nothing = os.open("/dev/null", os.O_RDWR)
            for place in range(3):
                os.dup2(nothing, place)
            os.close(nothing)
            _answer_questions(socket.socket(fileno=3))
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    def _watch(self) -> None:
        """Note the worker's end, or end it where it takes too much."""
        import psutil

        if os.waitid(os.P_PID, self.worker, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self._end()
            return
        family = _family()
        memory = 0
        for process in family:
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss
        if memory > self.memory and _shared_out(family) > self.memory:
            self._end(f"it took more than {self.memory // 2**20:,} MiB of memory")
        elif len(family) > sandbox.PROCESSES:
            self._end(f"it started more than {sandbox.PROCESSES} processes")
        elif len(family) > 4 and _open_files(family) > 4 * sandbox.OPEN_FILES:  # buffers count as nobody's
            self._end(f"its processes opened more than {4 * sandbox.OPEN_FILES} files")

    def _end(self, why: str = "") -> None:
        """End the worker and all that it started."""
        if not self.worker:
            return
        for _ in range(20):  # its end of the socket closes a moment before it has ended
            over = os.waitid(os.P_PID, self.worker, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if over or why:
                break
            time.sleep(0.002)
        self.ended = why or (_how(over) if over else "")
        while family := _family():
            for process in family:
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, 0 if self.namespaces else os.WNOHANG)[0]:
                    pass
        self.worker = 0
        if not self.namespaces:
            shutil.rmtree(self.folder, ignore_errors=True)


def _family() -> list[Any]:
    import psutil

    with contextlib.suppress(psutil.Error):
        return psutil.Process().children(recursive=True)
    return []


def _open_files(family: list[Any]) -> int:
    import psutil

    found = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            found += process.num_fds()
    return found


def _shared_out(family: list[Any]) -> int:
    """The memory of processes together; what they share, as with the zygote, is counted once among them."""
    import psutil

    memory = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            full = process.memory_full_info()
            memory += getattr(full, "pss", full.rss)
    return memory


def _how(over: Any) -> str:
    if over.si_code == os.CLD_EXITED:
        return f"it left Python with exit status {over.si_status}"
    return f"it was ended by {signal.Signals(over.si_status).name}"


def _import_all(names: Iterable[str] = _USUAL) -> None:
    """Import what answers may need, once for all workers."""
    from dl_course.exercises.probes import find_probe

    with contextlib.suppress(KeyError):
        find_probe("")
    for name in names:
        importlib.import_module(name)
    for name in _SILENT:
        sys.modules[f"dl_course.exercises.{name}"] = MagicMock()
    gc.freeze()  # so that workers share these pages


@cache
def _warm_up() -> None:
    from torch import nn  # after the namespaces are entered

    from dl_course.exercises.probes.tools import program

    _import_all(_OF_PICTURES)
    program(nn.Flatten())  # the first time takes longest


def _answer_questions(judge: socket.socket) -> None:
    files = receive(judge)
    sys.path.insert(0, "")  # modules beside the notebook, as in Jupyter
    sys.argv = ["notebook"]
    for name, content in files["files"].items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.data)
    try:
        desk = Desk(Answers(read_cells(Path(files["notebook"]))))
        reply = {"problem": ""}
    except ValueError as error:
        reply = {"problem": str(error)}
    send(judge, reply | {"number": files["number"]})
    files.clear()  # their memory is the learner's from here on
    while True:
        try:
            question = receive(judge)
        except Lost:
            return
        send(judge, {**getattr(desk, question["ask"])(question), "number": question["number"]})


class Desk:
    """Answers the judge's questions about one notebook."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.answer: Any = None

    def load(self, question: dict[str, Any]) -> dict[str, Any]:
        """Load an answer; say whether it is there, a stub still, twice there, with names not allowed."""
        from dl_course.exercises.answers import names_used, untouched
        from dl_course.runtime import set_seed

        name = question["name"]
        found = True
        seconds = 0.8 * question["seconds"]  # for running cells: the answer must still get through
        set_seed(0)

        def loading() -> dict[str, Any]:
            nonlocal found
            try:
                self.answer = self.answers.load(name, question["passed"], question["turn"], seconds)
            except NotThere:
                found = False
            return {}

        outcome = _limited(loading, question["seconds"])
        known = {"found": found, "cells": self.answers.count(name), "again": self.answers.again}
        if not found or outcome.get("raised"):
            return {**known, **outcome}
        return {
            **known,
            "untouched": bool(untouched(self.answer)),
            "used": sorted(names_used(self.answer)),
            "skipped": self.answers.skipped[:20],
        }

    def probe(self, question: dict[str, Any]) -> dict[str, Any]:
        """Call the answer on a case by its probe, and return the raw outputs."""
        from dl_course.exercises.probes import find_probe
        from dl_course.exercises.probes.tools import answer_outputs

        probe = find_probe(question["name"])
        case = question["case"]
        answer = question.get("given", self.answer)  # the outputs of a probe's first half, for its second
        return {"outputs": _limited(lambda: answer_outputs(probe, answer, case), question["seconds"])}


def _limited(work: Any, seconds: float) -> dict[str, Any]:
    """Do the work within the seconds, prints unheard; whatever it raises becomes outputs that name it."""
    from dl_course.exercises.limits import Printed, TimeUp, printing_into, time_limit
    from dl_course.exercises.probes.tools import learner_line
    from dl_course.exercises.wire import dump

    try:
        with printing_into(Printed()), time_limit(seconds):
            outputs = work()
            dump(outputs)
            return outputs
    except TimeUp:
        late = f"not done after {seconds:.3g} s: is there an endless loop, or a much faster way?"
        return {"raised": "TimeUp", "message": late, "line": ""}
    except BaseException as error:
        return {
            "raised": type(error).__name__,
            "message": str(error)[:500],
            "line": learner_line(None, error),
        }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
