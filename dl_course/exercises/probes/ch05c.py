"""Calling the answers of chapter 05c."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.ch05 import _left_behind
from dl_course.exercises.probes.tools import called, filled, plain, program, run_program


def differentiated(case: Case) -> nn.Module:
    """Return the network of a case after its backward pass, before the optimizer's step."""
    width = case["width"]
    model = nn.Sequential()
    for number in range(case["depth"]):
        model.extend([nn.Linear(width if number else 4, width), nn.LayerNorm(width), nn.Tanh()])
    filled(model.append(nn.Linear(width, 3)), case["seed"]).train()
    for name in case["frozen"]:
        model.get_parameter(name).requires_grad_(False)
    F.cross_entropy(model(torch.from_numpy(case["x"])), torch.tensor(case["labels"])).backward()
    return model


@probe
def unmoved(answer: Any, case: Case) -> Outputs:
    made = [0]
    model = differentiated(case)

    def step() -> None:  # the judge has made it: which optimizer leaves what alone isn't known here
        made[0] += 1
        with torch.no_grad():
            for parameter, values in zip(model.parameters(), case["moves"], strict=True):
                parameter.add_(torch.from_numpy(values))

    returned = called(answer, model, step)["returned"]
    return {"returned": returned, "steps made": made[0]}


class _Log(nn.Module):
    """A logarithm. Whether it is given what it can't take only shows when it runs."""

    def __init__(self, low: float, shift: float) -> None:
        super().__init__()
        self.low = low
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x.clamp(min=self.low) + self.shift)


class _TwoBlocks(nn.Module):
    """Two blocks, which run in the other order than they are defined in."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        width = case["width"]
        before, after = case["depth"]
        late = [nn.Linear(width, width) for _ in range(after)]
        early = [nn.Linear(width if number else 3, width) for number in range(before)]
        logs = [_Log(low, shift) for low, shift in case["limits"].tolist()]
        self.late = nn.Sequential(*late, logs[1], nn.Linear(width, 2))
        self.early = nn.Sequential(*early, nn.Sequential(nn.ReLU(), logs[0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.early(x))


@probe
def first_nonfinite(answer: Any, case: Case) -> Outputs:
    model = filled(_TwoBlocks(case), case["seed"]).eval()
    returned = called(answer, model, torch.from_numpy(case["x"]))["returned"]
    return {"returned": returned, "hooks left": _left_behind(model)["hooks left"]}


@probe
def diagnose_curves(answer: Any, case: Case) -> Outputs:
    pairs = zip(case["train"], case["val"], strict=True)
    return {"returned": [plain(answer(train.copy(), val.copy())) for train, val in pairs]}


@probe
def heal(answer: Any, case: Case) -> Outputs:
    from dl_course.clinic import Patient, patient

    sick = patient(case["number"])
    before = sick.parts()
    healed = answer(sick)
    if not isinstance(healed, Patient):
        return {"returned": plain(healed)}
    changed = [name for name, text in healed.parts().items() if text != before[name]]
    healed.train()
    return {"changed": changed, "program": program(_Reader(healed))}


class _Reader(nn.Module):
    """A patient's network as it predicts: with its preparation and its step."""

    def __init__(self, patient: Any) -> None:
        super().__init__()
        self.model = patient.model
        self.predict = patient.predict

    def forward(self, pictures: Tensor) -> Tensor:
        return self.predict(pictures)


@probe
def heal_apart(given: Any, case: Case) -> Outputs:
    if "program" not in given:
        return {"returned": given.get("returned")}
    numbers, logits = run_program(given["program"], case["pictures"])
    weights = {name.removeprefix("model."): plain(each) for name, each in numbers.items()}
    return {"changed": given["changed"], "weights": weights, "logits": plain(logits)}
