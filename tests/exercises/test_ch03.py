"""Chapter 03: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from dl_course.exercises.checking import check
from dl_course.exercises.checks import find_exercise
from dl_course.exercises.checks.ch03 import _field
from dl_course.exercises.probes.tools import module_outputs
from dl_course.models import SEBlock
from dl_course.models.blocks import BasicBlock
from tests.exercises.suites import Suite, both_tests

suite = Suite()
wrong, right = suite.wrong, suite.right

# output_size ---------------------------------------------------------------------------------------------


@wrong("output_size", "round down")
def _(size, kernel, stride=1, padding=0, dilation=1):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1


@wrong("output_size", "one too few")
def _(size, kernel, stride=1, padding=0, dilation=1):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride


@wrong("output_size", "the dilation is left out")
def _(size, kernel, stride=1, padding=0, dilation=1):
    return (size + 2 * padding - kernel) // stride + 1


@wrong("output_size", "you rounded up")
def _(size, kernel, stride=1, padding=0, dilation=1):
    return -(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride) + 1


@wrong("output_size", "both sides")
def _(size, kernel, stride=1, padding=0, dilation=1):
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


@right("output_size")
def _(size, kernel, stride=1, padding=0, dilation=1):
    picture, weight = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel)
    return torch.tensor(F.conv1d(picture, weight, None, stride, padding, dilation).shape[-1])


@right("output_size")
def _(size, kernel, stride=1, padding=0, dilation=1):
    last = size + 2 * padding - 1 - dilation * (kernel - 1)
    return len(range(0, last + 1, stride))


# conv2d_by_hand ------------------------------------------------------------------------------------------


def by_windows(x, w, b, stride=1, padding=0, change=lambda window: window):
    x = F.pad(x, (padding,) * 4)
    height, width = w.shape[2:]
    rows, columns = ((x.shape[2] - height) // stride + 1, (x.shape[3] - width) // stride + 1)
    out = torch.zeros(len(x), len(w), rows, columns)
    for i in range(rows):
        for j in range(columns):
            window = x[:, :, i * stride : i * stride + height, j * stride : j * stride + width]
            out[:, :, i, j] = torch.einsum("nchw,ochw->no", change(window), w) + b
    return out


@wrong("conv2d_by_hand", "flipped the kernel")
def _(x, w, b, stride=1, padding=0):
    return by_windows(x, w.flip(2, 3), b, stride, padding)


@wrong("conv2d_by_hand", "rows and columns of the kernel")
def _(x, w, b, stride=1, padding=0):
    return by_windows(x, w.transpose(2, 3), b, stride, padding)


@wrong("conv2d_by_hand", "the stride is left out")
def _(x, w, b, stride=1, padding=0):
    return by_windows(x, w, b, 1, padding)


@wrong("conv2d_by_hand", "the padding is left out")
def _(x, w, b, stride=1, padding=0):
    return by_windows(x, w, b, stride)


@wrong("conv2d_by_hand", "the bias is missing")
def _(x, w, b, stride=1, padding=0):
    return by_windows(x, w, 0 * b, stride, padding)


@wrong("conv2d_by_hand", "only the first channel")
def _(x, w, b, stride=1, padding=0):
    return by_windows(x[:, :1], w[:, :1], b, stride, padding)


@wrong("conv2d_by_hand", "without conv2d")
def _(x, w, b, stride=1, padding=0):
    return F.conv2d(x, w, b, stride, padding)


@right("conv2d_by_hand")
def _(x, w, b, stride=1, padding=0):
    return by_windows(x, w, b, stride, padding)


@right("conv2d_by_hand")
def _(x, w, b, stride=1, padding=0):
    columns = F.unfold(x.double(), w.shape[2:], stride=stride, padding=padding)
    out = w.flatten(1).double() @ columns + b[:, None]
    return out.unflatten(-1, ((x.shape[2] + 2 * padding - w.shape[2]) // stride + 1, -1))


@right("conv2d_by_hand")
def _(x, w, b, stride=1, padding=0):
    n, c, height, width = x.shape
    rows = (height + 2 * padding - w.shape[2]) // stride + 1
    columns = (width + 2 * padding - w.shape[3]) // stride + 1
    out = np.zeros((n, len(w), rows, columns))
    for at in np.ndindex(out.shape):
        total = float(b[at[1]])
        for k, i, j in np.ndindex(tuple(w.shape[1:])):
            row, column = at[2] * stride + i - padding, at[3] * stride + j - padding
            if 0 <= row < height and 0 <= column < width:
                total += float(x[at[0], k, row, column]) * float(w[at[1], k, i, j])
        out[at] = total
    return out


# separable_parameters ------------------------------------------------------------------------------------


@wrong("separable_parameters", "an ordinary convolution")
def _(inputs, outputs, kernel, bias=True):
    return inputs * outputs * kernel**2 + bias * outputs


@wrong("separable_parameters", "each *input* channel")
def _(inputs, outputs, kernel, bias=True):
    return outputs * kernel**2 + inputs * outputs + bias * outputs


@wrong("separable_parameters", "has no biases here")
def _(inputs, outputs, kernel, bias=True):
    return (kernel**2 + bias) * inputs + (inputs + bias) * outputs


@wrong("separable_parameters", "where bias is False")
def _(inputs, outputs, kernel, bias=True):
    return inputs * kernel**2 + inputs * outputs + outputs


@right("separable_parameters")
def _(inputs, outputs, kernel, bias=True):
    depthwise = nn.Conv2d(inputs, inputs, kernel, groups=inputs, bias=False)
    layers = nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=bias))
    return sum(p.numel() for p in layers.parameters())


@right("separable_parameters")
def _(inputs, outputs, kernel, bias=True):
    return np.int64(inputs * (kernel * kernel + outputs) + (outputs if bias else 0))


# receptive_field -----------------------------------------------------------------------------------------


@wrong("receptive_field", "neighbours lie further apart")
def _(layers):
    return 1 + sum(kernel - 1 for kernel, _ in layers)


@wrong("receptive_field", "from the next layer on")
def _(layers):
    field = jump = 1
    for kernel, stride in layers:
        jump *= stride
        field += (kernel - 1) * jump
    return field


@wrong("receptive_field", "adds 2 pixels, not 3")
def _(layers):
    field = jump = 1
    for kernel, stride in layers:
        field, jump = field + kernel * jump, jump * stride
    return field


@wrong("receptive_field", "jump *= stride, not jump = stride")
def _(layers):
    field = jump = 1
    for kernel, stride in layers:
        field, jump = field + (kernel - 1) * jump, stride
    return field


@right("receptive_field")
def _(layers):
    field = 1  # backwards: how many inputs does one output of the last layer need?
    for kernel, stride in layers[::-1]:
        field = (field - 1) * stride + kernel
    return field


@right("receptive_field")
def _(layers):
    strides = np.array([stride for _, stride in layers], int)
    jumps = np.cumprod(np.concatenate([[1], strides]))[: len(layers)]
    return float(1 + sum((kernel - 1) * jump for (kernel, _), jump in zip(layers, jumps, strict=True)))


@pytest.mark.parametrize("seed", range(8))
def test_the_receptive_field_is_what_a_gradient_reaches(seed):
    rng = np.random.default_rng(seed)
    layers = [(int(k), int(s)) for k, s in zip(rng.integers(1, 6, 4), rng.integers(1, 4, 4), strict=True)]
    stack = nn.Sequential(*(nn.Conv1d(1, 1, kernel, stride, bias=False) for kernel, stride in layers))
    for parameter in stack.parameters():
        nn.init.ones_(parameter)
    x = torch.zeros(1, 1, 3 * _field(layers), requires_grad=True)
    stack(x)[0, 0, 0].backward()
    assert (x.grad != 0).sum().item() <= _field(layers) == 1 + x.grad[0, 0].nonzero().max().item()


# LeNet ---------------------------------------------------------------------------------------------------


class Reads(nn.Module):
    """A right answer, in parts that a wrong one replaces."""

    def __init__(self, classes=10):
        super().__init__()
        self.out = nn.Linear(84, classes)
        self.body = nn.Sequential(nn.Linear(400, 120), self.act(), nn.Linear(120, 84), self.act())
        first = nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), self.pool()
        self.eyes = nn.Sequential(*first, nn.Conv2d(6, 16, 5), nn.ReLU(), self.pool())

    def act(self):
        return nn.ReLU()

    def pool(self):
        return nn.MaxPool2d(2)

    def forward(self, x):
        return self.out(self.body(self.eyes(x).flatten(1)))


right("LeNet")(Reads)


@right("LeNet")
class _(nn.Sequential):
    """One layer after another, pooled before the ReLU, which is the same."""

    def __init__(self, classes=10):
        eyes = nn.Conv2d(1, 6, 5, 1, 2), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2)
        rest = nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)
        super().__init__(*eyes, nn.ReLU(), nn.Flatten(), *rest)


@wrong("LeNet", "take the maximum")
class _(Reads):
    def pool(self):
        return nn.AvgPool2d(2)


@wrong("LeNet", "missing between the linear layers")
class _(Reads):
    def act(self):
        return nn.Identity()


@wrong("LeNet", "missing after the convolutions")
class _(Reads):
    def __init__(self, classes=10):
        super().__init__(classes)
        self.eyes[1] = self.eyes[4] = nn.Identity()


@wrong("LeNet", "no softmax after the last layer")
class _(Reads):
    def forward(self, x):
        return super().forward(x).softmax(dim=1)


@wrong("LeNet", "logits may be negative")
class _(Reads):
    def forward(self, x):
        return super().forward(x).relu()


@wrong("LeNet", "one output for each of `classes`")
class _(Reads):
    def __init__(self, classes=10):
        super().__init__(1000)


def test_lenet_without_its_padding_is_told_the_line_that_fails(home):
    class LeNet(Reads):
        def __init__(self, classes=10):
            super().__init__(classes)
            self.eyes[0] = nn.Conv2d(1, 6, 5)

    result = check(LeNet)
    assert result.status == "not yet" and "400" in str(result), result


# SqueezeExcite -------------------------------------------------------------------------------------------


class Squeezes(nn.Module):
    """A right answer, in parts that a wrong one replaces."""

    def __init__(self, channels, reduction):
        super().__init__()
        hidden = self.hidden(channels, reduction)
        self.out = nn.Conv2d(hidden, channels, 1)
        self.gate, self.reduce = nn.Sigmoid(), nn.Conv2d(channels, hidden, 1)

    def hidden(self, channels, reduction):
        return max(1, channels // reduction)

    def pooled(self, x):
        return F.adaptive_avg_pool2d(x, 1)

    def weights(self, squeezed):
        return self.gate(self.out(F.relu(self.reduce(squeezed))))

    def forward(self, x):
        return x * self.weights(self.pooled(x))


right("SqueezeExcite")(Squeezes)


class LinearSqueezes(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        few = channels // reduction if channels >= reduction else 1
        layers = nn.Linear(channels, few), nn.ReLU(inplace=True), nn.Linear(few, channels), nn.Sigmoid()
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return torch.einsum("nchw,nc->nchw", x, self.net(x.flatten(2).mean(-1)))


right("SqueezeExcite")(LinearSqueezes)


@wrong("SqueezeExcite", "at least one")
class _(Squeezes):
    def hidden(self, channels, reduction):
        return channels // reduction


@wrong("SqueezeExcite", "the sigmoid is missing")
class _(Squeezes):
    def weights(self, squeezed):
        return self.out(F.relu(self.reduce(squeezed)))


@wrong("SqueezeExcite", "SE takes the mean")
class _(Squeezes):
    def pooled(self, x):
        return F.adaptive_max_pool2d(x, 1)


@wrong("SqueezeExcite", "between the two layers")
class _(Squeezes):
    def weights(self, squeezed):
        return self.gate(self.out(self.reduce(squeezed)))


@wrong("SqueezeExcite", "multiply x by them")
class _(Squeezes):
    def forward(self, x):
        return self.weights(self.pooled(x))


# ResidualBlock -------------------------------------------------------------------------------------------


class Resides(nn.Module):
    """A right answer with other names in another order; a wrong one replaces a part."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.skip = self.shortcut(n_in, n_out, stride)
        self.b2, self.b1 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        one, two = self.strides(stride)
        self.c2 = nn.Conv2d(n_out, n_out, 3, two, padding=1, bias=False)
        self.c1 = nn.Conv2d(n_in, n_out, 3, one, padding=1, bias=False)

    def strides(self, stride):
        return stride, 1

    def shortcut(self, n_in, n_out, stride):
        if stride == 1 and n_in == n_out:
            return nn.Identity()
        return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def branch(self, x):
        return self.b2(self.c2(self.b1(self.c1(x)).relu()))

    def forward(self, x):
        return (self.skip(x) + self.branch(x)).relu()


right("ResidualBlock")(Resides)
right("ResidualBlock")(type("ResidualBlock", (BasicBlock,), {}))


@right("ResidualBlock")
class _(Resides):
    """Its biases change nothing: the norms take them away again."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__(n_in, n_out, stride)
        self.c1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1)
        self.c2 = nn.Conv2d(n_out, n_out, 3, padding=1)


@wrong("ResidualBlock", "shortcut is missing")
class _(Resides):
    def forward(self, x):
        return self.branch(x).relu()


@wrong("ResidualBlock", "after the sum is missing")
class _(Resides):
    def forward(self, x):
        return self.skip(x) + self.branch(x)


@wrong("ResidualBlock", "after the sum, not before")
class _(Resides):
    def forward(self, x):
        return self.skip(x) + self.branch(x).relu()


@wrong("ResidualBlock", "between the two convolutions")
class _(Resides):
    def branch(self, x):
        return self.b2(self.c2(self.b1(self.c1(x))))


@wrong("ResidualBlock", "belongs to the first convolution")
class _(Resides):
    def strides(self, stride):
        return 1, stride


@wrong("ResidualBlock", "must still fit")
class _(Resides):
    def shortcut(self, n_in, n_out, stride):
        return nn.Identity()


@wrong("ResidualBlock", "needs a batch norm")
class _(Resides):
    def shortcut(self, n_in, n_out, stride):
        return super().shortcut(n_in, n_out, stride)[:1] if stride > 1 or n_in != n_out else nn.Identity()


def farthest(one, other, *arguments, channels):
    """Return how far two classes' outputs and gradients lie apart, over everything that is compared."""
    x = torch.randn(3, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    a, b = (module_outputs(block(*arguments), x, seed=1) for block in (one, other))
    arrays = [(a["output"], b["output"]), (a["gradient of the input"][0], b["gradient of the input"][0])]
    numbers = [(a["gradients"][leaf], b["gradients"].get(leaf, 0.0)) for leaf in a["gradients"]]
    return max(float(np.abs(np.subtract(*pair)).max()) for pair in [*arrays, *numbers])


class NoSkip(Resides):
    def forward(self, x):
        return self.branch(x).relu()


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 2), (4, 7, 1)])
def test_modules_are_compared_without_names_and_order(shape):
    assert farthest(BasicBlock, Resides, *shape, channels=4) < 1e-6
    assert farthest(BasicBlock, NoSkip, *shape, channels=4) > 0.2


def test_squeeze_and_excitation_may_be_linear_or_a_1x1_convolution():
    assert farthest(LinearSqueezes, lambda c, r: SEBlock(c, c // r), 16, 4, channels=16) < 1e-5


# build_resnet18 ------------------------------------------------------------------------------------------


def assembled(classes, blocks=2, strides=(1, 2, 2, 2), stem_bias=False, pool=True, act=True):
    model = nn.Sequential()
    model.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=stem_bias)
    model.bn1 = nn.BatchNorm2d(64)
    model.act = nn.ReLU() if act else nn.Identity()
    model.pool = nn.MaxPool2d(3, 2, 1) if pool else nn.Identity()
    before = 64
    for index, stride in enumerate(strides):
        after = 64 * 2**index
        rest = [BasicBlock(after, after) for _ in range(blocks - 1)]
        model.add_module(f"layer{index + 1}", nn.Sequential(BasicBlock(before, after, stride), *rest))
        before = after
    model.end = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.fc = nn.Linear(512, classes)
    return model


@wrong("build_resnet18", "one output for each of num_classes")
def _(num_classes=1000):
    return assembled(1000)


@wrong("build_resnet18", "the max pooling of the stem is missing")
def _(num_classes=1000):
    return assembled(num_classes, pool=False)


@wrong("build_resnet18", "the ReLU of the stem is missing")
def _(num_classes=1000):
    return assembled(num_classes, act=False)


@wrong("build_resnet18", "has stride 2")
def _(num_classes=1000):
    model = assembled(num_classes)
    for layer in (model.layer2, model.layer3, model.layer4):
        layer[0].conv1.stride = layer[0].downsample[0].stride = 1, 1
    return model


@wrong("build_resnet18", "nobody asked for conv1.bias")
def _(num_classes=1000):
    return assembled(num_classes, stem_bias=True)


@wrong("build_resnet18", "'layer1.1.conv1.weight' is missing")
def _(num_classes=1000):
    return assembled(num_classes, blocks=1)


@wrong("build_resnet18", "without resnet18, torchvision")
def _(num_classes=1000):
    return torchvision.models.resnet18(num_classes=num_classes)


@right("build_resnet18")
def _(num_classes=1000):
    return assembled(num_classes)


@right("build_resnet18")
class _(nn.Module):
    def __init__(self, num_classes=1000):
        super().__init__()
        self.fc = nn.Linear(512, num_classes)
        self.layer4, self.layer3, self.layer2 = (self.stage(n // 2, n, 2) for n in (512, 256, 128))
        self.layer1 = self.stage(64, 64, 1)
        self.bn1, self.conv1 = nn.BatchNorm2d(64), nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)

    def stage(self, before, after, stride):
        return nn.ModuleList([BasicBlock(before, after, stride), BasicBlock(after, after)])

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x = block(x)
        return self.fc(x.mean((2, 3)))


def test_resnet18_that_returns_probabilities_is_refused(home):
    def build_resnet18(num_classes=1000):
        return assembled(num_classes).append(nn.Softmax(dim=1))

    result = check(build_resnet18)
    assert result.status == "not yet" and "logits" in str(result), result


def test_no_answer_is_the_same_for_another_seed():
    for name in ("output_size", "separable_parameters", "receptive_field"):
        exercise = find_exercise(name)
        results = [
            [exercise.outputs_of(type(exercise).reference, case) for case in exercise.seeded_cases(seed)]
            for seed in (0, 1)
        ]
        differing = [a["returned"] != b["returned"] for a, b in zip(*results, strict=True)]
        assert sum(differing) >= len(differing) / 2, name


test_wrong, test_right = both_tests(suite)
