"""EfficientNet: MBConv in proportions that a search has found. B0 takes torchvision's state dict.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, table 1.
Lite0 is Google's variant for phones (2020): ReLU6 instead of SiLU, and no squeeze and excitation.
"""

from functools import partial

from torch import nn

from dl_course.models.blocks import B0, Conv2dSame, Flavour, MBConv
from dl_course.models.catalog import MODELS
from dl_course.models.init import kaiming_init

CHANNELS = (16, 24, 40, 80, 112, 192, 320)  # of the seven stages
BLOCKS = (1, 2, 2, 3, 3, 4, 1)
KERNELS = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
LITE = Flavour(nn.ReLU6, partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01), Conv2dSame, squeeze=False)


class EfficientNet(nn.Sequential):
    """A stem, seven stages of MBConv, a mean, logits. The blocks' drop_path grows from 0 to that given."""

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, drop_path: float = 0.2,
        flavour: Flavour = B0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = nn.Sequential(flavour.layers(in_channels, 32, kernel_size=3, stride=2))
        width = 32
        done = 0
        for channels, blocks, kernel_size, stride in zip(CHANNELS, BLOCKS, KERNELS, STRIDES, strict=True):
            stage = nn.Sequential()
            for index in range(blocks):
                expand_ratio = 6 if done else 1
                chance = drop_path * done / sum(BLOCKS)
                step = stride if index == 0 else 1
                stage.append(MBConv(width, channels, kernel_size, step, expand_ratio, chance, flavour))
                width = channels
                done += 1
            self.features.append(stage)
        self.features.append(flavour.layers(320, 1280, kernel_size=1))  # (N, 1280, H/32, W/32)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        kaiming_init(self)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))


efficientnet_b0 = MODELS.register("efficientnet_b0")(EfficientNet)
efficientnet_lite0 = MODELS.register("efficientnet_lite0")(partial(EfficientNet, flavour=LITE))
