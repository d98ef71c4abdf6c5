import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from dl_course.diagnostics import debug_forward
from tests.diagnostics.networks import Functional, Recurrent, Shared, same, state_of


class Log(nn.Module):
    def forward(self, x):
        return x.log()


class LogBetween(nn.Module):
    """Makes NaN in its own code, between two layers without fault."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.second(self.first(x).abs().neg().log())


def test_rows_come_in_the_order_in_which_calls_end_with_shapes_and_ranges():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU())), torch.randn(5, 3)
    found = debug_forward(model, x)
    assert list(found.index) == ["0", "1.0", "1", "(model)"] and found.note == ""
    assert found.loc["0", ["kind", "input", "output"]].tolist() == ["Linear", "(5, 3)", "(5, 4)"]
    assert found.loc["0", ["min", "max"]].tolist() == pytest.approx([v.item() for v in model[0](x).aminmax()])
    assert found[["nan", "inf"]].eq(0).all().all()


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (resnet18(num_classes=3), torch.rand(2, 3, 40, 40)),
        (Shared(), torch.randn(2, 6)),
        (Functional(), torch.rand(2, 3, 9, 9)),
        (Recurrent(), torch.zeros(2, 4, dtype=torch.long)),
        (nn.Identity(), torch.empty(0)),
    ],
)
def test_any_network_runs_through_and_is_left_as_it_was(model, example):
    before = state_of(model)
    found = debug_forward(model, example)
    assert found.note == "" and found.index[-1] == "(model)" and same(state_of(model), before)


def test_a_layer_called_again_has_a_row_each_time():
    assert list(debug_forward(Shared(), torch.randn(2, 6)).index[:3]) == ["fc", "relu", "fc #2"]


def test_the_layer_that_makes_the_first_nan_is_named():
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Tanh(), Log()), nn.Linear(3, 2))
    found = debug_forward(model, torch.randn(50, 3))
    assert found.note == "the first NaN or Inf comes out of '1.1': its input and weights are finite"
    assert found.loc["1.0", "nan"] == 0 and found.loc["1.1", "nan"] > 0 and found.loc["2", "nan"] > 0


def test_infinities_and_nans_are_counted_apart_and_left_out_of_the_range():
    found = debug_forward(Log(), torch.tensor([0.0, -1.0, 1.0, torch.e]))
    assert found.loc["(model)", ["min", "max", "nan", "inf"]].tolist() == pytest.approx([0, 1, 1, 1])


def test_weights_that_are_not_finite_are_the_cause():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[1].weight[0, 0] = torch.inf
    assert "'1': its weights aren't finite" in debug_forward(model, torch.ones(1, 3)).note


def test_nan_made_between_layers_is_not_blamed_on_the_next_layer():
    note = debug_forward(LogBetween(), torch.tensor([[torch.nan, 1, 1]])).note
    assert "'first': its input isn't finite, as given" in note
    model = LogBetween()
    note = debug_forward(model, torch.randn(4, 3)).note
    assert "'second': its input isn't finite" in note and "made by code between layers" in note


def test_the_layer_that_raises_is_named_with_what_it_was_given():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))
    x = torch.rand(2, 3, 8, 8)
    before = state_of(model)
    found = debug_forward(model, x)
    assert found.index[-1] == "1.1" and found.loc["1.1", "output"] == "raised RuntimeError"
    assert found.loc["1.1", "input"] == "(2, 4, 6, 6)"
    assert "'1.1' raised RuntimeError, given (2, 4, 6, 6): " in found.note and "mat1 and mat2" in found.note
    assert list(found.index[:-1]) == ["0", "1.0"] and same(state_of(model), before)


def test_code_of_a_container_that_raises_is_that_containers():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x, *, scale):
            return F.linear(self.fc(x) * scale, torch.zeros(5, 5))

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Adds()

        def forward(self, x):
            return self.block(x, scale=torch.ones(2))

    note = debug_forward(Outer(), torch.rand(4, 3)).note
    assert "'block' raised RuntimeError, given (4, 3), (2,)" in note


def test_a_wrong_number_of_inputs_is_the_models_own_error_and_the_stop_button_stops():
    assert "'(model)' raised TypeError" in debug_forward(nn.Linear(3, 3)).note

    class Stopped(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debug_forward(Stopped(), torch.zeros(1))
