# %% [markdown]
# # 06 · The MNIST project: from a question to a network that others can use
#
# So far each chapter had one idea, and data made to fit it. A project works the other way round: there is a question,
# there are data, and nobody tells you what to do next. In this chapter you take one project from its first line to its
# last: read handwritten digits, know how well you do it, know where it fails, and hand it on.
#
# **You will be able to**
# - set a goal before you start, and a baseline that every later step has to beat
# - choose by validation alone, and open the test set once
# - say where a network fails, how far its confidence can be trusted, and which labels look wrong
# - test what must not change an answer, and what must
# - hand on a network in one file, with a card that says what it is for
#
# **Time:** two hours, and an hour for the report. **You need:** chapters 01 to 05b.

# %% [markdown]
# ## 1. The question
#
# *Which digit is this?* Before computing anything, write down three things. Later you'd be tempted to choose the ones
# that make you look good.
#
# - **The measure**: accuracy on pictures that the network has never seen.
# - **The goal**: 99.4 % on MNIST. Even people misread some of its digits, so 100 % wouldn't be a sensible goal.
# - **The budget**: 75 seconds of training on two CPU cores. Anyone who doubts your number should be able to repeat it.

# %%
import time
from pathlib import Path
from textwrap import shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course import ask, check, hint, progress, solution

sns.set_theme(style="white", palette="colorblind")

# %% [markdown]
# ## 2. The data
#
# The project is about **MNIST**. If it isn't on your disk and can't be downloaded, the course's small collection of
# digits stands in. The numbers will then differ, and the method stays the same. The next cell says which of the two you
# have.

# %% tags=["nbval-ignore-output"]
from dl_course.data import load, loader

collection = load("mnist", fallback="digits").name
parts = {part: load(collection, part) for part in ("train", "val", "test")}
pd.DataFrame({part: pictures.labels.bincount() for part, pictures in parts.items()})

# %% [markdown]
# Rows are digits, columns the three parts, and no digit is rare. Look at some pictures before you count anything else.

# %% tags=["nbval-ignore-output"] alt="Thirty handwritten digits, three of each kind, bright on black; some are slanted, some thick"
from dl_course.plots import image_grid

train, val = parts["train"], parts["val"]
chosen = torch.cat([(train.labels == digit).nonzero()[:3, 0] for digit in range(10)])
_ = image_grid(train.images[chosen], columns=10)

# %% [markdown]
# Could you read them all? The mean picture of each digit shows what its writers agree on; the standard deviation shows
# where they differ.

# %% tags=["nbval-ignore-output"] alt="Two rows of ten pictures: the mean of each digit, blurred, and below it where the writers differ"
pictures, labels = train.tensors()
groups = [pictures[labels == digit] for digit in range(10)]
means, spreads = (torch.stack([f(each, 0) for each in groups]) for f in (torch.mean, torch.std))
_ = image_grid(torch.cat([means, spreads]), columns=10)

# %% [markdown]
# Does any picture appear in two parts? Then a network could memorise it, and we would mistake memory for skill.

# %% tags=["nbval-ignore-output"]
seen = {picture.numpy().tobytes() for picture in train.images}
for part in ("val", "test"):
    twice = sum(picture.numpy().tobytes() in seen for picture in parts[part].images)
    print(f"{part}: {twice} of {len(parts[part]):,} pictures are in train, too")

# %% [markdown]
# ### Three parts, and why the last is sealed
#
# We learn from `train`. We look at `val` as often as we like, to choose: which network, how many epochs, which learning
# rate. Nobody looks at `test` until everything has been chosen. Why so strict? Because every choice makes the set it
# was made on less trustworthy. Here is a game without any network: a hundred students answer a hundred yes-or-no
# questions by tossing a coin. We celebrate the best one. Then comes a second exam, with new questions.

# %%
ask("06-second-exam")

# %% alt="A histogram of scores around one half; the best of the first exam lies far right, and falls back into the crowd in the second"
rng = np.random.default_rng(0)
first, second = rng.binomial(100, 0.5, size=(2, 100)) / 100
best = first.argmax()
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.hist(first, bins=np.arange(0.295, 0.705, 0.02), color="C0", alpha=0.6)
ax.axvline(first[best], color="C1", label=f"the best, in the first exam: {first[best]:.0%}")
ax.axvline(second[best], color="C2", linestyle="--", label=f"in the second: {second[best]:.0%}")
ax.set(xlabel="share of right answers", ylabel="students", title="a hundred students who guess")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# Nobody cheated. Picking the best of many was enough. The more you try on one set, the more of your best result there is
# luck. So never report the score that you chose by.

# %% [markdown]
# ## 3. Baselines
#
# What is 99 % worth? You can't say until you know what comes for free. So a project's first model is the simplest one
# that could possibly work.
#
# Here is one that needs no training. Take the mean picture of every digit, as above. A new picture gets the label of the
# nearest mean, by ordinary (Euclidean) distance: the square root of the summed squared differences.
#
# **Exercise.** Write `nearest_mean`. The labels may be any whole numbers, in any order.

# %% tags=["exercise"]
def nearest_mean(pictures: Tensor, labels: Tensor, new: Tensor) -> Tensor:
    """Return a label for each new picture (M, …): that of the class with the nearest mean.

    pictures (N, …) float, labels (N,) are those to learn from; new ones have the same shape.
    """
    ### BEGIN SOLUTION
    kinds = labels.unique()
    means = torch.stack([pictures[labels == kind].mean(0) for kind in kinds])
    distances = torch.cdist(new.flatten(1), means.flatten(1))  # (M, classes)
    return kinds[distances.argmin(1)]
    ### END SOLUTION

# %% tags=["check"]
check(nearest_mean)

# %% [markdown]
# From here on we keep a **log**: one row for everything we try, including what failed. In a month you won't remember.
# We write it to a file straight away.

# %% tags=["nbval-ignore-output"]
log = []


def note(what, val_accuracy, parameters=0, seconds=0.0):
    """Add a row to the log and its file; return the log as a table."""
    log.append({"what": what, "val_accuracy": val_accuracy})
    log[-1] |= {"parameters": parameters, "seconds": round(seconds, 1)}
    pd.DataFrame(log).to_csv("log.csv", index=False)
    return pd.DataFrame(log)


new, truth = val.tensors()
began = time.perf_counter()
right = nearest_mean(pictures, labels, new) == truth
note("nearest mean", right.double().mean().item(), 0, time.perf_counter() - began)

# %% [markdown]
# Ten blurred pictures already read most digits! So "80 % with a deep network" would prove nothing. The next baselines
# learn. First, the training itself, using what you know from chapter 04: SGD with momentum, and a learning rate that
# rises and falls once (the one-cycle schedule). The momentum is **Nesterov's**: it takes the gradient not where the
# weights are, but where the momentum is about to carry them.

# %%
from dl_course.training import Trainer, optimizers, schedules


def fit(model, train, val, epochs, peak, batch_size=256, wobbled=False, seed=0):
    """Train in place by one cycle of the learning rate; return the history."""
    model.to(memory_format=torch.channels_last)  # quicker on a CPU
    batches = loader(train, batch_size, shuffle=True, seed=seed, drop_last=True)
    batches = Wobbled(batches, seed) if wobbled else batches
    how = {"learning_rate": peak, "weight_decay": 5e-4, "nesterov": True}
    optimizer = optimizers.build("sgd", model, **how)
    steps = {"epochs": epochs, "steps_per_epoch": len(batches)}
    schedule = schedules.build("one-cycle", optimizer, **steps)
    work = {"loss_fn": F.cross_entropy, "optimizer": optimizer, "scheduler": schedule}
    return Trainer(model, batches, loader(val, 500), **work, progress=False).fit(epochs)

# %% [markdown]
# (`Wobbled` comes soon.) Logistic regression is a single linear layer: for each digit, it weights every pixel. The MLP
# of chapter 02 adds a hidden layer. On MNIST, each of them sees every picture just once. (On the small collection they
# get ten epochs, so that there are enough steps.)

# %% tags=["nbval-ignore-output"]
from dl_course.runtime import set_seed

many = collection == "mnist"
short = {"epochs": 1 if many else 10, "batch_size": 256 if many else 64}


def tried(what, model, **how):
    """Train a network, and note how it went."""
    began = time.perf_counter()
    history = fit(model, train, val, **short | how)
    parameters = sum(p.numel() for p in model.parameters())
    return note(what, history.last["val_accuracy"], parameters, time.perf_counter() - began)

# %% [markdown]
# Now train both.

# %% tags=["nbval-ignore-output"]
set_seed(0)
logistic = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
mlp = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
tried("logistic regression", logistic, peak=0.1)
tried("MLP", mlp, peak=0.1)

# %% [markdown]
# On MNIST each row costs more than the one before, and is more accurate. These are the numbers to beat.

# %% [markdown]
# ## 4. A network that fits the problem
#
# Chapter 03 explained why convolutions suit pictures. `DigitNet` is made for small pictures and a slow machine: three
# convolutions, the first with 5×5 kernels. The first two stages pool *before* batch norm and the ReLU, which leaves
# these a quarter of the work.

# %%
from dl_course.models import DigitNet, summary

summary(DigitNet(), (1, 28, 28), depth=1)

# %% [markdown]
# ### More pictures than there are
#
# A digit that is turned a little, shifted or slightly enlarged is still the same digit. So we can show it that way, and
# differently in every epoch: **augmentation**. It has to make sense, though. Turned by 180°, a 6 becomes a 9.
#
# torchvision's transforms either work picture by picture, which is slow here, or give a whole batch the same rotation.
# So we write our own: one matrix for each picture, and the whole batch at once.

# %%
ask("06-mirror")

# %%
def wobble(pictures, generator, degrees=8, shift=0.05, scale=0.08):
    """Return every picture of a batch, (N, C, H, W), turned, shifted and scaled by itself."""
    def draw(most):
        return (2 * torch.rand(len(pictures), generator=generator) - 1) * most

    angle, zoom = draw(degrees).deg2rad(), 1 + draw(scale)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = (cos, -sin, draw(2 * shift)), (sin, cos, draw(2 * shift))
    matrices = torch.stack([torch.stack(row, 1) for row in rows], 1)  # (N, 2, 3)
    places = F.affine_grid(matrices, pictures.shape, align_corners=False)
    return F.grid_sample(pictures, places, align_corners=False)

# %% [markdown]
# For every pixel of the new picture, `affine_grid` says where it comes from in the old one, and `grid_sample` fetches
# it. Always look at what an augmentation does to your pictures.

# %% tags=["nbval-ignore-output"] alt="Four rows: a digit as it is, and beside it seven versions, a little turned, shifted and scaled; all stay readable"
generator = torch.Generator().manual_seed(0)
shown = pictures[:4].repeat_interleave(8, 0)
wobbled = wobble(shown, generator)
wobbled[::8] = shown[::8]
_ = image_grid(wobbled.clamp(0, 1), columns=8)

# %% [markdown]
# The left column shows the originals. A wrapper around the loader gives the network new versions in every epoch. (It has
# a generator of its own, so that the run can be repeated.)

# %%
class Wobbled:
    """The batches of a loader, each picture wobbled."""

    def __init__(self, batches, seed=0):
        self.source, self.dataset = batches, batches.dataset
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self):
        return len(self.source)

    def __iter__(self):
        for pictures, labels in self.source:
            yield wobble(pictures, self.generator), labels

# %% [markdown]
# Now a short run, with as many steps as the baselines had. A trial of seconds can save many trials of minutes.

# %% tags=["nbval-ignore-output"]
set_seed(0)
quick = DigitNet()
tried("DigitNet, a short run", quick, peak=0.2, wobbled=True)

# %% [markdown]
# The best row so far, after so few steps. On to a long run.

# %% [markdown]
# ## 5. The run that counts
#
# It has been made for you: on MNIST, with `fit`, `wobble` and `Wobbled` exactly as above. Weights and history come with
# the course, together with a **card** that says how they were made.

# %%
from dl_course.models import model_card, trained

record = model_card("digitnet-mnist")
made = {key: record[key] for key in ("model", "data", "seed")} | record["recipe"]
pd.Series(made, name="recorded run").to_frame()

# %% [markdown]
# Nothing in that table was chosen using the test set. (With MNIST and a few minutes you can repeat the run:
# `set_seed(0)`, then `fit(DigitNet(), train, val, **record["recipe"])`.) Now look at how far apart the two curves are at
# the end.

# %% alt="Learning curves by epoch: after the first, training and validation lie close together, in loss and in accuracy, and flatten at the end"
from dl_course.plots import learning_curves

_ = learning_curves(pd.DataFrame(record["history"]))

# %% [markdown]
# After the first epoch they lie close together. Digits that look different in every epoch are hard to memorise, so the
# network has to learn what carries over to new ones. And the last epochs, with the learning rate falling to zero, still
# gain something.
#
# If you have MNIST, we take that network. If not, `DigitNet` now learns the small collection, with the same schedule.

# %% tags=["nbval-ignore-output"]
if many:
    model = trained("digitnet-mnist")
    accuracy = record["figures"]["val"]["accuracy"]
    numbers = sum(p.numel() for p in model.parameters())
    shown = note("DigitNet, recorded", accuracy, numbers, record["seconds"])
else:
    set_seed(0)
    model = DigitNet()
    shown = tried("DigitNet, a long run", model, epochs=40, peak=0.2, wobbled=True)
shown

# %% [markdown]
# ## 6. Your network
#
# Your turn. **The challenge:** at most 60,000 parameters, at most 60 seconds of training, and 99 % of MNIST's test
# pictures. (Without MNIST: 97 % of the small collection's.) How you do it is up to you. Your network gets pictures
# (N, 1, 28, 28) with values from 0 to 1, and returns ten scores for each.
#
# **Exercise.** Write `Challenge`. The cell below it trains your network and saves it; the check reads what you have
# saved. The check doesn't train, and it uses the test set: compare your attempts by the *validation* accuracy that the
# cell prints, and run the check when you're satisfied.

# %% tags=["exercise"]
class Challenge(nn.Sequential):
    """A convolutional network of at most 60,000 parameters: (N, 1, 28, 28) -> (N, 10)."""

    def __init__(self):
        super().__init__()
        ### BEGIN SOLUTION
        def stage(before, after, kernel, pool):
            conv = nn.Conv2d(before, after, kernel, bias=False)
            return nn.Sequential(conv, nn.MaxPool2d(pool), nn.BatchNorm2d(after), nn.ReLU())

        self.stage1 = stage(1, 16, kernel=5, pool=2)  # (N, 16, 12, 12)
        self.stage2 = stage(16, 32, kernel=3, pool=2)  # (N, 32, 5, 5)
        self.stage3 = stage(32, 64, kernel=3, pool=1)  # (N, 64, 3, 3)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(9 * 64, 10)
        ### END SOLUTION

# %% tags=["nbval-ignore-output"]
from safetensors.torch import save_model

set_seed(0)
try:
    mine = Challenge()
except NotImplementedError:
    print("Write Challenge above. Then this cell trains it, and saves it.")
else:
    how = {"epochs": 6, "batch_size": 256} if many else {"epochs": 40, "batch_size": 64}
    print(tried("my challenge", mine, **how, peak=0.2, wobbled=True).tail(1))
    save_model(mine.cpu(), "challenge.safetensors")

# %% tags=["check"]
check(Challenge)

# %% [markdown]
# This is what the reference solution reached when the course was made, on the *validation* set. How it did on the test
# set is nobody's business yet.

# %%
reference = model_card("challenge")
shown = {key: reference[key] for key in ("parameters", "seconds")}
pd.DataFrame(shown | reference["figures"]["val"], index=["reference"])

# %% [markdown]
# ## 7. Open the test, once
#
# Everything has been chosen. The log says on what grounds.

# %% tags=["nbval-ignore-output"]
pd.DataFrame(log).sort_values("val_accuracy", ascending=False)

# %% [markdown]
# We continue with `DigitNet` after its long run. (If your own is better, use that: `model = mine`. On the small
# collection a single validation picture moves the accuracy by half a percentage point, so rows may tie or swap places.)
#
# Now, for the only time, the test. How certain is its result? A test set is a sample, too: with digits from other
# writers, the number would have been different. The interval says how far such numbers would spread.

# %% tags=["nbval-ignore-output"]
from dl_course.evaluation import predict

test = parts["test"]
results = predict(model, test)
others = rng.binomial(len(test), results.accuracy, 10_000) / len(test)
low, high = np.quantile(others, [0.025, 0.975])
print(f"{results.accuracy:.2%} of {len(test):,} test digits are read")
print(f"95 % of such test sets would give {low:.2%} to {high:.2%}")

# %% [markdown]
# Report both the number and its interval. And is the network really better than the MLP, or was it lucky? Both saw the
# same pictures, so only those on which they disagree can tell.

# %%
ask("06-who-can-tell")

# %% tags=["nbval-ignore-output"]
from dl_course.evaluation import compare

mlp_results = predict(mlp, test)
compare(mlp_results, results)

# %% [markdown]
# If the two were equally good, each would be the right one on about half of these pictures. The p-value says how likely
# a split at least this uneven would then be by luck.

# %% [markdown]
# ## 8. Where does it fail?
#
# One number hides a lot. The report has a row for each digit. *Precision*: of the pictures called 7, how many are 7s?
# *Recall*: of the 7s, how many are called 7? *F1* is the harmonic mean of the two, and lies nearer to the smaller one.

# %% tags=["nbval-ignore-output"]
results.report().round(4)

# %% [markdown]
# What is mistaken for what? The **confusion matrix** tells: row *i*, column *j* counts how often an *i* was called *j*.
#
# **Exercise.** Write `confusion`. A class that never occurs still gets its row and its column.

# %% tags=["exercise"]
def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return the counts (classes, classes): row true class, column predicted class.

    labels, predicted: (N,), whole numbers from 0 to classes - 1.
    """
    ### BEGIN SOLUTION
    pairs = labels * classes + predicted  # a number of its own for each pair
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    ### END SOLUTION

# %% tags=["check"]
check(confusion)

# %% [markdown]
# The diagonal holds nearly everything, and would drown out the rest. We leave it out, so that only mistakes are left.

# %% tags=["nbval-ignore-output"] alt="A ten by ten table of mistakes, rows true digits, columns predicted ones: mostly zeros, with a few brighter fields"
from dl_course.plots import confusion_matrix

table = confusion(results.labels, results.predicted, classes=10)
ax = confusion_matrix(table - table.diag().diag(), results.classes)
_ = ax.set(title=f"{int(table.sum() - table.trace())} mistakes")

# %% [markdown]
# Don't describe such a picture from memory: we all "know" that 4s are mistaken for 9s. Sort the cells instead, and count
# both directions of a pair together.

# %% tags=["nbval-ignore-output"]
def pairs_of(table):
    """Return the pairs of classes by the number of mistakes, either way."""
    both = (table + table.T).triu(1)
    rows, columns = both.nonzero(as_tuple=True)
    frame = pd.DataFrame({"one": rows, "other": columns, "mistakes": both[rows, columns]})
    return frame.sort_values("mistakes", ascending=False, ignore_index=True)


pairs_of(table).head(6)

# %% [markdown]
# Start looking with the top pairs, and keep the counts in mind: a few mistakes more or fewer, in another test set, would
# change the order. A whole row or column that is bright is another matter: something about that class, or its data, is
# different. So sum up each row, and ask what its recall could be in other test sets.

# %% tags=["nbval-ignore-output"]
from scipy.stats import binomtest


def with_interval(right):
    """Return accuracy and its 95 % interval (Wilson's) of answers, bool."""
    low, high = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    accuracy = right.double().mean().item()
    mistakes = int((~right).sum())
    counts = {"n": len(right), "mistakes": mistakes}
    return counts | {"accuracy": accuracy, "from": low, "to": high}


digits = {d: with_interval(results.correct[results.labels == d]) for d in range(10)}
pd.DataFrame(digits).T.sort_values("accuracy").round(4)

# %% [markdown]
# ## 9. The worst mistakes
#
# A network that is wrong while in doubt is honest. The worst mistakes are the confident ones. Look at every one of them:
# nothing else teaches you as much about your data.
#
# **Exercise.** Write `worst_mistakes`. A network's confidence is the softmax probability of its answer.

# %% tags=["exercise"]
def worst_mistakes(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return the places in the set of the k mistakes made with most confidence, that one first.

    logits (N, C), labels (N,). Fewer than k, where there are fewer mistakes.
    """
    ### BEGIN SOLUTION
    confidence, predicted = logits.softmax(1).max(1)
    wrong = (predicted != labels).nonzero().flatten()
    return wrong[confidence[wrong].argsort(descending=True)[:k]]
    ### END SOLUTION

# %% tags=["check"]
check(worst_mistakes)

# %% [markdown]
# *Which stroke decided?* It is tempting to draw a heat map and tell a story about it. Ask for evidence instead: cover a
# window of 5×5 pixels with black, and see how the lead of the wrong answer over the label changes. If one stroke decided,
# then covering it should turn the answer.

# %%
ask("06-cover-the-best")

# %% tags=["nbval-ignore-output"]
places = [(row, column) for row in range(0, 28, 2) for column in range(0, 28, 2)]


def covered(picture, place, reach=2):
    """Return a picture (1, H, W), or a batch of them, with a black window around a place."""
    row, column = place
    copy = picture.clone()
    top, left = max(row - reach, 0), max(column - reach, 0)
    copy[..., top : row + reach + 1, left : column + reach + 1] = 0
    return copy

# %% [markdown]
# Take every mistake, and ask the network about each window.

# %% tags=["nbval-ignore-output"]
wrong = worst_mistakes(results.logits, results.labels, len(test))  # all of them
inputs = test.tensors(wrong)[0]
said, true = results.predicted[wrong], results.labels[wrong]
model.cpu().eval()
with torch.inference_mode():
    before, *after = (model(x) for x in (inputs, *(covered(inputs, p) for p in places)))

# %% [markdown]
# Now how much each window takes from the lead, and whether covering it turns the answer into the label.

# %% tags=["nbval-ignore-output"]
def lead(scores):
    """Return by how much the wrong answer leads over the label: (mistakes,)."""
    return (scores.gather(1, said[:, None]) - scores.gather(1, true[:, None]))[:, 0]


drops = torch.stack([lead(before) - lead(scores) for scores in after], 1)  # (mistakes, windows)
turned = torch.stack([scores.argmax(1) == true for scores in after], 1)
best = drops.argmax(1)

# %% tags=["nbval-ignore-output"] alt="Two rows of misread digits: above, each under a map of what supports the wrong answer; below, the strongest window covered, and the answer that this gives"
first = range(min(8, len(wrong)))
maps = drops.clamp(min=0).reshape(len(wrong), 1, 14, 14)
maps = maps / maps.amax((2, 3), keepdim=True).clamp(min=1e-6)
maps = F.interpolate(maps, size=(28, 28))[:, 0]
shown = [inputs[i] for i in first] + [covered(inputs[i], places[best[i]]) for i in first]
sure = results.confidence[wrong]
titles = [f"said {said[i]} ({sure[i]:.0%})\nlabel {true[i]}" for i in first]
titles += [f"then: {after[best[i]][i].argmax()}" for i in first]
if first:
    figure, ax = plt.subplots(figsize=(12, 3.8), layout="constrained")
    heat = torch.cat([maps[: len(first)], torch.zeros(len(first), 28, 28)])
    image_grid(torch.stack(shown), titles, ax, heat=heat, columns=len(first))

# %% [markdown]
# In yellow windows, the ink speaks most for the wrong answer. In the second row that one window is covered, and the
# title says what the network answers now. Often you can follow it: a loop that is nearly closed, a hook too many.
#
# But we searched for that window, among many, by the very thing that we now report. So count over *all* mistakes, and
# put beside it what you get without searching: a random window on the ink, and the peak of a Grad-CAM map. Chapter 05b's
# rule for Grad-CAM is the last layer with a height and a width: here `stage3`, with maps of just 3×3.

# %% tags=["nbval-ignore-output"]
from dl_course.explain import gradcam

ink = torch.stack([inputs[:, 0, row, column] > 0.3 for row, column in places], 1)
peaks = {"searched: the best window": best}
for layer in ("stage2", "stage3") if len(wrong) else ():
    cam = gradcam(model, inputs, layer, said).cpu()
    peaks[f"Grad-CAM's peak, {layer}"] = cam[:, ::2, ::2].flatten(1).argmax(1)
some = torch.multinomial(ink.double(), 1, generator=torch.Generator().manual_seed(0))[:, 0]
peaks["a random place on the ink"] = some
each = torch.arange(len(wrong))
table = {name: with_interval(turned[each, at]) for name, at in peaks.items() if len(wrong)}
table = pd.DataFrame(table).T.drop(columns="mistakes", errors="ignore")
table = table.rename(columns={"accuracy": "turned into the label"})
table.assign(on_ink=[int(ink[each, p].sum()) for p in peaks.values()][: len(table)]).round(2)

# %% [markdown]
# On MNIST, the search finds a deciding window for most mistakes. (No wonder: it asked nearly two hundred questions
# about each picture.) Grad-CAM's peak isn't shown to do better than a random place on the ink: look at the intervals.
# Most of its peaks don't even lie on ink. (Without MNIST there are too few mistakes to say any of this.) In a network
# this small, on maps this coarse, don't read strokes out of it.

# %% [markdown]
# ## 10. Which labels are wrong?
#
# People assigned these labels, thousands of them. Suspect a label if two networks that were built differently agree
# with each other but not with it. The CNN and the MLP were trained independently. Here are the pictures on which both
# are most confident of the same other digit.

# %% tags=["nbval-ignore-output"] alt="Up to eight digits whose label both networks doubt, each with the label and what both say; some labels look wrong"
answer = results.predicted[:, None]
sure = [each.probabilities.gather(1, answer).flatten() for each in (results, mlp_results)]
both = torch.minimum(*sure) * ~results.correct
suspects = both.argsort(descending=True)[: min(8, int((both > 0).sum()))]
titles = [f"label {results.labels[i]}\nboth: {results.predicted[i]}" for i in suspects]
if len(suspects):
    _ = image_grid(test.images[suspects], titles, columns=8)
else:
    print("Not one mistake!")

# %% [markdown]
# Cover the titles, and read the digits yourself. For some of them you'll side with the networks: those labels look
# wrong. For others the label is right, and both networks fell into the same trap.
#
# Don't correct a test set in secret, or nobody can compare results with you. Report what you found, and how much it
# could change your number. It also tells you when to stop: no network should reach 100 % here.

# %% [markdown]
# ## 11. Slices, and what must not change an answer
#
# Accuracy is a mean over all pictures, and some groups may fare worse: **slices**. We cut the test by two things that
# can be measured: how much ink there is, and how far the digit leans.

# %% tags=["nbval-ignore-output"]
images = test.tensors()[0][:, 0]
across = torch.arange(28) - 13.5
mass = images / images.sum((1, 2), keepdim=True)
x, y = (mass * across).sum((1, 2)), (mass * across[:, None]).sum((1, 2))
dx, dy = across - x[:, None, None], across[:, None] - y[:, None, None]
lean = -(mass * dx * dy).sum((1, 2)) / (mass * dy**2).sum((1, 2))  # 1: by 45° to the right
sizes = {"ink": images.mean((1, 2)), "lean": lean}
rows = {}
for what, values in sizes.items():
    quarter = torch.bucketize(values, values.quantile(torch.tensor([0.25, 0.5, 0.75])))
    for q in range(4):
        rows[f"{what}, quarter {q + 1}"] = with_interval(results.correct[quarter == q])
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# Look for a slice whose interval lies apart from the others', and remember that of eight slices, one will look worst
# by luck alone. If a slice is worse on new pictures, too, collect more like it.
#
# A **behavioural test** asks something else: what may I do to a picture without changing the answer? Write it down
# before you measure. Turned by 10°, a digit must get the same answer. So must one that is shifted, darker, noisy, or
# written with a thicker pen. And some changes *must* alter it: a 6 that stands on its head is a 9. (These tests need
# no labels, only pairs of pictures. For that reason you can also run them on pictures that nobody has labelled.)

# %%
ask("06-must-it-change")

# %% tags=["nbval-ignore-output"]
from torchvision.transforms.v2 import functional as transform

noise, smooth = torch.Generator().manual_seed(0), transform.InterpolationMode.BILINEAR
changes = {
    "turned by 10°, left": lambda x: transform.rotate(x, 10, smooth),
    "turned by 10°, right": lambda x: transform.rotate(x, -10, smooth),
    "shifted by 2 pixels": lambda x: transform.affine(x, 0, [2, 0], 1, [0, 0]),
    "half as bright": lambda x: x / 2,
    "noise of 0.1": lambda x: (x + 0.1 * torch.randn(x.shape, generator=noise)).clamp(0, 1),
    "a thicker pen": lambda x: F.max_pool2d(x, 3, stride=1, padding=1),
    "black on white": lambda x: 1 - x,
}

# %% tags=["nbval-ignore-output"]
some, kinds = test.tensors(torch.arange(0, len(test), max(1, len(test) // 1000)))


@torch.inference_mode()
def answers(pictures):
    return torch.cat([model(batch).argmax(1) for batch in pictures.split(500)])


asked = answers(some)
kept = {name: with_interval(answers(change(some)) == asked) for name, change in changes.items()}
nines = with_interval(answers(some[kinds == 6].rot90(2, (2, 3))) == 9)
behaviour = pd.DataFrame(kept | {"6 on its head → 9": nines}).T
behaviour = behaviour.rename(columns={"mistakes": "failed", "accuracy": "passed"})
behaviour.round(3)

# %% [markdown]
# These are shares of answers that stay the same, right or wrong; in the last row, of sixes that become nines. Turns of
# 10° go just beyond the 8° of our augmentation. Which rows you can accept depends on the purpose. A row that fails
# tells you what to do: more augmentation of that kind, preparing pictures differently, or a line on the card. Here
# the black-on-white row shows what the network takes for granted.

# %% [markdown]
# ## 12. Can its confidence be trusted?
#
# Of a hundred pictures on which it is 90 % confident, ninety should be right. Sort the pictures into bins by confidence,
# and in each bin compare the mean confidence with the accuracy. The **expected calibration error** (ECE) is the mean of
# these gaps, each weighted by its bin's share of all pictures:
#
# $$ \mathrm{ECE} = \sum_b \frac{n_b}{N}\,\bigl|\,\mathrm{confidence}_b - \mathrm{accuracy}_b\,\bigr| $$
#
# **Exercise.** Write `calibration_error`. Bin $b$ of $B$ holds confidences above $(b-1)/B$ and up to $b/B$.

# %% tags=["exercise"]
def calibration_error(confidence: Tensor, correct: Tensor, bins: int) -> Tensor:
    """Return the expected calibration error, in bins of equal width: one number from 0 to 1.

    confidence (N,) from 0 to 1 · correct (N,) bool: whether each answer was right.
    """
    ### BEGIN SOLUTION
    number, error = (confidence * bins).ceil(), torch.zeros((), dtype=torch.double)
    for inside in (number == b for b in number.unique()):
        gap = confidence[inside].double().mean() - correct[inside].double().mean()
        error += gap.abs() * inside.double().mean()
    return error
    ### END SOLUTION

# %% tags=["check"]
check(calibration_error)

# %% [markdown]
# An ECE has to be compared with something, too. Even a perfectly calibrated network gets more than 0, because in a small
# bin the accuracy is never exactly the confidence. So we simulate that: let every answer be right with just the
# probability that the network gave it, and compute the ECE. What it stays below in 95 % of such draws is our yardstick.

# %% tags=["nbval-ignore-output"]
def perfect(found, bins=15, draws=200):
    """Return what a perfectly calibrated network's ECE stays below in 95 % of draws."""
    sure = found.confidence.numpy()
    place = np.ceil(sure * bins).astype(int)
    drawn = (rng.random((draws, len(sure))) < sure) - sure
    gaps = [np.bincount(place, each, minlength=bins + 1) for each in drawn]
    return np.quantile(np.abs(gaps).sum(1) / len(sure), 0.95)

# %% tags=["nbval-ignore-output"]
def judged(found, T=1.0):
    """Return a row: temperature, ECE, its yardstick, loss and accuracy."""
    ece = calibration_error(found.confidence, found.correct, bins=15).item()
    row = {"T": T, "ECE": ece, "perfect: up to": perfect(found), "loss": found.loss}
    return row | {"accuracy": found.accuracy, "n": len(found)}


pd.DataFrame({"DigitNet": judged(results)}).T.round(4)

# %% [markdown]
# If the first ECE is below the second number, this test set gives no reason to doubt the network's confidence. Then there
# is nothing to repair, and no reason to try.
#
# For something to repair we need a network that *is* overconfident. Here is a reliable way to get one: train the MLP on
# 150 pictures until it is right about all of them.

# %% tags=["nbval-ignore-output"]
from dl_course.evaluation import fit_temperature, temperature_scaled


def overconfident(seed):
    """Return an MLP trained on 150 pictures."""
    set_seed(seed)
    few = train.subset(torch.randperm(len(train))[:150])
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    history = fit(model, few, few, epochs=60, peak=0.1, batch_size=50, seed=seed)
    print(f"seed {seed}: {history.last['train_accuracy']:.1%} of its 150 pictures")
    return model

# %% [markdown]
# The remedy costs one number. Divide all logits by a **temperature** $T$: above 1 it makes a network less confident,
# below 1 more, and it never changes an answer. $T$ is found on the validation set, by minimising the loss there.

# %%
ask("06-temperature")

# %% tags=["nbval-ignore-output"]
rows, scaled = {}, {}
for seed in range(3):
    small = overconfident(seed)
    on_val, on_test = predict(small, val), predict(small, test)
    scaled[seed] = on_test, temperature_scaled(on_test, on_val)
    rows[f"seed {seed}, as trained"] = judged(on_test)
    rows[f"seed {seed}, with T"] = judged(scaled[seed][1], fit_temperature(on_val))
pd.DataFrame(rows).T.round(4)

# %% [markdown]
# Compare the loss, which punishes false confidence, before and after; then the ECE with its yardstick. One number for
# all pictures can't repair every bin. And the ECE depends on the bins and on how many pictures they hold. Here are the
# bins, for the first seed. A calibrated network lies on the diagonal; below it, a network promises too much, above it
# too little. Read the lower panels first: a point that rests on a handful of pictures says nothing.

# %% tags=["nbval-ignore-output"] alt="Above, two reliability diagrams of the MLP on 150 digits, as trained and with temperature; below, how many pictures each bin holds, by far the most in the last"
figure, axes = plt.subplots(
    2, 2, figsize=(9, 5.5), sharex=True, height_ratios=[3, 1], layout="constrained"
)
scales = "as trained", "with temperature"
for above, below, name, each in zip(*axes, scales, scaled[0], strict=True):
    calibration = each.calibration()
    calibration.plot(above).set(title=name, xlabel="")
    bins = calibration.table
    below.bar(bins["up to"] - 1 / 30, bins["count"], width=1 / 16)
    below.set(yscale="log", ylabel="pictures", xlabel="confidence")
sns.despine()

# %% [markdown]
# ## 13. Hand it on
#
# A network that only runs in your notebook isn't a result. A `Predictor` is the network together with what it needs: the
# names of its classes, and how pictures are prepared. `save` puts all of it into *one* file of numbers and text. There
# is no code in it, so nobody has to trust you to open it.

# %%
from dl_course.evaluation import Predictor

about = {"classes": test.classes, "shape": (1, 28, 28), "architecture": {"name": "digitnet"}}
predictor = Predictor(model, **about)
predictor.save("digits.safetensors")

again = Predictor.load("digits.safetensors")
some = list(test.images[:100])
print(again)
before, after = predictor.probabilities(some), again.probabilities(some)
print("the same answers:", torch.allclose(before, after, atol=1e-5))

# %% [markdown]
# It takes files, arrays and tensors of any size, in grey or colour. If it can't read something, it says so and says why,
# which is better than a guess.

# %%
for nonsense in ("log.csv", np.zeros(28), torch.full((1, 28, 28), 255.0)):
    try:
        again(nonsense)
    except ValueError as error:
        print(shorten(str(error), 90, placeholder=" …"))

# %% [markdown]
# ### The model card
#
# People who get your file will use it for things that you never thought of. The card says what it is for, what it was
# measured on, and what it can't do. Its numbers come from the cells above, not from your memory.

# %% tags=["nbval-ignore-output"]
size = Path("digits.safetensors").stat().st_size
error = results.calibration().ece
weakest = results.report().iloc[:10]["f1-score"].idxmin()
steady, inverted = behaviour["passed"][["turned by 10°, left", "black on white"]]

# %% [markdown]
# With these figures the card writes itself.

# %% tags=["nbval-ignore-output"]
from IPython.display import Markdown

card_text = f"""**Model card: {type(model).__name__}**
- *Purpose*: reads one handwritten digit, bright on black. For learning, not for cheques.
- *Learned from*: {train}. Validated on {len(val):,}, tested once on {len(test):,}.
- *Accuracy*: {results.accuracy:.2%} (95 %: {low:.2%} to {high:.2%}).
- *Weakest digit*: {weakest}, by its F1.
- *Confidence*: calibration error {error:.4f}; no temperature applied.
- *Behaviour*: {steady:.1%} of answers stay when a digit is turned left by 10°.
- *Cost*: {sum(p.numel() for p in model.parameters()):,} parameters, {size / 1000:.0f} kB.
- *Limits*: it always answers, even for a letter or an empty page. Black on white, only
  {inverted:.0%} of answers stay. Other pens, other countries: not tested.
"""
Markdown(card_text)

# %% [markdown]
# Is that limit true? Ask it about noise, and about an empty page.

# %% tags=["nbval-ignore-output"]
noise = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
again([noise, torch.zeros(1, 28, 28)]).assign(picture=["noise", "empty"])

# %% [markdown]
# It names a digit whatever you show it: it has never learned to say "none". Its confidence means something only for
# pictures like the ones it was measured on.

# %% [markdown]
# ## 14. Your report
#
# Write it for someone who wasn't there: one page, in your own words, about *your* network. This part is graded by hand.
#
# | points | what we look for |
# | --- | --- |
# | 2 | **Question and data**: the measure, the goal, how the parts were made, what you noticed in the pictures |
# | 2 | **What you tried**: the log, including what failed, and how you chose |
# | 2 | **Result**: one test number with its interval, beside a baseline |
# | 2 | **Mistakes**: three pictures, each with a reason; at least one label that you doubt |
# | 1 | **Limits**: where you would not use it |
# | 1 | **Repeatable**: seed, epochs, time, machine; another person gets your number |
#
# A poor result that is well explained earns more than a good one that came out of nowhere.

# %% [markdown]
# *Your report goes here: double-click, and write.*
#
# **Question and data.** …
#
# **What I tried.** …
#
# **Result.** …
#
# **Mistakes.** …
#
# **Limits.** …
#
# **How to repeat it.** …

# %% [markdown]
# ## 15. Draw a digit
#
# Now let it read your handwriting. Draw with the mouse or a finger. The pad centres and scales your digit as MNIST's
# were and shows what the network makes of it; Grad-CAM and feature maps change while you draw. (It uses the recorded
# network. Where this page is only displayed, not run, you see a drawing that comes with the pad.)

# %% tags=["nbval-ignore-output"] alt="The drawing pad: a drawn digit under its heat map, bars of ten probabilities, and the feature maps of a layer"
from dl_course.widgets import DrawingPad

reader = Predictor(trained("digitnet-mnist"), **about)
pad = DrawingPad(reader)
pad

# %% [markdown]
# Try a 7 with a bar through it, a 1 with a serif, a 9 that is open at the top. Draw slowly, and watch which stroke tips
# the answer. Then draw something that isn't a digit. Without a mouse, give `pad.predict` any picture.

# %% [markdown]
# ## Summary
#
# - Goal, measure and budget come first, then a baseline that costs nothing.
# - Choose by validation; test once. The best of many tries is partly luck.
# - Keep a log of everything, with seeds and seconds.
# - Look at every confident mistake. Some of them are labelling errors.
# - A story about a heat map is a hypothesis. Cover the place, and count.
# - State what must not change the answer, and test it; what fails belongs on the card.
# - If a network is overconfident, a temperature found on validation can repair that. It changes no answer.
# - Hand on one file with its preparation, and a card that says where not to use it.
#
# ## Check yourself

# %%
progress("06")

# %% [markdown]
# ## Further reading
#
# - LeCun, Bottou, Bengio, Haffner: *Gradient-Based Learning Applied to Document Recognition*, 1998, where MNIST comes from
# - Guo et al.: *On Calibration of Modern Neural Networks*, ICML 2017
# - Northcutt, Athalye, Mueller: *Pervasive Label Errors in Test Sets*, NeurIPS 2021, with MNIST's (labelerrors.com)
# - Mitchell et al.: *Model Cards for Model Reporting*, 2019
# - Smith, Topin: *Super-Convergence*, 2018, about the one-cycle schedule
# - Karpathy: *A Recipe for Training Neural Networks*, 2019
