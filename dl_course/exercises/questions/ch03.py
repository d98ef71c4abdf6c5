"""Questions of chapter 03."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dl_course.exercises.questions import Choice, Number, Shape


def _right_edge() -> str:
    row = torch.tensor([[[0.0, 0, 1, 1, 0, 0]]])
    last = F.conv1d(row, torch.tensor([[[-1.0, 0, 1]]]))[0, 0, -1]
    return {-1: "negative", 0: "zero", 1: "positive"}[int(last.sign())]


def _after_one_pixel() -> str:
    row = torch.tensor([[0.0, 0, 5, 0, 0, 0, 0, 0]])
    one, other = (F.max_pool1d(each, 2) for each in (row, F.pad(row, (1, -1))))
    return "It stays the same." if torch.equal(one, other) else "It moves by one place."


def _wide(*layers: nn.Module) -> int:
    x = torch.zeros(1, 1, 25, 25, requires_grad=True)
    (reached,) = torch.autograd.grad(nn.Sequential(*layers)(x)[0, 0, 10, 10], x)
    return int((reached[0, 0] != 0).any(0).sum())


def _two_threes_or_one_five() -> str:
    two, one = _wide(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), _wide(nn.Conv2d(1, 1, 5))
    return "the same 5×5 pixels" if two == one else "different ones"


def _norm_that_minds() -> str:
    batch = torch.arange(48.0).view(4, 3, 2, 2) ** 2
    norms = {"batch norm": nn.BatchNorm2d(3), "group norm": nn.GroupNorm(1, 3)}
    norms["instance norm"] = nn.InstanceNorm2d(3)
    (minds,) = [name for name, norm in norms.items() if not torch.allclose(norm(batch)[:1], norm(batch[:1]))]
    return minds


def _side_after_the_stem() -> int:
    stem = nn.Sequential(nn.Conv2d(3, 1, 7, stride=2, padding=3), nn.MaxPool2d(3, stride=2, padding=1))
    return stem(torch.zeros(1, 3, 32, 32)).shape[-1]


def _heaviest() -> str:
    early, late = (nn.Conv2d(channels, channels, 3).weight.numel() for channels in (64, 512))
    return "in the last stage" if late > early else "in the first stage"


QUESTIONS = (
    Choice(
        "03-edge-sign",
        "The kernel has −1 on its left, 0 in the middle and 1 on its right. It arrives at the right edge of "
        "the bright bar, where bright pixels end and dark ones begin. What does it give there?",
        _right_edge,
        "The bright pixels lie under the −1, the dark ones under the 1.",
        {
            "positive": "It would be at the left edge of the bar, where the bright pixels lie under the 1.",
            "zero": "It is zero where left and right are alike: outside the bar, or deep within a wide one.",
        },
    ),
    Shape(
        "03-conv-shape",
        "`nn.Conv2d(3, 16, kernel_size=5)` gets a batch of 8 pictures, (8, 3, 32, 32). What is the shape of "
        "its output?",
        lambda: nn.Conv2d(3, 16, 5)(torch.zeros(8, 3, 32, 32)).shape,
        "Each of the 16 filters gives a channel, and a kernel of 5 has 32 − 5 + 1 = 28 places.",
        {
            (8, 16, 32, 32): "That takes padding=2. Without padding, a kernel of 5 loses 4 pixels.",
            (8, 3, 28, 28): "A filter adds up over all input channels. There are as many outputs as filters.",
            (8, 48, 28, 28): "Channels don't multiply: a filter adds up what it finds in all three.",
            (8, 16, 27, 27): "Count the first place, too: 32 − 5 steps make one more place than that.",
        },
    ),
    Choice(
        "03-pool-shift",
        "One pixel is bright: number 2 in a row that begins with number 0. Max pooling looks at pixels 0 and "
        "1, then 2 and 3, and so on. The bright pixel moves to number 3. What does the output do?",
        _after_one_pixel,
        "Pixels 2 and 3 share a window, and its maximum is the same.",
        {
            "It moves by one place.": "It would have to leave its window: from 3 to 4, say.",
            "It moves by half a place.": "There are no half places: an output is a whole window.",
        },
    ),
    Choice(
        "03-two-or-one",
        "A unit behind two 3×3 convolutions, and a unit behind a single 5×5 convolution: how much of the "
        "picture do they see?",
        _two_threes_or_one_five,
        "Each 3×3 adds 2 pixels: 1 + 2 + 2 = 5. Two small kernels need 18 weights, a 5×5 kernel needs "
        "25, and there is room for a ReLU between them.",
        {
            "The two 3×3 see 6×6, the other 5×5.": "Only the first kernel brings 3 pixels. From then on each "
            "adds kernel − 1.",
            "The two 3×3 see 3×3, the other 5×5.": "The second layer looks at 3×3 units of the first, and "
            "each of these sees 3×3 pixels of its own.",
        },
    ),
    Choice(
        "03-which-norm",
        "We normalise a picture once in a batch of four, and once alone, in training mode. With which norm "
        "is the result not the same?",
        _norm_that_minds,
        "It takes mean and variance over the samples of the batch, so the other pictures have a say.",
        {
            "group norm": "Its groups are channels of a single sample. The others have no say.",
            "instance norm": "It takes each channel of each sample by itself. Nobody else has a say.",
        },
    ),
    Choice(
        "03-deeper-plain",
        "A plain stack of 2 blocks is compared with a plain stack of 8. What do you expect of the deeper "
        "one, after three epochs?",
        "It is worse, in training too.",
        "What is hard here is to train it at all. That was what people found before 2015, and what residual "
        "blocks are for.",
        {
            "It is better on both.": "It *could* compute more. But that helps only if training finds a good "
            "set of weights.",
            "It is better in training, worse on unseen digits.": "That would be overfitting. It isn't what "
            "happens here: look at the accuracy in training.",
        },
    ),
    Number(
        "03-stem-of-32",
        "ImageNet's stem is a 7×7 convolution with stride 2 and padding 3, then max pooling 3×3 with stride "
        "2 and padding 1. How many pixels wide are its maps for a picture of 32×32?",
        _side_after_the_stem,
        "32 becomes 16, and 16 becomes 8. Three stages halve that again: 4, 2, 1.",
        {
            16: "That is after the convolution. The pooling halves it once more.",
            32: "Padding keeps the size only where the stride is 1.",
            7: "With 224 pixels, 7 is the side of the *last* maps. This is the stem, with 32 pixels.",
        },
    ),
    Choice(
        "03-where-parameters",
        "In which stage of a ResNet-18 are most of the parameters?",
        _heaviest,
        "A 3×3 convolution has 9 · inputs · outputs weights, whatever the size of the maps: 36,864 with 64 "
        "channels, 2,359,296 with 512.",
        {
            "in the first stage": "Its maps are the largest. But a kernel has the same weights at every "
            "place: the size of a map costs work and memory, not parameters.",
            "the same in each stage": "That holds for the *work*, more or less. Twice the channels have four "
            "times the weights.",
        },
    ),
)
