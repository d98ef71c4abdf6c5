"""Calling the answers of chapter 02."""

from typing import Any

import numpy as np

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, plain


def _calls(name: str, *keys: str) -> None:
    """Register a probe that calls the answer with the values of these keys."""

    def calling(answer: Any, case: Case) -> Outputs:
        return called(answer, *(case[key] for key in keys))

    calling.__name__ = name
    probe(calling)


_calls("linear_forward", "x", "w", "b")
_calls("relu", "x")
_calls("linear_backward", "dout", "x", "w")
_calls("cross_entropy", "scores", "targets")


@probe
def numerical_gradient(answer: Any, case: Case) -> Outputs:
    def f(x: np.ndarray) -> float:
        return float(4 * np.sin(3 * x).sum() + (case["a"] * x).sum() ** 2)  # every slope depends on all of x

    return called(answer, f, case["x"], case["h"])


@probe
def training_step(answer: Any, case: Case) -> Outputs:
    params = {name: case[name] for name in ("w1", "b1", "w2", "b2")}
    x = case["x"]
    targets = case["targets"]
    losses = [plain(answer(params, x, targets, case["learning_rate"])) for _ in range(case["steps"])]
    return {"losses": losses, "params": plain(params), "inputs afterwards": plain([x, targets])}


@probe
def momentum_step(answer: Any, case: Case) -> Outputs:
    p = case["p"]
    v = case["v"]
    outputs = {}
    for number, gradient in enumerate(case["gradients"], 1):
        answer(p, v, gradient, case["learning_rate"], case["momentum"])
        outputs[f"after step {number}"] = {"v": plain(v), "p": plain(p)}
    return {**outputs, "inputs afterwards": plain(case["gradients"])}
