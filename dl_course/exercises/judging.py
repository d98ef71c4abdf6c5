"""An exercise, and judging an answer's outputs: what differs, and which mistake explains it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np

from dl_course.exercises.compare import Difference, first_difference
from dl_course.exercises.probes import Case, Outputs, find_probe, sent
from dl_course.exercises.probes.tools import answer_outputs, finished, plain


class Exercise:
    """One exercise of a chapter; its docstring's first line is its title. Defining a subclass registers it.

    A subclass gives `name`, `points`, `hints`, `reference` (a right answer), `mistakes` (diagnosis → the
    answer that makes it) or `slips` (what the reference takes as `slip=`, to make a mistake → its diagnosis),
    and `cases(rng)`: plain dicts with sizes and values from rng. Their key "about"
    says what the input is; cases of one "about" earn their points together. It and keys beginning with "_"
    (labels) stay with the judge, but for "_apart", which the probe's second half is given. It may override
    `judge` where many answers are right. `not_allowed` names what to do without; "loop" is for and while.
    """

    name: ClassVar[str]
    points: ClassVar[int] = 1
    hints: ClassVar[Sequence[str]] = ()
    not_allowed: ClassVar[Sequence[str]] = ()
    seconds: ClassVar[float] = 2.0
    rtol: ClassVar[float] = 1e-4
    atol: ClassVar[float] = 1e-5
    reference: ClassVar[Any]
    mistakes: ClassVar[Mapping[str, Any]] = {}
    slips: ClassVar[Mapping[str, str]] = {}

    registered: ClassVar[dict[str, Exercise]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        known = Exercise.registered.get(cls.name)
        if known and type(known).__module__ != cls.__module__:
            raise ValueError(
                f"two exercises named '{cls.name}': {type(known).__module__} and {cls.__module__}"
            )
        if not 0 < cls.seconds <= 20:
            raise ValueError(f"exercise '{cls.name}' asks for {cls.seconds} s; at most 20 are given")
        if cls.slips:
            cls.mistakes = {says: partial(cls.reference, slip=slip) for slip, says in cls.slips.items()}
        Exercise.registered[cls.name] = cls()

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return (type(self).__doc__ or self.name).strip().splitlines()[0].rstrip(".")

    @property
    def chapter(self) -> str:
        """The chapter's number, from the name of the module that defines it; "00" outside the course."""
        found = re.search(r"\.ch(\d\d\w?)$", type(self).__module__)
        return found[1] if found else "00"

    def cases(self, rng: np.random.Generator) -> Iterable[Case]:
        """Yield the inputs that an answer is tried on, simplest first."""
        raise NotImplementedError

    def seeded_cases(self, seed: int) -> list[Case]:
        """Return the cases of a seed; the notebook's seed is 0, a grader's is secret."""
        return list(self.cases(np.random.default_rng(seed)))

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        """Return None where the outputs are right for the case, else the first difference."""
        return first_difference(self.outputs_of(type(self).reference, case), outputs, self.rtol, self.atol)

    def outputs_of(self, answer: Any, case: Case) -> Outputs:
        """Return what an answer of ours puts out for a case."""
        return finished(self.name, answer_outputs(find_probe(self.name), answer, sent(case)), case)


def draw(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a whole number from low to high, both included: a size of a case."""
    return int(rng.integers(low, high + 1))


@dataclass(frozen=True)
class Verdict:
    """What the judge says: which kinds of input went right, and the first difference of the rest."""

    groups: Mapping[str, bool]
    case: Case | None = None
    difference: Difference | None = None

    @property
    def passed(self) -> bool:
        """True where every kind of input went right, and there was one."""
        return bool(self.groups) and all(self.groups.values())

    @property
    def share(self) -> float:
        """The share of kinds of input that went right: what partial credit is counted by."""
        return sum(self.groups.values()) / len(self.groups) if self.groups else 0.0


def verdict(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Outputs]) -> Verdict:
    """Judge the outputs of an answer, one per case; missing ones count as wrong."""
    groups: dict[str, bool] = {}
    first: tuple[Case, Difference] | None = None
    for case, out in _pairs(cases, outputs):
        about = _about(case)
        difference = (
            exercise.judge(case, out) if out is not None else Difference("", None, None, "no outputs")
        )
        groups[about] = groups.get(about, True) and difference is None
        if difference and not first:
            first = case, difference
    if not first:
        return Verdict(groups)
    case, difference = first
    mistake = _mistake(exercise, cases, outputs, case)
    return Verdict(groups, case, replace(difference, diagnosis=mistake or difference.diagnosis))


def earned(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Outputs], found: Verdict) -> float:
    """Return the share of an exercise's points that an answer has earned: that of the kinds that went right.

    Nothing, if an answer that takes no work gets these kinds right too: one that only raises errors, returns
    a constant, or hands back what it is given.
    """
    pairs = [pair for pair in _pairs(cases, outputs) if found.groups[_about(pair[0])]]
    if all("raised" in (out or {}) for _, out in pairs):
        return 0.0
    if found.passed:
        return found.share
    easy = (
        all(not exercise.judge(case, exercise.outputs_of(trivial, case)) for case, _ in pairs)
        for trivial in _trivial_answers(exercise.name)
    )
    return 0.0 if any(easy) else found.share


@lru_cache(maxsize=32)
def _trivial_answers(name: str) -> list[Callable[..., Any]]:
    """Return answers that take no work: an argument, a usual value, what the reference always returns."""
    exercise = Exercise.registered[name]
    returned = [_returned(exercise, seed) for seed in (0, 1)]
    same = [one for one in returned[0] if any(_alike(one, other) for other in returned[1])]
    constants = (None, 0, 1, math.inf, math.nan, "", [], ([], []), np.zeros(0), *same)
    return [
        *(partial(_argument, place) for place in range(4)),
        *(partial(_always, each) for each in constants),
    ]


def _argument(place: int, *arguments: Any, **options: Any) -> Any:
    return [*arguments, *options.values()][place]


def _always(value: Any, *arguments: Any, **options: Any) -> Any:
    return value


def _alike(one: Any, other: Any) -> bool:
    return first_difference(plain(one), plain(other), 1e-4, 1e-5) is None


def _returned(exercise: Exercise, seed: int) -> list[Any]:
    """Return what a reference that is a function returns for the cases of a seed."""
    reference = getattr(exercise, "reference", None)
    found: list[Any] = []
    if reference is None or isinstance(reference, type):
        return found

    def noting(*arguments: Any, **options: Any) -> Any:
        found.append(reference(*arguments, **options))
        return found[-1]

    for case in exercise.seeded_cases(seed):
        exercise.outputs_of(noting, case)
    return found


def _about(case: Case) -> str:
    return str(case.get("about", "an input"))


def _mistake(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Outputs], failed: Case) -> str:
    """Name the known mistake that makes these outputs: on every case, else on the first that went wrong."""

    def explains(wrong: Any, case: Case, out: Outputs | None) -> bool:
        made = exercise.outputs_of(wrong, case)
        same_fault = out is not None and _fault(made) == _fault(out)
        return same_fault and not first_difference(made, out, exercise.rtol, exercise.atol)

    pairs = list(_pairs(cases, outputs))
    tests: list[Callable[[Any], bool]] = [
        lambda wrong: all(explains(wrong, *pair) for pair in pairs),
        lambda wrong: all(explains(wrong, *pair) for pair in pairs if pair[0] is failed),
    ]
    for test in tests:
        for diagnosis, wrong in exercise.mistakes.items():
            if test(wrong):
                return diagnosis
    return ""


def _fault(outputs: Outputs) -> tuple[Any, str]:
    """What was raised, and its message but for numbers and addresses: a ValueError alone explains nothing."""
    return outputs.get("raised"), re.sub(r"0x[0-9a-f]+|\d+", "#", str(outputs.get("message", "")))


def _pairs(cases: Sequence[Case], outputs: Sequence[Outputs]) -> Iterator[tuple[Case, Outputs | None]]:
    for index, case in enumerate(cases):
        yield case, outputs[index] if index < len(outputs) else None
