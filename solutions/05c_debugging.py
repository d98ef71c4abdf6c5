# %% [markdown]
# # 05c · Debugging
#
# A program that is wrong stops, and names a line. A network that is wrong goes on. It trains for a night, gives
# numbers of the right shape, and is a little worse than it should be. Nobody calls. In this chapter you learn to find
# what is wrong by measuring instead of guessing. At the end, ten patients wait for you.
#
# **You will be able to**
# - go through a checklist before you train, each step of it a few lines of code
# - follow a forward pass to the layer where it breaks
# - tell from learning curves what to do next
# - see where time and memory go
# - examine a network that nobody understands, name what is wrong with it, and heal it
#
# **Time:** 90 minutes, and as long as you like in the clinic. **You need:** chapters 04 and 05.

# %% [markdown]
# ## 1. Nothing is wrong, it seems
#
# Here is a small network for handwritten digits, and its training. Read it as you would read a colleague's. No error
# is raised, no warning. Two things are wrong.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import check, hint, plots, progress, solution
from dl_course.data import Loader, load
from dl_course.runtime import pick_device, set_seed

sns.set_theme(style="white", palette="colorblind", rc={"figure.dpi": 80})

# %%
device = pick_device()
digits = load("digits")
normalize = v2.Normalize(digits.mean, digits.std)
digits = load("digits", transform=normalize)
unseen = load("digits", "test", transform=normalize)

def colleagues_network():
    """Return a network and its optimizer, as a colleague wrote it."""
    layers = [nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1)]
    model = nn.Sequential(*layers).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[1] = nn.Linear(784, 128).to(device)  # let us have a wider one
    model[3] = nn.Linear(128, 10).to(device)
    return model, optimizer

# %%
def train(model, optimizer, pictures=digits, epochs=5, batch_size=64):
    """Train in place with cross-entropy; return the share of the unseen digits it reads."""
    for _ in range(epochs):
        for inputs, labels in Loader(pictures, batch_size, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs.to(device)), labels.to(device)).backward()
            optimizer.step()
    return right_on(model, unseen)

@torch.no_grad()
def right_on(model, pictures):
    """Return the share of the pictures that are recognised."""
    inputs, labels = next(iter(Loader(pictures, len(pictures))))
    return (model(inputs.to(device)).argmax(1).cpu() == labels).float().mean().item()

# %% tags=["nbval-ignore-output"]
set_seed(0)
print(f"{train(*colleagues_network()):.1%} of the unseen digits are read")

# %% [markdown]
# Guessing would read a tenth of them. What would you do now? Many turn knobs: another rate, more layers, more epochs.
# Each try costs minutes, then hours, and proves nothing. Let us look instead, in an order in which each step relies
# only on those before: **data, model, loss, optimizer**, and then a short **trial**.

# %% [markdown]
# ## 2. The checklist as code
#
# **First: what goes in?** Not the files, not what the transform was meant to do: the very batches that the loader
# gives. `check_loader` says what they are like.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import check_loader

check_loader(Loader(digits, 64, shuffle=True)).round(3)

# %% [markdown]
# Ask of each row: is that what I meant? The numbers should be around zero, with a spread of about one. None should be
# missing, and no picture should be all of one value. The labels should be whole numbers, from 0 up, and about equally
# many of each class. The *entropy* measures how mixed they are: in a batch it should be nearly that of the whole. (If
# the batches came sorted by class, it would be near zero.) And look at a few pictures beside their labels, always.

# %% alt="Ten handwritten digits, each with its label above it; they agree"
inputs, labels = next(iter(Loader(digits, 64, shuffle=True)))
names = [digits.classes[label] for label in labels[:10]]
figure, ax = plt.subplots(figsize=(6, 0.9), layout="constrained")
_ = plots.image_grid(inputs[:10].clamp(-1, 3).add(1).div(4), names, ax, columns=10)

# %% [markdown]
# The data are well. **Second: what comes out?** A network that has learned nothing should find all $C$ classes about
# equally likely. Then the cross-entropy is $-\ln\frac{1}{C} = \ln C$. Much more than that means that it begins by
# being *sure* of nonsense.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import check_outputs

set_seed(0)
model, optimizer = colleagues_network()
outputs = model(inputs.to(device))
check_outputs(outputs, labels.to(device)).round(4)

# %% [markdown]
# The cross-entropy is close to $\ln C$. In fact it is *suspiciously* close. Now look at the sums of the rows: each is
# one, and nothing is below zero. Logits have no reason to be so orderly. These are probabilities already! Somebody put
# a softmax at the end, and `cross_entropy` applies its own once more. Scores between 0 and 1 are as far apart as the
# network can ever get them, so it can never be sure of anything.
#
# There is the first fault. It isn't in any message, but in two rows of a table.

# %%
sure = torch.tensor([[1.0] + [0.0] * 9])  # the surest that a softmax can be
print(f"right, and as sure as can be: loss {F.cross_entropy(sure, torch.tensor([0])):.3f}")

# %% [markdown]
# No training can push this network's loss below that number. Off with the softmax.
#
# **Third: does everything learn?** A parameter that doesn't move in a step isn't learning, whatever the reason: it is
# frozen, nothing leads to it, the optimizer doesn't know it, or somebody forgot `optimizer.step()`. So don't ask for
# reasons. Make a step, and look who has moved.
#
# **Exercise.** Write `unmoved`. `step()` makes one update of the model, in place. Mind the last two words.

# %% tags=["exercise"]
def unmoved(model: nn.Module, step) -> list[str]:
    """Call step() once; return the names of the parameters that are what they were before."""
    ### BEGIN SOLUTION
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    step()
    return [name for name, weight in model.named_parameters() if weight.equal(before[name])]
    ### END SOLUTION

# %% tags=["check"]
check(unmoved)

# %%
del model[4]  # the softmax

def one_step():
    optimizer.zero_grad()
    F.cross_entropy(model(inputs.to(device)), labels.to(device)).backward()
    optimizer.step()

unmoved(model, one_step)

# %% [markdown]
# All of them! How can that be? There are gradients, and `step()` was called. But the optimizer was made *before* the
# layers were replaced. It holds the weights of the old ones, which nobody uses any more, and moves those. That is the
# second fault. So the network of section 1 has never learned anything: what it read, random weights have read.
#
# Make the optimizer after the model, always.

# %%
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
unmoved(model, one_step)

# %% [markdown]
# Everything moves. **Fourth: can it learn at all?** A network that works learns a handful of pictures by heart, within
# seconds. If it can't do that, no amount of data will help. It is the best test there is for its price: it runs through
# everything, forward, backward, and update.

# %%
def by_heart(model, inputs, labels, steps=60, rate=0.01):
    """Train in place on one small batch, with Adam; return the loss of each step."""
    optimizer, losses = torch.optim.Adam(model.parameters(), rate), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses

# %% alt="Loss over 60 steps on 16 pictures, logarithmic: without the softmax it falls far, with it it levels off high" tags=["nbval-ignore-output"]
figure, ax = plt.subplots(figsize=(5.5, 2.4), layout="constrained")
for name, end in {"with softmax": [nn.Softmax(dim=1)], "without": []}.items():
    set_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10), *end]
    losses = by_heart(nn.Sequential(*layers).to(device), inputs[:16], labels[:16])
    ax.semilogy(losses, "--" if end else "-", label=name)
ax.set(xlabel="step", ylabel="loss on 16 pictures")
ax.legend()
sns.despine()

# %% [markdown]
# This test would have caught the softmax, too, without our knowing what to look for. It doesn't say *what* is wrong.
# But it says *that* something is, in a second.
#
# Both faults are mended. The same training, again:

# %% tags=["nbval-ignore-output"]
set_seed(0)
model, _ = colleagues_network()
del model[4]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
print(f"{train(model, optimizer):.1%} of the unseen digits are read")

# %% [markdown]
# Same data, same layers, same rate, same time. We changed two lines, and knew which.

# %% [markdown]
# ## 3. Where does it break?
#
# Now a network that does stop. Here is one for pictures of shapes, and its message.

# %% tags=["nbval-ignore-output"]
shapes = load("shapes", "val")
pictures = shapes.tensors(slice(16))[0].to(device)
conv = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
more = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
head = nn.Sequential(nn.Flatten(), nn.Linear(16 * 8 * 8, 10))
broken = nn.Sequential()
broken.conv, broken.more, broken.head = conv, more, head
try:
    broken.to(device)(pictures)
except RuntimeError as error:
    print(error)

# %% [markdown]
# It names two shapes and no layer. Many people now print shapes in `forward`, and take the prints out again. Others
# run the layers one by one, in the order in which they are *defined*, which needn't be the order in which they *run*.
# `debug_forward` uses hooks, and follows the run itself. Read from above to below.

# %%
from dl_course.diagnostics import debug_forward

debug_forward(broken, pictures)[["kind", "input", "output"]]

# %% [markdown]
# The last row is where it ends. Flattened, a picture has fewer numbers than `head.1` was made for. The author has
# counted on pictures whose size is halved each time, and forgotten that a convolution without padding eats an edge. The
# table has the right number, in the column *output* of the row above. The remedy stands in the same place.

# %%
inside = broken.more(broken.conv(pictures)).flatten(1).shape[1]
broken.head[1] = nn.Linear(inside, 10).to(device)
tuple(broken(pictures).shape)

# %% [markdown]
# A crash is the friendly case. Worse is a number that is none: a **NaN**, or an infinity on its way to become one. It
# spreads forward into the loss, backward into every gradient, and with the next step into every weight. By the time
# you see it, it's everywhere. So one must find where it *began*.

# %%
class Distance(nn.Module):
    """Scores by the logarithm of the distance to ten points."""

    def __init__(self, features):
        super().__init__()
        self.points = nn.Parameter(torch.zeros(10, features))

    def forward(self, x):
        return -torch.log(torch.cdist(x, self.points))

set_seed(0)
distances = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), Distance(32)).to(device)
nn.init.constant_(distances[1].bias, -20)
loss = F.cross_entropy(distances(inputs.to(device)), labels.to(device))
print("loss:", loss.item())

# %% [markdown]
# **Exercise.** Write `first_nonfinite`. Hang a hook onto every *leaf*, a layer without layers inside. Let each note
# its name if its output isn't finite. Which one has noted its name first? As always: after you, no hook is left.

# %% tags=["exercise"]
def first_nonfinite(model: nn.Module, x: Tensor) -> str | None:
    """Run model(x); return the name of the first layer to put out a NaN or Inf.

    None where all is finite. Only leaves count: layers without layers inside. No hook stays on.
    """
    ### BEGIN SOLUTION
    found, handles = [], []

    def watch(name, layer):
        def look(module, given, output):
            if not output.isfinite().all():
                found.append(name)

        handles.append(layer.register_forward_hook(look))

    for name, layer in model.named_modules():
        if not list(layer.children()):
            watch(name, layer)
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None
    ### END SOLUTION

# %% tags=["check"]
check(first_nonfinite)

# %%
print("first:", first_nonfinite(distances, inputs.to(device)))
debug_forward(distances, inputs)[["kind", "output", "min", "max", "nan", "inf"]].round(1)

# %% [markdown]
# The layer is the last one, and the table tells the rest. Its input is zero throughout: `max` of the row before it.
# All ten points lie at zero as well. So each distance is zero, and its logarithm isn't a number that one can use. The
# culprit for the *zeros* is the layer above, with its bias far below. A layer may be the first to fail, and not the
# one to blame. Look at what it was given.
#
# For NaNs in *gradients* only, where the loss is still finite, there is `torch.autograd.set_detect_anomaly(True)`. It
# is slow, and names the forward operation whose derivative is at fault.

# %% [markdown]
# ## 4. What learning curves say
#
# A training that runs leaves two curves: the loss on what it learns from, and on what it doesn't. Most of what you
# need to decide next is in them. Here are five pairs. Three are of real trainings on digits; the last two are drawn by
# a formula, because a real disaster is another one on every machine.

# %%
from dl_course.models import SimpleNet
from dl_course.training import Trainer

few, validation = digits.subset(slice(0, 200)), load("digits", "val", transform=normalize)

def history_of(rate, epochs=20, pictures=few, make=SimpleNet):
    """Return the table of a training with Adam: epoch, train_loss, val_loss, …."""
    set_seed(0)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    parts = {"loss_fn": F.cross_entropy, "optimizer": optimizer, "progress": False}
    loaders = Loader(pictures, 32, shuffle=True), Loader(validation, 180)
    return Trainer(model, *loaders, **parts).fit(epochs).epochs

# %% tags=["nbval-ignore-output"]
noisy = few.subset(slice(None))
noisy.labels = torch.where(torch.arange(200) % 3 > 0, few.labels, few.labels.roll(1))
runs = {"all digits, all labels right": history_of(0.001, 8, pictures=digits)}
runs["few, a third of the labels wrong"] = history_of(0.005, 25, pictures=noisy)
one = nn.Linear(784, 1), nn.Tanh(), nn.Linear(1, 10)
runs["one hidden unit"] = history_of(0.003, make=lambda: nn.Sequential(nn.Flatten(), *one))
t = torch.arange(1, 13)
jumps = 2.3 * torch.exp(-t / 4) + torch.tensor([0, 0.7] * 6)
burst = 2.3 * torch.exp(-t / 4) + 0.1 * torch.exp(0.8 * (t - 6))
for name, losses in {"drawn, I": jumps, "drawn, II": burst}.items():
    runs[name] = pd.DataFrame({"epoch": t, "train_loss": losses, "val_loss": losses + 0.1})

# %% alt="Five pairs of curves: one falls and levels off; one parts, validation rising; one stays high; one jumps; one bursts" tags=["nbval-ignore-output"]
figure, axes = plt.subplots(1, 5, figsize=(11, 2.4), layout="constrained")
for ax, (name, table) in zip(axes, runs.items(), strict=True):
    plots.learning_curves(table[["epoch", "train_loss", "val_loss"]], ax)
    ax.set_title(name, fontsize=9)
    ax.get_legend().set_visible(ax is axes[1])

# %% [markdown]
# From left to right. **Healthy**: both fall and level off, validation a little above. **Overfitting**: training goes on
# falling, validation turns and rises; from that turn on the network learns the noise by heart. **Underfitting**: both
# stay high, close to each other; it *can't* do better (mind the scale). **Unstable**: it gets somewhere, and is thrown
# back again and again. **Diverged**: it was on a good way, and then it burst. The last two mostly mean that the rate is
# too high.
#
# Can a program read this? It can, if you say in numbers what you see. Four rules keep you from the usual traps:
#
# - Ask first whether the numbers are numbers. With a NaN, every comparison is false.
# - A loss has no scale of its own. Measure in units of where it *began*.
# - Every curve trembles. Count large rises, not rises.
# - Validation is worse than training in healthy networks, too. It overfits when validation gets *worse again*.
#
# **Exercise.** Write `diagnose_curves`. What the words mean: `"diverged"`: the training loss is no number at some
# point, or ends well above where it began. `"unstable-training"`: it jumps up again and again, each time by a sizeable
# part of where it began. `"underfitting"`: it ends at more than about half of where it began. `"overfitting"`:
# validation ends well above its best. Else `"healthy"`. The curves that we test it with are clear cases.

# %% tags=["exercise"]
def diagnose_curves(train, val) -> str:
    """Return "healthy", or what learning curves show; train, val: losses, arrays (epochs,)."""
    ### BEGIN SOLUTION
    train, val = torch.tensor(train), torch.tensor(val)
    start = train[0]
    if not train.isfinite().all() or train[-1] > 1.5 * start:
        return "diverged"
    if (train.diff() > 0.1 * start).sum() >= 3:
        return "unstable-training"
    if train[-1] > 0.5 * start:
        return "underfitting"
    if val[-1] - val.min() > 0.15 * start:
        return "overfitting"
    return "healthy"
    ### END SOLUTION

# %% tags=["check"]
check(diagnose_curves)

# %% [markdown]
# Yours, and the course's `diagnose_history`, on the five runs. Real curves are less clear than exercises.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import diagnose_history

rows = {}
for name, table in runs.items():
    yours = diagnose_curves(table["train_loss"].to_numpy(), table["val_loss"].to_numpy())
    causes = [each.fault for each in diagnose_history(table) if each.because is None]
    rows[name] = {"yours": yours, "diagnose_history": ", ".join(causes) or "healthy"}
pd.DataFrame(rows).T

# %% [markdown]
# If they differ, look at the curve, and at the reason that the report gives. It states what it has measured, and the
# limit that was crossed.

# %% tags=["nbval-ignore-output"]
diagnose_history(runs["few, a third of the labels wrong"])

# %% [markdown]
# One warning about validation. Its accuracy is a share of a *sample*, and with few pictures it jumps about by itself.
# Of how many points could a difference be by chance alone? In 95 of 100 cases up to $1.96\sqrt{p(1-p)/n}$:

# %%
sizes = [20, 100, 500, 2500, 10_000]
width = {n: f"± {1.96 * (0.9 * 0.1 / n) ** 0.5:.1%}" for n in sizes}
pd.DataFrame({"an accuracy of 90 % is known to": width}).rename_axis("validation pictures")

# %% [markdown]
# Before you explain why validation "oscillates", look up how many pictures it has. Often there is nothing to explain.

# %% [markdown]
# ## 5. Where do time and memory go?
#
# Slow is a fault, too. And again people guess, and speed up what took no time. `profile` runs a network and shows how
# long each layer takes.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import profile
from dl_course.models import trained

network = trained("tinyresnet-shapes").to(device)
table = profile(network, pictures, repeats=3)
print(table.note)
table.sort_values("ms", ascending=False).head(9).round(2)

# %% [markdown]
# The largest come first, and a block holds the time of its layers. Look for the single layers among them. Are they the
# ones that you'd have sped up? Remember from chapter 03 that a layer does its work at every *place* of its maps, so
# that large maps cost more than many channels. The line above the table has the whole forward pass.
#
# A network is rarely the only thing that takes time. `ResourceMonitor` watches the process from outside while a block
# runs.

# %% alt="CPU use and memory of the process over a training of a few seconds" tags=["nbval-ignore-output"]
from dl_course.diagnostics import ResourceMonitor

monitor = ResourceMonitor()
with monitor:
    set_seed(0)
    model = SimpleNet().to(device)
    train(model, torch.optim.Adam(model.parameters(), 0.001), epochs=6, batch_size=16)
used = monitor.table()
figure, axes = plt.subplots(1, len(used.columns) - 1, figsize=(7, 2.2), layout="constrained")
plots.resource_curves(used, axes)
axes[1].set_ylim(0, 1.3 * used["memory / MiB"].max())
sns.despine()

# %% [markdown]
# 100 % is one core at work. If a training leaves the processor idle, it is waiting, most often for files: give the
# loader workers. If memory climbs and climbs, something keeps what it should let go. The usual culprit is a list of
# losses with their graphs, `losses.append(loss)` instead of `loss.item()`. And watch the GPU: a training that uses a
# third of it is two thirds waiting.

# %% [markdown]
# ## 6. The check-up
#
# You know by now how to ask a network questions. A program can ask many of them. `checkup` takes what you
# would train with: model, loader, loss, and whatever else there is. It measures, makes some short trials, all on
# copies, and says what it found. Here is our colleague's work once more.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import checkup

set_seed(0)
model, optimizer = colleagues_network()
loader, loss_fn = Loader(digits, 64, shuffle=True), nn.CrossEntropyLoss()
checkup(model, loader, loss_fn, optimizer=optimizer)

# %% [markdown]
# Each finding has a name, what was measured and the limit, and what to do. The *causes* come first. What follows from
# them stands below, with `because`: mend the cause, and it goes away by itself. At the end stands what could *not* be
# looked for, since we gave it no validation, say. No news about these is no good news.
#
# And after the two repairs?

# %% tags=["nbval-ignore-output"]
del model[4]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
checkup(model, loader, loss_fn, optimizer=optimizer)

# %% [markdown]
# A check-up finds what somebody has thought of. It doesn't find a wrong question, a wrong label here and there, or the
# shortcut of chapter 05b. It spares you the first hour, not the thinking.
#
# ### From symptom to remedy
#
# The names that the check-up uses, by what you'd notice first. Their limits, with the reasons, stand in the rules:
# [data](../dl_course/diagnostics/rules/data.py), [model](../dl_course/diagnostics/rules/model.py),
# [loss](../dl_course/diagnostics/rules/loss.py), [optimizer](../dl_course/diagnostics/rules/optimizer.py),
# [trial](../dl_course/diagnostics/rules/trial.py), [history](../dl_course/diagnostics/rules/history.py).
#
# | you notice | ask first | if so, it is | remedy |
# | --- | --- | --- | --- |
# | the loss doesn't move | do all parameters move in a step? | `frozen-parameters`, `no-update`, `no-gradient` | make the optimizer after the model; no `detach` on the way |
# | | does it move with 100 times the rate? | `lr-too-low` | the finder of chapter 04 |
# | | are units silent on all inputs? | `dead-units`, `saturated-units` | smaller rate, other initialisation, LeakyReLU |
# | | are first layers deaf? | `vanishing-gradients`, `bad-initialisation` | He's weights, norms, shortcuts |
# | the loss moves, but stays high | does it learn 16 samples by heart? | `cannot-overfit-batch`, `output-activation`, `missing-nonlinearity` | go through forward and loss by hand |
# | | do labels fit their pictures? | `label-noise`, `labels-out-of-range`, `output-width` | look at pictures beside labels |
# | | is it too small? | `underfitting`, `plateau` | more width, more epochs, a schedule |
# | the loss is NaN | where did it begin? | `input-nonfinite`, `nonfinite-loss`, `nonfinite-gradients` | `debug_forward`; an eps under roots and logs |
# | the loss jumps or explodes | is it calm at a tenth of the rate? | `lr-too-high`, `diverged`, `unstable-training` | lower rate, warm-up, clipping |
# | | are gradients twice as large in the second step? | `no-zero-grad` | `optimizer.zero_grad()` |
# | | are the numbers that go in of size 1? | `input-not-normalised`, `initial-loss`, `exploding-gradients` | normalise; small last layer |
# | validation oscillates | how many pictures has it? | `val-set-too-small` | more pictures, or cross-validation |
# | | are classes sorted, or batches tiny? | `unshuffled-training`, `batchnorm-small-batch` | `shuffle=True`; batches of 8 and more |
# | training good, validation bad | does validation rise again? | `overfitting` | stop earlier, augmentation, dropout, more data |
# | | are both prepared alike, and in which mode? | `train-val-mismatch`, `wrong-mode` | one transform; `model.eval()` |
# | rare classes are never named | how often do they occur? | `class-imbalance` | weights, sampling |
# | too good to be true | are pictures in both sets? | `train-val-leak`, a shortcut | split once, by origin; look at the maps |

# %% [markdown]
# ## 7. The clinic
#
# Ten networks wait outside, each with its owner's story. Nine are ill. One of these has two troubles at once. And one
# is perfectly well, and only has a worried owner. They become harder from the first to the last.

# %%
from dl_course.clinic import patient, second_opinion

for number in range(1, 11):
    print(f"{number:>2}  {patient(number).story}")

# %% [markdown]
# A patient is all that a training is made of: `model`, `loss_fn`, `optimizer`, `train_loader`, `val_loader`,
# `train_step`, `eval_step`, `epochs`. Every part can be looked at, tried, and replaced. `patient(1)` gives the first
# one anew whenever you want, so you can't do any harm. Its `history()` is that of a training, tried on a copy. Here
# they are, all ten.

# %% alt="Ten panels of accuracies in training and validation over the epochs; some rise, most stay low, in some the two are far apart" tags=["nbval-ignore-output"]
histories = {number: patient(number).history() for number in range(1, 11)}
figure, axes = plt.subplots(2, 5, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, (number, table) in zip(axes.flat, histories.items(), strict=True):
    plots.learning_curves(table[["epoch", "train_accuracy", "val_accuracy"]], ax)
    ax.set(title=f"patient {number}", ylim=(0, 1.05), xlabel="", ylabel="")
    ax.get_legend().set_visible(number == 1)

# %% [markdown]
# An examination goes like this. The first patient: the loss falls, as the owner said. But by how much? And how far do
# its weights move in a step, compared with their size?

# %% tags=["nbval-ignore-output"]
first = patient(1)
batch = next(iter(first.train_loader))
before = {name: weight.detach().clone() for name, weight in first.model.named_parameters()}
first.train_step(first.model, batch, first.optimizer, first.loss_fn)
rows = {}
for name, weight in first.model.named_parameters():
    moved = (weight - before[name]).norm() / before[name].norm()
    rows[name] = {"moved, of its size": f"{moved.item():.1e}"}
print(histories[1][["epoch", "train_loss", "val_loss"]].round(4).to_string(index=False))
pd.DataFrame(rows).T

# %% [markdown]
# You know what a healthy step looks like from chapter 05. What is it, then, and which part would you change? The other
# nine are yours. Work in the order of the checklist, and use whatever this chapter and the last have given you. Only
# leave the check-up aside for now: whoever asks it first won't learn to see.
#
# Write down what you find. Names are those of the table above, or `"healthy"`; for two troubles write a set,
# `{"…", "…"}`. A second doctor says whether you are right, but not what it is. Where you aren't, the remark says what
# would have to be broken.

# %%
diagnosis = dict.fromkeys(range(1, 11))
# diagnosis[1] = "…"

second_opinion(diagnosis)

# %% [markdown]
# A name earns no points. What counts is whether the patient gets well.
#
# **Exercise.** Write `heal`. It gets a patient, and you find out by `patient.number` which one. Change what is wrong,
# and nothing else: someone who swaps everything has understood nothing. (Making a new `Loader`, or a step of your own,
# is fine.) The check then trains your patients as they are, and tries them on digits that nobody has shown them.
# Begin with one, and check; each patient counts by itself.

# %% tags=["exercise"]
def heal(patient):
    """Change as little as possible, so that the patient learns to read; return the patient."""
    ### BEGIN SOLUTION
    def step(model, batch, optimizer, loss_fn):
        model.train()
        optimizer.zero_grad()
        logits = model(batch[0])
        loss_fn(logits, batch[1]).backward()
        optimizer.step()
        return logits

    train, val = patient.train_loader.dataset, patient.val_loader.dataset
    if patient.number == 1:
        patient.optimizer.param_groups[0]["lr"] = 1e-3  # it was ten thousand times smaller
    elif patient.number == 2:
        train.transform = val.transform = v2.Normalize(train.mean, train.std)  # it had 0 to 255
    elif patient.number == 3:
        del patient.model.head  # a softmax, and the loss has its own
    elif patient.number == 4:
        patient.train_loader = Loader(train, 64, shuffle=True)  # the digits came sorted
    elif patient.number == 5:
        patient.train_step = step  # zero_grad() was missing
    elif patient.number == 6:
        patient.model.fc2.reset_parameters()  # a bias of -20: no unit was ever active
    elif patient.number == 8:
        for layer in patient.model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.1  # it was 0: its statistics stayed what they were
    elif patient.number == 9:
        patient.optimizer.param_groups[0]["lr"] = 0.05
        val.transform = train.transform  # validation had black on white
    elif patient.number == 10:
        for part in (train, val):
            part.labels = part.labels.roll(-1)  # each picture had the label of the one before
    return patient
    ### END SOLUTION

# %% tags=["check"]
check(heal)

# %% [markdown]
# Before and after. (With the reference solution, as long as yours hasn't passed.)

# %% tags=["nbval-ignore-output"]
given = unseen.tensors()

def reads(patient):
    """Return the share of unseen digits that a patient reads after its training."""
    patient.train()
    return (patient.predict(given[0]).argmax(1) == given[1]).float().mean().item()

before = {number: reads(patient(number)) for number in range(1, 11)}
after = {number: reads(heal(patient(number))) for number in range(1, 11)}
pd.DataFrame({"before": before, "after": after}).rename_axis("patient").map("{:.0%}".format)

# %% [markdown]
# Look at the numbers before the treatment. Some of these patients didn't look so ill. That's the trouble with them.
#
# Now, and only now: what would the check-up have said? It is asked about those patients that you have named.

# %% tags=["nbval-ignore-output"]
rows = {}
for number, yours in diagnosis.items():
    if yours:
        report = checkup(**patient(number).arguments())
        causes = {each.fault for each in report if each.because is None}
        rows[f"patient {number}"] = {"yours": yours, "check-up": causes or "healthy"}
pd.DataFrame(rows).T if rows else "Write down a diagnosis above, then run this cell again."

# %% [markdown]
# Where you and it agree, you have two witnesses. Where you don't, read its evidence, and measure once more. It isn't
# always right, either.

# %% [markdown]
# ## Summary
#
# - Networks fail silently. Measure, in an order: data, model, loss, optimizer, trial.
# - A fresh network's cross-entropy is about $\ln C$. All parameters move in a step. Sixteen samples can be learned by
#   heart.
# - Follow a forward pass by hooks, not by the order of definition. Find where a NaN *began*, and what that layer was
#   given.
# - Read curves in units of where they began, and know how many pictures validation has.
# - Profile before you speed up.
# - Mend causes, not symptoms, one at a time; and change as little as you can.
#
# ## Check yourself

# %%
progress("05c")

# %% [markdown]
# ## Further reading
#
# - Andrej Karpathy: *A Recipe for Training Neural Networks*, 2019. The source of half of this checklist
# - Humbatova et al.: *Taxonomy of Real Faults in Deep Learning Systems*, ICSE 2020: what goes wrong in practice
# - Cao et al.: *DeepFD: Automated Fault Diagnosis and Localization for Deep Learning Programs*, ICSE 2022
# - Goodfellow, Bengio, Courville: *Deep Learning*, chapter 11, Practical Methodology
# - PyTorch's documentation: *Autograd mechanics*, *torch.profiler*, *Anomaly detection*
