# %% [markdown]
# # 01 · Setup: pictures are numbers
#
# Deep learning starts with two plain things: a machine that is set up, and arrays of numbers. This chapter gives you
# both. By its end you will have built a program that reads handwritten digits, without any training: careful handling
# of arrays is enough.
#
# **You will be able to**
# - tell whether your machine has everything the course needs, and fix what is missing
# - read the shape, type and device of a tensor, and compute with whole batches instead of loops
# - make an experiment that gives the same result tomorrow
# - put code where others will look for it, test it, and follow numbers in TensorBoard
#
# **Time:** about an hour and a half, with the exercises. **You need:** Python, and an idea of what a matrix is.

# %% [markdown]
# ## 1. Is everything here?
#
# The course has a doctor. It examines Python, PyTorch, memory, Jupyter and data, and says how to fix what is missing.
# `✓` means fine, `·` means worth knowing, and `✗` means needed, but missing.

# %% tags=["nbval-ignore-output"]
from dl_course.doctor import doctor

doctor()

# %% [markdown]
# No `✗` in the first column? Then you're ready. A `·` never stops you: every chapter runs without a graphics card and
# without an internet connection.
#
# Beside anything that is missing you will find its *fix*. Section 10 lists the ways to install the course from scratch.

# %% [markdown]
# ## 2. A picture is a tensor
#
# A *tensor* is an array of numbers, all of one type, with any number of axes. Scikit-learn comes with a set of real
# handwritten digits, collected on paper forms in the 1990s. We load them and turn them into a tensor.

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
# There are three axes: the number of pictures, then the height and width of each. And there is one type: `uint8`, whole
# numbers from 0 to 255, which is how most image files store brightness. (These digits use only 0 to 16: each pixel
# counts the dark cells in a 4 × 4 block of a finer scan.)
#
# Here is the first picture, as numbers. Squint at the large ones.

# %%
images[0]

# %% [markdown]
# Can you see the zero? It is easier when brightness is drawn.

# %% alt="Sixteen handwritten digits in two rows, white on black, each with its label above it"
figure, axes = plt.subplots(2, 8, figsize=(8, 2.6))
for ax, picture, label in zip(axes.flat, images, labels, strict=False):
    ax.imshow(picture, cmap="gray")
    ax.set_title(int(label), fontsize=10)
    ax.axis("off")

# %% [markdown]
# They are small, and some are hard to read even for you. This is all that a network ever sees: not a digit, but a grid
# of numbers.

# %% [markdown]
# ## 3. Shapes: four axes, always in this order
#
# PyTorch's networks expect a *batch* of pictures, with the axes **(N, C, H, W)**: number of pictures, channels,
# height, width. A grey picture has one channel, a colour picture has three: red, green and blue. Our digits have no
# channel axis yet. Indexing with `[:, None]` inserts one, of length 1.

# %%
batch = images[:, None]
batch.shape, batch.data_ptr() == images.data_ptr()

# %% [markdown]
# The numbers haven't changed, and nothing was copied: both tensors begin at the same place in memory, which is what
# `data_ptr` returns. A tensor is a block of memory plus a way of looking at it, a *view*. This is a second view of the
# same memory.
#
# Below are the views that you'll need most often. But first, a question. Each chapter has several. Commit to an answer
# before you run the next cell: nobody grades it, and a wrong guess teaches more than a right one.

# %%
from dl_course import ask

ask("01-one-picture")

# %%
{
    "one picture, as a batch of one": batch[:1].shape,
    "one picture, without the batch axis": batch[0].shape,
    "each picture as one long row": batch.flatten(1).shape,
    "channels last, as Matplotlib wants them": batch.permute(0, 2, 3, 1).shape,
    "the left half of every picture": batch[..., :4].shape,
}

# %% [markdown]
# A slice (`[:1]`) keeps its axis; a number (`[0]`) removes it. Many shape errors come from this. The dots in
# `[..., :4]` stand for all the axes before the last.

# %% [markdown]
# ## 4. Types: whole numbers are a trap
#
# `uint8` is fine for storing pictures and dangerous for computing with them. Take a bright pixel and make it brighter.

# %%
ask("01-uint8-sum")

# %%
bright = torch.tensor([200], dtype=torch.uint8)
bright + 100

# %% [markdown]
# There was no room for the true sum, so the count started again from zero. Nothing warned us. So the rule is: convert
# pictures to `float32` first, then compute.

# %%
batch = batch.float()
batch.dtype, batch.mean(), batch.std()

# %% [markdown]
# Floats have a mean and a standard deviation. (Ask a tensor of whole numbers for its mean, and PyTorch raises an
# error.) Both are taken over *all* the numbers, unless `dim` says which axes to average over. Those axes then
# disappear, or with `keepdim=True` stay with length 1. Compare the two shapes.

# %%
{
    "mean over the pictures": batch.mean(dim=0).shape,
    "the same, keeping the axis": batch.mean(dim=0, keepdim=True).shape,
}

# %% [markdown]
# The mean over all pictures is a picture again: the average digit.

# %% alt="The average of all digits: a bright, blurred column in the middle of a dark square"
figure, ax = plt.subplots(figsize=(2, 2))
ax.imshow(batch.mean(dim=0)[0], cmap="gray")
ax.set_title("the average digit", fontsize=10)
_ = ax.axis("off")

# %% [markdown]
# The ink is in the middle; the left and right edges stay almost empty.

# %% [markdown]
# ## 5. How exercises work
#
# Your first exercise is the next section. Every exercise has three cells:
#
# 1. **Your cell.** Replace the line `raise NotImplementedError(...)` with your answer, and run the cell.
# 2. **The check.** `check(...)` tries your answer on inputs whose results it knows. It shows the first one where you
#    differ, and often says what your mistake was. Check as often as you like.
# 3. **The solution**, collapsed. Click to open it. Once your answer has passed, *yours* is used from there on;
#    until then, the reference is. The rest of the chapter works either way.
#
# Stuck? Run `hint(standardize)` in a new cell. Each call gives the next hint. If you prefer to talk it over,
# `hint.prompt(standardize)` gives you a text to paste into an AI assistant, which asks it to help by questions and not
# to give the answer away.
#
# The course remembers what you have passed; `progress()` shows it. To start an exercise over, run
# `dl-course reset standardize` in a terminal.

# %%
from dl_course import check, hint, progress, solution

# %% [markdown]
# ## 6. Standardize a batch
#
# Networks learn faster when their inputs have a mean near 0 and a standard deviation near 1. Chapter 02 measures how
# much faster, in its section 12. For pictures, each channel is standardized over all pictures and pixels: red has its
# own mean $\mu$ and standard deviation $\sigma$, and so do green and blue.
#
# $$ \hat x_{nchw} = \frac{x_{nchw} - \mu_c}{\sigma_c} $$
#
# The means have to be subtracted from the batch, so their shape matters.

# %%
ask("01-mean-per-channel")

# %% [markdown]
# **Exercise.** Write `standardize`. Watch out for three things. Pictures may come as whole numbers. A channel that is
# the same everywhere has $\sigma = 0$; it should become 0. And the caller still needs the original batch, unchanged.

# %% tags=["exercise"]
def standardize(images: Tensor) -> Tensor:
    """Return the batch (N, C, H, W) as floats, each channel with mean 0 and deviation 1.

    Both are taken over the whole batch; the standard deviation is √(Σ(x-μ)²/n), which is
    torch's with correction=0. A constant channel becomes all zeros.
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

# %% alt="Two histograms of the same shape: brightness from 0 to 16 before, from about -0.8 to 1.9 after; the tallest bar is the empty background"
figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), sharey=True, layout="constrained")
pairs = (batch, "as stored"), (standardize(batch), "standardized")
for ax, (values, title) in zip(axes, pairs, strict=True):
    ax.hist(values.flatten().numpy(), bins=17, color="C0")
    ax.axvline(values.mean().item(), color="C1", linestyle="--", label="mean")
    ax.set(title=title, xlabel="value of a pixel")
axes[0].set_ylabel("number of pixels")
_ = axes[1].legend()

# %% [markdown]
# The shape is the same; only the scale under it has changed. Standardizing loses no information.

# %% [markdown]
# ## 7. Broadcasting: loops you don't have to write
#
# How can a mean of shape (1, C, 1, 1) be subtracted from a batch of shape (N, C, H, W)? By *broadcasting*: an axis of
# length 1 is repeated as often as needed. Look at the column and the row below.

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
# The column was repeated four times and the row three times, without a copy in memory. The rule has two parts:
#
# - shapes are compared **from the right**; a missing axis counts as length 1
# - two lengths fit if they are **equal**, or if **one of them is 1**
#
# If shapes don't fit, PyTorch says so. That is the lucky case.

# %%
try:
    torch.ones(3, 4) + torch.ones(3)
except RuntimeError as error:
    print(error)

# %% [markdown]
# In the unlucky case, shapes fit that shouldn't. Here we want to compare five predictions with five labels.

# %%
ask("01-shapes-that-fit")

# %%
predictions, truth = torch.tensor([1.0, 2, 3, 4, 5])[:, None], torch.tensor([1.0, 2, 3, 4, 5])
{"shape": (predictions - truth).shape, "mean error": (predictions - truth).abs().mean()}

# %% [markdown]
# All five are right, and yet the mean error isn't zero: (5, 1) and (5,) became a table of every prediction against
# every label. When a result makes no sense, look at the shapes first.
#
# Often, though, a table of everything against everything is exactly what we want.
#
# **Exercise.** Write `pairwise_distances`: the Euclidean distance from each row of `a` to each row of `b`. Use no loop
# and no ready-made distance function; inserting two axes is enough.

# %% tags=["exercise"]
def pairwise_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the Euclidean distances (N, M) from the rows of a (N, D) to those of b (M, D)."""
    ### BEGIN SOLUTION
    difference = a[:, None] - b[None]  # (N, 1, D) - (1, M, D) -> (N, M, D)
    return difference.pow(2).sum(dim=-1).sqrt()
    ### END SOLUTION


# %% tags=["check"]
check(pairwise_distances)

# %% [markdown]
# ## 8. A classifier in four lines
#
# With distances we can already read digits. Average all the zeros, all the ones, and so on. A new picture then gets
# the label of the nearest average.
#
# For an honest result, we test it on pictures that weren't used for the averages. So we split the pictures in two, at
# random. But random must not mean different every time. Look at these three draws.

# %%
first = torch.randperm(8, generator=torch.Generator().manual_seed(1))
again = torch.randperm(8, generator=torch.Generator().manual_seed(1))
other = torch.randperm(8, generator=torch.Generator().manual_seed(2))
first.tolist(), again.tolist(), other.tolist()

# %% [markdown]
# Generators with the same *seed* draw the same numbers. A function with its own generator leaves the rest of the
# program alone; if it called `torch.manual_seed` instead, every random number drawn after it would change, too.
#
# **Exercise.** Write `seeded_split`, which deals the indices 0 … n−1 into a training part and a validation part.

# %% tags=["exercise"]
def seeded_split(n: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return (training indices, validation indices): each of 0 … n-1 is in exactly one of them.

    The validation part has round(n * share) members. The same seed gives the same split,
    a different seed a different one. The global random generator is left alone.
    """
    ### BEGIN SOLUTION
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    size = round(n * share)
    return order[size:], order[:size]
    ### END SOLUTION


# %% tags=["check"]
check(seeded_split)

# %% [markdown]
# Now we could standardize the pixels of each part with `standardize`. But that is a trap. Look at the brightest pixel
# of the first picture, standardized in batches of different sizes.

# %%
train, validation = seeded_split(len(batch), share=0.2, seed=0)
{f"in a batch of {n}": f"{standardize(batch[:n])[0].max():.2f}" for n in (1, 5, 50)}

# %% [markdown]
# The same picture, three different results, because each batch has its own mean and standard deviation. What becomes
# of a picture must not depend on the others in its batch. So we measure the mean and standard deviation once, **on the
# training pictures alone**, and use them for all pictures, including those that come later.
#
# Why not measure them on all the pictures that we have? Because then the validation pictures would have helped to
# prepare their own exam. For a mean, the harm is tiny. But the rule holds for everything that is estimated from data,
# and it costs nothing to keep.

# %%
mean, std = batch[train].mean(), batch[train].std()  # one channel, so one number each
pixels = ((batch - mean) / std).flatten(1)  # (1797, 64)
print(f"validation: mean {pixels[validation].mean():.3f}, std {pixels[validation].std():.3f}")

# %% [markdown]
# On the validation pictures, the mean and standard deviation come close to 0 and 1. They needn't be exact, since other
# pictures determined them.
#
# Now the classifier. Two lines make the ten averages, one the distances, and one picks the nearest.

# %%
ask("01-nearest-average")

# %%
by_digit = [pixels[train][labels[train] == digit] for digit in range(10)]
averages = torch.stack([each.mean(dim=0) for each in by_digit])  # (10, 64)
distances = pairwise_distances(pixels[validation], averages)  # (N, 10)
nearest = distances.argmin(dim=1)

accuracy = (nearest == labels[validation]).float().mean().item()
print(f"{accuracy:.0%} of {len(validation)} unseen digits are right; guessing: {1 / 10:.0%}")

# %% [markdown]
# Not bad for four lines and no training. (The method has a name: it is a *nearest-centroid classifier*.) Below are some
# of the digits that it got wrong, each with the average of its own kind and the average that was nearer.

# %% alt="Ten columns: a misread digit on top, the average of its own kind in the middle, the nearer average below; several are fives read as nines"
wrong = (nearest != labels[validation]).nonzero().flatten()[:10]
digits, truths = images[validation[wrong]], labels[validation[wrong]]
rows = {"digit": digits, "its kind": averages[truths], "nearer": averages[nearest[wrong]]}
figure, axes = plt.subplots(3, 10, figsize=(9, 3.2), layout="constrained")
for row, (name, pictures) in zip(axes, rows.items(), strict=True):
    row[0].set_ylabel(name)
    for ax, picture in zip(row, pictures.view(-1, 8, 8), strict=True):
        ax.imshow(picture, cmap="gray")
        ax.set(xticks=[], yticks=[])
for ax, truth, answer in zip(axes[0], truths, nearest[wrong], strict=True):
    ax.set_title(f"{truth}, read as {answer}", fontsize=8)

# %% [markdown]
# There are many ways to write each digit, and one average can't hold them all. From chapter 02 on, networks will.

# %% [markdown]
# ## 9. Models, parameters, devices
#
# In PyTorch, a model is an `nn.Module`. Its *parameters* are the tensors that training will change. Here is the
# smallest network that could do the job above: 64 pixels in, 10 scores out. The largest score is its answer.
# `Sequential` applies its layers in order: `Flatten` turns each picture into a row of 64 numbers, and `Linear` computes
# each score as a weighted sum of them, plus a constant.

# %%
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
{name: tuple(parameter.shape) for name, parameter in model.named_parameters()}

# %% [markdown]
# There is a matrix with one *weight* for each digit and pixel, and one constant, a *bias*, for each digit.

# %%
ask("01-parameters")

# %% [markdown]
# This network can compute exactly what section 8 did. The squared distance from a picture $x$ to an average $m$ is
#
# $$ \|x - m\|^2 = \|x\|^2 - 2\, m \cdot x + \|m\|^2 $$
#
# and its first term is the same for all ten averages. So the nearest average is the one with the largest
# $m \cdot x - \frac12 \|m\|^2$: a weight for each pixel, and a bias. Let's put those numbers into the network.
# (`no_grad` tells PyTorch not to keep a record of what we do; chapter 02 says what the record is for.)

# %%
with torch.no_grad():
    model[1].weight.copy_(averages)
    model[1].bias.copy_(-averages.pow(2).sum(dim=1) / 2)
    scores = model(pixels[validation])
same = (scores.argmax(dim=1) == nearest).sum().item()
print(f"the same answer for {same} of {len(scores)} digits")

# %% [markdown]
# The four lines *were* a network, with weights chosen by averaging. Training will choose better ones.
#
# **Exercise.** How large is it? That is the first question about any model. Write `count_parameters`. Three details can
# make counts go wrong: *frozen* parameters, which training leaves alone (`requires_grad=False`); parameters that two
# layers share; and *buffers*, which belong to a model's state but aren't parameters. (BatchNorm, a layer that you'll
# meet in chapter 03, keeps running averages in buffers.)

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
# Does the count match the shapes above? It has to be the number of weights plus the number of biases.

# %%
count_parameters(model), 64 * 10 + 10

# %% [markdown]
# A tensor lives on a *device*: in the computer's main memory, or in that of a graphics card. All tensors in a
# computation must be on the same device. `pick_device()` returns the best one there is, so that the same notebook runs
# everywhere.

# %% tags=["nbval-ignore-output"]
from dl_course.runtime import pick_device

device = pick_device()
device

# %% [markdown]
# A habit to keep: move the model once, move each batch, and bring results back with `.detach().cpu()` before you plot
# them.

# %%
scores = model.to(device)(pixels[:5].to(device))
brought_back = scores.detach().cpu()
scores.shape, scores.requires_grad, brought_back.requires_grad

# %% [markdown]
# Five pictures, ten scores each. `requires_grad` is true because PyTorch has recorded how the scores were computed, so
# that it can find out later how to improve them. `detach` leaves the record behind; without it, Matplotlib and NumPy
# refuse the tensor. More on this in chapter 02.

# %% [markdown]
# ## 10. Where things live
#
# A notebook is a good place to think and a bad place to keep code. Like most projects, this course sorts its files by
# purpose:
#
# ```
# chapters/       the notebooks; you work in copies, in work/
# dl_course/      code that more than one notebook uses: imported, tested, documented
# tests/          one test file for each module
# datasets/       data: downloaded, never committed
# pyproject.toml  the project's name, what it needs, and the settings of its tools
# ```
#
# The rule behind it is **one thing, one place**. When two notebooks need the same function, it moves into a module and
# gets a test. Let's do that once, in an empty folder, with a module that has three flaws. Can you spot them?

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
# Next to it goes a file of tests. The name of each says what should be true, and its body how to find out.

# %%
_ = (project / "test_toy.py").write_text('''\
import pytest
from toy import accuracy

def test_accuracy_is_the_share_of_equal_entries():
    assert accuracy([1, 2, 3, 4], [1, 2, 0, 0]) == 0.5

def test_accuracy_of_nothing_is_zero():
    assert accuracy([], []) == 0.0

def test_a_missing_prediction_is_an_error():
    with pytest.raises(ValueError):
        accuracy([1, 2], [1, 2, 0])
''')

# %% [markdown]
# **Ruff** reads the code without running it, and reports what is untidy or suspicious. (In older projects you'll meet
# pylint, flake8, isort and black. Ruff does most of the work of all four.)

# %% tags=["nbval-ignore-output"]
def run(*command: str) -> None:
    """Run a Python tool in the toy project and print what it says."""
    tool = [sys.executable, "-m", *command]
    print(subprocess.run(tool, cwd=project, capture_output=True, text=True).stdout)


run("ruff", "check", "--output-format=concise", "toy.py")

# %% [markdown]
# It found the import that isn't used. It can't find wrong results; tests are for that. **pytest** runs every function
# whose name begins with `test_`.

# %% tags=["nbval-ignore-output"]
run("pytest", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", ".")

# %% [markdown]
# One passed and two failed. An empty list divides by zero. And `zip` stops quietly at the end of the shorter list, so
# a missing prediction counts as a wrong one, and nobody hears of it. We repair the function and run the tests again.

# %% tags=["nbval-ignore-output"]
repaired = (project / "toy.py").read_text().replace("import os\n", "").lstrip()
repaired = repaired.replace("len(truth)", "max(len(truth), 1)")
repaired = repaired.replace("zip(predicted, truth)", "zip(predicted, truth, strict=True)")
(project / "toy.py").write_text(repaired)
run("pytest", "-q", "--no-header", "-p", "no:cacheprovider", ".")

# %% [markdown]
# All three pass. Trust a test once you have seen it fail. The checks of your exercises work in the same way.
#
# ### Ways to install the course
#
# | where | how |
# | --- | --- |
# | Linux, macOS | `make lab` in your clone of the repository |
# | conda | `conda env create -f environment.yml`, `conda activate dl-course`, `pip install --no-deps -e .`, `dl-course lab` |
# | pip, also on Windows | `python -m venv .venv`, activate it, `pip install -e ".[experiments,deploy,photos]"`, `dl-course lab` |
# | Colab | click the badge at the top of a chapter; your work is lost when the session ends, so save a copy |
# | VS Code | open the folder, install the *Python* and *Jupyter* extensions, and choose `.venv` as the kernel; it doesn't collapse solutions, so don't peek |
#
# If you have an NVIDIA card, `nvidia-smi` shows the driver, and the newest version of CUDA that it was made for. A
# PyTorch build for the same *major* version of CUDA will usually run, even if its minor version is newer; a build for a
# newer major version needs a newer driver. The README shows how to choose a build.

# %% [markdown]
# ## 11. TensorBoard: watching numbers
#
# Training takes time, and you'll want to watch it. A `SummaryWriter` writes numbers into a folder, step by step, and
# TensorBoard draws them in the browser. Here we log a made-up curve that looks like a loss.

# %% tags=["nbval-ignore-output"]
from torch.utils.tensorboard import SummaryWriter

logs = project / "runs" / "first"
with SummaryWriter(logs) as writer:
    for step in range(50):
        writer.add_scalar("loss", 2.3 * 0.93**step, step)
    writer.add_images("digits", batch[:8] / 16, 0)
[path.name.split(".")[0] for path in logs.iterdir()]

# %% [markdown]
# There is one file of *events*. To look at such files, run `tensorboard --logdir runs` in a terminal and open the
# address that it prints, or run `%load_ext tensorboard` and `%tensorboard --logdir runs` in a cell. You can also read
# events back in Python. Let's check that everything has arrived.

# %%
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(str(logs)).Reload()
losses = events.Scalars("loss")
print(f"{len(losses)} steps, from {losses[0].value:.2f} to {losses[-1].value:.2f}")
print(f"and pictures: {events.Tags()['images'][:2]}")

# %% [markdown]
# Every step is there. In chapter 04, the numbers will be real.

# %% [markdown]
# ## Summary
#
# - A picture is a grid of numbers; a batch of pictures has the axes (N, C, H, W).
# - Compute with floats. Whole numbers overflow without warning.
# - Broadcasting repeats axes of length 1. It replaces loops, and it can hide shape errors.
# - Whatever is estimated from data, even a mean, is estimated on the training part alone.
# - Random numbers come from a generator with a seed; a function that draws them has a generator of its own.
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
# - Ruff, pytest and TensorBoard: the first page of each one's documentation is worth ten minutes
