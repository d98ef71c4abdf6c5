# %% [markdown]
# # 05 · Seeing inside
#
# A trained network is a few thousand numbers that nobody wrote. It gives answers, and no reasons. Yet nothing in it
# is hidden: every number can be read, while it works, at every layer. In this chapter you learn to look.
#
# **You will be able to**
# - record what any layer of any network puts out, and leave the network as it was
# - tell from activations, weights and gradients whether a network is well
# - follow weights and gradients through a training
# - draw a network as a graph, in three ways
#
# **Time:** 60 to 75 minutes. **You need:** chapters 01 to 03. (Where a network looks, and how to debug with what you
# see here, are chapters 05b and 05c.)

# %% [markdown]
# ## 1. A network that works
#
# Our guest is `TinyResNet`, which you know from chapter 03. It comes trained with the course, on `shapes`: ten kinds
# of shape, each on textured ground among strokes and dots.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import check, hint, plots, progress, solution

sns.set_theme(style="white", palette="colorblind", rc={"figure.dpi": 80})

# %%
from dl_course.data import load
from dl_course.models import model_card, trained
from dl_course.runtime import pick_device, set_seed

device = pick_device()
model = trained("tinyresnet-shapes").to(device)
normalize = v2.Normalize(**model_card("tinyresnet-shapes")["normalize"])  # what it was trained on

shapes = load("shapes", "test")
pictures, labels = shapes.tensors()  # (1000, 3, 64, 64), from 0 to 1
inputs = normalize(pictures)

# %% [markdown]
# How good is it? We ask it about pictures that it has never seen.

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def predict(model, inputs):
    """Return the predicted class of each picture, in parts that fit into memory."""
    answers = [model(part.to(device)).argmax(1).cpu() for part in inputs.split(250)]
    return torch.cat(answers)

predicted = predict(model, inputs)
print(f"right on {(predicted == labels).float().mean():.1%} of {len(labels):,} pictures")

# %% alt="Eight small pictures of shapes on textured ground, each titled with what the network called it"
names = [shapes.classes[kind] for kind in predicted[:8]]
figure, ax = plt.subplots(figsize=(6, 1), layout="constrained")
_ = plots.image_grid(pictures[:8], names, ax, columns=8)

# %% [markdown]
# It works. But *how* does it know? And would it still know tomorrow? We open it up. Every layer has a name, and the
# name is all that we'll need to point at it.

# %%
for name, layer in model.named_children():
    inside = ", ".join(inner for inner, _ in layer.named_children())
    print(f"{name:<7} {type(layer).__name__:<11} {inside}")

# %% [markdown]
# A stem, three residual blocks, a mean over all places (`pool`), and a linear layer that gives ten scores. To the
# right are the layers inside. A dot joins the names: `stage1.conv2` is the second convolution of the first block. In
# the stem they have numbers for names. Which is which?

# %%
model.stem

# %% [markdown]
# ## 2. A window: hooks
#
# PyTorch lets us hang a function onto a layer. It is called whenever the layer has done its work, with what went in
# and what came out. Such a function is a **hook**. Here is how many tutorials do it. We hang one onto the
# batch norm of the stem, `stem.1`.

# %%
kept = {}

def keep(module, given, output):
    kept["stem.1"] = output

model.stem[1].register_forward_hook(keep)
six = inputs[:6].to(device)
with torch.no_grad():
    model(six)
stored = kept["stem.1"]
tuple(stored.shape)

# %% [markdown]
# That was easy. Six pictures, sixteen channels. Too easy? Let's not trust it. The stem is a plain chain, so we can
# compute the same thing by hand: the convolution, then the norm.

# %% alt="Two maps of one channel: the stored one has no negative values, the true one has many"
with torch.no_grad():
    truth = model.stem[1](model.stem[0](six))

figure, axes = plt.subplots(1, 2, figsize=(5.5, 2.3), layout="constrained")
for ax, values, title in ((axes[0], stored, "what the hook stored"), (axes[1], truth, "truth")):
    drawn = ax.imshow(values[0, 2].cpu(), cmap="RdBu_r", vmin=-3, vmax=3)
    ax.set_title(f"{title}\nsmallest number {values.min().item():.1f}", fontsize=10)
    ax.axis("off")
_ = figure.colorbar(drawn, ax=axes, label="activation")

# %% [markdown]
# The hook has stored something else: no number below zero. Nobody raised an error. What happened?
#
# Look at the stem's layers again. The next one, `stem.2`, is a ReLU that works **in place**: to save memory, it
# writes its result over its input. And its input is the very tensor that we kept. So we hold the output of the *wrong
# layer*. Remedy: keep a copy, `output.clone()`.
#
# There is a second mistake. Look what is hanging on the layer after we have "run the cell again" twice.

# %%
for _ in range(2):
    model.stem[1].register_forward_hook(keep)
print(len(model.stem[1]._forward_hooks), "hooks")

# %% [markdown]
# A hook stays until somebody takes it off. Each run adds one; each is called in every forward pass from now on, and
# each keeps its tensors alive. So `register_forward_hook` returns a *handle*, and a tidy person calls its `remove()`,
# also when the network has raised an error on its way. We threw ours away, and have to use force.

# %%
model.stem[1]._forward_hooks.clear()
print(len(model.stem[1]._forward_hooks), "hooks")

# %% [markdown]
# Third. There are hooks for the way back as well, and they promise the gradient at a layer. Here is one on ResNet-18.

# %% tags=["nbval-ignore-output"]
from dl_course.models import resnet18

network = resnet18().eval()
network.layer1[0].bn1.register_full_backward_hook(lambda module, given, output: None)
try:
    network(torch.rand(1, 3, 64, 64)).sum().backward()
except RuntimeError as error:
    print(f"{type(error).__name__}: {str(error).partition('. ')[0]}.")

# %% [markdown]
# The in-place ReLU again: this kind of hook can't live beside it. What always works is to ask for the gradient of the
# *tensor* that the layer put out. You'll do that in chapter 05b.
#
# So, three rules. **Copy what you keep. Take the hook off, whatever happens. For gradients, ask tensors, not
# modules.**
#
# **Exercise.** Write `activation_of`. `model.get_submodule("stem.1")` finds a layer by its name. Return a copy that
# is cut off from the graph: `detach()`. After you, no hook may hang on the network, even if the network breaks.

# %% tags=["exercise"]
def activation_of(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """Run model(x); return what the layer of that name put out, copied and detached.

    No hook stays on the model, also where the model raises an error; the error flies on.
    """
    ### BEGIN SOLUTION
    kept = []

    def keep(module, given, output):
        kept.append(output.detach().clone())

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        model(x)
    finally:
        handle.remove()
    return kept[0]
    ### END SOLUTION

# %% tags=["check"]
check(activation_of)

# %% [markdown]
# Does it tell the truth now, and leave nothing behind?

# %%
found = activation_of(model, "stem.1", six)
print("equal to the truth:", torch.equal(found, truth))
print("hooks left:", sum(len(layer._forward_hooks) for layer in model.modules()))

# %% [markdown]
# The course has the same thing for many layers at once, as a context manager. `seen` holds a list for each layer,
# with one entry per call, because a layer may be used twice in a network. Watch the shapes shrink.

# %%
from dl_course.hooks import capture

stages = ["stem", "stage1", "stage2", "stage3", "pool", "fc"]
with torch.no_grad(), capture(model, stages) as seen:
    model(six)
for name in stages:
    print(f"{name:<7} {tuple(seen[name][0].activation.shape)}")

# %% [markdown]
# ## 3. Feature maps: what a layer sees
#
# A convolution puts out one map per channel. We draw the first eight maps of three layers, all from one picture.
# Look for things that you recognise, from above to below.

# %% alt="A picture, and eight feature maps each of stem, stage1 and stage3: sharp outlines at first, coarse patches at the end"
rows = [["picture", "stem"], ["picture", "stage1"], ["picture", "stage3"]]
size = {"figsize": (7, 3.3), "width_ratios": (1, 4), "layout": "constrained"}
figure, axes = plt.subplot_mosaic(rows, **size)
plots.image_grid(pictures[:1], ["the picture"], axes["picture"])
for layer in ("stem", "stage1", "stage3"):
    plots.feature_maps(seen[layer][0].activation[0], axes[layer], limit=8)
    axes[layer].set_title(layer, fontsize=10)

# %% [markdown]
# In the stem, the picture is still there: outlines, bright and dark sides, the texture. Towards the end, texture and
# clutter fade, and what is left lights up at few places.
#
# Eight little maps say little about what a channel is *for*. A better question: which pictures excite it most? We
# ask that of three channels of the last stage.

# %% alt="Three rows of seven pictures: each row the pictures that excite one channel of stage3 most" tags=["nbval-ignore-output"]
with torch.no_grad():
    parts = [activation_of(model, "stage3", part.to(device)) for part in inputs.split(250)]
peaks = torch.cat([part.amax((2, 3)) for part in parts]).cpu()  # (1000, 32)
liveliest = peaks.std(0).topk(3).indices
best = peaks[:, liveliest].topk(7, dim=0).indices.T  # (3, 7): each channel's favourites
titles = [shapes.classes[label] for label in labels[best.flatten()]]
figure, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
plots.image_grid(pictures[best.flatten()], titles, ax, columns=7)
_ = ax.set_title(f"channels {liveliest.tolist()}, from above", fontsize=10)

# %% [markdown]
# Colours and grounds are mixed within a row; what repeats is a form. In some rows all favourites are of one class, in
# others the classes mix, as far as they share a form: a bay, a tip, a corner. And two channels may love the same
# class. Nobody assigned these jobs.

# %% [markdown]
# ## 4. Kernels: what a layer looks for
#
# The weights themselves can be drawn, too. Those of the first convolution see red, green and blue, so each is a tiny
# picture. A kernel whose three colours agree is grey: it compares light with dark. One whose colours differ compares
# colours. We sort the kernels by that, of a network that has learned nothing yet and of ours.

# %%
from dl_course.models import TinyResNet

def by_greyness(network):
    """Return the stem's kernels, scaled one by one, and the share that is grey in each."""
    weight = network.stem[0].weight.detach().cpu()  # (16, 3, 3, 3)
    grey = weight.mean(1, keepdim=True).expand_as(weight)
    share = grey.square().sum((1, 2, 3)) / weight.square().sum((1, 2, 3))
    order, largest = share.argsort(), weight.abs().amax((1, 2, 3), keepdim=True)
    return (weight / largest)[order], share[order]

# %% alt="Sixteen kernels of 3 by 3 coloured pixels, twice: gaudy specks before training; after it the last ones are greyer"
set_seed(0)
both = {"untrained": TinyResNet(), "trained": model}
figure, axes = plt.subplots(1, 2, figsize=(8, 2), layout="constrained")
for ax, (name, network) in zip(axes, both.items(), strict=True):
    kernels, share = by_greyness(network)
    plots.kernels(kernels, ax=ax).set_title(f"{name}: {share[0]:.0%} to {share[-1]:.0%} grey")

# %% [markdown]
# Before training the kernels are noise. Training has drawn them apart: at one end stand kernels with next to no grey,
# which compare colours, at the other such as are mostly grey, and compare light with dark. But the naked eye hardly
# sees it, and with three by three pixels there isn't more to read. (Networks with kernels of seven or eleven pixels
# show stripes and blobs, and are worth a look.) Deeper kernels have dozens of input channels, and can't be drawn so.
#
# The last layer can. Each row below is a class, each column a channel of `stage3`. Red says "this channel speaks
# for me", blue "against me".

# %% alt="A heat map of ten classes by 32 channels in red and blue, with few strong entries in each row"
figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
plots.weight_matrix(model.fc.weight, ax)
ax.set_yticks(range(10), shapes.classes)
_ = ax.set(xlabel="channel of stage3", ylabel="")

# %% [markdown]
# A class is a recipe of channels: some for, some against. Keep that in mind. In chapter 05b it becomes a map.

# %% [markdown]
# ## 5. Activations: what is normal?
#
# One picture can mislead. So we measure a layer over *many* pictures: mean, spread, smallest, largest, and how much
# of it is zero. `activation_statistics` reduces each batch as it passes by, and stores none of it.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import activation_statistics

layers = ["stem.0", "stem.1", "stem.2", "stage1", "stage2", "stage3", "fc"]
batches = inputs[:500].split(100)
healthy = activation_statistics(model, batches, layers)
healthy[["mean", "std", "min", "max", "zero"]].round(3)

# %% [markdown]
# The norm (`stem.1`) brings its channels to numbers of about one. After a ReLU (`stem.2` and the stages) a large
# share is zero, and nothing is negative. All of that is as it should be.
#
# What is it good for? Say that somebody forgot to normalise the pictures. No error, no warning. Compare.

# %% alt="Mean and spread of seven layers, twice: with normalised pictures wide, with raw ones narrow in every layer" tags=["nbval-ignore-output"]
raw = activation_statistics(model, pictures[:500].split(100), layers)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharex=True, layout="constrained")
answers = {"normalised": predicted, "raw": predict(model, pictures)}
for ax, table, (name, answer) in zip(axes, (healthy, raw), answers.items(), strict=True):
    plots.means(table, ax)
    ax.set_title(f"{name}: {(answer == labels).float().mean():.0%} right", fontsize=10)

# %% [markdown]
# The network still answers, as if nothing were wrong, and it is lost. But look at the bars: not one layer is as wide
# as it was, from the very first on. Compare statistics between training and use, and such a mistake shows at once.
#
# A mean and a spread aren't everything. Here are the distributions themselves. (Heights are roots of the counts, so
# that one tall bar doesn't hide the rest.)

# %% alt="Seven histograms, one below the other; those after a ReLU begin with a tall bar at zero" tags=["nbval-ignore-output"]
_ = plots.histograms(healthy.histograms, label="activation")

# %% [markdown]
# The tall bar at zero is what the ReLU cut off. How much of it is healthy?

# %% [markdown]
# ## 6. Dead units
#
# A ReLU unit that is zero passes no gradient. If it is zero for *every* picture, it never learns again: it is
# **dead**. To see some, we train a small network for digits twice. Once with a sensible learning rate, once with one
# that is thirty times too high.

# %%
digits, unseen = load("digits"), load("digits", "test")

def train(model, learning_rate, epochs, after_step=lambda: None):
    """Train on digits, with Adam; return the model, in eval mode, and its test accuracy."""
    pictures, truth = (tensor.to(device) for tensor in digits.tensors())
    optimizer = torch.optim.Adam(model.to(device).train().parameters(), lr=learning_rate)
    for _ in range(epochs):
        for part in torch.randperm(len(truth)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(pictures[part]), truth[part]).backward()
            optimizer.step()
            after_step()
    given, truth = unseen.tensors()
    return model.eval(), (predict(model, given) == truth).float().mean().item()

# %% tags=["nbval-ignore-output"]
from dl_course.models import SimpleNet

set_seed(0)
networks = {"untrained": SimpleNet().to(device).eval()}
for rate in (0.001, 0.03):
    set_seed(0)
    networks[f"learning rate {rate}"], accuracy = train(SimpleNet(), rate, epochs=5)
    print(f"learning rate {rate}: {accuracy:.1%} right")

# %% [markdown]
# Both read most of the digits. From these two numbers, nobody would guess what has happened to the second. So look
# inside, and for comparison into a network that hasn't been trained. Each row is a picture, each column a unit of the
# first hidden layer.

# %% alt="Three heat maps of 30 pictures by 128 units: dark columns are rare before training, more after it, and nearly everywhere with the large steps" tags=["nbval-ignore-output"]
given = digits.tensors()[0]
hidden = {name: activation_of(net, "relu1", given.to(device)) for name, net in networks.items()}
figure, axes = plt.subplots(3, 1, figsize=(7, 4.2), sharex=True, layout="constrained")
for ax, (name, values) in zip(axes, hidden.items(), strict=True):
    plots.unit_activations(values[:30], ax)
    ax.set_title(name, fontsize=10)
    ax.label_outer()

# %% [markdown]
# A speckled column is a unit at work: it answers to some pictures more, to others less. A column that is dark from
# top to bottom answers to none. Before training there are hardly any. Training has made some, and the large steps
# have left little else: that network does its work with the few units that remain.
#
# How to count them? Many tools take the share of zeros. But a healthy unit may well be zero most of the time! Dead
# means: **never** above zero, on no picture at all. For a convolution a unit is a whole channel: it is alive if it
# answers anywhere on any picture.
#
# **Exercise.** Write `dead_share`. The batches may have different lengths, and come from linear layers (N, C) as well
# as from convolutions (N, C, H, W).

# %% tags=["exercise"]
def dead_share(batches: list[Tensor]) -> float:
    """Return the share of units that are never > 0; batches are (N, C) or (N, C, H, W)."""
    ### BEGIN SOLUTION
    alive = torch.zeros(batches[0].shape[1], dtype=torch.bool, device=batches[0].device)
    for batch in batches:
        active = (batch > 0).any(dim=0)  # (C, …): on some picture
        alive |= active.flatten(1).any(dim=1) if active.ndim > 1 else active  # at some place
    return (~alive).float().mean().item()
    ### END SOLUTION

# %% tags=["check"]
check(dead_share)

# %% [markdown]
# Two measures side by side, of these three and of the network that names shapes.

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    stage = activation_of(model, "stage1", inputs[:500].to(device))
rows = {
    name: {"zeros": (y <= 0).float().mean().item(), "dead units": dead_share(y.split(100))}
    for name, y in {**hidden, "shapes network, stage1": stage}.items()
}
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# Compare the first row with the second. The small network has become *livelier* in training, if you count zeros, and
# has lost many of its units for good. And the last row: the shapes network has more zeros than either of them, and
# hardly a dead unit. Its channels are choosy, not dead. Whoever takes zeros for deaths sends the wrong one to
# hospital.
#
# How many pictures does it take to be sure? Watch the share of units that have been silent *so far*.

# %% alt="The share of silent units over the number of pictures: three curves fall and level off, the one of large steps near the top" tags=["nbval-ignore-output"]
counts = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
for (name, values), marker in zip(hidden.items(), "^os", strict=True):
    silent = [dead_share([values[:count]]) for count in counts]
    ax.semilogx(counts, silent, marker=marker, label=name)
ax.set(xlabel="pictures seen", ylabel="share of silent units", ylim=(0, 1))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# The curves never rise: more pictures can only wake a unit. So measure on many, or you bury the living. And look
# beside the dead at those that are *rarely* active: they may be specialists, or on their way out. The course's
# `dead_units` counts both, for every ReLU of a network.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import dead_units

dead_units(networks["learning rate 0.03"], given.split(100))

# %% [markdown]
# ## 7. Weights, and how they move
#
# Training moves weights. Too little, and nothing is learned; too much, and nothing is kept. A good measure is
# relative: how large is a step's change, compared with the weights? `WeightHistory` follows it.

# %% alt="Relative update of each weight matrix over the steps of training, on a logarithmic scale, slowly falling" tags=["nbval-ignore-output"]
from dl_course.diagnostics import WeightHistory, weight_statistics

set_seed(0)
net = SimpleNet().to(device)
before, history = weight_statistics(net), WeightHistory(net)
history.record()
train(net, 0.001, epochs=3, after_step=history.record)

table = history.table()
ax = plots.traces(table[table["layer"].str.endswith("weight")], "update")
ax.set(yscale="log", ylabel="change / weights, norms")
sns.despine()

# %% [markdown]
# Large steps at first, then smaller ones. A rule of thumb says that about a thousandth of the weights' size per step
# is healthy; a small network in a hurry, like ours, moves faster. A layer whose curve lies far below all others isn't
# learning, and one far above is being thrown about.
#
# How far have the weights come, all in all? Their distributions before and after.

# %% alt="Histograms of three weight matrices: boxes before training, wider bells after, the first layer's most of all" tags=["nbval-ignore-output"]
after = weight_statistics(net)
figure, axes = plt.subplots(1, 2, figsize=(7.5, 2.3), sharex=True, layout="constrained")
for ax, table, title in ((axes[0], before, "before"), (axes[1], after, "after")):
    weights = {name: bars for name, bars in table.histograms.items() if "weight" in name}
    plots.histograms(weights, ax, label="weight")
    ax.set_title(title)

# %% [markdown]
# PyTorch draws the first weights evenly from a box. Training has made wider bells of the boxes, most of all in the
# first layer. A histogram that hasn't changed at all belongs to a layer that hasn't learned; one that runs off to
# both sides, to a training that is exploding.

# %% [markdown]
# ## 8. Gradients: does the message arrive?
#
# The loss speaks to the first layer through all layers in between. In chapter 02 a signal died in a chain of
# sigmoids, in chapter 03 in a chain of blocks. Now we measure it as one does on a live network: for each weight
# matrix, the gradient's size *relative to the weights*. Times the learning rate, that is how far a plain step moves
# them.
#
# One trap. A parameter may have *no* gradient, because it is frozen, or because nothing leads to it. `grad` is then
# `None`, and that isn't zero: a zero says "the message came, and was empty", `None` says "no post for this address".
#
# **Exercise.** Write `gradient_ratios`. `backward()` has been called already. Take parameters with two axes or more;
# biases and norms start at 0 or 1, and their ratios would say something else.

# %% tags=["exercise"]
def gradient_ratios(model: nn.Module) -> dict[str, float | None]:
    """Return ‖gradient‖ / ‖weight‖ by name, of every parameter with at least two axes.

    Where no gradient has come there is None; a gradient of zeros gives 0.0.
    """
    ### BEGIN SOLUTION
    table = {}
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            gradient = weight.grad
            table[name] = None if gradient is None else (gradient.norm() / weight.norm()).item()
    return table
    ### END SOLUTION

# %% tags=["check"]
check(gradient_ratios)

# %% [markdown]
# Three networks of twenty layers. One with sigmoids; one with ReLUs and weights that are a little too large; one with
# ReLUs, He's weights, and a norm in each layer.

# %%
def deep(bend, std, norm=nn.Identity, depth=20, width=64):
    """Return an MLP; std is that of the weights, in units of He's."""
    network = nn.Sequential(nn.Flatten())
    for number in range(1, depth + 1):
        linear = nn.Linear(784 if number == 1 else width, 10 if number == depth else width)
        nn.init.normal_(linear.weight, std=std * (2 / linear.in_features) ** 0.5)
        network.add_module(f"layer{number:02}", linear)
        if number < depth:
            network.extend([norm(width), bend()])
    return network

kinds = {"sigmoid": (nn.Sigmoid, 1), "ReLU, large weights": (nn.ReLU, 2)}
kinds["ReLU and norm"] = (nn.ReLU, 1, nn.BatchNorm1d)

# %% alt="Gradient over weight for 20 layers, logarithmic: sigmoid rises steeply to the right, large weights lie far above, ReLU with norm is nearly level" tags=["nbval-ignore-output"]
some, truth = (tensor[:128].to(device) for tensor in digits.tensors())
figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for (name, how), marker in zip(kinds.items(), "osD", strict=True):
    set_seed(0)
    network = deep(*how).to(device)
    F.cross_entropy(network(some), truth).backward()
    ratios = gradient_ratios(network)
    ax.semilogy(range(1, 21), list(ratios.values()), marker=marker, markersize=4, label=name)
ax.set(xlabel="layer", ylabel="gradient / weight, norms", xticks=(1, 5, 10, 15, 20))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# Read from right to left, the way the message travels. Through sigmoids it *vanishes*: the first layers hear nothing,
# and no learning rate suits both ends. With weights that are too large it *explodes*: even a careful step would throw
# the weights far away. The third has neither trouble: nearly level, and gradients of about the size of the weights.
#
# The course's `gradient_flow` makes the same table, with a remark where something is missing. We freeze a layer, and
# let a second one play no part.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import gradient_flow

set_seed(0)
net = SimpleNet().to(device)
net.fc1.requires_grad_(False)
net.relu1.unused = nn.Linear(4, 4).to(device)
gradient_flow(net, (some, truth), F.cross_entropy)

# %% [markdown]
# No post for four addresses, and the reason beside each. Had somebody written zeros there, we would now search for
# vanishing gradients where there is only a missing line of code.

# %% [markdown]
# ## 9. Your own network, and large ones
#
# Nothing of this is made for small networks. With a connection to the internet, the next cell looks into
# torchvision's ResNet-18, trained on more than a million photographs. Without one, it looks into ours.

# %% alt="Sixteen feature maps of the last stage of a network, for one picture; some are dark, some have bright spots" tags=["nbval-ignore-output"]
from dl_course.files import DataUnavailable
from dl_course.models import pretrained

try:
    large, layer, side = pretrained("resnet18").to(device), "layer4", 224
    prepare = v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
except DataUnavailable:
    large, layer, side, prepare = model, "stage3", 64, normalize
picture = F.interpolate(pictures[4:5], side, mode="bilinear")
maps = activation_of(large, layer, prepare(picture).to(device))[0]
print(f"{type(large).__name__}, {layer}: {len(maps)} maps of {maps.shape[1]}×{maps.shape[2]}")
figure, ax = plt.subplots(figsize=(5.5, 1.6), layout="constrained")
_ = plots.feature_maps(maps, ax, limit=16)

# %% [markdown]
# Try it on photographs of your own. And an **optional exercise**, for a quiet hour: train `resnet18(num_classes=10,
# stem="cifar")` on CIFAR-10 with what chapter 04 has taught you, and draw Grad-CAM for its surest mistakes. Which
# layer do you take, and why? How large are its maps? Is there a class that it knows by its background? (Ships are
# seen on water. Are they known by it?)

# %% [markdown]
# ## 10. The layer explorer
#
# Now put it all under your fingers. Pick a picture, a layer and a view. (What you see on a web page is a still
# picture; in Jupyter it moves.)

# %% alt="What the explorer shows at first: sixteen feature maps of the stem, mostly dark, with bright outlines" tags=["nbval-ignore-output"]
from dl_course.widgets import LayerExplorer

explorer = LayerExplorer(model, shapes.subset(slice(12)), transform=normalize)
explorer

# %% [markdown]
# It takes any network and any pictures, of course your own, too. What it shows can also be had as a figure:

# %% alt="A picture of a shape, and beside it the same with the heat map of Grad-CAM laid over" tags=["nbval-ignore-output"]
explorer.show("stage2", view="gradcam", picture=4)

# %% [markdown]
# Three things to look for. In which layer does the clutter disappear? Which class comes second for a picture, and
# *where* does it find its evidence? Upload a drawing of your own: does it look where you would?

# %% [markdown]
# ## 11. The network as a graph
#
# Last, three tools that draw what is connected to what. **TensorBoard** has a tab *Graphs*: `add_graph` runs the
# network once and writes down the steps.

# %% tags=["nbval-ignore-output"]
import tempfile
import warnings
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

folder = Path(tempfile.mkdtemp())
with SummaryWriter(folder / "runs") as writer, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses the tracer, which PyTorch calls old
    writer.add_graph(model, inputs[:1].to(device))
print("tensorboard --logdir", folder / "runs")

# %% [markdown]
# Give that line to a terminal and open the tab *Graphs*. A double click on a box opens it.
#
# The second graph is the one that autograd walks back, from the result to the weights. It hangs on every result, as
# `grad_fn`, and can be followed by hand.

# %%
tiny = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
result = tiny(torch.ones(1, 2))

def walk(step, depth=0):
    weight = getattr(step, "variable", None)
    owner = [name for name, each in tiny.named_parameters() if each is weight]
    print("    " * depth + step.name().split(":")[-1], *owner)
    for earlier, _ in step.next_functions:
        if earlier is not None:
            walk(earlier, depth + 1)

walk(result.grad_fn)

# %% [markdown]
# Each line is a step of the chain rule, and what is indented below it comes next on the way back. `AccumulateGrad` is
# where a parameter's `grad` is filled. **torchviz** draws this graph (`pip install torchviz`; the picture needs the
# program Graphviz as well).

# %% tags=["nbval-ignore-output"]
import shutil
from importlib.util import find_spec

from IPython.display import display

if find_spec("torchviz") and shutil.which("dot"):
    from torchviz import make_dot

    display(make_dot(result, dict(tiny.named_parameters())))
else:
    print("For the picture, install torchviz and Graphviz.")

# %% [markdown]
# **Netron** opens *files*: a network that somebody sent you, without its code. We save ours as PyTorch exports it,
# and count the operations in it.

# %% tags=["nbval-ignore-output"]
program = torch.export.export(model, (inputs[:1].clone().to(device),))
torch.export.save(program, folder / "tinyresnet.pt2")
print("netron", folder / "tinyresnet.pt2")
operations = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
pd.Series(operations, name="operations").value_counts().head(6)

# %% [markdown]
# Do you see `relu_`? The underscore says "in place": here is the culprit of section 2, once more. After `pip install
# netron`, that line in a terminal opens the file in the browser: every box a step, every arrow a tensor with its
# shape. The site netron.app does the same without installing anything, and the file stays on your machine.

# %% [markdown]
# ## Summary
#
# - A hook that keeps tensors must copy them, and must be taken off, whatever happens.
# - Compare statistics of layers over many pictures, between a healthy network and a suspect.
# - Dead is a unit that is *never* active. Zeros are normal.
# - A missing gradient isn't a zero one. Look at gradients and updates relative to the weights.
#
# ## Check yourself

# %%
progress("05")

# %% [markdown]
# ## Further reading
#
# - Zeiler, Fergus: *Visualizing and Understanding Convolutional Networks*, ECCV 2014
# - Lu et al.: *Dying ReLU and Initialization*, 2019
# - PyTorch's documentation: *Module hooks*, *Autograd mechanics*; the documentation of Netron
