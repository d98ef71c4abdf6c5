"""Time limits: they ring inside, never later, whichever way the platform has."""

from __future__ import annotations

import signal
import time
from types import SimpleNamespace

import pytest

from dl_course.exercises import limits
from dl_course.exercises.limits import Printed, TimeUp, _alarm, _interrupt

WAYS = [_alarm, _interrupt]


@pytest.mark.parametrize("limit", WAYS)
def test_a_long_block_is_stopped(limit):
    with pytest.raises(TimeUp), limit(0.1):
        while True:
            time.sleep(0.01)


@pytest.mark.parametrize("limit", WAYS)
def test_a_short_block_is_left_alone_and_nothing_rings_afterwards(limit):
    with limit(0.2):
        pass
    time.sleep(0.4)


@pytest.mark.parametrize("limit", WAYS)
def test_an_error_of_the_block_comes_through(limit):
    with pytest.raises(ZeroDivisionError), limit(5):
        1 / 0  # noqa: B018


@pytest.mark.parametrize("limit", WAYS)
def test_the_stop_button_is_not_taken_for_the_limit(limit):
    with pytest.raises(KeyboardInterrupt), limit(5):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("limit", WAYS)
def test_limits_one_after_another_work_again_and_again(limit):
    for _ in range(3):
        with pytest.raises(TimeUp), limit(0.05):
            while True:
                time.sleep(0.005)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs SIGALRM")
def test_an_alarm_that_another_had_set_rings_in_its_own_time():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    others = signal.setitimer(signal.ITIMER_REAL, 2)  # a machine may stand still for a second
    began = time.monotonic()
    try:
        with pytest.raises(TimeUp), _alarm(0.1):
            time.sleep(1)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1.9
        time.sleep(2.1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)
        signal.signal(signal.SIGALRM, before)
    assert rung and rung[0] - began >= 1.99


@pytest.fixture
def bell(monkeypatch):
    """A timer that rings when the test says so, and an interrupt that only arrives in the next sleep."""
    rung, pending = [], []

    class Timer:
        daemon = False

        def __init__(self, seconds, ring):
            rung.append(ring)

        def start(self): ...
        def cancel(self): ...

    def sleep(seconds):
        if pending:
            pending.clear()
            raise KeyboardInterrupt

    monkeypatch.setattr(limits.threading, "Timer", Timer)
    monkeypatch.setattr(limits._thread, "interrupt_main", lambda: pending.append(True))
    monkeypatch.setattr(limits.time, "sleep", sleep)
    return SimpleNamespace(ring=lambda: rung[-1](), pending=pending)


def test_a_bell_that_rings_after_the_block_interrupts_nobody(bell):
    with _interrupt(1):
        pass
    bell.ring()
    assert not bell.pending


def test_an_interrupt_still_under_way_as_the_block_ends_never_reaches_the_next_cell(bell):
    with pytest.raises(TimeUp), _interrupt(1):
        bell.ring()
    assert not bell.pending


def test_an_interrupt_still_under_way_does_not_hide_the_blocks_own_error(bell):
    with pytest.raises(ZeroDivisionError), _interrupt(1):
        bell.ring()
        1 / 0  # noqa: B018
    assert not bell.pending


def test_the_former_alarm_handler_is_put_back():
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        with _alarm(1):
            pass
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGALRM, before)


def test_printed_keeps_the_beginning_and_counts_the_rest():
    printed = Printed(limit=10)
    assert printed.write("12345678") == 8 and printed.write("abcdef") == 6
    assert str(printed) == "12345678ab\n… and 4 characters more"
