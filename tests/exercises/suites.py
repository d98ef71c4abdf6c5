"""Typical answers of learners, right and wrong, kept beside what the check must say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dl_course.exercises.checking import check
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.judging import verdict
from dl_course.exercises.results import Result


class Suite:
    """The answers of one chapter. `wrong` and `right` are decorators; `both_tests(suite)` makes the tests."""

    def __init__(self) -> None:
        self.wrongs: list[Any] = []
        self.rights: list[Any] = []

    def wrong(self, name: str, says: str) -> Callable[[Any], None]:
        """File an answer that must be refused with a diagnosis that contains `says`."""
        return lambda answer: self.wrongs.append(
            pytest.param(_named(answer, name), says, id=f"{name}: {says}")
        )

    def right(self, name: str) -> Callable[[Any], None]:
        """File an answer that must pass."""
        return lambda answer: self.rights.append(
            pytest.param(_named(answer, name), id=f"{name} {len(self.rights)}")
        )


def both_tests(suite: Suite) -> tuple[Any, Any]:
    """Return the two tests of a suite: every wrong answer is told its mistake, every right one passes."""

    @pytest.mark.parametrize(("answer", "says"), suite.wrongs)
    def test_a_wrong_answer_is_told_its_mistake(answer, says, home, patient):
        result = check(answer)
        assert result.status == "not yet", result
        assert says in diagnosis(result), result

    @pytest.mark.parametrize("answer", suite.rights)
    def test_a_right_answer_passes_however_it_is_written(answer, home, patient):
        result = check(answer)
        assert result.passed, result

    return test_a_wrong_answer_is_told_its_mistake, test_a_right_answer_passes_however_it_is_written


def assert_mistakes_are_named(name: str, seeds: Iterable[int]) -> None:
    """Assert that every known mistake is refused with its own diagnosis, whatever the seed."""
    exercise = find_exercise(name)
    for seed in seeds:
        cases = exercise.seeded_cases(seed)
        for says, mistake in exercise.mistakes.items():
            found = verdict(exercise, cases, [exercise.outputs_of(mistake, case) for case in cases])
            assert not found.passed, (seed, says)
            assert found.difference and found.difference.diagnosis == says, seed


def share_with_outputs_of(name: str, known: int, asked: int) -> float:
    """Return what the right outputs for one seed earn on the cases of another."""
    exercise = find_exercise(name)
    outputs = [exercise.outputs_of(type(exercise).reference, case) for case in exercise.seeded_cases(known)]
    return verdict(exercise, exercise.seeded_cases(asked), outputs).share


def diagnosis(result: Result) -> str:
    """Return what the learner is told about the mistake."""
    return dict(result.lines).get("diagnosis", "")


def _named(answer: Any, name: str) -> Any:
    answer.__name__ = name
    return answer
