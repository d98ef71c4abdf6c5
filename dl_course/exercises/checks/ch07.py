"""Judging chapter 07: experiments. The right answers can be told to make a slip."""

import ast
import copy
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case


def _guessed(text: str) -> Any:
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text


def _as(old: Any, text: str, slip: str) -> Any:
    if slip == "text":
        return text
    if slip == "guess":
        return _guessed(text)
    return text == "true" if isinstance(old, bool) and slip != "bool" else type(old)(text)


def _override(config: dict[str, Any], changes: dict[str, str], slip: str = "") -> dict[str, Any]:
    new = dict(config) if slip == "shallow" else copy.deepcopy(config)
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = new
        for section in sections:
            place = place.setdefault(section, {}) if slip == "unknown" else place.get(section, {})
        if key not in place and slip != "unknown":
            raise ValueError(f"no '{name}'")
        value = _as(place.get(key, ""), text, slip)
        if slip == "section" and sections:
            place.clear()
        place[key] = value
    return new


class Override(Exercise):
    """A config that overrides."""

    name = "override"
    points = 2
    hints = (
        "Start with `copy.deepcopy(config)`: a plain copy shares its sections with the original.",
        "`*sections, key = name.split('.')`, then go down: `place = place[section]` for each of them.",
        "`type(old)(text)` turns '3' into an int and '1e-3' into a float. But bool('false') is True.",
    )
    reference = staticmethod(_override)
    slips: ClassVar = {
        "shallow": "the original changed, too: a plain copy shares its sections; take copy.deepcopy",
        "section": "the rest of the section is gone: change one value in it, don't replace the section",
        "unknown": "a misspelled name was added as a new one, and nobody would notice: raise ValueError",
        "text": "the values are still text: convert each to the type of the old value, type(old)(text)",
        "bool": "bool('false') is True, because the text isn't empty: compare it with 'true'",
        "guess": "you guessed the type from the text: take the type of the value that it replaces",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        sections = rng.permutation(["data", "model", "training"]).tolist()
        config = {section: _section(rng, section) for section in sections} | {"seed": draw(rng, 0, 9)}
        count = str(draw(rng, 20, 99))
        tag = str(draw(rng, 100, 999))
        kinds = {
            "a whole number": {"training.epochs": count},
            "one at the top, or none": {"seed": count},
            "a number with a point": {"training.learning_rate": f"{draw(rng, 2, 9)}e-3"},
            "two in one section": {"data.batch_size": count, "data.name": "shapes"},
            "true and false": {"data.augment": "false", "model.pretrained": "true"},
            "a text that looks like a number": {"model.tag": tag},
        }
        yield {"about": "one at the top, or none", "config": config, "changes": {}}
        yield from ({"about": about, "config": config, "changes": each} for about, each in kinds.items())
        for name in ("training.epochs", "training.epoch", "trainer.epochs", "seeds"):
            yield {"about": "names, some misspelled", "config": config, "changes": {name: count}}


def _section(rng: np.random.Generator, name: str) -> dict[str, Any]:
    return {
        "data": {"name": "digits", "batch_size": 2 ** draw(rng, 4, 8), "augment": True},
        "model": {"name": "simplecnn", "width": draw(rng, 4, 32), "pretrained": False, "tag": "a"},
        "training": {"epochs": draw(rng, 1, 9), "learning_rate": float(rng.uniform(0.01, 0.1))},
    }[name]


def _space(trial: Any, slip: str = "") -> dict[str, Any]:
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    rate = (
        trial.suggest_categorical("learning_rate", rates)
        if slip == "grid"
        else trial.suggest_float("learning_rate", 1e-4, 1e-1, log=slip != "linear")
    )
    width = (
        trial.suggest_int("width", 8, 32)
        if slip == "every width"
        else trial.suggest_categorical("width", [8, 16, 32])
    )
    found = {"learning_rate": rate, "width": width}
    found["optimizer"] = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    if found["optimizer"] == "sgd" or slip in ("always", "asked"):
        momentum = trial.suggest_float("momentum", 0.5, 0.99, log=slip == "log")
        if found["optimizer"] == "sgd" or slip == "always":
            found["momentum"] = momentum
    return found


class SearchSpace(Exercise):
    """A search space."""

    name = "search_space"
    hints = (
        "`trial.suggest_float(name, low, high, log=True)` draws each power of ten equally often.",
        '`trial.suggest_categorical("width", [8, 16, 32])` picks one of several choices.',
        'Put the answers into a dict. Ask for the momentum inside `if found["optimizer"] == "sgd":`.',
    )
    reference = staticmethod(_space)
    slips: ClassVar = {
        "linear": "nine of ten rates would lie above 0.01: ask with log=True",
        "grid": "only a few rates can ever be tried: ask for a float between two limits",
        "every width": "every width in between is possible: only three are wanted, suggest_categorical",
        "always": "this momentum is SGD's (AdamW has its β₁ instead): ask only if the optimizer is sgd",
        "asked": "you asked for a momentum and threw it away: don't ask if the optimizer is adamw",
        "log": "the momentum's range is less than one power of ten: ask for it evenly, without log",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for optimizer in ("adamw", "sgd"):
            for third in rng.permutation(3):
                place = float((third + rng.uniform(0.2, 0.8)) / 3)
                picks = [optimizer, (8, 16, 32)[third]]
                yield {"about": f"a trial with {optimizer}", "place": place, "picks": picks}


class TrialPruned(Exception):  # noqa: N818  named as Optuna's, which need not be installed here
    """Ends a trial."""


def _prunable(trial: Any, accuracies: Iterable[float], slip: str = "") -> float:
    seen: list[float] = []
    for step, accuracy in enumerate(list(accuracies) if slip == "list" else accuracies):
        if slip == "late" and trial.should_prune():
            raise TrialPruned
        seen.append(accuracy)
        if slip != "silent":
            trial.report(max(seen) if slip == "best" else accuracy, 0 if slip == "step" else step)
        if slip not in ("never asks", "late") and trial.should_prune():
            if slip in ("returns", "breaks"):
                return 0.0 if slip == "returns" else accuracy
            raise TrialPruned
    return max(seen) if slip in ("best", "best end") else seen[-1]


class Prunable(Exercise):
    """A trial that can be stopped."""

    name = "prunable"
    hints = (
        "`for step, accuracy in enumerate(accuracies):` trains for one epoch in each round.",
        "First `trial.report(accuracy, step)`, then `if trial.should_prune(): raise optuna.TrialPruned`.",
    )
    reference = staticmethod(_prunable)
    slips: ClassVar = {
        "silent": "nothing is reported, so nothing can ever be stopped: trial.report(accuracy, step)",
        "never asks": "you report, and never ask: trial.should_prune() after each report",
        "late": "you ask before you report: hopeless trials train for one more epoch; report first, then ask",
        "list": "all epochs were trained before the first report: don't use list(…), take one at a time",
        "returns": "a stopped trial has no result, not a bad one: raise optuna.TrialPruned",
        "breaks": "a trial that was stopped must not look like a finished one: raise optuna.TrialPruned",
        "step": "every report has the same step, and Optuna keeps only the first: count the epochs",
        "best": "report the epoch's own accuracy, not the best so far",
        "best end": "return the last epoch's accuracy: the best of many epochs is partly luck",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about in ("a good trial", "a hopeless trial", "a trial that falls back"):
            n = draw(rng, 6, 9)
            accuracies = np.sort(rng.uniform(0.3, 0.8, n))
            if about == "a good trial":
                accuracies[-1] = accuracies[-2] - 0.05
            bars = accuracies - 0.1
            if about == "a hopeless trial":
                bars[draw(rng, 2, n - 4) :] = 0.85
            if about == "a trial that falls back":
                accuracies[-1] = bars[-1] - 0.05
            yield {"about": about, "accuracies": accuracies.tolist(), "bars": bars.tolist()}


def _compared(a: Tensor, b: Tensor, slip: str = "") -> tuple[float, float, float]:
    n = len(a)
    difference = a - b if slip == "sign" else b - a
    middle = difference.mean()
    if slip == "best":
        middle = b.max() - a.max()
    variance = difference.var(correction=0 if slip == "ddof" else 1)
    if slip == "unpaired":
        variance = a.var() + b.var()
    error = (variance if slip == "no root" else variance / n).sqrt().item()
    degrees = {"n": n, "unpaired": 2 * n - 2}.get(slip, n - 1)
    quantile = stats.t.ppf(0.95 if slip == "one side" else 0.975, degrees)
    half = {"normal": 1.96, "one error": 1.0}.get(slip, quantile) * error
    return middle.item(), middle.item() - half, middle.item() + half


class PairedDifference(Exercise):
    """Compare two runs honestly."""

    name = "paired_difference"
    points = 2
    not_allowed = ("ttest_rel", "ttest_1samp", "ttest_ind", "compare_seeds")
    hints = (
        "Everything is about `b - a`, one difference for each seed.",
        "Their mean has the standard error `d.std() / len(d) ** 0.5`.",
        "With so few seeds, 1.96 is too small: `stats.t.ppf(0.975, len(d) - 1)` is the factor.",
    )
    reference = staticmethod(_compared)
    slips: ClassVar = {
        "sign": "the sign is wrong: take b minus a",
        "best": "you compared each setting's best seed, which is luck: take the mean of the differences",
        "unpaired": "the runs come in pairs, one for each seed: take differences first, then their deviation",
        "ddof": "you divided by n, which makes few seeds look too sure: std() divides by n − 1",
        "no root": "that is how far single seeds spread: the mean's error is smaller by a factor of √n",
        "normal": "1.96 is for hundreds of seeds: with so few, use stats.t.ppf(0.975, n - 1)",
        "n": "n differences have n − 1 degrees of freedom: stats.t.ppf(0.975, n - 1)",
        "one side": "2.5 % lie outside on each side, so take the quantile at 0.975",
        "one error": "one standard error each way covers only about two thirds: multiply by the t quantile",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {"three seeds": (3, 0.01), "two seeds": (2, 0.01), "seeds that differ a lot": (5, 0.1)}
        for about, (n, spread) in (kinds | {"many seeds": (draw(rng, 8, 12), 0.02)}).items():
            a = 0.8 + rng.normal(0, spread, n)
            b = a + rng.uniform(-0.02, 0.05) + rng.normal(0, 0.02, n)
            yield {"about": about, "a": a, "b": b}


def _noise(scores: list[Tensor], slip: str = "") -> Tensor:
    if slip == "together":
        return torch.cat(scores).std()
    if slip == "means":
        return torch.stack([each.mean() for each in scores]).std()
    scores = [each for each in scores if len(each) > 1 or slip == "one"]
    squares = torch.stack([(each - each.mean()).square().sum() for each in scores])
    lengths = torch.tensor([len(each) for each in scores])
    variances = squares / (lengths if slip == "ddof" else lengths - 1)
    weights = {"by n": lengths, "alike": torch.ones(len(scores)), "ddof": lengths}.get(slip, lengths - 1)
    if slip == "deviations":
        return (variances.sqrt() * weights).sum() / weights.sum()
    pooled = (variances * weights).sum() / weights.sum()
    return {"variance": pooled, "range": max(each.max() - each.min() for each in scores)}.get(
        slip, pooled.sqrt()
    )


class SeedNoise(Exercise):
    """Spot the noise."""

    name = "seed_noise"
    hints = (
        "Subtract from each setting's scores their own mean: what is left is noise.",
        "Square what is left and add it all up, over all settings. That is the numerator.",
        "Each mean uses up one degree of freedom: divide by the sum of `len(each) - 1`, and take the root.",
    )
    reference = staticmethod(_noise)
    slips: ClassVar = {
        "together": "the differences between settings are in it: subtract each setting's mean first",
        "means": "that is how far the settings differ: noise is how far runs of one setting do",
        "ddof": "divided by the number of runs, it's too small: each mean uses up one degree of freedom",
        "deviations": "don't average deviations: add up the squares, divide, and take the root last",
        "alike": "every setting counts the same here: more seeds know more, so weight with len − 1",
        "by n": "weight with len − 1: n runs have n − 1 degrees of freedom",
        "variance": "that is the variance: take its root",
        "one": "a single run has no spread and turns the rest into NaN: it adds nothing to either sum",
        "range": "that is the range, which grows with the number of seeds: take the standard deviation",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {"as many seeds of each": [3, 3, 3, 3], "more seeds of some": [2, 3, draw(rng, 6, 9)]}
        for about, seeds in (kinds | {"a setting with a single run": [draw(rng, 3, 5), 1, 4]}).items():
            noise = rng.uniform(0.01, 0.03)
            scores = [rng.uniform(0.6, 0.9) + noise * rng.normal(size=n) for n in seeds]
            yield {"about": about, "scores": scores}
