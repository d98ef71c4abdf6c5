# %% [markdown]
# # 03 · CNNs: networks that see
#
# The network of chapter 02 reads handwriting, as long as it lies exactly where it lay in training. Move it a few
# pixels, and the network is lost. This chapter builds networks that aren't: they look at a picture through small
# windows, with the same eyes everywhere. You'll take a convolution apart, and build a ResNet from its pieces.
#
# **You will be able to**
# - compute a convolution by hand, and say what size comes out of it, and how much of the picture it has seen
# - write the blocks that large networks repeat: residual, squeeze and excitation, separable
# - assemble ResNet-18, so exactly that published weights fit into it
# - say what a network costs, in parameters, in work and in memory, and train one that sees shapes
#
# **Time:** 75 to 90 minutes. **You need:** chapters 01 and 02.

# %% [markdown]
# ## 1. What is wrong with one weight per pixel?
#
# Let's begin with a failure. We take the digits again, and two networks: the multi-layer perceptron that you know,
# and a small *convolutional* network, or CNN, of which you know nothing yet. The digits get a black rim, so that they
# have room to move.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import check, hint, progress, solution

sns.set_theme(style="white", palette="colorblind")

# %%
from dl_course.data import load, loader
from dl_course.runtime import pick_device, set_seed

device = pick_device()
digits, unseen = load("digits"), load("digits", "test")
for data in (digits, unseen):
    data.images = v2.functional.pad(v2.functional.resize(data.images, [20, 20]), 4)

# %% [markdown]
# The next cell trains a network on the digits. Chapter 04 is about training, and explains each of its lines. For now
# it is enough that it shows the network all pictures, several times over.

# %%
def train(model, data, epochs):
    model.to(device).train()
    batches = loader(data, 32, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters())
    one_cycle = torch.optim.lr_scheduler.OneCycleLR
    schedule = one_cycle(optimizer, max_lr=0.005, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for pictures, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(pictures.to(device)), labels.to(device)).backward()
            optimizer.step()
            schedule.step()
    return model.eval()

# %% [markdown]
# Now both networks learn to read. And we prepare a test for them: `moved` moves pictures to the right.

# %%
from dl_course.models import SimpleCNN, SimpleNet

set_seed(0)
networks = {"MLP": train(SimpleNet(), digits, 10), "CNN": train(SimpleCNN(), digits, 3)}

@torch.no_grad()
def accuracy(model, pictures, labels):
    return (model(pictures.to(device)).argmax(1).cpu() == labels).float().mean().item()

def moved(pictures, pixels):  # to the right; black comes in from the left
    return F.pad(pictures, (pixels, -pixels, 0, 0))

# %% [markdown]
# Here is the test. The unseen digits go to the right, pixel by pixel, and we ask both networks again. Nothing else
# changes: a person wouldn't even blink.

# %% alt="Above: a digit moved right by 0 to 3 pixels. Below: the MLP's accuracy falls steeply, the CNN's slowly" tags=["nbval-ignore-output"]
pictures, labels = unseen.tensors()
figure, axes = plt.subplot_mosaic("0123;cccc", height_ratios=(1, 2), layout="constrained")
for pixels in range(4):
    axes[str(pixels)].imshow(moved(pictures, pixels)[0, 0], cmap="gray")
    axes[str(pixels)].set_title(f"{pixels} pixels", fontsize=10)
    axes[str(pixels)].axis("off")
for (name, model), marker in zip(networks.items(), "os", strict=True):
    scores = [accuracy(model, moved(pictures, pixels), labels) for pixels in range(5)]
    axes["c"].plot(range(5), scores, marker=marker, label=name)
axes["c"].set(xlabel="moved right, in pixels", xticks=range(5), ylabel="accuracy", ylim=(0, 1))
axes["c"].legend()
sns.despine(ax=axes["c"])

# %% [markdown]
# Both read unmoved digits well. Then the MLP falls, and falls first. It has one weight for each pixel: what it
# learned about a stroke *here* says nothing about the same stroke two pixels further on. It would have to learn every
# stroke at every place.
#
# A CNN learns a stroke once and looks for it everywhere. How? By a **convolution**.

# %% [markdown]
# ## 2. A window slides over a picture
#
# Take a small table of weights, the **kernel**. Lay it on the picture, multiply each weight by the pixel beneath it,
# and add everything up. That is one output. Then slide the kernel one pixel on. Follow the orange window below.

# %%
def numbers(ax, table, title="", **style):
    ax.imshow(table, **{"cmap": "Blues", "vmin": -2, "vmax": 5} | style)
    for (i, j), value in np.ndenumerate(np.asarray(table)):
        ax.text(j, i, "" if np.isnan(value) else f"{value:g}", ha="center", va="center")
    ax.set_title(title, fontsize=10)
    ax.axis("off")

def box(left, top, side, colour="C1"):
    corner = (left - 0.5, top - 0.5)
    return plt.Rectangle(corner, side, side, fill=False, color=colour, linewidth=2.5)

picture = torch.zeros(6, 6)
picture[1:5, 2:4] = 1
kernel = torch.tensor([[-1.0, 0, 1], [-1, 0, 1], [-1, 0, 1]])

# %% [markdown]
# That was the picture, the kernel, and two helpers that draw. Now the sliding.

# %% alt="A 3 by 3 window over a 6 by 6 picture in four places; below it a 4 by 4 output fills up, place by place"
figure, axes = plt.subplots(2, 5, figsize=(10, 4.4), layout="constrained")
numbers(axes[1, 0], kernel, "kernel", cmap="vlag", vmin=-4, vmax=4)
axes[0, 0].axis("off")
out = torch.full((4, 4), torch.nan)
places = [(i, j) for i in range(4) for j in range(4)]
for step, (i, j) in enumerate(places):
    out[i, j] = (picture[i : i + 3, j : j + 3] * kernel).sum()
    if (column := {0: 1, 1: 2, 6: 3, 15: 4}.get(step)) is not None:
        numbers(axes[0, column], picture, f"step {step + 1}")
        axes[0, column].add_patch(box(j, i, 3))
        numbers(axes[1, column], out, "output so far", cmap="vlag", vmin=-4, vmax=4)

# %% [markdown]
# The picture is a bright bar. The kernel weighs the right neighbours with 1 and the left ones with −1. So the output
# is positive where it gets brighter towards the right, negative where it gets darker, and zero where nothing changes:
# this kernel finds vertical edges.
#
# (Mathematicians turn the kernel around first, and call this one a *correlation*. In deep learning nobody turns it:
# the weights are learned anyway.)
#
# Other weights find other things. Here are three kernels on a picture from the course's own data, `shapes` (its red
# channel).

# %% alt="A picture in grey; and three maps of it: vertical edges, horizontal edges, and a blurred copy"
shapes = load("shapes")
grey = shapes[8][0][None, :1]  # (1, 1, 64, 64)
kernels = {"vertical edges": kernel, "horizontal edges": kernel.T, "blur": torch.ones(3, 3) / 9}

figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained")
axes[0].imshow(grey[0, 0], cmap="gray", vmin=0, vmax=1)
axes[0].set_title("picture")
for ax, (name, table) in zip(axes[1:], kernels.items(), strict=True):
    found = F.conv2d(grey, table[None, None])[0, 0]
    signed = {"cmap": "vlag", "vmin": -1.5, "vmax": 1.5}
    ax.imshow(found, **({"cmap": "gray"} if name == "blur" else signed))
    ax.set_title(name)
for ax in axes:
    ax.axis("off")

# %% [markdown]
# One kernel, one question, asked at every place. The answers form a picture again, a **feature map**. We chose these
# kernels. A network finds its own.

# %% [markdown]
# ## 3. What size comes out?
#
# In section 2 a 6×6 picture became 4×4, because a window of 3 has only 4 places in 6 pixels. Three settings change
# how many places there are. Watch the orange windows, in one dimension.

# %% alt="A row of 8 pixels and the windows of 3 below it: with stride 1, padding 1, stride 2, and dilation 2"
settings = {"stride 1": (1, 0, 1), "padding 1": (1, 1, 1)}
settings |= {"stride 2": (2, 0, 1), "dilation 2": (1, 0, 2)}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.6), sharey=True, layout="constrained")
for ax, (title, (stride, padding, dilation)) in zip(axes, settings.items(), strict=True):
    pixels = np.arange(-padding, 8 + padding)
    inside = (pixels >= 0) & (pixels < 8)
    ax.scatter(pixels, 0 * pixels, 90, marker="s", c=np.where(inside, "C0", "lightgrey"))
    starts = np.arange(-padding, 8 + padding - 2 * dilation, stride)
    for place, start in enumerate(starts, 1):
        ax.plot(start + dilation * np.arange(3), [-place] * 3, "o-", color="C1", markersize=5)
    ax.set_title(f"{title}: {len(starts)} places", fontsize=10)
    ax.set(xlim=(-1.7, 8.7))
    ax.axis("off")

# %% [markdown]
# - **Stride** $s$: the window moves by $s$ pixels at a time.
# - **Padding** $p$: a rim of $p$ zeros (grey) is put around the picture, on each side.
# - **Dilation** $d$: the kernel is spread out, with gaps; its pixels are $d$ apart.
#
# A window that hangs over the edge has no place.
#
# **Exercise.** Write `output_size`. How many pixels does the kernel span? How much room is left for it to move? Then
# count.

# %% tags=["exercise"]
def output_size(
    size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Return how many places a kernel has along an axis of `size` pixels."""
    ### BEGIN SOLUTION
    span = dilation * (kernel - 1) + 1
    return (size + 2 * padding - span) // stride + 1
    ### END SOLUTION


# %% tags=["check"]
check(output_size)

# %% [markdown]
# PyTorch must agree. The left column is its size, the right one yours.

# %%
row = torch.zeros(1, 1, 224)
several = ({}, {"padding": 3}, {"stride": 2}, {"dilation": 4}, {"stride": 2, "padding": 3})
for options in several:
    theirs = nn.Conv1d(1, 1, kernel_size=7, **options)(row).shape[-1]
    print(f"{theirs:>4} {output_size(224, 7, **options):>4}  {options}")

# %% [markdown]
# It does. The last line is the first layer of a ResNet: you'll meet it again.

# %% [markdown]
# ## 4. A convolution with many channels
#
# Pictures have three channels, and feature maps have as many as there are kernels. So a real kernel is a *stack*: it
# has a slice for every input channel, and everything under the window is added up. A **filter** is such a stack and
# one bias. And there are many filters; each gives one channel of the output.
#
# | | shape |
# | --- | --- |
# | input `x` | (N, C, H, W) |
# | weights `w` | (O, C, k, l): O filters, each with C slices of k rows and l columns |
# | biases `b` | (O,) |
# | output | (N, O, H', W') |
#
# **Exercise.** Write `conv2d_by_hand`. Loops are welcome: go over the *places*, cut out the window there, and
# multiply it by all filters at once. Only PyTorch's own convolution is not allowed.

# %% tags=["exercise"]
def conv2d_by_hand(
    x: Tensor, w: Tensor, b: Tensor, stride: int = 1, padding: int = 0
) -> Tensor:
    """Return x (N, C, H, W) convolved with w (O, C, k, l), plus b (O,): (N, O, H', W')."""
    ### BEGIN SOLUTION
    x = F.pad(x, (padding, padding, padding, padding))  # left, right, top, bottom
    height, width = w.shape[2:]
    rows = range(0, x.shape[2] - height + 1, stride)
    columns = range(0, x.shape[3] - width + 1, stride)
    out = x.new_zeros(len(x), len(w), len(rows), len(columns))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            window = x[:, None, :, top : top + height, left : left + width]
            out[:, :, i, j] = (window * w).sum(dim=(2, 3, 4)) + b
    return out
    ### END SOLUTION


# %% tags=["check"]
check(conv2d_by_hand)

# %% [markdown]
# The loops are clear, and slow. Libraries use a trick: write each window as a *column*, all columns side by side as a
# matrix. `F.unfold` does that. Then all filters at all places are one matrix product, which computers love.

# %%
set_seed(0)
x, w, b = torch.randn(2, 3, 16, 16), torch.randn(8, 3, 3, 3), torch.randn(8)

columns = F.unfold(x, kernel_size=3)  # (N, C·k·l, places)
product = w.flatten(1) @ columns + b[:, None]  # (O, C·k·l) @ (N, C·k·l, places)
print("columns", tuple(columns.shape), " product", tuple(product.shape))

by_product = product.unflatten(2, (14, 14))
print("as by hand: ", torch.allclose(by_product, conv2d_by_hand(x, w, b), atol=1e-4))
print("as PyTorch's:", torch.allclose(by_product, F.conv2d(x, w, b), atol=1e-4))

# %% [markdown]
# All three agree. So a convolution *is* a linear layer, of a special kind: it sees only a window, and it uses the
# same weights at all places. Count what that saves. How many weights does it take to turn a picture of 3×64×64 into
# 16 maps of 64×64?

# %%
print(f"a linear layer: {(3 * 64 * 64) * (16 * 64 * 64):>13,}")
print(f"a convolution:  {nn.Conv2d(3, 16, 3).weight.numel():>13,}")

# %% [markdown]
# And there is a second gift. The same eyes everywhere means: when the picture moves, the feature map moves along, and
# nothing else happens to it. Away from the edge, the two results below are the same.

# %%
x = torch.randn(1, 3, 20, 20)
moved_first = F.conv2d(moved(x, 4), w, b)
moved_after = moved(F.conv2d(x, w, b), 4)
print("the same:", torch.allclose(moved_first[..., 4:], moved_after[..., 4:], atol=1e-5))

# %% [markdown]
# That is called *equivariance*. Section 1 has shown what it is good for.

# %% [markdown]
# ## 5. Same size, please: `Conv2dAuto`
#
# Networks are easier to think about when convolutions keep the size. An odd kernel does so with a padding of half its
# span. `Conv2dAuto` of the course computes it, with dilation too.

# %%
from dl_course.models import Conv2dAuto

x = torch.randn(1, 3, 13, 17)
for kernel_size, dilation in ((3, 1), (7, 1), (3, 4)):
    layer = Conv2dAuto(3, 8, kernel_size, dilation=dilation)
    out = tuple(layer(x).shape)
    print(f"kernel {kernel_size}, dilation {dilation}: padding {layer.padding}, out {out}")

# %% [markdown]
# And an even kernel? It has no centre: one side would need more padding than the other, and the picture would creep
# to one corner, layer by layer. Some libraries pad it so without a word. Ours refuses, and says why.

# %%
try:
    Conv2dAuto(3, 8, kernel_size=4)
except ValueError as error:
    print(error)

# %% [markdown]
# ## 6. Cheaper: `SeparableConv2d`
#
# A convolution does two jobs at once. It looks at *neighbours*, and it mixes *channels*. A **separable** convolution
# does one after the other:
#
# 1. *depthwise*: every channel gets one k×k kernel for itself, and no mixing
# 2. *pointwise*: a 1×1 convolution mixes the channels, pixel by pixel
#
# **Exercise.** Write `separable_parameters`, the number of its weights and biases. As in `dl_course`, only the
# pointwise part has biases.

# %% tags=["exercise"]
def separable_parameters(inputs: int, outputs: int, kernel: int, bias: bool = True) -> int:
    """Return the number of parameters, for a kernel × kernel window, inputs → outputs."""
    ### BEGIN SOLUTION
    depthwise = inputs * kernel * kernel
    pointwise = inputs * outputs + (outputs if bias else 0)
    return depthwise + pointwise
    ### END SOLUTION


# %% tags=["check"]
check(separable_parameters)

# %% [markdown]
# Compare it with a whole convolution, for growing kernels.

# %%
from dl_course.models import SeparableConv2d

def count(module):
    return sum(parameter.numel() for parameter in module.parameters())

table = {
    f"{k}×{k}": {
        "whole": count(Conv2dAuto(64, 128, k)),
        "separable": count(SeparableConv2d(64, 128, k)),
        "your formula": separable_parameters(64, 128, k),
    }
    for k in (1, 3, 5, 7)
}
pd.DataFrame(table).T

# %% [markdown]
# For a 1×1 kernel there is nothing to save. From 3×3 on there is much, and the more, the larger the kernel. The price
# is that a separable layer can compute less: for each input channel there is one kernel, which all outputs have to
# share. Networks for phones are built of such layers.

# %% [markdown]
# ## 7. Pooling: smaller maps
#
# Towards its end, a network needs to know less and less about *where*. **Pooling** shrinks maps: each window gives
# its largest value, or its mean. There is nothing to learn in it.

# %% alt="A 4 by 4 table of numbers; its 2 by 2 table of maxima; and its 2 by 2 table of means"
small = torch.tensor([[1.0, 3, 0, 0], [2, 4, 0, 2], [0, 0, 1, 1], [0, 4, 1, 1]])
figure, axes = plt.subplots(1, 3, figsize=(7, 2.4), layout="constrained")
numbers(axes[0], small, "a map")
numbers(axes[1], F.max_pool2d(small[None], 2)[0], "max pooling, 2×2")
numbers(axes[2], F.avg_pool2d(small[None], 2)[0], "average pooling, 2×2")

# %% [markdown]
# The maximum says *whether* something was seen, the mean says *how much* of it.
#
# **Adaptive** pooling fixes the output instead of the window. So a network can take pictures of any size. Two of the
# course's layers build on it: `AdaptiveConcatPool2d` keeps both maximum and mean, and `PyramidPooling` adds to every
# pixel what the picture looks like as a whole, in halves, thirds and sixths. Watch the shapes, also for the odd
# sizes.

# %%
from dl_course.models import AdaptiveConcatPool2d, PyramidPooling

for height, width in ((8, 8), (13, 5), (1, 1)):
    x = torch.randn(2, 16, height, width)
    both, pyramid = AdaptiveConcatPool2d()(x), PyramidPooling(16)(x)
    print(f"{tuple(x.shape)} → concat {tuple(both.shape)}, pyramid {tuple(pyramid.shape)}")

# %% [markdown]
# ## 8. How far does a unit see?
#
# One unit of the first layer sees 3×3 pixels. A unit of the second sees 3×3 units of the first, and so more pixels.
# The pixels that a unit can see at all are its **receptive field**.
#
# Two rules. A kernel of $k$ adds $k-1$ steps to the field. And after a stride of 2, neighbours in the map are 2
# pixels apart in the picture, so from then on every step counts twice. That distance is called the *jump*, and
# strides multiply it.
#
# **Exercise.** Write `receptive_field` for a stack of layers, first layer first. Pooling is a layer like any other.

# %% tags=["exercise"]
def receptive_field(layers: list[tuple[int, int]]) -> int:
    """Return how many pixels wide the receptive field is, behind layers of (kernel, stride)."""
    ### BEGIN SOLUTION
    field = jump = 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field
    ### END SOLUTION


# %% tags=["check"]
check(receptive_field)

# %% [markdown]
# `SimpleCNN`, the network of section 1, has three stages of a 3×3 convolution and a 2×2 pooling. The squares below
# are the fields of one unit in the middle, after each stage.

# %% alt="A picture of a shape with three squares around its middle, growing from stage 1 to stage 3"
stage = [(3, 1), (2, 2)]
fields = [receptive_field(stage * stages) for stages in (1, 2, 3)]
figure, ax = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
ax.imshow(shapes[8][0].permute(1, 2, 0))
for stages, (field, colour) in enumerate(zip(fields, ("C0", "C4", "black"), strict=True), 1):
    corner = 31.5 - field / 2
    ax.add_patch(box(corner, corner, field, colour))
    label = {"color": "white", "backgroundcolor": colour, "fontsize": 7}
    ax.text(corner, corner - 2, f"stage {stages}: {field}", **label)
ax.set_title("receptive fields")
_ = ax.axis("off")

# %% [markdown]
# After the first stage a unit sees a few pixels, after the third a good part of the shape. Early layers *can't* know
# shapes: what fits into their squares is an edge, a corner, a colour. Later layers put these together.
#
# Is the formula true? We can ask the network. The gradient of a unit with respect to the picture is zero for every
# pixel that the unit can't see.

# %% alt="Where the gradient of one unit is not zero: a patch of pixels that fills a square, drawn in orange"
set_seed(0)
x = torch.rand(1, 1, 64, 64, requires_grad=True)
stages = nn.Sequential(*list(SimpleCNN().eval())[:3])  # without the mean and the linear layer
maps = stages(x)  # (1, 64, 8, 8)
maps[0, :, 4, 4].sum().backward()  # all channels of one place
reached = x.grad[0, 0] != 0

low, high = reached.nonzero().min().item(), reached.nonzero().max().item()
figure, ax = plt.subplots(figsize=(3.2, 3.2), layout="constrained")
ax.imshow(reached, cmap="Greys")
side = fields[2]
start = 4 * 8 - (1 + 2 + 4)  # 4 jumps of 8 pixels, less the padding: 1 pixel at jumps 1, 2, 4
ax.add_patch(box(start, start, side))
_ = ax.set_title(f"reached: pixels {low} to {high};\nthe formula: {side} wide", fontsize=9)

# %% [markdown]
# Every pixel that the gradient reaches lies within the square, and the pixels touch its sides. The formula holds.

# %% [markdown]
# ## 9. Through a whole network
#
# Now look at the maps of a real network, ResNet-18, as a picture passes through. Each box is one map, drawn to scale.
# Beneath it stands how many of them there are.

# %% alt="Six boxes, the side of which halves several times from left to right, while the number of channels grows"
from dl_course.models import resnet18

x, sizes = torch.zeros(1, 3, 224, 224), {"picture": (3, 224)}
with torch.no_grad():
    for name, layer in list(resnet18().named_children())[:-1]:  # without the linear layer
        x = layer(x)
        if name in ("conv1", "maxpool", "layer2", "layer3", "layer4"):
            sizes[name] = (x.shape[1], x.shape[2])
figure, axes = plt.subplots(1, 6, figsize=(10, 2.4), layout="constrained")
for ax, (name, (channels, side)) in zip(axes, sizes.items(), strict=True):
    ax.add_patch(plt.Rectangle((112 - side / 2, 112 - side / 2), side, side, color="C0"))
    ax.set(xlim=(-4, 228), ylim=(-4, 228), aspect="equal")
    ax.set_title(f"{name}\n{channels} × {side}×{side}", fontsize=10)
    ax.axis("off")

# %% [markdown]
# From left to right there is less and less *where*, and more and more *what*. From layer to layer, the maps halve and
# the channels double. Nearly all networks for pictures have this form.

# %% [markdown]
# ## 10. Norms: keep the numbers in range
#
# Deep networks multiply many numbers, and products easily explode or vanish. A **norm** puts each layer's outputs
# back to mean 0 and variance 1, and lets the network choose a scale and a shift of its own. The norms differ in one
# thing only: *over which numbers* mean and variance are taken. Below, rows are samples and columns channels; cells
# with the same number are normalised together.

# %% alt="Four grids of samples by channels: batch norm colours by column, layer norm by row, group norm by half rows, instance norm every cell"
samples, channels = np.indices((4, 6))
norms = {
    "batch norm": channels,
    "layer norm, GroupNorm1": samples,
    "group norm, 2 groups": samples * 2 + channels // 3,
    "instance norm": samples * 6 + channels,
}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.3), layout="constrained")
for ax, (name, together) in zip(axes, norms.items(), strict=True):
    numbers(ax, together, name, cmap="tab20", vmin=0, vmax=23, alpha=0.7)

# %% [markdown]
# Each cell stands for all pixels of one channel of one sample. Batch norm goes over the samples: what becomes of your
# picture then depends on the others in its batch. The rest treat every sample by itself. Let's see that. We normalise
# a picture in company, and alone.

# %%
from dl_course.models import GroupNorm1

batch = torch.randn(4, 6, 8, 8) * torch.tensor([1.0, 2, 3, 4])[:, None, None, None]
for norm in (nn.BatchNorm2d(6), GroupNorm1(6), nn.GroupNorm(2, 6), nn.InstanceNorm2d(6)):
    company, alone = norm(batch)[:1], norm(batch[:1])
    print(f"{type(norm).__name__:<15} difference {(company - alone).abs().max().item():.4f}")

# %% [markdown]
# Only batch norm cares. That is why it has two modes: in training it takes the batch, and keeps a running average; in
# evaluation (`model.eval()`) it uses that average, so that a picture gets the same answer in any company. For very
# small batches, take group norm.
#
# One layer of the course goes further. `CrossModalNorm` is no standard layer: a group norm whose scale and shift
# depend on *where a sample comes from*, say a camera or a depth sensor. So one network can serve both.

# %%
from dl_course.models import CrossModalNorm

norm = CrossModalNorm(6, modalities=2)
with torch.no_grad():
    norm.weight[1] = 3.0  # as if training had found it
out = norm(batch, modality=torch.tensor([0, 0, 1, 1]))  # two pictures of each kind
[f"{sample.std():.2f}" for sample in out]

# %% [markdown]
# The samples came with four different scales. Now each modality has one.

# %% [markdown]
# ## 11. How to begin: initialisation
#
# Before training, weights are random. How large should they be? Send a signal through thirty layers, each followed by
# a ReLU, and see what is left of it. (Linear layers, so that no edge of a picture disturbs. A convolution is one, as
# you have seen.)

# %%
from dl_course.models import kaiming_init

def tiny_weights(model):
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=0.01)

@torch.no_grad()
def spread_after_each_layer(start):
    set_seed(0)
    layers = [(nn.Linear(400, 400, bias=False), nn.ReLU()) for _ in range(30)]
    model = nn.Sequential(*[part for pair in layers for part in pair])
    start(model)
    x = torch.randn(200, 400)
    return [(x := layer(x)).std().item() for layer in model][1::2]

# %% [markdown]
# `spread_after_each_layer` measures how large the signal is behind every ReLU. We compare three ways to begin.

# %% alt="Three curves of signal size over depth, logarithmic: small weights vanish at once, PyTorch's default more slowly, Kaiming stays level"
starts = {"Kaiming": kaiming_init, "PyTorch's default": lambda model: None}
starts["σ = 0.01"] = tiny_weights
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for (name, start), marker in zip(starts.items(), "osD", strict=True):
    ax.semilogy(spread_after_each_layer(start), marker=marker, markersize=4, label=name)
ax.set(xlabel="layer", ylabel="standard deviation")
ax.legend()
sns.despine()

# %% [markdown]
# With too small weights, the signal fades at every layer, by the same factor each time. PyTorch's default fades too:
# it isn't made for ReLU. **Kaiming** initialisation is. A ReLU throws half of the signal away, so the weights get a
# variance of $2 / n$, where $n$ is how many inputs are added up. The signal then keeps its size (He et al. 2015).

# %% [markdown]
# ## 12. The residual block
#
# With norms and good initialisation, may we stack a hundred layers? People tried, and the deeper networks got
# *worse*, even on the pictures they were trained on. It wasn't overfitting: they couldn't be trained. The remedy is
# so simple that it changed the field: let each block add something to its input, instead of replacing it.
#
# $$ y = \mathrm{relu}(\mathrm{branch}(x) + x) $$
#
# ```
#      ┌──────────────── shortcut ────────────────┐
#  x ──┤                                          ⊕── relu ──▶ y
#      └─ conv 3×3 ─ norm ─ relu ─ conv 3×3 ─ norm ┘
# ```
#
# Where the branch has nothing to say, x passes untouched. And on the way back the gradient has a road that no weight
# blocks.
#
# The branch may change the shape: more channels, or half the size. Then x doesn't fit, and the shortcut is a 1×1
# convolution with the same stride, followed by a norm.
#
# **Exercise.** Write `ResidualBlock`. Attributes may have any name. All convolutions are without bias: the norm after
# each has one.

# %% tags=["exercise"]
class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: (N, in_channels, H, W) → (N, channels, H/stride, …).

    The first convolution has the stride. Each is followed by a batch norm; one ReLU stands
    between the two, one after the sum. The shortcut is x itself where the shape stays, else
    a 1×1 convolution with the stride, and a batch norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()  # which returns its input
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        branch = F.relu(self.norm1(self.conv1(x)))
        branch = self.norm2(self.conv2(branch))
        return F.relu(branch + self.shortcut(x))
        ### END SOLUTION


# %% tags=["check"]
check(ResidualBlock)

# %% [markdown]
# What does the shortcut do to gradients? Here are two deep networks before training, the same but for their
# shortcuts. For every block we draw how large the gradient is that arrives there.

# %%
class Plain(ResidualBlock):
    def forward(self, x):
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))

def gradients(kind):
    set_seed(0)
    x, outputs = torch.randn(8, 16, 12, 12), []
    for block in [kind(16, 16) for _ in range(24)]:
        x = block(x)
        outputs.append(x)
    back = torch.autograd.grad((x * torch.randn_like(x)).sum(), outputs)
    return [gradient.norm().item() for gradient in back]

# %% [markdown]
# Both end in the same random question, so that their gradients start out alike, at the right of the picture.

# %% alt="Gradient size over 24 blocks, logarithmic: steep without shortcuts, nearly level with them"
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.semilogy(gradients(Plain), marker="o", label="without shortcuts")
ax.semilogy(gradients(ResidualBlock), marker="s", label="with shortcuts")
ax.set(xlabel="block", ylabel="norm of the gradient")
ax.legend()
sns.despine()

# %% [markdown]
# Read it from right to left, the way gradients go. Without shortcuts, the gradient changes by a large factor on its
# way to the first block; no single learning rate suits all of these layers. With shortcuts it changes far less.

# %% [markdown]
# ## 13. Bottlenecks and attention
#
# Very deep networks use a thriftier block, the **bottleneck**: 1×1 down to a quarter of the channels, 3×3 there, 1×1
# up again. It has the wide maps and pays for the narrow ones.
#
# Another idea: not every channel matters for every picture. **Squeeze and excitation** (SE) lets the network weigh
# them. *Squeeze*: each channel becomes one number, its mean over all pixels. *Excite*: a linear layer to a few hidden
# units, ReLU, a linear layer back, and a sigmoid give each channel a weight between 0 and 1. All of its pixels are
# multiplied by it.
#
# **Exercise.** Write `SqueezeExcite`. There are channels // reduction hidden units; mind the case of few channels.

# %% tags=["exercise"]
class SqueezeExcite(nn.Module):
    """Weigh every channel by what the whole picture says: (N, C, H, W) → (N, C, H, W).

    The hidden layer has channels // reduction units, and at least one. Both layers have biases.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        hidden = max(1, channels // reduction)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        squeezed = x.mean(dim=(2, 3))  # (N, C)
        weights = torch.sigmoid(self.expand(F.relu(self.reduce(squeezed))))  # (N, C)
        return x * weights[:, :, None, None]
        ### END SOLUTION


# %% tags=["check"]
check(SqueezeExcite)

# %% [markdown]
# Many versions of SE divide without the "at least one": with few channels, nothing is left of their hidden layer, and
# the block weighs all pictures alike, without an error. (The course's own `SEBlock` has 1×1 convolutions in place of
# the linear layers. On a map of one pixel the two are the same, and your check accepts both.)
#
# **CBAM** asks two questions: *which* channels, as SE does, and then *where*. For "which", as published, the mean and
# the maximum of each channel pass the same small network (some versions leave the maximum out). For "where", a 7×7
# convolution gives every pixel a weight. What do these parts cost?

# %%
from dl_course.models import CBAM, BasicBlock, Bottleneck, SEBlock

parts = {
    "two plain 3×3 convolutions": nn.Sequential(Conv2dAuto(256, 256), Conv2dAuto(256, 256)),
    "BasicBlock": BasicBlock(256, 256),
    "Bottleneck": Bottleneck(256, 64),
    "SEBlock alone": SEBlock(256),
    "CBAM alone": CBAM(256),
    "BasicBlock with SE": BasicBlock(256, 256, attention="se"),
}
x = torch.randn(2, 256, 8, 8)
rows = {name: (tuple(part(x).shape), f"{count(part):,}") for name, part in parts.items()}
pd.DataFrame(rows, index=["output", "parameters"]).T

# %% [markdown]
# All keep the shape, so they can be exchanged freely. The bottleneck costs a small part of the basic block at the
# same number of channels, and attention costs next to nothing.

# %% [markdown]
# ## 14. Assemble ResNet-18
#
# You have all the parts. A **ResNet** is a stem, four stages of residual blocks, a mean over what is left of the
# picture, and a linear layer. In ResNet-18 every stage has two basic blocks:
#
# | name | what | channels |
# | --- | --- | --- |
# | `conv1` | convolution 7×7, stride 2, padding 3, no bias | 3 → 64 |
# | `bn1`, `relu`, `maxpool` | norm, ReLU, max pooling 3×3 with stride 2 and padding 1 | 64 |
# | `layer1` | two blocks | 64 → 64 |
# | `layer2` | two blocks, the first with stride 2 | 64 → 128 |
# | `layer3` | two blocks, the first with stride 2 | 128 → 256 |
# | `layer4` | two blocks, the first with stride 2 | 256 → 512 |
# | `avgpool`, `flatten` | `nn.AdaptiveAvgPool2d(1)`, `nn.Flatten()` | 512 |
# | `fc` | linear layer | 512 → classes |
#
# **Exercise.** Write `build_resnet18` with the course's `BasicBlock(in_channels, channels, stride)`. Names matter
# this time: published weights come as a dictionary of names, and yours must fit. An `nn.Sequential` accepts named
# layers, `model.conv1 = …`, and runs them in the order in which they came. `model.add_module(f"layer{stage}", …)`
# does the same with a computed name.

# %% tags=["exercise"]
def build_resnet18(num_classes: int = 1000) -> nn.Module:
    """Return ResNet-18, with torchvision's names: (N, 3, H, W) → logits (N, num_classes)."""
    ### BEGIN SOLUTION
    model = nn.Sequential()
    model.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    model.bn1 = nn.BatchNorm2d(64)
    model.relu = nn.ReLU()
    model.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
    inputs = 64
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        first = BasicBlock(inputs, channels, stride=1 if stage == 1 else 2)
        model.add_module(f"layer{stage}", nn.Sequential(first, BasicBlock(channels, channels)))
        inputs = channels
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.flatten = nn.Flatten()
    model.fc = nn.Linear(512, num_classes)
    return model
    ### END SOLUTION


# %% tags=["check"]
check(build_resnet18)

# %% [markdown]
# Is it *the* ResNet-18? We give it the weights of torchvision's, and ask both the same question. (The weights are
# random here. The trained ones are a download, `models.pretrained("resnet18")`, and fit just as well.)

# %%
import torchvision

theirs = torchvision.models.resnet18().eval()
mine = build_resnet18().eval()
mine.load_state_dict(theirs.state_dict())
x = torch.randn(1, 3, 96, 96)
with torch.no_grad():
    print("same logits:", torch.allclose(mine(x), theirs(x), atol=1e-5))
print(f"{count(mine):,} parameters")

# %% [markdown]
# The same to the last parameter. The course's own `resnet18`, `resnet34`, `resnet50` and `resnet101` have a few
# switches more. One is the **stem**. ImageNet's stem divides a picture's side by four before the first block. That
# suits 224 pixels, but what is left of CIFAR's 32?

# %%
x = torch.zeros(1, 3, 32, 32)
for stem in ("imagenet", "cifar"):
    model = resnet18(num_classes=10, stem=stem, attention="cbam").eval()
    features = nn.Sequential(*list(model.children())[:-2])  # without avgpool and fc
    print(f"{stem:>8}: last maps {tuple(features(x).shape[2:])}, {count(model):,} parameters")

# %% [markdown]
# A single pixel: no *where* at all, with the first stem. The second keeps the small picture whole. Both networks
# above have CBAM in every block, by `attention="cbam"`.

# %% [markdown]
# ## 15. Two relatives: EfficientNet and the vision transformer
#
# **EfficientNet-B0** is made of `MBConv` blocks, where everything of this chapter meets: a 1×1 convolution *widens*,
# a depthwise one looks at neighbours, SE weighs the channels, a 1×1 convolution narrows, and a shortcut goes around
# it all. Its depth and width were found by a search.
#
# A **vision transformer** (ViT) has no convolution but the first. It cuts the picture into patches and treats them as
# a sentence of *tokens*. In every block each token asks all the others, and takes a mixture of their answers. The
# shares of that mixture are the **attention**, and ours can be read.

# %%
from dl_course.explain import attention_maps
from dl_course.models import VisionTransformer

set_seed(0)
vit = VisionTransformer(image_size=64, patch_size=8, depth=4, embed_dim=64, num_heads=4)
picture = shapes[8][0][None]  # (1, 3, 64, 64)
attention = attention_maps(vit, picture)
print(f"{len(attention)} blocks; (N, heads, tokens, tokens) = {tuple(attention[0].shape)}")
print("rows sum to one:", torch.allclose(attention[0].sum(-1), torch.ones(1)))

# %% [markdown]
# 64 patches and one token more, the *class token*, which gathers what the answer is made of. Here is where it looks,
# in each head of the last block.

# %% alt="A picture of a shape, and four grids of 8 by 8 patches with weak patterns: attention before training"
figure, axes = plt.subplots(1, 5, figsize=(10, 2.3), layout="constrained")
axes[0].imshow(picture[0].permute(1, 2, 0))
axes[0].set_title("picture")
looks = attention[-1][0, :, 0, 1:].unflatten(1, (8, 8))  # class token → patches: (heads, 8, 8)
for head, ax in enumerate(axes[1:]):
    shown = ax.imshow(looks[head], cmap="viridis", vmin=0, vmax=3 / 65)
    ax.set_title(f"head {head}")
for ax in axes:
    ax.axis("off")
_ = figure.colorbar(shown, ax=axes, label="share", shrink=0.8)

# %% [markdown]
# All shares are near $1/65$: an untrained transformer looks everywhere alike. In chapter 05b you'll read maps of
# trained networks.

# %% [markdown]
# ## 16. A network from a name
#
# Experiments shouldn't need new code for each network. The course keeps a **registry**: names, and what builds them.
# A configuration is then a plain dictionary, and can live in a file.

# %%
from dl_course.models import MODELS

config = {"name": "resnet18", "num_classes": 10, "stem": "cifar", "attention": "se"}
model = MODELS.build(config)
print(MODELS)
print(f"{type(model).__name__}, {count(model):,} parameters")

# %% [markdown]
# Misspellings are refused, and by name: a typo that is silently ignored can cost a night of training.

# %%
for config in ({"name": "resnet81"}, {"name": "resnet18", "num_clases": 10}):
    try:
        MODELS.build(config)
    except ValueError as error:
        print(error)

# %% [markdown]
# ## 17. What does a network cost?
#
# A well-known tool prints a network's layers as a table, **torchsummary**. Here is the MLP of section 1.

# %%
import torchsummary

torchsummary.summary(SimpleNet(), (1, 28, 28), device="cpu")

# %% [markdown]
# A good table. You can check each line by hand: a linear layer has inputs × outputs weights, and as many biases as
# outputs.
#
# But know its limits. Here is a network that uses one layer four times over.

# %%
class Again(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(3, 7), nn.Linear(7, 7), nn.Linear(7, 5)

    def forward(self, x):
        x = self.first(x)
        for _ in range(4):
            x = F.relu(self.again(x))
        return self.last(x)

torchsummary.summary(Again(), (3,), device="cpu")
print("The truth:", count(Again()))

# %% [markdown]
# It counted the reused layer at every call. It fails in other ways on LSTMs, on transformers, and on networks that
# return dictionaries. The course's own `summary` counts each parameter once and the work at each call.

# %%
from dl_course.models import summary

summary(Again(), (3,))

# %% [markdown]
# There are three costs, and they are three different things:
#
# - **parameters** are what you store and download
# - **MACs**, multiply-and-accumulate operations, are the work for one picture
# - **bytes** are what the layers put out for one picture. In training all of it is kept, for the way back
#
# Where do they sit in a ResNet-18?

# %% alt="Bars over the layers of ResNet-18: parameters lie mostly in layer4, work is spread evenly, memory lies mostly in front"
table = summary(resnet18(), (3, 224, 224), depth=1)
costs = pd.DataFrame(table)[["parameters", "macs", "bytes"]].astype(float)
layers = ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]
shares = costs.loc[layers] / costs.loc["(model)"]
ax = shares.plot.bar(figsize=(8, 3), rot=0, width=0.8)
ax.set(ylabel="share of the whole", xlabel="layer")
for bars, hatch in zip(ax.containers, ("", "//", ".."), strict=True):
    for bar in bars:
        bar.set_hatch(hatch)
ax.legend()
sns.despine()

# %% [markdown]
# The parameters sit at the end, where there are many channels. The work is spread evenly: when maps halve and
# channels double, it stays the same. The memory sits towards the beginning, where the maps are large. So when memory
# runs out, smaller pictures help; when the file is too large, fewer channels do.
#
# Now compare whole networks, at the same size of picture.

# %%
names = ("simplecnn", "tinyresnet", "resnet18", "resnet50", "efficientnet_b0")
costs = {}
for name in names:
    network = MODELS.build({"name": name, "in_channels": 3})
    whole = summary(network, (3, 224, 224), depth=1).loc["(model)"]
    costs[name] = {
        "million parameters": whole.parameters / 1e6,
        "GMACs": whole.macs / 1e9,
        "MB of activations": whole.bytes / 1e6,
    }
pd.DataFrame(costs).T.round(2)

# %% [markdown]
# The columns don't agree. EfficientNet-B0 has less work than ResNet-18, and yet needs more memory, for its wide,
# cheap layers. The right question is never "how large is it?" but "what are you short of?"

# %% [markdown]
# ## 18. A network that sees shapes
#
# At last we train. The pictures are the course's `shapes`: ten kinds, each on textured ground among strokes and dots.
# The network is `TinyResNet`: a stem and three residual blocks.

# %% alt="Ten small pictures, one of each class, each with its name above it"
figure, axes = plt.subplots(1, 10, figsize=(11, 1.6), layout="constrained")
for kind, ax in enumerate(axes):
    ax.imshow(shapes.images[shapes.labels == kind][0].permute(1, 2, 0))
    ax.set_title(shapes.classes[kind], fontsize=8)
    ax.axis("off")

# %%
from dl_course.models import TinyResNet

set_seed(0)
model = TinyResNet()
summary(model, (3, 64, 64), depth=1)

# %% [markdown]
# Fewer parameters than the MLP of section 17 has. The next cell takes the longest of this chapter. Meanwhile, guess:
# how many of the pictures that it has never seen will it name rightly? By chance it would be one in ten.

# %% tags=["nbval-ignore-output"]
model = train(model, shapes, epochs=5)
validation = load("shapes", "val")
pictures, labels = validation.tensors()
with torch.no_grad():
    logits = torch.cat([model(part.to(device)).cpu() for part in pictures.split(250)])
probabilities = logits.softmax(1)
predicted = probabilities.argmax(1)
print(f"right on {(predicted == labels).float().mean():.1%} of {len(labels):,} unseen pictures")

# %% [markdown]
# Far above chance, after a few looks at every picture. What does it get wrong? Each row below is a kind, each column
# what the network called it. Look for the brightest field off the diagonal.

# %% alt="A ten by ten table of true against predicted kinds, bright along the diagonal" tags=["nbval-ignore-output"]
table = torch.bincount(labels * 10 + predicted, minlength=100).view(10, 10)
figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
names = validation.classes
ticks = {"xticklabels": names, "yticklabels": names}
sns.heatmap(table.numpy(), annot=True, fmt="d", cmap="viridis", ax=ax, **ticks)
_ = ax.set(xlabel="predicted", ylabel="true")

# %% [markdown]
# And these are the mistakes that it was surest of.

# %% alt="Eight pictures that the network misnamed, with the true name, the given name, and how sure it was" tags=["nbval-ignore-output"]
sure = probabilities.amax(1)
mistakes = (predicted != labels).nonzero().flatten()
worst = mistakes[sure[mistakes].argsort(descending=True)[:8]]
figure, axes = plt.subplots(1, 8, figsize=(11, 2), layout="constrained")
for ax, index in zip(axes, worst.tolist(), strict=False):
    ax.imshow(pictures[index].permute(1, 2, 0))
    given = f"{names[predicted[index]]} ({sure[index]:.0%})"
    ax.set_title(f"{names[labels[index]]}\nnot {given}", fontsize=8)
for ax in axes:
    ax.axis("off")

# %% [markdown]
# Would you have known them all? Always look at the mistakes: they tell more than the accuracy. Chapter 04 trains this
# network properly, and chapter 05b asks *where it looked*.

# %% [markdown]
# ## Summary
#
# - A convolution looks through a small window, with the same weights everywhere. When the picture moves, its maps move along.
# - Output size: room // stride + 1. Receptive field: every kernel adds (kernel − 1) jumps; strides multiply the jump.
# - Deeper in a network there is less *where* and more *what*.
# - Norms and Kaiming initialisation keep the signal's size, shortcuts keep the gradient's.
# - Parameters, work and memory are three different costs, and sit in different places.
# - Published weights fit where names and shapes are the published ones.
#
# ## Check yourself

# %%
progress("03")

# %% [markdown]
# ## Further reading
#
# - Dumoulin, Visin: *A guide to convolution arithmetic for deep learning*, 2016, with pictures of every case
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, 2016; and *Delving Deep into Rectifiers*, 2015
# - Hu et al.: *Squeeze-and-Excitation Networks*, 2018. Woo et al.: *CBAM*, 2018
# - Wu, He: *Group Normalization*, 2018. Chollet: *Xception*, 2017. Tan, Le: *EfficientNet*, 2019
# - Dosovitskiy et al.: *An Image is Worth 16x16 Words*, 2021
# - Stanford's *CS231n*, notes on convolutional networks; *Dive into Deep Learning* (d2l.ai), chapters 7 and 8
