"""The monitor's rows, beside statistics of what a hand-written forward and autograd give."""

import pandas as pd
import pytest
import torch
from torch import nn

from dl_course.diagnostics.statistics import tensor_statistics
from dl_course.training.memory import checkpointed
from dl_course.training.monitor import ActivationMonitor


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def by_hand(model, x):
    """Return the activations of layers 0 and 2, and the gradients of the squared sum there."""
    first = model[0](x)
    last = model[2](first.clamp(min=0))
    return [first, last], torch.autograd.grad(last.square().sum(), [first, last])


def train(model, batches, optimizer):
    for x in batches:
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


def test_each_step_has_the_statistics_of_activations_and_gradients_in_spite_of_an_inplace_relu():
    model, batches = network(), torch.randn(3, 5, 4)
    expected = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with ActivationMonitor(model, ["0", "2"]) as monitor:
        for step, x in enumerate(batches, 1):
            for layer, activation, gradient in zip(("0", "2"), *by_hand(network_like(model), x), strict=True):
                for of, tensor in (("activation", activation), ("gradient", gradient)):
                    expected.append({"step": step, "layer": layer, "of": of, **tensor_statistics(tensor)})
            train(model, [x], optimizer)
    pd.testing.assert_frame_equal(monitor.table(), pd.DataFrame(expected), rtol=1e-4)


def network_like(model):
    twin = network()
    twin.load_state_dict(model.state_dict())
    return twin


def test_training_goes_as_it_would_without():
    batches, results = torch.randn(4, 5, 4), []
    for layers in ((), ("0", "1", "2")):
        model = network()
        with ActivationMonitor(model, layers):
            train(model, batches, torch.optim.SGD(model.parameters(), lr=0.01))
        results.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*results)


def test_validation_and_runs_without_gradients_are_no_steps():
    model, x = network(), torch.randn(2, 4)
    with ActivationMonitor(model, "0") as monitor:
        model.eval()(x)
        with torch.no_grad():
            model.train()(x)
        model(x).sum().backward()
    assert set(monitor.table()["step"]) == {1} and monitor.table()["of"].tolist() == [
        "activation",
        "gradient",
    ]


def test_without_a_backward_there_is_no_row_of_a_gradient():
    model = network()
    with ActivationMonitor(model, "0") as monitor:
        model(torch.randn(2, 4))
    assert monitor.table()["of"].tolist() == ["activation"]


def test_a_layer_called_twice_has_two_rows_a_step_and_whole_outputs_their_tensors():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(4, 4)

        def forward(self, x):
            return self.cell(self.cell(x)[0])[0]

    model = Twice()
    with ActivationMonitor(model, ["cell", ""]) as monitor:
        model(torch.randn(2, 3, 4)).sum().backward()
    counts = monitor.table().groupby(["layer", "of"]).size().to_dict()
    # Each call puts out three tensors; only the output, and no final state, has a gradient.
    assert counts == {
        ("cell", "activation"): 6,
        ("cell", "gradient"): 2,
        ("", "activation"): 1,
        ("", "gradient"): 1,
    }


def test_one_step_is_held_at_a_time_and_nothing_afterwards():
    model = network()
    with ActivationMonitor(model, "0") as monitor:
        for _ in range(5):
            model(torch.randn(2, 4)).sum().backward()
            assert len(monitor._calls) == 1
    assert len(monitor.table()) == 10 and monitor._calls == [] and len(monitor.table()) == 10


def test_checkpointed_layers_are_counted_once():
    model = nn.Sequential(network(), nn.Linear(3, 2))
    x = torch.randn(2, 4)
    with ActivationMonitor(model, "0.0") as plain:
        model(x).sum().backward()
    with checkpointed(model, "0"), ActivationMonitor(model, "0.0") as monitor:
        model(x).sum().backward()
    pd.testing.assert_frame_equal(monitor.table(), plain.table())


@pytest.mark.parametrize("error", [None, KeyError])
def test_no_hook_stays(error):
    model = network()
    try:
        with ActivationMonitor(model, ["0"]):
            assert hooks_of(model) > 0
            if error:
                raise error
    except KeyError:
        pass
    assert hooks_of(model) == 0


def test_an_unknown_layer_is_refused_with_the_nearest():
    model = nn.ModuleDict({"stage1": nn.Linear(1, 1)})
    with (
        pytest.raises(ValueError, match="unknown layer 'stage'; did you mean 'stage1'"),
        ActivationMonitor(model, ["stage1", "stage"]),
    ):
        pass
    assert hooks_of(model) == 0
