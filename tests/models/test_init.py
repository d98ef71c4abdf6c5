import json
import math
import urllib.error

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from dl_course.files import DataUnavailable
from dl_course.models import MODELS, ResNet, TinyResNet, init, kaiming_init, model_card, pretrained, trained


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


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("DL_COURSE_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_pretrained_offline_says_what_to_get_and_where_to_put_it(hub):
    with pytest.raises(DataUnavailable) as error:
        pretrained("resnet18")
    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    assert url in str(error.value) and str(hub / url.rpartition("/")[2]) in str(error.value)
    assert "DL_COURSE_OFFLINE" in str(error.value)


def test_pretrained_reports_a_failed_download_the_same_way(hub, monkeypatch):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("DL_COURSE_OFFLINE", "0")
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(DataUnavailable, match="no network"):
        pretrained("mobilenet_v3_small")


@pytest.mark.parametrize(("name", "ours"), [("resnet18", True), ("squeezenet1_1", False)])
def test_pretrained_uses_a_file_that_is_there_without_a_network(hub, monkeypatch, name, ours):
    theirs = torchvision.models.get_model(name)
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    torch.save(theirs.state_dict(), hub / url.rpartition("/")[2])
    model = pretrained(name)
    assert isinstance(model, ResNet) is ours and not model.training
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(x), theirs.eval()(x))


def test_pretrained_refuses_unknown_weights_with_the_nearest(hub):
    with pytest.raises(ValueError, match="no weights 'IMAGENET1K_V2'; did you mean 'IMAGENET1K_V1'"):
        pretrained("resnet18", "IMAGENET1K_V2")
    with pytest.raises(ValueError, match="resnet19"):
        pretrained("resnet19")


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
