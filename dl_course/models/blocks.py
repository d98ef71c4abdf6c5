"""Blocks: the small networks that large ones repeat. Attention, residual, bottleneck, inverted bottleneck."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from dl_course.registry import Registry

ATTENTION = Registry("attention")  # what may end a block's branch, (N, C, H, W) in and out
ATTENTION.register("none")(nn.Identity)
Kind = str | None


@ATTENTION.register("se")
class SEBlock(nn.Module):
    """Squeeze and excitation: weigh every channel by what the whole picture says. (N, C, H, W) in and out.

    The weights, (N, C, 1, 1), are the output of ``scale``: read them with a hook.
    squeeze_channels: by default C / 16, at least 1.
    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(
        self, channels: int, squeeze_channels: int | None = None, activation: type[nn.Module] = nn.ReLU
    ) -> None:
        super().__init__()
        hidden = max(1, channels // 16) if squeeze_channels is None else squeeze_channels
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.activation = activation()
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1)
        self.scale = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its channels weighed."""
        squeezed = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        return x * self.scale(self.fc2(self.activation(self.fc1(squeezed))))


@ATTENTION.register("cbam")
class CBAM(nn.Module):
    """Convolutional block attention: first *which* channels, then *where*. (N, C, H, W) in and out.

    The weights are the outputs of ``channel_scale``, (N, C, 1, 1), and ``spatial_scale``, (N, 1, H, W).
    Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
        self.channel_scale = nn.Sigmoid()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)
        self.spatial_scale = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its channels, then its positions, weighed."""
        mean = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        most = x.amax((2, 3), keepdim=True)
        x = x * self.channel_scale(self.mlp(mean) + self.mlp(most))
        over_channels = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)  # (N, 2, H, W)
        return x * self.spatial_scale(self.conv(over_channels))


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()  # x has the branch's shape already
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut around them: (N, in_channels, H, W) → (N, channels, H/stride, …).

    attention: None, "se" or "cbam", before the sum · dropout: between the convolutions (wide ResNets, 2016).
    Named as in torchvision. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    expansion = 1

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, attention: Kind = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.attention = ATTENTION.build(attention or "none", channels=channels)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(branch(x) + shortcut(x))."""
        branch = self.dropout(self.relu(self.bn1(self.conv1(x))))
        branch = self.attention(self.bn2(self.conv2(branch)))
        return self.relu(branch + self.downsample(x))


class Bottleneck(nn.Module):
    """1×1 down, 3×3, 1×1 up, and a shortcut: (N, in_channels, H, W) → (N, 4·channels, H/stride, …).

    groups, width_per_group: of the 3×3 convolution (ResNeXt, wide ResNets), which has the stride too.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, attention: Kind = None, dropout: float = 0.0,
        groups: int = 1, width_per_group: int = 64,
    ) -> None:  # fmt: skip
        super().__init__()
        width = channels * width_per_group // 64 * groups
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.conv3 = nn.Conv2d(width, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.attention = ATTENTION.build(attention or "none", channels=4 * channels)
        self.downsample = _shortcut(in_channels, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(branch(x) + shortcut(x))."""
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.dropout(self.relu(self.bn2(self.conv2(branch))))
        branch = self.attention(self.bn3(self.conv3(branch)))
        return self.relu(branch + self.downsample(x))


class Conv2dSame(nn.Conv2d):
    """TensorFlow's "same" padding: where the stride is 2, the odd row and column of zeros come last."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, **more: Any
    ) -> None:
        padding = {} if stride == 1 else {"padding": 0}
        super().__init__(in_channels, out_channels, kernel_size, stride, **(more | padding))
        before = (kernel_size - stride) // 2
        self.edges = (0, 0, 0, 0) if stride == 1 else (before, kernel_size - stride - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H/stride, W/stride) of (N, in_channels, H, W)."""
        return super().forward(F.pad(x, self.edges) if any(self.edges) else x)


@dataclass(frozen=True)
class Flavour:
    """What an EfficientNet's convolutions come with: activation, norm, padding, squeeze and excitation."""

    activation: type[nn.Module] = nn.SiLU
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d
    conv: Callable[..., nn.Module] = nn.Conv2d
    squeeze: bool = True

    def layers(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
    ) -> nn.Sequential:
        """Return a convolution that keeps the size (but for its stride), norm and activation."""
        shape = (in_channels, out_channels, kernel_size, stride)
        conv = self.conv(*shape, padding=kernel_size // 2, groups=groups, bias=False)
        return nn.Sequential(conv, self.norm(out_channels), self.activation(inplace=True))


B0 = Flavour()


class MBConv(nn.Module):
    """Widen, filter each channel, weigh them, narrow: (N, C_in, H, W) → (N, C_out, H/stride, W/stride).

    The shortcut is there where the shape stays. drop_path: chance that a sample skips the block in training.
    Sandler et al., "MobileNetV2", CVPR 2018; stochastic depth: Huang et al., ECCV 2016.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expand_ratio: int,
        drop_path: float = 0.0, flavour: Flavour = B0,
    ) -> None:  # fmt: skip
        super().__init__()
        wide = in_channels * expand_ratio
        self.block = nn.Sequential()
        if expand_ratio > 1:
            self.block.append(flavour.layers(in_channels, wide, kernel_size=1))
        self.block.append(flavour.layers(wide, wide, kernel_size, stride, groups=wide))
        if flavour.squeeze:
            squeeze_channels = max(1, in_channels // 4)
            self.block.append(SEBlock(wide, squeeze_channels=squeeze_channels, activation=nn.SiLU))
        narrow = nn.Conv2d(wide, out_channels, kernel_size=1, bias=False)
        self.block.append(nn.Sequential(narrow, flavour.norm(out_channels)))
        self.drop_path = StochasticDepth(drop_path, mode="row")
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return block(x), plus x where the shape stays."""
        return x + self.drop_path(self.block(x)) if self.has_shortcut else self.block(x)
