"""Calling the answers of chapter 01."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, plain


@probe
def standardize(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["images"]))


@probe
def pairwise_distances(answer: Any, case: Case) -> Outputs:
    return called(answer, torch.from_numpy(case["a"]), torch.from_numpy(case["b"]))


@probe
def count_parameters(answer: Any, case: Case) -> Outputs:
    model = _network(case["widths"], case["frozen"], case["tied"], case["batchnorm"])
    return {"all": plain(answer(model)), "trainable only": plain(answer(model, trainable_only=True))}


def _network(widths: list[int], frozen: int, tied: bool, batchnorm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if batchnorm else []), nn.ReLU()]
    if tied:
        twin = nn.Linear(widths[-1], widths[-1])
        layers += [twin, nn.ReLU(), nn.Linear(widths[-1], widths[-1])]
        layers[-1].weight = twin.weight
    for layer in layers[:frozen]:
        layer.requires_grad_(False)
    return nn.Sequential(*layers)


@probe
def seeded_split(answer: Any, case: Case) -> Outputs:
    n = case["n"]
    share = case["share"]
    seed = case["seed"]
    torch.manual_seed(seed + 1)
    first = answer(n, share, seed)
    afterwards = plain(torch.rand(3))
    again = answer(n, share, seed)
    other = answer(n, share, seed + 1)
    indices = [[[int(index) for index in part] for part in split] for split in (first, again, other)]
    return {
        "split": indices[0],
        "again": indices[1],
        "another seed": indices[2],
        "random numbers": afterwards,
    }
