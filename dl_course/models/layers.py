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

    Arguments are nn.Conv2d's, in its order, but for padding; more: groups, bias, padding_mode …
    Raises ValueError for an even kernel.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size = 3, stride: Size = 1, *,
        dilation: Size = 1, **more: Any,
    ) -> None:  # fmt: skip
        sides = _pair(kernel_size)
        if any(side % 2 == 0 for side in sides):
            raise ValueError(
                f"kernel_size {kernel_size} is even: without a centre, no equal padding keeps the size"
            )
        padding = tuple(gap * (side // 2) for gap, side in zip(_pair(dilation), sides, strict=True))
        super().__init__(in_channels, out_channels, sides, stride, padding, dilation, **more)


class SeparableConv2d(nn.Sequential):
    """Conv2dAuto in k²·C_in + C_in·C_out weights: a filter a channel, then a 1×1 mix. Chollet, CVPR 2017."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size = 3, stride: Size = 1, *,
        bias: bool = True, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        more |= {"groups": in_channels, "bias": False}
        self.depthwise = Conv2dAuto(in_channels, in_channels, kernel_size, stride, **more)
        self.pointwise = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias)


class AdaptiveConcatPool2d(nn.Module):
    """Largest and mean value of each cell: (N, C, H, W) → (N, 2C, size, size), maxima first. After fastai."""

    def __init__(self, output_size: Size = 1) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled maps: C of maxima, then C of means."""
        size = self.output_size
        return torch.cat([F.adaptive_max_pool2d(x, size), F.adaptive_avg_pool2d(x, size)], dim=1)


class PyramidPooling(nn.Module):
    """See the picture in 1, 2×2, 3×3 and 6×6 cells at once: (N, C, H, W) → (N, C + 4·max(1, C // 4), H, W).

    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017; without batch norm, which fails on one cell.
    """

    def __init__(self, in_channels: int, sizes: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        hidden = max(1, in_channels // len(sizes))
        pools = [nn.AdaptiveAvgPool2d(size) for size in sizes]
        branches = [nn.Sequential(pool, nn.Conv2d(in_channels, hidden, 1), nn.ReLU()) for pool in pools]
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Return x and the enlarged branches, concatenated."""
        pooled = [branch(x) for branch in self.branches]
        enlarged = [F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False) for y in pooled]
        return torch.cat([x, *enlarged], dim=1)


class GroupNorm1(nn.GroupNorm):
    """Group norm with one group: a sample's channels and positions, (N, C, …), normalised as one."""

    def __init__(self, num_channels: int, **more: Any) -> None:
        super().__init__(1, num_channels, **more)


class CrossModalNorm(nn.Module):
    """Group norm of (N, C, …) with a scale and shift a modality (camera, depth …). No standard layer."""

    def __init__(self, num_channels: int, num_modalities: int, num_groups: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, num_channels, affine=False)
        self.weight = nn.Parameter(torch.ones(num_modalities, num_channels))
        self.bias = nn.Parameter(torch.zeros(num_modalities, num_channels))

    def forward(self, x: Tensor, modality: Tensor | int) -> Tensor:
        """Return x normalised. modality: one index for all samples, or one a sample, (N,)."""
        shape = (-1, x.shape[1], *[1] * (x.ndim - 2))  # (N or 1, C, 1, …)
        return self.norm(x) * self.weight[modality].reshape(shape) + self.bias[modality].reshape(shape)
