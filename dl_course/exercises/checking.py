"""`check` an answer in the notebook, the ladder of hints, and a prompt for an assistant."""

from __future__ import annotations

import sys
from typing import Any

from dl_course.exercises.answers import STUB, is_reference, names_used, remember, source_of, stubs, untouched
from dl_course.exercises.checks import all_exercises, find_exercise
from dl_course.exercises.judging import Exercise, Verdict, verdict
from dl_course.exercises.limits import Printed, TimeUp, printing_into, time_limit
from dl_course.exercises.probes import Case, Outputs, find_probe, sent
from dl_course.exercises.probes.tools import answer_outputs, finished
from dl_course.exercises.progress_file import progress
from dl_course.exercises.results import Box, Result, first_differing, result, shown
from dl_course.exercises.wire import dump, load
from dl_course.language import say
from dl_course.runtime import preserved_rng

NOTEBOOK_SEED = 0

_rungs: dict[str, int] = {}

_TUTOR = """\
I'm taking a deep-learning course, and I'm stuck on an exercise. Be my tutor: lead me by questions.
- Don't write the solution or any line of it, and don't correct my code for me, even if I ask you to.
- Ask one question at a time and wait for my answer. Start with what I expect my code to do on a small input.
- If there is more than one mistake, stay with the first. Tell me plainly when something I say is wrong.
- When it works, ask me to explain why, in one sentence."""


def check(answer: Any) -> Result:
    """Try an answer, a function or a class, on inputs with known results; say what differs first.

    The exercise is found by the answer's name, ValueError where there is none. Passing is noted in the
    progress file. Exceptions, also SystemExit, become part of the result; the Stop button still stops.
    """
    name = _exercise_name(answer, sys._getframe(1).f_globals)
    exercise = find_exercise(name)
    if is_reference(answer):
        rerun = "run your own cell above again, then this one"
        return result(
            "not attempted", f"{name}: this is the reference solution, not your answer", ("next", rerun)
        )
    outcome = _checked(exercise, answer)
    remember(name, answer, outcome.passed)
    complaint = progress.record(name, outcome.status)
    lines = (*outcome.lines, ("progress", complaint)) if complaint else outcome.lines
    return Result(outcome.kind, outcome.headline, lines, status=outcome.status)


class Hint:
    """`hint(answer)` gives the next hint; `hint.prompt(answer)` is a text to paste into any assistant."""

    def __call__(self, answer: Any) -> Box:
        """Return the next hint for an exercise (its function, class or name); the last is the solution."""
        name = answer if isinstance(answer, str) else _exercise_name(answer, sys._getframe(1).f_globals)
        rungs = [
            *find_exercise(name).hints,
            f"Open the solution: click on the collapsed cell 'Solution: {name}' below the check. "
            "An assignment has no such cell: bring your question to class.",
        ]
        rung = min(_rungs.get(name, 0), len(rungs) - 1)
        _rungs[name] = rung + 1
        return Box("note", f"{name}, hint {rung + 1} of {len(rungs)}", (("", rungs[rung]),))

    def prompt(self, answer: Any) -> Prompt:
        """Return a text for an assistant: the task, your code, the check's diagnosis, the next hint.

        It asks the assistant to lead you by questions. answer: your function or class. Raises ValueError for
        the reference solution, which the text never holds, and where no exercise has the answer's name.
        """
        exercise = find_exercise(_exercise_name(answer, sys._getframe(1).f_globals))
        if is_reference(answer):
            raise ValueError(f"{exercise.name} is the reference solution; run your own cell, then ask again")
        next_hint = exercise.hints[min(_rungs.get(exercise.name, 0), len(exercise.hints) - 1)]
        rules = ", ".join(exercise.not_allowed)
        parts = {
            "": _TUTOR,
            "The exercise": f"{exercise.title}. The docstring in my code says what is asked.",
            "What it has to do without": rules.replace("loop", "loops"),
            "My code": f"```python\n{source_of(answer)}\n```",
            "What the course's check says": repr(_checked(exercise, answer)),
            "The next hint, which I haven't seen: lead me towards it, don't quote it": next_hint,
        }
        return Prompt(
            "\n\n".join(f"{say(title)}:\n{say(text)}".lstrip(":\n") for title, text in parts.items() if text)
        )


class Prompt(str):
    """A text that shows itself as it is, to be copied."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


hint = Hint()


def _exercise_name(answer: Any, names: dict[str, Any]) -> str:
    own = getattr(answer, "__name__", "")
    if own in all_exercises():
        return own
    bound = [name for name, value in names.items() if value is answer and name in all_exercises()]
    return bound[0] if bound else own or type(answer).__name__


def _checked(exercise: Exercise, answer: Any) -> Result:
    name = exercise.name
    total = exercise.points
    cases = exercise.seeded_cases(NOTEBOOK_SEED)
    printed = Printed()
    outputs = _outputs(exercise, answer, cases, printed)
    markers = stubs(answer)
    stopped = [out["message"] for out in outputs if out.get("raised") == "NotImplementedError"]
    if any(message in markers for message in stopped):
        if untouched(answer):
            todo = f"write your answer in the cell above, in place of the line with raise; hint({name}) helps"
            return result("not attempted", f"{name}: not attempted yet", ("next", todo))
        still = next(message for message in stopped if message in markers).removeprefix(STUB)
        return result("not yet", f"{name}: not yet", ("diagnosis", f"this part is still the stub: {still}"))
    found = verdict(exercise, cases, outputs)
    used = sorted(set(exercise.not_allowed) & names_used(answer))
    if found.passed and used:
        rule = f"the numbers are right, but this exercise is to be done without {', '.join(used)}"
        return result("not yet", f"{name}: not yet", ("diagnosis", rule))
    if found.passed:
        return result("passed", f"{name}: passed ({total} point{'s' if total != 1 else ''})")
    return _not_yet(exercise, found, str(printed))


def _outputs(exercise: Exercise, answer: Any, cases: list[Case], printed: Printed) -> list[Outputs]:
    """Call the answer on the cases, as a grader's worker does: by its probe, and through the wire."""
    outputs: list[Outputs] = []
    probe = find_probe(exercise.name)
    try:
        with preserved_rng(NOTEBOOK_SEED), printing_into(printed), time_limit(exercise.seconds):
            for case in cases:
                given = load(dump(sent(case)))
                outputs.append(
                    finished(exercise.name, load(dump(answer_outputs(probe, answer, given))), case)
                )
    except TimeUp:
        late = f"not done after {exercise.seconds:g} s: is there an endless loop, or a much faster way?"
        outputs.append({"raised": "TimeUp", "message": late, "line": ""})
    return outputs


def _not_yet(exercise: Exercise, found: Verdict, printed: str) -> Result:
    right = sum(found.groups.values())
    kinds = len(found.groups)
    assert found.case is not None and found.difference is not None
    difference = found.difference
    given = {key: value for key, value in sent(found.case).items() if key != "seed"}
    headline = f"{exercise.name}: not yet ({right} of {kinds} kinds of input right)"
    got = difference.got
    expected = difference.expected
    return result(
        "not yet",
        headline,
        ("diagnosis", difference.diagnosis),
        ("input", str(found.case.get("about", ""))),
        *[(key, shown(value)) for key, value in list(given.items())[:4]],
        ("differs in", difference.where if difference.where != "returned" else ""),
        ("came out", shown(got)),
        ("expected", shown(expected)),
        ("first at", first_differing(got, expected, exercise.rtol, exercise.atol)),
        ("it printed", printed),
        ("next", f"hint({exercise.name}) gives a hint"),
    )
