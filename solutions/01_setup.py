# %% [markdown]
# # 01 · Setup: pictures are numbers
#
# Deep learning begins with two plain things: a machine that is set up, and arrays of numbers.
# This chapter gets you both. At its end you will have built a classifier of handwritten digits
# without any learning at all, just by handling arrays well.
#
# **You will be able to**
# - tell whether your machine has everything the course needs, and repair what is missing
# - read the shape, type and device of a tensor, and compute with whole batches instead of loops
# - make an experiment that comes out the same tomorrow
# - put code where others look for it, test it, and watch numbers in TensorBoard
#
# **Time:** 60 to 75 minutes. **You need:** Python, and the idea of a matrix.

# %% [markdown]
# ## 1. Is everything here?
#
# The course has a doctor. It looks at Python, PyTorch, memory, Jupyter and data, and says what to do where something
# is missing. The signs are `✓` for fine, `·` for worth knowing, and `✗` for *needed and missing*.

# %% tags=["nbval-ignore-output"]
from dl_course.doctor import doctor

doctor()

# %% [markdown]
# No `✗` in the first column? Then you are set. A `·` never stops you: every chapter runs without a graphics card, and
# without a network.
#
# If something is missing, its *fix* stands beside it. Section 10 lists the ways to install the course from scratch.

# %% [markdown]
# ## 2. A picture is a tensor
#
# A *tensor* is an array of numbers, of one type, with any number of axes. The course carries a set of real handwritten
# digits, collected long ago on paper forms. We load them and turn them into a tensor.

# %%
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

sns.set_theme(style="white", palette="colorblind")

raw = load_digits()
images = torch.from_numpy(raw.images).to(torch.uint8)
labels = torch.from_numpy(raw.target)
images.shape, images.dtype

# %% [markdown]
# Three axes: how many pictures, and each one's height and width. And one type: `uint8`, whole numbers from 0 to 255,
# which is how image files store brightness.
#
# Here is the first picture, as the numbers that it is. Squint at the large ones.

# %%
images[0]

# %% [markdown]
# Do you see the zero? Drawn as brightness, it is easier.

# %% alt="Sixteen handwritten digits in two rows, white on black, each with its label above it"
figure, axes = plt.subplots(2, 8, figsize=(8, 2.6))
for ax, picture, label in zip(axes.flat, images, labels, strict=False):
    ax.imshow(picture, cmap="gray")
    ax.set_title(int(label), fontsize=10)
    ax.axis("off")

# %% [markdown]
# They are small, and some are hard even for you. This is what all of the course's networks will see: not a digit,
# a grid of numbers.

# %% [markdown]
# ## 3. Shapes: four axes, always in this order
#
# PyTorch's networks expect a *batch* of pictures, with the axes **(N, C, H, W)**: number of pictures, channels,
# height, width. A grey picture has one channel, a colour picture three. Our digits lack the channel axis.
# `[:, None]` inserts an axis of length one.

# %%
batch = images[:, None]
batch.shape

# %% [markdown]
# The numbers haven't changed, and nothing was copied: a tensor is a block of memory and a *view* of it. Soon you will
# see the views that you'll need most often. First, a question. There will be several like it in each chapter: take
# half a minute and commit yourself before you run the next cell. Nobody grades your guess, and a wrong one teaches
# more than a right one.

# %%
from dl_course import ask

ask("01-one-picture")

# %%
{
    "one picture, as a batch of one": batch[:1].shape,
    "one picture, without the batch axis": batch[0].shape,
    "every picture as one long row": batch.flatten(1).shape,
    "channels last, as plotting wants them": batch.permute(0, 2, 3, 1).shape,
    "the left half of every picture": batch[..., :4].shape,
}

# %% [markdown]
# A range (`[:1]`) keeps an axis, a number (`[0]`) removes it. Most errors with shapes are this one.

# %% [markdown]
# ## 4. Types: whole numbers are a trap
#
# `uint8` is right for storing pictures and wrong for computing with them. Take a bright pixel and make it brighter.

# %%
ask("01-uint8-sum")

# %%
bright = torch.tensor([200], dtype=torch.uint8)
bright + 100

# %% [markdown]
# There was no room for the true sum, so the number started again from zero. Nobody warned us. So the rule is: turn
# pictures into `float32` first, and only then compute.

# %%
batch = batch.float()
batch.dtype, batch.mean(), batch.std()

# %% [markdown]
# Now they have a mean and a standard deviation. Both go over *all* numbers, unless we say which axes shall disappear.
# With `keepdim=True` an axis stays, with length one. Compare the two shapes.

# %%
{
    "mean over the pictures": batch.mean(dim=0).shape,
    "the same, keeping the axis": batch.mean(dim=0, keepdim=True).shape,
}

# %% [markdown]
# The mean over all pictures is again a picture: the average digit.

# %% alt="The average of all digits: a bright, blurred column in the middle of a dark square"
figure, ax = plt.subplots(figsize=(2, 2))
ax.imshow(batch.mean(dim=0)[0], cmap="gray")
ax.set_title("the average digit", fontsize=10)
_ = ax.axis("off")

# %% [markdown]
# Writers put their ink in the middle, and hardly any into the corners.

# %% [markdown]
# ## 5. How exercises work
#
# Your first exercise comes in a moment. Every exercise has three cells:
#
# 1. **Your cell.** Replace the line `raise NotImplementedError(...)` with your answer, and run the cell.
# 2. **The check.** `check(...)` tries your answer on inputs whose results it knows. It shows the first one on which
#    you differ, and often what your mistake was. Check as often as you like.
# 3. **The solution**, collapsed. A click opens it. If your answer has passed, *yours* is used from there on,
#    otherwise the reference: the rest of the chapter works in either case.
#
# Stuck? Type `hint(standardize)` into a cell of your own. Each call gives the next hint.
# What you have passed is remembered; `progress()` shows it. To start an exercise again, run `dl-course reset standardize`
# in a terminal.

# %%
from dl_course import check, hint, progress, solution

# %% [markdown]
# ## 6. Standardize a batch
#
# Networks learn fastest when their inputs have a mean of 0 and a standard deviation of 1. We'll see why in chapter 04.
# For pictures this is done for each channel, over all pictures and all pixels: red has its own mean, and so has blue.
#
# $$ \hat x_{nchw} = \frac{x_{nchw} - \mu_c}{\sigma_c} $$
#
# Which shape do these means have?

# %%
ask("01-mean-per-channel")

# %% [markdown]
# **Exercise.** Write `standardize`. Mind three things: pictures may come as whole numbers; a channel that is the same
# everywhere has $\sigma = 0$ and shall become 0; and your caller still needs the batch that you were given, unchanged.

# %% tags=["exercise"]
def standardize(images: Tensor) -> Tensor:
    """Return the batch (N, C, H, W) as floats, every channel with mean 0 and deviation 1.

    Both go over the whole batch; the deviation is √(Σ(x-μ)²/n), so torch's with correction=0.
    A constant channel becomes all zeros.
    """
    ### BEGIN SOLUTION
    images = images.float()
    mean = images.mean(dim=(0, 2, 3), keepdim=True)  # (1, C, 1, 1)
    std = images.std(dim=(0, 2, 3), correction=0, keepdim=True)
    return (images - mean) / torch.where(std > 0, std, 1)
    ### END SOLUTION


# %% tags=["check"]
check(standardize)

# %% [markdown]
# What has it done to our digits? The next cell shows how often each brightness occurs, before and after.

# %% alt="Two histograms of equal form: brightness from 0 to 16 before, and around zero after standardizing"
figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), sharey=True, layout="constrained")
pairs = (batch, "as stored"), (standardize(batch), "standardized")
for ax, (values, title) in zip(axes, pairs, strict=True):
    ax.hist(values.flatten().numpy(), bins=17, color="C0")
    ax.axvline(values.mean().item(), color="C1", linestyle="--", label="mean")
    ax.set(title=title, xlabel="value of a pixel")
axes[0].set_ylabel("number of pixels")
_ = axes[1].legend()

# %% [markdown]
# The form is the same; only the scale beneath it has moved. Standardizing keeps all information.

# %% [markdown]
# ## 7. Broadcasting: loops that you don't write
#
# How can a mean of shape (1, C, 1, 1) be subtracted from a batch of shape (N, C, H, W)? By *broadcasting*: an axis of
# length one is repeated as often as needed. Look at the column and the row below.

# %% alt="A column of three numbers plus a row of four gives a table of three by four sums"
column, row = torch.tensor([[0], [10], [20]]), torch.tensor([[1, 2, 3, 4]])
figure, axes = plt.subplots(1, 3, figsize=(8, 2.2), layout="constrained")
for ax, table, sign in zip(axes, (column, row, column + row), ("", "+", "="), strict=True):
    ax.imshow(table, cmap="Blues", vmin=0, vmax=60)
    ax.set(xlim=(-0.5, 3.5), ylim=(2.5, -0.5))
    ax.set_title(f"{sign}   shape {tuple(table.shape)}", fontsize=11)
    ax.axis("off")
    for (i, j), value in np.ndenumerate(table.numpy()):
        ax.text(j, i, value, ha="center", va="center")

# %% [markdown]
# The column was repeated four times, the row three times, without any copy in memory. The rule has two lines:
#
# - shapes are compared **from the right**; a missing axis counts as length one
# - two lengths fit if they are **equal**, or if **one of them is 1**
#
# When they don't fit, PyTorch says so. That is the lucky case.

# %%
try:
    torch.ones(3, 4) + torch.ones(3)
except RuntimeError as error:
    print(error)

# %% [markdown]
# The unlucky case is when shapes fit that should not. Here we mean to compare five predictions with five labels.

# %%
ask("01-shapes-that-fit")

# %%
predictions, truth = torch.tensor([1.0, 2, 3, 4, 5])[:, None], torch.tensor([1.0, 2, 3, 4, 5])
{"shape": (predictions - truth).shape, "mean error": (predictions - truth).abs().mean()}

# %% [markdown]
# All five are right, and yet there is an error: (5, 1) and (5,) became a table of every prediction against every label.
# When a loss makes no sense, look at the shapes first.
#
# But often a table of "everything against everything" is just what we want.
#
# **Exercise.** Write `pairwise_distances`: the Euclidean distance of every row of `a` from every row of `b`. No loop,
# and no ready-made distance function. Two inserted axes are enough.

# %% tags=["exercise"]
def pairwise_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M) of the rows of a (N, D) from those of b (M, D)."""
    ### BEGIN SOLUTION
    difference = a[:, None] - b[None]  # (N, 1, D) - (1, M, D) -> (N, M, D)
    return difference.pow(2).sum(dim=-1).sqrt()
    ### END SOLUTION


# %% tags=["check"]
check(pairwise_distances)

# %% [markdown]
# ## 8. A classifier in four lines
#
# With distances we can already read digits. The idea: average all zeros, all ones, and so on. A new picture then gets
# the label of the average that it is nearest to.
#
# To be honest about the result, we try it on pictures that took no part in the averages. So the pictures must be
# split in two, at random. And random must not mean "different every time": look at these three draws.

# %%
first = torch.randperm(8, generator=torch.Generator().manual_seed(1))
again = torch.randperm(8, generator=torch.Generator().manual_seed(1))
other = torch.randperm(8, generator=torch.Generator().manual_seed(2))
first.tolist(), again.tolist(), other.tolist()

# %% [markdown]
# A generator with the same *seed* draws the same numbers. With a generator of its own, a function disturbs nobody:
# had it called `torch.manual_seed`, every other random number in your program would change with it.
#
# **Exercise.** Write `seeded_split`, which deals the indices 0 … n−1 into a training and a validation part.

# %% tags=["exercise"]
def seeded_split(n: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return (training indices, validation indices): each of 0 … n-1 in one of the two.

    The validation part has round(n * share) members. The same seed gives the same split,
    another seed another. The global random generator is left alone.
    """
    ### BEGIN SOLUTION
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    size = round(n * share)
    return order[size:], order[:size]
    ### END SOLUTION


# %% tags=["check"]
check(seeded_split)

# %% [markdown]
# Now the classifier. Two lines make the ten averages, one the distances, one picks the nearest.

# %%
ask("01-nearest-average")

# %%
train, validation = seeded_split(len(batch), share=0.2, seed=0)
pixels = standardize(batch).flatten(1)

by_digit = [pixels[train][labels[train] == digit] for digit in range(10)]
averages = torch.stack([each.mean(dim=0) for each in by_digit])  # (10, 64)
distances = pairwise_distances(pixels[validation], averages)  # (N, 10)
nearest = distances.argmin(dim=1)

accuracy = (nearest == labels[validation]).float().mean().item()
print(f"{accuracy:.0%} of {len(validation)} unseen digits are right; guessing: {1 / 10:.0%}")

# %% [markdown]
# Not bad for four lines and no learning. These are the ten averages, and below them some digits that were misread.

# %% alt="Upper row: the ten blurred average digits. Lower row: ten misread digits with true and given label"
wrong = (nearest != labels[validation]).nonzero().flatten()[:10]
figure, axes = plt.subplots(2, 10, figsize=(9, 2.4))
for digit, index in enumerate(wrong):
    axes[0, digit].imshow(averages[digit].view(8, 8), cmap="gray")
    axes[0, digit].set_title(f"mean {digit}", fontsize=8)
    axes[1, digit].imshow(images[validation[index]], cmap="gray")
    axes[1, digit].set_title(f"{labels[validation[index]]}, not {nearest[index]}", fontsize=8)
for ax in axes.flat:
    ax.axis("off")

# %% [markdown]
# Each digit has many ways to be written, and one average can't hold them all. From chapter 02 on, networks will.

# %% [markdown]
# ## 9. Models, parameters, devices
#
# In PyTorch, a model is an `nn.Module`. Its *parameters* are the tensors that training will change. Here is the smallest
# network that could do the job above: 64 pixels in, 10 scores out.

# %%
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
{name: tuple(parameter.shape) for name, parameter in model.named_parameters()}

# %% [markdown]
# A matrix with one weight for each pixel and digit, and one bias for each digit. It is the same arithmetic as in
# section 8: ten pictures, compared with the input.

# %%
ask("01-parameters")

# %% [markdown]
# **Exercise.** Write `count_parameters`. How large a model is, is the first question that anybody asks of it. Three details
# make counts go wrong: frozen parameters, parameters that two layers share, and *buffers*, such as the running
# averages of BatchNorm, which belong to a model's state and aren't parameters.

# %% tags=["exercise"]
def count_parameters(model: nn.Module, trainable_only: bool = False) -> int:
    """Return how many numbers the model's parameters hold, each parameter once.

    With trainable_only, frozen ones (requires_grad is False) don't count.
    """
    ### BEGIN SOLUTION
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)
    ### END SOLUTION


# %% tags=["check"]
check(count_parameters)

# %% [markdown]
# Does the count fit the shapes above? It must be the product of the matrix's lengths, plus the biases.

# %%
count_parameters(model), 64 * 10 + 10

# %% [markdown]
# A tensor lives on a *device*: in the computer's memory, or in a graphics card's. Both partners of a computation must be
# on the same one. `pick_device()` gives the best there is, so that the same notebook runs everywhere.

# %% tags=["nbval-ignore-output"]
from dl_course.runtime import pick_device

device = pick_device()
device

# %% [markdown]
# The habit to keep: move the model once, move every batch, and bring results back with `.cpu()` before plotting.

# %%
scores = model.to(device)(standardize(batch[:5]).to(device)).cpu()
scores.shape, scores.requires_grad

# %% [markdown]
# Five pictures, ten scores each. `requires_grad` says that PyTorch remembers how the scores were computed, in order to
# find out later how to improve them. That is chapter 02.

# %% [markdown]
# ## 10. Where things live
#
# A notebook is a fine place to think and a poor place to keep code. This course, like most projects, divides its
# things by what they are for:
#
# ```
# chapters/       the notebooks; you work in copies, in work/
# dl_course/      code that more than one notebook uses: imported, tested, documented
# tests/          one test file for each module
# datasets/       data: downloaded, never committed
# pyproject.toml  what the project is called, what it needs, how its tools are set
# ```
#
# The rule behind it: **one thing, one place**. When two notebooks need a function, it moves into a module, and with it
# comes a test. Let us do that once, in an empty folder, with a module that has two flaws. Do you see them?

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

project = Path(tempfile.mkdtemp())
_ = (project / "toy.py").write_text('''\
import os


def accuracy(predicted, truth):
    """Return the share of equal entries."""
    return sum(p == t for p, t in zip(predicted, truth)) / len(truth)
''')

# %% [markdown]
# Beside it comes a file of tests. Each says in its name what shall be true, and in its body how to find out.

# %%
_ = (project / "test_toy.py").write_text('''\
from toy import accuracy


def test_accuracy_is_the_share_of_equal_entries():
    assert accuracy([1, 2, 3, 4], [1, 2, 0, 0]) == 0.5


def test_accuracy_of_nothing_is_zero():
    assert accuracy([], []) == 0.0
''')

# %% [markdown]
# **Ruff** reads the code without running it, and finds what is untidy or suspicious.

# %% tags=["nbval-ignore-output"]
def run(*command: str) -> None:
    """Run a Python tool in the toy project and print what it says."""
    tool = [sys.executable, "-m", *command]
    print(subprocess.run(tool, cwd=project, capture_output=True, text=True).stdout)


run("ruff", "check", "--output-format=concise", "toy.py")

# %% [markdown]
# It found the import that nobody uses. What it can't find is a wrong result: for that there are tests. **pytest** runs
# every function whose name begins with `test_`.

# %% tags=["nbval-ignore-output"]
run("pytest", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", ".")

# %% [markdown]
# One passed and one failed: nobody had thought of an empty list. We repair the function and ask again.

# %% tags=["nbval-ignore-output"]
flawed = (project / "toy.py").read_text()
repaired = flawed.replace("len(truth)", "max(len(truth), 1)").replace("import os\n", "")
(project / "toy.py").write_text(repaired.lstrip())
run("pytest", "-q", "--no-header", "-p", "no:cacheprovider", ".")

# %% [markdown]
# All green. A test that you have seen fail is a test that you can trust. The checks of your exercises are nothing else.
#
# ### Ways to install the course
#
# | where | how |
# | --- | --- |
# | Linux, macOS | `make lab` in a clone of the repository |
# | conda | `conda env create -f environment.yml`, `conda activate dl-course`, `pip install --no-deps -e .`, `dl-course lab` |
# | pip, also on Windows | `python -m venv .venv`, activate it, `pip install -e ".[experiments,deploy]"`, `dl-course lab` |
# | Colab | the badge at the top of every chapter; work there is lost with the session, so save a copy |
# | VS Code | open the folder, install the extensions *Python* and *Jupyter*, and choose `.venv` as the kernel; it doesn't collapse solutions, so don't peek |
#
# With an NVIDIA card, `nvidia-smi` shows the driver and the newest CUDA that it supports. The PyTorch build must not be
# newer than that. The README says how to choose one.

# %% [markdown]
# ## 11. TensorBoard: watching numbers
#
# Training takes time, and one wants to watch. A `SummaryWriter` writes numbers into a folder, step by step, and TensorBoard
# draws them in the browser. Here we log a curve that looks like a loss.

# %% tags=["nbval-ignore-output"]
from torch.utils.tensorboard import SummaryWriter

logs = project / "runs" / "first"
with SummaryWriter(logs) as writer:
    for step in range(50):
        writer.add_scalar("loss", 2.3 * 0.93**step, step)
    writer.add_images("digits", batch[:8] / 16, 0)
[path.name.split(".")[0] for path in logs.iterdir()]

# %% [markdown]
# One file of *events*. To look at it, run `tensorboard --logdir runs` in a terminal and open the address that it prints,
# or put `%load_ext tensorboard` and `%tensorboard --logdir runs` into a cell. The events can also be read back from
# Python. Let us see whether everything has arrived.

# %%
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(str(logs)).Reload()
losses = events.Scalars("loss")
print(f"{len(losses)} steps, from {losses[0].value:.2f} to {losses[-1].value:.2f}")
print(f"and pictures: {events.Tags()['images'][:2]}")

# %% [markdown]
# Every step is there. From chapter 04 on, the numbers will be real.

# %% [markdown]
# ## Summary
#
# - A picture is a grid of numbers; a batch of pictures has the axes (N, C, H, W).
# - Compute in floats. Whole numbers overflow without a word.
# - Broadcasting repeats axes of length one. It replaces loops, and it hides mistakes in shapes.
# - Random numbers come from a generator with a seed, and every function that draws has its own.
# - Code that is used twice moves to a module, with a test that you have seen fail.
#
# ## Check yourself

# %%
progress("01")

# %% [markdown]
# ## Further reading
#
# - PyTorch documentation: *Tensors*, *Broadcasting semantics*, *Reproducibility*
# - NumPy documentation: *Broadcasting*, with pictures
# - Goodfellow, Bengio, Courville: *Deep Learning*, chapter 2 (linear algebra)
# - Zhang, Lipton, Li, Smola: *Dive into Deep Learning* (d2l.ai), chapter 2 (preliminaries)
# - The documentation of Ruff, pytest and TensorBoard: each has a first page worth ten minutes
