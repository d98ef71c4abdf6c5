"""Calling the answers of chapter 07."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, plain


@probe
def override(answer: Any, case: Case) -> Outputs:
    return called(answer, case["config"], case["changes"])


class _Trial:
    """Answers as an Optuna trial does: always this far from low to high, and these picks of choices."""

    def __init__(self, place: float, picks: Sequence[Any]) -> None:
        self.place = place
        self.picks = picks
        self.asked = set[str]()

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked.add(name)
        return low * (high / low) ** self.place if log else low + self.place * (high - low)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return range(low, high + 1, step)[int(self.suggest_float(name, 0, (high - low) // step + 1))]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked.add(name)
        wanted = [choice for choice in choices if choice in self.picks]
        return wanted[0] if wanted else choices[int(self.place * len(choices))]


@probe
def search_space(answer: Any, case: Case) -> Outputs:
    trial = _Trial(case["place"], case["picks"])
    return {"returned": plain(answer(trial)), "questions asked": len(trial.asked)}


class _Judged:
    """Keeps what is reported, as an Optuna trial does; would stop where the last report is below its bar."""

    def __init__(self, bars: Sequence[float]) -> None:
        self.bars = bars
        self.reports = list[Any]()

    def report(self, value: float, step: int) -> None:
        if step not in [each for each, _ in self.reports]:  # as Optuna: a second report of a step is ignored
            self.reports.append([step, plain(value)])

    def should_prune(self) -> bool:
        if not self.reports:
            return False
        step, value = self.reports[-1]
        return 0 <= step < len(self.bars) and value < self.bars[step]


@probe
def prunable(answer: Any, case: Case) -> Outputs:
    trial = _Judged(case["bars"])
    trained = []

    def epochs() -> Iterator[float]:
        for accuracy in case["accuracies"]:
            trained.append(accuracy)
            yield accuracy

    try:
        end = plain(answer(trial, epochs()))
    except Exception as error:
        if type(error).__name__ != "TrialPruned":
            raise
        end = "TrialPruned"
    return {"epochs trained": len(trained), "reports": trial.reports, "end": end}


@probe
def paired_difference(answer: Any, case: Case) -> Outputs:
    return called(answer, *(torch.from_numpy(case[key]) for key in ("a", "b")))


@probe
def seed_noise(answer: Any, case: Case) -> Outputs:
    return called(answer, [torch.from_numpy(each) for each in case["scores"]])
