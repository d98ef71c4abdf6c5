import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as theirs

from dl_course import models
from dl_course.explain import attention_maps, gates, rollout


def vit(**more):
    return theirs.VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, **more)


def test_torchvisions_attention_equals_softmax_of_queries_times_keys():
    model, x = vit().train(), torch.rand(2, 3, 32, 32)
    maps = attention_maps(model, x)
    assert model.training and [m.shape for m in maps] == [(2, 2, 17, 17)] * 3
    model.eval()
    tokens = torch.cat([model.class_token.expand(2, -1, -1), model._process_input(x)], 1)
    tokens = tokens + model.encoder.pos_embedding
    for block, attention in zip(model.encoder.layers, maps, strict=True):
        inner = block.self_attention
        q, k, _ = (
            (block.ln_1(tokens) @ inner.in_proj_weight.T + inner.in_proj_bias).view(2, 17, 3, 2, 8).unbind(2)
        )
        scores = torch.einsum("nihd,njhd->nhij", q, k) / 8**0.5
        torch.testing.assert_close(attention, scores.softmax(-1).detach())
        tokens = block(tokens)


def test_the_courses_vit_shows_the_same_attention_as_torchvisions_with_its_weights():
    x = torch.rand(2, 3, 32, 32)
    ours = models.VisionTransformer(image_size=32, patch_size=8, depth=3, embed_dim=64, num_heads=4)
    reference = theirs.VisionTransformer(32, 8, 3, 4, 64, 256, num_classes=10)
    ours.load_state_dict(reference.state_dict())
    for mine, their in zip(attention_maps(ours, x), attention_maps(reference, x), strict=True):
        torch.testing.assert_close(mine, their)


def test_attention_is_read_from_a_transformer_whose_fast_path_would_hide_it():
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    with torch.inference_mode():
        (attention,) = attention_maps(nn.TransformerEncoder(layer, 1), torch.rand(1, 5, 8))
    assert attention.shape == (1, 2, 5, 5)
    torch.testing.assert_close(attention.sum(-1), torch.ones(1, 2, 5))


def test_weights_asked_for_by_position_do_no_harm():
    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, None, False)

    assert attention_maps(Asks(), torch.rand(1, 5, 8))[0].shape == (1, 2, 5, 5)


def test_a_network_without_readable_attention_is_refused_by_name():
    with pytest.raises(ValueError, match="TinyResNet runs neither SelfAttention nor nn.MultiheadAttention"):
        attention_maps(models.TinyResNet(), torch.rand(1, 3, 16, 16))


def test_rollout_multiplies_the_blocks_mixtures_as_in_the_paper():
    attentions = [torch.rand(2, 3, 6, 6, dtype=torch.float64).softmax(-1) for _ in range(4)]
    expected = []
    for n in range(2):
        flow = np.eye(6)
        for attention in attentions:
            mixed = attention[n].numpy().mean(0) + np.eye(6)
            flow = mixed / mixed.sum(1, keepdims=True) @ flow
        expected.append(flow)
    ours = rollout(attentions)
    np.testing.assert_allclose(ours, np.stack(expected), rtol=1e-10)
    np.testing.assert_allclose(ours.sum(2), 1, rtol=1e-10)


@pytest.mark.parametrize("kind", ["se", "cbam"])
def test_gates_weigh_what_the_blocks_put_out(kind):
    model, x = (
        models.resnet18(attention=kind, num_classes=4, base_channels=16).eval(),
        torch.rand(2, 3, 40, 64),
    )
    block, kept = model.layer2[1].attention, {}
    block.register_forward_hook(lambda module, args, output: kept.update(given=args[0], put=output))
    found = gates(model, x)
    path = "layer2.1.attention."
    weights = found[path + ("scale" if kind == "se" else "channel_scale")][:, :, None, None]
    assert weights.shape == (2, 32, 1, 1)
    if kind == "cbam":
        assert found[path + "spatial_scale"].shape == (2, 5, 8)
        weights = weights * found[path + "spatial_scale"][:, None]
    torch.testing.assert_close(kept["given"] * weights, kept["put"].detach())
    assert len(found) == (8 if kind == "se" else 16)


def test_gates_of_torchvisions_networks():
    found = gates(theirs.mobilenet_v3_small(), torch.rand(2, 3, 32, 32))
    assert len(found) == 9 and found["features.1.block.1.scale_activation"].shape == (2, 16)


def test_a_network_without_gates_is_refused_by_name():
    with pytest.raises(ValueError, match="ResNet has no SEBlock, CBAM or SqueezeExcitation"):
        gates(models.resnet18(num_classes=2), torch.rand(1, 3, 32, 32))
