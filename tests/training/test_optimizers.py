"""Optimizers by name, beside those that torch makes of the same model."""

import copy

import pytest
import torch
from torch import nn, optim

from dl_course.training import optimizers

CLASSES = {
    "sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad, "adadelta": optim.Adadelta,
}  # fmt: skip


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(4))


def trained(model, optimizer, steps=5):
    x = torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def pair():
    model = network()
    model(torch.zeros(2, 1, 5, 5))
    return model, copy.deepcopy(model)


@pytest.mark.parametrize("name", CLASSES)
def test_without_decay_training_is_as_by_torchs_own(name):
    ours, theirs = pair()
    momentum = {"momentum": 0.9} if name == "sgd" else {}
    mine = optimizers.build(name, ours, learning_rate=0.01)
    assert type(mine) is CLASSES[name]
    expected = trained(theirs, CLASSES[name](theirs.parameters(), lr=0.01, weight_decay=0.0, **momentum))
    assert torch.equal(trained(ours, mine), expected)


def test_every_name_is_compared_with_torch():
    assert sorted(optimizers.OPTIMIZERS) == sorted(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_decay_is_for_weights_and_neither_for_biases_nor_norms(name):
    model, _ = pair()
    optimizer = optimizers.build(name, model, learning_rate=0.01, weight_decay=0.3)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"0.weight": 0.3, "3.weight": 0.3, "0.bias": 0, "3.bias": 0, "1.weight": 0, "1.bias": 0}
    assert {key: decays[id(p)] for key, p in model.named_parameters()} == expected


def test_options_are_torchs():
    group = optimizers.build(
        "sgd", network()[0], learning_rate=1.0, nesterov=True, momentum=0.5
    ).param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (1.0, 0.5, True)


def test_frozen_parameters_are_left_out_and_a_tied_one_comes_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].requires_grad_(False)
    model.again = model[1].weight
    groups = optimizers.build("adam", model, learning_rate=0.1).param_groups
    assert [
        [p is q for p in group["params"]] for group, q in zip(groups, model[1].parameters(), strict=True)
    ] == [
        [True],
        [True],
    ]


def test_a_model_without_biases_or_with_nothing_else_is_trained():
    for model in (nn.Linear(3, 2, bias=False), nn.PReLU()):
        before = next(model.parameters()).detach().clone()
        optimizer = optimizers.build("adamw", model, learning_rate=0.1, weight_decay=0.1)
        model(-torch.ones(1, 3)).sum().backward()
        optimizer.step()
        assert not torch.equal(next(model.parameters()), before)


def test_a_model_with_nothing_to_learn_is_refused():
    for model in (nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)):
        with pytest.raises(ValueError, match="no parameter requires a gradient; unfreeze"):
            optimizers.build("sgd", model, learning_rate=0.1)


def test_an_unknown_name_or_option_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown optimizer 'adamv'; did you mean 'adam"):
        optimizers.build("adamv", nn.Linear(1, 1), learning_rate=0.1)
    with pytest.raises(ValueError, match="'sgd' takes no 'momentun'; did you mean 'momentum'"):
        optimizers.build("sgd", nn.Linear(1, 1), learning_rate=0.1, momentun=0.9)
