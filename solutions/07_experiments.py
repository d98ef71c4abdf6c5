# %% [markdown]
# # 07 · Experiments: from one run to an answer you can defend
#
# "Augmentation helps." "The wider network is better." How do you know? Mostly somebody trained twice, once in each
# way, and the larger number won. In this chapter you learn why that is no answer yet, and what is one: runs that
# anybody can repeat, several seeds instead of one, and a comparison that says how far it could be luck. Then the
# machine may search by itself, while you sleep.
#
# **You will be able to**
# - write a training down as a file, change it from the command line, and repeat it to the last bit
# - say how much of a difference between two settings is noise
# - search with Optuna, stop what is hopeless, and go on after a crash
# - train with several processes and get the result of one; find out what a training waits for
#
# **Time:** 90 minutes. **You need:** chapters 01 to 04.

# %% [markdown]
# ## 1. A training is a list of decisions
#
# Which data, which network, which learning rate, how many epochs, which seed? In a notebook these decisions are
# scattered over its cells. You change one, run half of the cells again, and an hour later nobody can say what the
# best number was made with. So let's collect them in one place.

# %%
import copy
import subprocess
import sys
import tempfile
from pathlib import Path

# %%
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import seaborn as sns
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from dl_course import check, hint, progress, solution

sns.set_theme(style="white", palette="colorblind")

# %% [markdown]
# That place is a **config**: a small text file, in a format called YAML. Here is ours. It is made for a page that
# should be quick: two fifths of the digits' training pictures to learn from, three tenths to judge by, and a small
# network. (On so little work a graphics card would only lose time, hence `cpu`.)

# %%
folder = Path(tempfile.mkdtemp())
text = """\
name: small
data: {name: digits, batch_size: 32, splits: [0.4, 0.3, 0.3]}
model: {name: digitnet, base_channels: 4}
training:
  epochs: 3
  learning_rate: 0.01
  scheduler: warmup-cosine
  device: cpu
"""
_ = (folder / "small.yaml").write_text(text)

# %% [markdown]
# What isn't written there has a default value. `load_config` fills it in, and gives a *dataclass*: plain Python
# objects with named fields. Look at how much the training needs to know.

# %%
from dataclasses import asdict

from dl_course.experiments import load_config

experiment = load_config(folder / "small.yaml")
pd.Series(asdict(experiment.training), name="training").to_frame()

# %% [markdown]
# ### A config should be strict
#
# The most expensive mistake in a config is a misspelled name. A generous program skips what it doesn't know, trains
# all night with the default, and you learn that your setting "makes no difference". So everything is checked before
# the first step. Three mistakes, one at a time:

# %%
mistakes = {"epochs": "epohcs", "learning_rate: 0.01": "learning_rate: fast"}
for right, wrong in (mistakes | {"batch_size: 32": "batch_size: 0"}).items():
    (folder / "wrong.yaml").write_text(text.replace(right, wrong))
    try:
        load_config(folder / "wrong.yaml")
    except ValueError as error:
        print(str(error).replace(f"{folder}/", ""))

# %% [markdown]
# A name, a type and a value, each refused with its line. That costs a second now, or a night later.
#
# ### The same, but for one thing
#
# Nobody writes a new file to try five epochs instead of three. One overrides: the file, *but with*
# `training.epochs=5`. The name is the way down through the sections, and on a command line every value comes as text.
#
# **Exercise.** Write `override`. Four things can go wrong in silence. The original changes, too. The section's other
# values get lost. A misspelled name is added as a new one. And `"false"` becomes `True`.

# %% tags=["exercise"]
def override(config: dict, changes: dict[str, str]) -> dict:
    """Return the config with changes such as {"training.epochs": "3"}; the original stays.

    Each text becomes the type of the value that it replaces: int, float, str, or bool ("true",
    "false"). A name that the config doesn't have raises ValueError.
    """
    ### BEGIN SOLUTION
    new = copy.deepcopy(config)
    for name, text in changes.items():
        *sections, key = name.split(".")
        place = new
        for section in sections:
            place = place.get(section, {})
        if key not in place:
            raise ValueError(f"unknown name '{name}'")
        kind = type(place[key])
        place[key] = text == "true" if kind is bool else kind(text)
    return new
    ### END SOLUTION

# %% tags=["check"]
check(override)

# %% [markdown]
# The course's `changed` does it with a whole experiment, and checks the values again. So does the command line, where
# most trainings are started: no notebook has to be open, and it runs on any machine.
#
# ```sh
# dl-course train --config small.yaml --training.epochs 2
# ```
#
# The next cell does what that line does. (`main` is the function behind the command. A notebook has all of PyTorch
# loaded; a program of its own would load it again first, for some seconds.)

# %% tags=["nbval-ignore-output"]
from dl_course.cli import main

options = "--config", f"{folder}/small.yaml", "--runs", f"{folder}/first"
_ = main(["train", *options, "--training.epochs", "2"])

# %% [markdown]
# ## 2. What a run leaves behind
#
# A number without its origin is worth nothing next month. So each run gets a folder of its own, never one that is
# there already, and leaves in it all that is needed to know what was done, and to do it again.

# %%
from dl_course.experiments import Run, changed, train

run = train(experiment, folder / "twice", progress=False)
print(run.folder.name, sorted(path.name for path in run.folder.iterdir()))

# %% [markdown]
# - `config.yaml`: every decision, defaults included
# - `about.json`: the version of the code (git), which data, which versions of the libraries, which machine
# - `history.csv` and `tensorboard`: every epoch, as a table and as curves
# - `best.pt` and `latest.pt`: the weights, of the best epoch and of the last
# - `metrics.json`: how it ended
#
# "Which data" is more than a name, for a file of that name may change. A **checksum** is a fingerprint of all
# pictures and labels: one pixel changes, and it is another.

# %% tags=["nbval-ignore-output"]
made_of = run.about
print("about:", ", ".join(made_of))
print("pictures to learn from, and to judge by:", made_of["data"]["pictures"])
print("checksum:", made_of["data"]["sha256"][:16], "…")

# %% [markdown]
# Can the run be repeated? That is easily claimed. Let's do it: the same file once more, and then compare not the
# accuracies but all the weights, bit by bit.

# %%
again = train(experiment, folder / "twice", progress=False)
first, second = (each.model("latest").state_dict() for each in (run, again))
print("folders:", run.folder.name, "and", again.folder.name)
print("the same weights:", all(torch.equal(first[name], second[name]) for name in first))

# %% [markdown]
# On one machine and a CPU it is the same to the last bit. (On a graphics card, or with another version of PyTorch,
# sums may be added up in another order, and the last digits differ.) Whoever doubts your number can have it again.
# And if a run differs one day, you know that something has changed: the code, the data, or the versions, all of which
# you can look up.
#
# Watching many runs over weeks is called **tracking**. Start TensorBoard on the folder above them all, and every run
# is a line in the same picture: `tensorboard --logdir runs`. Services such as Weights & Biases do the same on a
# website, for a whole team; chapter 04 has the callback for it.

# %% [markdown]
# ## 3. The same training, five times
#
# One decision we haven't talked about: the seed. It is among the defaults. It decides the first weights, the order of
# the pictures, what dropout switches off. It has no meaning. 0 isn't better than 1. So what happens if *only* the
# seed changes?

# %% tags=["nbval-ignore-output"]
from dl_course.experiments import figures, run_table

def several(name, changes, seeds=range(5)):
    """Train once with each seed; return the runs."""
    config = changed(experiment, {"name": name} | changes)
    each = (changed(config, {"training.seed": seed}) for seed in seeds)
    return [train(one, folder / "runs", progress=False) for one in each]

plain = several("plain", {})
run_table(plain)[["training.seed", "val_accuracy", "val_loss"]].round(4)

# %% [markdown]
# Same data, same network, same settings, and five accuracies. Suppose each row were an idea of yours. You'd praise
# the best one, and drop the worst.
#
# Now a real idea: the learning rate falls to zero by a schedule, so leave that out, and keep it constant. Is it
# worse? Both settings five times:

# %% tags=["nbval-ignore-output"] alt="Two rows of five dots, one row a setting, with a bar at the mean of each row"
from dl_course.experiments import draw_seeds

constant = several("constant", {"training.scheduler": "none"})
_ = draw_seeds(figures(plain + constant))
sns.despine()

# %% [markdown]
# A dot is a run, a bar a mean. Whoever runs each setting once picks one dot of each row, and doesn't know which. How
# often would they find the constant rate at least as good?

# %% tags=["nbval-ignore-output"]
def scores(runs, metric="val_accuracy"):
    """Return the metric of each run, (seeds,)."""
    return torch.tensor([run.metrics[metric] for run in runs], dtype=torch.double)

a, b = scores(plain), scores(constant)
pairs = b[:, None] >= a  # every run of the one beside every run of the other
print(f"constant is at least as good in {pairs.double().mean():.0%} of all pairs of runs")

# %% [markdown]
# ### How large is the noise?
#
# Take the runs of *one* setting: what differs between them is noise. Its size is their standard deviation. But five
# runs are few to measure a deviation by. If there are several settings, and chance disturbs all of them about alike,
# they can help each other: subtract from every run the mean of its own setting, and measure what is left over all of
# them.
#
# $$ s = \sqrt{\frac{\sum_i \sum_k \left(x_{ik} - \bar{x}_i\right)^2}{\sum_i \left(n_i - 1\right)}} $$
#
# Setting $i$ has $n_i$ runs. Below stands $n_i - 1$, because one run of each setting is used up by its mean. It is
# called the *pooled* standard deviation.
#
# **Exercise.** Write `seed_noise`. Mind that settings may have different numbers of runs, some of them a single one.

# %% tags=["exercise"]
def seed_noise(scores: list[Tensor]) -> Tensor:
    """Return the pooled standard deviation within settings, one number.

    scores: a tensor (seeds,) for each setting, of any length from 1.
    """
    ### BEGIN SOLUTION
    squares = sum(((each - each.mean()) ** 2).sum() for each in scores)
    free = sum(len(each) - 1 for each in scores)
    return (squares / free) ** 0.5
    ### END SOLUTION

# %% tags=["check"]
check(seed_noise)

# %% [markdown]
# Now we can spot the noise. Two single runs of the *same* setting differ by up to $1.96\sqrt{2}\,s$ in 95 of 100
# cases. Whatever is smaller than that, two single runs can't tell.

# %% tags=["nbval-ignore-output"]
noise = seed_noise([a, b]).item()
visible = 1.96 * 2**0.5 * noise
print(f"noise of a run: {noise:.2%}; two single runs differ by luck up to {visible:.2%}")
print(f"the means differ by {(b.mean() - a.mean()).item():+.2%}")

# %% [markdown]
# How many results that you have read were single runs, and smaller than such a band?

# %% [markdown]
# ## 4. Two settings, honestly compared
#
# More seeds make a mean surer. And there is a second trick: **pairs**. Runs of the same seed have something in
# common: the same order of the pictures, the same augmentation, where the networks are alike even the same first
# weights. So compare seed by seed. What both owe to a lucky seed drops out of the difference.

# %% tags=["nbval-ignore-output"] alt="Five lines, one for each seed, from the accuracy with the schedule on the left to that without on the right"
figure, ax = plt.subplots(figsize=(4.5, 3), layout="constrained")
for seed, pair in enumerate(zip(a, b, strict=True)):
    ax.plot(["plain", "constant"], pair, "o-", label=f"seed {seed}")
ax.set(ylabel="validation accuracy", xlim=(-0.3, 1.3))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# Every line is a difference $d$. Of $n$ of them we know the mean $\bar{d}$, and their standard deviation $s_d$. The
# mean itself is surer than a single one, by the root of $n$. So an interval that holds the true difference in 95 of
# 100 experiments is
#
# $$ \bar{d} \;\pm\; t_{0.975,\,n-1} \cdot \frac{s_d}{\sqrt{n}} $$
#
# With hundreds of seeds the factor $t$ would be the well-known 1.96. With few it must be larger, because $s_d$ itself
# is uncertain. See what few seeds cost:

# %%
seeds = [2, 3, 4, 5, 10, 30, 300]
factors = {"factor t": stats.t.ppf(0.975, np.array(seeds) - 1)}
factors["half the interval, in s"] = factors["factor t"] / np.sqrt(seeds)
pd.DataFrame(factors, index=pd.Index(seeds, name="seeds")).T.round(2)

# %% [markdown]
# Two seeds say next to nothing, and the third is the best bargain of this chapter. Later ones bring less and less.
#
# **Exercise.** Write `paired_difference`. `stats.t.ppf(0.975, n - 1)` is the factor. Beware of NumPy's `std`, which
# divides by $n$; torch's divides by $n - 1$, as it should be here.

# %% tags=["exercise"]
def paired_difference(a: Tensor, b: Tensor) -> tuple[float, float, float]:
    """Return the mean of b - a, and the lower and upper end of its 95 % interval.

    a, b (seeds,): one figure for each seed, the same seeds in the same order.
    """
    ### BEGIN SOLUTION
    difference = b - a
    n, middle = len(difference), difference.mean().item()
    half = stats.t.ppf(0.975, n - 1) * difference.std().item() / n**0.5
    return middle, middle - half, middle + half
    ### END SOLUTION

# %% tags=["check"]
check(paired_difference)

# %% [markdown]
# The course's `compare` finds the pairs by itself, and says in words what the interval means. Are the numbers yours?

# %% tags=["nbval-ignore-output"]
from dl_course.experiments import compare

middle, low, high = paired_difference(a, b)
print(f"yours: b - a = {middle:+.4f} (95 % from {low:+.4f} to {high:+.4f})")
print(f"ours:  {compare(plain + constant)}")

# %% [markdown]
# If 0 lies inside, you don't know which is better. That doesn't mean they are equal! You haven't looked closely
# enough to tell. Report the interval; it says both what you found and how closely you looked.
#
# And look at the whole curves, with the band of all seeds around each. Two settings may end alike and get there quite
# differently.

# %% tags=["nbval-ignore-output"] alt="Two rising curves of validation accuracy over epochs, one a setting, each in a band over its seeds"
from dl_course.experiments import curves, draw_curves

figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
_ = draw_curves(curves(plain + constant), ax=ax)
sns.despine()

# %% [markdown]
# ### How to lie with seeds
#
# Two people have the *same* method. One runs it once. The other runs it five times and reports the best, "as
# everybody does". Ten thousand such pairs, without any training:

# %%
rng = np.random.default_rng(0)
once, best = rng.normal(size=10_000), rng.normal(size=(10_000, 5)).max(axis=1)
print(f"the best of five beats the single run in {(best > once).mean():.0%} of all cases")
print(f"and is ahead by {(best - once).mean():.1f} times the noise of a run")

# %% [markdown]
# The same happens, unnoticed, to everyone who tunes their own method for weeks, and runs the other one with its
# defaults. A comparison is fair if both had the same number of seeds, the same number of tries, and the same test
# set, opened once (chapter 06).

# %% [markdown]
# ## 5. Ablation: which part does it?
#
# A recipe has many parts, and all of them are praised in the same sentence. An **ablation** takes away one at a time,
# and leaves all else as it is. What gets worse without it was worth having.

# %% tags=["nbval-ignore-output"]
half = several("half", {"model.base_channels": 2})
ablation = {"half the width": half, "constant learning rate": constant}
found = {name: paired_difference(a, scores(runs)) for name, runs in ablation.items()}
pd.DataFrame(found, index=["difference", "from", "to"]).T.round(4)

# %% [markdown]
# As a picture it is read faster. Left of the line: without that part it got worse.

# %% tags=["nbval-ignore-output"] alt="Two horizontal intervals beside a vertical line at zero, one for each part that was taken away"
figure, ax = plt.subplots(figsize=(6.5, 2.2), layout="constrained")
for row, (middle, low, high) in enumerate(found.values()):
    style = "o" if low <= 0 <= high else "D"
    ax.plot([low, high], [row, row], color=f"C{row}")
    ax.plot(middle, row, style, color=f"C{row}")
ax.axvline(0, color="0.4", linestyle="--")
ax.set(xlabel="validation accuracy without it, minus the full recipe", ylim=(1.5, -0.5))
ax.set_yticks(range(2), found)
sns.despine()

# %% [markdown]
# A diamond stands for an interval that doesn't cross the line: hardly luck. A circle: could be luck, and the part is
# perhaps good for nothing here. Of twenty parts without any effect, about one gets its diamond by luck alone. So what
# an ablation finds is a suspicion. Confirm it with new seeds.

# %% [markdown]
# ## 6. Let the machine search
#
# There are too many settings to try them by hand. The oldest way is a **grid**: a few values of each, in all
# combinations. It looks thorough. But most settings hardly matter, and you don't know beforehand which. Here are nine
# trials of two settings, of which only the learning rate counts.

# %% alt="Two panels of nine points. In the grid they share three learning rates; drawn at random, there are nine different ones"
rates, widths = np.meshgrid([0.17, 0.5, 0.83], [0.17, 0.5, 0.83])
drawn = np.random.default_rng(1).uniform(0.05, 0.95, size=(2, 9))
figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained", sharey=True)
for ax, name, (x, y) in zip(axes, ("grid", "random"), ((rates, widths), drawn), strict=True):
    ax.plot(np.ravel(x), np.ravel(y), "o")
    ax.vlines(np.ravel(x), 0, 0.06, color="C1")
    title = f"{name}: {len(np.unique(x.round(6)))} different learning rates"
    ax.set(xlabel="learning rate (matters)", title=title, xlim=(0, 1), ylim=(0, 1))
axes[0].set_ylabel("width (hardly matters)")
sns.despine()

# %% [markdown]
# With the same work, chance tries more values of what counts. A grid is for one or two settings, and for a picture.
#
# ### The space
#
# **Optuna** goes further: it learns from what has been tried. It hands your function a *trial*, which you ask for
# each setting: `trial.suggest_float(...)`. How you ask is where experience counts. A learning rate of 0.001 is to
# 0.01 as 0.01 is to 0.1: what matters is the power of ten. So ask on a *logarithmic* scale. And don't ask what has no
# effect: AdamW has no momentum to choose.
#
# **Exercise.** Write `search_space`.

# %% tags=["exercise"]
def search_space(trial: optuna.Trial) -> dict:
    """Return the settings of a trial, by name.

    learning_rate: from 1e-4 to 1e-1, each power of ten as often · width: 8, 16 or 32 ·
    optimizer: "adamw" or "sgd" · momentum: from 0.5 to 0.99, evenly; asked for with sgd alone,
    and only then among the settings.
    """
    ### BEGIN SOLUTION
    settings = {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        "width": trial.suggest_categorical("width", [8, 16, 32]),
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "sgd"]),
    }
    if settings["optimizer"] == "sgd":
        settings["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
    return settings
    ### END SOLUTION

# %% tags=["check"]
check(search_space)

# %% [markdown]
# Look at some of its draws before you spend a night on them. Every power of ten should occur.

# %% tags=["nbval-ignore-output"] alt="Two histograms of learning rates drawn from the space: nearly even over the powers of ten, and crowded in the last one when drawn evenly"
optuna.logging.set_verbosity(optuna.logging.WARNING)
asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
yours = np.log10([search_space(asked.ask())["learning_rate"] for _ in range(300)])
evenly = np.log10(np.random.default_rng(0).uniform(1e-4, 1e-1, 300))
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
steps = np.arange(-4, -0.9, 0.25)
for values, name, hatch in ((yours, "yours", ""), (evenly, "without log", "//")):
    ax.hist(values, steps, alpha=0.6, label=name, hatch=hatch)
ax.set(xlabel="learning rate", ylabel="draws of 300")
ax.set_xticks(range(-4, 0), [f"$10^{{{power}}}$" for power in range(-4, 0)])
ax.legend()
sns.despine()

# %% [markdown]
# Without the logarithm most trials would go to the last power of ten.
#
# ### Stop what is hopeless
#
# A trial that is bad after two epochs will hardly be the best after ten. **Pruning** stops it: after each epoch the
# trial reports its accuracy, and asks whether to go on. Optuna's *median pruner* says no if it is worse than half of
# the trials before it were at that point.
#
# This is where most tutorials go wrong: they set up a pruner, and their function never reports. Nothing is stopped,
# and nothing says so.
#
# **Exercise.** Write `prunable`. `accuracies` trains as you walk through it, an epoch for each number that you take.

# %% tags=["exercise"]
def prunable(trial: optuna.Trial, accuracies) -> float:
    """Report each epoch's accuracy, with its number from 0; return the last one.

    accuracies: yields a number after each epoch of training. Where the trial should be pruned,
    raises optuna.TrialPruned at once.
    """
    ### BEGIN SOLUTION
    for epoch, accuracy in enumerate(accuracies):
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy
    ### END SOLUTION

# %% tags=["check"]
check(prunable)

# %% [markdown]
# Now the training that is searched. So that you needn't wait, it is a small MLP on our two fifths of the digits. It
# is a *generator*: it trains an epoch, hands out the accuracy, and waits until somebody asks for the next.

# %%
from dl_course.experiments import build_pictures
from dl_course.runtime import set_seed
from dl_course.training import optimizers

sets = (build_pictures(experiment.data, part) for part in ("train", "val"))
(x, y), (new, truth) = (pictures.tensors() for pictures in sets)

# %%
def accuracies(learning_rate, width, optimizer, seed=0, epochs=10, **more):
    set_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))
    stepper = optimizers.build(optimizer, model, learning_rate=learning_rate, **more)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            stepper.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            stepper.step()
        yield (model(new).argmax(1) == truth).double().mean().item()

# %% [markdown]
# Twenty trials, searched by TPE, Optuna's usual way: it compares where good trials lie with where all others lie, and
# draws from where the good ones are dense. Once with your function, which reports, and once with one that never does.

# %%
def searched(objective, trials=20):
    how = {"sampler": optuna.samplers.TPESampler(seed=0), "direction": "maximize"}
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_warmup_steps=1), **how)
    study.optimize(objective, n_trials=trials)
    return study

def epochs_of(study):
    return sum(len(trial.intermediate_values) or 10 for trial in study.trials)

def reporting(trial):
    return prunable(trial, accuracies(**search_space(trial)))

def silent(trial):
    return list(accuracies(**search_space(trial)))[-1]

# %% tags=["nbval-ignore-output"]
study, in_silence = searched(reporting), searched(silent)
for name, each in {"reports": study, "never reports": in_silence}.items():
    pruned = sum(trial.state.name == "PRUNED" for trial in each.trials)
    epochs = f"{pruned:>2} pruned, {epochs_of(each)} epochs"
    print(f"{name:<13} {epochs}, best {each.best_value:.2%}")

# %% [markdown]
# The same number of trials, with fewer epochs. Every line below is a trial, and a cross is where it was stopped.
# Would you have stopped the same ones?

# %% tags=["nbval-ignore-output"] alt="Twenty curves of accuracy over epochs; some end early, with a cross; the others go on to the right end"
figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for trial in study.trials:
    epochs, values = zip(*trial.intermediate_values.items(), strict=True)
    ended = trial.state.name == "PRUNED"
    ax.plot(np.array(epochs) + 1, values, color="0.6" if ended else "C0", linewidth=1)
    ax.plot(epochs[-1] + 1, values[-1], "x" if ended else "o", color="C1" if ended else "C0")
ax.set(xlabel="epoch", ylabel="validation accuracy")
sns.despine()

# %% [markdown]
# Pruning has a price. It prefers what starts fast, such as a large learning rate; a slow starter that would win in
# the end is stopped with the rest.
#
# What did the search learn? A study can say which setting its results depended on.

# %% tags=["nbval-ignore-output"] alt="Horizontal bars: the share of each setting in the variance of the results"
from dl_course.experiments import draw_importances, importances

_ = draw_importances(importances(study))
sns.despine()

# %% [markdown]
# A setting with a short bar needn't be searched next time. (What not every trial has, such as the momentum, gets no
# bar.)
#
# ### After a crash
#
# A search takes hours, and somebody will restart the machine. So don't keep it in memory. Give the study a name and a
# *storage*, here a *journal*: a file to which every trial's news are appended. Then any process that knows both goes
# on where the last one stopped.

# %% tags=["nbval-ignore-output"]
def go_on(trials):
    """Open the study in the file, or begin it; add trials; return how many there are."""
    file = optuna.storages.journal.JournalFileBackend(str(folder / "search.journal"))
    storage = optuna.storages.JournalStorage(file)
    how = {"direction": "maximize", "storage": storage, "load_if_exists": True}
    study = optuna.create_study(study_name="digits", **how)  # on purpose without a seed
    study.optimize(reporting, n_trials=trials)
    return len(study.trials)

print("before the crash:", go_on(3), "trials")
print("after it:        ", go_on(3), "trials")

# %% [markdown]
# Several processes may do so *at the same time*, and each learns from the trials of all. A journal works for several
# machines, too, if they share its folder; else take a database server. One trap: a sampler with a fixed seed begins
# with the same draws whenever it begins. Two processes with one seed do the same work twice.
#
# The course's `search` has all of that for experiments with configs, and each of its trials is a run in a folder of
# its own, as above. Here is the grid of a small question:

# %% tags=["nbval-ignore-output"]
from dl_course.experiments import search, trial_table

space = {"training.learning_rate": [0.001, 0.01], "training.optimizer": ["adamw", "sgd"]}
brief = changed(experiment, {"training.epochs": 2})
trial_table(search(brief, space, method="grid", runs=folder / "grid"))

# %% [markdown]
# ### The best of twenty
#
# You know this from the coin game of chapter 06: the best of many tries is partly luck. How much of it remains with
# seeds that the search has never seen? We run the winner five times again, and beside it a setting that was simply
# guessed.

# %% tags=["nbval-ignore-output"]
guess = {"learning_rate": 0.01, "width": 16, "optimizer": "adamw"}

def over_seeds(settings):
    return torch.tensor([list(accuracies(**settings, seed=seed))[-1] for seed in range(1, 6)])

winner, guessed = over_seeds(study.best_params), over_seeds(guess)
middle, low, high = paired_difference(guessed, winner)
print(f"the winner in the search: {study.best_value:.2%}, with new seeds: {winner.mean():.2%}")
print(f"winner minus guess: {middle:+.2%} (95 % from {low:+.2%} to {high:+.2%})")

# %% [markdown]
# On fresh seeds a winner tends to fall back. The last line is the one to report: what the search has brought, beside
# what you'd have had for nothing, on fresh seeds.

# %% [markdown]
# ## 7. Two processes, one result
#
# One GPU isn't enough? Take several, each with a process of its own. Every process has the whole network and takes a
# *share of each batch*. All compute their gradients, exchange them, and take the same step. After the step all have
# the same weights again. This is called **data parallel** training.
#
# It should be nothing but faster. Whether it is depends on one line: how the gradients are put together. A batch of
# five on two processes is shared out as three and two. The next cell compares two ways with the gradient of the whole
# batch.

# %%
inputs, labels = x[:5].flatten(1), y[:5]
set_seed(0)
layer = nn.Linear(784, 10)

def gradient(part):
    loss = F.cross_entropy(layer(inputs[part]), labels[part])
    return torch.autograd.grad(loss, layer.weight)[0]

whole, one, two = (gradient(part) for part in (slice(0, 5), slice(0, 3), slice(3, 5)))
print("the mean of both:       ", torch.allclose((one + two) / 2, whole, atol=1e-5))
print("weighed by their samples:", torch.allclose((3 * one + 2 * two) / 5, whole, atol=1e-5))

# %% [markdown]
# The plain mean is right only where all shares are equally large. The last batch of an epoch is where it goes wrong.
#
# Now for real. `torchrun` starts the processes, tells each of them its number, and watches over them. The line is the
# same on a laptop and on a machine with eight GPUs, but for the number:
#
# ```sh
# torchrun --standalone --nproc-per-node=2 -m dl_course.experiments.train --config two.yaml
# ```
#
# Our network for this has no batch norm, for batch norm looks at its own share only, and the shares differ. And to
# make it hard, a batch has 31 pictures, so that a full one can't be halved. First one process, here in the notebook;
# then two, as programs of their own.

# %% tags=["nbval-ignore-output"]
from dl_course.experiments import save_config

changes = {"name": "one", "model.name": "simplenet", "model.base_channels": None}
changes |= {"data.batch_size": 31, "training.epochs": 2}
changes |= {"training.optimizer": "sgd", "training.learning_rate": 0.05}
config = changed(experiment, changes)
alone = train(config, folder / "parallel", progress=False)

save_config(changed(config, {"name": "two"}), folder / "two.yaml")
launch = "torch.distributed.run", "--standalone", "--nproc-per-node=2"
options = "--config", f"{folder}/two.yaml", "--runs", f"{folder}/parallel"
command = sys.executable, "-m", *launch, "-m", "dl_course.experiments.train", *options
done = subprocess.run(command, capture_output=True, text=True)
print((done.stdout + done.stderr).splitlines()[-1])

# %% [markdown]
# Only process 0 writes, so there is one folder. Did two processes do what one does?

# %%
both = Run(folder / "parallel" / "two-000")
first, second = (each.model("latest").state_dict() for each in (alone, both))
farthest = max((first[name] - second[name]).abs().max().item() for name in first)
print(f"processes: {both.about['environment']['processes']}")
print("the same weights, to 1e-5:", farthest < 1e-5)

# %% [markdown]
# The last digits may differ, since the sums are added up in another order. The rest is the same training. (With AdamW
# they would differ by more, and nothing would be wrong: it divides a gradient by its own size, so where there is next
# to no gradient, its last digits decide about the step.)
#
# Some practical matters:
#
# - `batch_size` is that of *all* processes together. With more of them you may want a larger batch; then the learning
#   rate has to be found anew.
# - If a process dies, the others wait for its gradient. After `training.timeout` seconds they give up and say so.
#   `--resume RUN` goes on from the last checkpoint.
# - On several machines: `--nnodes` and an address at which they meet. On GPUs the exchange is done by *nccl*, on CPUs
#   by *gloo*; the course's code chooses.
# - Two processes aren't twice as fast. They exchange all gradients at every step, and for a small network that takes
#   longer than the work. On a laptop there is hardly anything to gain; we wanted to see that it's *right*.

# %% [markdown]
# ## 8. Reading a profile
#
# Before you buy a second GPU, ask what the first one is waiting for. A **profile** says how long each part took. We
# profile a few steps of our own training, now with augmentation, and with a name for each of their four parts. Guess
# now, before you look: which of them takes longest?

# %%
import os

from torch.profiler import ProfilerActivity, profile, record_function

os.environ["KINETO_LOG_LEVEL"] = "99"  # or the profiler chats
PARTS = "load", "forward", "backward", "step"

# %%
def steps(batches, model, count=8):
    """Train for some steps, each part under its name."""
    optimizer, batches = torch.optim.AdamW(model.parameters()), iter(batches)
    for _ in range(count):
        with record_function("load"):
            pictures, labels = next(batches)
        with record_function("forward"):
            loss = F.cross_entropy(model(pictures), labels)
        with record_function("backward"):
            loss.backward()
        with record_function("step"):
            optimizer.step()
            optimizer.zero_grad()

# %% [markdown]
# The first step is always slow: memory is fetched, and functions are chosen. So it is taken before the clock runs.

# %% tags=["nbval-ignore-output"]
from dl_course.data import loader
from dl_course.experiments import build_model

def profiled(batches):
    set_seed(0)
    model = build_model(experiment.model, (1, 28, 28), 10)
    steps(batches, model, count=1)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        steps(batches, model)
    return found.key_averages()

wobbled = build_pictures(changed(experiment, {"data.augmentation": "wobble"}).data, "train")
slow = profiled(loader(wobbled, 32, shuffle=True))
times = {event.key: event.cpu_time_total / 1000 for event in slow if event.key in PARTS}
pd.Series(times, name="ms").loc[list(PARTS)].round(1).to_frame()

# %% [markdown]
# Begin with the longest part. What is in it? Below are the operations that took most time *themselves*, without what
# they call. The number of calls tells as much as the time.

# %% tags=["nbval-ignore-output"]
rows = [(event.key[:40], event.self_cpu_time_total / 1000, event.count) for event in slow]
table = pd.DataFrame(rows, columns=["operation", "ms itself", "calls"])
table = table.assign(share=(table["ms itself"] / table["ms itself"].sum()).map("{:.0%}".format))
table.sort_values("ms itself", ascending=False).head(8).round(1)

# %% [markdown]
# The `DataLoader`'s own time is Python, at work on one picture after another. Each is turned and shifted by
# `grid_sampler`. How often is that called in eight steps, and how often a convolution?

# %%
calls = {event.key: event.count for event in slow}
print({name: calls[f"aten::{name}"] for name in ("grid_sampler", "convolution")})

# %% [markdown]
# The first once for *each picture*, the second once a layer, for a whole batch.
#
# Chapter 06 had the remedy: wobble a batch at once. One matrix for each picture, one call for all.

# %%
def wobble(pictures, degrees=10, shift=0.2, scale=0.1):
    """Return every picture of a batch, (N, C, H, W), turned, shifted and scaled by itself."""
    angle, zoom, right, down = 2 * torch.rand(4, len(pictures)) - 1
    angle, zoom = (angle * degrees).deg2rad(), 1 + zoom * scale
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = (cos, -sin, right * shift), (sin, cos, down * shift)
    matrices = torch.stack([torch.stack(row, 1) for row in rows], 1)  # (N, 2, 3)
    places = F.affine_grid(matrices, pictures.shape, align_corners=False)
    return F.grid_sample(pictures, places, padding_mode="border", align_corners=False)

# %%
class Wobbled:
    """The batches of a loader, each wobbled when it is taken."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return ((wobble(pictures), labels) for pictures, labels in self.batches)

# %% tags=["nbval-ignore-output"] alt="Two groups of bars, milliseconds for load, forward, backward and step: before, and with whole batches wobbled at once, where load is short"
unchanged = loader(build_pictures(experiment.data, "train"), 32, shuffle=True)
fast = profiled(Wobbled(unchanged))
times = pd.DataFrame({"picture by picture": times}, index=PARTS)
times["whole batches"] = {e.key: e.cpu_time_total / 1000 for e in fast if e.key in PARTS}
ax = times.plot.bar(figsize=(6, 2.8), rot=0)
for bars, hatch in zip(ax.containers, ("", "//"), strict=True):
    for bar in bars:
        bar.set_hatch(hatch)
ax.set(ylabel="ms, of eight steps")
sns.despine()

# %% [markdown]
# Loading is short now. The other parts did the same work both times, so what they differ by is the noise of this
# measurement: here, too, you need it before you believe a difference. The longest bar is where to look next.
#
# On a GPU the clock deceives. The CPU only *orders* the work and runs ahead, so a part may seem to take no time.
# Profile with `ProfilerActivity.CUDA` too, and look at the GPU's own times. If the GPU is idle most of the time, the
# loader is too slow: more `num_workers`.

# %% [markdown]
# ## Summary
#
# - One file has every decision. What it doesn't know it refuses, before the first step.
# - A run leaves its config, the code's version, the data's checksum, its curves and weights, and can be repeated.
# - A seed isn't a result. Measure the noise first; then report a difference with its interval, over the same seeds.
# - An ablation takes away one part at a time. The best of many is partly luck: confirm with new seeds.
# - Search on a logarithmic scale, report after every epoch, and keep the study in a file.
# - Several processes must give what one gives. Weigh gradients by their samples.
# - Measure where the time goes before you speed anything up.
#
# ## Check yourself

# %%
progress("07")

# %% [markdown]
# ## Further reading
#
# - Bouthillier et al.: *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021
# - Henderson et al.: *Deep Reinforcement Learning that Matters*, AAAI 2018: what seeds can do to a result
# - Bergstra, Bengio: *Random Search for Hyper-Parameter Optimization*, JMLR 2012
# - Akiba et al.: *Optuna: A Next-generation Hyperparameter Optimization Framework*, KDD 2019
# - Li et al.: *PyTorch Distributed: Experiences on Accelerating Data Parallel Training*, VLDB 2020
# - Google's *Deep Learning Tuning Playbook*, about how to search with a plan
