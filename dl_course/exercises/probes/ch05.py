"""Calling the answers of chapter 05."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, filled, plain


class _Breaks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ArithmeticError("this network breaks here")


def _network(case: Case) -> nn.Sequential:
    """Return a network with layers "body.conv", "body.norm", "body.act", "more"; ReLUs work in place."""
    channels = case["channels"]
    body = nn.Sequential()
    model = nn.Sequential()
    body.conv = nn.Conv2d(case["x"].shape[1], channels, 3)
    body.norm = nn.BatchNorm2d(channels)
    body.act = nn.ReLU(inplace=True)
    model.body = body
    model.more = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
    model.after = _Breaks() if case["breaks"] else nn.ReLU(inplace=True)
    model.pool = nn.AdaptiveAvgPool2d(1)
    model.flat = nn.Flatten()
    model.fc = nn.Linear(2 * channels, case["classes"])
    filled(model, case["seed"])
    return model.eval()


def _left_behind(model: nn.Module) -> Outputs:
    kinds = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
    hooks = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return {"hooks left": hooks, "parameters with a gradient": len(gradients)}


@probe
def activation_of(answer: Any, case: Case) -> Outputs:
    model = _network(case)
    x = torch.from_numpy(case["x"])
    try:
        out = answer(model, case["layer"], x)
    except ArithmeticError:
        return {"the error": "arrives", "hooks left by it": _left_behind(model)["hooks left"]}
    again = "" if case["breaks"] else plain(model(x.flip(-1)))  # a hook that stayed is called once more
    tied = int(getattr(out, "requires_grad", False))
    return {**_left_behind(model), "returned": plain(out), "tied to the graph": tied, "the next run": again}


@probe
def dead_share(answer: Any, case: Case) -> Outputs:
    return {"returned": called(answer, [torch.from_numpy(batch) for batch in case["batches"]])["returned"]}


@probe
def layer_statistics(answer: Any, case: Case) -> Outputs:
    mean, std = answer([torch.from_numpy(batch) for batch in case["batches"]])
    return {"mean": plain(mean), "std": plain(std)}


@probe
def gradient_ratios(answer: Any, case: Case) -> Outputs:
    model = _network(case)
    labels = torch.tensor(case["labels"])
    model.get_submodule("pool").add_module("spare", nn.Linear(3, 2))  # which nobody calls
    with torch.no_grad():
        model.get_parameter("body.norm.bias").add_(case["shift"])
    for name in case["frozen"]:
        model.get_parameter(name).requires_grad_(False)
    F.cross_entropy(model(torch.from_numpy(case["x"])), labels).backward()
    return {"returned": called(answer, model)["returned"]}
