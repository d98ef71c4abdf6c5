import json
import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dl_course.models import MODELS, TinyResNet, init, kaiming_init, model_card, trained


def test_kaiming_init_keeps_the_size_of_the_signal_through_thirty_layers():
    torch.manual_seed(0)
    model = nn.Sequential(*[layer for _ in range(30) for layer in (nn.Linear(256, 256), nn.ReLU())])
    x = torch.randn(64, 256)
    assert model(x).var(0).mean() < 1e-6  # PyTorch's own start lets it fade
    kaiming_init(model)
    assert model(x).var(0).mean() > 1e-3 and 0.1 < model(x).square().mean() < 10


def test_kaiming_init_draws_with_variance_two_over_inputs_and_zero_biases():
    conv = nn.Conv2d(16, 64, 5)
    kaiming_init(conv)
    assert math.isclose(conv.weight.std().item(), math.sqrt(2 / (16 * 25)), rel_tol=0.03)
    assert conv.bias.eq(0).all()


def test_trained_builds_the_recorded_network_with_the_stored_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(init, "TRAINED", tmp_path)
    model, config = TinyResNet(num_classes=4, width=8), {"name": "tinyresnet", "num_classes": 4, "width": 8}
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.json").write_text(json.dumps({"model": config, "seed": 3}))
    x = torch.randn(2, 3, 32, 32)
    again = trained("tiny")
    assert torch.equal(again(x), model.eval()(x)) and not again.training
    assert model_card("tiny")["seed"] == 3
    with pytest.raises(ValueError, match="no trained network 'tinny'; did you mean 'tiny'"):
        trained("tinny")


def test_what_the_package_carries_is_small_and_complete():
    for path in init.TRAINED.glob("*.safetensors"):
        assert path.stat().st_size <= 500_000
        record = model_card(path.stem)
        assert {"model", "data", "seed", "figures"} <= record.keys() and record["model"]["name"] in MODELS
        assert isinstance(trained(path.stem), nn.Module)
