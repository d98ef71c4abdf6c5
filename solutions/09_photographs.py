# %% [markdown]
# # 09 · Photographs: start from a network that has seen a million of them
#
# Digits and drawn shapes are small worlds, made for learning. Photographs are not. Nobody has a million labelled ones
# to begin with, and nobody needs them: somebody else has trained on a million, and what that network knows can be
# carried over to your question. In this chapter you take such a network, find out what it knows and where it is wrong,
# and use it with five labels per class. You also meet the cases where it doesn't help.
#
# **You will be able to**
# - prepare pictures as a pretrained network expects them, and read its answers with the right amount of doubt
# - use its features: neighbours, maps, linear probes at any depth
# - fine-tune without ruining what the network knows, and say with an interval what it gained
# - notice when a test set has leaked into the training, and write a model card
#
# **Time:** 90 minutes. **You need:** chapters 01 to 05b. Everything here runs without a network and without CIFAR-10;
# where CIFAR-10 is on your machine, the parts that say so use it.

# %%
import time
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F

# %%
from IPython.display import display
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from dl_course import ask, check, data, hint, models, plots, progress, solution
from dl_course.files import DataUnavailable
from dl_course.runtime import pick_device, preserved_rng

sns.set_theme(style="white", palette="colorblind")
device = pick_device()

# %% [markdown]
# ## 1. A dozen photographs
#
# Packages that are installed anyway carry a few real photographs. Each has an author and a licence, and that belongs to
# a data set as much as its labels do. The last column says what ImageNet would call the picture. ImageNet is the
# collection, with 1,000 classes, that our network was trained on.

# %%
photos = data.load("photos")
photos.table()

# %% tags=["nbval-ignore-output"] alt="Twelve photographs: a cat's face, a cup of coffee, a rocket at night, a motorcycle, a man with a camera, an astronaut, a blurred clock, coins, the moon's surface, a pagoda, a dahlia, an admiral"
small = [models.fitted(picture, (3, 128, 128), crop=1.0) for picture, _ in photos]
_, ax = plt.subplots(figsize=(8, 6))
plots.image_grid(small, photos.classes, ax, columns=4)

# %% [markdown]
# No two have the same size, and networks want batches. Cutting a square out of the middle keeps proportions and loses
# the edges; squeezing keeps everything and changes proportions. Which one is right? The one that the network was trained
# with. That is why a network comes with its *preparation*.

# %%
net = models.pretrained("efficientnet_lite0").to(device)
net.preparation

# %% [markdown]
# The middle seven eighths, brought to 224×224 pixels, then normalized with the mean and standard deviation that its
# makers used. Forget one of the three and you get answers, only worse ones, and no error.

# %%
ask("09-prepared-shape")

# %%
batch = net.preparation(photos.images)
batch.shape, f"{sum(p.numel() for p in net.parameters()):,} parameters"

# %% [markdown]
# ## 2. What the network says
#
# It gives 1,000 logits per picture. A person wants names, and how sure the network is of them.
#
# **Exercise.** Write `top_classes`. The probabilities are those among *all* classes: the first three don't add up to 1.

# %% tags=["exercise"]
def top_classes(logits: Tensor, names: list[str], k: int = 3) -> list[tuple[str, float]]:
    """Return the k most probable classes of one picture, (name, probability), the best first.

    logits: (classes,)
    """
    ### BEGIN SOLUTION
    values, places = logits.softmax(0).topk(k)
    return [(names[place], value.item()) for place, value in zip(places, values, strict=True)]
    ### END SOLUTION

# %% tags=["check"]
check(top_classes)

# %%
ask("09-no-class")

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    logits = net(batch.to(device)).cpu()
answers = {
    name: ", ".join(f"{label} {p:.2f}" for label, p in top_classes(row, net.classes))
    for name, row in zip(photos.classes, logits, strict=True)
}
names = {name: source.imagenet for name, source in photos.sources.items()}
right = {name: ", ".join(labels) or "(no class)" for name, labels in names.items()}
pd.DataFrame({"the network says": answers, "would be right": right})

# %% [markdown]
# Read it row by row. For the cat it names three kinds of domestic cat, and together they hold most of the probability:
# the network is fairly sure that this is a cat and unsure of which kind, and a single "confidence" would hide that.
# Where ImageNet has no class for what is in the picture, the network still must spread 100 % over its 1,000 names. It
# can't say "none of these". Look at what it makes of the motorcycle, the coins and the moon: it names what comes
# nearest in shape or surface. And where a right name exists, as for the clock, blur is enough to miss it.
#
# *Where* does it look when it names them? Grad-CAM, from chapter 05b, works on any convolutional network.

# %% alt="Four photographs, the cat, the coffee, the cameraman and the astronaut, in gray under heat maps: warm on the fur beside the cat's nose, on the coffee in the cup, on the tripod's legs, and in the astronaut's picture beside the collar and at the helmet's edge" tags=["nbval-ignore-output"]
from dl_course.explain import gradcam

shown = [photos.classes.index(name) for name in ("cat", "coffee", "cameraman", "astronaut")]
maps = gradcam(net, batch[shown].to(device), "features.8")
cut = net.preparation
plain = [models.fitted(photos[number][0], cut.shape, cut.crop) for number in shown]
titles = [net.classes[logits[number].argmax()] for number in shown]
_, ax = plt.subplots(figsize=(9, 2.8))
plots.image_grid(plain, titles, ax, columns=4, heat=maps.cpu())

# %% [markdown]
# The maps are 7×7 numbers, blown up: they point to a region, not to an edge. And the layer explorer, with the cat in it:

# %% tags=["nbval-ignore-output"] alt="The layer explorer on the photograph of the cat: 64 of the 1,280 last feature maps, 7×7 each, most of them dark"
from dl_course.widgets import LayerExplorer

normalize = {"mean": net.preparation.mean, "std": net.preparation.std}
LayerExplorer(net.cpu(), plain, net.classes, transform=normalize)

# %% [markdown]
# ## 3. What it knows: features
#
# Cut the last layer off, and 1,280 numbers per picture remain. They were made to tell 1,000 classes apart, so they had
# to become a good description of pictures in general. Before we use them, we need a question that is not ImageNet's.
# With CIFAR-10 on your machine, that's the one; otherwise we take the drawn shapes of chapter 04. The next cell says
# which.

# %% tags=["nbval-ignore-output"]
def parts(name: str, sizes: tuple[int, int], seed: int = 0) -> list[data.Pictures]:
    """Return so many training and test pictures, drawn with a seed."""
    found = []
    for split, size in zip(("train", "test"), sizes, strict=True):
        pictures = data.load(name, split, download=False)
        chosen = np.random.default_rng(seed).permutation(len(pictures))[:size]
        found.append(pictures.subset(torch.from_numpy(chosen)))
    return found


try:
    train, test = parts("cifar10", (800, 400))
except DataUnavailable:
    train, test = parts("shapes", (800, 400))
print(f"This part runs on {train}")

# %% [markdown]
# (To have CIFAR-10, call `data.load("cifar10")` once with a network: 170 MB.)
#
# First look at the data, as always: balance, mean and standard deviation, duplicates.
#
# **Exercise.** Write `channel_statistics`. Two things go wrong here in silence: averaging the pictures' own standard
# deviations (which leaves out how pictures differ from each other), and measuring on the test pictures, too. What
# you normalize with is part of the training.

# %% tags=["exercise"]
def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (C,) both, of pictures in [0, 1].

    images: (N, C, H, W) uint8
    """
    ### BEGIN SOLUTION
    scaled = images.double() / 255
    mean = scaled.mean((0, 2, 3))
    variance = (scaled - mean.view(-1, 1, 1)).square().mean((0, 2, 3))
    return mean, variance.sqrt()
    ### END SOLUTION

# %% tags=["check"]
check(channel_statistics)

# %% tags=["nbval-ignore-output"]
mean, std = channel_statistics(train.images)
counts = train.labels.bincount().tolist()
print("pictures per class:", dict(zip(train.classes, counts, strict=True)))
pd.DataFrame({"mean": mean, "standard deviation": std}, index=["red", "green", "blue"]).round(3)

# %% [markdown]
# **Exercise.** Is a test picture also in the training set? CIFAR-10 as published has a few such pairs, and a network is
# then graded on what it has seen. Write `shared_pictures`, for copies that agree in every pixel.

# %% tags=["exercise"]
def shared_pictures(train: Tensor, test: Tensor) -> list[int]:
    """Return the indices of test pictures that stand in train as well, in rising order.

    train: (N, C, H, W) uint8 · test: (M, C, H, W) uint8
    """
    ### BEGIN SOLUTION
    known = {picture.numpy().tobytes() for picture in train}
    return [index for index, picture in enumerate(test) if picture.numpy().tobytes() in known]
    ### END SOLUTION

# %% tags=["check"]
check(shared_pictures)

# %% tags=["nbval-ignore-output"]
twice = shared_pictures(train.images, test.images)
print("test pictures that are in the training part as well:", twice)

# %% [markdown]
# Copies that were resized or saved again as JPEG hardly agree in any pixel. You can find those by their features, with
# what comes next. `models.features` runs the network over a loader, takes what a layer gives, averages maps over their
# positions, and keeps the result on the disk under a name made from pictures, weights and layer: run the cell again and
# it only reads.

# %% tags=["nbval-ignore-output"]
STAGES = ["features.1", "features.3", "features.5", "features.7", "pool"]
small_input = net.preparation.at(64)  # a fast one: all of the picture, at 64×64


def seen(pictures: data.Pictures, layers=STAGES, **options):
    """Return features of several layers and labels."""
    return models.features(net, data.loader(pictures, 25), layers, small_input, **options)


start = time.perf_counter()
train_features, train_labels = seen(train)
test_features, test_labels = seen(test)
print({name: tuple(each.shape) for name, each in train_features.items()})
print(f"{time.perf_counter() - start:.1f} s")

# %% [markdown]
# ### Neighbours
#
# If features describe what is in a picture, then pictures with similar features should show similar things. Similar
# means: pointing in the same direction, the *cosine*. The length of a feature vector counts for nothing then.
#
# **Exercise.** Write `nearest_pictures`.

# %% tags=["exercise"]
def nearest_pictures(query: Tensor, features: Tensor, k: int = 5) -> Tensor:
    """Return the indices (k,) of the rows of features, (N, D), most like the query, best first.

    query: (D,) · Similarity is the cosine of the angle between two vectors.
    """
    ### BEGIN SOLUTION
    similarity = F.normalize(features, dim=1) @ F.normalize(query, dim=0)
    return similarity.topk(k).indices
    ### END SOLUTION

# %% tags=["check"]
check(nearest_pictures)

# %% tags=["nbval-ignore-output"] alt="Four test pictures in the first column, and beside each the five training pictures nearest to it in the network's features, each under its class"
rows, titles = [], []
for index in range(4):
    near = nearest_pictures(test_features["pool"][index], train_features["pool"])
    rows += [test[index][0], *(train[i][0] for i in near.tolist())]
    titles += [f"? {test.classes[test.labels[index]]}"]
    titles += [train.classes[train.labels[i]] for i in near]
_, ax = plt.subplots(figsize=(8, 6))
plots.image_grid(rows, titles, ax, columns=6)

# %% [markdown]
# Count in your figure how often a neighbour has the class of the picture on the left. Nobody has trained anything for
# this question yet. Here are all test pictures at once, on two maps. PCA shows the two directions in which the features
# vary most. *t-SNE* bends the space until near neighbours lie side by side.

# %% tags=["nbval-ignore-output"] alt="Two scatter plots of test pictures, a marker and colour for each class: by the first two principal components and by t-SNE; on both, most classes overlap"
from sklearn.manifold import TSNE

seen_as = test_features["pool"].numpy()
maps = {"PCA": PCA(2, random_state=0), "t-SNE": TSNE(init="pca", random_state=0)}
names = [test.classes[label] for label in test.labels]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, (title, method) in zip(axes, maps.items(), strict=True):
    flat = method.fit_transform(seen_as)
    x, y = flat.T
    last = ax is axes[-1]
    sns.scatterplot(x=x, y=y, hue=names, style=names, ax=ax, s=22, legend=last)
    ax.set(title=title, xticks=[], yticks=[], xlabel="first axis", ylabel="second axis")
sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
sns.despine()

# %% [markdown]
# Two directions of 1,280 can't show much. t-SNE's islands are tempting, but their sizes and the gaps between them say
# little. Don't judge features by such a plot: measure.
#
# ### Which stage knows what
#
# A *linear probe* is a linear classifier on frozen features. If it succeeds, the information was there, in a form that
# one linear layer can read.

# %%
def probe(features: Tensor, labels: Tensor, more: Tensor, answers: Tensor) -> float:
    """Return the accuracy on more of a linear classifier that was fitted to features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    return model.fit(features.numpy(), labels.numpy()).score(more.numpy(), answers.numpy())


answers = train_labels, test_labels
depth = {
    name: probe(train_features[name], answers[0], test_features[name], answers[1])
    for name in STAGES
}
tiny = [models.fitted(part.tensors()[0], (3, 16, 16)).flatten(1) for part in (train, test)]
raw = probe(tiny[0], answers[0], tiny[1], answers[1])

# %% tags=["nbval-ignore-output"] alt="A line of test accuracy against the depth of the stage that a linear probe reads, with the raw pixels' accuracy as a dashed line"
fig, ax = plt.subplots(figsize=(6, 2.8))
ax.plot(list(depth), list(depth.values()), "o-")
ax.axhline(raw, ls="--", color="gray", label="pixels, 16×16")
ax.set(ylabel="test accuracy", xlabel="stage", ylim=(0, 1))
ax.legend(frameon=False)
sns.despine()

# %% tags=["nbval-ignore-output"]
error = 1.96 * np.sqrt(0.25 / len(test))
print({name: round(each, 3) for name, each in depth.items()}, "pixels:", round(raw, 3))
print(f"on {len(test)} test pictures, 95 % of luck lies within ±{error:.3f}")

# %% [markdown]
# Compare the steps with that interval before you name a best stage. The last one need not win: it has specialised in
# ImageNet's classes, and for a question that is quite different, an earlier stage can do better.
#
# ## 4. A test set that leaks
#
# `textures` has crops of eight surfaces. How do you split them? The usual way deals crops out at random. But crops of
# one surface overlap, so pieces of the test pictures have been in the training set. `textures-random` was split like
# that; in `textures`, training and test come from different places on each surface.

# %%
ask("09-random-split")

# %% alt="Eight crops of surfaces, one of each: brick, grass, gravel, lawn, moon, retina, stars, tissue" tags=["nbval-ignore-output"]
surfaces = data.load("textures")
firsts = [surfaces[200 * number][0] for number in range(8)]
_, ax = plt.subplots(figsize=(8, 1.6))
plots.image_grid(firsts, surfaces.classes, ax, columns=8)

# %% [markdown]
# **Exercise.** Write `split_by_place`: crops left of a border are for training, crops right of it for the test, and
# a crop that comes nearer to the border than the gap allows is left out.

# %% tags=["exercise"]
def split_by_place(lefts: Tensor, width: int, border: int, gap: int) -> tuple[Tensor, Tensor]:
    """Return two masks (N,): which crops are for training, and which for the test.

    lefts: (N,) the first column of each crop, which is width columns wide. A training crop
    ends before border, which is not in it; a test crop begins at border + gap or later.
    """
    ### BEGIN SOLUTION
    return lefts + width <= border, lefts >= border + gap
    ### END SOLUTION

# %% tags=["check"]
check(split_by_place)

# %% [markdown]
# How much does the random split flatter? Take a method that only remembers: it gives each test crop the label of the
# nearest training crop, pixel by pixel.

# %%
def remembered(name: str) -> float:
    """Return the accuracy of the nearest training crop, by its pixels."""
    crops = [data.load(name, part) for part in ("train", "test")]
    flat = [part.images[:, 0].flatten(1).float() for part in crops]
    nearest = torch.cdist(flat[1], flat[0]).argmin(1)
    return (crops[0].labels[nearest] == crops[1].labels).double().mean().item()


leak = {name: round(remembered(name), 2) for name in ("textures", "textures-random")}
leak

# %% [markdown]
# The same method, the same surfaces, the same number of crops; only the split differs. What the second number gains
# isn't knowledge of surfaces but memory of places. Report the first.
#
# ## 5. Transfer: three ways, few labels
#
# - **Frozen**: the network stays, a new head learns.
# - **Fine-tuned**: a new head learns at the full rate, and the upper stages move a little, too.
# - **From scratch**: a small network that has seen nothing.
#
# The new head first. How many numbers does it have to learn?

# %%
ask("09-head-parameters")

# %%
tuned = models.pretrained("efficientnet_lite0")
head = models.new_head(tuned, surfaces.classes)
head, tuned.get_submodule(head), sum(p.numel() for p in tuned.get_submodule(head).parameters())

# %% [markdown]
# Now freeze the rest. Setting `requires_grad` to False looks like enough, and it isn't: batch norm also keeps *running
# statistics*, and those are no parameters.

# %%
ask("09-frozen-statistics")

# %%
for name, parameter in tuned.named_parameters():
    parameter.requires_grad_(name.startswith(head))
before = tuned.features[0][1].running_mean.clone()
crops, labels = next(iter(data.loader(surfaces, 64, shuffle=True)))
with torch.no_grad():
    tuned.train()(small_input(crops))
moved = (tuned.features[0][1].running_mean - before).abs().max() > 1e-4
bool(moved), len(models.moving_statistics(tuned))

# %% [markdown]
# One batch in training mode, without a single optimizer step, and the statistics of all these norms have moved: the
# "frozen" network changes with every batch.
#
# **Exercise.** Write `head_step`, a training step of the head in which *nothing* else changes, statistics included.

# %% tags=["exercise"]
def head_step(
    model: nn.Module, head: str, images: Tensor, labels: Tensor, optimizer: torch.optim.SGD
) -> float:
    """Train the head for one step and return the loss before it; the rest stays as it is.

    head: the name of its layer · optimizer: of the head's parameters. The head runs in training
    mode, everything else in evaluation mode.
    """
    ### BEGIN SOLUTION
    model.eval()
    model.get_submodule(head).train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION

# %% tags=["check"]
check(head_step)

# %% [markdown]
# `models.freeze(model, *names)` does it once and for all: weights get no gradient, and norms keep their statistics even
# when somebody calls `model.train()`. `models.rates_by_depth` gives each stage a smaller rate, the further it is from
# the head. With both, fine-tuning is short:

# %%
def fine_tuned(pictures: data.Pictures, epochs: int = 6, rate: float = 3e-3) -> nn.Module:
    """Return the network with a new head and its upper stages trained on the pictures."""
    model = models.pretrained("efficientnet_lite0").to(device)
    models.new_head(model, pictures.classes)
    models.freeze(model, *(f"features.{stage}" for stage in range(6)))
    optimizer = torch.optim.AdamW(models.rates_by_depth(model, rate), weight_decay=0.01)
    return fitted_to(model, pictures, optimizer, epochs, small_input)

# %%
def fitted_to(model, pictures, optimizer, epochs, prepare) -> nn.Module:
    """Return the model, trained for some epochs in batches of 20."""
    for _ in range(epochs):
        for images, answers in data.loader(pictures, 20, shuffle=True):
            scores = model.train()(prepare(images).to(device))
            loss = F.cross_entropy(scores, answers.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model

# %%
def centred(images: Tensor) -> Tensor:
    """Return pictures of [0, 1] around zero."""
    return 4 * (images - 0.5)

# %%
def from_scratch(pictures: data.Pictures, epochs: int = 20) -> nn.Module:
    """Return a small network that has seen these pictures alone."""
    model = models.DigitNet(len(pictures.classes), in_channels=3, width=16)
    model.to(device, memory_format=torch.channels_last)  # quicker on a CPU
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    return fitted_to(model, pictures, optimizer, epochs, centred)


@torch.no_grad()
def accuracy(model: nn.Module, pictures: data.Pictures, prepare) -> float:
    """Return the share of pictures that the model names rightly."""
    images, answers = pictures.tensors()
    model.eval()
    found = [model(prepare(part).to(device)).argmax(1).cpu() for part in images.split(25)]
    return (torch.cat(found) == answers).double().mean().item()

# %% [markdown]
# Now the comparison, on `textures`, with 5 and 20 labels per class. Which labels you happen to have matters a lot when
# they are few, so every setting runs with three draws of labels (the same three for all methods), and the table gives
# the mean and a 95 % interval from Student's t. With three draws the interval is wide, as it should be.

# %%
def drawn(pictures: data.Pictures, each: int, seed: int) -> Tensor:
    """Return indices of so many pictures of every class."""
    order = np.random.default_rng(seed).permutation(len(pictures))
    labels = pictures.labels.numpy()[order]
    chosen = [order[labels == label][:each] for label in np.unique(labels)]
    return torch.from_numpy(np.concatenate(chosen))

# %% tags=["nbval-ignore-output"]
judged = data.load("textures", "test").subset(slice(None, None, 3))
judged_features, judged_labels = seen(judged, ["pool"])

# %%
def transfer(each: int, seed: int) -> Iterator[tuple[str, float]]:
    """Yield every method and its test accuracy with so many labels of each class."""
    few = surfaces.subset(drawn(surfaces, each, seed))
    own, labels = seen(few, ["pool"], progress=False)
    with preserved_rng(seed):
        yield "frozen", probe(own["pool"], labels, judged_features["pool"], judged_labels)
        yield "fine-tuned", accuracy(fine_tuned(few), judged, small_input)
        yield "from scratch", accuracy(from_scratch(few), judged, centred)

# %% tags=["nbval-ignore-output"]
from scipy import stats

SEEDS = 3
runs = [(each, seed) for each in (5, 20) for seed in range(SEEDS)]
results = [(run[0], *result) for run in runs for result in transfer(*run)]
found = pd.DataFrame(results, columns=["labels per class", "method", "accuracy"])
groups = found.groupby(["labels per class", "method"])["accuracy"]
half = stats.t.ppf(0.975, SEEDS - 1) * groups.std() / SEEDS**0.5
text = groups.mean().map("{:.2f}".format) + " ± " + half.map("{:.2f}".format)
text.unstack("method")

# %% tags=["nbval-ignore-output"] alt="Test accuracy against labels per class, five and twenty, for three methods, with points for each draw: frozen, fine-tuned and from scratch"
fig, ax = plt.subplots(figsize=(5.5, 3))
axis = {"x": "labels per class", "y": "accuracy", "hue": "method"}
sns.stripplot(found, **axis, dodge=True, size=7, ax=ax)
ax.axhline(1 / len(surfaces.classes), ls=":", color="gray")
ax.set_ylim(0, 1.02)
sns.move_legend(ax, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
sns.despine()

# %% [markdown]
# The dotted line is guessing. Read your table with its intervals: where two of them overlap widely, three draws don't say
# which method is better, and the cheaper one is the better choice. Frozen features cost one pass over the pictures.
#
# ### When it does not help
#
# Transfer pays where labels are few and the new pictures resemble the old. Now reverse both. The drawn shapes resemble
# no photograph, and there are thousands of labels: the course's own small network was trained on 4,000 of them. Beside
# it, probes on the large network's features, with 800.

# %% tags=["nbval-ignore-output"]
shape_train, shape_test = parts("shapes", (800, 400))
own, own_labels = seen(shape_train, ["features.5", "pool"])
other, truth = seen(shape_test, ["features.5", "pool"])
rows = {}
for name in own:
    score = probe(own[name], own_labels, other[name], truth)
    rows[f"Lite0's {name}, 800 labels"] = score
card = models.model_card("tinyresnet-shapes")
rows["TinyResNet, trained on 4,000"] = card["figures"]["test"]["accuracy"]
pd.Series(rows, name="test accuracy").round(3).to_frame()

# %% [markdown]
# The small network wins: it was trained for this question, with enough labels. A pretrained network is a starting
# point, not a rule. Always run the small one from scratch beside it.
#
# ## 6. A recipe, one change at a time
#
# Published recipes change ten things at once, and nobody knows which of them mattered. Build yours one change at a time,
# and measure what each buys, in accuracy *and* in seconds. Each line below keeps the changes above it. Without CIFAR-10
# the pictures are those of `textures`. On a graphics card the same cell takes more of them, for longer, and also tries
# half precision and `torch.compile`.

# %%
clock = time.process_time if device.type == "cpu" else time.perf_counter  # a CPU has other work
PICTURES, EPOCHS, BATCH = (400, 5, 40) if device.type == "cpu" else (20_000, 10, 500)
CHANGES = {
    "a constant rate": {},
    "one-cycle schedule": {"schedule": True},
    "channels last": {"channels_last": True},
    "mirrored": {"mirror": True},
    "smoothed labels": {"smoothing": 0.1},
    "twice the width": {"width": 32},
}
if device.type == "cuda":
    CHANGES |= {"half precision": {"half": True}, "compiled": {"compile": True}}

# %%
def trained_by(recipe: dict, pictures: data.Pictures, seed: int) -> nn.Module:
    """Return a small network, trained by a recipe."""
    with preserved_rng(seed):
        model = models.DigitNet(len(pictures.classes), 3, recipe.get("width", 16)).to(device)
        fast = torch.compile(model) if recipe.get("compile") else model
        layout = torch.channels_last if recipe.get("channels_last") else torch.contiguous_format
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
        loader = data.loader(pictures, BATCH, shuffle=True, seed=seed)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, EPOCHS * len(loader))
        for images, labels in (batch for _ in range(EPOCHS) for batch in loader):
            x = turned(images, recipe).to(device, memory_format=layout)
            with torch.autocast(device.type, torch.bfloat16, enabled="half" in recipe):
                scores = fast(x).float()
            step(optimizer, scores, labels.to(device), recipe, cycle)
    return model

# %%
def turned(images: Tensor, recipe: dict) -> Tensor:
    """Return pictures at 32×32, centred, half of them mirrored where the recipe says so."""
    x = 4 * (models.fitted(images, (3, 32, 32)) - 0.5)
    flip = torch.rand(len(x), 1, 1, 1) < (0.5 if recipe.get("mirror") else 0.0)
    return torch.where(flip, x.flip(3), x)

# %%
def step(optimizer, scores: Tensor, labels: Tensor, recipe: dict, cycle) -> None:
    """Take one step of the optimizer, and of the schedule where the recipe has one."""
    loss = F.cross_entropy(scores, labels, label_smoothing=recipe.get("smoothing", 0.0))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if recipe.get("schedule"):
        cycle.step()
    else:
        for group in optimizer.param_groups:
            group["lr"] = 0.05

# %% tags=["nbval-ignore-output"]
name = train.name if train.name == "cifar10" else "textures"
learn, judge = parts(name, (PICTURES, 400), seed=1)
recipe, lines = {}, {}
for name, change in CHANGES.items():
    recipe |= change
    start, scores = clock(), []
    for seed in range(2):
        model = trained_by(recipe, learn, seed)
        scores.append(accuracy(model, judge, lambda images: turned(images, {})))
    seconds = (clock() - start) / 2
    lines[name] = {"accuracy": np.mean(scores), "seeds differ by": np.ptp(scores)}
    lines[name]["seconds"] = seconds
print(learn)
pd.DataFrame(lines).T.round(3)

# %% [markdown]
# Look at the middle column before you praise a line: a gain smaller than the difference between two seeds isn't one
# yet. With so few pictures and epochs on a CPU, expect most lines to be like that. On all of CIFAR-10,
# `benchmarks/cifar10.py` in the course's repository does it for real: a small network whose first layer *whitens*
# patches, beside the classic ResNet-18.
#
# ## 7. A model card
#
# A network that you hand on needs its limits written down. Keep it to a page, with every number from a cell above.

# %% tags=["nbval-ignore-output"]
frozen = groups.mean()[20, "frozen"], half[20, "frozen"]
lines = {
    "what": "names eight surfaces in gray crops of 32×32 pixels",
    "made of": "EfficientNet-Lite0, trained on ImageNet, frozen; a head, 20 labels per class",
    "data": "textures, split by place: no crop of the test touches one of the training",
    "accuracy": f"{frozen[0]:.2f} ± {frozen[1]:.2f}, {SEEDS} draws, {len(judged)} crops",
    "not for": "surfaces that it hasn't seen: it names one of the eight whatever you show",
    "known to fail": "one photograph of each surface: another camera or light was never tested",
    "licences": "the photographs' own, see the data card; the weights: Apache-2.0",
}
with pd.option_context("display.max_colwidth", None):
    display(pd.Series(lines, name="model card").to_frame())

# %% [markdown]
# ## Summary
#
# - A pretrained network comes with a preparation. Use exactly that one.
# - It answers with one of its classes, whatever you show. Probabilities among the wrong names mean little.
# - Features plus a linear probe are the first thing to try, and often all you need.
# - Frozen means weights *and* statistics. Stages below the head learn more slowly than the head.
# - With few labels, results vary a lot: take several draws, give an interval, and use the same draws for every method.
# - Split by what makes pictures alike (a place, a person, a day), never only at random.
# - Run a small network from scratch beside it. Sometimes it wins.
#
# ## Check yourself

# %%
progress("09")

# %% [markdown]
# ## Further reading
#
# - Russakovsky et al.: *ImageNet Large Scale Visual Recognition Challenge*, IJCV 2015
# - Tan, Le: *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML 2019
# - Yosinski et al.: *How transferable are features in deep neural networks?*, NeurIPS 2014
# - Kornblith, Shlens, Le: *Do Better ImageNet Models Transfer Better?*, CVPR 2019
# - Howard, Ruder: *Universal Language Model Fine-tuning for Text Classification*, ACL 2018: rates by depth
# - Barz, Denzler: *Do We Train on Test Data? Purging CIFAR of Near-Duplicates*, Journal of Imaging 2020
# - Mitchell et al.: *Model Cards for Model Reporting*, FAT* 2019
