"""What a worker sends costs the judge little memory, however it is shaped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dl_course.exercises import wire
from dl_course.exercises.checks import all_exercises, find_exercise
from dl_course.grading.cage import ROOM, Worker
from dl_course.grading.channel import REPLY_BYTES, Lost, send
from dl_course.grading.judge import limit

pytestmark = pytest.mark.timeout(300)  # it starts a program of its own

ROOT = Path(__file__).resolve().parents[2]
MOST = 500 * 2**20
LARGEST = """
import json, re, struct, sys
from dl_course.exercises.checks import find_exercise
from dl_course.grading.cage import ROOM, Worker
from dl_course.grading.channel import REPLY_BYTES
from dl_course.grading.judge import Sitting
from dl_course.exercises import wire

A = {"__array__": None}
FULL = REPLY_BYTES - 2**17
TEXT = ROOM // 49 - 2**12


def message(value, arrays=(), data=b""):
    text = json.dumps({"value": {"number": "n", "outputs": value}, "arrays": list(arrays)}).encode()
    return struct.pack(">I", len(text)) + text + data


def shapes(key, cases):
    part = FULL // 4000
    few = FULL // 4016
    mixed = [["<c16", [few]], *[["|u1", [few]]] * 3999]
    room = (TEXT // cases) - 2**10
    yield message({key: A}, [["|u1", [FULL]]], bytes(FULL))
    yield message({key: A}, [["|b1", [FULL]]], bytes(FULL))
    yield message({key: A}, [["<f2", [FULL // 2]]], bytes(FULL // 2 * 2))
    yield message({key: A}, [["<c16", [FULL // 16]]], bytes(FULL // 16 * 16))
    yield message({key: [A] * 4000}, mixed, bytes(few * (16 + 3999)))
    yield message({key: [A] * 4000}, [["|u1", [part]]] * 4000, bytes(part * 4000))
    yield message({key: [A, A]}, [["<c16", [2**17]], ["|u1", [2**17]]], bytes(17 * 2**17))
    yield message({key: [{"": {}}] * (room // 10)})
    yield message({key: [[]] * (room // 4)})
    yield message({key: [0.5] * (room // 5)})
    yield message({key: ["ab"] * (room // 6)})
    yield message({str(n): {} for n in range(room // 14)})
    yield message({key: [[A]] * 4000}, [["<f8", []]] * 4000, bytes(32000))


class Fat(Worker):
    took = 0

    def __init__(self, blob):
        self.blob = blob
        self.room = ROOM
        self.end = None

    def _exchange(self, question, seconds):
        if "files" in question:
            return {"problem": ""}
        if question["ask"] == "load":
            return {"found": True}
        taken = self._taken(bytearray(self.blob), "n")
        Fat.took += 1
        return taken

    def close(self):
        return ""


class Cage:
    isolation = ""

    def worker(self):
        return Fat(self.blob)


def judged(exercise, blob):
    cage = Cage()
    cage.blob = blob
    return Sitting(cage, {}, "", 7, 60).marks([exercise])[exercise.name]


def memory(field):
    status = open("/proc/self/status").read()
    return int(re.search(field + r":\\s*(\\d+) kB", status)[1]) * 1024


def grown(exercise, blob):
    open("/proc/self/clear_refs", "w").write("5")  # the peak is counted from here
    before = memory("VmRSS")
    assert judged(exercise, blob).points == 0, (exercise.name, blob[:200])
    return memory("VmHWM") - before


found = {}
for name in sys.argv[1:]:
    exercise = find_exercise(name)
    judged(exercise, message({"returned": 0}))  # what the judge needs for any answer
    cases = exercise.seeded_cases(7)
    key = list(exercise.outputs_of(type(exercise).reference, cases[0]))[0]
    for number, blob in enumerate(shapes(key, len(cases))):
        Fat.took = 0
        found[name, number] = grown(exercise, blob), Fat.took
        print(name, number, found[name, number][0] >> 20, "MiB;", Fat.took, "taken", file=sys.stderr)
assert all(took for _, took in found.values())
print(max(most for most, _ in found.values()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux says what a process has taken")
def test_the_largest_replies_of_every_shape_cost_the_judge_less_than_500_megabytes():
    names = ("relu", "status_for")
    said = subprocess.run(
        [sys.executable, "-c", LARGEST, *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr[-2000:]
    assert int(said.stdout) < MOST, said.stderr


def taken(room, value):
    worker = Worker.__new__(Worker)
    worker.room = room
    return worker._taken(bytearray(wire.dump(value)), "n")


def test_all_replies_about_an_exercise_have_one_room_in_which_text_weighs_what_it_becomes():
    assert taken(ROOM, {"number": "n", "found": True}) == {"found": True}
    with pytest.raises(Lost, match="too large together"):
        taken(ROOM, {"number": "n", "outputs": {"returned": [0.5] * 90_000}})
    with pytest.raises(Lost, match="too large together"):
        taken(100, {"number": "n"})
    assert wire.weight(b"") == 0 and REPLY_BYTES < ROOM


def test_one_limit_holds_for_all_cases_and_all_halves_of_an_answer(monkeypatch):
    """The worker has the limit once, whatever it does with it; comparing has it once more."""
    clock = [0.0]
    monkeypatch.setattr("dl_course.grading.judge.time.monotonic", lambda: clock[0])
    from dl_course.grading.judge import Sitting

    class Slow(Worker):
        def __init__(self):
            pass

        def ask(self, question, seconds, **details):
            clock[0] += seconds * 0.9
            return {"outputs": {}}

    exercise = find_exercise("status_for")
    sitting = Sitting(None, {}, "", 7, 600)
    sitting.worker = Slow()
    sitting._called(exercise, exercise.seeded_cases(7), [], limit(exercise))
    assert clock[0] <= limit(exercise) + 0.01 * 25
    assert max(map(limit, all_exercises().values())) <= 80


def test_a_worker_that_reads_in_drips_gets_no_longer_than_the_others(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("dl_course.grading.channel.time.monotonic", lambda: clock[0])

    class Dripping:
        def settimeout(self, seconds):
            self.seconds = seconds

        def sendall(self, data):
            clock[0] += 0.9 * self.seconds

    import numpy as np

    with pytest.raises(Lost, match="in time"):
        send(Dripping(), [np.zeros(1)] * 1000, 5)
    assert clock[0] <= 5
