"""The judge: makes the cases from a secret seed, has a worker call the answers, holds the points.

It never parses, imports or unpickles what a student wrote; the worker's replies are numbers and texts, and
only the right numbers for inputs that nobody has seen before earn points.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dl_course.exercises.answers import STUB
from dl_course.exercises.judging import Exercise, Verdict, earned, verdict
from dl_course.exercises.limits import TimeUp, time_limit
from dl_course.exercises.probes import Case, Outputs, second_half, sent
from dl_course.exercises.results import shown
from dl_course.grading.cage import Cage, Worker
from dl_course.grading.cells import ALONE, AT_THE_END, HERE
from dl_course.grading.channel import Ended, Lost
from dl_course.grading.names import printable
from dl_course.grading.submissions import Submission
from dl_course.runtime import preserved_rng

PATIENCE = 4.0  # times the seconds that an exercise gives in the notebook: the grader's machine may be slower
_LOADING = 30.0
_NOTHING = b'{"cells": [{"cell_type": "code", "source": "None"}]}'


def limit(exercise: Exercise) -> float:
    """Return the seconds for calling an answer on all cases, and once more as many for comparing."""
    return PATIENCE * exercise.seconds


@dataclass
class Mark:
    """What an answer earned. `groups`: kind of input → right; `notes`: for the student; `flags`: for you.

    `diagnosis`, `came_out` and `notes` are about `example`, an input that was drawn afresh, never about a
    hidden one.
    """

    title: str
    of: float
    status: str = "not attempted"
    points: float = 0.0
    groups: dict[str, bool] = field(default_factory=dict)
    diagnosis: str = ""
    example: str = ""
    came_out: str = ""
    hint: str = ""
    notes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)


class Sitting:
    """One submission before the judge; a worker that dies is replaced for the next exercise."""

    def __init__(self, cage: Cage, files: dict[str, bytes], notebook: str, seed: int, timeout: float) -> None:
        self.cage = cage
        self.files = files
        self.notebook = notebook
        self.seed = seed
        self.until = time.monotonic() + timeout
        self.worker: Worker | None = None
        self.problem = ""
        self.passed: list[str] = []
        self.again: set[str] = set()  # whose answers may be others in the worker's next turn
        self.alone = False  # once running the cells has cost a worker
        self.loading = False
        self.unclear: set[str] = set()  # of whose texts a worker that saw hidden inputs had a say

    def marks(self, exercises: Sequence[Exercise]) -> dict[str, Mark]:
        """Return a mark for each exercise, whatever happens."""
        try:
            marks = {each.name: self._mark(each, HERE) for each in exercises}
            for turn in (AT_THE_END, ALONE):
                for each in [each for each in exercises if each.name in self.again]:
                    found = (marks[each.name], self._mark(each, turn))
                    marks[each.name] = max(found, key=lambda mark: mark.points)
            return marks
        finally:
            self._end()

    def _mark(self, exercise: Exercise, turn: int) -> Mark:
        self.again.discard(exercise.name)
        mark = Mark(exercise.title, exercise.points)
        if self.problem:
            return mark
        outputs: list[Outputs] = []
        lost = ""
        with preserved_rng(self.seed):
            cases = exercise.seeded_cases(self.seed)
        try:
            if not self._loaded(exercise, mark, turn):
                return mark
            until = time.monotonic() + limit(exercise)
            self._called(exercise, cases, outputs, until)
            self._finished(exercise, cases, outputs, until)
        except Lost as error:
            how = self._end()
            lost = f"nothing came back from your code: {(isinstance(error, Ended) and how) or error}"
            mark.notes = []
        late = bool(outputs) and outputs[-1].get("raised") == "TimeUp"
        if lost or late:
            self.again.discard(exercise.name)
        if self.loading:  # running the cells has cost a worker: from here on by the definitions alone
            self.loading = False
            self.alone = True
            if turn != ALONE:
                self.again.add(exercise.name)
        if not self.problem:
            self._judge(exercise, mark, cases, outputs)
            self.unclear |= {exercise.name} if mark.status == "not yet" and not lost and not late else set()
            mark.diagnosis = lost if mark.diagnosis in ("", "no outputs") else mark.diagnosis
        return mark

    def _left(self, most: float) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise Lost("the time for the whole notebook is used up")
        return min(most, left)

    def _left_until(self, moment: float) -> float:
        return max(self._left(moment - time.monotonic()), 0.01)

    def _loaded(self, exercise: Exercise, mark: Mark, turn: int) -> bool:
        """Have the worker load the answer; False where there is none that was begun."""
        if not self.worker:
            self.worker = self.cage.worker()
            self.problem = self.worker.open(self.files, self.notebook, self._left(_LOADING))
        if self.problem:
            return False
        name = exercise.name
        seconds = self._left(min(_LOADING, (self.until - time.monotonic()) / 3))  # some for the others
        turn = ALONE if self.alone else turn
        self.loading = True
        reply = self.worker.ask("load", seconds, name=name, passed=self.passed, turn=turn)
        self.loading = False
        self.again |= {name} if reply.get("again") is True else set()
        if not reply.get("found"):
            mark.notes.append("this name is not defined in the notebook")
        elif "raised" in reply:
            mark.status = "not yet"
            mark.diagnosis = f"the cell raised {reply['raised']} ({reply['message']}) {reply['line']}"
            self.unclear.add(name)
        if 1 < reply.get("cells", 0) < 1000:
            mark.notes.append(f"it is defined {reply['cells']} times; the last definition counts")
        if reply.get("skipped"):
            mark.notes += ["it needed all cells to be run; these were skipped:", *reply["skipped"]]
            self.unclear.add(name)
        taken = sorted(set(exercise.not_allowed) & set(reply.get("used", ())))
        mark.flags += [f"used, though not allowed: {', '.join(taken)}"] if taken else []
        return bool(reply.get("found")) and "raised" not in reply and not reply.get("untouched")

    def _called(
        self, exercise: Exercise, cases: Sequence[Case], outputs: list[Outputs], until: float
    ) -> None:
        """Add the outputs of each case to the list, until the exercise's time is used up."""
        assert self.worker
        for case in cases:
            seconds = self._left_until(until)
            reply = self.worker.ask("probe", seconds, name=exercise.name, case=sent(case))
            outputs.append(reply.get("outputs", {}))
            if outputs[-1].get("raised") == "TimeUp":
                late = f"not done after {seconds:.3g} s: is there an endless loop, or a much faster way?"
                outputs[-1] = {"raised": "TimeUp", "message": late, "line": ""}
                return

    def _finished(
        self, exercise: Exercise, cases: Sequence[Case], outputs: list[Outputs], until: float
    ) -> None:
        """Have the second half of the probe done, if it has one, by a worker without a learner's code."""
        if second_half(exercise.name) is None:
            return
        self._end()
        self.worker = self.cage.worker()
        self.worker.open({"nothing.ipynb": _NOTHING}, "nothing.ipynb", self._left(_LOADING))
        name = f"{exercise.name}_apart"
        for place, (case, out) in enumerate(zip(cases, list(outputs), strict=False)):
            if "raised" not in out:
                outputs[place] = {}  # what the first half put out proves nothing
                seconds = self._left_until(until)
                reply = self.worker.ask("probe", seconds, name=name, case=case["_apart"], given=out)
                outputs[place] = reply.get("outputs", {})
        self._end()

    def _judge(self, exercise: Exercise, mark: Mark, cases: Sequence[Case], outputs: list[Outputs]) -> None:
        mark.status = "not yet"
        try:
            with preserved_rng(self.seed), time_limit(limit(exercise)):
                found = verdict(exercise, cases, outputs)
            self._note(exercise, mark, found, earned(exercise, cases, outputs, found))
            if found.difference and not found.passed:
                mark.diagnosis = _diagnosis(found, outputs)
                mark.example = _example(found.case or {})
                mark.came_out = shown(found.difference.got)
        except (Exception, TimeUp) as error:  # outputs may be any values: what can't be judged is wrong
            mark.diagnosis = f"what came out can't be judged ({type(error).__name__})"

    def _note(self, exercise: Exercise, mark: Mark, found: Verdict, share: float) -> None:
        mark.groups = dict(found.groups)
        mark.points = round(exercise.points * share, 2)
        if found.passed and share:
            mark.status = "passed"
            self.passed.append(exercise.name)
            self.again.discard(exercise.name)
        else:
            mark.hint = exercise.hints[0] if exercise.hints else ""

    def _end(self) -> str:
        worker = self.worker
        self.worker = None
        return worker.close() if worker else ""


def _diagnosis(found: Verdict, outputs: Sequence[Outputs]) -> str:
    messages = [str(out.get("message")) for out in outputs if out.get("raised") == "NotImplementedError"]
    stub = next((each.removeprefix(STUB) for each in messages if each.startswith(STUB)), "")
    if stub:
        return f"this part is still the stub: {stub}"
    assert found.difference
    where = found.difference.where
    return f"{found.difference.diagnosis}{f' (in: {where})' if where not in ('', 'returned') else ''}"


def grade_submission(
    submission: Submission, exercises: Sequence[Exercise], chapter: str, seed: int, cage: Cage, timeout: float
) -> dict[str, Any]:
    """Return the result of a submission as plain values, also where there is nothing to judge."""
    files: dict[str, bytes] = {}
    notebook = problem = ""
    try:
        files, notebook = submission.files(chapter)
    except (ValueError, OSError) as error:
        problem = str(error)
    if chapter not in ("01", "02"):  # whose answers need NumPy and torch alone
        cage.warm_up()
    sitting = Sitting(cage, files, notebook, seed, timeout)
    sitting.problem = problem
    marks = sitting.marks(exercises)
    if not sitting.problem:
        unclear = [each for each in exercises if each.name in sitting.unclear]
        again = Sitting(cage, files, notebook, _another(seed), timeout)
        again.passed = list(sitting.passed)
        for name, told in again.marks(unclear).items():
            _explain(marks[name], told)
    found = {"notebook": printable(notebook), "isolation": cage.isolation}
    return _as_result(submission.student, chapter, marks, sitting.problem) | found


def _explain(mark: Mark, told: Mark) -> None:
    """Take the texts of a worker that has seen no hidden inputs, about inputs that were drawn afresh."""
    mark.notes = told.notes
    mark.example = told.example
    mark.came_out = told.came_out
    mark.diagnosis = told.diagnosis
    if told.status != "not yet" and mark.status != "passed":
        mark.diagnosis = "right for another input of each kind, but not for all that were hidden"


def _another(seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"an example {seed}".encode()).digest()[:8], "big") >> 1


def _example(case: Case) -> str:
    """Return a case as a student may see it: what kind of input it is, and its numbers, shortened."""
    values = (f"{key} = {shown(value)}" for key, value in sent(case).items() if key != "about")
    return printable(f"{case.get('about', 'an input')}: {'; '.join(values)}")


def ungraded(student: str, chapter: str, exercises: Sequence[Exercise], why: str) -> dict[str, Any]:
    """Return the result of a student of whom nothing can be judged."""
    return _as_result(student, chapter, {each.name: Mark(each.title, each.points) for each in exercises}, why)


def _as_result(student: str, chapter: str, marks: dict[str, Mark], note: str) -> dict[str, Any]:
    return {
        "student": student,
        "chapter": chapter,
        "notebook": "",
        "points": round(sum(mark.points for mark in marks.values()), 2),
        "of": sum(mark.of for mark in marks.values()),
        "note": printable(note),
        "isolation": "",
        "exercises": {name: _cleaned(mark) for name, mark in marks.items()},
    }


def _cleaned(mark: Mark) -> dict[str, Any]:
    """Return a mark's fields, texts without control characters and of bounded length."""
    texts = {key: printable(getattr(mark, key)) for key in ("diagnosis", "example", "came_out", "hint")}
    lists = {key: [printable(each) for each in getattr(mark, key)[:25]] for key in ("notes", "flags")}
    return vars(mark) | texts | lists
