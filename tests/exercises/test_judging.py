"""Judging: kinds of input earn points together; a mistake explains all outputs, or the first wrong one."""

from __future__ import annotations

import numpy as np
import pytest

from dl_course.exercises.checks import all_exercises
from dl_course.exercises.judging import Exercise, verdict
from dl_course.exercises.probes import probe
from dl_course.exercises.probes.tools import called


def refused(x):
    raise ValueError(f"no sign {abs(x):.3f} is known at 0x7fab1")


@pytest.fixture
def absolute(monkeypatch):
    monkeypatch.setattr(Exercise, "registered", dict(all_exercises()))

    class Absolute(Exercise):
        """The absolute value."""

        name = "absolute"
        reference = staticmethod(abs)
        mistakes = {"you did nothing": lambda x: x, "you changed the sign": lambda x: -x, "sign": refused}

        def cases(self, rng):
            for sign in (-1, 1, -1):
                yield {"about": "negative" if sign < 0 else "positive", "x": sign * rng.uniform(1, 2)}

    @probe
    def absolute(answer, case):
        return called(answer, case["x"])

    exercise = Exercise.registered["absolute"]
    return lambda answer, count=3: _judged(exercise, answer, count)


def _judged(exercise, answer, count):
    cases = exercise.seeded_cases(5)
    return verdict(exercise, cases, [exercise.outputs_of(answer, case) for case in cases][:count])


def test_all_right_passes(absolute):
    assert absolute(abs).passed and absolute(np.abs).share == 1


def test_a_kind_of_input_is_right_only_when_each_of_its_cases_is(absolute):
    calls = []
    found = absolute(
        lambda x: calls.append(x) or (x if len(calls) == 1 else abs(x))
    )  # wrong on the first alone
    assert found.groups == {"negative": False, "positive": True}
    assert found.share == 0.5 and not found.passed


def test_the_mistake_that_explains_everything_is_named(absolute):
    assert absolute(lambda x: -x).difference.diagnosis == "you changed the sign"
    assert absolute(lambda x: x).difference.diagnosis == "you did nothing"


def test_a_mistake_that_explains_only_the_first_wrong_case_is_named_too(absolute):
    calls = []
    assert (
        absolute(lambda x: calls.append(x) or (x if len(calls) == 1 else 9.0)).difference.diagnosis
        == "you did nothing"
    )


def test_an_error_is_explained_by_a_mistake_that_says_the_same_but_for_numbers_and_addresses(absolute):
    def same(x):
        raise ValueError(f"no sign {x * x:.3f} is known at 0x7cd20")

    def other(x):
        raise ValueError("not enough values to unpack")

    assert absolute(same).difference.diagnosis == "sign"
    assert absolute(other).difference.diagnosis.startswith("your code raised ValueError")


def test_no_outputs_earn_nothing(absolute):
    assert absolute(abs, count=0).share == 0
    assert not verdict(Exercise.registered["absolute"], [], []).passed


def test_two_exercises_of_one_name_in_two_modules_are_refused(absolute):
    with pytest.raises(ValueError, match="two exercises named 'absolute'"):
        type("Other", (Exercise,), {"name": "absolute", "__module__": "elsewhere"})


def test_more_than_twenty_seconds_are_refused(absolute):
    with pytest.raises(ValueError, match="at most 20"):
        type("Slow", (Exercise,), {"name": "slow", "seconds": 21.0})
