"""Time limits: they ring inside, never later, whichever way the platform has."""

from __future__ import annotations

import signal
import time

import pytest

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


def test_an_interrupt_that_comes_as_the_block_ends_never_reaches_the_next_cell():
    rang = 0
    for pause in [0.002 * k for k in range(15)]:  # some end before, some after, some as it rings
        try:
            with _interrupt(0.015):
                time.sleep(pause)
        except TimeUp:
            rang += 1
        time.sleep(0.01)
    assert 0 < rang < 15


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
