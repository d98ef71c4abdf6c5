"""Calling the answers of chapter 03."""

from functools import lru_cache
from typing import Any

import torch
import torchvision
from torch import Tensor

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


@lru_cache(maxsize=1)
def _torchvisions(classes: int, seed: int) -> dict[str, Tensor]:
    with torch.device("meta"):  # which draws no weights
        model = torchvision.models.resnet18(num_classes=classes)
    return filled(model.to_empty(device="cpu"), seed).state_dict()


@probe
def build_resnet18(answer: Any, case: Case) -> Outputs:
    model = answer(case["classes"])
    theirs = _torchvisions(case["classes"], case["seed"])
    shapes = [{name: list(each.shape) for name, each in s.items()} for s in (model.state_dict(), theirs)]
    if shapes[0] != shapes[1]:
        return {"shapes in the state dict": shapes[0]}
    model.load_state_dict(theirs, assign=True)
    picture = torch.from_numpy(case["x"])
    with torch.no_grad():
        return {"shapes in the state dict": shapes[0], "logits": plain(model.eval()(picture))}
