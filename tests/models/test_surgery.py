import copy
import math
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dl_course.models import (
    Conv2dAuto,
    SimpleCNN,
    SimpleNet,
    add_batch_norm,
    add_dropout,
    efficientnet_lite0,
    freeze,
    moving_statistics,
    new_head,
    quick_test,
    rates_by_depth,
    unfreeze,
    vit_b_16,
)


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


# --- transfer: a new head, frozen parts, rates by depth ---


def small():
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(stem=stem, body=body, pool=pool, head=nn.Linear(4, 7)))


def test_a_new_head_takes_the_place_of_the_last_linear_layer_and_carries_the_names():
    model = small()
    assert new_head(model, ["cat", "dog"]) == "head"
    assert model(torch.randn(5, 3, 9, 9)).shape == (5, 2) and model.classes == ("cat", "dog")
    assert new_head(efficientnet_lite0(num_classes=3), 4) == "classifier.1"


def test_a_pretrained_network_with_a_new_head_says_what_it_is_now():
    model = efficientnet_lite0(num_classes=3)
    vars(model).update(architecture={"name": "efficientnet_lite0"}, classes=("a", "b", "c"))
    new_head(model, 5)
    assert model.architecture == {"name": "efficientnet_lite0", "num_classes": 5} and len(model.classes) == 5


@pytest.mark.parametrize("classes", [1, ["cat"], ["cat", "cat"]])
def test_a_head_for_classes_that_make_no_sense_is_refused(classes):
    with pytest.raises(ValueError, match="two classes or more, each with its own name"):
        new_head(small(), classes)


def test_a_network_without_a_linear_layer_gets_no_head():
    with pytest.raises(ValueError, match="Conv2d has no linear layer"):
        new_head(nn.Conv2d(3, 4, 3), 2)


def step(model):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    F.cross_entropy(model.train()(torch.randn(8, 3, 9, 9)), torch.zeros(8).long()).backward()
    optimizer.step()


def changed(before, model):
    return {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}


def test_what_is_frozen_does_not_change_in_training_statistics_included_and_the_rest_does():
    model = small()
    names = freeze(model, "stem")
    assert names == ["stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"]
    before = copy.deepcopy(model.state_dict())
    step(model)
    assert not any(key.startswith("stem") for key in changed(before, model))
    assert {"body.0.weight", "body.1.running_mean", "head.weight"} <= changed(before, model)


def test_frozen_weights_alone_let_the_statistics_move_and_that_is_named():
    model = small()
    model.stem.requires_grad_(False)
    assert moving_statistics(model) == ["stem.1"]
    before = copy.deepcopy(model.state_dict())
    step(model)
    assert "stem.1.running_mean" in changed(before, model)
    freeze(model, "stem")
    assert moving_statistics(model) == []


def test_what_is_unfrozen_learns_again_as_before_and_the_keys_never_change():
    model, untouched = small(), small()
    freeze(model, "stem", "body")
    assert list(model.state_dict()) == list(untouched.state_dict())
    unfreeze(model, "stem", "body")
    torch.manual_seed(1)
    step(model)
    torch.manual_seed(1)
    step(untouched)
    assert changed(untouched.state_dict(), model) == set()


def test_freezing_a_layer_that_is_not_there_is_refused_and_freezes_nothing():
    model = small()
    with pytest.raises(ValueError, match="unknown layer 'stm'; did you mean 'stem'"):
        freeze(model, "body", "stm")
    assert all(p.requires_grad for p in model.parameters())


def test_rates_fall_from_the_head_to_the_stem_and_every_parameter_has_one():
    model = small()
    groups = rates_by_depth(model, 0.1, factor=0.5)
    assert [group["name"] for group in groups] == ["stem", "body.0", "body.1", "head"]
    assert [group["lr"] for group in groups] == [0.0125, 0.025, 0.05, 0.1]
    for network in (model, efficientnet_lite0(num_classes=3), vit_b_16(num_classes=3)):
        given = [id(p) for group in rates_by_depth(network, 0.1) for p in group["params"]]
        assert sorted(given) == sorted(id(p) for p in network.parameters())
    torch.optim.AdamW(groups)


def test_frozen_parameters_get_no_rate_and_a_frozen_network_none_at_all():
    model = small()
    freeze(model, "stem")
    assert [group["name"] for group in rates_by_depth(model, 0.1)] == ["body.0", "body.1", "head"]
    freeze(model, "body", "head")
    with pytest.raises(ValueError, match="nothing is left to train"):
        rates_by_depth(model, 0.1)
    with pytest.raises(ValueError, match="a factor lies above 0"):
        rates_by_depth(model, 0.1, factor=2)


@pytest.mark.parametrize("kind", [nn.ReLU6, nn.Hardswish, nn.Mish, nn.SELU, nn.PReLU])
def test_dropout_goes_behind_activations_of_every_kind(kind):
    model = nn.Sequential(nn.Linear(4, 4), kind(), nn.Linear(4, 2))
    add_dropout(model, 0.25)
    assert isinstance(model[1], nn.Sequential) and model[1][1].p == 0.25
