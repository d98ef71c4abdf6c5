# %% [markdown]
# # 04 · Training: how a network learns, and how you can tell
#
# Chapter 03 hid its training in ten lines. Here we open them up. Training is where most of the time goes, and where
# most mistakes hide. Hardly any of them crashes; the numbers are only a little worse than they could be, and nothing
# tells you. So for every step this chapter asks two questions: what does it do, and how would I notice that it's wrong?
#
# **You will be able to**
# - look at data before a network does; read them from your own files, split, augment and load them reproducibly
# - write a training step, and an evaluation that measures what it claims to measure
# - choose an optimizer, a learning rate and a schedule, and tell overfitting from learning
# - handle rare classes, small memories and interrupted runs
#
# **Time:** about three hours with the exercises; the end of section 9 is a good place for a break.
# **You need:** chapters 01 to 03.

# %% [markdown]
# ## 1. Look at the data first
#
# Before you train, look. An hour spent on the data can save a week spent on the network.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from dl_course import ask, check, hint, progress, solution

sns.set_theme(style="white", palette="colorblind")

# %% [markdown]
# `describe` asks the questions that you should ask of any collection of pictures.

# %%
from dl_course.data import describe, load

digits, validation = load("digits"), load("digits", "val")
describe(digits)

# %% [markdown]
# Read it line by line. There is one size, so they fit into a batch. They range from 0 to 1, so nobody has mixed in
# bytes from 0 to 255. There are about as many of each class, so accuracy means what it seems to mean. No picture occurs
# twice. And there is nothing strange, which you shouldn't believe until you have looked.

# %% alt="Thirty handwritten digits in three rows, each with its label above it: all upright, most of them easy to read"
from dl_course.plots import image_grid

names = [digits.classes[label] for label in digits.labels[:30]]
_ = image_grid(digits.images[:30], names, columns=10)

# %% [markdown]
# Now a set with three faults of kinds that happen every day. One picture arrived as a negative. Another was divided by
# 255 once too often. And three were copied over others, as happens when two downloads are merged.

# %%
suspect = digits.subset(torch.arange(300))
suspect.images[17] = 255 - suspect.images[17]
suspect.images[41] = suspect.images[41] // 255
suspect.images[200:203] = suspect.images[100:103]

found = describe(suspect)
print("twice:  ", found.duplicates)
print("strange:", found.outliers)

# %% [markdown]
# All of them are found, by their numbers. Numbers say *where* to look; then look.

# %% alt="Pictures of the found samples: a bright negative, a black square, and three pairs of identical digits"
strange = [17, 41, *(index for pair in found.duplicates for index in pair)]
_ = image_grid(suspect.images[strange], list(map(str, strange)), columns=len(strange))

# %% [markdown]
# A copy does more harm than it seems. If one is in the training set and one in the validation set, the network is
# tested on a picture that it has been told the answer to. So check every split that you are given.

# %%
ask("04-shared")

# %%
def shared(a, b):
    """Return how many pictures of b are also in a, pixel by pixel."""
    known = {picture.numpy().tobytes() for picture in a.images}
    return sum(picture.numpy().tobytes() in known for picture in b.images)

shared(digits, validation), shared(suspect, digits)

# %% [markdown]
# The first number is as it should be. The second shows that the function finds what is there: the 300 pictures, except
# for the two that were damaged and the three that were overwritten.

# %% [markdown]
# ## 2. Your own pictures
#
# Your own pictures come as files. We write some into a folder that we throw away later, one subfolder per class.

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
for index in range(40):
    picture, label = digits[index]
    (folder / f"digit {label}").mkdir(exist_ok=True)
    v2.functional.to_pil_image(picture).save(folder / f"digit {label}" / f"{index}.png")
files = sorted(folder.glob("*/*.png"))
labels = [int(file.parent.name[-1]) for file in files]

# %% [markdown]
# To PyTorch, a **data set** is anything with two methods: `__len__` says how many samples there are, and
# `__getitem__(index)` returns one of them. You derive it from `torch.utils.data.Dataset`. A million pictures don't fit
# into memory, so a data set of files keeps only their *names*, and opens a file when it is asked for.
#
# **Exercise.** Write `PictureFiles`. `Image.open(file)` opens a picture, `.convert("L")` makes it grey, and
# `v2.functional.pil_to_tensor` turns it into a tensor of bytes.

# %% tags=["exercise"]
class PictureFiles(Dataset):
    """Grey pictures in files, each read when it is asked for.

    Item i is a pair: the picture, float32 (1, H, W) in [0, 1], and its label, an int.
    """

    def __init__(self, files: list[Path], labels: list[int]) -> None:
        ### BEGIN SOLUTION
        self.files = files
        self.labels = labels
        ### END SOLUTION

    def __len__(self) -> int:
        ### BEGIN SOLUTION
        return len(self.files)
        ### END SOLUTION

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        ### BEGIN SOLUTION
        with Image.open(self.files[index]) as picture:
            pixels = v2.functional.pil_to_tensor(picture.convert("L"))
        return pixels / 255, self.labels[index]
        ### END SOLUTION

# %% tags=["check"]
check(PictureFiles)

# %% [markdown]
# Everything else is done by a `DataLoader`. It chooses an order (`shuffle`), asks for the items one by one, and stacks
# them into batches (`collate_fn`; by default, `torch.stack` for pictures). With `num_workers=4`, four processes do this
# in advance, and `pin_memory=True` makes the copy to a graphics card faster.

# %%
own = PictureFiles(files, labels)
pictures, targets = next(iter(DataLoader(own, batch_size=8, shuffle=True)))
print(len(own), "pictures; a batch:", tuple(pictures.shape), tuple(targets.shape))

# %% [markdown]
# Stacking needs equal sizes. With pictures of several sizes the loader stops, and you tell it what to do: transform
# every picture to one size, or collate in your own way.

# %%
uneven = [(torch.zeros(1, 28, 28 + extra), extra) for extra in range(3)]
try:
    next(iter(DataLoader(uneven, batch_size=3)))
except RuntimeError as error:
    print(str(error).partition(", but")[0])

def padded(items):
    width = max(picture.shape[2] for picture, _ in items)
    pictures = [F.pad(picture, (0, width - picture.shape[2])) for picture, _ in items]
    return torch.stack(pictures), torch.tensor([label for _, label in items])

print(next(iter(DataLoader(uneven, batch_size=3, collate_fn=padded)))[0].shape)

# %% [markdown]
# The course has both common layouts ready: `folder_per_class` for folders like ours, and `CSVImageDataset` for a table
# of file names and labels, which may have other columns too. What if a file is missing? You want to know it now, with
# its row, and not in the middle of the night in epoch 3.

# %%
from dl_course.data import CSVImageDataset, folder_per_class

print(folder_per_class(folder, mode="L").classes[:3], "…")
table = pd.DataFrame({"file": [f"{file.parent.name}/{file.name}" for file in files]})
table["label"] = labels
table.to_csv(folder / "labels.csv", index=False)

files[1].unlink()
try:
    CSVImageDataset(folder / "labels.csv", mode="L")
except ValueError as error:
    print(str(error).replace(f"{folder}/", ""))

# %% [markdown]
# ## 3. Split once, and write it down
#
# Part of the data is kept from the network, to see what it does with pictures that are new to it. Which part? A random
# one, of course. But chance can be unkind to rare classes. Here are the labels of `shapes-imbalanced`, where the
# commonest class has fifty times as many pictures as the rarest. A tenth is set aside, in two ways.

# %%
from dl_course.data import load_splits, save_splits, stratified_split

imbalanced = load("shapes-imbalanced")
labels = imbalanced.labels
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(4))
chance = order[: len(labels) // 10]
learn, keep = stratified_split(labels, (0.9, 0.1))
parts = {"all": labels, "at random": labels[chance], "stratified": labels[keep]}
rows = {name: torch.bincount(part, minlength=10).tolist() for name, part in parts.items()}
pd.DataFrame(rows, index=imbalanced.classes).T

# %% [markdown]
# **Stratified** means: a tenth of *every* class. At random, a rare class gets more or less than its share, and one day
# none at all.
#
# And write the split down. Tomorrow's run has to be judged on the same pictures as today's, even if somebody has added
# new ones or changed the seed.

# %%
save_splits(folder / "split.json", {"train": learn, "val": keep})
again = load_splits(folder / "split.json", size=len(labels))
print("the same:", torch.equal(again["val"], keep))

save_splits(folder / "leaky.json", {"train": learn, "val": learn[:3]})
try:
    load_splits(folder / "leaky.json", size=len(labels))
except ValueError as error:
    print(str(error).replace(f"{folder}/", ""))

# %% [markdown]
# ## 4. Augmentation: more from the same pictures
#
# A digit that is turned a little is still that digit, and for the network it is a new picture. **Augmentation** changes
# each picture at random every time it is used. The course keeps *policies* by name; all are made of torchvision's
# transforms (*trivial* is TrivialAugment: one random change of random strength). Look at each row, and ask yourself one
# question: *would a person still give it the same label?*

# %% alt="Five rows, one for each policy: a 6 and an arrow, each as it was and in three altered copies: turned, mirrored and shifted, partly blotted out, recoloured, and strongly distorted"
from dl_course.data import TRANSFORMS
from dl_course.runtime import set_seed

set_seed(0)
shapes = load("shapes")
six = digits.images[digits.labels == 6][17] / 255
six = v2.functional.resize(six, [64, 64])
arrow = shapes.images[shapes.labels == shapes.classes.index("arrow")][3] / 255
pictures, titles = [], []
for policy in ("wobble", "flip-shift", "erase", "color", "trivial"):
    for picture in (six, arrow):
        pictures += [picture, *(TRANSFORMS.build(policy)(picture) for _ in range(3))]
        titles += [policy, "", "", ""]
figure, ax = plt.subplots(figsize=(9, 6.4), layout="constrained")
_ = image_grid(pictures, titles, ax, columns=8)

# %% [markdown]
# A mirrored arrow is still an arrow. A mirrored 6 isn't a 6, and training on it teaches nonsense. New colours do no
# harm to a shape; if the question were "which bird is it?", they would. No policy is good or bad in itself. It is
# *reasonable* for a question, or it isn't.
#
# One rule: augment what you learn from, not what you judge by. A validation figure over randomly altered pictures is
# itself random, and answers another question. (There is a method that alters test pictures on purpose, *test-time
# augmentation*: it averages the answers to several altered copies. That is a way to predict, not to measure; section 13
# tries it out.)

# %% [markdown]
# ## 5. A loader: fast, and reproducible
#
# The **loader** cuts the data into batches, in a new order every epoch. It should be possible to repeat a run. So the
# order has to depend on a seed and on the epoch, and on nothing else. The course's `loader` guarantees that.

# %%
from dl_course.data import loader

def first_labels(batches):
    return next(iter(batches))[1][:12].tolist()

one, other = (loader(digits, 64, shuffle=True, seed=1) for _ in range(2))
print("epoch 0:   ", first_labels(one))
print("once more: ", first_labels(other))
print("epoch 1:   ", first_labels(one))

# %% [markdown]
# The same seed gives the same order, and every epoch has its own. For augmented pictures we ask for more: each
# *picture* must come out the same, too, no matter how many worker processes share the work. (A plain `DataLoader` fails
# here: its random numbers depend on which worker got which batch.)

# %%
augmented = load("digits", transform="wobble").subset(torch.arange(96))
alone, shared_out = (loader(augmented, 32, shuffle=True, num_workers=n) for n in (0, 2))
pairs = zip(alone, shared_out, strict=True)
print("the same pictures:", all(torch.equal(a[0], b[0]) for a, b in pairs))
del shared_out, pairs  # and with them the two processes

# %% [markdown]
# Is it fast? A plain `DataLoader` fetches pictures one at a time. Ours does too, where it must. But if the pictures are
# in memory, it takes each batch as one slice.

# %% tags=["nbval-ignore-output"]
from time import perf_counter

def seconds(batches):
    start = perf_counter()
    for _ in batches:
        pass
    return perf_counter() - start

each = DataLoader(digits, 64, shuffle=True)
sliced = loader(digits, 64, shuffle=True)
times = [(seconds(each), seconds(sliced)) for _ in range(5)]
ratio = np.median([slow / fast for slow, fast in times])
print(f"an epoch of slices is {ratio:.0f} times as fast as one of single pictures")

# %% [markdown]
# For large networks this hardly matters. For small ones, loading can take longer than learning. Measure before you
# blame the network.

# %% [markdown]
# ## 6. One step of training
#
# Now the loop. Its heart is a step that you know from chapter 02, where you derived each gradient yourself. PyTorch
# finds them for you. What is left is the order:
#
# 1. put the model into training mode, because some layers behave differently there
# 2. forward: compute the logits, and from them the loss
# 3. clear the gradients of the previous batch: set them to zero
# 4. backward: every parameter gets its gradient
# 5. let the optimizer move every parameter
#
# Which layers know a mode? Batch norm, as chapter 03 showed, and **dropout**. In training, dropout sets a random share
# $p$ of its inputs to zero, so that no unit can rely on any other. In evaluation it does nothing. So that the next
# layer gets inputs of the same size in both modes, the survivors are multiplied by something in training. By what?

# %%
ask("04-dropout-scale")

# %%
set_seed(0)
dropout, ones = nn.Dropout(p=0.5), torch.ones(8)
print("training:  ", dropout(ones))
print("evaluation:", dropout.eval()(ones))
print(f"mean of many in training: {dropout.train()(torch.ones(100_000)).mean():.2f}")

# %% [markdown]
# **Exercise.** Write `train_step`. It returns the loss as a plain number. A loss *tensor* remembers how it was
# computed, with all layers' outputs; collect such tensors in a list, and they fill up the memory.

# %% tags=["exercise"]
def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> float:
    """Take a step on the cross-entropy, in training mode; return the loss from before it."""
    ### BEGIN SOLUTION
    model.train()
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION

# %% tags=["check"]
check(train_step)

# %% [markdown]
# That is all you need for a first training. The network is the `SimpleCNN` of chapter 03.

# %%
from dl_course.models import SimpleCNN
from dl_course.runtime import pick_device

device = pick_device()

def new_model(seed=0, **options):
    set_seed(seed)
    return SimpleCNN(**({"width": 8} | options)).to(device)

def on_device(batches):
    return ((x.to(device), y.to(device)) for x, y in batches)

# %%
def losses_of(model, optimizer, epochs):
    batches = loader(digits, 64, shuffle=True)
    steps = (batch for _ in range(epochs) for batch in on_device(batches))
    return [train_step(model, optimizer, x, y) for x, y in steps]

# %% tags=["nbval-ignore-output"] alt="Loss over 100 steps of one training: it falls quickly from above 2, then slowly and with small jumps, to about 0.1"
model = new_model()
losses = losses_of(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), epochs=5)
figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
ax.plot(losses)
ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
sns.despine()
print(f"first step {losses[0]:.2f}, mean of the last twenty {np.mean(losses[-20:]):.2f}")

# %% [markdown]
# It starts not far from $\ln 10 \approx 2.3$, the loss of guessing among ten classes, and falls quickly, then slowly.
# It jumps a little because every step sees another batch. That is what a healthy training looks like.
#
# Why must gradients be cleared? Because `backward()` *adds* to what is there.

# %%
ask("04-zero-grad")

# %% tags=["nbval-ignore-output"] alt="Loss over steps of two trainings: the ordinary one falls, the one without zero_grad stays high"
figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
for name, style in (("as it should be", "-"), ("without zero_grad", ":")):
    model = new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    if name != "as it should be":
        optimizer.zero_grad = lambda: None  # does nothing
    ax.plot(losses_of(model, optimizer, epochs=3), style, label=name)
ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
ax.legend()
sns.despine()

# %% [markdown]
# It doesn't crash, and says nothing. You would blame the data, or the network, or the learning rate. That is what makes
# it such an insidious bug.

# %% [markdown]
# ## 7. An evaluation that measures what it claims to
#
# After every epoch we ask: how good is the network on pictures that it doesn't learn from? Five things can go wrong
# here, and all of them are silent. First: batch norm and dropout have to know that this isn't training. Below, the same
# trained network is shown the same pictures in both modes, in batches of several sizes.

# %%
ask("04-batches-of-two")

# %%
model, train_loader = new_model(), loader(digits, 64, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for rate in (0.01, 0.01, 0.01, 0.001):  # section 12 says why the last one is smaller
    optimizer.param_groups[0]["lr"] = rate  # the optimizer stays, with its running averages
    for x, y in on_device(train_loader):
        train_step(model, optimizer, x, y)

# %% tags=["nbval-ignore-output"]
from dl_course.hooks import preserved

@torch.no_grad()
def accuracy(size, training):
    with preserved(model):  # which puts modes and running averages back
        model.train(training)
        batches = on_device(loader(validation, size))
        hits = sum((model(x).argmax(1) == y).sum().item() for x, y in batches)
    return f"{hits / len(validation):.1%}"

sizes = (180, 20, 4, 2)
rows = {"eval mode": [accuracy(size, training=False) for size in sizes]}
rows["training mode"] = [accuracy(size, training=True) for size in sizes]
pd.DataFrame(rows, index=[f"in batches of {size}" for size in sizes])

# %% [markdown]
# In eval mode the answer doesn't depend on the batch. In training mode it does: batch norm compares a picture with the
# others in its batch, and a few pictures give poor statistics. Without `preserved`, the network would even have updated
# its running averages from the very pictures that judge it.
#
# Second: the last batch is often smaller. If you average the batches' losses, its few samples count as much as a whole
# batch of others. The next cell evaluates the same network on the same pictures, in batches of several sizes.

# %% tags=["nbval-ignore-output"]
model.eval()
rows = {}
for size in (180, 100, 64, 50, 25, 7):
    with torch.no_grad():
        batches = [(model(x), y) for x, y in on_device(loader(validation, size))]
    losses = [F.cross_entropy(logits, y).item() for logits, y in batches]
    sizes = [len(y) for _, y in batches]
    figures = np.mean(losses), np.average(losses, weights=sizes)
    rows[f"batches of {size}"] = [sizes[-1], *(f"{figure:.4f}" for figure in figures)]
columns = ["pictures in the last", "mean of the means", "mean of all samples"]
pd.DataFrame(rows, index=columns).T

# %% [markdown]
# The mean of the means depends on the batch size. It is off where the last batch is smaller, in some rows more than in
# others. The mean of all samples stays the same: only that is the loss on the validation set.
#
# Third: without `torch.no_grad()`, PyTorch keeps every layer's output for a backward pass that never comes. Fourth: if
# you switch to eval mode and forget to switch back, the next epoch runs without dropout. And fifth, the opposite:
# `model.train()` switches *every* layer to training mode, even a batch norm that somebody had put into eval mode on
# purpose, to freeze its statistics. So remember the mode of each module, and give it back.

# %%
frozen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
frozen[1].eval()  # on purpose
was = frozen.training
frozen.eval()  # … evaluate here …
frozen.train(was)
print("still frozen:", not frozen[1].training)

# %% [markdown]
# **Exercise.** Write `evaluate`, with none of the five faults. Leave every module (`model.modules()` lists them all) in
# the mode in which it came: it is its attribute `training`.

# %% tags=["exercise"]
def evaluate(model: nn.Module, batches) -> tuple[float, float]:
    """Return (loss, accuracy) over all samples: the mean cross-entropy, and the share correct.

    batches: gives (images, labels); the last one may be smaller.
    """
    ### BEGIN SOLUTION
    modes = [(module, module.training) for module in model.modules()]
    loss, hits, count = 0.0, 0, 0
    model.eval()
    with torch.no_grad():
        for images, labels in batches:
            logits = model(images)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            hits += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
    for module, mode in modes:
        module.training = mode
    return loss / count, hits / count
    ### END SOLUTION

# %% tags=["check"]
check(evaluate)

# %% [markdown]
# A step and an evaluation make a training. Here it is, complete.

# %% tags=["nbval-ignore-output"]
model, train_loader = new_model(width=16), loader(digits, 16, shuffle=True)
val_loader = loader(validation, 64)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
rows = []
for epoch in range(1, 4):
    losses, sizes = [], []
    for x, y in on_device(train_loader):
        losses.append(train_step(model, optimizer, x, y))
        sizes.append(len(y))
    train_loss = np.average(losses, weights=sizes)
    rows.append([epoch, train_loss, *evaluate(model, on_device(val_loader))])
by_hand = pd.DataFrame(rows, columns=["epoch", "train_loss", "val_loss", "val_accuracy"])
by_hand.round(3)

# %% [markdown]
# The network learns. The two losses aren't measured at the same moment: the training loss is a mean over the epoch,
# while the network was still changing, and the validation loss is taken at its end. On the other hand, eval mode uses
# batch norm's running averages, and those lag behind. Early on, either of the two can be the lower one.

# %% [markdown]
# ## 8. The first test of any network: one batch
#
# Before you train for an hour, train for a second. Take a single batch, and show it to the network again and again. It
# must learn it by heart: the loss goes to zero. If it doesn't, something is broken, and more data won't fix it.
#
# Below are a healthy training and three faulty ones. In the first of these, the optimizer was made for another network.
# In the second, the network ends in a softmax, as many first networks do, although `cross_entropy` applies one
# already. In the third, the labels are shuffled anew at every step, as happens when pictures and labels are shuffled
# separately.

# %%
few, truth = digits.tensors(slice(0, 16))
few, truth = few.to(device), truth.to(device)

def one_batch(fault=""):
    model = nn.Sequential(new_model())
    if fault == "two softmaxes":
        model.append(nn.Softmax(dim=1))
    owner = new_model() if fault == "optimizer of another" else model
    optimizer = torch.optim.AdamW(owner.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        labels = truth[torch.randperm(16)] if fault == "shuffled labels" else truth
        losses.append(train_step(model, optimizer, few, labels))
    return losses

# %%
ask("04-softmax-floor")

# %% tags=["nbval-ignore-output"] alt="Loss over 50 steps on one batch: the healthy training falls to zero, three faulty ones stay far above it"
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
faults = ("", "optimizer of another", "two softmaxes", "shuffled labels")
for fault, style in zip(faults, ("-", "--", "-.", ":"), strict=True):
    ax.plot(one_batch(fault), style, label=fault or "healthy")
ax.set(xlabel="step, always on the same 16 pictures", ylabel="loss", ylim=(0, None))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# The healthy one is done within a few dozen steps. None of the others gets there. One second, and three kinds of bug
# are ruled out. Make it a habit.

# %% [markdown]
# ## 9. The same, with a Trainer
#
# Your loop is short because it does little. A real one also moves the schedule, clips gradients, writes checkpoints,
# stops in time, and stays readable. The course's `Trainer` is such a loop, built from parts that you can also use
# without it. `Trainer??` shows its source. (Long trainings show a progress
# bar. Those below take seconds, so we switch it off.)

# %% tags=["nbval-ignore-output"]
from dl_course import training
from dl_course.training import Trainer

model = new_model(width=16)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
parts = {"loss_fn": F.cross_entropy, "optimizer": optimizer, "progress": False}
trainer = Trainer(model, loader(digits, 16, shuffle=True), val_loader, **parts)
history = trainer.fit(epochs=3)
history

# %% [markdown]
# `history` displays itself as a table, and can draw itself. Is it the loop that you wrote? With the same start and the
# same order of the data, the losses must be the same.

# %% tags=["nbval-ignore-output"] alt="Two panels over three epochs: training and validation loss fall, training and validation accuracy rise"
_ = history.plot()
difference = (history.epochs["val_loss"] - by_hand["val_loss"]).abs().max()
print(f"by hand and by Trainer differ by at most {difference:.1g}")

# %% [markdown]
# And it looks after you. Here are three mistakes that have cost others an evening. What does it say?

# %%
wrong_labels = [(few, truth + 1)]
mistakes = {
    "labels from 1 to 10": lambda: Trainer(model, wrong_labels, **parts).fit(5),
    "another model's optimizer": lambda: Trainer(new_model(), [(few, truth)], **parts),
    "an empty loader": lambda: Trainer(model, [], **parts).fit(5),
}
for name, mistake in mistakes.items():
    try:
        mistake()
    except ValueError as error:
        print(f"{name}:\n  {error}\n")

# %% [markdown]
# This is a good place for a break. You can train and measure. What follows is how to do it well.

# %% [markdown]
# ## 10. Optimizers
#
# Chapter 02 built SGD, momentum and Adam by hand. Watch them walk: choose a surface and a method, and step. Find the
# highest learning rate at which SGD still gets down the *ravine*, and see what momentum and Adam do at the same rate.
# Then add noise. (Where this page isn't running, you see thirty steps of SGD.)

# %% alt="The descent playground: a map of a long, narrow valley, dark where it is low, and the path of 30 steps of SGD, which jumps from side to side across the valley and then creeps along its floor" tags=["nbval-ignore-output"]
from dl_course.widgets import DescentPlayground

DescentPlayground(surface="ravine", method="sgd", rate=0.15)

# %% [markdown]
# In the ravine, one direction is steep and the other flat. SGD can't take larger steps along the floor without being
# thrown out by the walls. Momentum adds up the small, steady steps. Adagrad divides each parameter's step by the root
# of the sum of all its squared gradients so far, RMSprop by the root of their running mean, so that steep and flat
# directions get steps of similar size. Adam is RMSprop with momentum, and with a correction for its first steps.
#
# In practice, an optimizer is a name in a configuration, and so is a schedule (section 12). The next cell makes a
# Trainer from such names; we use it for the rest of the chapter.

# %%
def new_trainer(
    optimizer="adamw", rate=0.01, *, decay=0.0, schedule=None, epochs=3,
    model=None, batches=None, loss_fn=F.cross_entropy, **options,
):
    model = model or new_model()
    batches = batches or loader(digits, 64, shuffle=True)
    make = training.optimizers.build
    moves = make(optimizer, model, learning_rate=rate, weight_decay=decay)
    size = {"epochs": epochs, "steps_per_epoch": len(batches)}
    plan = training.schedules.build(schedule, moves, **size) if schedule else None
    parts = {"loss_fn": loss_fn, "optimizer": moves, "scheduler": plan, "progress": False}
    return Trainer(model, batches, val_loader, **parts, **options)

# %% [markdown]
# Four optimizers start from the same weights, each with a learning rate that is usual for it, a fifth of that rate, and
# five times as much. The table shows the training loss in the second epoch.

# %% tags=["nbval-ignore-output"]
rates = {"sgd": 0.1, "rmsprop": 0.003, "adagrad": 0.03, "adamw": 0.01}
rows = {}
for name, rate in rates.items():
    runs = [new_trainer(name, rate * factor).fit(2) for factor in (0.2, 1, 5)]
    rows[f"{name}, {rate}"] = [run.last["train_loss"] for run in runs]
pd.DataFrame(rows, index=["a fifth of the rate", "the rate", "five times the rate"]).T.round(2)

# %% [markdown]
# Compare the columns with the rows: the rate matters at least as much as the name. (One seed and two epochs: don't rank
# the names by it.) If you don't know what to take, take AdamW, or SGD with momentum and a tuned rate.
#
# The *W* is for weight decay: at every step, each weight also shrinks a little. Adam put the shrinking into the
# gradient, where it is divided by the gradient's own size; AdamW keeps it apart. And not everything should shrink. A
# bias, or the scale of a norm, isn't what makes a network complicated. `optimizers.build` knows that:

# %%
for group in new_trainer(decay=0.1).optimizer.param_groups:
    axes = sorted({len(parameter.shape) for parameter in group["params"]})
    print(f"weight decay {group['weight_decay']}: tensors with {axes} axes")

# %% [markdown]
# ## 11. Which learning rate?
#
# This is the number that deserves the most care. So don't guess: measure. Start with a tiny rate, raise it at every
# step, and record the loss. First nothing happens. Then it falls. Then it explodes. Where it falls *fastest*, the rate
# is good.

# %% tags=["nbval-ignore-output"] alt="Loss over learning rate on a logarithmic axis: level, then falling, then rising steeply; grey points for single batches, a line for the smoothed loss, and a band around the suggestion"
from dl_course.diagnostics import find_learning_rate

model = new_model()
optimizer = training.optimizers.build("sgd", model, learning_rate=0.1)
before = [tensor.clone() for tensor in model.state_dict().values()]
batches = loader(digits, 64, shuffle=True)
options = {"start": 1e-4, "end": 10, "steps": 60, "progress": False}
curve = find_learning_rate(model, batches, F.cross_entropy, optimizer, **options)
_ = curve.plot()
curve

# %% [markdown]
# The band is as telling as the line: it spans what three seeds suggested. Within it, no rate is *known* to be better
# than another: that would take many more runs than three.
#
# On the way, the finder trained the network for some dozens of steps. Has this changed the network? It must not.

# %%
pairs = zip(before, model.state_dict().values(), strict=True)
print("weights as before:", all(torch.equal(old, new) for old, new in pairs))
print("the learning rate:", optimizer.param_groups[0]["lr"])

# %% [markdown]
# Now try the suggestion, as the highest rate of a schedule that you'll meet in the next section; and beside it a tenth
# of it, and ten times as much.

# %% tags=["nbval-ignore-output"]
rows = {}
for factor in (0.1, 1, 10):
    rate = curve.suggestion * factor
    rows[f"{rate:.2g}"] = new_trainer("sgd", rate, schedule="one-cycle", epochs=2).fit(2).last
columns = ["train_loss", "val_loss", "val_accuracy"]
pd.DataFrame(rows).T[columns].rename_axis("learning rate").round(3)

# %% [markdown]
# The suggestion isn't always the best rate of all. It is a rate that works, found in seconds. (Two epochs are very few;
# that is why none of them is good yet.)

# %% [markdown]
# ## 12. Schedules: large steps first, small ones last
#
# A learning rate that is right at the beginning is too high at the end. Near the valley floor, the noise of the batches
# throws the weights back and forth, and the larger the step, the further. You can see it without any network: one
# number walks downhill on $x^2$, by gradients with noise.

# %% alt="Two walks towards zero: with a constant rate it keeps jumping around zero, with a falling rate it comes to rest"
def walk(rate_at, steps=400, x=12.0):
    rng, path = np.random.default_rng(0), []
    for step in range(steps):
        x -= rate_at(step / steps) * (2 * x + rng.normal(0, 4))
        path.append(x)
    return path

figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
ax.plot(walk(lambda done: 0.15), color="C1", linewidth=0.8, label="constant rate")
ax.plot(walk(lambda done: 0.15 * (1 + np.cos(np.pi * done)) / 2), label="falling rate")
ax.set(xlabel="step", ylabel="x")
ax.legend(loc="upper right")
sns.despine()

# %% [markdown]
# Both arrive quickly. With the constant rate x then never rests; with the falling one it comes to rest near the lowest
# point.
#
# And why *warm up*? At the start the weights are random, and Adam's running averages know nothing yet. Large steps in a
# random direction can do lasting damage. So the rate first rises for a while. A widely used schedule does both: a short
# linear rise, then half a cosine down to 0. **One-cycle** does the same with a long rise: nearly a third of all steps
# up, the rest down, to a rate far below the first. Its peak can often be higher than a constant rate that works. (While
# the rate is high, it lowers the momentum.)
#
# **Exercise.** Write `warmup_cosine`. It returns the *factor* by which the highest learning rate is multiplied at a
# step. During the warm-up it rises in equal steps, and the very first step already moves: $\frac{1}{warmup + 1}$, then
# $\frac{2}{warmup + 1}$ … At step `warmup` it is 1. At step `total`, and after it, it is 0.

# %% tags=["exercise"]
def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Return the factor for step 0, 1, …: up on a line, then half a cosine down.

    (step + 1) / (warmup + 1) before step `warmup`, 1 there, 0 from step `total` on.
    """
    ### BEGIN SOLUTION
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / (total - warmup))
    return (1 + np.cos(np.pi * done)) / 2
    ### END SOLUTION

# %% tags=["check"]
check(warmup_cosine)

# %% [markdown]
# PyTorch takes it as it is: `LambdaLR` multiplies the optimizer's rate by what your function returns. Beside it, the
# course's schedules, by their names. The *plateau* schedule (torch's `ReduceLROnPlateau`) has no plan: it is told a
# loss after every epoch, and lowers the rate when that loss stands still. Here it is told a made-up loss.

# %%
from torch.optim.lr_scheduler import LambdaLR

made_up = [4.0, 3.0, 2.0, *[1.0] * 9]  # after each of twelve epochs

# %%
def rates_of(name, **options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    if name == "yours":
        plan = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup=6, total=120))
    else:
        size = {"epochs": 12, "steps_per_epoch": 10}
        plan = training.schedules.build(name, optimizer, **size, **options)
    when = getattr(plan, "interval", "step")
    for step in range(1, 121):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        if when == "step" or step % 10 == 0:
            plan.step(*([made_up[step // 10 - 1]] if when == "metric" else []))

# %%
ask("04-plateau")

# %% alt="Six small panels of learning rate over epochs: stairs, half a cosine, drops after seven and ten epochs, warm-up and cosine, your own alike, and one cycle up and down"
panels = {"sharex": True, "sharey": True, "layout": "constrained"}
figure, axes = plt.subplots(2, 3, figsize=(9, 4), **panels)
names = ("step", "cosine", "plateau", "warmup-cosine", "yours", "one-cycle")
options = {"plateau": {"patience": 2}}
for ax, name in zip(axes.flat, names, strict=True):
    rates = list(rates_of(name, **options.get(name, {})))
    ax.plot(np.arange(120) / 10, rates, color="C1" if name == "yours" else "C0")
    ax.set(title=name, xticks=range(0, 13, 4))
figure.supxlabel("epochs done")
figure.supylabel("share of the highest rate")
sns.despine()

# %% [markdown]
# Yours is `warmup-cosine`, step for step. Note *when* each one moves: most of them after every step, `step` after every
# epoch, and plateau only when it is told a loss. A schedule that nobody steps does nothing, and says nothing. The
# Trainer steps each one the way it wants to be stepped.
#
# Does a falling rate pay? Three schedules with the same highest rate, three seeds each.

# %% tags=["nbval-ignore-output"]
rows = {}
for schedule in (None, "cosine", "one-cycle"):
    how = {"schedule": schedule}
    runs = [new_trainer("sgd", 0.2, model=new_model(seed), **how).fit(3) for seed in range(3)]
    losses = np.array([run.last["val_loss"] for run in runs])
    rows[schedule or "constant"] = [losses.mean(), losses.min(), losses.max()]
pd.DataFrame(rows, index=["mean val_loss", "lowest", "highest"]).T.round(2)

# %% [markdown]
# At a constant rate, the result depends on where the last noisy step happened to land, and on running averages of norms
# that lag behind weights which still move fast. A falling rate lets both settle. Look at the ranges, too. Cosine's lies
# below that of the constant rate. One-cycle's overlaps with it, so three seeds don't decide between those two.

# %% [markdown]
# ## 13. Learned, or learned by heart?
#
# Now let's provoke the trouble that all of this is meant to prevent. We take the MLP of chapter 03,
# which has more than a hundred thousand weights, and give it only a few pictures to learn from, thirty times. The rest
# of the training pictures serve to judge it.

# %% tags=["nbval-ignore-output"] alt="Two panels over epochs: training loss goes to zero while validation loss falls and then rises slowly; training accuracy is perfect, validation accuracy lower"
from dl_course.models import SimpleNet, add_dropout

def few_and_rest(seed):
    few, rest = stratified_split(digits.labels, (0.05, 0.95), seed=seed)
    return digits.subset(few), digits.subset(rest)

def new_mlp(seed=0):
    set_seed(seed)
    return SimpleNet().to(device)

small, rest = few_and_rest(0)
val_loader = loader(rest, 400)
plain = new_trainer(model=new_mlp(), batches=loader(small, 32, shuffle=True)).fit(30)
print(f"{len(small)} pictures to learn from, {len(rest):,} to judge by")
_ = plain.plot()

# %% [markdown]
# In training everything is right, soon and for good. On new pictures it isn't, and their loss, after its lowest point,
# *rises*: the network becomes ever surer, also of its mistakes. This is **overfitting**. It has learned its pictures,
# not the digits.
#
# The simplest remedy is to stop in time: when the validation loss hasn't improved for a while. Not at the first epoch
# that is worse, because the curve is noisy. You wait for a few more epochs; their number is called *patience*.
#
# **Exercise.** Write `EarlyStopping`. Its `update` is told a loss after every epoch, and says whether to stop. Only a
# loss that is lower than the best by *more than* `min_delta` is progress, and becomes the new best.

# %% tags=["exercise"]
class EarlyStopping:
    """Says when to stop: after `patience` epochs in a row without progress.

    best: the lowest loss so far, infinite before the first. A loss of NaN is no progress.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta, self.best = patience, min_delta, float("inf")
        ### BEGIN SOLUTION
        self.waited = 0
        ### END SOLUTION

    def update(self, loss: float) -> bool:
        """Take the epoch's loss; return True where it is time to stop."""
        ### BEGIN SOLUTION
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return self.waited >= self.patience
        ### END SOLUTION

# %% tags=["check"]
check(EarlyStopping)

# %% [markdown]
# Beware of an off-by-one between two habits. Yours, like Keras's, acts *at* the patience-th epoch without progress;
# torch's `ReduceLROnPlateau` counts one more, and acts when the count *exceeds* its patience. Both, on the made-up loss
# of section 12:

# %%
stopping = EarlyStopping(patience=2)
stops = [epoch for epoch, loss in enumerate(made_up, 1) if stopping.update(loss)]
lowered = next(i for i, rate in enumerate(rates_of("plateau", patience=2)) if rate < 1) // 10
print(f"EarlyStopping(2) stops after epoch {stops[0]}, plateau acts after epoch {lowered}")

# %% [markdown]
# Where would yours have stopped the training above?

# %% tags=["nbval-ignore-output"]
val_losses = plain.epochs["val_loss"]
for patience in (2, 5, 10):
    stopping = EarlyStopping(patience, min_delta=0.005)
    stops = (epoch for epoch, loss in enumerate(val_losses, 1) if stopping.update(loss))
    last = next(stops, len(val_losses))
    print(f"patience {patience:>2}: {last:>2} epochs, the best loss {stopping.best:.3f}")
print(f"no stopping: {len(val_losses)} epochs, the best loss {val_losses.min():.3f}")

# %% [markdown]
# Here even a little patience finds the best epoch, and more only costs time. On a noisier curve, a little may stop too
# soon. In either case keep the weights of the *best* epoch, not of the last: the Trainer's checkpoints do, in section
# 19.
#
# The other remedies make learning by heart *hard*:
#
# - **dropout** (section 6) switches off a random part of the units at every step
# - **weight decay** lets weights shrink that aren't needed
# - **augmentation** never shows the same picture twice
# - **mixup** blends two pictures, and asks for both labels in the same proportions
#
# The last one sounds strange. Here is what the network sees, and what it is asked to answer. (Where two pictures of the
# same digit have met, one label is left.)

# %% alt="Eight pictures in which two digits shine through each other; above each, its labels with their shares"
batches = loader(small, 32, shuffle=True)
mixed, shares = next(iter(training.mixup(batches, num_classes=10, alpha=1.0)))

def words(share):
    present = [digit for digit in share.topk(2).indices.tolist() if share[digit] > 0]
    return "\n".join(f"{digit}: {share[digit]:.0%}" for digit in present)

_ = image_grid(mixed[:8], [words(share) for share in shares[:8]], columns=8)

# %% [markdown]
# Now each of them, for the same thirty epochs, with five seeds. Each seed draws its own few pictures, and every remedy
# gets the same ones, so that we can compare run by run. (`add_dropout` puts dropout behind every ReLU.)

# %%
def remedied(remedy, seed):
    small, rest = few_and_rest(seed)
    model = new_mlp(seed)
    if remedy == "dropout":
        add_dropout(model, p=0.5)
    if remedy == "augmentation":
        small.transform = TRANSFORMS.build("wobble")
    batches = loader(small, 32, shuffle=True, seed=seed)
    if remedy == "mixup":
        batches = training.mixup(batches, num_classes=10, alpha=0.4)
    trainer = new_trainer(model=model, batches=batches, decay=float(remedy == "weight decay"))
    trainer.val_loader = None
    trainer.fit(30)
    return evaluate(model, on_device(loader(rest, 400)))

# %% tags=["nbval-ignore-output"]
remedies = ("nothing", "dropout", "weight decay", "mixup", "augmentation")
results = {name: np.array([remedied(name, seed) for seed in range(5)]) for name in remedies}
rows = {}
for name, figures in results.items():
    change = figures - results["nothing"]
    width = 2.78 * change.std(0, ddof=1) / 5**0.5  # 95 %, Student's t for five runs
    cells = [f"{m:.3f}" for m in figures.mean(0)]
    cells += [f"{c:+.3f} ± {w:.3f}" for c, w in zip(change.mean(0), width, strict=True)]
    rows[name] = cells
headings = ["val_loss", "val_accuracy", "change of the loss", "change of the accuracy"]
pd.DataFrame(rows, index=headings).T

# %% [markdown]
# Read the last two columns: the change against doing nothing, with a 95 % interval over the five seeds. Where an
# interval contains 0, no effect is shown. In most rows the whole interval of the *loss* lies below 0. The *accuracy* is
# another matter: its changes are small, and most of their intervals contain 0. (One in twenty 95 % intervals misses the
# truth by chance, so don't build on one that barely leaves 0 out.) With other data and another network, expect another
# table. More pictures are the remedy that helps nearly always.
#
# And *test-time augmentation*? We average the answers to four altered copies of each picture, for a network that was
# trained on such copies.

# %% tags=["nbval-ignore-output"]
wobble = TRANSFORMS.build("wobble")
small.transform = wobble
model = new_mlp()
trainer = new_trainer(model=model, batches=loader(small, 32, shuffle=True))
trainer.val_loader = None
trainer.fit(30)
pictures, labels = rest.tensors()
with torch.no_grad():
    copies = [torch.stack([wobble(each) for each in pictures]) for _ in range(4)]
    answers = [model.eval()(each.to(device)).softmax(1).cpu() for each in (pictures, *copies)]
means = {"the pictures": answers[0], "one copy": answers[1]}
means["mean of 4 copies"] = sum(answers[1:])
for name, answer in means.items():
    print(f"{name:<17} {(answer.argmax(1) == labels).float().mean():.1%}")

# %% [markdown]
# Altered copies are harder than the originals; averaging wins back most of that loss. Whether it wins more depends on
# the task: for photographs and their mirror images it often does. Here, the plain pictures do at least as well.

# %% [markdown]
# ## 14. When one class is rare
#
# Take four kinds of `shapes-imbalanced`, from the commonest to the rarest. To be quick, we cut a window around each
# shape and shrink it; the set's masks say where the shape is.

# %%
def windows(split, kinds=(0, 3, 6, 9), side=32):
    data = load("shapes-imbalanced", split)
    data = data.subset(torch.isin(data.labels, torch.tensor(kinds)).nonzero().flatten())
    images = []
    for image, mask in zip(data.images, data.masks, strict=True):
        corner = mask.nonzero().float().mean(0) - side / 2
        row, column = corner.clamp(0, 64 - side).int().tolist()
        images.append(image[:, row : row + side, column : column + side])
    data.images = v2.functional.resize(torch.stack(images), [20, 20])
    data.labels = torch.searchsorted(torch.tensor(kinds), data.labels)
    data.classes = tuple(data.classes[kind] for kind in kinds)
    return data

# %%
rare, fair = windows("train"), windows("test")
print("train:", dict(zip(rare.classes, torch.bincount(rare.labels).tolist(), strict=True)))
print("test: ", dict(zip(fair.classes, torch.bincount(fair.labels).tolist(), strict=True)))

# %% alt="Eight small pictures, two of each class: circles, squares, hearts and hourglasses on a textured background"
firsts = torch.cat([(rare.labels == kind).nonzero().flatten()[:2] for kind in range(4)])
names = [rare.classes[kind] for kind in rare.labels[firsts]]
_ = image_grid(rare.images[firsts], names, columns=8)

# %% [markdown]
# The test set has equally many of each class. What *training* accuracy would a network reach that has understood
# nothing and always says "circle"?

# %%
share = (rare.labels == 0).float().mean().item()
print(f"right in training: {share:.0%}")

# %% [markdown]
# So accuracy is the wrong question here. The right one is **recall**: for each class by itself, what share is
# recognised? And there are five ways to deal with rare classes:
#
# - *plain*: do nothing
# - *weighted*: in the loss, the samples of a rare class count more
# - *balanced*: draw rare classes as often as common ones (torch's `WeightedRandomSampler`); the same few pictures come
#   again and again
# - *undersampled*: leave out most of the common ones
# - *focal*: let easy samples count less. It knows nothing of classes, only of easy and hard
#
# The last one has a loss of its own. A sample whose true class was given the probability $p$ costs
#
# $$ -(1 - p)^\gamma \log p $$
#
# With $\gamma = 0$ that is the cross-entropy. The larger $\gamma$ is, the less a sample counts that is right anyway:

# %%
ask("04-focal-easy")

# %% alt="Curves of the loss over p for gamma 0, 1, 2 and 5: the larger gamma, the sooner the curve comes down to zero"
p = np.linspace(0.01, 1, 100)
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
for gamma, style in ((0, "-"), (1, "--"), (2, "-."), (5, ":")):
    ax.plot(p, -((1 - p) ** gamma) * np.log(p), style, label=f"γ = {gamma}")
ax.set(xlabel="p given to the true class", ylabel="loss", ylim=(0, 3))
ax.legend()
sns.despine()

# %% [markdown]
# **Exercise.** Write `focal_loss`. Mind the order: each sample has its own $p$, so weight first and average last. And
# gradients flow through the weight, too.

# %% tags=["exercise"]
def focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the mean of -(1 - p)**gamma · log p, where p is what each sample's true class got.

    logits (N, C), of any size · labels (N,).
    """
    ### BEGIN SOLUTION
    log_p = logits.log_softmax(dim=1).gather(1, labels[:, None])  # (N, 1)
    weight = (1 - log_p.exp()) ** gamma
    return -(weight * log_p).mean()
    ### END SOLUTION

# %% tags=["check"]
check(focal_loss)

# %% [markdown]
# The course's `training.FocalLoss` can also weight classes and smooth labels. Without these, it is the same as yours:

# %%
logits, truths = torch.randn(6, 4), torch.randint(0, 4, (6,))
for gamma in (0.0, 2.0):
    theirs = training.FocalLoss(gamma)(logits, truths)
    print(f"γ = {gamma}: the same:", torch.allclose(theirs, focal_loss(logits, truths, gamma)))
plainly = F.cross_entropy(logits, truths)
print("γ = 0 is cross-entropy:", torch.allclose(plainly, focal_loss(logits, truths, 0.0)))

# %% [markdown]
# Now all five, with the same number of steps. Recall is measured on the balanced test set: a hundred pictures of each
# class, so chance in the choice of these pictures can move a recall by up to 10 points either way, and each way gets a
# single seed. Trust large differences only.

# %% tags=["nbval-ignore-output"]
shuffled, weights = loader(rare, 32, shuffle=True), training.class_weights(rare).float()
evenly = loader(rare, 32, weights=training.balanced_sampler(rare))
few_of_each = loader(training.undersampled(rare), 29, shuffle=True)
ways = {
    "plain": (shuffled, F.cross_entropy),
    "weighted": (shuffled, nn.CrossEntropyLoss(weights.to(device))),
    "balanced": (evenly, F.cross_entropy),
    "undersampled": (few_of_each, F.cross_entropy),
    "focal": (shuffled, focal_loss),
}
print("weights:", ", ".join(f"{weight:.2f}" for weight in weights))

# %% tags=["nbval-ignore-output"]
from dl_course.metrics import Running

def recall_of(batches, loss_fn, steps=160):
    model = new_model(num_classes=4, in_channels=3)
    epochs = round(steps / len(batches))
    how = {"schedule": "one-cycle", "epochs": epochs, "batches": batches, "loss_fn": loss_fn}
    trainer = new_trainer(model=model, **how)
    trainer.val_loader = None  # which has digits
    trainer.fit(epochs)
    running, (pictures, labels) = Running(), fair.tensors()
    with torch.no_grad():
        logits = model.eval()(pictures.to(device)).cpu()
    running.update(F.cross_entropy(logits, labels), logits, labels)
    return running.per_class[0].numpy()

# %% tags=["nbval-ignore-output"]
found = {name: recall_of(*way) for name, way in ways.items()}
recall = pd.DataFrame(found, index=rare.classes).T
recall.assign(mean=recall.mean(axis=1)).round(2)

# %% [markdown]
# Let's see it as bars, too: one group for each way, from the commonest class to the rarest.

# %% tags=["nbval-ignore-output"] alt="Bars of recall for five ways and four classes: plain and focal have next to none for the rarest class, the other three are more even"
ax = recall.plot.bar(figsize=(8, 3), rot=0, width=0.8)
ax.set(ylabel="recall", ylim=(0, 1))
for bars, hatch in zip(ax.containers, ("", "//", "..", "xx"), strict=True):
    for bar in bars:
        bar.set_hatch(hatch)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# Look at the last bar of each group. Done plainly, the rarest class hardly exists for the network. Weighting and
# balanced drawing bring it back, and pay for it with some of the commonest. Undersampling does, too, although it has
# thrown most of the pictures away; with more classes and finer differences that would hurt. And focal loss is no cure
# for *this*: it was made for huge numbers of easy background samples, not for classes of which there are few. You can
# combine it with class weights, as its inventors did.

# %% [markdown]
# ## 15. A batch that doesn't fit
#
# The larger the batch, the less noisy its gradient, and the more memory it takes. When it doesn't fit, there is a way
# around: `backward()` adds gradients up. So run several small batches, and step only once. This is **gradient
# accumulation**. Done right, it *equals* the big batch.
#
# **Exercise.** Write `accumulated_step`. The batches may be of unequal size: think about one sample's share in the mean
# over all of them. And keep only one batch in memory at a time.

# %% tags=["exercise"]
def accumulated_step(model: nn.Module, optimizer: torch.optim.Optimizer, batches) -> float:
    """Take one step, as if these batches were one; return the mean loss over all samples.

    batches: a list of (images, labels). The loss is the cross-entropy.
    """
    ### BEGIN SOLUTION
    count, total = sum(len(labels) for _, labels in batches), 0.0
    optimizer.zero_grad()
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels) * len(labels) / count
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total
    ### END SOLUTION

# %% tags=["check"]
check(accumulated_step)

# %% [markdown]
# Is it the same for a whole network? We take one step with 100 digits at once, and one in parts of 32, the last of
# which is smaller: once with a network that has group norm, once with one that has batch norm.

# %%
ask("04-accumulate-norm")

# %%
from dl_course.models import GroupNorm1

x, y = digits.tensors(slice(0, 100))
parts = list(zip(x.split(32), y.split(32), strict=True))

def after_a_step(norm, batches):
    set_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2), norm(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 169, 10)
    model = nn.Sequential(*layers)
    accumulated_step(model, torch.optim.SGD(model.parameters(), lr=0.1), batches)
    return nn.utils.parameters_to_vector(model.parameters())

for norm in (GroupNorm1, nn.BatchNorm2d):
    whole, in_parts = after_a_step(norm, [(x, y)]), after_a_step(norm, parts)
    print(f"{norm.__name__:<12} the same step: {torch.allclose(whole, in_parts, atol=1e-5)}")

# %% [markdown]
# With group norm it is the same step. With batch norm it isn't, and can't be: batch norm looks at its batch, and the
# batch is now a small one. That isn't a bug. It is a reason to use group norm where batches are small. In the Trainer,
# accumulation is `accumulate=4`.

# %% [markdown]
# ## 16. Clipping: shorter, but in the same direction
#
# Now and then one batch has a huge gradient, and a single step throws away what hundreds have learned. **Clipping**
# cuts the gradient to a maximum length. The length of what? Of *all* gradients together, as if they were one long
# vector. Then every one of them shrinks by the same factor, and the direction stays.
#
# **Exercise.** Write `clip_by_global_norm`.

# %% tags=["exercise"]
def clip_by_global_norm(gradients: list[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients in place so that their joint L2 norm is at most max_norm.

    Return the norm from before. Gradients that are short enough stay as they are.
    """
    ### BEGIN SOLUTION
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm
    ### END SOLUTION

# %% tags=["check"]
check(clip_by_global_norm)

# %% [markdown]
# Much code in the wild clips each tensor by itself, to the same maximum norm. What does that do to the direction? Here
# are the gradients of a ResNet-18, clipped in both ways. The cosine says how well the direction is kept: 1 is
# perfectly, 0 not at all.

# %%
from dl_course.models import resnet18

def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients])

set_seed(0)
model = resnet18(num_classes=4).to(device)
pictures, labels = (tensor[:16].to(device) for tensor in rare.tensors())
F.cross_entropy(model(pictures), labels).backward()

# %% tags=["nbval-ignore-output"]
true = [parameter.grad for parameter in model.parameters()]
together, apart = ([gradient.clone() for gradient in true] for _ in range(2))
print(f"the norm before: {clip_by_global_norm(together, max_norm=1.0):.2f}")
_ = [clip_by_global_norm([gradient], max_norm=1.0) for gradient in apart]
for name, clipped in (("together", together), ("each by itself", apart)):
    cosine = F.cosine_similarity(flat(true), flat(clipped), dim=0)
    print(f"{name:<14} norm {flat(clipped).norm():.2f}, cosine to the true one {cosine:.2f}")

# %% [markdown]
# Clipped one by one, the gradient points in another direction, and it isn't even short. In the Trainer, clipping is
# `max_grad_norm=1.0`, and `history` keeps the norm from before. A norm that rises and rises is a warning.

# %% [markdown]
# ## 17. Half the bits: mixed precision
#
# A number takes 32 bits. Do we need them all? With 16, whatever is stored takes half the memory, and graphics cards
# have special units that multiply such numbers faster. There are two ways to spend 16 bits.

# %%
rows = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    limits = torch.finfo(dtype)
    small_sum = (torch.tensor(1.0, dtype=dtype) + 0.001).item()
    tiny = torch.tensor(1e-8).to(dtype).item()
    rows[str(dtype)] = [f"{limits.max:.2g}", f"{limits.eps:.2g}", small_sum, f"{tiny:.2g}"]
pd.DataFrame(rows, index=["largest", "step after 1", "1 + 0.001", "0.00000001 becomes"]).T

# %% [markdown]
# `float16` is fine-grained but has a short range: a tiny gradient becomes 0. So the loss is multiplied by a large
# number first, and the gradients are divided by it later; torch's `GradScaler` does that, and the Trainer uses it for
# `precision="fp16"`. `bfloat16` has the range of `float32` but is coarse: 1 + 0.001 is 1. A weight stored that way
# would never move by small steps.
#
# So use *mixed* precision. The weights stay in `float32`. During computation only, `autocast` does matrix products in
# 16 bits, and leaves sums and losses alone.

# %%
model = new_model()
pictures, labels = (tensor[:64].to(device) for tensor in digits.tensors())
with torch.autocast(device.type, torch.bfloat16):
    logits = model(pictures)
    loss = F.cross_entropy(logits, labels)
print("weights", model.fc.weight.dtype, " logits", logits.dtype, " loss", loss.dtype)

# %% [markdown]
# In the Trainer it takes one argument: `precision="bf16"`. Does it pay on *your* machine? A CPU without the right
# instructions gets slower, not faster. Ask it.

# %% tags=["nbval-ignore-output"]
val_loader, rows = loader(validation, 64), {}
for precision in ("fp32", "bf16"):
    epochs = new_trainer(schedule="one-cycle", precision=precision).fit(3).epochs
    rows[precision] = epochs[["val_loss", "samples_per_second"]].iloc[-1]
print(device)
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# The losses are close: the network doesn't need the missing digits. The speed depends on the device, and a network as
# small as this one has little to gain. Measure with your own.

# %% [markdown]
# ## 18. Memory for time: checkpointing activations
#
# What fills the memory in training? Two things: what belongs to the *weights* (they themselves, their gradients, and
# Adam's two averages), and what the layers put out, because the backward pass needs it. The first doesn't depend on the
# batch, the second grows with it. Which is larger?

# %%
from dl_course.models import TinyResNet
from dl_course.training import checkpointed, saved_bytes

set_seed(0)
model = TinyResNet(num_classes=4).to(device)
pictures, labels = (tensor.to(device) for tensor in rare.tensors(slice(0, 64)))

def gradients():
    model.zero_grad()
    F.cross_entropy(model(pictures), labels).backward()
    return flat([parameter.grad for parameter in model.parameters()])

# %% tags=["nbval-ignore-output"]
weights = 4 * sum(each.numel() * each.element_size() for each in model.parameters())
sizes = (2, 8, 32, 64)
rows = {n: [weights / 1e6, saved_bytes(model, pictures[:n]) / 1e6] for n in sizes}
headings = ["weights, gradients, averages / MB", "kept for the backward pass / MB"]
pd.DataFrame(rows, index=headings).T.rename_axis("batch").round(2)

# %% [markdown]
# With a small batch the weights take more, with a large batch the activations do; here the balance tips somewhere
# between the first and the last row. For large batches, **activation checkpointing** helps: it keeps only the input of
# a block, and computes the rest a second time when its gradient is due. (It has nothing to do with the checkpoints of
# the next section.)

# %% tags=["nbval-ignore-output"]
plainly, bytes_plainly = gradients(), saved_bytes(model, pictures)
with checkpointed(model, ["stem", "stage1", "stage2", "stage3"]):
    sparingly, bytes_sparingly = gradients(), saved_bytes(model, pictures)
print("the same gradients:", torch.allclose(plainly, sparingly, atol=1e-6))
print(f"kept for backward: {bytes_plainly / 1e6:.1f} MB, then {bytes_sparingly / 1e6:.1f} MB")

# %% [markdown]
# The same gradients for a fraction of the memory. The price is a second forward pass through these layers, in time. Use
# it when you must, not before.

# %% [markdown]
# ## 19. Interrupted, and resumed
#
# A long training will be interrupted: by you, by a power cut, by somebody who needs the machine. What has to be saved,
# so that it continues *as if nothing had happened*? The weights. The optimizer with its averages. The position in the
# schedule. The state of the random numbers. The order of the data, and the position in it. The count of early stopping.
# Forget one of them, and you get a different training.
#
# Let's try it. One training runs through. Another is stopped in the middle of an epoch, as by the notebook's Stop
# button. Then a new Trainer, which knows nothing of the first, continues from its files. (On the CPU, where sums are
# always added in the same order.)

# %%
class StopButton:
    def on_step_end(self, trainer):
        if trainer.step == 31:
            raise KeyboardInterrupt

def three_epochs(name, *callbacks):
    where = {"device": "cpu", "output_dir": folder / name}
    how = {"model": new_model().cpu(), "schedule": "warmup-cosine", "callbacks": callbacks}
    return new_trainer(**how, **where)

# %%
through = three_epochs("through")
through.fit(3)

stopped = three_epochs("stopped", StopButton())
stopped.fit(3)
print(f"stopped after {stopped.epoch} epoch and {stopped.batch} batches: {stopped.stopped}")

resumed = three_epochs("stopped")
resumed.resume("latest")
resumed.fit(3)
states = [list(each.model.state_dict().values()) for each in (through, resumed)]
same = all(torch.equal(a, b) for a, b in zip(*states, strict=True))
print("the same to the last bit:", same)
print("files:", sorted(file.name for file in (folder / "stopped").iterdir()))

# %% [markdown]
# To the last bit. `best.pt` holds the epoch with the lowest validation loss; that is the one to use. And the
# checkpoints hold only tensors and plain values. That matters: an ordinary pickle can run any code when it is opened,
# so never load one from a stranger.

# %%
best = training.load(folder / "through" / "best.pt")
model = new_model()
model.load_state_dict(best["model"])
print(", ".join(best))

# %% [markdown]
# ## 20. Watching: TensorBoard
#
# Chapter 01 showed how to start TensorBoard. A callback feeds it: curves, the first batch as pictures, the network's
# graph, and histograms of weights and gradients.

# %%
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dl_course.training import TensorBoard

new_trainer(callbacks=[TensorBoard(folder / "board")]).fit(2)

written = EventAccumulator(str(folder / "board")).Reload().Tags()
for kind in ("scalars", "images", "histograms"):
    print(f"{len(written[kind]):>2} {kind}: {', '.join(sorted(written[kind])[:3])}")
print("a graph:", written["graph"])

# %% [markdown]
# In a notebook, `%load_ext tensorboard` and `%tensorboard --logdir runs` open it, for a Trainer with
# `callbacks=[TensorBoard("runs/first")]`. If you prefer **Weights & Biases**, install `wandb` and use
# `training.WandB(project="digits")` in its place; with `WANDB_MODE=offline` nothing leaves the machine. And
# `training.LivePlot()` draws the curves into the notebook while the network learns.

# %%
import shutil

shutil.rmtree(folder)

# %% [markdown]
# ## 21. When it doesn't work
#
# It won't, at first. Here is where to begin; chapter 05c has the whole tree, with a measurement for every branch.
#
# | what you see | try, in this order |
# | --- | --- |
# | the loss doesn't fall | one batch (section 8) · the finder (11) · do labels and pictures still belong together? (1) |
# | the loss is NaN | a tenth of the rate · a warm-up (12) · clipping (16) · a look at the batch that did it |
# | training is fine, validation isn't | more data · augmentation (4) · decay, dropout, mixup, early stopping (13) |
# | neither is good | a larger network · a higher rate · less of everything that holds it back (13) |
# | validation jumps up and down | a falling rate (12) · a larger batch (15) · is the validation set too small? (3) |
# | validation is *too* good | a picture in both parts (1) · a label that leaks |
# | one class is never found | recall by class, then balanced drawing (14) |
# | out of memory | a smaller batch and `accumulate` (15) · bf16 (17) · checkpointing (18) |

# %% [markdown]
# ## Summary
#
# - Look at the data first: sizes, ranges, balance, copies. Split once, stratified, and write it down.
# - A data set has `__len__` and `__getitem__`; a loader adds order, batches and workers.
# - A step is: mode, forward, loss, zero_grad, backward, step. An evaluation needs eval mode, no gradients, sums over
#   samples, and gives every mode back.
# - One batch learned by heart is the first test of any network.
# - Find the learning rate by measuring, warm it up, and let it fall.
# - Overfitting is the gap between the curves. Compare remedies over several seeds, with intervals, and keep the best
#   epoch.
# - For rare classes look at recall, and draw them as often as the others.
# - Accumulation equals the big batch, except for batch norm. Clip all gradients by one factor.
# - To resume exactly, save more than the weights.
#
# ## Check yourself

# %%
progress("04")

# %% [markdown]
# ## Further reading
#
# - Karpathy: *A Recipe for Training Neural Networks*, 2019
# - Smith: *Cyclical Learning Rates for Training Neural Networks*, 2017; Loshchilov, Hutter: *SGDR*, 2017, and
#   *Decoupled Weight Decay Regularization*, 2019
# - Srivastava et al.: *Dropout*, 2014. Zhang et al.: *mixup*, 2018. Müller, Hutter: *TrivialAugment*, 2021
# - Lin et al.: *Focal Loss for Dense Object Detection*, 2017. Pascanu et al.: *On the difficulty of training recurrent
#   neural networks*, 2013
# - Micikevicius et al.: *Mixed Precision Training*, 2018. Chen et al.: *Training Deep Nets with Sublinear Memory Cost*,
#   2016
# - *Dive into Deep Learning* (d2l.ai), chapters 3 and 12; Goodfellow, Bengio, Courville: *Deep Learning*, chapters 7
#   and 8
