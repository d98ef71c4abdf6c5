import pytest
import torch
from torch import nn

from dl_course.explain import features
from dl_course.models import TinyResNet, VisionTransformer
from dl_course.runtime import preserved_rng


def test_features_are_the_means_of_maps_batch_by_batch():
    with preserved_rng(0):
        model, x = TinyResNet(width=4).eval(), torch.rand(5, 3, 16, 16)
    found = features(model.train(), x, ["stem", "fc"], batch=2)
    model.eval()
    assert list(found) == ["stem", "fc"]
    torch.testing.assert_close(found["stem"], model.stem(x).mean((2, 3)).detach())
    torch.testing.assert_close(found["fc"], model(x).detach())


def test_a_layer_that_the_next_one_overwrites_is_read_before_that():
    with preserved_rng(0):
        model, x = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True)), torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(features(model, x, ["0"])["0"], model[0](x).mean((2, 3)).detach())


def test_a_transformers_features_are_the_means_of_its_tokens():
    with preserved_rng(0):
        model, x = VisionTransformer(image_size=16, depth=1, embed_dim=8).eval(), torch.rand(2, 3, 16, 16)
    found = features(model, x, ["encoder", "encoder.ln"])
    assert found["encoder"].shape == (2, 8) and torch.equal(found["encoder"], found["encoder.ln"])


def test_an_output_without_channels_is_refused_by_the_layers_name():
    class Odd(nn.Module):
        def forward(self, x):
            return x.sum(), x

    with pytest.raises(ValueError, match=r"layer '0' gives tuple"):
        features(nn.Sequential(Odd()), torch.rand(2, 3), ["0"])
    with pytest.raises(ValueError, match="unknown layer 'satge1'; did you mean 'stage1'"):
        features(TinyResNet(width=4), torch.rand(1, 3, 16, 16), ["satge1"])
