"""Calling the answers of chapter 03."""

from typing import Any

import torch

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, filled, module_outputs, plain


def _calls(name: str, *keys: str) -> None:
    """Register a probe that calls the answer with those of these values that the case has, by name."""

    def calling(answer: Any, case: Case) -> Outputs:
        given = {key: case[key] for key in keys if key in case}
        return {"returned": called(answer, **given)["returned"]}

    calling.__name__ = name
    probe(calling)


_calls("output_size", "size", "kernel", "stride", "padding", "dilation")
_calls("separable_parameters", "inputs", "outputs", "kernel", "bias")


@probe
def receptive_field(answer: Any, case: Case) -> Outputs:
    return called(answer, [tuple(layer) for layer in case["layers"]])


@probe
def conv2d_by_hand(answer: Any, case: Case) -> Outputs:
    arrays = [torch.from_numpy(case[key]) for key in ("x", "w", "b")]
    return called(answer, *arrays, **{key: case[key] for key in ("stride", "padding") if key in case})


@probe
def LeNet(answer: Any, case: Case) -> Outputs:  # noqa: N802
    return module_outputs(answer(case["classes"]), torch.from_numpy(case["x"]), seed=case["seed"])


@probe
def SqueezeExcite(answer: Any, case: Case) -> Outputs:  # noqa: N802
    block = answer(case["channels"], case["reduction"])
    empty = sum(parameter.numel() == 0 for parameter in block.parameters())
    if empty:  # which can't be filled
        return {"empty parameters": empty}
    return {"empty parameters": 0, **module_outputs(block, torch.from_numpy(case["x"]), seed=case["seed"])}


@probe
def ResidualBlock(answer: Any, case: Case) -> Outputs:  # noqa: N802
    block = answer(case["inputs"], case["channels"], case["stride"])
    return module_outputs(block, torch.from_numpy(case["x"]), seed=case["seed"])


@probe
def build_resnet18(answer: Any, case: Case) -> Outputs:
    model = answer(case["classes"])
    if any(
        parameter.is_meta for parameter in model.parameters()
    ):  # as the judge's own, which draws no weights
        model.to_empty(device="cpu")
    shapes = {name: list(each.shape) for name, each in model.state_dict().items()}
    with torch.no_grad():
        logits = filled(model, case["seed"]).eval()(torch.from_numpy(case["x"]))
    return {"shapes in the state dict": shapes, "logits": plain(logits)}
