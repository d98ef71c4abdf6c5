"""No mark without work: what takes none, a constant, an echo, an error, a stub, earns nothing anywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dl_course.exercises.checks import all_exercises, find_exercise
from dl_course.exercises.judging import Exercise, earned, verdict
from dl_course.exercises.probes import sent

CONSTANTS = {
    "None": None, "0": 0, "1": 1, "413": 413, "inf": math.inf, "nan": math.nan, "text": "", "list": [],
    "two lists": ([], []), "tensor": torch.zeros(0), "array": np.zeros(0), "1.0": 1.0, "False": False,
    "two arrays": (np.zeros(0), np.zeros(0)), "two tensors": (torch.zeros(0), torch.zeros(0)),
}  # fmt: skip


def stub(*arguments, **options):
    raise NotImplementedError("Your turn: write it")


def refusal(*arguments, **options):
    raise ValueError("refused")


def echo(place):
    return lambda *arguments, **options: [*arguments, *options.values()][place]


ANSWERS = {name: lambda *a, _value=value, **o: _value for name, value in CONSTANTS.items()}
ECHOES = {f"argument {place}": echo(place) for place in range(3)}
EFFORTLESS = ANSWERS | ECHOES | {"stub": stub, "refusal": refusal}


def share(exercise, answer, cases):
    outputs = [exercise.outputs_of(answer, case) for case in cases]
    return earned(exercise, cases, outputs, verdict(exercise, cases, outputs))


@pytest.fixture
def remembered(monkeypatch):
    """What our own answers put out for a case is computed once, and not again for each of the constants."""
    known = {}
    compute = Exercise.outputs_of

    def outputs_of(self, answer, case):
        key = id(answer), id(case)
        known[key] = known.get(key) or (compute(self, answer, case), answer, case)  # ids stay theirs
        return known[key][0]

    monkeypatch.setattr(Exercise, "outputs_of", outputs_of)


@pytest.mark.parametrize("name", all_exercises())
def test_what_takes_no_work_earns_nothing(name, remembered):
    exercise = find_exercise(name)
    cases = exercise.seeded_cases(7)
    answers = ANSWERS | {"stub": stub, "refusal": refusal} if name == "heal" else EFFORTLESS
    assert {kind: share(exercise, answer, cases) for kind, answer in answers.items()} == dict.fromkeys(
        answers, 0.0
    )


def test_handing_every_patient_back_earns_nothing_though_one_of_them_is_healthy():
    exercise = find_exercise("heal")
    cases = exercise.seeded_cases(7)
    outputs = [exercise.outputs_of(echo(0), case) if case["number"] == 7 else {} for case in cases]
    found = verdict(exercise, cases, outputs)
    assert [about for about, right in found.groups.items() if right] == ["patient 7"]
    assert earned(exercise, cases, outputs, found) == 0


def test_a_kind_that_a_constant_gets_right_counts_beside_one_that_it_does_not():
    exercise = find_exercise("status_for")
    cases = [case for case in exercise.seeded_cases(7) if case["about"] in ("nothing", "a bomb")]
    for case in cases:
        case["about"] += f" {exercise.outputs_of(type(exercise).reference, case)['returned']}"
    worked = [exercise.outputs_of(type(exercise).reference, case) for case in cases]
    for right, points in (((413,), 0), ((200,), 0), ((200, 413), 0.75), ((200, 413, 415), 1)):
        outputs = [out if out["returned"] in right else {} for out in worked]
        assert earned(exercise, cases, outputs, verdict(exercise, cases, outputs)) == pytest.approx(points)


@pytest.mark.parametrize("name", all_exercises())
def test_what_a_worker_is_sent_tells_neither_kind_nor_truth(name):
    recipes = {"about", "fault", "amount", "unknown", "forgets", "_labels"}
    for case in find_exercise(name).seeded_cases(7):
        assert not recipes & set(sent(case))
