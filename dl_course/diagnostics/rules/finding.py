"""What makes a function a rule, which faults bring others with them, and how a report comes of it."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from dl_course.diagnostics.rules.report import SEVERITIES, Finding, Report

Found = (
    tuple[Any, Any] | str | bool | None
)  # (where, the evidence) or the evidence; nothing where it is false
Rule = Callable[[Any], "Finding | None"]
CHECKS: list[Rule] = []  # of the check-up, by stage: data, model, loss, optimizer, trial
CURVES: list[Rule] = []  # of histories

# A fault, and what follows from it by itself, mended together. Where two bring each other, the earlier
# line is the cause. Whatever spoils the signal can do all that TROUBLE names.
TROUBLE = (
    "initial-loss vanishing-gradients exploding-gradients nonfinite-loss nonfinite-gradients dead-units "
    "saturated-units zero-gradient lr-too-high lr-too-low cannot-overfit-batch "
)
STUCK = "zero-gradient no-update lr-too-low lr-too-high cannot-overfit-batch "
CONSEQUENCES = {
    "input-nonfinite": TROUBLE,
    "data-changes": TROUBLE + "input-not-normalised constant-input label-noise train-val-mismatch",
    "workers-alike": "label-noise train-val-mismatch",
    "constant-input": TROUBLE + "label-noise train-val-leak train-val-mismatch bad-initialisation",
    "scrambled-input": TROUBLE + "label-noise train-val-mismatch",
    "input-not-normalised": TROUBLE + "train-val-mismatch",
    "labels-constant": TROUBLE + "class-imbalance output-width label-noise output-range output-activation",
    "labels-out-of-range": TROUBLE + "class-imbalance output-range gradient-mismatch labels-scale",
    "labels-scale": TROUBLE + "output-range",
    "unshuffled-training": TROUBLE + "class-imbalance output-width train-val-mismatch label-noise",
    "output-width": TROUBLE + "labels-out-of-range",
    "wrong-mode": TROUBLE + "samples-mixed stateful-evaluation",
    "stateful-evaluation": TROUBLE + "samples-mixed gradient-mismatch",
    "random-in-eval": "gradient-mismatch cannot-overfit-batch samples-mixed",
    "samples-mixed": TROUBLE + "label-noise output-activation",
    "future-leak": "overfitting",
    "output-activation": TROUBLE + "output-range",
    "output-range": TROUBLE,
    "loss-broadcast": TROUBLE,
    "unregistered-parameters": STUCK + "no-gradient frozen-parameters",
    "bad-initialisation": TROUBLE,
    "dropout-too-strong": TROUBLE + "underfitting",
    "batchnorm-small-batch": TROUBLE,
    "frozen-parameters": STUCK + "no-gradient untrained-frozen",
    "untrained-frozen": STUCK + "bad-initialisation vanishing-gradients",
    "no-gradient": STUCK + "gradient-mismatch",
    "nonfinite-loss": "no-update nonfinite-gradients dead-units lr-too-high cannot-overfit-batch",
    "nonfinite-gradients": "lr-too-high cannot-overfit-batch",
    "missing-nonlinearity": "exploding-gradients cannot-overfit-batch",
    "dead-units": STUCK + "vanishing-gradients",
    "zero-gradient": "no-update lr-too-low lr-too-high cannot-overfit-batch vanishing-gradients",
    "saturated-units": STUCK + "initial-loss vanishing-gradients",
    "exploding-gradients": "initial-loss lr-too-high cannot-overfit-batch",
    "vanishing-gradients": STUCK,
    "gradient-mismatch": STUCK,
    "loss-is-a-sum": "exploding-gradients lr-too-high",
    "cannot-overfit-batch": "lr-too-low lr-too-high",
    "schedule-too-fast": "lr-too-low no-update",
    "step-too-small": "lr-too-low no-update",
    "no-update": "lr-too-low",
    "diverged": "unstable-training overfitting underfitting plateau",
    "unstable-training": "overfitting underfitting plateau",
    "plateau": "underfitting",
}


class Skip(Exception):
    """Why something cannot be measured here; no reason where there is nothing of the kind."""


def rule(fault: str, severity: str = "warning", rules: list[Rule] = CHECKS) -> Callable[[Any], Rule]:  # noqa: B006
    """Return a decorator: a function that says what it finds in the evidence becomes one of the rules.

    The first paragraphs of its docstring give the limit and its reason, the last the advice.
    """

    def made(measure: Callable[[Any], Found]) -> Rule:
        @wraps(measure)
        def judge(evidence: Any) -> Finding | None:
            found = measure(evidence)
            where, text = found if isinstance(found, tuple) else (None, found)
            return Finding(fault, severity, where, str(text), advice) if text else None

        advice = " ".join((inspect.getdoc(measure) or "").rpartition("\n\n")[2].split())
        judge.fault = fault  # type: ignore[attr-defined]
        rules.append(judge)
        return judge

    return made


def report_of(rules: list[Any], evidence: Any) -> Report:
    """Return what the rules say, causes first."""
    found = list[Finding]()
    skipped = dict[str, str]()
    for judge in rules:
        try:
            found += [finding] if (finding := judge(evidence)) else []
        except Skip as why:
            skipped |= {judge.fault: str(why)} if str(why) else {}
        except Exception as error:  # of a stranger's code: the other rules go on
            skipped[judge.fault] = f"{type(error).__name__}: {str(error)[:200]}"
    names = {each.fault for each in found if each.severity != "info" or each.fault == "loss-is-a-sum"}
    causes = [cause for cause in CONSEQUENCES if cause in names]
    made = [replace(each, because=_cause(each.fault, causes)) for each in found]
    made.sort(key=lambda each: (each.because is not None, SEVERITIES.index(each.severity)))
    return Report(tuple(made), {f: why for f, why in skipped.items() if f not in names})


def _cause(fault: str, causes: list[str]) -> str | None:
    earlier = causes[: causes.index(fault)] if fault in causes else causes
    return next((cause for cause in earlier if fault in CONSEQUENCES[cause].split()), None)
