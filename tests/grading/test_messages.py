"""Anything that a worker may say, and any files that may be handed in, end in rows; nothing ends the run."""

from __future__ import annotations

import copy
import json
import os
import random

import numpy as np
import pytest

from dl_course.exercises import wire
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.probes import find_probe
from dl_course.exercises.probes.tools import answer_outputs
from dl_course.grading import command, grade
from dl_course.grading.cage import Worker
from dl_course.grading.channel import Lost, received
from dl_course.grading.feedback import student_page
from dl_course.grading.judge import grade_submission
from dl_course.grading.replies import checked
from dl_course.grading.submissions import Submission, find_submissions, usual_chapter

EXERCISES = [find_exercise(name) for name in ("relu", "output_size", "seeded_split")]
HONEST = {
    "number": "n",
    "found": True,
    "again": False,
    "untouched": False,
    "cells": 1,
    "used": ["np"],
    "skipped": [],
}
ODD = [
    None,
    True,
    0,
    -1,
    2**63,
    2**61 - 1,
    1e308,
    float("nan"),
    "",
    "\x1b[2J",
    "\udcff",
    "__array__",
    "x" * 3000,
]
ODD += [
    [],
    {},
    [[[]]],
    {"": {}},
    {"raised": []},
    {"raised": "E"},
    [1, [2]],
    ["a", 1],
    {"raised": {"raised": {}}},
]
ODD += [np.zeros(0), np.zeros((3, 0)), np.array(True), np.arange(6).reshape(2, 3), np.full(3, np.nan)]
ODD += [
    np.array(1j),
    np.zeros((1,) * 16),
    np.float16(1),
    np.full((2, 2), np.inf),
    np.array([2**64 - 1], np.uint64),
]
KEYS = [
    "raised",
    "message",
    "line",
    "outputs",
    "number",
    "found",
    "cells",
    "used",
    "returned",
    "split",
    "again",
]


def odd(rng, depth=0):
    """Return a random value that the wire can carry."""
    kind = rng.random()
    if depth > 3 or kind < 0.6:
        return copy.deepcopy(rng.choice(ODD))
    if kind < 0.8:
        return [odd(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {rng.choice([*KEYS, "x\ny", "__array__"]): odd(rng, depth + 1) for _ in range(rng.randrange(5))}


def mutated(value, rng):
    """Return the value with a part of it replaced by a random one, left out, or given another key."""
    if not isinstance(value, (list, dict)) or not value or rng.random() < 0.3:
        return odd(rng)
    value = copy.copy(value)
    place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    change = rng.random()
    if change < 0.2:
        del value[place]
    elif change < 0.3 and isinstance(value, dict):
        value[rng.choice(KEYS)] = odd(rng)
    else:
        value[place] = mutated(value[place], rng)
    return value


class Babbling(Worker):
    """A worker whose every reply is an honest one with something wrong in it, in its value or its bytes."""

    said = 0

    def __init__(self, rng):
        self.rng = rng
        self.room = 2**26

    def _exchange(self, question, seconds):
        Babbling.said += 1
        if "files" in question:
            reply = {"number": "n", "problem": ""}
        elif question["ask"] == "load":
            reply = HONEST
        else:
            answer = type(find_exercise(question["name"])).reference
            out = answer_outputs(find_probe(question["name"]), answer, question["case"])
            reply = {"number": "n", "outputs": out}
        chance = self.rng.random()
        if "files" not in question and chance < 0.8:
            reply = mutated(reply, self.rng)
        data = bytearray(wire.dump(reply))
        for _ in range(self.rng.randrange(1, 4) if chance > 0.9 else 0):
            place = self.rng.randrange(len(data))
            data[place : place + self.rng.randrange(3)] = self.rng.randbytes(self.rng.randrange(4))
        if chance > 0.97:
            data = bytearray(self.rng.randbytes(self.rng.randrange(200)))
        return checked(received(data), "n")

    def close(self):
        return ""


@pytest.fixture
def babbling():
    """A cage of such workers."""

    class Cage:
        isolation = "nothing"
        rng = random.Random(25)

        def warm_up(self):
            pass

        def worker(self):
            return Babbling(self.rng)

    return Cage()


def test_two_thousand_random_and_mutated_messages_end_in_a_row_each(babbling, tmp_path):
    (tmp_path / "alice.ipynb").write_text("{}")
    submission = Submission("alice", tmp_path / "alice.ipynb")
    rows = 0
    Babbling.said = 0
    while Babbling.said < 2_000:
        exercises = EXERCISES if rows % 8 == 0 else EXERCISES[:2]  # the third is judged by code of its own
        result = grade_submission(submission, exercises, "02", 7, babbling, 60)
        text = json.dumps(result) + student_page(result)
        assert set(result["exercises"]) == {each.name for each in exercises}
        assert all(0 <= mark["points"] <= mark["of"] for mark in result["exercises"].values())
        assert not any(ord(each) < 32 and each != "\n" for each in text) and text.encode()
        rows += 1
    assert rows > 50


def test_two_thousand_messages_of_nothing_but_chance_are_refused_in_words():
    rng = random.Random(26)
    for _ in range(2_000):
        try:
            checked(odd(rng), "n")
        except Lost as error:
            assert str(error).isprintable() and len(str(error)) < 200


NAMES = [
    "a",
    "A",
    "a.ipynb",
    "a.IPYNB",
    "02_x.ipynb",
    ".hidden",
    "__array__",
    "\u200b",
    "\x1b[2J",
    "=1",
    "-",
    "~",
]
NAMES += [
    "\ud800".encode("utf-8", "surrogatepass"),
    b"\xff\xfe.ipynb",
    "é",
    "e\u0301",
    " ",
    "a b",
    "a_b",
    "n" * 250,
]
NAMES += ["...", "con", "a\nb", "a\tb.ipynb", "<b>", "%00", "a.ipynb.ipynb", "02.ipynb~", "\u202egnp.ipynb"]


def grown(folder, rng, depth=0):
    """Fill a folder with entries of odd names and kinds."""
    for name in rng.sample(NAMES, rng.randrange(1, 6)):
        path = os.path.join(os.fsencode(folder), name if isinstance(name, bytes) else os.fsencode(name))
        kind = rng.random()
        if kind < 0.35 and depth < 4:
            os.mkdir(path)
            grown(path, rng, depth + 1)
        elif kind < 0.5:
            os.symlink(rng.choice([b".", b"..", b"/etc/passwd", b"nowhere", os.path.basename(path)]), path)
        elif kind < 0.6:
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.write(rng.choice([b"", b"{}", b"\x00\xff", b'{"cells": []}']))
                file.truncate(rng.choice([0, 10, 2**40]))  # a sparse one costs no disk


def test_three_hundred_random_trees_of_files_are_a_row_for_each_entry(tmp_path):
    rng = random.Random(27)
    for number in range(300):
        (folder := tmp_path / str(number)).mkdir()
        grown(folder, rng)
        found = find_submissions(folder)
        seen = [name for name in os.listdir(folder) if not name.startswith(".")]
        assert len({each.student for each in found}) == len(found) == len(seen)
        try:
            assert usual_chapter(found) == "02"
        except ValueError as error:
            assert "no notebook's name" in str(error)
        for each in found:
            try:
                files, notebook = each.files("02")
                assert wire.load(
                    wire.dump(
                        {"files": {name: np.frombuffer(data, np.uint8) for name, data in files.items()}}
                    )
                )
                assert notebook in files
            except ValueError as error:
                assert str(error).encode()


def test_an_error_of_our_own_is_a_row_that_says_so_and_the_others_are_graded(tmp_path, monkeypatch, caplog):
    for name in ("a", "b", "c"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.ipynb").write_text("{}")

    def judged(submission, exercises, *rest):
        if submission.student == "b":
            raise AttributeError("nobody thought of this: \x1b[2J")
        return command.ungraded(submission.student, "02", exercises, "fine")

    monkeypatch.setattr(command, "grade_submission", judged)
    monkeypatch.setattr(command, "_cage", lambda *settings: None)
    table = grade(tmp_path / "in", tmp_path / "out", chapter="02", seed=1)
    assert table["note"].tolist()[::2] == ["fine", "fine"]
    assert "the grader failed here (AttributeError), not the student" in table.loc["b", "note"]
    assert "b: the grader failed" in caplog.text
    assert not (tmp_path / "out" / "results" / "b.json").exists()  # so that it is tried again
