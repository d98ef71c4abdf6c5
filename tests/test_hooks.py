import random
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torchvision import models

from dl_course.hooks import capture, evaluating, mapped, preserved, resolve, tensors_in, watching


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


class Shared(nn.Module):
    """One convolution and one in-place ReLU, each used twice, as tutorials on residual networks have it."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.relu = (
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        x = self.stem(x)
        x = self.relu(self.conv(self.relu(self.conv(x)))) + x
        return x.flatten(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.flat, self.relu = (
            nn.LSTM(48, 5, 2, batch_first=True),
            nn.Flatten(),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        y, (hidden, cell) = self.lstm(x.flatten(2).transpose(1, 2)[:, :48].transpose(1, 2))
        return self.relu(self.flat(y)).sum(1) + hidden.sum((0, 2)) * cell.sum((0, 2))


class InDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.nested = Nested()
        self.nested.body[2].p = 0.0

    def forward(self, x):
        out = self.nested(x.mean((2, 3)))
        return {"logits": out["logits"], "aux": (out["pair"][1][0],)}


def vgg11():
    """Its convolutions, all followed by ReLU in place, with a head of 20 thousand numbers for 124 million."""
    features = models.vgg.make_layers(models.vgg.cfgs["A"])
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(2048, 10))


PUBLISHED = ("resnet18", "densenet121", "mobilenet_v3_small", "efficientnet_b0", "swin_t")
NETWORKS = {
    **{name: lambda name=name: models.get_model(name, num_classes=10) for name in PUBLISHED},
    "vgg11": vgg11,
    "vit_b_16": lambda: models.VisionTransformer(32, 8, 3, 4, 32, 64),  # its class, small
    **{network.__name__: network for network in (Shared, Recurrent, InDict)},
}


def a_network(name):
    with preserved(nn.Identity(), seed=0):
        return NETWORKS[name]().eval()


class NodeByNode(fx.Interpreter):
    """Runs a network by torch.fx, without any hook, and keeps a copy of what each layer puts out."""

    def __init__(self, model):
        super().__init__(fx.symbolic_trace(model))
        self.kept = {}

    def run_node(self, node):
        output = super().run_node(node)
        if node.op != "call_module":
            return output
        output = mapped(lambda t: t.clone() if t.requires_grad else t.clone().requires_grad_(), output)
        self.kept.setdefault(node.target, []).append(output)
        return mapped(torch.clone, output)


def a_scalar(output):
    return sum(
        (tensor * torch.linspace(-1, 1, tensor.numel()).view_as(tensor)).sum()
        for tensor in tensors_in(output)
    )


def assert_all_equal(ours, reference, **tolerance):
    for mine, other in zip(ours, reference, strict=True):
        if other is None:
            assert mine is None
        else:
            torch.testing.assert_close(mine, other, **tolerance)


def gradients_of(calls):
    """Return the gradient, or None, of each tensor of the activations."""
    leaves = [
        pair
        for call in calls
        for pair in zip(tree_leaves(call.activation), tree_leaves(call.gradient), strict=True)
    ]
    return [gradient for activation, gradient in leaves if activation is not None]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_captured_equals_a_run_node_by_node_and_autograds_gradients(name):
    model, x = a_network(name), torch.randn(2, 3, 32, 32)
    reference = NodeByNode(model)
    score = a_scalar(reference.run(x))
    outputs = list(tensors_in(list(reference.kept.values())))
    gradients = torch.autograd.grad(score, outputs, allow_unused=True)
    with capture(model, gradients=True) as seen:
        a_scalar(model(x)).backward()
    assert {layer: len(kept) for layer, kept in reference.kept.items()}.items() <= {
        layer: len(calls) for layer, calls in seen.items()
    }.items()
    calls = [call for layer in reference.kept for call in seen[layer]]
    ours = [tensor for call in calls for tensor in tensors_in(call.activation)]
    assert_all_equal(ours, [tensor.detach() for tensor in outputs], rtol=0, atol=0)
    assert_all_equal(gradients_of(calls), gradients)


@pytest.mark.parametrize("name", NETWORKS)
def test_capture_leaves_nothing_behind_also_when_the_network_fails(name):
    model, x = a_network(name).requires_grad_(False), torch.randn(2, 3, 32, 32)
    next(model.parameters()).requires_grad_(True)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    random_state, training = torch.get_rng_state(), [module.training for module in model.modules()]
    plain = next(tensors_in(model(x))).detach()
    with pytest.raises((RuntimeError, ValueError), match="(?i)type|double"), capture(model, gradients=True):
        assert torch.equal(next(tensors_in(model(x))), plain)
        model(x.double())
    assert hooks_of(model) == 0
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == flags
    assert training == [module.training for module in model.modules()]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_an_exception_of_the_user_flies_through():
    model = nn.Linear(2, 2)
    with pytest.raises(KeyError, match="mine"), capture(model):
        raise KeyError("mine")
    assert hooks_of(model) == 0


def test_gradients_arrive_in_a_frozen_network_and_after_the_block():
    model, x = a_network("resnet18"), torch.randn(1, 3, 32, 32)
    with capture(model, ["layer1", "layer3"], gradients=True) as seen:
        score = model(x).square().sum()
    score.backward()
    model.requires_grad_(False)
    with capture(model, ["layer1", "layer3"], gradients=True) as frozen:
        score = model(x).square().sum()
    assert frozen["layer1"][0].gradient is None
    score.backward()
    for layer in seen:
        torch.testing.assert_close(frozen[layer][0].gradient, seen[layer][0].gradient)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_autograd_activations_are_captured_and_gradients_refused_by_name(mode):
    model, x = a_network("Shared"), torch.randn(1, 3, 8, 8)
    with mode(), capture(model, "conv") as seen:
        model(x)
    assert len(seen["conv"]) == 2
    with pytest.raises(RuntimeError, match="no gradients reach 'conv'.*no_grad"), mode():  # noqa: SIM117
        with capture(model, "conv", gradients=True):
            model(x)
    assert hooks_of(model) == 0


def test_a_picture_made_in_inference_mode_is_taken_by_a_frozen_network():
    with torch.inference_mode():
        x = torch.randn(1, 3, 8, 8)
    model = nn.Sequential(nn.Identity(), nn.ReLU()).requires_grad_(False)
    with capture(model, gradients=True) as seen:
        model(x).sum().backward()
    assert torch.equal(seen["0"][0].gradient, (x > 0).float())


@pytest.mark.parametrize(
    "compile_it", [lambda m: torch.compile(m, backend="eager"), lambda m: m.compile(backend="eager")]
)
def test_a_network_that_was_compiled_and_run_is_captured(compile_it):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(2, 3)
    compiled = compile_it(model) or model
    plain = compiled(x)
    with capture(model, "0", gradients=True) as seen:
        compiled(x).sum().backward()
    torch.testing.assert_close(seen["0"][0].activation.relu(), plain.detach())
    assert torch.equal(seen["0"][0].gradient, (plain > 0).float())


def test_a_view_that_is_changed_in_place_keeps_its_values_and_its_gradient():
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Flatten(0), nn.ReLU(inplace=True)), torch.randn(3, 4)
    with capture(model, "1", gradients=True) as seen:
        model(x).sum().backward()
    before = model[0](x).flatten().detach()
    torch.testing.assert_close(seen["1"][0].activation, before)
    assert torch.equal(seen["1"][0].gradient, (before > 0).float())


def test_a_layer_that_hands_its_input_on_gets_the_gradient_of_its_own_output():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout()

        def forward(self, x):
            return 2 * self.drop(x) + 5 * x

    with capture(model := Skip().eval(), "drop", gradients=True) as seen:
        model(torch.ones(3, requires_grad=True)).sum().backward()
    assert seen["drop"][0].gradient.tolist() == [2, 2, 2]


def test_the_gradient_is_that_of_the_last_backward_and_nobody_elses_to_change():
    class Biased(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.bias = nn.Identity(), nn.Parameter(torch.zeros(2, 3))

        def forward(self, x):
            return self.first(x + self.bias) * 3

    with capture(model := Biased(), "first", gradients=True) as seen:
        score = model(torch.ones(2, 3)).sum()
    score.backward(retain_graph=True)
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    assert seen["first"][0].gradient.eq(3).all()
    (2 * score).backward()
    assert seen["first"][0].gradient.eq(6).all()


def test_what_is_kept_holds_no_graph():
    model = a_network("Shared")
    with capture(model, gradients=True) as seen:
        torch.autograd.grad(model(torch.randn(1, 3, 8, 8)).sum(), model.parameters(), create_graph=True)
    kept = [t for calls in seen.values() for call in calls for t in (call.activation, call.gradient)]
    assert kept and all(tensor.grad_fn is None and not tensor.requires_grad for tensor in kept)


def test_gradient_checkpointing_runs_a_layer_again_but_it_is_one_call():
    class Saving(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

        def forward(self, x):
            return checkpoint(self.body, x, use_reentrant=False)

    model, x = Saving(), torch.randn(2, 3)
    with capture(model, "body.0", gradients=True) as seen:
        model(x).sum().backward()
    (call,) = seen["body.0"]
    assert torch.equal(call.gradient, (model.body[0](x) > 0).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("batch", [0, 1])
def test_other_types_and_empty_batches(dtype, batch):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).to(dtype), torch.randn(batch, 3, dtype=dtype)
    with capture(model, gradients=True) as seen:
        y = model(x)
        y.sum().backward()
    assert torch.equal(seen["1"][0].activation, y) and seen["1"][0].gradient.eq(1).all()
    assert seen["0"][0].gradient.shape == (batch, 4) and seen["0"][0].gradient.dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_capture_stays_on_the_gpu():
    model = nn.Linear(3, 4).cuda()
    with capture(model, gradients=True) as seen:
        model(torch.randn(2, 3, device="cuda")).sum().backward()
    assert seen[""][0].activation.is_cuda and seen[""][0].gradient.is_cuda


def test_layers_are_chosen_by_one_name_several_or_none_and_each_alias_gets_its_calls():
    model, x = Nested(), torch.rand(2, 3)
    with (
        capture(model, "body.1") as one,
        capture(model, iter(["again", "body.0"])) as two,
        capture(model) as every,
    ):
        model(x)
    assert list(one) == ["body.1"] and list(every) == [name for name, _ in model.named_modules()]
    assert torch.equal(two["again"][0].activation, two["body.0"][0].activation)
    with (
        pytest.raises(ValueError, match=r"unknown layer 'body\.l'; did you mean"),
        capture(model, ["head", "body.l"]),
    ):
        pass
    assert hooks_of(model) == 0


class Pair(NamedTuple):
    left: torch.Tensor
    right: list


@dataclass(frozen=True, slots=True)
class Frozen:
    logits: torch.Tensor
    pair: Pair
    label: str = "text"


class ReadOnly(OrderedDict):
    """As transformers' outputs: takes items one by one, no update."""

    def update(self, *args, **kwargs):
        raise NotImplementedError


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a, b: (a, [b, None]),
        lambda a, b: Frozen(a, Pair(b, [])),
        lambda a, b: ReadOnly(first=a, second={"third": b}),
        lambda a, b: MappingProxyType({"a": a, "b": b}),
        lambda a, b: torch.return_types.max((a, b)),
    ],
)
def test_outputs_in_containers_are_captured_with_their_gradients(wrap):
    class Layer(nn.Module):
        def forward(self, x):
            self.output = wrap(x * 2, x.sign().long())
            return self.output

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Layer()

        def forward(self, x):
            a, b = tensors_in(self.layer(x))
            return a.mul_(3).sum() + b.sum()

    model, x = Network(), torch.randn(4)
    with capture(model, "layer", gradients=True) as seen:
        model(x).backward()
    (call,) = seen["layer"]
    a, b = tensors_in(call.activation)
    assert torch.equal(a, x * 2) and torch.equal(b, x.sign().long())
    assert [g.tolist() for g in tensors_in(call.gradient)] == [[3.0] * 4]
    assert torch.equal(next(tensors_in(model.layer.output)), x * 2), "the layer's own container was changed"
    expected = dict if isinstance(model.layer.output, MappingProxyType) else type(model.layer.output)
    assert type(call.activation) is expected
    assert isinstance(call.activation, Mapping | tuple | Frozen)
