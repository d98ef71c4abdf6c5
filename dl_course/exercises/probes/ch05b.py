"""Calling the answers of chapter 05b."""

from typing import Any

import torch

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.ch05 import _left_behind, _network
from dl_course.exercises.probes.tools import called, plain


@probe
def grad_cam(answer: Any, case: Case) -> Outputs:
    model = _network(case)
    x = torch.from_numpy(case["x"])
    maps = answer(model, case["layer"], x, torch.tensor(case["targets"]))
    return {**_left_behind(model), "returned": plain(maps)}


@probe
def pointing_score(answer: Any, case: Case) -> Outputs:
    maps, masks = (torch.from_numpy(case[key]) for key in ("maps", "masks"))
    return {"returned": called(answer, maps, masks)["returned"]}


@probe
def nearest(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["features"]), case["query"], case["k"])


@probe
def attack(answer: Any, case: Case) -> Outputs:
    model = _network(case).double()  # near 0, a gradient's sign in float32 is chance
    moved = called(answer, model, torch.from_numpy(case["x"]), torch.tensor(case["labels"]), case["epsilon"])
    return {**_left_behind(model), **moved}
