"""A chapter 90 of four small exercises, for the lessons that tests make up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dl_course.exercises.judging import Exercise
from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called


class Numbers:
    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        yield {"about": "some numbers", "x": rng.normal(size=int(rng.integers(3, 9)))}


class Double(Numbers, Exercise):
    """Double."""

    name = "double"
    reference = staticmethod(lambda x: 2 * x)


class Triple(Numbers, Exercise):
    """Triple."""

    name = "triple"
    reference = staticmethod(lambda x: 3 * x)


class Square(Numbers, Exercise):
    """Square."""

    name = "square"
    reference = staticmethod(lambda x: x * x)


class RunningTotal:
    def __init__(self, start: float) -> None:
        self.total = start

    def add(self, x: np.ndarray) -> float:
        self.total += float(x.sum())
        return self.total


class TallyExercise(Numbers, Exercise):
    """Keep a running total."""

    name = "Tally"
    reference = RunningTotal


@probe
def double(answer: Any, case: Case) -> Outputs:
    return called(answer, case["x"])


@probe
def triple(answer: Any, case: Case) -> Outputs:
    return called(answer, case["x"])


@probe
def square(answer: Any, case: Case) -> Outputs:
    return called(answer, case["x"])


@probe
def Tally(answer: Any, case: Case) -> Outputs:
    tally = answer(1.0)
    return {"totals": [tally.add(case["x"]), tally.add(case["x"])]}
