# %% [markdown]
# # 07 · Experiments: from one run to an answer you can defend
#
# "Augmentation helps." "The wider network is better." How do you know? Usually somebody trained once each way, and the
# larger number won. In this chapter you learn why that isn't an answer yet, and what would be: runs that anybody can
# repeat, several seeds instead of one, and a comparison that says how much of it could be luck. Then the machine
# searches for you while you sleep.
#
# **You will be able to**
# - write a training down as a file, change it from the command line, and repeat it to the last bit
# - say how much of a difference between two settings is noise
# - search with Optuna, stop hopeless trials, and continue after a crash
# - train with several processes and get the result of one; find out what a training waits for
#
# **Time:** 90 minutes. **You need:** chapters 01 to 04.

# %% [markdown]
# ## 1. A training is a list of decisions
#
# Which data, which network, which learning rate, how many epochs, which seed? In a notebook, these decisions are
# scattered over many cells. You change one, rerun half of the cells, and an hour later nobody can say which settings
# gave the best number. So let's collect them in one place.

# %%
import copy
import os
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

from dl_course import ask, check, hint, progress, solution

sns.set_theme(style="white", palette="colorblind")

# %% [markdown]
# That place is a **config**: a small text file, in a format called YAML. Here is ours. It is small, to keep this
# chapter quick: two fifths of the digits' training pictures to learn from, three tenths of them to judge by, and a
# small network. (With so little work, a graphics card would only lose time, so we ask for the `cpu`.)

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
# Everything that isn't written there has a default value. `load_config` fills it in and returns a *dataclass*: a plain
# Python object with named fields. Look how much the training needs to know.

# %%
from dataclasses import asdict

from dl_course.experiments import load_config

experiment = load_config(folder / "small.yaml")
pd.Series(asdict(experiment.training), name="training").to_frame()

# %% [markdown]
# ### A config should be strict
#
# The most expensive mistake in a config is a misspelled name. A lenient program ignores a name it doesn't know, trains
# all night with the default, and tells you that your setting "makes no difference". So everything is checked before
# the first step. Here are three mistakes, one at a time:

# %%
mistakes = {"epochs": "epohcs", "learning_rate: 0.01": "learning_rate: fast"}
for right, wrong in (mistakes | {"batch_size: 32": "batch_size: 0"}).items():
    (folder / "wrong.yaml").write_text(text.replace(right, wrong))
    try:
        load_config(folder / "wrong.yaml")
    except ValueError as error:
        print(str(error).replace(f"{folder}/", ""))

# %% [markdown]
# A name, a type and a value, each refused, with its line number. That costs you a second now instead of a night.
#
# ### The same, with one change
#
# Nobody writes a new file to try five epochs instead of three. You override a value: the same file, *but with*
# `training.epochs=5`. The name is the path down through the sections, and on a command line every value is text.
#
# **Exercise.** Write `override`. Four things can go wrong silently: the original changes, too; the section's other
# values get lost; a misspelled name is added as a new one; and `"false"` becomes `True`.

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
# The course's `changed` does this for a whole experiment and checks the values again. So does the command line, where
# most trainings are started: it needs no open notebook, and works on any machine.
#
# ```sh
# dl-course train --config small.yaml --training.epochs 2
# ```
#
# The next cell does what that line does. (`main` is the function behind the command. This notebook has PyTorch loaded
# already; a separate program would spend some seconds on loading it again.)

# %% tags=["nbval-ignore-output"]
from dl_course.cli import main

options = "--config", f"{folder}/small.yaml", "--runs", f"{folder}/first"
_ = main(["train", *options, "--training.epochs", "2"])

# %% [markdown]
# ## 2. What a run leaves behind
#
# A number without its origin is worth nothing next month. So each run gets a new folder of its own, and leaves in it
# everything you need to know what was done, and to do it again.

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
# "Which data" takes more than a name, because the contents behind a name can change. A **checksum** is a fingerprint of
# all pictures and labels: change one pixel, and the checksum is a different one.

# %% tags=["nbval-ignore-output"]
made_of = run.about
print("about:", ", ".join(made_of))
print("pictures to learn from, and to judge by:", made_of["data"]["pictures"])
print("checksum:", made_of["data"]["sha256"][:16], "…")

# %% [markdown]
# ### Data have versions, too
#
# A checksum tells you *that* the data changed. To get the old data back, somebody must have kept them. Git keeps text,
# and chokes on gigabytes of pictures. **DVC** (data version control) works beside git: the pictures go to a store,
# which may be a disk, a server or a cloud bucket, and git keeps a small text file with their checksum.
#
# ```sh
# git init && dvc init                 # once
# dvc remote add -d store /mnt/store   # once
# dvc add pictures                     # writes pictures.dvc: checksum, size, number of files
# git add pictures.dvc .gitignore .dvc/config && git commit -m "Pictures of March"
# dvc push                             # copies the pictures to the store
# ```
#
# From then on, a commit fixes the code *and* the data. To go back to March, or to set up another machine:
#
# ```sh
# git checkout <commit> && dvc pull    # fetches the pictures that this commit names
# ```
#
# Without any such tool, two habits get you most of the way: never change a data set in place, but give it a new folder
# (`pictures-2026-03`); and write its checksum into every run, as ours do.
#
# ### Can it be repeated?
#
# It is easy to claim that a run can be repeated. Let's try: the same file once more. Then we compare all the weights,
# bit by bit, and not just the accuracies.

# %%
again = train(experiment, folder / "twice", progress=False)
first, second = (each.model("latest").state_dict() for each in (run, again))
print("folders:", run.folder.name, "and", again.folder.name)
print("the same weights:", all(torch.equal(first[name], second[name]) for name in first))

# %% [markdown]
# On one machine's CPU, the two are the same to the last bit. (On a graphics card, or with another version of PyTorch,
# sums may be added up in another order, and the last digits differ.) Anyone who doubts your number can reproduce it.
# And if a run comes out differently one day, you know that something has changed: the code, the data or the versions,
# all of which you can look up.
#
# Keeping an eye on many runs over weeks is called **tracking**. Start TensorBoard on the folder that holds them all,
# `tensorboard --logdir runs`, and every run is a line in the same figure. Services such as Weights & Biases do the same
# on a website, for a whole team; chapter 04 has the callback for it. In its *offline mode* you need neither an account nor
# a connection: the run is written to a folder, which you upload later. Here is ours, epoch by epoch.

# %% tags=["nbval-ignore-output"]
from importlib.util import find_spec

if find_spec("wandb"):
    import wandb

    how = {"mode": "offline", "dir": folder, "settings": wandb.Settings(silent=True)}
    how |= {"project": "digits", "name": run.folder.name, "config": asdict(experiment)}
    with wandb.init(**how) as remote:
        for row in run.history.to_dict("records"):
            remote.log(row)
    print("wandb sync", *(path.name for path in folder.glob("wandb/offline-run-*")))
else:
    print("For this cell: pip install wandb")

# %% [markdown]
# That command uploads it, once you have an account. What is on the website comes back as a table to compare, by the API:
#
# ```python
# runs = wandb.Api().runs("my-team/digits")
# table = pd.DataFrame({run.name: run.config | dict(run.summary) for run in runs}).T
# ```

# %% [markdown]
# ## 3. The same training, five times
#
# There is one decision we haven't talked about: the seed. It is among the defaults. It determines the first weights,
# the order of the pictures, and what dropout switches off. It has no meaning: 0 isn't better than 1. So what happens if
# *only* the seed changes?

# %%
ask("07-single-run")

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
# Same data, same network, same settings, and yet the accuracies differ. If each row were an idea of yours, you'd praise
# the best one and drop the worst.
#
# Now a real idea. Our schedule lets the learning rate fall to zero. Leave the schedule out and keep the rate constant:
# is that worse? Here are both settings, five seeds each:

# %% tags=["nbval-ignore-output"] alt="Two rows of five dots, one row a setting, with a bar at the mean of each row"
from dl_course.experiments import draw_seeds

constant = several("constant", {"training.scheduler": "none"})
_ = draw_seeds(figures(plain + constant))
sns.despine()

# %% [markdown]
# A dot is a run, a bar is a mean. If you run each setting once, you pick one dot from each row, without knowing which.
# How often would you find the constant rate at least as good?

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
# Take the runs of *one* setting: the differences between them are noise. Its size is their standard deviation. But
# five runs are not many to estimate a standard deviation from. If there are several settings, and chance affects all
# of them to about the same degree, they can share the work: subtract from every run the mean of its own setting, and
# measure what is left over all runs together.
#
# $$ s = \sqrt{\frac{\sum_i \sum_k \left(x_{ik} - \bar{x}_i\right)^2}{\sum_i \left(n_i - 1\right)}} $$
#
# Setting $i$ has $n_i$ runs. The denominator has $n_i - 1$ because estimating the setting's mean uses up one *degree of
# freedom*: of $n_i$ deviations from their own mean, only $n_i - 1$ are free. This is the *pooled* standard deviation.
#
# **Exercise.** Write `seed_noise`. Settings may have different numbers of runs, and some only a single one.

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
# Now we can spot the noise. If it is roughly normal, two single runs of the *same* setting differ by less than
# $t\sqrt{2}\,s$ in 95 of 100 cases; two single runs can't show a difference smaller than that. With hundreds of runs,
# the factor $t$ would be the well-known 1.96. Ours is larger, because ten runs of two settings leave eight degrees of
# freedom, so $s$ itself is uncertain.

# %% tags=["nbval-ignore-output"]
noise = seed_noise([a, b]).item()
factor = stats.t.ppf(0.975, len(a) + len(b) - 2)
visible = factor * 2**0.5 * noise
print(f"noise of a run: {noise:.2%}; t = {factor:.2f}")
print(f"two single runs differ by luck up to {visible:.2%}")
print(f"the means differ by {(b.mean() - a.mean()).item():+.2%}")

# %% [markdown]
# How many of the improvements you have read about came from single runs, and were smaller than that?

# %% [markdown]
# ## 4. Two settings, honestly compared
#
# More seeds make a mean more certain. And there is a second trick: **pairs**. Runs with the same seed have something in
# common: the same order of the pictures, and, where the networks are the same, even the same first weights. If a lucky
# seed lifts both runs of a pair, the luck drops out of their difference. So compare seed by seed.

# %% tags=["nbval-ignore-output"] alt="Five lines, one for each seed, from the accuracy with the schedule on the left to that without on the right"
figure, ax = plt.subplots(figsize=(4.5, 3), layout="constrained")
for seed, pair in enumerate(zip(a, b, strict=True)):
    ax.plot(["plain", "constant"], pair, "o-", label=f"seed {seed}")
ax.set(ylabel="validation accuracy", xlim=(-0.3, 1.3))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
sns.despine()

# %% [markdown]
# Every line is a difference $d$. The $n$ differences have a mean $\bar{d}$ and a standard deviation $s_d$. Their mean
# varies less than a single difference does, by a factor of $\sqrt{n}$. If the differences are roughly normal, an
# interval that contains the true mean difference in 95 of 100 experiments is
#
# $$ \bar{d} \;\pm\; t_{0.975,\,n-1} \cdot \frac{s_d}{\sqrt{n}} $$
#
# The factor $t$ is the one from above, now with $n - 1$ degrees of freedom. The fewer seeds, the larger it is.

# %%
ask("07-third-seed")

# %% [markdown]
# Here is what few seeds cost:

# %%
seeds = [2, 3, 4, 5, 10, 30, 300]
factors = {"factor t": stats.t.ppf(0.975, np.array(seeds) - 1)}
factors["half the interval, in s"] = factors["factor t"] / np.sqrt(seeds)
pd.DataFrame(factors, index=pd.Index(seeds, name="seeds")).T.round(2)

# %% [markdown]
# Two seeds say next to nothing, and the third is the best bargain of this chapter. Further seeds bring less and less.
#
# **Exercise.** Write `paired_difference`. `stats.t.ppf(0.975, n - 1)` is the factor. Beware of NumPy's `std`, which
# divides by $n$; torch's divides by $n - 1$, which is what you need here.

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
# The course's `compare` finds the pairs by itself and says in words what the interval means. Do the numbers agree with
# yours?

# %% tags=["nbval-ignore-output"]
from dl_course.experiments import compare

middle, low, high = paired_difference(a, b)
print(f"yours: b - a = {middle:+.4f} (95 % from {low:+.4f} to {high:+.4f})")
print(f"ours:  {compare(plain + constant)}")

# %% [markdown]
# If the interval contains 0, you don't know which setting is better. That doesn't mean they are equal! You haven't
# looked closely enough to tell. Report the interval: it says both what you found and how closely you looked.
#
# ### Do pairs always help?
#
# With $r$ the correlation between the two settings over the seeds, the differences have the variance
# $s_a^2 + s_b^2 - 2\,r\,s_a s_b$. Only a positive $r$ makes it smaller. Are our pairs correlated?

# %%
ask("07-when-pairs-help")

# %% tags=["nbval-ignore-output"]
from dl_course.experiments import compare_seeds

print(f"correlation over the seeds: {torch.corrcoef(torch.stack([a, b]))[0, 1]:+.2f}")
for name, paired in {"paired": True, "unpaired": False}.items():
    low, high = compare_seeds(a.tolist(), b.tolist(), paired=paired).interval
    print(f"{name:9} half the interval: {(high - low) / 2:.2%}")

# %% [markdown]
# Compare the two lengths with the sign of the correlation. A seed is lucky *for one training*: when the schedule
# changes, every step after the first few does, and little of the luck carries over. Then pairs gain nothing, and lose
# degrees of freedom: four instead of eight. Pairs help where the luck is shared, such as the same cross-validation
# folds or the same test pictures (chapter 06). Choose one way *before* you look, and print the correlation. From five
# seeds it is itself only a rough estimate.
#
# Also look at the whole curves, with a band over the seeds around each. Two settings may end at the same accuracy and
# get there in quite different ways.

# %% tags=["nbval-ignore-output"] alt="Two rising curves of validation accuracy over epochs, one a setting, each in a band over its seeds"
from dl_course.experiments import curves, draw_curves

figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
_ = draw_curves(curves(plain + constant), ax=ax)
sns.despine()

# %% [markdown]
# ### How to lie with seeds
#
# Two people have the *same* method. One runs it once. The other runs it five times and reports the best, "as
# everybody does". Let's simulate ten thousand such pairs, without any training:

# %%
rng = np.random.default_rng(0)
once, best = rng.normal(size=10_000), rng.normal(size=(10_000, 5)).max(axis=1)
print(f"the best of five beats the single run in {(best > once).mean():.0%} of all cases")
print(f"and is ahead by {(best - once).mean():.1f} times the noise of a run")

# %% [markdown]
# The same happens, unnoticed, to everyone who tunes their own method for weeks and runs the other one with its
# defaults. A comparison is fair if both methods get the same number of seeds, the same number of tries, and the same
# test set, used once (chapter 06).

# %% [markdown]
# ## 5. Ablation: which part does it?
#
# A training recipe has many parts, and a paper may praise them all in one sentence. An **ablation** removes one part at
# a time and leaves everything else as it is. If the result gets worse, the part was worth having.

# %% tags=["nbval-ignore-output"]
half = several("half", {"model.base_channels": 2})
ablation = {"half the width": half, "constant learning rate": constant}
found = {name: paired_difference(a, scores(runs)) for name, runs in ablation.items()}
pd.DataFrame(found, index=["difference", "from", "to"]).T.round(4)

# %% [markdown]
# A figure is quicker to read. Left of the line means that removing the part made the result worse.

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
# A diamond marks an interval that doesn't cross the line: hardly luck. A circle: it could be luck, and perhaps the part
# does nothing here. Of twenty parts without any effect, about one gets a diamond by luck alone. So treat what an
# ablation finds as a suspicion, and confirm it with new seeds.

# %% [markdown]
# ## 6. Let the machine search
#
# There are too many settings to try by hand. The oldest way is a **grid**: a few values of each, in all combinations.
# It looks thorough. But most settings hardly matter, and you don't know beforehand which. Here are nine trials of two
# settings. Suppose that only the learning rate matters.

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
# For the same work, random search tries more values of the setting that matters. A grid is for one or two settings, or
# where you want to draw a map.
#
# ### The space
#
# **Optuna** goes further: it learns from the trials so far. It hands your function a *trial*, and you ask it for each
# setting: `trial.suggest_float(...)`. How you ask is where experience counts. For a learning rate, the step from 0.001
# to 0.01 is as large as that from 0.01 to 0.1: what matters is the power of ten. So ask on a *logarithmic* scale. And
# ask for a setting only where it is used. SGD needs a momentum. AdamW has its own kind of momentum, $\beta_1$, and we
# leave that at its default of 0.9.

# %%
ask("07-log-scale")

# %% [markdown]
# **Exercise.** Write `search_space`.

# %% tags=["exercise"]
def search_space(trial: optuna.Trial) -> dict:
    """Return the settings of a trial, by name.

    learning_rate: from 1e-4 to 1e-1, each power of ten as often · width: 8, 16 or 32 ·
    optimizer: "adamw" or "sgd" · momentum: from 0.5 to 0.99, evenly; asked for only with sgd,
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
# Look at some of its draws before you spend a night on them. Every power of ten should occur about equally often.

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
# Without the logarithm, nine of ten trials go to the last power of ten.
#
# ### Stop hopeless trials
#
# A trial that is bad after two epochs will rarely be the best after ten. **Pruning** stops it: after each epoch, the
# trial reports its accuracy and asks whether to go on. Optuna's *median pruner* says no if the trial's best accuracy so
# far is below the median of earlier trials at that epoch.
#
# There is a common mistake: to set up a pruner, and never report to it. Then nothing is stopped, and nothing tells you.
#
# **Exercise.** Write `prunable`. `accuracies` trains as you iterate over it, one epoch for each number you take.

# %% tags=["exercise"]
def prunable(trial: optuna.Trial, accuracies) -> float:
    """Report each epoch's accuracy, with the epoch's number from 0; return the last accuracy.

    accuracies: yields a number after each epoch of training. Raises optuna.TrialPruned as soon
    as the trial should be pruned.
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
# Now the training to be tuned. To keep it quick, it is a small MLP on our two fifths of the digits. It is a
# *generator*: it trains for an epoch, yields the accuracy, and waits until somebody asks for the next one.

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
# Twenty trials with TPE, Optuna's default: it compares where the good trials lie with where the others lie, and draws
# from where the good ones are dense. To compare anything it needs a start, so its first ten trials are drawn *at random*
# (`n_startup_trials`); only the last ten of our twenty are guided. We search once with your function, which reports, and
# once with one that never does.

# %%
def searched(objective, trials=20, seed=0):
    how = {"sampler": optuna.samplers.TPESampler(seed=seed), "direction": "maximize"}
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
# The same number of trials, with fewer epochs. Every line below is a trial, and a cross marks where it was stopped.
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
# Pruning has a price. It favours trials that start fast, such as those with a large learning rate; a slow starter that
# would win in the end is stopped with the rest.
#
# What did the search learn? A study can estimate the share of each setting in the variance of its results: its
# *importance*. (A setting that not every trial has, such as the momentum, gets none.) But a study of twenty trials is a
# sample, too. So we search five more times, with other seeds of the sampler. Each dot is the estimate of one study.

# %% tags=["nbval-ignore-output"] alt="Six dots for each of learning rate, width and optimizer: the importance in each of six studies, spread widely along the axis"
from dl_course.experiments import importances

studies = [study, *(searched(reporting, seed=seed) for seed in range(1, 6))]
shares = pd.DataFrame([importances(each) for each in studies])
figure, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
sns.stripplot(shares, orient="h", jitter=0.15, color="C0", ax=ax)
ax.set(xlabel="importance, in each of six studies", xlim=(-0.03, 1.03))
sns.despine()
shares.agg(["min", "median", "max"]).round(2)

# %% [markdown]
# Look at the distance from the smallest to the largest value in each row. With so few trials, one study's importances
# are hardly more than a guess. Never drop a setting from the search because of one short bar. Run more trials, or
# several studies, and see whether they agree.
#
# ### After a crash
#
# A search takes hours, and somebody will restart the machine. So don't keep it in memory only. Give the study a name and
# a *storage*, here a *journal*: a file to which every event of every trial is appended. Then any process that knows both
# can continue where the last one stopped.

# %% tags=["nbval-ignore-output"]
def go_on(trials):
    """Open the study in the file, or create it; add trials; return how many there are now."""
    file = optuna.storages.journal.JournalFileBackend(str(folder / "search.journal"))
    storage = optuna.storages.JournalStorage(file)
    how = {"direction": "maximize", "storage": storage, "load_if_exists": True}
    study = optuna.create_study(study_name="digits", **how)  # on purpose without a seed
    study.optimize(reporting, n_trials=trials)
    return len(study.trials)

print("before the crash:", go_on(3), "trials")
print("after it:        ", go_on(3), "trials")

# %% [markdown]
# Several processes can do this *at the same time*, and each learns from the trials of all. A journal also works for
# several machines that share its folder; otherwise use a database server. There is one trap: a sampler with a fixed seed
# starts with the same draws every time. Two processes with the same seed do the same work twice.
#
# The course's `search` does all of this for experiments with configs, and each trial is a run in a folder of its own, as
# above. Here is a small grid:

# %% tags=["nbval-ignore-output"]
from dl_course.experiments import search, trial_table

space = {"training.learning_rate": [0.001, 0.01], "training.optimizer": ["adamw", "sgd"]}
brief = changed(experiment, {"training.epochs": 2})
trial_table(search(brief, space, method="grid", runs=folder / "grid"))

# %% [markdown]
# ### The best of twenty
#
# You know this from the coin game of chapter 06: the best of many tries is partly luck. How much of its lead is left with
# seeds that the search has never seen? We run the winner with five new seeds, and beside it a setting that was simply
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
# With new seeds, a winner tends to fall back. Report the last line: what the search gained over a guess that cost
# nothing, with new seeds. Don't be surprised if that is nothing, or less. Each trial here ran with one seed, so a search
# can pick a setting that is unstable and was lucky once.

# %% [markdown]
# ## 7. Two processes, one result
#
# One GPU isn't enough? Take several, with one process for each. Every process has the whole network and gets a *share of
# each batch*. Each computes the gradient of its share; then they exchange gradients, and all take the same step, so that
# all have the same weights again. This is called **data parallel** training. PyTorch's name for it is **DDP**,
# `DistributedDataParallel`, and the exchange is an **all-reduce**: it leaves the *mean* of all processes' gradients in
# every process.
#
# Two processes should be faster, and otherwise change nothing. Whether that is so depends on one line. Say the last batch
# of an epoch has 25 pictures: 13 for one process, 12 for the other.

# %%
ask("07-thirteen-and-twelve")

# %% [markdown]
# The loss is a mean over the pictures of a share, so the mean of two gradients gives a picture in the smaller share more
# weight. The remedy is to multiply each process's loss by `world * n_local / n_total`, for `world` processes. The next
# cell compares both ways with the gradient of one process that has all 25.

# %% tags=["nbval-ignore-output"]
inputs, labels = x[:25].flatten(1), y[:25]
set_seed(0)
layer, world = nn.Linear(784, 10), 2

def gradient(part, weighted):
    loss = F.cross_entropy(layer(inputs[part]), labels[part])
    factor = world * len(labels[part]) / len(labels) if weighted else 1
    return torch.autograd.grad(loss * factor, layer.weight)[0]

one = torch.autograd.grad(F.cross_entropy(layer(inputs), labels), layer.weight)[0]
for name, weighted in {"without the factor": False, "with it": True}.items():
    shares = [gradient(part, weighted) for part in (slice(0, 13), slice(13, 25))]
    mean = sum(shares) / world  # what an all-reduce leaves in each process
    print(f"{name:19}off by {(mean - one).abs().max() / one.abs().max():.0e} of the largest")

# %% [markdown]
# Without the factor, the gradient is a different one; with it, they agree to rounding. PyTorch doesn't do this for you.
# The course's training does.
#
# Now for real. `torchrun` starts the processes, gives each of them its number, and watches over them. The command is the
# same on a laptop and on a machine with eight GPUs, except for the number:
#
# ```sh
# torchrun --standalone --nproc-per-node=2 -m dl_course.experiments.train --config two.yaml
# ```
#
# The network we use here has no batch norm, because in each process batch norm sees only its own share. To make it hard,
# a batch has 31 pictures, which can't be halved. First we train with one process, here in the notebook, then with two
# separate ones.

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
environment = os.environ | {"USE_LIBUV": "0"}  # torch for Windows has no libuv
done = subprocess.run(command, env=environment, capture_output=True, text=True)
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
# The last digits may differ, since sums are added up in another order. Otherwise it is the same training. (With AdamW
# the weights would differ by more, and nothing would be wrong: AdamW divides a gradient by its own size, so where there
# is almost no gradient, its last digits decide the step.)
#
# Some practical advice:
#
# - `batch_size` is that of *all* processes together. With more processes you may want a larger batch; then find the
#   learning rate again.
# - If a process dies, the others wait for its gradient. After `training.timeout` seconds they give up and say so.
#   `--resume RUN` continues from the last checkpoint.
# - If a network doesn't fit on one GPU, DDP can't help: each process holds all of it. `training.parallel: fsdp` splits
#   weights, gradients and the optimizer's state among the processes, and gathers each layer's weights just when they
#   are needed.
# - For several machines, torchrun takes `--nnodes` and an address where they meet. On GPUs, *nccl* does the exchange, on
#   CPUs *gloo*; the course's code chooses.
# - Two processes aren't twice as fast. They exchange all gradients at every step, and for a small network that takes
#   longer than the computation. On a laptop there is hardly anything to gain; we wanted to see that the result is *right*.

# %% [markdown]
# ## 8. Reading a profile
#
# Before you buy a second GPU, ask what the first one is waiting for. A **profile** says how long each part took. We
# profile a few steps of our own training, now with augmentation, with a name for each of its four parts. Guess before you
# look: which part is the longest?

# %%
from torch.profiler import ProfilerActivity, profile, record_function

os.environ["KINETO_LOG_LEVEL"] = "99"  # or the profiler prints messages
PARTS = "load", "forward", "backward", "step"

# %%
def steps(batches, model, count=8):
    """Train for some steps, with each part under its name."""
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
# The first step is always slow: memory is allocated, and algorithms are chosen. So we take one step before the profile
# starts. We also profile twice and keep the faster round, because other work on the machine can only add time.

# %%
from dl_course.data import loader
from dl_course.experiments import build_model

def profiled(batches, rounds=2):
    """Return the operations of the fastest round."""
    found = []
    for _ in range(rounds):
        set_seed(0)
        model = build_model(experiment.model, (1, 28, 28), 10)
        steps(batches, model, count=1)
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            steps(batches, model)
        found.append(watched.key_averages())
    return min(found, key=lambda events: sum(event.self_cpu_time_total for event in events))

# %% tags=["nbval-ignore-output"]
wobbled = build_pictures(changed(experiment, {"data.augmentation": "wobble"}).data, "train")
slow = profiled(loader(wobbled, 32, shuffle=True))
times = {event.key: event.cpu_time_total / 1000 for event in slow if event.key in PARTS}
print("longest:", max(times, key=times.get))
pd.Series(times, name="ms").loc[list(PARTS)].round(1).to_frame()

# %% [markdown]
# What is in the longest part? Below are the operations of all eight steps that took the most time *themselves*, not
# counting the operations they call. The number of calls tells you as much as the time.

# %% tags=["nbval-ignore-output"]
rows = [(event.key[:40], event.self_cpu_time_total / 1000, event.count) for event in slow]
table = pd.DataFrame(rows, columns=["operation", "ms itself", "calls"])
table = table.assign(share=(table["ms itself"] / table["ms itself"].sum()).map("{:.0%}".format))
table.sort_values("ms itself", ascending=False).head(8).round(1)

# %% [markdown]
# The row of the `DataLoader` is Python code, working on one picture after another. Each picture is turned and shifted by
# `grid_sampler`. How often is that called in eight steps, and how often a convolution?

# %%
calls = {event.key: event.count for event in slow}
print({name: calls[f"aten::{name}"] for name in ("grid_sampler", "convolution")})

# %% [markdown]
# The first is called once for *each picture*, the second once for each layer and batch. Chapter 06 had the remedy: wobble
# a whole batch at once, with one matrix for each picture and one call for all.

# %%
def wobble(pictures, degrees=10, shift=0.2, scale=0.1):
    """Return a batch (N, C, H, W) with each picture turned, shifted and scaled at random."""
    angle, zoom, right, down = 2 * torch.rand(4, len(pictures)) - 1
    angle, zoom = (angle * degrees).deg2rad(), 1 + zoom * scale
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = (cos, -sin, right * shift), (sin, cos, down * shift)
    matrices = torch.stack([torch.stack(row, 1) for row in rows], 1)  # (N, 2, 3)
    places = F.affine_grid(matrices, pictures.shape, align_corners=False)
    return F.grid_sample(pictures, places, padding_mode="border", align_corners=False)

# %%
class Wobbled:
    """The batches of a loader, each wobbled as it is taken."""

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
ax.set(ylabel="ms, in eight steps")
sns.despine()

# %% [markdown]
# Loading is short now. The other parts did the same work both times, so the differences between their bars are the
# noise of this measurement, and on a busy machine it is large: here, too, you need to know the noise before you believe
# a difference. Look next at the longest bar.
#
# On a GPU, the CPU's clock is misleading. The CPU only *queues* the work and runs ahead, so a part may seem to take no
# time. Profile with `ProfilerActivity.CUDA` as well, and look at the GPU's own times. If the GPU is idle most of the time,
# suspect the loader, and give it more `num_workers`.

# %% [markdown]
# ## Summary
#
# - One file holds every decision. Unknown names and wrong values are refused before the first step.
# - A run leaves its config, the code's version, the data's checksum, its curves and weights, and can be repeated.
# - One seed isn't a result. Measure the noise first; then report a difference with its interval. Pairs help only where
#   the luck is shared.
# - An ablation removes one part at a time. The best of many is partly luck: confirm it with new seeds.
# - Search on a logarithmic scale, report after every epoch, and keep the study in a file. One study's importances are a
#   rough guess.
# - Several processes must give what one gives. Weight each share's loss by its number of pictures.
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
