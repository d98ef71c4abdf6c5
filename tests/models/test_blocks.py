import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import efficientnet, resnet
from torchvision.ops import SqueezeExcitation

from dl_course.hooks import watching
from dl_course.models import CBAM, BasicBlock, Bottleneck, MBConv, SEBlock


def outputs_of(model, x):
    seen = {}
    with watching(model, lambda name, *call: seen.update({name: call[-1]})):
        model(x)
    return seen


def test_se_block_equals_torchvisions():
    ours, theirs = SEBlock(8, squeeze_channels=3), SqueezeExcitation(8, 3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 5, 3)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


@pytest.mark.parametrize("block", [SEBlock, CBAM])
def test_attention_of_fewer_than_16_channels_still_has_a_hidden_unit(block):
    model = block(4)
    model(torch.randn(2, 4, 3, 3)).sum().backward()
    assert all(p.numel() for p in model.parameters())


def test_cbam_is_the_papers_formula():
    model, x = CBAM(32), torch.randn(2, 32, 6, 5)
    one, _, two = model.mlp

    def mlp(v):
        return F.linear(
            F.linear(v, one.weight[:, :, 0, 0], one.bias).relu(), two.weight[:, :, 0, 0], two.bias
        )

    y = x * torch.sigmoid(mlp(x.mean((2, 3))) + mlp(x.flatten(2).amax(2)))[:, :, None, None]
    spatial = F.conv2d(torch.stack([y.mean(1), y.amax(1)], 1), model.conv.weight, padding=3)
    assert torch.allclose(model(x), y * torch.sigmoid(spatial), atol=1e-5)


def test_the_weights_of_attention_can_be_read_with_a_hook():
    x = torch.randn(2, 32, 6, 5)
    se, cbam = SEBlock(32), CBAM(32)
    assert torch.equal(se(x), x * outputs_of(se, x)["scale"])
    seen = outputs_of(cbam, x)
    assert seen["channel_scale"].shape == (2, 32, 1, 1) and seen["spatial_scale"].shape == (2, 1, 6, 5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [8, 16])
def test_basic_block_equals_torchvisions(stride, channels):
    shortcut = None
    if stride == 2 or channels == 16:
        shortcut = nn.Sequential(nn.Conv2d(8, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
    ours, theirs = BasicBlock(8, channels, stride), resnet.BasicBlock(8, channels, stride, shortcut)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 7, 5)
    assert torch.equal(ours(x), theirs(x))


def test_bottleneck_with_groups_and_width_equals_torchvisions():
    shortcut = nn.Sequential(nn.Conv2d(8, 64, 1, 2, bias=False), nn.BatchNorm2d(64))
    ours = Bottleneck(8, 16, stride=2, groups=4, width_per_group=8)
    theirs = resnet.Bottleneck(8, 16, 2, shortcut, groups=4, base_width=8)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 7, 5)
    assert ours.conv2.in_channels == 8 and torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("block", "last"), [(BasicBlock, "bn2"), (Bottleneck, "bn3")])
@pytest.mark.parametrize("attention", ["se", "cbam"])
def test_attention_weighs_the_branch_before_the_sum(block, last, attention):
    model, x = (
        block(16 * block.expansion, 16, attention=attention).eval(),
        torch.randn(2, 16 * block.expansion, 6, 6),
    )
    seen = outputs_of(model, x)
    weighed = model.attention(seen[last])
    assert not torch.allclose(weighed, seen[last])
    assert torch.allclose(seen[""], F.relu(weighed + x), atol=1e-6)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_dropout_is_used_in_training_only(block):
    model, x = block(8 * block.expansion, 8, dropout=0.5), torch.randn(2, 8 * block.expansion, 6, 6)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_an_unknown_attention_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown attention 'cbma'; did you mean 'cbam'"):
        BasicBlock(8, 8, attention="cbma")


@pytest.mark.parametrize(("expand", "stride", "channels"), [(1, 1, 8), (6, 1, 8), (6, 2, 8), (4, 1, 16)])
def test_mbconv_equals_torchvisions_in_training_with_skipped_samples(expand, stride, channels):
    config = efficientnet.MBConvConfig(expand, 5, stride, 8, channels, 1)
    ours, theirs = (
        MBConv(8, channels, 5, stride, expand, 0.5),
        efficientnet.MBConv(config, 0.5, nn.BatchNorm2d),
    )
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 8, 7, 5)
    torch.manual_seed(0)
    expected = theirs(x)
    torch.manual_seed(0)
    assert torch.allclose(ours(x), expected, atol=1e-6)
