# %% [markdown]
# # 05c · Debugging
#
# A program that is wrong stops and names a line. A network that is wrong carries on. It trains all night, puts out numbers
# of the right shape, and is a little worse than it should be. No message tells you. In this chapter you learn to find
# what is wrong by measuring instead of guessing. At the end, thirteen patients are waiting for you.
#
# **You will be able to**
# - go through a checklist before you train, each step a few lines of code
# - follow a forward pass to the layer where it breaks
# - tell from learning curves what to do next
# - see where time and memory go
# - examine a network that nobody understands, name what is wrong with it, and cure it
#
# **Time:** 90 minutes, plus one to three hours in the clinic. **You need:** chapters 04 and 05.

# %% [markdown]
# ## 1. Nothing is wrong, it seems
#
# Here is a small network for handwritten digits, with its training. Read it as you would read a colleague's code. It
# raises no error and gives no warning. Two things are wrong.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from dl_course import ask, check, hint, plots, progress, solution
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
    model[1] = nn.Linear(784, 128).to(device)  # a wider one
    model[3] = nn.Linear(128, 10).to(device)
    return model, optimizer

# %%
def train(model, optimizer, pictures=digits, epochs=5, batch_size=64):
    """Train in place with cross-entropy; return the accuracy on the unseen digits."""
    for _ in range(epochs):
        for inputs, labels in Loader(pictures, batch_size, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs.to(device)), labels.to(device)).backward()
            optimizer.step()
    return right_on(model, unseen)

@torch.no_grad()
def right_on(model, pictures):
    """Return the accuracy on the pictures."""
    inputs, labels = next(iter(Loader(pictures, len(pictures))))
    return (model(inputs.to(device)).argmax(1).cpu() == labels).float().mean().item()

# %% tags=["nbval-ignore-output"]
set_seed(0)
print(f"right on {train(*colleagues_network()):.1%} of {len(unseen)} unseen digits")

# %% [markdown]
# Guessing would get a tenth of them. What would you do now? Many people turn knobs: another rate, more layers, more
# epochs. Each attempt costs minutes, then hours, and proves nothing. Let's look instead, in an order in which each step
# relies only on those before it: **data, model, loss, optimizer**, and then a short **trial**.

# %% [markdown]
# ## 2. The checklist as code
#
# **First: what goes in?** Not the files, and not what the transform was meant to do, but the very batches that the loader
# yields. `check_loader` summarises them.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import check_loader

check_loader(Loader(digits, 64, shuffle=True)).round(3)

# %% [markdown]
# For each row, ask: is that what I meant? The values should be around zero, with a spread of about one. None should be
# missing, and no picture should consist of a single value. The labels should be whole numbers from 0 up, with about
# equally many of each class. The *entropy* measures how mixed they are: in a batch it should be close to that of the whole
# set. (If the batches came sorted by class, it would be near zero.) And always look at a few pictures with their labels.

# %% alt="Ten handwritten digits, each with its label above it; they agree"
inputs, labels = next(iter(Loader(digits, 64, shuffle=True)))
names = [digits.classes[label] for label in labels[:10]]
figure, ax = plt.subplots(figsize=(9, 1.3), layout="constrained")
_ = plots.image_grid(inputs[:10].clamp(-1, 3).add(1).div(4), names, ax, columns=10)

# %% [markdown]
# The data look fine. **Second: what comes out?** A network that has learned nothing should find all $C$ classes about
# equally likely. Then the cross-entropy is $-\ln\frac{1}{C} = \ln C$. A much larger value means that it starts out *sure*
# of nonsense.

# %%
ask("05c-fresh-loss")

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import check_outputs

set_seed(0)
model, optimizer = colleagues_network()
outputs = model(inputs.to(device))
check_outputs(outputs, labels.to(device)).round(4)

# %% [markdown]
# The cross-entropy is close to $\ln C$, in fact *suspiciously* close. Now look at the sums of the rows: each is one, and
# nothing is below zero. Logits have no reason to be so orderly. These are probabilities already! Somebody put a softmax at
# the end, and `cross_entropy` applies its own on top. It then works with scores between 0 and 1, which can never be more
# than 1 apart, so the network can never be sure of anything.
#
# That is the first fault. No message gave it away; two rows of a table did.

# %%
ask("05c-double-softmax")

# %%
sure = torch.tensor([[1.0] + [0.0] * 9])  # as sure as a softmax can be
print(f"right, and as sure as can be: loss {F.cross_entropy(sure, torch.tensor([0])):.3f}")

# %% [markdown]
# No training can push this network's loss below that number. The softmax has to go.
#
# **Third: does everything learn?** A parameter that doesn't move in a step isn't learning, whatever the reason: it is
# frozen, nothing leads to it, the optimizer doesn't know it, or somebody forgot `optimizer.step()`. So don't start with
# reasons. Make a step and see which parameters have moved.
#
# **Exercise.** Write `unmoved`. `step()` makes one update of the model, *in place*: keep that in mind when you store the
# weights from before.

# %% tags=["exercise"]
def unmoved(model: nn.Module, step) -> list[str]:
    """Call step() once; return the names of the parameters that haven't changed."""
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
# All of them! How can that be? There are gradients, and `step()` was called. But the optimizer was made *before* the layers
# were replaced. It holds the weights of the old ones, which nothing uses any more, and moves those. That is the second
# fault. So the network of section 1 never learned anything: its few right answers came from random weights.
#
# Always make the optimizer after the model.

# %%
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
unmoved(model, one_step)

# %% [markdown]
# Everything moves. **Fourth: can it learn at all?** A network that works learns a handful of pictures by heart within
# seconds. If it can't, no amount of data will help. No other test gives you as much for its price: it goes through
# everything, forward, backward and update.

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
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for name, end in {"with softmax": [nn.Softmax(dim=1)], "without": []}.items():
    set_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10), *end]
    losses = by_heart(nn.Sequential(*layers).to(device), inputs[:16], labels[:16])
    ax.semilogy(losses, "--" if end else "-", label=name)
ax.set(xlabel="step", ylabel="loss on 16 pictures")
ax.legend()
sns.despine()

# %% [markdown]
# This test would also have caught the softmax, without our knowing what to look for. It doesn't say *what* is wrong. But
# within a second it says *that* something is.
#
# Both faults are fixed. The same training, again:

# %% tags=["nbval-ignore-output"]
set_seed(0)
model, _ = colleagues_network()
del model[4]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
print(f"right on {train(model, optimizer):.1%} of {len(unseen)} unseen digits")

# %% [markdown]
# The same data, layers, rate and number of epochs. We changed two lines, and we knew which.

# %% [markdown]
# ## 3. Where does it break?
#
# Now a network that does stop. It is meant for pictures of shapes, and this is its message.

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
# It names two shapes and no layer. Many people now print shapes in `forward` and remove the prints later. Others run the
# layers one by one in the order in which they are *defined*, which needn't be the order in which they *run*.
# `debug_forward` uses hooks and follows the run itself. Read it from top to bottom.

# %%
from dl_course.diagnostics import debug_forward

debug_forward(broken, pictures)[["kind", "input", "output"]]

# %% [markdown]
# The last row is where it stops. Flattened, a picture has fewer numbers than `head.1` was made for. The author assumed that
# every layer halves the size exactly, and forgot that a convolution without padding loses the border. The right number is
# in the table, in the column *output* of the row above.

# %%
inside = broken.more(broken.conv(pictures)).flatten(1).shape[1]
broken.head[1] = nn.Linear(inside, 10).to(device)
tuple(broken(pictures).shape)

# %% [markdown]
# A crash is the friendly case. Worse is a value that isn't a number: a **NaN**, or an infinity about to become one. It
# spreads forward into the loss, backward into every gradient, and with the next step into every weight. By the time you
# see it, it's everywhere. So you have to find where it *began*.

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
# **Exercise.** Write `first_nonfinite`. Register a hook on every *leaf*, a layer without layers inside. Each records its
# name if its output isn't finite. Which name came first? As always, leave no hook behind.

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
# It is the last layer, and the table tells the rest. Its input is zero throughout: see `max` in the row before it. All ten
# points lie at zero as well. So every distance is zero, and the logarithm of zero is minus infinity. The *zeros* come from
# `1`, the linear layer, whose bias is so far below zero that the ReLU cuts off everything. The first layer to fail isn't
# always the one to blame. Look at what it was given.
#
# If only the *gradients* contain NaNs while the loss is still finite, use `torch.autograd.set_detect_anomaly(True)`. It is
# slow, and it names the forward operation whose derivative is at fault.

# %% [markdown]
# ## 4. What learning curves say
#
# Training leaves two curves: the loss on the data it learns from, and on data it doesn't. They tell you most of what you
# need to decide next. Here are five pairs. Three come from real trainings on digits; the last two are drawn by a formula,
# because a real disaster looks different on every machine.

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

# %% alt="Five pairs of curves: one pair falls and levels off; in one, validation turns and rises while training falls; one stays high; one jumps up and down; one falls, then shoots up" tags=["nbval-ignore-output"]
figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), layout="constrained")
for ax, (name, table) in zip(axes, runs.items(), strict=True):
    plots.learning_curves(table[["epoch", "train_loss", "val_loss"]], ax)
    ax.set_title(name, fontsize=9)
    ax.get_legend().set_visible(ax is axes[1])

# %% [markdown]
# From left to right. **Healthy**: both fall and level off, validation a little above. **Overfitting**: training keeps
# falling, validation turns and rises; from that turn on, the network learns the noise by heart. **Underfitting**: both
# stay high and close together; the network *can't* do better (mind the scale). **Unstable**: it makes progress and is
# thrown back, again and again. **Diverged**: it was doing well, then blew up. The last two mostly mean that the rate is too
# high.
#
# Can a program read this? Yes, if you say in numbers what you see. Four rules keep you out of the usual traps:
#
# - First ask whether the values are numbers at all. With a NaN, every comparison is false.
# - A loss has no scale of its own. Measure in units of its *first* value.
# - Every curve is noisy. Count large rises, not all rises.
# - Validation is worse than training in healthy networks, too. It is overfitting when validation gets *worse again*.
#
# **Exercise.** Write `diagnose_curves`. The words mean: `"diverged"`: the training loss becomes NaN or infinite, or ends
# well above where it began. `"unstable-training"`: it jumps up repeatedly, each time by a sizeable part of its first
# value. `"underfitting"`: it ends at more than about half of its first value. `"overfitting"`: validation ends well above
# its best. Otherwise `"healthy"`. The curves in the check are clear cases.

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
# Your function and the course's `diagnose_history`, on the five runs. Real curves are less clear than those of the check.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import diagnose_history

rows = {}
for name, table in runs.items():
    yours = diagnose_curves(table["train_loss"].to_numpy(), table["val_loss"].to_numpy())
    causes = [each.fault for each in diagnose_history(table) if each.because is None]
    rows[name] = {"yours": yours, "diagnose_history": ", ".join(causes) or "healthy"}
pd.DataFrame(rows).T

# %% [markdown]
# Where they differ, look at the curve, and at the reason in the report. It states what was measured, and which limit was
# crossed.

# %% tags=["nbval-ignore-output"]
diagnose_history(runs["few, a third of the labels wrong"])

# %% [markdown]
# One warning about validation. Its accuracy is a share of a *sample*. How far may that be from the accuracy on all the
# pictures there could be? In 95 of 100 samples of $n$ pictures, by no more than about $1.96\sqrt{p(1-p)/n}$:

# %%
ask("05c-how-precise")

# %%
sizes = [20, 100, 500, 2500, 10_000]
width = {n: f"± {1.96 * (0.9 * 0.1 / n) ** 0.5:.1%}" for n in sizes}
pd.DataFrame({"an accuracy of 90 % is known to": width}).rename_axis("validation pictures")

# %% [markdown]
# Before you make much of a difference between two networks, look up how many pictures it rests on.
#
# But note what the formula does *not* explain: a validation accuracy that goes up and down from epoch to epoch. The
# validation set is the same each time, so its sampling error is the same, too, and shifts the whole curve. What moves is
# the network. A small set makes the movement look larger, because a single picture that changes sides counts for more (one
# picture of 20 is 5 %). But if many change sides, the weights are jumping: a smaller rate, or a schedule that lowers it,
# calms them.

# %% [markdown]
# ## 5. Where do time and memory go?
#
# Being slow is a fault, too. And again people guess, and speed up what took no time. `profile` runs a network and shows how
# long each layer takes.

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import profile
from dl_course.models import trained

network = trained("tinyresnet-shapes").to(device)
table = profile(network, pictures, repeats=9)
print(table.note)
table.sort_values("ms", ascending=False).head(9).round(2)

# %% [markdown]
# The largest come first, and a block includes the time of its layers. Look for the single layers among them. Are they the
# ones that you would have sped up? The stages of this network all have maps of the same size, so the *channels* alone, in
# and out, decide how much there is to multiply: a convolution from 32 to 32 channels takes twice as many multiplications
# as one from 16 to 32. Times needn't follow such a count, least of all on a machine that has other work to do. That's why
# you measure, several times; the table has medians. (The line above it has the whole forward pass, measured without
# stopping the clock at every layer.)
#
# PyTorch has a profiler of its own, which sees every single operation. Its record can be saved as a **trace**, to be
# opened at <https://ui.perfetto.dev> (or in Chrome, at `chrome://tracing`): time runs from left to right, and what an
# operation calls lies below it.

# %% tags=["nbval-ignore-output"]
import json
import tempfile
from pathlib import Path

import torch.profiler as tp

trace = Path(tempfile.mkdtemp()) / "trace.json"
with torch.no_grad(), tp.profile() as recorded:
    for name in ("first batch", "second batch"):
        with tp.record_function(name):
            network(pictures)
recorded.export_chrome_trace(str(trace))
events = [each for each in json.loads(trace.read_text())["traceEvents"] if each.get("dur")]
print(f"{len(events)} events; open the file at ui.perfetto.dev")

# %% [markdown]
# The file is plain JSON, so we can open it here as well: a bar for each operation, from its start, as long as it took.

# %% alt="A trace of two forward passes. Top row: two long bars, one per batch. Below: the operations of each, mostly convolutions with batch norms and ReLUs in between" tags=["nbval-ignore-output"]
lanes = {"first batch": 0, "second batch": 0, "aten::conv2d": 1, "aten::batch_norm": 2}
lanes |= {"aten::relu_": 3, "aten::max_pool2d": 4}
shown = [each for each in events if each["name"] in lanes]
start = min(each["ts"] for each in shown)
figure, ax = plt.subplots(figsize=(10, 2.4), layout="constrained")
for each in shown:
    lane = lanes[each["name"]]
    box = [((each["ts"] - start) / 1000, each["dur"] / 1000)]
    ax.broken_barh(box, (lane - 0.4, 0.8), color=f"C{lane}", linewidth=0.4)
operations = [name.removeprefix("aten::") for name in lanes if name.startswith("aten")]
ax.set_yticks(range(5), ["whole batch", *operations])
ax.set(xlabel="time / ms", ylim=(4.6, -0.6))
sns.despine()

# %% [markdown]
# Most of the time goes to convolutions. Gaps in such a picture are time in which nothing was computed: on a GPU,
# that is where you lose. The first batch often takes longer, because memory is allocated and kernels are chosen on the
# first call. So never time the first. And where an operation is short in one batch and long in the other, suspect the
# machine: another program had the processor meanwhile.
#
# On a GPU, memory is what runs out first. PyTorch keeps count of the peak:

# %% tags=["nbval-ignore-output"]
if device.type == "cuda":
    torch.cuda.reset_peak_memory_stats()
    network(pictures).sum().backward()
    print(f"peak: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
    network.zero_grad()
else:
    print("no GPU here: torch.cuda.max_memory_allocated() has nothing to count")

# %% [markdown]
# The peak comes at the end of the forward pass, when all activations are stored for the way back. It grows with the size
# of the batch. If it is too large: a smaller batch with gradient accumulation, mixed precision, or checkpointing (chapter
# 04).
#
# The network is rarely the only thing that takes time. `ResourceMonitor` watches the whole process while a block runs.

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
# 100 % is one core at work. If training uses much less, it is waiting: for files, most often (give the loader more
# workers), or for a processor that other programs are using. If memory keeps climbing, something holds on to what it
# should release. The usual culprit is a list of losses with their graphs: `losses.append(loss)` instead of
# `loss.item()`. And watch the GPU: if it is busy a third of the time, it waits for two thirds.

# %% [markdown]
# ## 6. The check-up
#
# By now you know how to question a network. A program can ask many of these questions for you. `checkup` takes what you
# would train with: model, loader, loss, and whatever else you have. It measures, makes some short trials, all on copies,
# and reports what it found. Here is our colleague's work once more.

# %%
ask("05c-checkup-order")

# %% tags=["nbval-ignore-output"]
from dl_course.diagnostics import checkup

set_seed(0)
model, optimizer = colleagues_network()
loader, loss_fn = Loader(digits, 64, shuffle=True), nn.CrossEntropyLoss()
checkup(model, loader, loss_fn, optimizer=optimizer)

# %% [markdown]
# Each finding has a name, what was measured, the limit, and what to do. The *causes* come first. Their consequences follow
# below, marked with `because`: fix the cause, and they go away by themselves. At the end is what could *not* be checked,
# for example because we passed no validation loader. Silence there is not good news.
#
# And after the two repairs?

# %% tags=["nbval-ignore-output"]
del model[4]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
checkup(model, loader, loss_fn, optimizer=optimizer)

# %% [markdown]
# A check-up finds what somebody has thought of. It doesn't find a badly posed question, a wrong label here and there, or
# the shortcut of chapter 05b. It saves you the first hour, not the thinking.
#
# ### From symptom to remedy
#
# The names that the check-up uses, ordered by what you would notice first. The limits, with reasons, are in the rules:
# [data](../dl_course/diagnostics/rules/data.py), [model](../dl_course/diagnostics/rules/model.py),
# [loss](../dl_course/diagnostics/rules/loss.py), [optimizer](../dl_course/diagnostics/rules/optimizer.py),
# [trial](../dl_course/diagnostics/rules/trial.py), [history](../dl_course/diagnostics/rules/history.py).
#
# | you notice | ask first | if so, it is | remedy |
# | --- | --- | --- | --- |
# | the loss doesn't move | do all parameters move in a step? | `frozen-parameters`, `no-update`, `no-gradient` | make the optimizer after the model; no `detach` on the way |
# | | does it move with 100 times the rate? | `lr-too-low` | the finder of chapter 04 |
# | | are units silent on all inputs? | `dead-units`, `saturated-units` | smaller rate, other initialisation, LeakyReLU |
# | | do the first layers get almost no gradient? | `vanishing-gradients`, `bad-initialisation` | He's weights, norms, shortcuts |
# | the loss moves, but stays high | does it learn 16 samples by heart? | `cannot-overfit-batch`, `output-activation`, `missing-nonlinearity` | go through forward and loss by hand |
# | | do labels fit their pictures? | `label-noise`, `labels-out-of-range`, `output-width` | look at pictures beside labels |
# | | is it too small? | `underfitting`, `plateau` | more width, more epochs, a schedule |
# | the loss is NaN | where did it begin? | `input-nonfinite`, `nonfinite-loss`, `nonfinite-gradients` | `debug_forward`; an eps under roots and logs |
# | the loss jumps or explodes | is it calm at a tenth of the rate? | `lr-too-high`, `diverged`, `unstable-training` | lower rate, warm-up, clipping |
# | | are gradients twice as large in the second step? | `no-zero-grad` | `optimizer.zero_grad()` |
# | | is the input of size 1? | `input-not-normalised`, `initial-loss`, `exploding-gradients` | normalise; small last layer |
# | validation jumps about | how many pictures does it have? | `val-set-too-small` | more pictures, or cross-validation |
# | | are classes sorted, or batches tiny? | `unshuffled-training`, `batchnorm-small-batch` | `shuffle=True`; batches of 8 and more |
# | training good, validation bad | does validation rise again? | `overfitting` | stop earlier, augmentation, dropout, more data |
# | | are both prepared alike, and in which mode? | `train-val-mismatch`, `wrong-mode` | one transform; `model.eval()` |
# | rare classes are never predicted | how often do they occur? | `class-imbalance` | weights, sampling |
# | too good to be true | are pictures in both sets? | `train-val-leak`, a shortcut | split once, by origin; look at the maps |
#
# Some faults don't show in a curve at all: the network trains, only worse than it could. They come from forums and issue
# threads, where people asked for help. The fourth column says in how many of the reports that we read each one occurred.
#
# | you notice | ask first | if so, it is | reports | remedy |
# | --- | --- | --- | --- | --- |
# | a sample's output depends on its batch | do the others' outputs move when one sample is replaced? | `samples-mixed` | 8 | `batch_first=True`; no softmax, sum or `view` over the batch axis |
# | two evaluations of the same data differ | also with the same seed? No: | `random-in-eval` | 8 | `F.dropout(x, p, self.training)`, or `nn.Dropout` |
# | | yes: | `stateful-evaluation` | 4 | a new hidden state for each batch |
# | a regression answers with the mean | is the loss the same with the labels in another order? | `loss-broadcast` | 10 | outputs and labels of one shape: `squeeze(1)` |
# | | can the last activation reach the labels? | `output-range` | 8 | no activation at the end |
# | | are the labels far larger than one? | `labels-scale` | 3 | train on (y − mean) / std |
# | the loss is almost zero at once | how many different labels are there? | `labels-constant` | 8 | no `ToTensor`, no `/ 255` on masks |
# | some layers stay as they were | are they in `model.parameters()`? | `unregistered-parameters` | 8 | `nn.ModuleList` instead of a list |
# | | is their gradient exactly zero? | `zero-gradient` | 8 | no softmax over an axis of length 1 |
# | it stops learning in the first epoch | what is the rate at its end? | `schedule-too-fast` | 5 | `scheduler.step()` once an epoch |
# | it learns very slowly, at any rate | how far does a step move the weights? | `step-too-small` | 6 | unscale, then clip, to a norm of about 1 |
# | accumulating gradients changes nothing | what is left of the first micro-batch? | `accumulation-lost` | 3 | `zero_grad()` after `step()` only |
# | each batch size needs another rate | what is the loss of the batch taken twice? | `loss-is-a-sum` | 4 | `reduction="mean"` |
# | augmentation hardly helps | do two workers draw the same numbers? | `workers-alike` | 9 | torch's random numbers, or a seed for each worker |
# | a language model is too good to be true | do early outputs move with late tokens? | `future-leak` | 8 | a causal mask |

# %% [markdown]
# ## 7. The clinic
#
# Thirteen networks are waiting outside, each with its owner's story. Twelve are ill, and one of these has two faults at
# once. One is perfectly healthy and only has a worried owner. The first ten get harder and harder. The last three have
# faults from the second table above.

# %%
from dl_course.clinic import patient, second_opinion

for number in range(1, 14):
    print(f"{number:>2}  {patient(number).story}")

# %% [markdown]
# A patient has all the parts of a training: `model`, `loss_fn`, `optimizer`, `train_loader`, `val_loader`, `train_step`,
# `eval_step`, `epochs`. You can look at every part, try it and replace it. `patient(1)` gives you the first one afresh
# whenever you want, so you can't do any harm. `history()` trains a copy and returns its curves. Here are all of them.

# %% alt="Thirteen panels of accuracies in training and validation over the epochs; some rise, most stay low, in some the two are far apart" tags=["nbval-ignore-output"]
histories = {number: patient(number).history() for number in range(1, 14)}
figure, axes = plt.subplots(2, 7, figsize=(14, 4.6), sharey=True, layout="constrained")
axes.flat[-1].set_axis_off()
for ax, (number, table) in zip(axes.flat, histories.items(), strict=False):
    plots.learning_curves(table[["epoch", "train_accuracy", "val_accuracy"]], ax)
    ax.set(title=f"patient {number}", ylim=(0, 1.05), xlabel="", ylabel="")
    ax.get_legend().set_visible(number == 1)

# %% [markdown]
# An examination goes like this. In the first patient, the loss falls, as the owner said. But by how much? And how far do
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
# You know from chapter 05 what a healthy step looks like. So what is it, and which part would you change? The other twelve
# are yours. Work in the order of the checklist, and use whatever chapters 05 to 05c have given you. Only leave the check-up
# aside for now: if you ask it first, you won't learn to see.
#
# Write down what you find. Use the names of the table above, or `"healthy"`; for two faults write a set, `{"…", "…"}`. A
# second opinion tells you whether you are right, but not what it is. Where you aren't, it says what your diagnosis would
# have implied.

# %%
diagnosis = dict.fromkeys(range(1, 14))
# diagnosis[1] = "…"

second_opinion(diagnosis)

# %% [markdown]
# A name earns no points. What counts is whether the patient recovers.
#
# **Exercise.** Write `heal`. It gets a patient; `patient.number` says which one. Change what is wrong and nothing else: if
# you replace everything, you haven't found anything. (Making a new `Loader`, or a step of your own, is fine.) The check
# then trains your patients and tests them on digits they have never seen. Begin with one and check; each patient counts by
# itself.

# %% tags=["exercise"]
def heal(patient):
    """Change as little as possible so that the patient learns to read; return the patient."""
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
    elif patient.number == 11:
        patient.model.rows.batch_first = True  # it took pictures for rows
    elif patient.number == 12:  # each output met each label, (N, 1) - (N,)
        patient.loss_fn = lambda outputs, labels: F.mse_loss(outputs.squeeze(1), labels.float())
    elif patient.number == 13:
        for part in (patient.model.relu1, patient.model.relu2):
            part[1] = nn.Dropout(0.7)  # F.dropout, without the mode: on in evaluation, too
    return patient
    ### END SOLUTION

# %% tags=["check"]
check(heal)

# %% [markdown]
# Before and after (with the reference solution, as long as yours hasn't passed):

# %% tags=["nbval-ignore-output"]
given = unseen.tensors()

def reads(patient):
    """Return a patient's accuracy on unseen digits, after its training."""
    patient.train()
    return (patient.predict(given[0]).argmax(1) == given[1]).float().mean().item()

before = {number: reads(patient(number)) for number in range(1, 14)}
after = {number: reads(heal(patient(number))) for number in range(1, 14)}
pd.DataFrame({"before": before, "after": after}).rename_axis("patient").map("{:.0%}".format)

# %% [markdown]
# Look at the column *before*. Some of these patients didn't look so ill. That's what makes such faults dangerous. (Patient
# 12 puts out a number, and the nearest digit counts. To it, a 5 for a 4 is a small mistake: even cured, it stays behind.)
#
# Now, and only now: what would the check-up have said? The next cell asks it about the patients that you have diagnosed.

# %% tags=["nbval-ignore-output"]
rows = {}
for number, yours in diagnosis.items():
    if yours:
        report = checkup(**patient(number).arguments())
        causes = {each.fault for each in report if each.because is None}
        rows[f"patient {number}"] = {"yours": yours, "check-up": causes or "healthy"}
pd.DataFrame(rows).T if rows else "Write down a diagnosis above, then run this cell again."

# %% [markdown]
# Where you and the check-up agree, you have two witnesses. Where you don't, read its evidence and measure again. It isn't
# always right, either.

# %% [markdown]
# ## Summary
#
# - Networks fail silently. Measure, in order: data, model, loss, optimizer, trial.
# - A fresh network's cross-entropy is about $\ln C$. All parameters move in a step. Sixteen samples can be learned by heart.
# - Follow a forward pass with hooks, not by the order of definition. Find where a NaN *began*, and what that layer was
#   given.
# - Read curves relative to their first value, and know how many pictures an accuracy rests on.
# - Profile before you speed up.
# - Fix causes, not symptoms, one at a time, and change as little as you can.
#
# ## Check yourself

# %%
progress("05c")

# %% [markdown]
# ## Further reading
#
# - Andrej Karpathy: *A Recipe for Training Neural Networks*, 2019, where half of this checklist comes from
# - Humbatova et al.: *Taxonomy of Real Faults in Deep Learning Systems*, ICSE 2020: what goes wrong in practice
# - Cao et al.: *DeepFD: Automated Fault Diagnosis and Localization for Deep Learning Programs*, ICSE 2022
# - Goodfellow, Bengio, Courville: *Deep Learning*, chapter 11, Practical Methodology
# - PyTorch's documentation: *Autograd mechanics*, *torch.profiler*, *Anomaly detection*
