"""The course's own small networks, for minutes on a CPU: an MLP, two plain CNNs, a residual network."""

from torch import nn

from dl_course.models.blocks import BasicBlock
from dl_course.models.catalog import MODELS


@MODELS.register("simplenet")
class SimpleNet(nn.Sequential):
    """The MLP 784-128-64-10 with ReLU: (N, …) with 784 numbers a sample → (N, 10). 109,386 parameters."""

    def __init__(self, num_classes: int = 10, in_features: int = 784) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(in_features, 128)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(128, 64)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(64, num_classes)


@MODELS.register("simplecnn")
class SimpleCNN(nn.Sequential):
    """Three stages of convolution, norm, ReLU, pooling, a mean; any size: (N, C, H, W) → (N, classes)."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1, width: int = 16) -> None:
        super().__init__()
        self.stage1 = _conv_pool(in_channels, width)  # (N, width, H/2, W/2), sizes rounded up
        self.stage2 = _conv_pool(width, 2 * width)  # (N, 2·width, H/4, W/4)
        self.stage3 = _conv_pool(2 * width, 4 * width)  # (N, 4·width, H/8, W/8)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(4 * width, num_classes)


def _conv_pool(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, ceil_mode=True),
    )


@MODELS.register("digitnet")
class DigitNet(nn.Sequential):
    """Three convolutions for 28×28 pictures and a slow machine: (N, C, H, W) → (N, classes), from 20×20 on.

    LeNet's plan (LeCun et al., 1998): nothing is padded, the last maps keep places. Pooling comes first;
    norm and ReLU then have a quarter of the work. 61,426 parameters as it stands.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, width: int = 24) -> None:
        super().__init__()
        self.stage1 = _pool_norm(in_channels, width, kernel_size=5, pool=2)  # (N, width, 12, 12) of 28×28
        self.stage2 = _pool_norm(width, 2 * width, kernel_size=3, pool=2)  # (N, 2·width, 5, 5)
        self.stage3 = _pool_norm(2 * width, 4 * width, kernel_size=3, pool=1)  # (N, 4·width, 3, 3)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten())
        self.fc = nn.Linear(9 * 4 * width, num_classes)


def _pool_norm(in_channels: int, out_channels: int, kernel_size: int, pool: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False)
    return nn.Sequential(conv, nn.MaxPool2d(pool), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


@MODELS.register("tinyresnet")
class TinyResNet(nn.Sequential):
    """Three residual blocks on maps of a quarter of the picture's side: (N, C, H, W) → (N, num_classes).

    The maps stay large on purpose, 16×16 at 64×64: they are what Grad-CAM shows, and at 8×8 it points worse.
    ``stage3`` is the layer to look at. 52,442 parameters as it stands.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = _conv_pool(in_channels, width, stride=2)  # (N, width, H/4, W/4)
        self.stage1 = BasicBlock(width, 2 * width)
        self.stage2 = BasicBlock(2 * width, 2 * width)
        self.stage3 = BasicBlock(2 * width, 2 * width)  # (N, 2·width, H/4, W/4)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(2 * width, num_classes)
