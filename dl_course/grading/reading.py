"""Answers as text, for people and for comparison. Nothing is run.

`python -m dl_course.grading.reading NAME…` reads notebooks, a line of JSON each, in a process of its own,
with little memory: so no student's file can end the reading of the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Timer

import nbformat
from tqdm.auto import tqdm

from dl_course.grading.submissions import Submission, printable
from dl_course.notebooks import code_of, needed_by

_MEMORY = 2**30


def read_answers(
    submissions: Iterable[Submission], chapter: str, names: Sequence[str], seconds: float = 10.0
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return by student the source of each answer with the helpers that it needs; and why there is none.

    seconds: for a notebook; what takes longer is not read.
    """
    found: dict[str, dict[str, str]] = {}
    unread: dict[str, str] = {}
    process = _Reader(names)
    try:
        for each in tqdm(list(submissions), desc="reading answers", leave=False):
            try:
                files, notebook = each.files(chapter)
                found[each.student] = process.answers(files[notebook].decode("utf-8", "replace"), seconds)
            except (ValueError, OSError) as error:
                unread[each.student] = printable(error)
                if process.ended():
                    process = _Reader(names)
    finally:
        process.end()
    return found, unread


class _Reader:
    """The process that reads."""

    def __init__(self, names: Sequence[str]) -> None:
        command = [sys.executable, "-m", __name__, *names]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes)  # type: ignore[call-overload]
        self.process.stdout.readline()  # it has started: that is not a student's time

    def answers(self, text: str, seconds: float) -> dict[str, str]:
        """Return the answers in a notebook; ValueError where it is none, OSError where it can't be read."""
        self.process.stdin.write(json.dumps(text).encode() + b"\n")
        self.process.stdin.flush()
        late = Timer(seconds, self.process.kill)  # works on Windows too, where pipes can't be waited for
        late.start()
        line = self.process.stdout.readline()
        late.cancel()
        if not line:
            self.end()
            raise OSError(f"not read: it takes more than {seconds:g} s, or more memory than a notebook may")
        reply = json.loads(line)
        if "problem" in reply:
            raise ValueError(reply["problem"])
        return dict(reply["answers"])

    def ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def main(names: Sequence[str]) -> None:
    """Answer each line of the input, a notebook, by one of the output."""
    with suppress(ImportError, ValueError):  # Windows has no such limits, and a lower one may be in force
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _say("")
    for line in sys.stdin.buffer:
        _say(json.dumps(_reply(json.loads(line), names)))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _reply(text: str, names: Sequence[str]) -> dict[str, object]:
    try:
        sources = code_of(nbformat.reads(text, as_version=4))
    except Exception as error:  # nbformat raises its own, json's and jsonschema's, with no common base
        return {"problem": f"that is no notebook ({type(error).__name__})"}
    found = {}
    for name in names:
        with suppress(KeyError):  # nothing defines it
            found[name] = needed_by(sources, name)
    return {"answers": found}


if __name__ == "__main__":
    main(sys.argv[1:])
