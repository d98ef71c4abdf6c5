"""Layers that PyTorch does not have: self-padding and separable convolutions, richer pooling, norms."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

Size = int | tuple[int, int]


class Conv2dAuto(nn.Conv2d):
    """A convolution that pads by itself: (N, C_in, H, W) → (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉), dilated too.

    more: stride, groups, bias … of nn.Conv2d. ValueError for an even kernel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Size = 3, dilation: Size = 1, **more: Any) -> None:
        sides = _pair(kernel)
        if any(side % 2 == 0 for side in sides):
            raise ValueError(f"kernel {kernel} is even: without a centre, no equal padding keeps the size")
        padding = tuple(gap * (side // 2) for gap, side in zip(_pair(dilation), sides, strict=True))
        super().__init__(inputs, outputs, sides, padding=padding, dilation=dilation, **more)


class SeparableConv2d(nn.Sequential):
    """Conv2dAuto in k²·C_in + C_in·C_out weights: a filter a channel, then a 1×1 mix. Chollet, CVPR 2017."""

    def __init__(self, inputs: int, outputs: int, kernel: Size = 3, bias: bool = True, **more: Any) -> None:
        super().__init__()
        self.depthwise = Conv2dAuto(inputs, inputs, kernel, groups=inputs, bias=False, **more)
        self.pointwise = nn.Conv2d(inputs, outputs, kernel_size=1, bias=bias)


class AdaptiveConcatPool2d(nn.Module):
    """Largest and mean value of each cell: (N, C, H, W) → (N, 2C, size, size), maxima first. After fastai."""

    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled maps: C of maxima, then C of means."""
        return torch.cat([F.adaptive_max_pool2d(x, self.size), F.adaptive_avg_pool2d(x, self.size)], dim=1)


class PyramidPooling(nn.Module):
    """See the picture in 1, 2×2, 3×3 and 6×6 cells at once: (N, C, H, W) → (N, C + 4·max(1, C // 4), H, W).

    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017; without batch norm, which fails on one cell.
    """

    def __init__(self, channels: int, sizes: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        hidden, pools = max(1, channels // len(sizes)), [nn.AdaptiveAvgPool2d(size) for size in sizes]
        branches = [nn.Sequential(pool, nn.Conv2d(channels, hidden, 1), nn.ReLU()) for pool in pools]
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Return x and the enlarged branches, concatenated."""
        pooled = [branch(x) for branch in self.branches]
        enlarged = [F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False) for y in pooled]
        return torch.cat([x, *enlarged], dim=1)


class GroupNorm1(nn.GroupNorm):
    """Group norm with one group: a sample's channels and positions, (N, C, …), normalised as one."""

    def __init__(self, channels: int, **more: Any) -> None:
        super().__init__(1, channels, **more)


class CrossModalNorm(nn.Module):
    """Group norm of (N, C, …) with a scale and shift a modality (camera, depth …). No standard layer."""

    def __init__(self, channels: int, modalities: int, groups: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, affine=False)
        self.weight = nn.Parameter(torch.ones(modalities, channels))
        self.bias = nn.Parameter(torch.zeros(modalities, channels))

    def forward(self, x: Tensor, modality: Tensor | int) -> Tensor:
        """Return x normalised. modality: one index for all samples, or one a sample, (N,)."""
        shape = (-1, x.shape[1], *[1] * (x.ndim - 2))  # (N or 1, C, 1, …)
        return self.norm(x) * self.weight[modality].reshape(shape) + self.bias[modality].reshape(shape)
