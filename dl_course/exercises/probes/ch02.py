"""Calling the answers of chapter 02."""

from typing import Any

import numpy as np

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, plain


@probe
def linear_forward(answer: Any, case: Case) -> Outputs:
    return called(answer, case["x"], case["w"], case["b"])


@probe
def relu(answer: Any, case: Case) -> Outputs:
    return called(answer, case["x"])


@probe
def linear_backward(answer: Any, case: Case) -> Outputs:
    return called(answer, case["dout"], case["x"], case["w"])


@probe
def numerical_gradient(answer: Any, case: Case) -> Outputs:
    def f(x: np.ndarray) -> float:
        return float(np.sin(x).sum() + (case["a"] * x).sum() ** 2)  # every slope depends on all of x

    return called(answer, f, case["x"], case["h"])


@probe
def cross_entropy(answer: Any, case: Case) -> Outputs:
    return called(answer, case["scores"], case["targets"])


@probe
def training_step(answer: Any, case: Case) -> Outputs:
    params, x, targets = case["params"], case["x"], case["targets"]
    losses = [plain(answer(params, x, targets, case["learning_rate"])) for _ in range(case["steps"])]
    return {"losses": losses, "params": plain(params), "inputs afterwards": plain([x, targets])}


@probe
def momentum_step(answer: Any, case: Case) -> Outputs:
    p, v = case["p"], case["v"]
    outputs: Outputs = {}
    for number, gradient in enumerate(case["gradients"], 1):
        answer(p, v, gradient, case["learning_rate"], case["momentum"])
        outputs[f"after step {number}"] = {"v": plain(v), "p": plain(p)}
    return {**outputs, "inputs afterwards": plain(case["gradients"])}
