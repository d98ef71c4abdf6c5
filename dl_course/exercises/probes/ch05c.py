"""Calling the answers of chapter 05c."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.ch05 import _left_behind
from dl_course.exercises.probes.tools import called, filled, plain


@probe
def unmoved(answer: Any, case: Case) -> Outputs:
    width = case["width"]
    made = [0]
    model = nn.Sequential()
    for number in range(case["depth"]):
        model.extend([nn.Linear(width if number else 4, width), nn.LayerNorm(width), nn.Tanh()])
    filled(model.append(nn.Linear(width, 3)), case["seed"]).train()
    x = torch.from_numpy(case["x"])
    labels = torch.tensor(case["labels"])
    for name in case["frozen"]:
        model.get_parameter(name).requires_grad_(False)
    known = [p for name, p in model.named_parameters() if name not in case["unknown"]]
    optimizer = torch.optim.SGD(known, lr=0.1)

    def step() -> None:
        made[0] += 1
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        if not case["forgets"]:
            optimizer.step()

    returned = called(answer, model, step)["returned"]
    return {"returned": returned, "steps made": made[0]}


class _Applied(nn.Module):
    """A layer without weights, of which only the name is known."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        kinds = {"log": lambda x: torch.log(x - 1), "root": torch.sqrt, "inverse": torch.reciprocal}
        self.function = kinds.get(kind, torch.tanh)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class _Network(nn.Module):
    """Two blocks, which run in the other order than they are defined in."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        width = case["width"]
        before, after = case["depth"]
        late = [nn.Linear(width, width) for _ in range(after)]
        early = [nn.Linear(width if number else 3, width) for number in range(before)]
        self.late = nn.Sequential(*late, _Applied(case["late"]), nn.Linear(width, 2))
        self.early = nn.Sequential(*early, nn.Sequential(nn.ReLU(), _Applied(case["early"])))

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.early(x))


@probe
def first_nonfinite(answer: Any, case: Case) -> Outputs:
    model = filled(_Network(case), case["seed"]).eval()
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
    return {"changed": changed, "logits": plain(healed.predict(torch.from_numpy(case["pictures"]) / 255))}
