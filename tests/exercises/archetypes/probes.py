"""Calling the six kinds of answer. A worker imports this file alone; nothing here knows a result."""

from __future__ import annotations

from itertools import islice

import torch
from safetensors.torch import load_file
from torch import nn

from dl_course.exercises.probes import probe
from dl_course.exercises.probes.tools import artefact, called, filled, module_outputs, plain


@probe
def unit_rows(answer, case):
    return called(answer, torch.from_numpy(case["x"]))


@probe
def endless_batches(answer, case):
    return {"batches": plain(list(islice(answer(case["n"], case["size"]), case["take"])))}


@probe
def RunningMean(answer, case):  # noqa: N802
    mean = answer()
    return {"values": [plain(mean.update(torch.from_numpy(batch))) for batch in case["batches"]]}


@probe
def ResidualLinear(answer, case):  # noqa: N802
    return module_outputs(answer(case["width"]), torch.from_numpy(case["x"]), seed=case["seed"])


@probe
def one_step(answer, case):
    model = filled(nn.Linear(case["x"].shape[1], case["classes"]), case["seed"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = torch.from_numpy(case["x"]), torch.from_numpy(case["y"])
    losses = [plain(answer(model, batch, optimizer)) for _ in range(2)]
    return {"losses": losses, "state": plain(model.state_dict())}


@probe
def Contest(answer, case):  # noqa: N802
    model = answer()
    model.load_state_dict(load_file(artefact("challenge.safetensors")))
    with torch.no_grad():
        return {"logits": plain(model.eval()(torch.from_numpy(case["x"])))}
