"""Questions of chapter 01."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from dl_course.exercises.questions import Choice, Number, Shape


def _nearest_average_accuracy() -> float:
    """Return the accuracy on every fifth digit of the averages of the others."""
    pixels, labels = load_digits(return_X_y=True)
    unseen = np.arange(len(labels)) % 5 == 0
    averages = np.stack([pixels[~unseen & (labels == digit)].mean(axis=0) for digit in range(10)])
    distances = np.linalg.norm(pixels[unseen, None] - averages, axis=-1)
    return float((distances.argmin(axis=1) == labels[unseen]).mean())


QUESTIONS = (
    Shape(
        "01-one-picture",
        "`batch` has the shape (1797, 1, 8, 8). What is the shape of `batch[0]`?",
        lambda: torch.zeros(1797, 1, 8, 8)[0].shape,
        "Indexing with a number removes the axis: one picture is left, with its channel, height and width.",
        {
            (1, 1, 8, 8): "That is `batch[:1]`: a slice keeps the axis, with length 1. A number removes it.",
            (8, 8): "Only the first axis is indexed, so the channel axis stays, even with length 1.",
            (1796, 1, 8, 8): "`batch[0]` picks the first picture; it doesn't drop it. `batch[1:]` would.",
        },
    ),
    Number(
        "01-uint8-sum",
        "`bright` holds 200 as `uint8`, which has room for 0 to 255. What is `bright + 100`?",
        lambda: (torch.tensor(200, dtype=torch.uint8) + 100).item(),
        "300 doesn't fit into eight bits, so the count starts again from zero: 300 − 256 = 44.",
        {
            300: "That is the true sum, but the result is `uint8` again, and 300 doesn't fit.",
            255: "Photo editors stop at the largest value. A tensor doesn't: it wraps around.",
            45: "Nearly: there are 256 values, from 0 to 255, so 256 is what gets lost, not 255.",
        },
    ),
    Shape(
        "01-mean-per-channel",
        "A batch of colour pictures has the shape (16, 3, 32, 32). "
        "What is the shape of `batch.mean(dim=(0, 2, 3), keepdim=True)`?",
        lambda: torch.zeros(16, 3, 32, 32).mean(dim=(0, 2, 3), keepdim=True).shape,
        "`dim` names the axes to average over; `keepdim=True` keeps each of them with length 1. One mean "
        "per channel.",
        {
            (3,): "That is the result without `keepdim=True`: three means, and the averaged axes are gone.",
            (16, 1, 32, 32): "`dim` names the axes to average over, not those to keep.",
            (1, 1, 1, 1): "Axis 1, the channels, isn't in `dim`, so its length stays 3.",
        },
    ),
    Choice(
        "01-shapes-that-fit",
        "Five predictions of shape (5, 1), five labels of shape (5,), and all five predictions are right. "
        "What is `(predictions - truth).abs().mean()`?",
        lambda: f"{(torch.arange(1.0, 6)[:, None] - torch.arange(1.0, 6)).abs().mean():.1f}",
        "Compared from the right, 1 meets 5, and the missing axis meets 5: the difference is a 5 × 5 table "
        "of every prediction against every label, and only its diagonal is zero.",
        {
            "0.0": "It would be with equal shapes. Compare the two shapes from the right, axis by axis.",
            "an error, since the shapes differ": "Different shapes are fine as long as each pair of "
            "lengths is equal or has a 1 in it. Here both pairs have one.",
        },
    ),
    Choice(
        "01-nearest-average",
        "Each new digit gets the label of the nearest of ten average pictures, without any training. How "
        "many of the unseen digits will be right?",
        lambda: f"roughly {round(10 * _nearest_average_accuracy())}0 %",
        "Digits of one kind put their ink in much the same place, so their average is a useful template.",
        {
            "roughly 10 %": "That is guessing among ten digits. The averages know more than nothing.",
            "roughly 50 %": "The averages look blurred, but only the nearest one counts, and these "
            "pictures are centred and of one size.",
        },
    ),
    Number(
        "01-parameters",
        "`nn.Linear(64, 10)` has one weight for each pair of an input and an output, and one bias for each "
        "output. How many parameters is that?",
        lambda: sum(p.numel() for p in nn.Linear(64, 10).parameters()),
        "64 · 10 weights and 10 biases.",
        {
            640: "Those are the weights. Each of the ten outputs has a bias, too.",
            74: "Every output has its own weight for every input: the two numbers are multiplied.",
            704: "The biases belong to the outputs, not to the inputs.",
        },
    ),
)
