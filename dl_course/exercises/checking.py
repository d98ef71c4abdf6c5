"""`check` an answer in the notebook, and the ladder of hints."""

from __future__ import annotations

import sys
from typing import Any

from dl_course.exercises.answers import STUB, is_reference, names_used, remember, stubs, untouched
from dl_course.exercises.checks import all_exercises, find_exercise
from dl_course.exercises.judging import Exercise, Verdict, verdict
from dl_course.exercises.limits import Printed, TimeUp, printing_into, time_limit
from dl_course.exercises.probes import Case, Outputs, find_probe, sent
from dl_course.exercises.probes.tools import answer_outputs
from dl_course.exercises.progress_file import progress
from dl_course.exercises.results import Box, Result, first_differing, result, shown
from dl_course.exercises.wire import dump, load
from dl_course.runtime import preserved_rng

NOTEBOOK_SEED = 0

_rungs: dict[str, int] = {}


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


def hint(answer: Any) -> Box:
    """Return the next hint for an exercise (its function, class or name); the last is the solution."""
    name = answer if isinstance(answer, str) else _exercise_name(answer, sys._getframe(1).f_globals)
    exercise = find_exercise(name)
    rungs = [
        *exercise.hints,
        f"Open the solution: click on the collapsed cell 'Solution: {name}' below the check. "
        "An assignment has no such cell: bring your question to class.",
    ]
    rung = min(_rungs.get(name, 0), len(rungs) - 1)
    _rungs[name] = rung + 1
    return Box("note", f"{name}, hint {rung + 1} of {len(rungs)}", (("", rungs[rung]),))


def _exercise_name(answer: Any, names: dict[str, Any]) -> str:
    own = getattr(answer, "__name__", "")
    if own in all_exercises():
        return own
    bound = [name for name, value in names.items() if value is answer and name in all_exercises()]
    return bound[0] if bound else own or type(answer).__name__


def _checked(exercise: Exercise, answer: Any) -> Result:
    name, total = exercise.name, exercise.points
    cases, printed = exercise.seeded_cases(NOTEBOOK_SEED), Printed()
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
                outputs.append(load(dump(answer_outputs(probe, answer, load(dump(sent(case)))))))
    except TimeUp:
        late = f"not done after {exercise.seconds:g} s: is there an endless loop, or a much faster way?"
        outputs.append({"raised": "TimeUp", "message": late, "line": ""})
    return outputs


def _not_yet(exercise: Exercise, found: Verdict, printed: str) -> Result:
    right, kinds = sum(found.groups.values()), len(found.groups)
    assert found.case is not None and found.difference is not None
    difference = found.difference
    given = {key: value for key, value in sent(found.case).items() if key not in ("about", "seed")}
    headline = f"{exercise.name}: not yet ({right} of {kinds} kinds of input right)"
    got, expected = difference.got, difference.expected
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
