# %% [markdown]
# # 05 · Seeing inside
#
# A trained network is a few thousand numbers that nobody wrote down. It gives answers without reasons. Yet nothing in
# it is hidden: while it works, every number at every layer can be read. In this chapter you learn how to read them, and
# what healthy numbers look like.
#
# **You will be able to**
# - record what any layer of any network puts out, and leave the network as it was
# - judge from activations, weights and gradients whether a network is healthy
# - count dead units, and say which of them may come back
# - draw a network as a graph, in three ways
#
# **Time:** 75 to 90 minutes. **You need:** chapters 01 to 04. (Where a network looks is chapter 05b; how to debug with
# what you see here, chapter 05c.)

# %% [markdown]
# ## 1. A network that works
#
# Our guest is `TinyResNet`, which you know from chapter 03. The course brings it along trained, on `shapes`: ten kinds
# of shapes, each on a textured ground among strokes and dots.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import ask, check, hint, plots, progress, solution

look = {"figure.dpi": 80, "image.interpolation": "nearest"}
sns.set_theme(style="white", palette="colorblind", rc=look)

# %%
from dl_course.data import load
from dl_course.models import model_card, trained
from dl_course.runtime import pick_device, set_seed

device = pick_device()
model = trained("tinyresnet-shapes").to(device)
normalize = v2.Normalize(**model_card("tinyresnet-shapes")["normalize"])  # as in training

shapes = load("shapes", "test")
pictures, labels = shapes.tensors()  # (1000, 3, 64, 64), from 0 to 1
inputs = normalize(pictures)

# %% [markdown]
# How good is it? We show it pictures that it has never seen.

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
figure, ax = plt.subplots(figsize=(9, 1.5), layout="constrained")
_ = plots.image_grid(pictures[:8], names, ax, columns=8)

# %% [markdown]
# It works. But *how* does it know? Let's open it up. Every layer has a name, and the name is all we need to point at it.

# %%
for name, layer in model.named_children():
    inside = ", ".join(inner for inner, _ in layer.named_children())
    print(f"{name:<7} {type(layer).__name__:<11} {inside}")

# %% [markdown]
# A stem, three residual blocks, a mean over all places (`pool`), and a linear layer that gives ten scores. On the
# right are the layers inside. A dot joins the names: `stage1.conv2` is the second convolution of the first block. The
# layers of the stem have numbers for names. Which is which?

# %%
model.stem

# %% [markdown]
# ## 2. A window: hooks
#
# PyTorch lets us register a function on a layer. It is called every time the layer has run, with what went in and what
# came out. Such a function is a **hook**. Many tutorials do it like this. We hook the batch norm of the stem, `stem.1`.

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
# That was easy. Too easy? Let's not trust it. The stem is a plain chain, so we can compute the same thing by hand: the
# convolution, then the norm. One of its channels:

# %% alt="Two maps of one channel: the stored one has no negative values, the true one has many"
with torch.no_grad():
    truth = model.stem[1](model.stem[0](six))

figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
for ax, values, title in ((axes[0], stored, "what the hook stored"), (axes[1], truth, "truth")):
    drawn = ax.imshow(values[0, 2].cpu(), cmap="RdBu_r", vmin=-3, vmax=3)
    ax.set_title(f"{title}\nsmallest number {values.min().item():.1f}", fontsize=10)
    ax.axis("off")
_ = figure.colorbar(drawn, ax=axes, label="activation")

# %% [markdown]
# The hook has stored something else, without a single negative number. There was no error. What happened?
#
# Look at the stem's layers again. The next one, `stem.2`, is a ReLU that works **in place**: to save memory, it writes
# its result over its input. And its input is the very tensor that we kept, so now we hold the output of the *wrong
# layer*. (`output.detach()` wouldn't have helped: it is cut off from the graph, but *shares the memory* of the
# original.) The remedy is to keep a copy: `output.clone()`.
#
# (The bar along the top edge, in both maps, isn't in the picture. It comes from **zero padding**: beyond the border there
# are zeros, and this channel takes the step from zeros to the picture for an edge.)
#
# There is a second mistake. See what is registered on the layer after "running the cell again" twice.

# %%
ask("05-hooks-left")

# %%
for _ in range(2):
    model.stem[1].register_forward_hook(keep)
print(len(model.stem[1]._forward_hooks), "hooks")

# %% [markdown]
# A hook stays until it is removed. Every run adds one. From now on, each of them is called in every forward pass and
# keeps tensors alive. That's why `register_forward_hook` returns a *handle* with a method `remove()`, which must be
# called even if the network raises an error. We threw our handles away, so we have to use force.

# %%
model.stem[1]._forward_hooks.clear()
print(len(model.stem[1]._forward_hooks), "hooks")

# %% [markdown]
# A third mistake. There are hooks for the backward pass as well, and they promise the gradient at a layer. Here is one
# on ResNet-18.

# %% tags=["nbval-ignore-output"]
from dl_course.models import resnet18

network = resnet18().eval()
network.layer1[0].bn1.register_full_backward_hook(lambda module, given, output: None)
try:
    network(torch.rand(1, 3, 64, 64)).sum().backward()
except RuntimeError as error:
    print(f"{type(error).__name__}: {str(error).partition('. ')[0]}.")

# %% [markdown]
# The in-place ReLU again: this kind of hook and in-place layers exclude each other. What always works is to ask for the
# gradient of the *tensor* that the layer put out. You'll do that in chapter 05b.
#
# So, three rules. **Copy what you keep. Remove the hook, whatever happens. For gradients, ask tensors, not modules.**
#
# **Exercise.** Write `activation_of`. `model.get_submodule("stem.1")` finds a layer by its name. Return a copy that is
# cut off from the graph (`detach()`, then `clone()`). Leave no hook on the network, even if the network fails.

# %% tags=["exercise"]
def activation_of(model: nn.Module, layer: str, x: Tensor) -> Tensor:
    """Run model(x); return what the layer of that name put out, copied and detached.

    No hook stays on the model, not even after an error, which the caller gets to see.
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
# Does it tell the truth now, and does it leave nothing behind?

# %%
found = activation_of(model, "stem.1", six)
print("equal to the truth:", torch.equal(found, truth))
print("hooks left:", sum(len(layer._forward_hooks) for layer in model.modules()))

# %% [markdown]
# The course offers the same for many layers at once, as a context manager. `seen` holds a list for each layer, with one
# entry per call, because a network may use a layer twice. Before you run the cell: one picture is 3×64×64. What comes
# out of the stem?

# %%
ask("05-stem-shape")

# %%
from dl_course.hooks import capture

stages = ["stem", "stage1", "stage2", "stage3", "pool", "fc"]
with torch.no_grad(), capture(model, stages) as seen:
    model(six)
for name in stages:
    print(f"{name:<7} {tuple(seen[name][0].activation.shape)}")

# %% [markdown]
# In this network only the stem shrinks the maps: it halves them twice. The stages keep their size, and `stage1` doubles
# the number of channels. `pool` then gives up the "where" altogether and leaves one number per channel.

# %% [markdown]
# ## 3. Feature maps: what a layer sees
#
# A convolution puts out one map per channel. We draw the first eight maps of three layers, all from one picture. Going
# from top to bottom, what do you still recognise?

# %% alt="A picture, and eight feature maps each of stem, stage1 and stage3: sharp outlines at first, coarse patches at the end"
rows = [["picture", "stem"], ["picture", "stage1"], ["picture", "stage3"]]
size = {"figsize": (10, 4.6), "width_ratios": (1, 4), "layout": "constrained"}
figure, axes = plt.subplot_mosaic(rows, **size)
plots.image_grid(pictures[:1], ["the picture"], axes["picture"])
for layer in ("stem", "stage1", "stage3"):
    plots.feature_maps(seen[layer][0].activation[0], axes[layer], limit=8)
    axes[layer].set_title(layer, fontsize=10)

# %% [markdown]
# In the stem, the picture is still there: outlines, bright and dark sides, the texture. Towards the end, texture and
# clutter fade, and what remains lights up in a few places.
#
# Eight small maps say little about what a channel is *for*. A better question: which pictures excite it most? We ask
# that of the three channels of the last stage whose peaks vary most from picture to picture.

# %% alt="Three rows of seven pictures: each row the pictures that excite one channel of stage3 most" tags=["nbval-ignore-output"]
with torch.no_grad():
    parts = [activation_of(model, "stage3", part.to(device)) for part in inputs.split(250)]
peaks = torch.cat([part.amax((2, 3)) for part in parts]).cpu()  # (1000, 32)
liveliest = peaks.std(0).topk(3).indices
best = peaks[:, liveliest].topk(7, dim=0).indices.T  # (3, 7): each channel's favourites
titles = [shapes.classes[label] for label in labels[best.flatten()]]
figure, ax = plt.subplots(figsize=(9, 4.8), layout="constrained")
plots.image_grid(pictures[best.flatten()], titles, ax, columns=7)
_ = ax.set_title(f"channels {liveliest.tolist()}, from top to bottom", fontsize=10)

# %% [markdown]
# Within a row, colours and grounds vary; what repeats is a form. In two rows all favourites belong to one class. In the
# third, stars and hearts mix, perhaps because both have a sharp tip. Nobody assigned these jobs.

# %% [markdown]
# ## 4. Kernels: what a layer looks for
#
# The weights themselves can be drawn, too. The kernels of the first convolution see red, green and blue, so each is a
# tiny picture. A kernel whose three colours agree is grey: it compares light with dark. One whose colours differ
# compares colours. We sort the kernels by that, for a network that has learned nothing yet and for ours.

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
figure, axes = plt.subplots(1, 2, figsize=(10, 2.5), layout="constrained")
for ax, (name, network) in zip(axes, both.items(), strict=True):
    kernels, share = by_greyness(network)
    plots.kernels(kernels, ax=ax).set_title(f"{name}: {share[0]:.0%} to {share[-1]:.0%} grey")

# %% [markdown]
# Before training, the kernels are noise. Training has drawn them apart: at one end are kernels with almost no grey, which
# compare colours; at the other, kernels that are mostly grey. With three by three pixels there isn't much more to read.
# What about a real network? This is the first convolution of EfficientNet-Lite0, trained on more than a million
# photographs.

# %% alt="Thirty-two kernels of 3 by 3 coloured pixels: some with a light and a dark side, in green and purple; others mostly one colour, blue, red, green, violet or orange" tags=["nbval-ignore-output"]
from dl_course.models import pretrained

lite = pretrained("efficientnet_lite0")
first = next(layer for layer in lite.modules() if isinstance(layer, nn.Conv2d)).weight.detach()
figure, ax = plt.subplots(figsize=(9, 4.6), layout="constrained")
_ = plots.kernels(first / first.abs().amax((1, 2, 3), keepdim=True), ax=ax)

# %% [markdown]
# Two kinds stand out: kernels with a light and a dark side, which respond to edges in several directions, and kernels of
# mostly one colour, which respond to patches of blue, red, green, violet or orange. Nobody designed them. But three by
# three pixels are hardly a picture here, either. (In networks with first kernels of seven or eleven pixels, such as ResNet
# and AlexNet, you'd see stripes in all directions and blobs of colour.)
#
# A kernel of a *deeper* layer has as many slices as the layer has input channels, far too many to be colours. One can
# draw them slice by slice: here is what the 32 kernels of `stage1.conv1` do with one input channel.

# %%
ask("05-deep-kernels")

# %% alt="Thirty-two 3 by 3 kernels in red and blue, on a common scale: some with strong weights, some nearly white, no pattern that could be named" tags=["nbval-ignore-output"]
deeper = model.stage1.conv1.weight  # (32, 16, 3, 3)
figure, ax = plt.subplots(figsize=(9, 4.4), layout="constrained")
_ = plots.kernels(deeper, channel=int(deeper.detach().abs().mean((0, 2, 3)).argmax()), ax=ax)

# %% [markdown]
# You see which kernels rely on this channel, and which ignore it. But a red square here has no meaning that we could
# name, unless we know what the input channel stands for. For deeper layers, the favourite pictures of section 3 tell
# you more.
#
# The last layer can be read again. Each row below is a class, each column a channel of `stage3`. Red means "this channel
# speaks for me", blue "against me".

# %% alt="A heat map of ten classes by 32 channels in red and blue, with few strong entries in each row"
figure, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
plots.weight_matrix(model.fc.weight, ax)
ax.set_yticks(range(10), shapes.classes)
_ = ax.set(xlabel="channel of stage3", ylabel="")

# %% [markdown]
# A class is a recipe of channels: some for it, some against. Keep that in mind: in chapter 05b it becomes a map.

# %% [markdown]
# ## 5. Activations: what is normal?
#
# One picture can mislead. So we measure a layer over *many*: the mean and the spread of each channel. Many pictures come
# in batches, and storing all activations would take gigabytes. So each batch is reduced to a few numbers as it passes.
#
# **Exercise.** Write `layer_statistics`. The last batch may be shorter than the others.

# %% tags=["exercise"]
def layer_statistics(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (C,) each, over all batches.

    batches: (N, C, H, W) each, where N may differ. The deviation divides by the count,
    not by the count − 1. Batches are reduced one by one, never joined.
    """
    ### BEGIN SOLUTION
    count, total, squares = 0, 0.0, 0.0
    for batch in batches:
        batch = batch.double()  # sums of squares lose digits in float32
        count += batch[:, 0].numel()
        total += batch.sum((0, 2, 3))
        squares += batch.square().sum((0, 2, 3))
    mean = total / count
    return mean, (squares / count - mean**2).clamp(min=0).sqrt()
    ### END SOLUTION

# %% tags=["check"]
check(layer_statistics)

# %% [markdown]
# The course's `activation_statistics` does this for any layers, one row each: mean, spread, smallest, largest, and the
# share of zeros. It stores no activations either.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import activation_statistics

layers = ["stem.0", "stem.1", "stem.2", "stage1", "stage2", "stage3", "fc"]
batches = inputs[:500].split(100)
healthy = activation_statistics(model, batches, layers)
healthy[["mean", "std", "min", "max", "zero"]].round(3)

# %% [markdown]
# After the norm (`stem.1`), the spread is about one. After a ReLU (`stem.2` and the stages) a large share is zero, and
# nothing is negative. All of that is as it should be.
#
# What is this good for? Suppose somebody forgot to normalise the pictures. No error, no warning. Compare.

# %% alt="Mean and spread of seven layers, twice: with normalised pictures wide, with raw ones narrow in every layer" tags=["nbval-ignore-output"]
raw = activation_statistics(model, pictures[:500].split(100), layers)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3), sharex=True, layout="constrained")
answers = {"normalised": predicted, "raw": predict(model, pictures)}
for ax, table, (name, answer) in zip(axes, (healthy, raw), answers.items(), strict=True):
    plots.means(table, ax)
    ax.set_title(f"{name}: {(answer == labels).float().mean():.0%} right", fontsize=10)

# %% [markdown]
# The network still answers as if nothing were wrong, and it does no better than guessing. But look at the bars: from the
# very first layer on, not one is as wide as it was. Compare statistics between training and use, and such a mistake
# shows at once.
#
# A mean and a spread aren't everything. Here are the distributions themselves. (Heights are roots of the counts, so that
# one tall bar doesn't hide the rest.)

# %% alt="Seven histograms, one below the other; those after a ReLU begin with a tall bar at zero" tags=["nbval-ignore-output"]
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
plots.histograms(healthy.histograms, ax, label="activation (cut off at both sides)")
_ = ax.set_xlim(-6, 8)

# %% [markdown]
# The tall bars at zero are what the ReLUs cut off. How much of that is healthy?

# %% [markdown]
# ## 6. Dead units
#
# A ReLU unit that puts out zero passes no gradient to its weights. If it is zero for *every* picture, its weights get no
# gradient at all: it is **dead**. To see some, we train a small network for digits twice, once with a sensible learning
# rate, once with one that is thirty times as high.

# %%
digits, unseen = load("digits"), load("digits", "test")

def train(model, learning_rate, epochs, after_step=lambda: None, optimizer=None):
    """Train on digits, with Adam; return the model, in eval mode, and its test accuracy."""
    given, truth = (tensor.to(device) for tensor in digits.tensors())
    optimizer = optimizer or torch.optim.Adam(model.to(device).parameters(), lr=learning_rate)
    model.train()
    for _ in range(epochs):
        for part in torch.randperm(len(truth)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(given[part]), truth[part]).backward()
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
# inside, and compare with a network that hasn't been trained. Each row is a picture, each column a unit of the first
# hidden layer.

# %% alt="Three heat maps of 30 pictures by 128 units: before training few columns are dark throughout, after it more, and with the large steps nearly all" tags=["nbval-ignore-output"]
given = digits.tensors()[0]
hidden = {name: activation_of(net, "relu1", given.to(device)) for name, net in networks.items()}
figure, axes = plt.subplots(3, 1, figsize=(9, 5.4), sharex=True, layout="constrained")
for ax, (name, values) in zip(axes, hidden.items(), strict=True):
    plots.unit_activations(values[:30], ax)
    ax.set_title(name, fontsize=10)
    ax.label_outer()

# %% [markdown]
# A speckled column is a unit at work: it responds to some pictures more, to others less. A column that is dark from top
# to bottom responds to none of these thirty. Before training there are a few. Training has added some, and the large steps
# have left little else: that network makes do with the few units that remain.
#
# How do we count them? Many tools take the share of zeros. But a healthy unit may well be zero most of the time! Dead
# means: **never** above zero, on no picture at all. For a convolution, a unit is a whole channel: it is alive if it
# responds anywhere on any picture.
#
# **Exercise.** Write `dead_share`. The batches may have different lengths, and come from linear layers (N, C) as well as
# from convolutions (N, C, H, W).

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
# Here are both measures, for these three networks and for the one that names shapes.

# %%
ask("05-zeros-or-dead")

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    stage = activation_of(model, "stage1", inputs[:500].to(device))
rows = {
    name: {"zeros": (y <= 0).float().mean().item(), "dead units": dead_share(y.split(100))}
    for name, y in {**hidden, "shapes network, stage1": stage}.items()
}
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# Compare the first row with the second. By the share of zeros, the small network has become *livelier* in training; yet
# it has many more dead units. And the last row: the shapes network has a large share of zeros and hardly a dead unit. Its
# channels are selective, not dead. If you mistake zeros for deaths, you treat the wrong patient.
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
# The curves never rise: every further picture can only show that a unit is alive. So measure on many pictures, or you
# count too many dead.
#
# Do the dead come back? "A dead unit gets no gradient, so it never learns again" is what one often reads. Let's measure
# it: for four learning rates and both hidden layers, we note after each of six epochs which units are dead, and count
# those that were dead at some point and alive later. Two seeds each, added up.

# %%
ask("05-back-from-the-dead")

# %%
def dead_now(net):
    """Return which units of relu1 and of relu2 are dead, on all training digits."""
    with torch.no_grad(), capture(net.eval(), ["relu1", "relu2"]) as seen:
        net(digits.tensors()[0].to(device))
    return {name: (calls[0].activation <= 0).all(0).cpu() for name, calls in seen.items()}

def follow(rate, seed, epochs=6):
    """Train; return which units of each layer were dead after each epoch, (epochs, units)."""
    set_seed(seed)
    net, found = SimpleNet(), []
    optimizer = torch.optim.Adam(net.to(device).parameters(), lr=rate)
    for _ in range(epochs):
        train(net, rate, epochs=1, optimizer=optimizer)
        found.append(dead_now(net))
    return {name: torch.stack([each[name] for each in found]) for name in found[0]}

# %% tags=["nbval-ignore-output"]
rows = []
for rate in (0.001, 0.003, 0.01, 0.03):
    runs = [follow(rate, seed) for seed in (0, 1)]
    for layer in ("relu1", "relu2"):
        ever = back = 0
        for dead in (run[layer] for run in runs):
            was = dead.int().cummax(0).values.bool()[:-1]  # dead at some point up to each epoch
            ever += was[-1].sum().item()
            back += (was & ~dead[1:]).any(0).sum().item()
        rows.append({"rate": rate, "layer": layer, "once dead": ever, "came back": back})
pd.DataFrame(rows).set_index(["layer", "rate"]).sort_index()

# %% [markdown]
# In the first layer, not one came back. In the second, some did, at every rate. The difference: the input of the first
# layer is the data, which doesn't change. The input of the second is what the first layer puts out, and that moves as
# long as the first layer learns. It can carry a silent unit back above zero. So a unit that is silent now isn't lost for
# good, unless its input is fixed.
#
# The course's `dead_units` counts the dead for every ReLU of a network, and beside them the *rare* ones, which are
# active in less than 1 % of their outputs: specialists perhaps, or units on their way out. (`active` is the share of
# all the layer's outputs that are above zero.)

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import dead_units

dead_units(networks["learning rate 0.03"], given.split(100))

# %% [markdown]
# ## 7. Weights, and how they move
#
# Training moves weights. If they move too little, nothing is learned; if they move too much, nothing is kept. A useful
# measure is relative: how large is the change in a step, compared with the weights? `WeightHistory` records it. Beside
# it, we note eight single weights of the last layer after every step.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import WeightHistory, weight_statistics

set_seed(0)
net = SimpleNet().to(device)
before, history, single = weight_statistics(net), WeightHistory(net), []

def record():
    history.record()
    single.append(net.fc3.weight.detach().flatten()[:640:80].tolist())

record()
_ = train(net, 0.001, epochs=3, after_step=record)

# %% alt="Left: relative update of each weight matrix over the steps of training, on a logarithmic scale, falling from a few percent to less than one percent. Right: eight single weights over the steps, some drift steadily, some turn back" tags=["nbval-ignore-output"]
table = history.table()
figure, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
plots.traces(table[table["layer"].str.endswith("weight")], "update", axes[0])
axes[0].set(yscale="log", ylabel="change / weights, norms")
axes[0].legend(loc="upper right", fontsize=8)
axes[1].plot(single)
axes[1].set(xlabel="step", ylabel="single weights of fc3")
sns.despine()

# %% [markdown]
# Left: large steps at first, then smaller ones. A rule of thumb says that about a thousandth of the weights' size per
# step is healthy; a small network in its first epochs, like ours, moves faster. A layer whose curve lies far below the
# others isn't learning, and one far above is being thrown about. Right: single weights drift, each in its own direction,
# and some turn back. Healthy weights neither stand still nor jump.
#
# How far have the weights come in total? Their distributions before and after:

# %% alt="Histograms of three weight matrices: boxes before training, wider bells after, the first layer's most of all" tags=["nbval-ignore-output"]
after = weight_statistics(net)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 2.8), sharex=True, layout="constrained")
for ax, table, title in ((axes[0], before, "before"), (axes[1], after, "after")):
    weights = {name: bars for name, bars in table.histograms.items() if "weight" in name}
    plots.histograms(weights, ax, label="weight")
    ax.locator_params(axis="x", nbins=5)
    ax.set_title(title)

# %% [markdown]
# PyTorch draws the first weights evenly from an interval: that's the boxes. Training has given them tails, most of all
# in the first layer. A histogram that hasn't changed at all belongs to a layer that hasn't learned; one that keeps
# spreading, to a training that is blowing up.

# %% [markdown]
# ## 8. Gradients: does the message arrive?
#
# The loss sends its message to the first layer through all the layers in between. In chapter 02 you met the vanishing
# gradient, in chapter 03 signals that vanished on the way forward. Now we measure gradients on a live network: for each
# weight matrix, the size of the gradient *relative to the weights*. Times the learning rate, that is how far a plain
# SGD step moves them.
#
# There is a trap. A parameter may have *no* gradient, because it is frozen or because nothing leads to it. Then `grad` is
# `None`, which isn't zero. Zero says "the message arrived, and it was empty". `None` says "no message was sent to this
# address".
#
# **Exercise.** Write `gradient_ratios`. `backward()` has already been called. Take the parameters with two axes or more;
# biases and norms start at 0 or 1, so their ratios mean something else.

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
# Four networks of twenty layers: one with sigmoids, three with ReLUs. Of these, one has weights twice as large as He's
# initialisation would make them, one has He's, and one has He's and a batch norm after each layer.

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

kinds = {"ReLU, twice He's weights": (nn.ReLU, 2), "ReLU, He's weights": (nn.ReLU, 1)}
kinds |= {"He's weights, batch norm": (nn.ReLU, 1, nn.BatchNorm1d), "sigmoid": (nn.Sigmoid, 1)}

# %%
ask("05-twice-he")

# %% alt="Gradient over weight for 20 layers, logarithmic. Twice He's weights: level, near 10,000 to 100,000. He's weights: level, between 0.03 and 0.14. Batch norm: falls from 6 to 0.05 towards the last layer. Sigmoid: rises over nine orders of magnitude towards the last layer" tags=["nbval-ignore-output"]
some, truth = (tensor[:128].to(device) for tensor in digits.tensors())
figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
for (name, how), marker in zip(kinds.items(), "osD^", strict=True):
    set_seed(0)
    network = deep(*how).to(device)
    loss = F.cross_entropy(network(some), truth)
    loss.backward()
    ratios = list(gradient_ratios(network).values())
    label = f"{name} (loss {loss.item():,.1f})"
    ax.semilogy(range(1, 21), ratios, marker=marker, markersize=4, label=label)
ax.set(xlabel="layer", ylabel="gradient / weight, norms", xticks=(1, 5, 10, 15, 20))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# Read from right to left, the way the message travels.
#
# - Through **sigmoids** it *vanishes*: the first layers get a billionth of what the last one gets, and no learning rate
#   suits both ends.
# - With **twice He's weights**, all layers get about the same, and far too much: a step of SGD with a rate of 0.001 would
#   move every matrix by tens of times its own size. It is level because a matrix's gradient is a product: activations
#   double on the way forward, errors double on the way back, and at each depth the product has doubled about as often.
# - With **He's weights**, all layers get about the same, and a moderate amount.
# - With **batch norm**, early layers get more than late ones. The differences are mild compared with the sigmoids', and
#   the norms keep activations in order whatever the scale of the weights. That's what they are for.
#
# Whether training works depends on both: is it level, and is it of a sensible size?
#
# The course's `gradient_flow` makes the same table, with a remark where something is missing. We freeze one layer, and
# add another that is never called.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import gradient_flow

set_seed(0)
net = SimpleNet().to(device)
net.fc1.requires_grad_(False)
net.relu1.unused = nn.Linear(4, 4).to(device)
gradient_flow(net, (some, truth), F.cross_entropy)

# %% [markdown]
# Four parameters got no message, and the remark says why: `frozen`, or `none` where nothing leads from the parameter to
# the loss. Had there been zeros instead, we would now be hunting for vanishing gradients where there is only a frozen
# layer and one that is never called.

# %% [markdown]
# ## 9. The layer explorer
#
# Now try all of it yourself. Pick a picture, a layer and a view. (On a web page you see a still picture; in Jupyter it
# responds.)

# %% alt="What the explorer shows at first: sixteen feature maps of the stem, mostly dark, with bright outlines" tags=["nbval-ignore-output"]
from dl_course.widgets import LayerExplorer

explorer = LayerExplorer(model, shapes.subset(slice(12)), transform=normalize)
explorer

# %% [markdown]
# It takes any network and any pictures, including your own. What it shows can also be had as a figure:

# %% alt="A picture of a shape, and beside it the same with the heat map of Grad-CAM laid over" tags=["nbval-ignore-output"]
explorer.show("stage2", view="gradcam", picture=4)

# %% [markdown]
# Three things to look for. In which layer does the clutter disappear? Which class comes second for a picture, and *where*
# is the evidence for it? (That view is Grad-CAM, which you'll build in chapter 05b.) Upload a drawing of your own: does
# the network look where you would?

# %% [markdown]
# ## 10. The network as a graph
#
# Finally, three tools that draw what is connected to what. **TensorBoard** has a tab *Graphs*: `add_graph` runs the network
# once and records the steps.

# %% tags=["nbval-ignore-output"]
import tempfile
import warnings
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

folder = Path(tempfile.mkdtemp())
with SummaryWriter(folder / "runs") as writer, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses the tracer, which is deprecated
    writer.add_graph(model, inputs[:1].to(device))
print("tensorboard --logdir", folder / "runs")

# %% [markdown]
# Type that line into a terminal and open the tab *Graphs*. A double click opens a box.
#
# The second graph is the one that autograd walks backwards, from the result to the weights. Every result that depends
# on a parameter holds it, as `grad_fn`, and you can follow it by hand.

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
# Each line is a step of the chain rule; what is indented below it comes next on the way back. (`Addmm` is a matrix
# product plus a bias, `T` the transposed weights.) `AccumulateGrad` is where a parameter's `grad` is filled.
# **torchviz** draws this graph. (`pip install torchviz`, and the program Graphviz: `apt install graphviz`, `brew
# install graphviz`, or from graphviz.org.)

# %% alt="A graph from top to bottom: four boxes of weights and biases in blue lead through AccumulateGrad and the steps Addmm and Relu to the result in green" tags=["nbval-ignore-output"]
import shutil
from importlib.util import find_spec

from IPython.display import display

if find_spec("torchviz") and shutil.which("dot"):
    from torchviz import make_dot

    display(make_dot(result, dict(tiny.named_parameters())))
else:
    print("For the picture, install torchviz and Graphviz.")

# %% [markdown]
# The parameters are at the top, the result is at the bottom; the backward pass runs against the arrows.
#
# **Netron** opens *files*, such as a network that somebody sent you without its code. We save ours in PyTorch's export
# format and count the operations in it.

# %% tags=["nbval-ignore-output"]
program = torch.export.export(model, (inputs[:1].clone().to(device),))
torch.export.save(program, folder / "tinyresnet.pt2")
print("netron", folder / "tinyresnet.pt2")
operations = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
pd.Series(operations, name="operations").value_counts().head(6)

# %% [markdown]
# Do you see `relu_`? The underscore means "in place": the culprit of section 2 again. After `pip install netron`, that line
# in a terminal opens the file in the browser, where every box is a step and every arrow a tensor with its shape. The site
# netron.app does the same without installing anything, and the file stays on your machine.
#
# An **optional exercise**, for a quiet hour: train `resnet18(num_classes=10, stem="cifar")` on CIFAR-10 with what chapter
# 04 has taught you, and go through sections 3 to 8 with it. Which layer has the most dead channels? Which moves fastest?

# %% [markdown]
# ## Summary
#
# - A hook that keeps tensors must copy them, and must be removed, whatever happens.
# - Measure layers over many pictures, and compare the statistics of a healthy network with those of a suspect one.
# - A unit is dead if it is *never* active. Zeros are normal. With fixed inputs, the dead don't come back; deeper in, some do.
# - Judge updates and gradients relative to the weights. A missing gradient isn't a zero one.
# - Gradients should be about level over depth, *and* of a sensible size.
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
