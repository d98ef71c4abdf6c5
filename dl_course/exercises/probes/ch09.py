"""Calling the answers of chapter 09."""

from typing import Any

import torch
from torch import nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, plain


@probe
def top_classes(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["logits"]), list(case["names"]), case["k"])


@probe
def channel_statistics(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["images"]))


@probe
def shared_pictures(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["train"]), torch.from_numpy(case["test"]))


@probe
def nearest_pictures(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["query"]), torch.from_numpy(case["features"]), case["k"])


@probe
def split_by_place(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["lefts"]), case["width"], case["border"], case["gap"])


def _network(case: Case) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case["seed"])
        width = case["width"]
        body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5))
        head = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, 4))
    model = nn.Sequential()
    for name, part in (("body", body), ("pool", pool), ("head", head)):
        model.add_module(name, part)
    return model.train(case["training"])


@probe
def head_step(answer: Any, case: Case) -> Outputs:
    model = _network(case)
    optimizer = torch.optim.SGD(model.get_submodule("head").parameters(), case["rate"])
    images = torch.from_numpy(case["images"])
    labels = torch.from_numpy(case["labels"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case["seed"])
        losses = [plain(answer(model, "head", images, labels, optimizer)) for _ in range(2)]
    state = {name: plain(tensor) for name, tensor in model.state_dict().items()}
    return {"returned": losses, "weights and statistics": state}
