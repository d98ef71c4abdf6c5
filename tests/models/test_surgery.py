import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dl_course.models import Conv2dAuto, SimpleCNN, SimpleNet, add_batch_norm, add_dropout, quick_test


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


def test_added_dropout_acts_in_training_keeps_the_keys_and_spares_the_logits():
    model = SimpleNet()
    before = copy.deepcopy(model)
    keys = add_dropout(model, p=0.5)
    x = torch.randn(4, 784)
    assert list(model.state_dict()) == list(before.state_dict()) and all(k == v for k, v in keys.items())
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), before.eval()(x))
    assert isinstance(model.fc3, nn.Linear)
    assert sum(isinstance(m, nn.Dropout) for m in model.modules()) == 2


def test_surgery_on_a_network_in_eval_mode_leaves_it_there():
    model = SimpleNet().eval()
    add_dropout(model), add_batch_norm(model, ["fc1"])
    assert not any(module.training for module in model.modules())


def test_dropout_behind_a_named_layer_works_without_activation_modules():
    model = Functional()
    with pytest.raises(ValueError, match="name the layers"):
        add_dropout(model)
    keys = add_dropout(model, p=1.0, layers=["conv"])
    assert keys["conv.weight"] == "conv.0.weight" and keys["fc.weight"] == "fc.weight"
    assert torch.allclose(model(torch.randn(2, 1, 8, 8)), model.fc.bias.expand(2, 3))


def test_added_batch_norm_acts_in_the_forward_and_an_old_checkpoint_still_fits():
    old = Functional()
    model = copy.deepcopy(old)
    keys = add_batch_norm(model, ["conv"])
    x = torch.randn(8, 1, 6, 6)
    expected = old.fc(F.relu(F.batch_norm(old.conv(x), None, None, training=True)).mean((2, 3)))
    assert torch.allclose(model(x), expected, atol=1e-5)

    fresh = Functional()
    add_batch_norm(fresh, ["conv"])
    missing = fresh.load_state_dict({keys[k]: v for k, v in old.state_dict().items()}, strict=False)
    assert not missing.unexpected_keys and all(key.startswith("conv.1.") for key in missing.missing_keys)
    assert torch.equal(fresh.conv[0].weight, old.conv.weight)


def test_batch_norm_goes_behind_linear_layers_and_subclasses_in_their_dtype():
    model = nn.Sequential(Conv2dAuto(1, 2), nn.Flatten(), nn.Linear(2 * 25, 3)).double()
    add_batch_norm(model, ["0", "2"])
    out = model(torch.randn(16, 1, 5, 5, dtype=torch.double))
    assert torch.allclose(out.mean(0), torch.zeros(3, dtype=torch.double), atol=1e-6)


def test_a_layer_used_in_two_places_is_replaced_in_both():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    add_batch_norm(model, ["0"])
    assert model[0] is model[2] and isinstance(model[2][1], nn.BatchNorm1d)


def test_surgery_refuses_by_name():
    with pytest.raises(ValueError, match="unknown layer 'stage1.9'; did you mean 'stage1"):
        add_batch_norm(SimpleCNN(), ["stage1.9"])
    with pytest.raises(ValueError, match="'stage1.2' is a ReLU"):
        add_batch_norm(SimpleCNN(), ["stage1.2"])


def test_quick_test_of_a_healthy_network_finds_all_parameters_changed_and_leaves_the_network_alone():
    model = SimpleCNN()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    result = quick_test(model.eval(), (1, 28, 28))
    assert result["output"] == (4, 10) and math.isfinite(result["loss"])
    assert result["without_gradient"] == [] and result["unchanged"] == []
    assert not model.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_quick_test_names_a_layer_that_forward_never_calls_and_one_without_effect():
    model = Functional()
    model.add_module("conv_bn", nn.BatchNorm2d(4))
    assert quick_test(model, (1, 8, 8))["without_gradient"] == ["conv_bn.weight", "conv_bn.bias"]

    model = Functional()
    nn.init.zeros_(model.fc.weight)  # no gradient passes back to the convolution
    assert quick_test(model, (1, 8, 8))["unchanged"] == ["conv.weight", "conv.bias"]


def test_quick_test_does_not_blame_frozen_parameters():
    model = Functional()
    model.conv.requires_grad_(False)
    result = quick_test(model, (1, 8, 8))
    assert result["without_gradient"] == [] and result["unchanged"] == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_quick_test_takes_a_network_in_another_precision(dtype):
    result = quick_test(SimpleCNN().to(dtype), (1, 28, 28))
    assert result["output"] == (4, 10) and 1 < result["loss"] < 4 and result["without_gradient"] == []
