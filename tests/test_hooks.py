import random

import numpy as np
import pytest
import torch
from torch import nn

from dl_course.hooks import evaluating, preserved, resolve, tensors_in, watching


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.again = self.body[0]
        self.head = nn.Linear(4, 2)

    def forward(self, x, scale=1.0):
        return {"logits": self.head(self.body(x)) * scale, "pair": (x, [x + 1])}


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_every_call_is_reported_in_order_with_its_containers():
    events = []
    with watching(
        model := Nested(),
        lambda name, *call: events.append(("out", name)),
        lambda name, m: events.append(("in", name)),
    ):
        model(torch.rand(2, 3))
    assert events == [
        ("in", ""),
        ("in", "body"),
        *[(way, f"body.{i}") for i in range(3) for way in ("in", "out")],
        ("out", "body"),
        ("in", "head"),
        ("out", "head"),
        ("out", ""),
    ]


def test_keyword_arguments_inputs_and_outputs_reach_the_callback():
    seen = {}
    model, x = Nested(), torch.rand(2, 3)
    with watching(
        model, lambda name, module, args, kwargs, output: seen.update({name: (module, args, kwargs, output)})
    ):
        out = model(x, scale=2.0)
    module, args, kwargs, output = seen[""]
    assert module is model and args[0] is x and kwargs == {"scale": 2.0} and output is out


def test_what_the_callback_returns_takes_the_outputs_place():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with watching(model, lambda name, *call: torch.zeros(1, 3) if name == "0" else None):
        assert model(torch.rand(1, 3)).eq(0).all()


def test_a_module_called_twice_reports_twice_under_its_first_name():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = nn.Linear(3, 3)

        def forward(self, x):
            return self.second(self.first(x))

    names = []
    with watching(model := Twice(), lambda name, *call: names.append(name)):
        model(torch.rand(1, 3))
    assert names == ["first", "first", ""]


@pytest.mark.parametrize("where", ["in the forward", "in the block", "in the callback", "nowhere"])
def test_no_hook_stays_whatever_fails(where):
    model = Nested()

    def callback(name, *call):
        if where == "in the callback":
            raise KeyError("in the callback")

    with pytest.raises((RuntimeError, KeyError)), watching(model, callback, lambda name, module: None):
        assert hooks_of(model) > 0
        model(torch.rand(2, 99 if where == "in the forward" else 3))
        raise KeyError("in the block")
    assert hooks_of(model) == 0


def test_hooks_of_others_are_left_alone():
    model, calls = nn.Linear(2, 2), []
    model.register_forward_hook(lambda *call: calls.append(1))
    with watching(model, lambda *call: None):
        pass
    model(torch.rand(1, 2))
    assert calls == [1]


def test_a_layer_is_found_by_any_of_its_names():
    model = Nested()
    assert resolve(model, "body.1") is model.body[1]
    assert resolve(model, "again") is model.body[0]


def test_an_unknown_layer_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown layer 'body\.l'; did you mean 'body\.[012]'"):
        resolve(Nested(), "body.l")


def test_tensors_are_found_in_nested_outputs_in_order():
    from dataclasses import dataclass

    @dataclass
    class Output:
        logits: torch.Tensor
        rest: dict

    a, b, c = torch.rand(1), torch.rand(2), torch.rand(3)
    assert [t.numel() for t in tensors_in(Output(a, {"x": (b, None), "y": [c, "text", 3]}))] == [1, 2, 3]
    assert list(tensors_in(Output)) == []


def test_evaluating_gives_every_module_its_own_flag_back_after_an_error():
    model = Nested()
    model.body[1].eval()
    before = {name: m.training for name, m in model.named_modules()}
    with pytest.raises(KeyError), evaluating(model):
        assert not any(m.training for m in model.modules())
        raise KeyError
    assert {name: m.training for name, m in model.named_modules()} == before
    assert before["body.1"] is False and before["body"] is True


def test_preserved_restores_buffers_flags_and_all_random_states_after_an_error():
    model = Nested()
    tracked = model.body[1].num_batches_tracked
    before = {key: value.clone() for key, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    with pytest.raises(KeyError), preserved(model):
        model(torch.rand(5, 3))
        model.eval()
        model.body[1].num_batches_tracked = tracked + 5  # replaced, not changed in place
        random.random(), np.random.rand(), torch.rand(1)
        raise KeyError
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.body[1].num_batches_tracked is tracked and model.training
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[2])
    assert (np.random.get_state()[1] == states[1]).all()


def test_preserved_with_a_seed_draws_the_same_numbers_inside():
    draws = []
    for _ in range(2):
        with preserved(nn.Identity(), seed=3):
            draws.append(torch.rand(4))
    assert torch.equal(*draws)
