"""Questions of chapter 04."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from dl_course.exercises.questions import Choice, Number


def _same_after_accumulating() -> str:
    x = torch.linspace(-1, 2, 48).view(6, 2, 2, 2) ** 3
    same = []
    for name, norm in (
        ("with group norm only", nn.GroupNorm(1, 2)),
        ("with batch norm only", nn.BatchNorm2d(2)),
    ):
        whole, parts = norm(x), torch.cat([norm(part) for part in x.split(4)])
        same += [name] if torch.allclose(whole, parts, atol=1e-5) else []
    (only,) = same
    return only


def _without_clearing() -> str:
    w = torch.ones(1, requires_grad=True)
    for _ in range(3):
        (2 * w).backward()
    kept = w.grad
    assert kept is not None
    return "with the sum of all gradients so far" if kept.item() == 6 else "with its own gradient"


def _epoch_of_the_drop() -> int:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    plan = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    for epoch, loss in enumerate([4.0, 3.0, 2.0, *[1.0] * 9], 1):
        plan.step(loss)
        if optimizer.param_groups[0]["lr"] < 1:
            return epoch
    raise AssertionError("the rate never fell")


QUESTIONS = (
    Number(
        "04-shared",
        "`suspect` holds the first 300 digits. One of them was inverted, one was blackened, and three were "
        "overwritten by copies of others. How many of the original digits are still in it?",
        lambda: 300 - 2 - 3,
        "Five pictures are gone. The copies don't count: they are of digits that are there anyway.",
        {
            298: "The three that were overwritten are gone, too.",
            297: "The two that were damaged are gone, too: they aren't the same pixels any more.",
            300: "It still has 300 pictures, but not all of them are originals.",
        },
    ),
    Number(
        "04-dropout-scale",
        "Dropout with p = 0.5 sets half of its inputs to zero in training. By what are the others "
        "multiplied, so "
        "that their mean stays the same?",
        lambda: F.dropout(torch.ones(100), 0.5, training=True).max().item(),
        "Half of them are left, so each must count twice: 1 / (1 − p).",
        {
            0.5: "That would make the inputs even smaller. (The first version of dropout did this, but in "
            "evaluation.)",
            1: "Then the next layer would get half as much in training as in evaluation.",
            1.5: "Half of the inputs times 1.5 gives only three quarters of the sum.",
        },
    ),
    Choice(
        "04-zero-grad",
        "Without `zero_grad()`, with which gradient does the optimizer take its third step?",
        _without_clearing,
        "`backward()` adds to `.grad`. The old directions never go away, like a momentum without friction.",
        {
            "with its own gradient": "That is what `zero_grad()` is for: `backward()` doesn't overwrite "
            "anything.",
            "with the mean of all gradients so far": "Nobody divides: the numbers are added up, and grow.",
        },
    ),
    Choice(
        "04-batches-of-two",
        "A trained network with batch norm is evaluated in training mode by mistake, in batches of two "
        "pictures. "
        "What do you expect of the accuracy?",
        "It falls.",
        "Each picture is normalised by the mean and variance of just two, so what the network sees of it "
        "depends "
        "on its neighbour.",
        {
            "It stays the same.": "It would in eval mode, where the batch plays no part.",
            "It rises: training mode has seen the data.": "Nothing is trained here. The mode only changes "
            "what "
            "the norms do.",
        },
    ),
    Number(
        "04-softmax-floor",
        "A network ends in a softmax, and `cross_entropy` applies another. The first gives the right one "
        "of ten "
        "classes a 1, and the others 0. How large is the loss?",
        lambda: F.cross_entropy(torch.eye(10)[:1], torch.tensor([0])).item(),
        "The second softmax takes 1 and nine zeros for logits: −log(e / (e + 9)) ≈ 1.46. It can't get any "
        "lower, so "
        "this network never seems to learn its batch by heart.",
        {
            0: "The *first* softmax is perfect. But the loss takes its output for logits, and 1 is a small "
            "one.",
            round(math.log(10), 2): "That is the loss of guessing, where all ten get the same.",
        },
        tolerance=0.05,
    ),
    Number(
        "04-plateau",
        "The loss falls until epoch 4, and then stands still. `ReduceLROnPlateau(patience=2)` is told it "
        "after every "
        "epoch. After which epoch does it lower the rate?",
        _epoch_of_the_drop,
        "Epochs 5, 6 and 7 bring nothing new. It acts when their number *exceeds* the patience: at the "
        "third.",
        {
            6: "That is two epochs without progress. It acts when there are *more* than 2.",
            5: "That is the first epoch without progress. It has a patience of 2.",
            4: "Epoch 4 is the best so far. Nobody knows yet that nothing better will come.",
        },
    ),
    Number(
        "04-focal-easy",
        "A sample is easy: its true class has p = 0.9. With γ = 2, how many times less does it count than "
        "in the "
        "cross-entropy?",
        lambda: round(1 / (1 - 0.9) ** 2, 6),
        "The factor is (1 − 0.9)² = 0.01. A hard sample with p = 0.1 keeps 0.81 of its loss.",
        {
            10: "That is γ = 1. Here the factor is squared.",
            1.23: "That is 1 / 0.9², with p where 1 − p belongs.",
            0.01: "That is the factor. How many times *less* is its inverse.",
        },
        tolerance=0.5,
    ),
    Choice(
        "04-accumulate-norm",
        "One step with 100 pictures at once, or accumulated over parts of 32: where are the two the same?",
        _same_after_accumulating,
        "It normalises each sample by itself, so it doesn't matter who else is in the batch.",
        {
            "with batch norm only": "Batch norm takes its statistics from the batch, and that has become "
            "smaller.",
            "with both": "The gradients are added up correctly. But one of the norms looks at its batch in "
            "the forward pass.",
        },
    ),
)
