"""Judging the six kinds of answer."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise
from tests.exercises.archetypes import probes  # noqa: F401 registers the probes


class UnitRows(Exercise):
    """Rows of length one: a function."""

    name = "unit_rows"
    reference = staticmethod(lambda x: x / x.norm(dim=1, keepdim=True))
    mistakes = {"you scaled columns": lambda x: x / x.norm(dim=0, keepdim=True)}

    def cases(self, rng):
        yield {
            "about": "a tall matrix",
            "x": rng.normal(size=(int(rng.integers(5, 9)), 3)).astype(np.float32),
        }
        yield {
            "about": "a wide matrix",
            "x": rng.normal(size=(2, int(rng.integers(5, 9)))).astype(np.float32),
        }


def _endless(n, size, drop=False):
    while True:
        for start in range(0, n, size):
            if not drop or start + size <= n:
                yield list(range(start, min(start + size, n)))


class EndlessBatches(Exercise):
    """Batches without end: a generator."""

    name = "endless_batches"
    reference = staticmethod(_endless)
    mistakes = {"the last, short batch is lost": lambda n, size: _endless(n, size, drop=True)}

    def cases(self, rng):
        n, size = int(rng.integers(7, 20)), int(rng.integers(2, 6))
        yield {"about": "more than one round", "n": n, "size": size, "take": 2 * (n // size) + 5}


class _Mean:
    def __init__(self):
        self.total, self.count = 0.0, 0

    def update(self, batch):
        self.total, self.count = self.total + batch.sum().item(), self.count + len(batch)
        return self.total / self.count


class _MeanOfMeans:
    def __init__(self):
        self.means = []

    def update(self, batch):
        self.means.append(batch.mean().item())
        return sum(self.means) / len(self.means)


class RunningMeanCheck(Exercise):
    """A running mean: a class with state."""

    name = "RunningMean"
    reference = _Mean
    mistakes = {"you averaged the batches' means: short batches count too much": _MeanOfMeans}

    def cases(self, rng):
        sizes = rng.integers(1, 9, 4)
        yield {"about": "batches of unequal size", "batches": [rng.normal(size=int(n)) for n in sizes]}


class _Residual(nn.Module):
    def __init__(self, width, skip=True):
        super().__init__()
        self.first, self.second, self.skip = nn.Linear(width, width), nn.Linear(width, width), skip

    def forward(self, x):
        out = self.second(F.relu(self.first(x)))
        return F.relu(out + x) if self.skip else F.relu(out)


class ResidualLinearCheck(Exercise):
    """A residual block: a module."""

    name = "ResidualLinear"
    reference = _Residual
    mistakes = {
        "nothing is added: the skip connection is missing": lambda width: _Residual(width, skip=False)
    }

    def cases(self, rng):
        width = int(rng.integers(3, 9))
        x = rng.normal(size=(int(rng.integers(2, 6)), width)).astype(np.float32)
        yield {"about": "a batch", "width": width, "x": x, "seed": int(rng.integers(1000))}


def _step(model, batch, optimizer, zero=True):
    if zero:
        optimizer.zero_grad()
    loss = F.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss


class TrainStepCheck(Exercise):
    """A training step: it changes a model."""

    name = "one_step"
    reference = staticmethod(_step)
    mistakes = {"gradients add up: zero_grad() is missing": lambda *a: _step(*a, zero=False)}

    def cases(self, rng):
        n, d, classes = (int(k) for k in rng.integers(4, 9, 3))
        x, y = rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, classes, n)
        yield {"about": "two steps", "x": x, "y": y, "classes": classes, "seed": int(rng.integers(1000))}


class ChallengeCheck(Exercise):
    """A trained network: a file beside the notebook. The labels never leave the judge."""

    name = "Contest"

    def cases(self, rng):
        x = rng.normal(size=(200, 2)).astype(np.float32)
        yield {"about": "unseen points", "x": x, "_labels": (x[:, 0] * x[:, 1] > 0).astype(np.int64)}

    def judge(self, case, outputs):
        if "raised" in outputs:
            return Difference(
                "", f"{outputs['raised']}: {outputs['message']}", "logits", "the network can't be used"
            )
        logits = np.asarray(outputs["logits"])
        if logits.shape != (200, 2):
            return Difference("logits", logits.shape, (200, 2), "one row of logits for each point")
        right = float((logits.argmax(1) == case["_labels"]).mean())
        return (
            None
            if right >= 0.9
            else Difference("logits", right, 0.9, "too many of the unseen points are wrong")
        )


def train_challenge(path, steps=400):
    """Train the network of `answers.py` and save it."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    x = torch.randn(2000, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    save_file(model.state_dict(), path)
