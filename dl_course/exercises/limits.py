"""Limits around a learner's code: seconds, and how much it may print."""

from __future__ import annotations

import _thread
import contextlib
import io
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType


class TimeUp(BaseException):
    """The time limit has passed. No Exception, so that an answer's `except Exception` can't swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeUp inside the block once the seconds have passed; the Stop button stays a KeyboardInterrupt.

    Uses SIGALRM where there is one, else interrupts the main thread. Off the main thread nothing can be
    interrupted: the block then runs without a limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
    elif hasattr(signal, "SIGALRM"):
        with _alarm(seconds):
            yield
    else:
        with _interrupt(seconds):
            yield


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(signum: int, frame: FrameType | None) -> None:
        raise TimeUp

    previous = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    others, _ = signal.setitimer(
        signal.ITIMER_REAL, seconds
    )  # what another's alarm had left, such as a test's
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # also when it rings during the line above
        signal.signal(signal.SIGALRM, previous)
        if others:
            signal.setitimer(signal.ITIMER_REAL, max(others - (time.monotonic() - began), 1e-3))


@contextlib.contextmanager
def _interrupt(seconds: float) -> Iterator[None]:
    lock = threading.Lock()
    done = rang = arrived = False

    def ring() -> None:
        nonlocal rang
        with lock:  # never after the block has ended: a late interrupt would hit the learner's next cell
            if not done:
                rang = True
                _thread.interrupt_main()

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        arrived = True
        if not rang:
            raise
    finally:
        with lock:
            done = True
        timer.cancel()
        if rang and not arrived:  # it rang as the block ended: let the interrupt arrive here
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(1)
    if rang:
        raise TimeUp


class Printed(io.TextIOBase):
    """Keeps the first characters written to it and counts the rest."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.kept = ""
        self.dropped = 0

    def write(self, text: str) -> int:
        """Keep what still fits."""
        room = self.limit - len(self.kept)
        self.kept += text[:room]
        self.dropped += max(len(text) - room, 0)
        return len(text)

    def __str__(self) -> str:
        return self.kept.rstrip() + (f"\n… and {self.dropped:,} characters more" if self.dropped else "")


@contextlib.contextmanager
def printing_into(printed: Printed) -> Iterator[None]:
    """Send what Python code prints, also to stderr, into `printed` instead of the notebook."""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        yield
