import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18, squeezenet1_1

from dl_course.diagnostics import WeightHistory, gradient_flow, gradient_statistics, weight_statistics
from tests.diagnostics.networks import Recurrent, Shared, same, state_of
from tests.diagnostics.test_tensor_statistics import reference


@pytest.mark.parametrize("build", [resnet18, squeezenet1_1])
def test_gradients_at_parameters_are_those_of_backward(build):
    model, batch = build(num_classes=5).eval(), (torch.rand(2, 3, 40, 33), torch.tensor([1, 4]))
    found, flow = (
        gradient_statistics(model, batch, F.cross_entropy),
        gradient_flow(model, batch, F.cross_entropy),
    )
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    for name, p in model.named_parameters():
        assert found.loc[name, "of"] == "parameter"
        row = found.loc[name].drop("of").to_dict()
        assert row == pytest.approx(reference(p.grad, 1e-6), rel=1e-3, abs=1e-6)
        assert flow.loc[name, "gradient"] == pytest.approx(p.grad.norm().item(), rel=1e-4, abs=1e-8)
        if p.norm() > 0:
            assert flow.loc[name, "ratio"] == pytest.approx((p.grad.norm() / p.norm()).item(), rel=1e-4)


def test_gradients_at_outputs_are_autograds_at_each_call_before_the_relu_in_place():
    model, x, y = Shared(), torch.randn(5, 6), torch.randn(5, 6)
    found = gradient_statistics(model, (x, y), F.mse_loss, ["fc", "relu"])
    tensors, h = {}, x
    for suffix in ("", " #2", " #3"):
        tensors["fc" + suffix] = model.fc(h)
        tensors["relu" + suffix] = h = tensors["fc" + suffix].relu()
    gradients = torch.autograd.grad(F.mse_loss(h, y), list(tensors.values()))
    for name, gradient in zip(tensors, gradients, strict=True):
        row = found.loc[name].drop("of").to_dict()
        assert row == pytest.approx(reference(gradient, 1e-6), rel=1e-4, abs=1e-7)
        assert found.loc[name, "of"] == "output"


def test_no_gradient_is_not_a_zero_gradient():
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.frozen = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
            self.cut, self.shut = nn.Linear(3, 3), nn.Linear(3, 3)
            self.frozen.requires_grad_(False)

        def forward(self, x):
            return self.used(self.frozen(x)) + self.cut(x).detach() + 0 * self.shut(x)

    model, batch = Partly(), (torch.randn(4, 3), torch.randn(4, 3))
    found = gradient_flow(model, batch, F.mse_loss)
    remarks = {name.split(".")[0]: remark for name, remark in found["remark"].items()}
    assert remarks == {"used": "", "unused": "none", "frozen": "frozen", "cut": "none", "shut": "zero"}
    assert found.loc["unused.weight", ["gradient", "ratio"]].isna().all()
    assert (found.loc["shut.weight", ["gradient", "ratio"]] == 0).all()
    of = gradient_statistics(model, batch, F.mse_loss)["of"]
    assert of["unused.bias"] == "none" and of["frozen.bias"] == "frozen" and of["frozen"] == "output"


def test_gradients_that_are_not_finite_say_so():
    model = nn.Linear(2, 2)
    found = gradient_flow(model, (torch.randn(3, 2), None), lambda out, _: (out * torch.inf).sum())
    assert set(found["remark"]) == {"not finite"}


def test_a_loss_cut_off_from_the_network_leaves_every_parameter_without():
    found = gradient_flow(nn.Linear(2, 2), (torch.randn(3, 2), None), lambda out, _: out.detach().sum())
    assert set(found["remark"]) == {"none"}


def test_weights_that_are_all_zero_have_an_infinite_ratio():
    model = nn.Linear(2, 1)
    nn.init.zeros_(model.bias)
    found = gradient_flow(model, (torch.ones(3, 2), torch.full((3, 1), 9.0)), F.mse_loss)
    assert found.loc["bias", "ratio"] == np.inf and found.loc["bias", "remark"] == ""


def test_a_wholly_frozen_network_still_shows_gradients_at_its_outputs():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).requires_grad_(
        False
    )
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    found = gradient_statistics(model, (x, y), F.mse_loss)
    hidden = model[1](x.relu()).requires_grad_()
    expected = torch.autograd.grad(F.mse_loss(model[3](hidden.relu()), y), hidden)[0]
    assert found.loc["1"].drop("of").to_dict() == pytest.approx(reference(expected, 1e-6), rel=1e-4, abs=1e-7)
    assert set(found.loc[["1.weight", "3.bias"], "of"]) == {"frozen"}


def test_sparse_gradients_and_dict_outputs_are_measured():
    model, tokens, labels = Recurrent(), torch.tensor([[1, 1, 2], [3, 1, 2]]), torch.tensor([0, 2])
    loss_fn = lambda out, y: F.cross_entropy(out["logits"], y)  # noqa: E731
    flow = gradient_flow(model, (tokens, labels), loss_fn)
    loss_fn(model(tokens), labels).backward()
    dense = model.embed.weight.grad.to_dense()
    assert flow.loc["embed.weight", "gradient"] == pytest.approx(dense.norm().item(), rel=1e-5)
    assert (
        "lstm[1]" not in gradient_statistics(model, (tokens, labels), loss_fn).index
    )  # nobody used that state


def test_nothing_is_left_behind_also_when_the_loss_fails():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    x, y = torch.randn(6, 3), torch.arange(6) % 2
    F.cross_entropy(model(x), y).backward()
    before = state_of(model)
    with torch.no_grad():  # whoever calls may be inside of it
        assert gradient_flow(model, (x, y), F.cross_entropy)["remark"].eq("").any()
    gradient_statistics(model, (x, y), F.cross_entropy)
    with pytest.raises(IndexError):
        gradient_statistics(model, (x, y + 7), F.cross_entropy)
    assert same(state_of(model), before) and not x.requires_grad


# weights


def test_every_weight_is_measured_a_shared_one_once():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[1].weight
    model[0].bias.requires_grad_(False)
    found = weight_statistics(model)
    assert list(found.index) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.bias"]
    assert found["trainable"].tolist() == [True, False, True, True, True]
    assert found.loc["0.weight", "shape"] == (4, 3) and found.histograms["0.weight"][0].sum() == 12
    for name, p in model.named_parameters():
        row = found.loc[name].drop(["shape", "trainable"]).to_dict()
        assert row == pytest.approx(reference(p), rel=1e-5, abs=1e-6)


def test_the_history_follows_every_step_of_the_weights():
    model = nn.Linear(3, 2)
    history, before = WeightHistory(model), model.weight.detach().clone()
    history.record()
    with torch.no_grad():
        model.weight.mul_(1.5)
    history.on_epoch_end(trainer=None)
    history.record()
    rows = history.table().set_index(["layer", "step"])
    assert list(history.table()["layer"]) == ["weight", "bias"] * 3
    assert np.isnan(rows.loc[("weight", 0), "update"])
    assert rows.loc[("weight", 1), "update"] == pytest.approx(0.5)
    assert rows.loc[("weight", 2), "update"] == 0 and rows.loc[("bias", 1), "update"] == 0
    assert rows.loc[("weight", 0), "norm"] == pytest.approx(before.norm().item())
    assert rows.loc[("weight", 1), "norm"] == pytest.approx(1.5 * before.norm().item())
