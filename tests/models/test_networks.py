import math

import pytest
import torch
import torchvision
from torch import nn

from dl_course.models import (
    CBAM,
    MODELS,
    BasicBlock,
    ResNet,
    SEBlock,
    SelfAttention,
    SimpleCNN,
    SimpleNet,
    TinyResNet,
    VisionTransformer,
    efficientnet_b0,
    resnet18,
    resnet50,
    summary,
    vit_b_16,
)


def numel(model):
    return sum(p.numel() for p in model.parameters())


def same_logits(ours, theirs, x):
    """Load theirs into ours; return the largest relative difference of logits, in eval and train mode."""
    ours.load_state_dict(theirs.state_dict())
    differences = []
    for training in (False, True):
        logits = []
        for model in (ours, theirs):
            torch.manual_seed(0)
            logits.append(model.train(training)(x))
        differences.append(((logits[0] - logits[1]).abs().max() / logits[1].abs().max()).item())
    return max(differences)


PUBLISHED = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160}


@pytest.mark.parametrize(("name", "count"), [*PUBLISHED.items(), ("efficientnet_b0", 5_288_548)])
def test_published_networks_have_the_published_size_and_compute_what_torchvisions_do(name, count):
    ours, theirs = MODELS.build(name), torchvision.models.get_model(name)
    assert numel(ours) == count
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for module in theirs.modules():  # statistics of their own, so that eval mode is a real test
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1), module.running_var.uniform_(0.5, 2)
    assert same_logits(ours, theirs, torch.randn(2, 3, 64, 96)) == 0
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))


@pytest.mark.parametrize("options", [{"groups": 4, "width_per_group": 8}, {"width_per_group": 128}])
def test_grouped_and_wide_resnets_equal_torchvisions(options):
    theirs = torchvision.models.resnet50(num_classes=7, **options)
    assert same_logits(resnet50(7, **options), theirs, torch.randn(2, 3, 64, 64)) == 0


def test_the_cifar_stem_keeps_small_pictures_whole():
    model = resnet18(num_classes=10, stem="cifar")
    assert numel(model) == 11_173_962
    assert model.maxpool(model.conv1(torch.randn(1, 3, 32, 32))).shape == (1, 64, 32, 32)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("kind", "block"), [("se", SEBlock), ("cbam", CBAM)])
def test_attention_stands_in_every_block_and_takes_part_in_the_forward(kind, block):
    model = ResNet(BasicBlock, (1, 2, 1, 1), num_classes=3, base_channels=8, attention=kind)
    assert sum(isinstance(m, block) for m in model.modules()) == 5
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(
        p.grad.abs().sum() > 0 for m in model.modules() if isinstance(m, block) for p in m.parameters()
    )


def test_zero_init_residual_makes_every_block_its_shortcut():
    model = resnet18(stem="cifar", zero_init_residual=True).eval()
    x = torch.rand(1, 64, 8, 8)  # not negative, so that relu changes nothing
    assert torch.equal(model.layer1(x), x)
    assert numel(resnet50(zero_init_residual=True)) == PUBLISHED["resnet50"]


def test_resnet_takes_other_channels_widths_and_dropout():
    model = ResNet(BasicBlock, (1, 1, 1, 1), num_classes=5, in_channels=1, base_channels=4, dropout=0.5)
    x = torch.randn(3, 1, 33, 47)
    assert model(x).shape == (3, 5) and not torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "resnet19"}, "unknown model 'resnet19'; did you mean 'resnet1"),
        ({"name": "resnet18", "num_clases": 10}, "takes no 'num_clases'; did you mean 'num_classes'"),
        ({"name": "resnet18", "stem": "cifer"}, "unknown stem 'cifer'; did you mean 'cifar'"),
        ({"name": "resnet18", "attention": "see"}, "unknown attention 'see'; did you mean 'se'"),
        ({"name": "resnet18", "groups": 2}, "Bottleneck's: take resnet50"),
        ({"name": "vit_b_16", "imagesize": 64}, "takes no 'imagesize'; did you mean 'image_size'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_the_key_that_is_wrong(config, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config)


def test_the_catalog_builds_from_a_configuration_and_lists_what_there_is():
    assert {"resnet18", "efficientnet_b0", "vit", "simplecnn", "tinyresnet"} <= set(MODELS)
    assert MODELS.build({"name": "resnet18", "num_classes": 10, "stem": "cifar"}).fc.out_features == 10


def test_simplenet_is_the_well_known_mlp():
    assert numel(SimpleNet()) == 109_386
    assert SimpleNet()(torch.randn(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("side", [(1, 1), (2, 3), (8, 8), (28, 28), (33, 47)])
@pytest.mark.parametrize("channels", [1, 4])
def test_the_small_networks_take_any_size_and_channels(side, channels):
    for network in (SimpleCNN, TinyResNet):
        assert network(num_classes=7, in_channels=channels).eval()(torch.randn(1, channels, *side)).shape == (
            1,
            7,
        )


def test_tinyresnet_keeps_16_by_16_maps_of_a_64_by_64_picture_and_stays_small():
    model = TinyResNet().eval()
    assert summary(model, (3, 64, 64)).output["stage3"].endswith(", 16, 16)")
    assert numel(model) < 120_000
    assert f"{numel(model):,} parameters" in TinyResNet.__doc__


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_self_attention_equals_multihead_attention_weights_included(dtype):
    ours = SelfAttention(12, num_heads=3).to(dtype)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).to(dtype)
    nn.init.normal_(theirs.in_proj_bias), nn.init.normal_(theirs.out_proj.bias)
    ours.load_state_dict(theirs.state_dict())
    x, seen = torch.randn(2, 5, 12, dtype=dtype), []
    ours.softmax.register_forward_hook(lambda module, args, output: seen.append(output))
    expected, weights = theirs(x, x, x, average_attn_weights=False)
    assert torch.allclose(ours(x), expected, atol=1e-5)
    assert torch.allclose(seen[0], weights, atol=1e-6)


def test_vit_takes_torchvisions_weights_and_computes_the_same():
    theirs = torchvision.models.VisionTransformer(32, 8, 3, 4, 32, 128, num_classes=7)
    nn.init.normal_(theirs.heads.head.weight)
    ours = VisionTransformer(7, image_size=32, patch_size=8, depth=3, embed_dim=32, num_heads=4)
    assert same_logits(ours, theirs, torch.randn(2, 3, 32, 32)) < 1e-5


def test_vit_b_16_has_the_published_size():
    with torch.device("meta"):
        model, theirs = vit_b_16(), torchvision.models.vit_b_16()
    assert numel(model) == 86_567_656
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


def test_vit_refuses_patches_that_do_not_fill_the_picture():
    with pytest.raises(ValueError, match="patches of 8 don't fill a side of 30"):
        VisionTransformer(image_size=30, patch_size=8)


def test_attention_refuses_heads_that_do_not_share_the_width_evenly():
    with pytest.raises(ValueError, match="embed_dim 10 can't be shared out evenly among 4 heads"):
        SelfAttention(10, 4)


def test_vit_refuses_a_picture_of_another_size_by_name():
    with pytest.raises(ValueError, match=r"side 64; given \(1, 3, 32, 32\)"):
        VisionTransformer()(torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize(
    "build", [SimpleNet, SimpleCNN, TinyResNet, VisionTransformer, efficientnet_b0, resnet50]
)
def test_a_fresh_network_starts_near_the_loss_of_guessing(build):
    torch.manual_seed(0)
    shape = {SimpleNet: (1, 28, 28), SimpleCNN: (1, 28, 28)}.get(build, (3, 64, 64))
    logits = build(num_classes=10)(torch.randn(16, *shape))
    loss = nn.functional.cross_entropy(logits, torch.arange(16) % 10)
    assert abs(loss.item() - math.log(10)) < 0.5
