"""Judging chapter 03: convolutions and what is made of them. The right answers can be told to make a slip."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.exercises.judging import Exercise, draw
from dl_course.exercises.probes import Case
from dl_course.models import resnet18


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _out(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, slip: str = "") -> Any:
    span = kernel if slip == "no dilation" else dilation * (kernel - (slip != "gaps")) + (slip != "gaps")
    room = size + padding * (1 if slip == "one side" else 2) - span
    steps = room / stride
    return {"exact": steps, "up": math.ceil(steps)}.get(slip, math.floor(steps)) + (slip != "no 1")


class OutputSize(Exercise):
    """The size that comes out of a convolution."""

    name = "output_size"
    hints = (
        "How many pixels does the kernel span? Its first, and from there kernel − 1 gaps of `dilation`.",
        "It starts at the left edge. How far can it still move? That room holds room // stride steps; add 1.",
    )
    reference = staticmethod(_out)
    slips: ClassVar = {
        "no 1": "one too few: before its first step, the kernel already stands somewhere",
        "exact": "there are no half places: round down, with //",
        "up": "you rounded up; a kernel that hangs over the edge has no place: round down, with //",
        "one side": "padding is added on both sides",
        "no dilation": "the dilation is left out: a kernel with gaps spans more pixels",
        "gaps": "a kernel of k pixels has k − 1 gaps: it spans dilation * (kernel - 1) + 1",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for _ in range(3):
            case = {"size": draw(rng, 60, 90), "kernel": draw(rng, 2, 4) * 2 - 1}
            stride = draw(rng, 3, 5)
            size = case["kernel"] + stride * draw(rng, 6, 9) + draw(rng, 1, stride - 1)
            yield {"about": "a kernel alone", **case}
            yield {"about": "padding", **case, "padding": draw(rng, 1, 3)}
            yield {"about": "a stride that doesn't fit", **case, "size": size, "stride": stride}
            yield {"about": "dilation", **case, "dilation": draw(rng, 2, 4)}
            yield {"about": "all at once", **case, "stride": 2, "padding": 3, "dilation": draw(rng, 2, 3)}


def _conv(x: Tensor, w: Tensor, b: Tensor, stride: int = 1, padding: int = 0, slip: str = "") -> Tensor:
    if slip == "one channel":
        x, w = x[:, :1], w[:, :1]
    w = {"flip": w.flip(2, 3), "transposed": w.mT}.get(slip, w)
    b = b * (slip != "no bias")
    return F.conv2d(x, w, b, 1 if slip == "no stride" else stride, 0 if slip == "no padding" else padding)


class Conv2dByHand(Exercise):
    """A convolution by hand."""

    name = "conv2d_by_hand"
    hints = (
        "`F.pad(x, (p, p, p, p))` puts a border of zeros around the last two axes: that is all padding is.",
        "Two loops, over rows i and columns j of the output. A window starts at (i * stride, j * stride).",
        "`window[:, None] * w` has the axes (N, O, C, k, l): sum the last three, then add b.",
    )
    not_allowed = ("conv2d", "Conv2d", "convolution")
    reference = staticmethod(_conv)
    slips: ClassVar = {
        "no bias": "the bias is missing",
        "flip": "you flipped the kernel, as mathematicians do; networks slide it as it is",
        "transposed": "rows and columns of the kernel are swapped",
        "one channel": "only the first channel counts; a filter has a slice for every channel",
        "no stride": "the stride is left out: the window moves by stride pixels",
        "no padding": "the padding is left out: a border of zeros around the picture",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = {  # samples, channels, filters, height and width of the kernel, stride, padding
            "one grey picture, one filter": (1, 1, 1, 3, 3, 1, 0),
            "several channels, several filters": (2, 3, draw(rng, 4, 5), 3, 3, 1, 0),
            "padding": (draw(rng, 2, 3), 2, 3, 3, 3, 1, draw(rng, 1, 2)),
            "a stride": (2, 3, 2, 3, 3, draw(rng, 2, 3), 0),
            "a kernel that is no square, with both": (2, 2, 3, 2, 4, 2, 1),
        }
        for about, (n, c, o, *kernel, stride, padding) in kinds.items():
            x, w = _normal(rng, n, c, draw(rng, 6, 7), draw(rng, 8, 9)), _normal(rng, o, c, *kernel)
            yield {"about": about, "x": x, "w": w, "b": _normal(rng, o), "stride": stride, "padding": padding}


def _separable(inputs: int, outputs: int, kernel: int, bias: bool = True, slip: str = "") -> int:
    filters = {"full": inputs * outputs, "outputs": outputs, "no depthwise": 0}.get(slip, inputs)
    pointwise = inputs * outputs * (slip not in ("full", "no pointwise"))
    biases = (bias or slip == "always") * (outputs + inputs * (slip == "both"))
    return filters * kernel**2 + pointwise + biases


class SeparableParameters(Exercise):
    """Parameters of a separable convolution."""

    name = "separable_parameters"
    hints = (
        "Depthwise: every input channel has one filter of kernel × kernel for itself.",
        "Pointwise: a 1×1 convolution, one weight for each pair of an input and an output channel.",
    )
    reference = staticmethod(_separable)
    slips: ClassVar = {
        "full": "that is an ordinary convolution; a separable one has one filter per channel, then a 1×1 mix",
        "outputs": "the depthwise part has a filter for each *input* channel",
        "no pointwise": "the 1×1 convolution that mixes the channels is missing",
        "no depthwise": "the filters of the depthwise part are missing",
        "both": "the depthwise part has no biases here: the pointwise ones come right after",
        "always": "count no biases where bias is False",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, kernel, bias in (("3×3", 3, True), ("a larger kernel", 7, True), ("no bias", 5, False)):
            inputs, outputs = (int(n) for n in rng.permutation(np.arange(4, 60))[:2])
            yield {"about": about, "inputs": inputs, "outputs": outputs, "kernel": kernel, "bias": bias}


def _field(layers: Sequence[tuple[int, int]], slip: str = "") -> int:
    field = int(slip != "from 0")
    jump = 1
    for kernel, stride in layers:
        jump *= stride if slip == "stride first" else 1
        field += (kernel - (slip != "whole kernels")) * (1 if slip == "no stride" else jump)
        jump = {"stride first": jump, "last stride": stride}.get(slip, jump * stride)
    return field


class ReceptiveField(Exercise):
    """The receptive field."""

    name = "receptive_field"
    hints = (
        "Without strides, each layer adds kernel − 1 pixels to what one output sees. It begins with 1.",
        "After a stride of 2, neighbours in the map are 2 pixels apart in the picture: a *jump* of 2.",
        "For each layer, in order: `field += (kernel - 1) * jump`, and only then `jump *= stride`.",
    )
    reference = staticmethod(_field)
    slips: ClassVar = {
        "no stride": "after a stride, neighbours lie further apart in the picture: a step covers more pixels",
        "stride first": "a layer's own stride counts from the next layer on: first the field, then the jump",
        "last stride": "strides multiply up: jump *= stride, not jump = stride",
        "whole kernels": "a kernel of 3 adds 2 pixels, not 3: its first pixel was counted already",
        "from 0": "it begins with 1: without any layer, a pixel sees itself",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds: dict[str, list[int]] = {
            "several layers without stride": [1] * draw(rng, 3, 5),
            "a stride at the beginning": [2, 1, 1, 1],
            "many strides": [1, 2, draw(rng, 2, 3), 1, 2, 1, 3],
            "one layer, or none": [1],
        }
        for about, strides in kinds.items():
            for some in (strides, strides[1:]):
                yield {"about": about, "layers": [[draw(rng, 1, 3) * 2 + 1, stride] for stride in some]}


class _LeNet(nn.Module):
    def __init__(self, classes: int, slip: str = "") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        wide = 1000 if slip == "classes" else classes
        self.linears = nn.ModuleList([nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, wide)])
        self.slip = slip

    def forward(self, x: Tensor) -> Tensor:
        pool = F.avg_pool2d if self.slip == "average" else F.max_pool2d
        for conv in (self.conv1, self.conv2):
            x = pool(conv(x) if self.slip == "no relu" else F.relu(conv(x)), 2)
        x = x.mT.flatten(1) if self.slip == "transposed" else x.flatten(1)
        for linear in self.linears[:2]:
            x = linear(x) if self.slip == "linear" else F.relu(linear(x))
        x = self.linears[2](x)
        return {"softmax": x.softmax(1), "relu": F.relu(x)}.get(self.slip, x)


class LeNet(Exercise):
    """LeNet-5, a whole network as a class."""

    name = "LeNet"
    hints = (
        "Five layers: `nn.Conv2d(1, 6, 5, padding=2)`, `nn.Conv2d(6, 16, 5)`, and three `nn.Linear`.",
        "In forward: `F.max_pool2d(F.relu(self.conv1(x)), 2)`, the same with conv2, then `x.flatten(1)`.",
        "ReLU after each of the first two linear layers; the third one's output is returned as it is.",
    )
    not_allowed = ("MODELS", "SimpleCNN", "DigitNet")
    reference = _LeNet
    slips: ClassVar = {
        "average": "you pooled by the mean; take the maximum of each 2×2 window",
        "no relu": "a ReLU is missing after the convolutions",
        "linear": "a ReLU is missing between the linear layers: without it they are only one",
        "softmax": "return logits: no softmax after the last layer",
        "relu": "no ReLU after the last layer: logits may be negative",
        "transposed": "the maps were flattened in another order: `x.flatten(1)` keeps rows together",
        "classes": "the last layer has one output for each of `classes`",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, classes, n in (("ten classes", 10, 2), ("another number of classes", draw(rng, 3, 8), 3)):
            x = _normal(rng, n, 1, 28, 28)
            yield {"about": about, "classes": classes, "x": x, "seed": draw(rng, 0, 999)}


class _Squeeze(nn.Module):
    def __init__(self, channels: int, reduction: int, slip: str = "") -> None:
        super().__init__()
        hidden = max(int(slip != "none hidden"), channels // reduction)
        self.slip = slip
        self.down = nn.Linear(channels, hidden)
        self.up = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.down(x.amax((2, 3)) if self.slip == "max" else x.mean((2, 3)))
        scores = self.up(hidden if self.slip == "no relu" else F.relu(hidden))[:, :, None, None]
        weights = {"no sigmoid": scores, "softmax": scores.softmax(1)}.get(self.slip, scores.sigmoid())
        return weights if self.slip == "weights" else x * weights


class SqueezeExcite(Exercise):
    """Squeeze and excitation: an SE block."""

    name = "SqueezeExcite"
    hints = (
        "Squeeze: `x.mean(dim=(2, 3))` is (N, C). Excite: linear, ReLU, linear, sigmoid.",
        "`weights[:, :, None, None]` is (N, C, 1, 1) and broadcasts over all pixels of x.",
    )
    reference = _Squeeze
    slips: ClassVar = {
        "none hidden": "with few channels, channels // reduction is 0 hidden units: take at least one",
        "no sigmoid": "the sigmoid is missing: weights lie between 0 and 1",
        "softmax": "softmax makes the channels compete; a sigmoid weights each by itself",
        "no relu": "the ReLU between the two layers is missing: without it they are only one",
        "max": "you squeezed with the largest value; SE takes the mean",
        "weights": "those are the weights; multiply x by them",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = ("a batch", 8 * draw(rng, 2, 4), 4, 3), ("one picture", 10, 3, 1), ("few channels", 5, 16, 2)
        for about, channels, reduction, n in kinds:
            case = {"about": about, "channels": channels, "reduction": reduction, "seed": draw(rng, 0, 999)}
            yield case | {"x": _normal(rng, n, channels, draw(rng, 3, 5), draw(rng, 6, 7))}


class _Residual(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int = 1, slip: str = "") -> None:
        super().__init__()
        strides = (1, stride) if slip == "late" else (stride, 1)
        conv = nn.Conv2d
        norm = nn.BatchNorm2d
        self.slip = slip
        self.conv1 = conv(inputs, channels, 3, strides[0], 1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, strides[1], 1, bias=False)
        self.bn2 = norm(channels)
        fits = stride == 1 and inputs == channels
        mix = [] if fits or slip == "plain" else [conv(inputs, channels, 1, stride, bias=False)]
        self.shortcut = nn.Sequential(*mix, *[norm(channels) for _ in mix if slip != "bare"])

    def forward(self, x: Tensor) -> Tensor:
        first = self.bn1(self.conv1(x))
        branch = self.bn2(self.conv2(first if self.slip == "no relu" else F.relu(first)))
        branch = F.relu(branch) if self.slip == "early" else branch
        whole = branch if self.slip == "no skip" else branch + self.shortcut(x)
        return whole if self.slip in ("early", "no end") else F.relu(whole)


class ResidualBlock(Exercise):
    """A residual block."""

    name = "ResidualBlock"
    points = 2
    hints = (
        "Branch: 3×3 conv with the stride, norm, ReLU, conv 3×3, norm; convs with padding=1, bias=False.",
        "`nn.Identity()` is a shortcut that does nothing. Where the shape changes: 1×1 conv, then norm.",
    )
    reference = _Residual
    slips: ClassVar = {
        "no skip": "nothing is added: the shortcut is missing",
        "no end": "the ReLU after the sum is missing",
        "early": "the last ReLU comes after the sum, not before it",
        "no relu": "the ReLU between the two convolutions is missing",
        "late": "the stride belongs to the first convolution",
        "bare": "the shortcut's 1×1 convolution needs a batch norm, as the others have",
        "plain": "where the shape changes, branch and shortcut must still fit: the first convolution and "
        "the shortcut's 1×1 convolution have the stride, and nothing else has",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        c = draw(rng, 3, 5)
        kinds = {"the shape stays": (1, 0, 1), "more channels": (3, 3, 1)}
        kinds |= {"half the size": (1, c, 2), "half the size, same channels": (3, 0, 2)}
        for about, (n, more, stride) in kinds.items():
            case = {"about": about, "inputs": c, "channels": c + more, "stride": stride}
            x = _normal(rng, n, c, draw(rng, 6, 7), draw(rng, 8, 9))
            yield case | {"x": x, "seed": draw(rng, 0, 999)}


def _resnet(classes: int, slip: str = "") -> nn.Module:
    with torch.device("meta"):  # the probe brings the weights
        model = resnet18(num_classes=1000 if slip == "classes" else classes)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and slip == "no strides" and module.kernel_size < (7, 7):
            module.stride = (1, 1)
    if place := {"no pool": "maxpool", "no relu": "relu"}.get(slip):
        setattr(model, place, nn.Identity())
    return model


class BuildResNet18(Exercise):
    """Assemble ResNet-18."""

    name = "build_resnet18"
    points = 2
    seconds = 20.0
    rtol = 1e-3
    not_allowed = ("torchvision", "resnet18", "ResNet", "MODELS", "get_model")
    hints = (
        "Names and order: conv1, bn1, relu, maxpool, layer1 … layer4, avgpool, flatten, fc.",
        "layer1 is `nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))`; 2 to 4 begin with stride 2.",
    )
    reference = staticmethod(_resnet)
    slips: ClassVar = {
        "classes": "fc has one output for each of num_classes",
        "no pool": "the max pooling of the stem is missing",
        "no relu": "the ReLU of the stem is missing, between bn1 and maxpool",
        "no strides": "the first block of layer2, of layer3 and of layer4 has stride 2",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        x = _normal(rng, 2, 3, draw(rng, 60, 90), draw(rng, 100, 130))
        yield {"about": "two pictures", "classes": draw(rng, 5, 60), "x": x, "seed": draw(rng, 0, 999)}
