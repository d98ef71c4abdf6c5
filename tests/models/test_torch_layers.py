import inspect

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dl_course.models import (
    AdaptiveConcatPool2d,
    Conv2dAuto,
    CrossModalNorm,
    GroupNorm1,
    PyramidPooling,
    SeparableConv2d,
)

sides = st.integers(1, 13)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.sampled_from([1, 3, 5, (3, 7)]), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_conv2d_auto_is_torchs_same_padding_and_rounds_up_with_a_stride(h, w, kernel, dilation, stride, bias):
    layer = Conv2dAuto(2, 4, kernel, stride, dilation=dilation, bias=bias, groups=2)
    x = torch.randn(1, 2, h, w)
    same = F.conv2d(x, layer.weight, layer.bias, padding="same", dilation=dilation, groups=2)
    assert torch.allclose(layer(x), same[:, :, ::stride, ::stride], atol=1e-5)
    assert layer(x).shape[2:] == (-(-h // stride), -(-w // stride))


def test_conv2d_auto_takes_its_arguments_by_torchs_names_in_torchs_order():
    theirs = list(inspect.signature(nn.Conv2d).parameters)
    for ours in (Conv2dAuto, SeparableConv2d):
        assert list(inspect.signature(ours).parameters)[:4] == theirs[:4]
        assert ours(3, 16, 3, 2)(torch.zeros(1, 3, 8, 8)).shape == (1, 16, 4, 4)
    with pytest.raises(TypeError):  # torch's fifth is the padding, which Conv2dAuto computes
        Conv2dAuto(3, 16, 3, 2, 1)


@pytest.mark.parametrize("kernel", [2, 4, (3, 2)])
def test_conv2d_auto_refuses_an_even_kernel_and_says_why(kernel):
    with pytest.raises(ValueError, match="even: without a centre"):
        Conv2dAuto(1, 1, kernel)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 2, 2)])
def test_separable_convolution_equals_one_convolution_with_the_composed_kernel(kernel, stride, dilation):
    layer = SeparableConv2d(3, 5, kernel, stride, dilation=dilation).double()
    x = torch.randn(2, 3, 9, 10, dtype=torch.double)
    composed = layer.pointwise.weight * layer.depthwise.weight.squeeze(1)  # (5, 3, k, k) by broadcasting
    padding = dilation * (kernel // 2)
    expected = F.conv2d(x, composed, layer.pointwise.bias, stride, padding, dilation)
    assert torch.allclose(layer(x), expected)
    assert sum(p.numel() for p in layer.parameters()) == kernel**2 * 3 + 3 * 5 + 5


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_concat_pool_puts_maxima_before_means(size, dtype):
    x = torch.randn(2, 3, 7, 5, dtype=dtype)
    pooled = AdaptiveConcatPool2d(size)(x)
    assert pooled.dtype == dtype and pooled.shape == (2, 6, size, size)
    if size == 1:
        assert torch.equal(pooled[:, :3, 0, 0], x.amax((2, 3)))
        assert torch.allclose(pooled[:, 3:, 0, 0], x.mean((2, 3)), atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), sides, sides, st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_pyramid_pooling_takes_any_channels_and_any_size_also_one_picture_in_training(channels, h, w, sizes):
    layer = PyramidPooling(channels, sizes).train()
    x = torch.randn(1, channels, h, w)
    out = layer(x)
    assert out.shape == (1, channels + len(sizes) * max(1, channels // len(sizes)), h, w)
    assert torch.equal(out[:, :channels], x)


def test_pyramid_pooling_with_one_cell_adds_the_mixed_mean_everywhere():
    layer, x = PyramidPooling(4, sizes=(1,)), torch.randn(2, 4, 5, 3)
    mixed = F.conv2d(
        x.mean((2, 3), keepdim=True), layer.branches[0][1].weight, layer.branches[0][1].bias
    ).relu()
    assert torch.allclose(layer(x)[:, 4:], mixed.expand(-1, -1, 5, 3), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 6), (1, 6, 4), (2, 6, 3, 5), (0, 6, 2, 2)])
def test_group_norm_1_is_layer_norm_over_channels_and_positions(shape):
    x = torch.randn(shape, dtype=torch.double)
    assert torch.allclose(GroupNorm1(6).double()(x), F.layer_norm(x, shape[1:]))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 2, 3)])
def test_cross_modal_norm_is_group_norm_with_each_samples_own_affine(shape):
    layer = CrossModalNorm(6, num_modalities=3, num_groups=2)
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    x, modality = torch.randn(shape), torch.tensor([2, 0, 0, 1])
    expected = [F.group_norm(x[i : i + 1], 2, layer.weight[m], layer.bias[m]) for i, m in enumerate(modality)]
    assert torch.allclose(layer(x, modality), torch.cat(expected), atol=1e-5)
    assert torch.allclose(layer(x, 1), F.group_norm(x, 2, layer.weight[1], layer.bias[1]), atol=1e-5)
