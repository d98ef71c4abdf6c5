"""Questions of chapter 02."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dl_course.exercises.questions import Choice, Number, Shape


def _what_learns_from_zeros() -> str:
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    F.cross_entropy(model(torch.tensor([[1.0, 2.0]])), torch.tensor([0])).backward()
    moved = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    return "only the last biases" if moved == ["2.bias"] else str(moved)


def _gradient_after_two_passes() -> float:
    w = torch.tensor(3.0, requires_grad=True)
    for _ in range(2):
        (w**2).backward()
    assert w.grad is not None
    return w.grad.item()


def _end_of_walk(rate: float) -> str:
    """Fit a line w x + b to points, as the chapter does, and say where 25 steps end."""
    x = np.random.default_rng(0).uniform(-1, 1, 40)
    parameters = torch.tensor([-1.0, -1.5], dtype=torch.float64, requires_grad=True)
    losses = []
    for _ in range(25):
        errors = parameters[0] * torch.from_numpy(x) + parameters[1] - torch.from_numpy(1.5 * x + 0.5)
        losses.append(errors.square().mean())
        (slopes,) = torch.autograd.grad(losses[-1], parameters)
        parameters = (parameters - rate * slopes).detach().requires_grad_()
    return "It ends up further away." if losses[-1] > losses[0] else "It arrives sooner."


QUESTIONS = (
    Choice(
        "02-two-linear-layers",
        "Two linear layers, one after the other, with nothing between them. What can the boundary between "
        "the two kinds "
        "look like?",
        "still a straight line",
        "A linear function of a linear function is linear: both layers together compute `x @ (w1 @ w2)` "
        "plus a bias.",
        {
            "a line with one corner": "A corner needs something that isn't linear. Neither layer has "
            "anything of the "
            "kind.",
            "any curve, given enough neurons": "That will be true once something nonlinear stands between "
            "the layers. "
            "Neurons alone don't do it.",
        },
    ),
    Choice(
        "02-ten-sigmoids",
        "A sigmoid's slope is at most 0.25. A signal goes back through ten of them. How much of it is "
        "left, at best?",
        lambda: {-6: "a millionth"}[round(math.log10(0.25**10))],
        "The slopes multiply: 0.25 to the power of ten.",
        {
            "a fortieth": "That is a quarter divided by ten. Along a chain, slopes are multiplied by each "
            "other.",
            "a thousandth": "That is 0.5 to the power of ten, and 0.25 is smaller than that.",
        },
    ),
    Choice(
        "02-large-rate",
        "At a learning rate of 0.3, the walk arrives at the lowest point. What happens at 1.01?",
        lambda: _end_of_walk(1.01),
        "Each step overshoots by a little more than it was off. A rate is too large when a step ends "
        "higher up on the "
        "other side.",
        {
            "It arrives sooner.": "Longer steps do help, up to a point. Beyond it they overshoot.",
            "It stops halfway.": "The gradient is zero only at the lowest point: nothing else stops the "
            "walk.",
        },
    ),
    Shape(
        "02-weight-gradient",
        "For one layer, `x` is (64, 784), `w` is (784, 100) and `dout` is (64, 100). What is the shape of "
        "`dw`?",
        lambda: (np.zeros((64, 784)).T @ np.zeros((64, 100))).shape,
        "A gradient has the shape of its array: one slope for each weight. The 64 samples are summed over.",
        {
            (
                64,
                784,
                100,
            ): "Each sample does contribute to each weight, but these contributions are added up.",
            (100, 784): "That is `w` as PyTorch stores it. Here, `dw` has the shape of our `w`.",
            (64, 784): "That is `dx`, which is handed on to the layer before.",
        },
    ),
    Number(
        "02-loss-of-guessing",
        "A network gives all ten digits the same score. What is its cross-entropy loss, the mean of −log p?",
        lambda: F.cross_entropy(torch.zeros(1, 10), torch.tensor([0])).item(),
        "Every digit gets p = 0.1, whatever the truth, and −log 0.1 = log 10 ≈ 2.303. A fresh network's "
        "loss should be "
        "near this: a good first check of any training.",
        {
            0.1: "That is the probability of the true digit. The loss is minus its logarithm.",
            0.9: "That is the share of wrong guesses. The loss asks for the probability of the true digit.",
            1: "With logarithms to the base 10 it would be. Here, as nearly always, log is the natural "
            "logarithm.",
            3.32: "With logarithms to the base 2 it would be. Here, as nearly always, log is the natural "
            "logarithm.",
        },
        tolerance=0.02,
    ),
    Choice(
        "02-all-zeros",
        "All weights and biases of a network start at zero: a linear layer, ReLU, a linear layer. Which of "
        "them get a "
        "gradient other than zero?",
        _what_learns_from_zeros,
        "The hidden neurons are all 0, so the second layer's weights get no gradient; and nothing comes "
        "back through "
        "weights of 0, so the first layer gets none either.",
        {
            "all of them": "Follow the way back: what is multiplied by weights of zero is zero.",
            "only the last layer's": "Its weights' gradient is the hidden values times `dout`, and the "
            "hidden values "
            "are all zero. Of that layer, only a part learns.",
        },
    ),
    Number(
        "02-momentum-speed",
        "The gradient is the same in every step. With μ = 0.9, how many times longer than a plain step are "
        "the steps, "
        "after a while?",
        lambda: round(1 / (1 - 0.9), 6),
        "The velocity settles where v = 0.9 v + g, so at v = g / (1 − 0.9) = 10 g. That is why a rate for "
        "momentum is "
        "usually smaller.",
        {
            1.9: "That is the second step: 1 + 0.9. Later steps add 0.81, 0.729 and so on.",
            0.9: "0.9 is the share of the old velocity that is kept. The new gradient is added to it.",
            1: "Without momentum it would be. Here each step keeps 0.9 of the velocity, and adds the "
            "gradient to it.",
        },
        tolerance=0.1,
    ),
    Number(
        "02-accumulate",
        "`w` is 3. Twice, we compute `w ** 2` and call `backward()` on it. What is `w.grad` afterwards?",
        _gradient_after_two_passes,
        "Each pass adds 2 w = 6 to what `w.grad` holds.",
        {
            6: "That is the slope, 2 w. But the second pass adds to the first one's result.",
            9: "That is `w ** 2` itself, not its slope.",
            36: "Gradients of several passes are added, not multiplied.",
        },
    ),
)
