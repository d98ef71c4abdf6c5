# %% [markdown]
# # 03 · CNNs: networks that see
#
# The network of chapter 02 reads handwriting as long as each digit sits exactly where it sat during training. Move it
# a few pixels, and the network fails. This chapter builds networks that cope: they look at a picture through small
# windows, with the same weights everywhere. You'll take a convolution apart, write your first network class, and
# build a ResNet from its pieces.
#
# **You will be able to**
# - compute a convolution by hand, predict the size of its output, and say how much of the picture it has seen
# - say why a CNN tolerates shifts, which of its parts make it do so, and where that ends
# - write a network as a class, and the blocks that large networks repeat: residual, squeeze and excitation, separable
# - assemble ResNet-18 so exactly that published weights fit into it
# - say what a network costs in parameters, work and memory
#
# **Time:** about three hours with the exercises; section 12 is a good place for a break.
# **You need:** chapters 01 and 02.

# %% [markdown]
# ## 1. What is wrong with one weight per pixel?
#
# We begin with a failure. Two networks learn the digits: the multilayer perceptron (MLP) of chapter 02, and a small
# *convolutional* network (CNN), about which you know nothing yet. The digits get a black border, so that they have room
# to move.

# %%
from collections import OrderedDict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import ask, check, hint, progress, solution

sns.set_theme(style="white", palette="colorblind")

# %%
from dl_course.data import load, loader
from dl_course.runtime import pick_device, set_seed

device = pick_device()
digits, unseen = load("digits"), load("digits", "test")
for data in (digits, unseen):
    data.images = v2.functional.pad(v2.functional.resize(data.images, [20, 20]), 4)

# %% [markdown]
# The next cell trains a network. Chapter 04 explains each of its lines. For now it is enough to know that the network
# sees all pictures several times over, and that the learning rate first rises and then falls (`OneCycleLR`), which
# makes short trainings go further.

# %%
def train(model, data, epochs, seed=0):
    model.to(device, memory_format=torch.channels_last).train()  # quicker on a CPU
    batches = loader(data, 64, shuffle=True, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters())
    one_cycle = torch.optim.lr_scheduler.OneCycleLR
    schedule = one_cycle(optimizer, max_lr=0.01, total_steps=epochs * len(batches))
    for _ in range(epochs):
        for pictures, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(pictures.to(device)), labels.to(device)).backward()
            optimizer.step()
            schedule.step()
    return model.eval()

# %% [markdown]
# Both networks are trained in the same way, for the same number of epochs. (`width=8` makes it a small CNN: its first
# layer has 8 kernels.) And we prepare a test for them: `moved` shifts pictures to the right.

# %%
from dl_course.models import SimpleCNN, SimpleNet

networks = {}
for name, make in {"MLP": SimpleNet, "CNN": lambda: SimpleCNN(width=8)}.items():
    set_seed(0)
    networks[name] = train(make(), digits, epochs=6)

@torch.no_grad()
def accuracy(model, pictures, labels):
    return (model(pictures.to(device)).argmax(1).cpu() == labels).float().mean().item()

def moved(pictures, pixels):  # to the right; black comes in from the left
    return F.pad(pictures, (pixels, -pixels, 0, 0))

# %% [markdown]
# Here is the test. The unseen digits move to the right, pixel by pixel, and we ask both networks again. Nothing else
# changes; a person would hardly notice.

# %% alt="Above: a 4 moved right by 0, 2 and 4 pixels, complete and readable each time. Below: accuracy over the shift; the MLP falls from above 0.9 to about 0.3, the CNN loses a few points" tags=["nbval-ignore-output"]
pictures, labels = unseen.tensors()
four = pictures[[2]]
figure, axes = plt.subplot_mosaic("024;ccc", height_ratios=(1, 2), layout="constrained")
for pixels in (0, 2, 4):
    axes[str(pixels)].imshow(moved(four, pixels)[0, 0], cmap="gray")
    axes[str(pixels)].set_title(f"{pixels} pixels", fontsize=10)
    axes[str(pixels)].axis("off")
for (name, model), marker in zip(networks.items(), "os", strict=True):
    scores = [accuracy(model, moved(pictures, pixels), labels) for pixels in range(5)]
    axes["c"].plot(range(5), scores, marker=marker, label=name)
axes["c"].set(xlabel="moved right, in pixels", xticks=range(5), ylabel="accuracy", ylim=(0, 1))
axes["c"].legend()
sns.despine(ax=axes["c"])

# %% [markdown]
# Both read unmoved digits well. As the digits move, the MLP's accuracy collapses, and the CNN loses little. The MLP
# has one weight for each pixel: what it learned about a stroke *here* says nothing about the same stroke two pixels
# away. It would have to learn every stroke at every place. (This is one training each; section 10 trains the CNN with
# three seeds.)
#
# A CNN learns a stroke once and looks for it everywhere. How?

# %% [markdown]
# ## 2. Two wishes
#
# Suppose you want a layer that turns a picture into a picture: at every pixel it says how much of a certain stroke it
# finds there. Start with a linear layer that may do anything. Output pixel $(i, j)$ is a weighted sum of all pixels,
# and we address them by how far away they are, $u$ rows down and $v$ columns to the right:
#
# $$ h_{ij} = \sum_{u, v} w_{ij, uv}\, x_{i+u,\, j+v} $$
#
# **First wish: the same answer everywhere.** When the stroke moves, the answer should move with it and not change. Then
# the weights can't depend on where we are: $w_{ij, uv}$ loses its $ij$. **Second wish: look only nearby.** A stroke can
# be recognised from its surroundings. Then all weights further away than $\Delta$ are zero. What is left is
#
# $$ h_{ij} = \sum_{u = -\Delta}^{\Delta} \sum_{v = -\Delta}^{\Delta} w_{uv}\, x_{i+u,\, j+v} $$
#
# and that is a **convolution**. Count the weights, for a picture of 64 × 64 pixels and $\Delta = 1$.

# %%
side, delta = 64, 1
print(f"anything goes:            {side**2 * side**2:>10,} weights")
print(f"the same everywhere:      {(2 * side - 1) ** 2:>10,}")
print(f"the same, and only nearby:{(2 * delta + 1) ** 2:>10,}")

# %% [markdown]
# Nine weights in place of nearly seventeen million, and they follow from two wishes that most pictures grant.

# %% [markdown]
# ## 3. A window slides over a picture
#
# In practice: take the small table of weights, the **kernel**. Lay it on the picture, multiply each weight by the pixel
# beneath it, and add everything up. That is one output. Then slide the kernel one pixel on.

# %%
picture = torch.zeros(6, 6)
picture[1:5, 2:4] = 1
kernel = torch.tensor([[-1.0, 0, 1], [-1, 0, 1], [-1, 0, 1]])

out = torch.zeros(4, 4)
for i in range(4):
    for j in range(4):
        window = picture[i : i + 3, j : j + 3]
        out[i, j] = (window * kernel).sum()

# %%
ask("03-edge-sign")

# %% [markdown]
# Now watch it slide. Use the buttons, or click on the output and use the arrow keys. Change stride, padding and the
# numbers of the kernel, and predict the output before you step. (Where this page isn't running, you see one step.)

# %% alt="The convolution stepper: a 6 by 6 picture of a bright bar with an orange window around nine pixels, the 3 by 3 kernel of −1, 0 and 1, and the 4 by 4 output, filled up to the seventh place" tags=["nbval-ignore-output"]
from dl_course.widgets import ConvolutionStepper

ConvolutionStepper(picture, kernel.tolist(), place=6)

# %%
print(out)

# %% [markdown]
# The picture is a bright bar. The kernel gives the right neighbours a weight of 1 and the left ones −1. So the output
# is positive where the picture gets brighter towards the right, negative where it gets darker, and zero where nothing
# changes: this kernel finds vertical edges.
#
# (Mathematicians flip the kernel first, and call what we do a *cross-correlation*. In deep learning nobody flips it:
# the weights are learned anyway.)
#
# A convolution is still a linear layer, and you can see its matrix: feed it 36 pictures with a single bright pixel
# each, and every one gives a column.

# %% alt="A matrix of 16 rows and 36 columns, mostly white: in each row the same nine weights, shifted to the right from row to row"
single_pixels = torch.eye(36).view(36, 1, 6, 6)
matrix = F.conv2d(single_pixels, kernel[None, None]).flatten(1).T  # (16 outputs, 36 pixels)
print("the same:", torch.equal(matrix @ picture.flatten(), out.flatten()))
figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
shown = ax.imshow(matrix, cmap="RdBu_r", vmin=-2, vmax=2)
ax.set(xlabel="pixel of the picture", ylabel="output")
_ = figure.colorbar(shown, label="weight", ticks=(-1, 0, 1), shrink=0.8)

# %% [markdown]
# Both wishes are in this picture: every row holds the same weights, one place further on (three, where the window
# starts a new line), and all else is zero. (The kernel's three zeros are white as well.)
#
# Different weights find different things. Here are three kernels on a real photograph, in grey.

# %% alt="A photograph of a cat in grey, and three maps of it: vertical edges in red and blue along the nose and around the eyes, horizontal edges along the eyelids and in the fur, and a blurred copy"
cat = load("photos")["cat"][0][:, ::2, ::2]  # every second pixel is enough here
grey = cat.mean(0)[None, None]  # (1, 1, H, W)
blur = torch.ones(9, 9) / 81
kernels = {"vertical edges": kernel, "horizontal edges": kernel.T, "blur": blur}

figure, axes = plt.subplots(2, 2, figsize=(5.6, 4), layout="constrained")
for ax, (name, table) in zip(axes.flat, {"photograph": None, **kernels}.items(), strict=True):
    found = grey if table is None else F.conv2d(grey, table[None, None])
    signed = {"cmap": "RdBu_r", "vmin": -0.6, "vmax": 0.6}
    ax.imshow(found[0, 0], **(signed if "edges" in name else {"cmap": "gray"}))
    ax.set_title(name, fontsize=10)
    ax.axis("off")

# %% [markdown]
# One kernel asks one question, at every place. The answers form a picture again, a **feature map**. We chose these
# kernels. A network learns its own.

# %% [markdown]
# ## 4. What size comes out?
#
# In section 3 a 6×6 picture became 4×4, because a window of 3 has only 4 places in 6 pixels. Three settings change
# how many places there are. Follow the orange windows, in one dimension.

# %% alt="A row of 8 pixels and the windows of 3 below it: with stride 1 six places, with padding 1 eight, with stride 2 three, with dilation 2 four"
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
# - **Padding** $p$: a border of $p$ zeros (grey) is added to the picture on each side.
# - **Dilation** $d$: the kernel is spread out, with gaps; its weights are $d$ pixels apart.
#
# A window that would hang over the edge doesn't count.
#
# **Exercise.** Write `output_size`. How many pixels does the kernel span? How much room is left for it to move? Then
# count the places.

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
# ## 5. A convolution with many channels
#
# Colour pictures have three channels, and feature maps have as many as there are kernels. So a real kernel is a
# *stack*: it has a slice for every input channel, and all products under the window are added up. A **filter** is such
# a stack together with one bias. A layer has many filters; each produces one channel of the output.
#
# | | shape |
# | --- | --- |
# | input `x` | (N, C, H, W) |
# | weights `w` | (O, C, k, l): O filters, each with C slices of k rows and l columns |
# | biases `b` | (O,) |
# | output | (N, O, H', W') |

# %%
ask("03-conv-shape")

# %% [markdown]
# **Exercise.** Write `conv2d_by_hand`. Loops are welcome: go over the *places*, cut out the window there, and
# multiply it by all filters at once. Everything is allowed except PyTorch's own convolution.

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
# The loops are clear, and slow. Libraries can do it with one matrix product: write each window as a *column*, and put
# all columns side by side (`F.unfold` does that). Then multiply by all filters at once, which is what processors are
# best at.

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
# All three agree. What about the first wish? When the picture moves, the feature map should move with it. Let's move
# first and convolve afterwards, then the other way round, and compare everything that isn't touched by the black that
# came in from the left.

# %%
x = torch.randn(1, 3, 20, 20)
moved_first = F.conv2d(moved(x, 4), w, b)
moved_after = moved(F.conv2d(x, w, b), 4)
print("the same:", torch.allclose(moved_first[..., 4:], moved_after[..., 4:], atol=1e-5))

# %% [markdown]
# This is called **equivariance**: move the input, and the output moves along. It isn't *invariance*, which would mean
# that the output doesn't change at all. Sections 8 and 10 show how a whole network gets from one to the other.

# %% [markdown]
# ## 6. Same size, please: `Conv2dAuto`
#
# Networks are easier to think about when convolutions keep the size. At stride 1, an odd kernel does so with a padding
# of half its span, rounded down. The course's `Conv2dAuto` computes it, dilation included.

# %%
from dl_course.models import Conv2dAuto

x = torch.randn(1, 3, 13, 17)
for kernel_size, dilation in ((3, 1), (7, 1), (3, 4)):
    layer = Conv2dAuto(3, 8, kernel_size, dilation=dilation)
    out = tuple(layer(x).shape)
    print(f"kernel {kernel_size}, dilation {dilation}: padding {layer.padding}, out {out}")

# %% [markdown]
# And an even kernel? It has no centre: one side would need more padding than the other, and the picture would creep
# towards a corner, layer by layer. Some libraries pad it that way without a word. Ours refuses, and says why.

# %%
try:
    Conv2dAuto(3, 8, kernel_size=4)
except ValueError as error:
    print(error)

# %% [markdown]
# ## 7. Cheaper: `SeparableConv2d`
#
# A convolution does two jobs at once: it looks at *neighbours*, and it mixes *channels*. A **depthwise separable**
# convolution does one after the other:
#
# 1. *depthwise*: every channel gets one k×k kernel of its own, and nothing is mixed
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
# Compare it with an ordinary convolution, for growing kernels.

# %%
from dl_course.models import SeparableConv2d

def count(module):
    return sum(parameter.numel() for parameter in module.parameters())

table = {
    f"{k}×{k}": {
        "ordinary": count(Conv2dAuto(64, 128, k)),
        "separable": count(SeparableConv2d(64, 128, k)),
        "your formula": separable_parameters(64, 128, k),
    }
    for k in (1, 3, 5, 7)
}
pd.DataFrame(table).T

# %% [markdown]
# For a 1×1 kernel there is nothing to save. From 3×3 on the saving is large, and it grows with the kernel. The price:
# for each input channel there is only one kernel, which all outputs have to share. Networks for phones are built of
# such layers (MobileNet, EfficientNet).

# %% [markdown]
# ## 8. Pooling: smaller maps
#
# Towards its end, a network needs to know less and less about *where*. **Pooling** shrinks maps: each window gives its
# largest value, or its mean. There is nothing to learn in it.

# %% alt="A 4 by 4 table of numbers with an orange frame around its upper left quarter; the 2 by 2 table of maxima; and the 2 by 2 table of means"
from dl_course import plots

small = torch.tensor([[1.0, 3, 0, 0], [2, 4, 0, 2], [0, 0, 1, 1], [0, 4, 1, 1]])
pooled = {"max pooling, 2×2": F.max_pool2d, "average pooling, 2×2": F.avg_pool2d}
figure, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
plots.numbers(small, axes[0], "a map", window=(0, 0, 2))
for ax, (title, pool) in zip(axes[1:], pooled.items(), strict=True):
    plots.numbers(pool(small[None], 2)[0], ax, title, window=(0, 0, 1), vmin=-8, vmax=8)

# %% [markdown]
# The maximum says *whether* something was found, the mean *how much* of it.
#
# Pooling has a stride: here it looks at pixels 0 and 1, then 2 and 3. What does that do to equivariance? The output
# can only move by whole steps of 2.

# %%
ask("03-pool-shift")

# %%
row = torch.tensor([[0.0, 0, 5, 0, 0, 0, 0, 0]])
for pixels in (0, 1, 2):
    pooled = F.max_pool1d(F.pad(row, (pixels, -pixels)), 2)
    print(f"moved by {pixels}: {pooled.int().tolist()[0]}")

# %% [markdown]
# Moved by 2, the output moves by 1. Moved by 1, it stays where it was, by luck: from pixel 3 to 4 it would have jumped.
# A strided layer is equivariant only for shifts that are multiples of its stride. `SimpleCNN` pools three times, so for
# the whole network the grid is $2 \cdot 2 \cdot 2 = 8$ pixels wide.
#
# At its end stands one more pooling, over the *whole* map: the mean. A mean doesn't care where things are, so this is
# the step that turns equivariance into (near) invariance. How near? Take the *features*, the numbers that the last
# layer gets. We measure how much they change as a hundred digits move, for an untrained network: with the mean at the
# end, and with a `Flatten` that keeps every place apart.

# %%
wide = F.pad(pictures[:100], (10, 10, 10, 10))  # 48×48

@torch.no_grad()
def change(features, pixels):
    before, after = features(wide), features(moved(wide, pixels))
    return ((after - before).norm() / before.norm()).item()

set_seed(0)
stages = nn.Sequential(*list(SimpleCNN().eval())[:3])  # without the mean and the linear layer

# %% alt="Change of the features over the shift from 0 to 8 pixels: with the mean a few percent, and nearly zero at 8; with Flatten it rises steadily to almost 90 percent"
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for name, end in {"mean": nn.AdaptiveAvgPool2d(1), "Flatten": nn.Flatten()}.items():
    changes = [change(nn.Sequential(stages, end), pixels) for pixels in range(9)]
    ax.plot(changes, marker="o" if name == "mean" else "s", label=name)
    print(f"{name:<8}", *(f"{each:6.1%}" for each in changes))
ax.set(xlabel="moved right, in pixels", ylabel="relative change of features", ylim=(0, None))
ax.legend()
sns.despine()

# %% [markdown]
# With the mean, the features change by a few percent within the grid, and hardly at all after a whole step of 8. (The
# rest is the picture's border, where the padding begins.) With `Flatten` they change more with every pixel. Both
# networks have the same convolutions: equivariance is only half of the story.
#
# **Adaptive** pooling fixes the size of the output instead of the window, so that a network can take pictures of any
# size. Two of the course's layers build on it. `AdaptiveConcatPool2d` keeps both the maximum and the mean.
# `PyramidPooling` answers another need: a blue pixel looks the same in the sky and in a lake, and only the whole scene
# tells which. So it gives every pixel what the picture looks like as a whole, in halves, thirds and sixths (Zhao
# et al. 2017). Note the shapes, also for odd sizes.

# %%
from dl_course.models import AdaptiveConcatPool2d, PyramidPooling

for height, width in ((8, 8), (13, 5), (1, 1)):
    x = torch.randn(2, 16, height, width)
    both, pyramid = AdaptiveConcatPool2d()(x), PyramidPooling(16)(x)
    print(f"{tuple(x.shape)} → concat {tuple(both.shape)}, pyramid {tuple(pyramid.shape)}")

# %% [markdown]
# ## 9. A network is a class
#
# You have met networks as `nn.Sequential`: one layer after another. Most networks need more freedom, so they are
# classes of their own. A class that extends `nn.Module` has two methods to write:
#
# - `__init__` makes the layers and keeps them as attributes. `super().__init__()` comes first: from then on, the module
#   finds every layer and parameter that is assigned to `self`.
# - `forward` says what happens to the input. You call the *module*, `model(x)`, and it calls `forward`.

# %%
class Small(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.linear = nn.Linear(8, classes)

    def forward(self, x):  # (N, 1, H, W)
        x = F.relu(self.conv(x))  # (N, 8, H, W)
        return self.linear(x.mean(dim=(2, 3)))  # (N, classes)

small_network = Small(10)
print(small_network)
print([name for name, _ in small_network.named_parameters()])

# %% [markdown]
# Parameters are found because their layers are attributes. Layers in an ordinary Python list are *not* found: no
# optimizer would ever move them. That is what `nn.ModuleList` is for.

# %%
class Hidden(nn.Module):
    def __init__(self, keep):
        super().__init__()
        self.layers = keep([nn.Linear(4, 4), nn.Linear(4, 4)])

for keep in (list, nn.ModuleList):
    print(f"{keep.__name__:<11} {sum(p.numel() for p in Hidden(keep).parameters())} parameters")

# %% [markdown]
# Now write the network with which all this began, **LeNet-5** (LeCun et al. 1998), in today's form: with ReLU and max
# pooling, where the original had a scaled tanh and averages with trainable weights.
#
# | layer | output |
# | --- | --- |
# | convolution 5×5, padding 2, ReLU, max pooling 2×2 | 6 × 14 × 14 |
# | convolution 5×5, ReLU, max pooling 2×2 | 16 × 5 × 5 |
# | flatten | 400 |
# | linear, ReLU | 120 |
# | linear, ReLU | 84 |
# | linear | classes |
#
# **Exercise.** Write `LeNet`. Attributes may have any name. The last layer gives logits: no ReLU and no softmax after
# it.

# %% tags=["exercise"]
class LeNet(nn.Module):
    """LeNet-5 with ReLU and max pooling: (N, 1, 28, 28) → logits (N, classes)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.linear1 = nn.Linear(400, 120)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, classes)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 6, 14, 14)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 16, 5, 5)
        x = F.relu(self.linear1(x.flatten(1)))
        return self.linear3(F.relu(self.linear2(x)))
        ### END SOLUTION


# %% tags=["check"]
check(LeNet)

# %% [markdown]
# Train it, and compare it with the networks of section 1.

# %% tags=["nbval-ignore-output"]
set_seed(0)
networks["LeNet"] = train(LeNet(), digits, epochs=6)
for name, model in networks.items():
    still, shifted = (accuracy(model, moved(pictures, pixels), labels) for pixels in (0, 4))
    print(f"{name:<6}{count(model):>8,} parameters: {still:.1%}, moved by 4: {shifted:.1%}")

# %% [markdown]
# Your LeNet reads the digits. And yet it loses much more than `SimpleCNN` when they move, although it is made of
# convolutions. Look at the table above: what does it do with its last maps?

# %% [markdown]
# ## 10. What does the mean do? An ablation
#
# LeNet flattens its last maps, and `SimpleCNN` averages them. Is that the reason? Comparing two networks that differ in
# many ways can't tell. An **ablation** changes one thing at a time: we give `SimpleCNN` a `Flatten` in place of the
# mean, and leave everything else as it is. We train each version with three seeds, because a single run might be luck.

# %%
def simple_cnn(end):
    model = SimpleCNN(width=8)
    if end == "Flatten":  # the last maps are 32 × 4 × 4
        model.pool, model.fc = nn.Flatten(), nn.Linear(32 * 4 * 4, 10)
    return model

def scores_of(end, seed):
    set_seed(seed)
    model = train(simple_cnn(end), digits, 6, seed)
    return [accuracy(model, moved(pictures, pixels), labels) for pixels in range(5)]

# %% alt="Accuracy over the shift from 0 to 4 pixels, two bands over three seeds: Flatten begins slightly higher and falls to between 0.5 and 0.6, the mean stays above 0.9" tags=["nbval-ignore-output"]
seeds = range(3)
ends = {e: np.array([scores_of(e, seed) for seed in seeds]) for e in ("mean", "Flatten")}
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for (end, scores), marker in zip(ends.items(), "os", strict=True):
    ax.plot(scores.mean(0), marker=marker, label=end)
    ax.fill_between(range(5), scores.min(0), scores.max(0), alpha=0.25)
ax.set(xlabel="moved right, in pixels", xticks=range(5), ylabel="accuracy", ylim=(0, 1))
ax.legend(loc="lower left")
sns.despine()
pd.DataFrame({end: [f"{s.mean():.3f} ({s.min():.3f} to {s.max():.3f})" for s in scores.T]
              for end, scores in ends.items()}).rename_axis("moved by")

# %% [markdown]
# (Bands, and numbers in parentheses, go from the lowest to the highest of the three seeds.) Where nothing moves,
# `Flatten` reads even better: *where* a stroke lies is useful, too. But at 4 pixels it has lost a good part of its
# accuracy, and the mean has hardly lost any. So it is convolutions *and* the mean that make a CNN tolerate shifts.
#
# Shifts, and nothing else. What if the digits are turned instead?

# %% tags=["nbval-ignore-output"]
for degrees in (0, 20, 45):
    turned = v2.functional.rotate(pictures, degrees, v2.InterpolationMode.BILINEAR)
    print(f"CNN, turned by {degrees:>2}°: {accuracy(networks['CNN'], turned, labels):.1%}")

# %% [markdown]
# No wish of section 2 was about turning, so nothing in the architecture helps. That has to be learned from examples:
# augmentation, in chapter 04.

# %% [markdown]
# ## 11. How far does a unit see?
#
# A *unit* is one number in a feature map: in the words of chapter 02, one neuron. With 3×3 kernels, a unit of the first
# layer sees 3×3 pixels. A unit of the second sees 3×3 units of the first, and so more pixels. The pixels that can reach
# a unit at all are its **receptive field**.
#
# Two rules. A kernel of $k$ adds $k-1$ steps to the field. And after a stride of 2, neighbours in the map are 2
# pixels apart in the picture, so from then on every step counts twice. That distance is called the *jump*, and
# strides multiply it.

# %%
ask("03-two-or-one")

# %% [markdown]
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
# `SimpleCNN`, the network of section 1, has three stages of a 3×3 convolution and a 2×2 pooling. How far does a unit
# see after each stage?

# %%
stage = [(3, 1), (2, 2)]
fields = [receptive_field(stage * stages) for stages in (1, 2, 3)]
fields

# %% [markdown]
# After the first stage a unit sees a few pixels, after the third a good part of a digit. Early layers *can't* know
# digits: what fits into their fields is an edge, a corner, a dot. Later layers combine these.
#
# Is the formula right? We can ask the network. The gradient of a unit with respect to the picture is zero for every
# pixel that the unit can't see. And where it isn't zero, its size says how much the pixel *counts*. We average that
# over 200 pictures of noise.

# %% alt="Left: all pixels with a gradient, a solid square that fills the orange frame of the formula. Right: the mean size of the gradient in the same frame, bright in the middle and dark towards the frame's sides"
set_seed(0)
x = torch.rand(200, 1, 64, 64, requires_grad=True)
maps = stages(x)  # (200, 64, 8, 8), from section 8
maps[:, :, 4, 4].sum().backward()  # all channels, at one place
size = x.grad.abs().mean(0)[0]
start = 4 * 8 - (1 + 2 + 4)  # 4 jumps of 8 pixels, less the padding: 1 pixel at jumps 1, 2, 4
figure, axes = plt.subplots(1, 2, figsize=(7, 3.3), layout="constrained")
looks = {"reached": size > 0, "how much it counts": size}
for ax, (title, table) in zip(axes, looks.items(), strict=True):
    ax.imshow(table, cmap="Greys" if title == "reached" else "viridis")
    frame = (start - 0.5, start - 0.5), fields[2], fields[2]
    ax.add_patch(plt.Rectangle(*frame, fill=False, color="C1", linewidth=2))
    ax.set_title(title)

# %%
inner = size[start + 5 : start + 17, start + 5 : start + 17].sum() / size.sum()
low, high = (size > 0).nonzero().min().item(), (size > 0).nonzero().max().item()
print(f"reached: pixels {low} to {high}, {high - low + 1} wide; the formula: {fields[2]}")
area = 12**2 / fields[2] ** 2
print(f"the 12×12 pixels in the middle: {area:.0%} of the field, {inner:.0%} of the gradient")

# %% [markdown]
# The formula gives the outer limit, and the network reaches it. But the pixels near the border count little: few paths
# lead from there to the unit, and many from the middle. The **effective** receptive field is smaller than the
# formula says (Luo et al. 2016).

# %% [markdown]
# ## 12. Through a whole network
#
# Now look at the maps of a real architecture, ResNet-18, as a photograph passes through. Each picture is the mean over
# all channels of a stage. The weights are still random: we are looking at sizes, so note how large a pixel becomes.

# %% alt="Six pictures of the same cat: the photograph, then maps with ever larger pixels, until only a pattern of 7 by 7 squares is left; above each the number of channels, from 3 to 512, and the size, from 224 to 7"
from dl_course.models import resnet18

set_seed(0)
x = v2.functional.center_crop(v2.functional.resize(cat, [224]), [224])[None]
maps = {"picture": x}
with torch.no_grad():
    for name, layer in list(resnet18().named_children())[:-1]:  # without the linear layer
        maps[name] = x = layer(x)
figure, axes = plt.subplots(1, 6, figsize=(11, 2.4), layout="constrained")
names = ("picture", "conv1", "layer1", "layer2", "layer3", "layer4")
for ax, name in zip(axes, names, strict=True):
    _, channels, side, _ = maps[name].shape
    ax.imshow(maps[name][0].mean(0), cmap="gray")
    ax.set_title(f"{name}\n{channels} × {side}×{side}", fontsize=10)
    ax.axis("off")

# %% [markdown]
# From left to right there is less and less *where*, and room for more and more *what*. From one stage to the next, the
# maps halve and the channels double. Many networks for pictures have this pyramid form, but not all: within a stage
# nothing changes, max pooling halves without doubling, and the vision transformer of section 18 keeps one size
# throughout.
#
# This is a good place for a break. You know what a convolution is and what it is good for. What follows is how to stack
# many of them.

# %% [markdown]
# ## 13. Norms: keep the numbers in range
#
# Deep networks multiply many numbers, and products easily explode or vanish. A **norm** brings each layer's outputs
# back to mean 0 and variance 1, and then lets the network choose a scale and a shift of its own. Norms differ in one
# thing only: *over which numbers* mean and variance are taken. Below, rows are samples and columns are channels; cells
# with the same number and colour are normalised together. (`GroupNorm1` is the course's name for a group norm with a
# single group: it takes its statistics over the same numbers as layer norm.)

# %% alt="Four grids of 4 samples by 6 channels. Batch norm: every column has one number; layer norm: every row; group norm with 2 groups: every half row; instance norm: every cell has its own"
from matplotlib.colors import ListedColormap

samples, channels = np.indices((4, 6))
norms = {
    "batch norm": channels,
    "layer norm, GroupNorm1": samples,
    "group norm, 2 groups": samples * 2 + channels // 3,
    "instance norm": samples * 6 + channels,
}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.2), layout="constrained")
for ax, (name, together) in zip(axes, norms.items(), strict=True):
    colours = ListedColormap(sns.husl_palette(together.max() + 1, l=0.8))
    plots.numbers(together, ax, name, cmap=colours, vmin=0, vmax=together.max())

# %% [markdown]
# Each cell stands for all pixels of one channel of one sample. Batch norm takes its statistics over all samples: what
# becomes of your picture then depends on the others in its batch. The rest treat every sample by itself.

# %%
ask("03-which-norm")

# %% [markdown]
# Let's see it: we normalise a picture once in a batch of four, and once alone.

# %%
from dl_course.models import GroupNorm1

batch = torch.randn(4, 6, 8, 8) * torch.tensor([1.0, 2, 3, 4])[:, None, None, None]
for norm in (nn.BatchNorm2d(6), GroupNorm1(6), nn.GroupNorm(2, 6), nn.InstanceNorm2d(6)):
    company, alone = norm(batch)[:1], norm(batch[:1])
    print(f"{type(norm).__name__:<15} difference {(company - alone).abs().max().item():.4f}")

# %% [markdown]
# Only for batch norm do the others matter. That is why it has two modes. In training it uses the batch's statistics,
# and keeps a running average of them; in evaluation (`model.eval()`) it uses that average, so that a picture gets the
# same answer in any batch. With very small batches the statistics become poor: use group norm there.
#
# One layer of the course goes further. Suppose one network is to serve a camera and a depth sensor. Their pictures have
# different contrast and brightness, and one scale and one shift can't fit both. `CrossModalNorm` is not a standard
# layer: it is a group norm with a scale and a shift for each *modality*, that is, for each kind of source.

# %%
from dl_course.models import CrossModalNorm

norm = CrossModalNorm(6, num_modalities=2)
with torch.no_grad():
    norm.weight[1] = 3.0  # as if training had found it
out = norm(batch, modality=torch.tensor([0, 0, 1, 1]))  # two pictures of each kind
[f"{sample.std():.2f}" for sample in out]

# %% [markdown]
# The samples came with four different scales. Now each modality has one of its own.

# %% [markdown]
# ## 14. How to begin: initialisation
#
# Before training, weights are random. How large should they be? Section 9 of chapter 02 gave He's answer. Does PyTorch
# follow it? Send a signal through thirty layers, each followed by a ReLU, and see what is left of it. (We use linear
# layers, which have no edges to disturb the picture. A convolution is a linear layer too, as you have seen.)

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
# `spread_after_each_layer` measures how large the signal is after every ReLU. We compare three ways to begin.

# %% alt="Three curves of signal size over depth, logarithmic: small weights vanish at once, PyTorch's default more slowly, Kaiming stays level"
starts = {"Kaiming": kaiming_init, "PyTorch's default": lambda model: None}
starts["σ = 0.01"] = tiny_weights
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for (name, start_with), marker in zip(starts.items(), "osD", strict=True):
    ax.semilogy(spread_after_each_layer(start_with), marker=marker, markersize=4, label=name)
ax.set(xlabel="layer", ylabel="standard deviation")
ax.legend()
sns.despine()

# %% [markdown]
# If the weights are too small, the signal fades at every layer, by the same factor each time. With PyTorch's default it
# fades too: that default isn't made for ReLU. **Kaiming** initialisation is, which is PyTorch's name for He's. (Kaiming
# is his first name.) A ReLU throws away half of the signal's power, so the weights get a variance of $2 / n$, where $n$
# is the number of inputs that are added up. The signal then keeps its size (He et al. 2015).

# %% [markdown]
# ## 15. The residual block
#
# With norms and a good initialisation, can we stack a hundred layers? People tried, and deeper networks got *worse*,
# even on the pictures they were trained on. So it wasn't overfitting: these networks were hard to train. The remedy is
# so simple that it changed the field: let each block add something to its input instead of replacing it.
#
# $$ y = \mathrm{relu}(\mathrm{branch}(x) + x) $$
#
# ```
#      ┌──────────────── shortcut ────────────────┐
#  x ──┤                                          ⊕── relu ──▶ y
#      └─ conv 3×3 ─ norm ─ relu ─ conv 3×3 ─ norm ┘
# ```
#
# Where the branch has nothing to say, x passes through. And on the way back, the gradient has a path that no weight
# blocks.
#
# The branch may change the shape: more channels, or half the size. Then x doesn't fit, and the shortcut becomes a 1×1
# convolution with the same stride, followed by a norm.
#
# **Exercise.** Write `ResidualBlock`. Attributes may have any name. All convolutions are without bias: the norm that
# follows each of them has one.

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
# What do shortcuts and norms buy? Another ablation. We stack 2 or 8 small blocks, *plain* or *residual*, with norms
# and, once, without. The pictures are the digits in their original 8×8 pixels, so that it is quick.

# %%
class Block(nn.Module):
    def __init__(self, channels, shortcut, norm):
        super().__init__()
        kind = nn.BatchNorm2d if norm else nn.Identity
        options = {"padding": 1, "bias": not norm}
        conv1, conv2 = (nn.Conv2d(channels, channels, 3, **options) for _ in range(2))
        self.branch = nn.Sequential(conv1, kind(channels), nn.ReLU(), conv2, kind(channels))
        self.shortcut = shortcut

    def forward(self, x):
        return F.relu(self.branch(x) + x if self.shortcut else self.branch(x))

# %%
def stack(depth, *how):
    blocks = [Block(8, *how) for _ in range(depth)]
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), *blocks, *end)

# %%
ask("03-deeper-plain")

# %% [markdown]
# Each row is trained with three seeds; the range is from the lowest to the highest of them. This takes a little while.

# %% tags=["nbval-ignore-output"]
def scores(depth, how, seed):
    set_seed(seed)
    model = train(stack(depth, *how), small[0], 3, seed)
    return [accuracy(model, *data.tensors()) for data in small]

small = load("digits"), load("digits", "test")
for data in small:
    data.images = v2.functional.resize(data.images, [8, 8])
kinds = {"plain": (False, True), "residual": (True, True), "residual, no norm": (True, False)}
rows = {}
for depth, (name, how) in [(depth, item) for depth in (2, 8) for item in kinds.items()]:
    found = np.array([scores(depth, how, seed) for seed in range(3)]).T
    text = [f"{s.mean():.2f} ({s.min():.2f} to {s.max():.2f})" for s in found]
    rows[f"{depth} blocks, {name}"] = text
pd.DataFrame(rows, index=["accuracy in training", "accuracy on unseen digits"]).T

# %% [markdown]
# Read the plain rows: four times as many blocks, and a *lower* accuracy, in training as well. Then the residual rows:
# there, depth helps. And without norms, both depths learn slowly or not at all. (Three epochs are few, and these
# networks are tiny. The table says what trains quickly, not what is possible in the end.)
#
# What does the shortcut do to gradients? Here are two deep networks before training, the same except for their
# shortcuts. For every block we draw the size of the gradient that arrives there.

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
# Both end in the same random question, so that their gradients start out alike, at the right end of the figure.

# %% alt="Gradient size over 24 blocks, logarithmic: a steep line without shortcuts, a much flatter one with them"
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.semilogy(gradients(Plain), marker="o", label="without shortcuts")
ax.semilogy(gradients(ResidualBlock), marker="s", label="with shortcuts")
ax.set(xlabel="block", ylabel="norm of the gradient")
ax.legend()
sns.despine()

# %% [markdown]
# Read it from right to left, the way gradients travel. Without shortcuts, the gradient changes by a large factor on its
# way to the first block; no single learning rate suits all of these layers. With shortcuts it changes far less.

# %% [markdown]
# ## 16. Bottlenecks and attention
#
# Very deep networks use a thriftier block, the **bottleneck**: 1×1 down to a quarter of the channels, 3×3 there, 1×1
# up again. The expensive 3×3 convolution works on few channels. (ResNeXt splits that convolution into *groups* that
# don't see each other, and spends what it saves on width: `groups=32, width_per_group=4` in the course's `resnet50`.)
#
# Another idea: not every channel matters for every picture. **Squeeze and excitation** (SE) lets the network weight
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
# Many versions of SE leave out the "at least one": with few channels, nothing is left of their hidden layer, and the
# block weights all pictures alike, without an error. (The course's own `SEBlock` has 1×1 convolutions in place of the
# linear layers. On a map of one pixel the two are the same, and your check accepts both.)
#
# **CBAM** asks two questions: *which* channels, as SE does, and then *where*. For "which", as published, the mean and
# the maximum of each channel pass through the same small network (some versions leave out the maximum). For "where", a
# 7×7 convolution gives every pixel a weight. What do these parts cost?

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
# All of them keep the shape, so they can be exchanged freely. The bottleneck costs a fraction of the basic block with
# the same number of channels, and attention costs next to nothing.

# %% [markdown]
# ## 17. Assemble ResNet-18
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
# **Exercise.** Write `build_resnet18` with the course's `BasicBlock(in_channels, channels, stride)`. Names matter this
# time: published weights come as a dictionary of names, and yours must fit. Since the layers run one after the other,
# a dictionary of named layers is enough: `nn.Sequential(layers)` accepts an `OrderedDict` of them. (A class with a
# `forward`, as in section 9, is just as good.)

# %% tags=["exercise"]
def build_resnet18(num_classes: int = 1000) -> nn.Module:
    """Return ResNet-18, with torchvision's names: (N, 3, H, W) → logits (N, num_classes)."""
    ### BEGIN SOLUTION
    layers = OrderedDict(conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False))
    layers["bn1"] = nn.BatchNorm2d(64)
    layers["relu"] = nn.ReLU()
    layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    inputs = 64
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        first = BasicBlock(inputs, channels, stride=1 if stage == 1 else 2)
        layers[f"layer{stage}"] = nn.Sequential(first, BasicBlock(channels, channels))
        inputs = channels
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(512, num_classes)
    return nn.Sequential(layers)
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
# The same to the last parameter. The course's own `resnet18`, `resnet34`, `resnet50` and `resnet101` have a few more
# switches. `zero_init_residual=True` starts the last norm of every branch at zero, so that each block begins as its
# shortcut, which helps with large batches. And the **stem** can be chosen. The one above was made for ImageNet, a large
# collection of photographs, which are cut to 224×224 pixels. It divides a picture's side by four before the first
# block. What is then left of CIFAR, a collection of pictures of 32×32?

# %%
ask("03-stem-of-32")

# %%
x = torch.zeros(1, 3, 32, 32)
for stem in ("imagenet", "cifar"):
    model = resnet18(num_classes=10, stem=stem, attention="cbam").eval()
    features = nn.Sequential(*list(model.children())[:-2])  # without avgpool and fc
    print(f"{stem:>8}: last maps {tuple(features(x).shape[2:])}, {count(model):,} parameters")

# %% [markdown]
# With the first stem a single pixel is left: no *where* at all. The second doesn't shrink the small picture before the
# blocks do. (Both networks above have CBAM in every block, by `attention="cbam"`.)

# %% [markdown]
# ## 18. Two relatives: EfficientNet and the vision transformer
#
# **EfficientNet-B0** is made of `MBConv` blocks, in which everything in this chapter meets: a 1×1 convolution *widens*,
# a depthwise one looks at neighbours, SE weights the channels, a 1×1 convolution narrows, and a shortcut goes around it
# all. B0 was found by an automatic search. The larger ones, B1 to B7, follow by *compound scaling*: depth, width and
# picture size grow together, in fixed proportions.
#
# A **vision transformer** (ViT) has only one convolution, the first. It cuts the picture into patches and treats them
# as a sentence of *tokens*. In every block each token asks all tokens, and takes a mixture of their answers. The shares
# of that mixture are the **attention**, and with ours you can read them. (A block does this several times side by side,
# in *heads*; ours has four.)

# %%
from dl_course.explain import attention_maps
from dl_course.models import VisionTransformer

set_seed(0)
shapes = load("shapes")
vit = VisionTransformer(image_size=64, patch_size=8, depth=4, embed_dim=64, num_heads=4)
attention = attention_maps(vit, shapes[8][0][None])
print(f"{len(attention)} blocks; (N, heads, tokens, tokens) = {tuple(attention[0].shape)}")
print("rows sum to one:", torch.allclose(attention[0].sum(-1), torch.ones(1)))
shares = attention[-1][0, :, 0] * 65  # of the class token; 1 is an even share
print(f"shares of the class token, times 65: {shares.min():.2f} to {shares.max():.2f}")

# %% [markdown]
# There are 64 patches and one token more, the *class token*, which gathers what the answer is made of. Before training
# its shares are nearly even: an untrained transformer looks everywhere alike. In chapter 05b you'll look at the
# attention of trained networks.

# %% [markdown]
# ## 19. A network from a name
#
# An experiment shouldn't need new code for each network. The course keeps a **registry** of names and what they build.
# A configuration is then a plain dictionary, and can be kept in a file.

# %%
from dl_course.models import MODELS

config = {"name": "resnet18", "num_classes": 10, "stem": "cifar", "attention": "se"}
model = MODELS.build(config)
print(MODELS)
print(f"{type(model).__name__}, {count(model):,} parameters")

# %% [markdown]
# Misspellings are refused by name: a typo that is silently ignored can cost a night of training.

# %%
for config in ({"name": "resnet81"}, {"name": "resnet18", "num_clases": 10}):
    try:
        MODELS.build(config)
    except ValueError as error:
        print(error)

# %% [markdown]
# ## 20. What does a network cost?
#
# A well-known tool prints a network's layers as a table: **torchsummary**. Here is the MLP of section 1.

# %%
import torchsummary

torchsummary.summary(SimpleNet(), (1, 28, 28), device="cpu")

# %% [markdown]
# A useful table. You can check each line by hand: a linear layer has inputs × outputs weights, and as many biases as
# outputs.
#
# But know its limits. Here is a network that uses one layer four times.

# %%
class Again(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 7)
        self.again = nn.Linear(7, 7)
        self.last = nn.Linear(7, 5)

    def forward(self, x):
        x = self.first(x)
        for _ in range(4):
            x = F.relu(self.again(x))
        return self.last(x)

torchsummary.summary(Again(), (3,), device="cpu")
print("The truth:", count(Again()))

# %% [markdown]
# It counted the reused layer at every call. It fails in other ways on recurrent networks, on transformers, and on
# networks that return dictionaries. The course's own `summary` counts each parameter once, and the work at each call.

# %%
from dl_course.models import summary

summary(Again(), (3,))

# %% [markdown]
# There are three costs, and they are three different things:
#
# - **parameters** are what you store and download
# - **MACs**, multiply-accumulate operations, are the work for one picture
# - **bytes** are the outputs of all layers for one picture. In training, nearly all of them are kept for the backward
#   pass

# %%
ask("03-where-parameters")

# %% [markdown]
# Where are they in a ResNet-18?

# %% alt="Three bars for each layer of ResNet-18: most parameters are in layer4, the work is spread over layer1 to layer4, and layer1 takes the most memory"
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
# Most parameters are at the end, where there are many channels. The work is spread over the four stages: when maps
# halve and channels double, it stays about the same. Most of the memory is used near the beginning, where the maps are
# large. So when memory runs out, smaller pictures help; when the file is too large, fewer channels do.
#
# Now compare whole networks, at the same picture size.

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
# The columns don't agree. EfficientNet-B0 does less work than ResNet-18 and yet needs more memory, for its wide, cheap
# layers. The right question is never "how large is it?" but "what are you short of?"

# %% [markdown]
# ## 21. A network that sees shapes
#
# Finally, a network for colour pictures. They are the course's `shapes`: ten kinds, each on a textured background among
# strokes and dots. The network is `TinyResNet`: a stem and three residual blocks.

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
# It has fewer parameters than the MLP of section 20. Training it well takes a few minutes, so we load weights that the
# course has trained. Guess before you run: how many of the pictures that it has never seen will it name correctly?
# Chance alone gives one in ten.

# %% tags=["nbval-ignore-output"]
from dl_course.models import model_card, trained

model, about = trained("tinyresnet-shapes").to(device), model_card("tinyresnet-shapes")
normalize = v2.Normalize(**about["normalize"])  # as in its training
pictures, labels = load("shapes", "test").tensors()
with torch.no_grad():
    probabilities = model(normalize(pictures).to(device)).softmax(1).cpu()
predicted = probabilities.argmax(1)
right = (predicted == labels).float().mean()
error = (right * (1 - right) / len(labels)) ** 0.5
print(f"trained for {about['epochs']} epochs")
print(f"right on {right:.1%} ± {2 * error:.1%} of {len(labels):,} unseen pictures")

# %% [markdown]
# Far above chance. (The ± is two standard errors: how far the choice of these pictures may have moved the figure.) What
# does it get wrong? Each row below is a kind, each column what the network called it. Off the diagonal are its
# mistakes.

# %% alt="A ten by ten table of true against predicted kinds, with large numbers along the diagonal" tags=["nbval-ignore-output"]
table = torch.bincount(labels * 10 + predicted, minlength=100).view(10, 10)
_ = plots.confusion_matrix(table, shapes.classes)

# %% [markdown]
# And these are the mistakes that it was surest of.

# %% alt="Eight pictures in two rows that the network got wrong; above each the true kind, and below it the wrong one with its probability" tags=["nbval-ignore-output"]
sure, names = probabilities.amax(1), shapes.classes
mistakes = (predicted != labels).nonzero().flatten()
worst = mistakes[sure[mistakes].argsort(descending=True)[:8]]
titles = [
    f"{names[labels[i]]}\nnot {names[predicted[i]]} ({sure[i]:.0%})" for i in worst.tolist()
]
_ = plots.image_grid(pictures[worst], titles, columns=4)

# %% [markdown]
# Would you have known them all? Look at what lies close to the shapes. Always look at the mistakes: they say what the
# accuracy can't. Chapter 04 explains how such a network is trained, and chapter 05b asks *where it looks*.

# %% [markdown]
# ## Summary
#
# - Two wishes, *the same everywhere* and *only nearby*, turn a linear layer into a convolution.
# - Convolutions are equivariant up to stride and padding; it is the mean at the end that makes a CNN (nearly) invariant
#   to shifts.
# - A network is a class: layers in `__init__`, the way through them in `forward`.
# - Output size: room // stride + 1. Receptive field: every kernel adds (kernel − 1) jumps; strides multiply the jump.
# - Norms and Kaiming initialisation keep the signal's size, shortcuts keep the gradient's: together they make depth
#   pay.
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
# - LeCun, Bottou, Bengio, Haffner: *Gradient-Based Learning Applied to Document Recognition*, 1998: LeNet-5
# - He, Zhang, Ren, Sun: *Deep Residual Learning for Image Recognition*, 2016; and *Delving Deep into Rectifiers*, 2015
# - Luo et al.: *Understanding the Effective Receptive Field in Deep CNNs*, 2016. Xie et al.: *ResNeXt*, 2017
# - Hu et al.: *Squeeze-and-Excitation Networks*, 2018. Woo et al.: *CBAM*, 2018
# - Wu, He: *Group Normalization*, 2018. Chollet: *Xception*, 2017. Tan, Le: *EfficientNet*, 2019
# - Dosovitskiy et al.: *An Image is Worth 16x16 Words*, 2021
# - Stanford's *CS231n*, notes on convolutional networks; *Dive into Deep Learning* (d2l.ai), chapters 7 and 8
