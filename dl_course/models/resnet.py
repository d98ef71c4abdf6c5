"""ResNet: networks deep enough to see, made trainable by shortcuts. Takes torchvision's state dicts.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from dl_course.models.blocks import BasicBlock, Bottleneck
from dl_course.models.catalog import MODELS
from dl_course.models.init import kaiming_init
from dl_course.registry import nearest

STEMS = {"imagenet": (7, 2, 3), "cifar": (3, 1, 1)}  # the first convolution's kernel, stride and padding


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, a mean, a linear layer: (N, in_channels, H, W) → (N, classes).

    layers: blocks in each stage · base_channels: of the first stage; they double as the maps halve · stem:
    "imagenet" reduces to a quarter, "cifar" keeps small pictures whole · attention, dropout, groups,
    width_per_group: of the blocks · zero_init_residual: blocks start as their shortcut (Goyal et al. 2017).
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: Sequence[int], num_classes: int = 1000,
        in_channels: int = 3, base_channels: int = 64, stem: str = "imagenet", attention: str | None = None,
        dropout: float = 0.0, zero_init_residual: bool = False, groups: int = 1, width_per_group: int = 64,
    ) -> None:  # fmt: skip
        super().__init__()
        make: Callable = partial(block, attention=attention, dropout=dropout)
        if block is Bottleneck:
            make = partial(make, groups=groups, width_per_group=width_per_group)
        elif (groups, width_per_group) != (1, 64):
            raise ValueError("groups and width_per_group are Bottleneck's: take resnet50 or resnet101")
        if stem not in STEMS:
            raise ValueError(f"unknown stem '{stem}'{nearest(stem, STEMS)}")

        width = base_channels
        expansion = block.expansion
        self.conv1 = nn.Conv2d(in_channels, width, *STEMS[stem], bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else nn.Identity()
        self.layer1 = _stage(make, layers[0], width, width, stride=1)
        self.layer2 = _stage(make, layers[1], width * expansion, 2 * width, stride=2)
        self.layer3 = _stage(make, layers[2], 2 * width * expansion, 4 * width, stride=2)
        self.layer4 = _stage(make, layers[3], 4 * width * expansion, 8 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

        kaiming_init(self)
        for module in self.modules() if zero_init_residual else ():
            if isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)
        self.fc = nn.Linear(8 * width * expansion, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, 64, H/4, W/4) with the imagenet stem
        x = self.layer2(self.layer1(x))  # (N, 128 · expansion, H/8, W/8)
        x = self.layer4(self.layer3(x))  # (N, 512 · expansion, H/32, W/32)
        return self.fc(self.avgpool(x).flatten(1))


def _stage(make: Callable, blocks: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = make(in_channels, channels, stride)
    return nn.Sequential(first, *(make(channels * first.expansion, channels) for _ in range(blocks - 1)))


resnet18 = MODELS.register("resnet18")(partial(ResNet, BasicBlock, (2, 2, 2, 2)))
resnet34 = MODELS.register("resnet34")(partial(ResNet, BasicBlock, (3, 4, 6, 3)))
resnet50 = MODELS.register("resnet50")(partial(ResNet, Bottleneck, (3, 4, 6, 3)))
resnet101 = MODELS.register("resnet101")(partial(ResNet, Bottleneck, (3, 4, 23, 3)))
