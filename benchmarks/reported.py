"""Seeded generators of the twenty faults that were added after public reports, for `faults.py`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from faulty import TheirNet, mlp, pictures
from kinds import (
    Case,
    Rows,
    Then,
    encoder,
    judging,
    masks,
    net,
    rates,
    some,
    speech,
    table,
    training,
    waves,
    words,
)
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dl_course import models

REPORTED: dict[str, Callable[[Any, int], Case]] = {}  # the seed is the kind, too: they come in turn


def plant(fault: str) -> Any:
    def made(function: Callable) -> Callable:
        REPORTED[fault] = function
        return function

    return made


def reported(fault: str, seed: int) -> Case:
    """Return the set-up of a seed, with a fault in it."""
    torch.manual_seed(seed)
    case = REPORTED[fault](np.random.default_rng([seed, sum(map(ord, fault))]), seed)
    case.seed, case.also = seed, case.also | {fault}
    return case


def drawn(dice: Any, count: int = 700, name: str | None = None) -> tuple[Tensor, Tensor, int]:
    """Return pictures, their classes, and how many there are of these."""
    x, y = pictures(name or some(dice, "mnist", "shapes", "digits"))
    first = int(dice.integers(len(x) - count))
    return x[first : first + count].clone(), y[first : first + count].clone(), int(y.max()) + 1


def learner(model: nn.Module, dice: Any, parameters: Any = None) -> Any:
    own = list(parameters or model.parameters())
    kind = int(dice.integers(3))
    return [optim.Adam(own, 2e-3), optim.AdamW(own, 1e-3), optim.SGD(own, 0.02, 0.9)][kind]


def small(x: Tensor, classes: int, dice: Any, **given: Any) -> nn.Module:
    """Return a network for pictures: dense, plain or with BatchNorm."""
    turn = int(dice.integers(3))
    if turn == 0:
        return mlp(tuple(x.shape[1:]), classes, dice)
    return TheirNet(tuple(x.shape[1:]), classes, norm=turn == 1, **given)


def cls(model: nn.Module, x: Any, y: Tensor, dice: Any, note: str, **given: Any) -> Case:
    """Return a set-up for classes."""
    return Case(
        model,
        (x, y),
        some(dice, nn.CrossEntropyLoss(), F.cross_entropy),
        learner(model, dice),
        some(dice, 16, 32, 64),
        note,
        **given,
    )


# What comes out in eval mode


class Pooling(nn.Module):
    """Attention over steps, the softmax over an axis."""

    def __init__(self, width: int, classes: int, axis: int) -> None:
        super().__init__()
        self.embed, self.score, self.head, self.axis = (
            nn.Linear(width, 32),
            nn.Linear(32, 1),
            nn.Linear(32, classes),
            axis,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        h = torch.tanh(self.embed(x))
        return self.head((F.softmax(self.score(h), self.axis) * h).sum(1))


@plant("samples-mixed")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 7
    x, y = waves(steps=int(dice.integers(16, 40)))
    width = int(some(dice, 24, 32, 48))
    if turn == 0:
        model: nn.Module = Then(
            lambda m, t: m.head(m.body(t)[0][:, -1]),
            body=some(dice, nn.GRU, nn.LSTM)(3, width),
            head=nn.Linear(width, 4),
        )
    elif turn == 1:
        model = Pooling(3, 4, 0)
    elif turn == 2:
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0)
        model = Then(
            lambda m, t: m.head(m.body(m.embed(t)).mean(1)),
            embed=nn.Linear(3, 32),
            head=nn.Linear(32, 4),
            body=nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
        )
    elif turn == 3:
        model = Then(
            lambda m, t: m.head(m.mix(h := m.embed(t), h, h)[0].mean(1)),
            embed=nn.Linear(3, 32),
            mix=nn.MultiheadAttention(32, 4),
            head=nn.Linear(32, 4),
        )
    else:
        x, y, classes = drawn(dice)
        c = x.shape[1]
        if turn == 4:  # channels before samples, then a view
            body = nn.Sequential(
                nn.Conv2d(c, 12, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(12, 16, 3, 2, 1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(4),
            )
            model = Then(
                lambda m, t: m.head(m.body(t).transpose(0, 1).reshape(len(t), -1)),
                body=body,
                head=nn.Linear(256, classes),
            )
        elif turn == 5:
            model = Then(
                lambda m, t: m.head(F.relu((h := m.body(t)) - h.mean(0)) / (h.std(0) + 0.1)),
                body=encoder(8, c),
                head=nn.Linear(32, classes),
            )
        else:
            model = Then(
                lambda m, t: m.head(F.softmax(m.gate(h := m.body(t)), 0) * len(t) * h),
                body=encoder(8, c),
                gate=nn.Linear(32, 32),
                head=nn.Linear(32, classes),
            )
    return cls(model, x, y, dice, f"kind {turn}")


@plant("random-in-eval")
def _(dice: Any, seed: int) -> Case:
    turn, p = seed % 6, float(some(dice, 0.1, 0.3, 0.5))
    x, y, classes = drawn(dice)
    body, head = encoder(8, x.shape[1], norm=bool(dice.integers(2))), nn.Linear(32, classes)
    forward = [
        lambda m, t: m.head(F.dropout(F.relu(m.body(t)), p)),
        lambda m, t: m.head(nn.Dropout(p)(F.relu(m.body(t)))),
        lambda m, t: m.head(F.relu(h := m.body(t)) + p * torch.randn_like(h)),
        lambda m, t: m.head(F.relu(m.body(t + p * torch.randn_like(t)))),
        lambda m, t: m.head(F.relu(m.body(t.roll(int(torch.randint(-3, 4, ())), -1)))),
        lambda m, t: m.head(F.rrelu(m.body(t), training=True)),
    ][turn]
    if turn == 0 and dice.integers(2):
        x, y = words(dice)
        forward = lambda m, t: m.head(F.dropout(m.body(m.embed(t))[0], p).mean(1))  # noqa: E731
        return cls(
            Then(
                forward,
                embed=nn.Embedding(120, 24),
                body=nn.GRU(24, 32, batch_first=True),
                head=nn.Linear(32, 4),
            ),
            x,
            y,
            dice,
            "words",
        )
    return cls(Then(forward, body=body, head=head), x, y, dice, f"kind {turn}")


class Remembering(nn.Module):
    """A recurrent network that goes on from where the last batch ended."""

    def __init__(self, cell: Any, width: int, classes: int) -> None:
        super().__init__()
        self.body, self.head, self.state = cell(3, width, batch_first=True), nn.Linear(width, classes), None

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        state = self.state
        first = state[0] if isinstance(state, tuple) else state
        h, state = self.body(x, None if first is None or first.shape[1] != len(x) else state)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        return self.head(h[:, -1])


class Normed(nn.Module):
    """A network with a normalisation of its own make, which goes on learning its mean in eval mode."""

    def __init__(self, body: nn.Module, classes: int, turn: int) -> None:
        super().__init__()
        self.body, self.head, self.turn, self.calls = body, nn.Linear(32, classes), turn, 0
        self.register_buffer("mean", torch.zeros(32))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        h = self.body(x)
        if self.turn == 0:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
            return self.head(F.relu(h - self.mean))
        if self.turn == 1:
            with torch.no_grad():
                self.mean.lerp_(h.mean(0), 0.2)
            return self.head(F.relu(h + self.mean))
        self.calls += 1
        return self.head(F.relu(h)) / (1 + 1 / self.calls)


@plant("stateful-evaluation")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 5
    if turn < 2:
        x, y = waves(steps=16)
        return cls(
            Remembering([nn.GRU, nn.LSTM][turn], int(some(dice, 24, 40)), 4), x, y, dice, f"kind {turn}"
        )
    x, y, classes = drawn(dice)
    return cls(Normed(encoder(8, x.shape[1]), classes, turn - 2), x, y, dice, f"kind {turn}")


# Outputs and labels


def numbers(dice: Any) -> tuple[Tensor, Tensor, nn.Module]:
    """Return inputs, a target (N,) of mean 0 and std 1, and a network with outputs (N, 1)."""
    turn = int(dice.integers(4))
    if turn == 0:
        x = waves(800, 24)[0]
        t = x.amax((1, 2)) + x[:, :8].mean((1, 2))
        model: nn.Module = Then(
            lambda m, t: m.head(m.body(t)[0].mean(1)),
            body=nn.GRU(3, 32, batch_first=True),
            head=nn.Linear(32, 1),
        )
    elif turn == 1:
        x = drawn(dice, 800, "shapes")[0]
        t = x.mean((1, 2, 3)) + 0.05 * torch.randn(800)
        model = encoder(8, 3, 1)
    else:
        x, t = table(dice, int(some(dice, 8, 12, 20)))
        model = net(
            x.shape[1], 64, *([64] * int(dice.integers(2))), 1, act=some(dice, nn.ReLU, nn.Tanh, nn.GELU)
        )
    return x, (t - t.mean()) / t.std(), model


@plant("loss-broadcast")
def _(dice: Any, seed: int) -> Case:
    x, t, model = numbers(dice)
    turn = seed % 4
    loss = some(
        dice, nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), F.mse_loss, lambda o, y: ((o - y) ** 2).mean()
    )
    y = t
    if turn == 1:
        model, y = Then(lambda m, t: m.body(t).squeeze(-1), body=model), t[:, None]
    elif turn == 2:
        y = 8 + 3 * t
    elif turn == 3:
        loss, y = (lambda o, y: (F.softplus(o) - y * o).mean()), (t > 0).float()
    return Case(model, (x, y), loss, learner(model, dice), note=f"kind {turn}")


@plant("labels-constant")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 6
    if turn < 3:
        x, mask = masks()
        on = (mask > 0).long()
        y = [on * 255 // 256, (on / 255)[:, None], on.float()[:, None] / 255][turn]
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 2 if turn == 0 else 1, 1),
        )
        loss: Any = nn.CrossEntropyLoss() if turn == 0 else nn.BCEWithLogitsLoss()
        return Case(model, (x, y), loss, optim.Adam(model.parameters(), 2e-3), 16, f"kind {turn}")
    if turn == 3:
        x, y, classes = drawn(dice)
        return cls(small(x, classes, dice), x, torch.full_like(y, int(some(dice, 0, 2))), dice, "kind 3")
    x, t, model = numbers(dice)
    if turn == 4:
        return Case(
            model,
            (x, torch.full_like(t, some(dice, 0.7, -1.3, 3.0))[:, None]),
            nn.MSELoss(),
            learner(model, dice),
            note="kind 4",
        )
    x, _ = table(dice)
    return Case(net(12, 32, 5), (x, torch.zeros(800, 5)), nn.BCEWithLogitsLoss(), note="kind 5")


@plant("labels-scale")
def _(dice: Any, seed: int) -> Case:
    x, t, model = numbers(dice)
    turn = seed % 5
    y = [250_000 + 90_000 * t, 2000 + 12 * t, 3000 * t, 40_000 * (0.5 * t).exp(), 1013 + 8 * t][turn]
    loss = some(dice, nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.MSELoss())
    return Case(
        model,
        (x, y[:, None]),
        loss,
        optim.Adam(model.parameters(), float(some(dice, 1e-3, 3e-3))),
        note=f"kind {turn}",
    )


@plant("output-range")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 7
    loss = some(dice, nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss())
    if turn == 5:
        x, _, _ = drawn(dice, 500)
        size = x[0].numel()
        model: nn.Module = nn.Sequential(
            nn.Flatten(), net(size, 96, 24, 96, size, end=nn.Sigmoid()), nn.Unflatten(1, x.shape[1:])
        )
        return Case(model, (x, x), nn.MSELoss(), note="kind 5")
    if turn == 6:
        x, _ = table(dice)
        y = (x @ torch.randn(12, 6) > 0).float()
        return Case(
            net(12, 48, 6, end=nn.Softmax(1)), (x, y), nn.BCELoss(), note="kind 6", also={"output-activation"}
        )
    x, t, model = numbers(dice)
    ends = [nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Sigmoid()]
    y = [t, 50 + 15 * t, 2 * t, t, t][turn]
    model = nn.Sequential(model, ends[turn])
    return Case(
        model,
        (x, y[:, None]),
        loss,
        learner(model, dice),
        note=f"kind {turn}",
        also={"output-activation", "dead-units"},
    )


@plant("loss-is-a-sum")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 5
    if turn < 2:
        x, y, classes = drawn(dice)
        loss = [
            nn.CrossEntropyLoss(reduction="sum"),
            lambda o, y: F.nll_loss(o.log_softmax(1), y, reduction="sum"),
        ][turn]
        model = small(x, classes, dice)
        return Case(model, (x, y), loss, optim.Adam(model.parameters(), 1e-3), note=f"kind {turn}")
    x, t, model = numbers(dice)
    loss = [nn.MSELoss(reduction="sum"), lambda o, y: ((o - y) ** 2).sum(), nn.L1Loss(reduction="sum")][
        turn - 2
    ]
    optimizer = some(dice, optim.Adam(model.parameters(), 1e-3), optim.SGD(model.parameters(), 1e-3))
    return Case(model, (x, t[:, None]), loss, optimizer, note=f"kind {turn}")


# Parameters and gradients


class Listed(nn.Module):
    """Layers kept where no module looks for them."""

    def __init__(self, x: Tensor, classes: int, turn: int) -> None:
        super().__init__()
        size = x[0].numel()
        self.first, self.head, self.turn = nn.Linear(size, 48), nn.Linear(48, classes), turn
        layers = [nn.Linear(48, 48), nn.Linear(48, 48)]
        self.kept: Any = [layers, dict(enumerate(layers)), tuple(layers), [[layers[0]], [layers[1]]]][
            turn % 4
        ]
        self.scale = torch.ones(48, requires_grad=True) if turn == 4 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        h = F.relu(self.first(x.flatten(1)))
        if self.turn == 4:
            return self.head(h * self.scale)
        for layer in self.kept.values() if isinstance(self.kept, dict) else self.kept:
            h = F.relu((layer[0] if isinstance(layer, list) else layer)(h))
        return self.head(h)


@plant("unregistered-parameters")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 6
    x, y, classes = drawn(dice)
    if turn == 5:
        other = encoder(8, x.shape[1])  # a network of the notebook, not of the model
        model: nn.Module = Then(lambda m, t: m.head(F.relu(other(t))), head=nn.Linear(32, classes))
    else:
        model = Listed(x, classes, turn)
    return cls(model, x, y, dice, f"kind {turn}")


class Asking(nn.Module):
    """Attention of one step to itself, after pooling: its weights are 1."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body, self.head = encoder(8, channels), nn.Linear(32, classes)
        self.q, self.k, self.v = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        h = F.relu(self.body(x))[:, None]
        return self.head((F.softmax(self.q(h) @ self.k(h).transpose(1, 2) / 32**0.5, -1) @ self.v(h))[:, 0])


@plant("zero-gradient")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 6
    if turn == 0:
        x, y = waves(steps=20)
        return cls(Pooling(3, 4, int(some(dice, 2, -1))), x, y, dice, "kind 0")
    if turn in (1, 2, 3):
        x, t = table(dice)
        y = (t > 0).float()[:, None]
        end, loss = [
            (None, nn.CrossEntropyLoss()),
            (nn.Softmax(1), nn.BCELoss()),
            (nn.Softmax(1), nn.MSELoss()),
        ][turn - 1]
        model: nn.Module = net(12, 32, *([32] * int(dice.integers(2))), 1, end=end)
        return Case(
            model,
            (x, y),
            loss,
            learner(model, dice),
            note=f"kind {turn}",
            also={"output-activation", "output-width"},
        )
    x, y, classes = drawn(dice)
    if turn == 4:
        return cls(Asking(x.shape[1], classes), x, y, dice, "kind 4")
    model = Then(
        lambda m, t: m.head(F.relu(h := m.body(t)) + 0.0 * m.more(h)),
        body=encoder(8, x.shape[1]),
        more=nn.Linear(32, 32),
        head=nn.Linear(32, classes),
    )
    return cls(model, x, y, dice, "kind 5")


@plant("gradient-mismatch")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 6
    if turn < 3:
        x, t, model = numbers(dice)
        loss: Any = [
            lambda o, y: F.mse_loss(o, y) + torch.tensor(np.abs((o - y).detach().numpy()).mean()),
            lambda o, y: F.mse_loss(o, y) * (1 + (o - y).abs().mean().item()),
            lambda o, y: ((o - o.data.mean() - y) ** 2).mean(),
        ][turn]
        return Case(model, (x, t[:, None] + 0.5), loss, learner(model, dice), note=f"kind {turn}")
    x, y, classes = drawn(dice)
    forward = [
        lambda m, t: m.head(F.relu(h := m.body(t)) / (h.data.norm(dim=1, keepdim=True) + 1e-3)),
        lambda m, t: m.head(F.relu(h := m.body(t)) + torch.tanh(h).data * 2),
        lambda m, t: m.head(F.relu(h := m.body(t)) * torch.tensor((4 * h).sigmoid().tolist()).to(t)),
    ][turn - 3]
    model = Then(
        forward,
        body=encoder(8, x.shape[1]),
        head=nn.Linear(32, classes),
    )
    return cls(model, x, y, dice, f"kind {turn}")


@plant("dropout-too-strong")
def _(dice: Any, seed: int) -> Case:
    turn, p = seed % 5, float(some(dice, 0.8, 0.85, 0.9, 0.95))
    if turn == 0:
        x, y = waves(steps=20)
        return cls(
            Then(
                lambda m, t: m.head(m.body(t)[0].mean(1)),
                body=nn.LSTM(3, 32, 2, batch_first=True, dropout=p),
                head=nn.Linear(32, 4),
            ),
            x,
            y,
            dice,
            "kind 0",
        )
    if turn == 1:
        x, y = words(dice)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=p, batch_first=True)
        body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        return cls(
            Then(
                lambda m, t: m.head(m.body(m.embed(t)).mean(1)),
                embed=nn.Embedding(120, 32),
                body=body,
                head=nn.Linear(32, 4),
            ),
            x,
            y,
            dice,
            "kind 1",
        )
    x, y, classes = drawn(dice)
    if turn == 2:
        return cls(TheirNet(x.shape[1:], classes, drop=p), x, y, dice, "kind 2")
    body = (
        nn.Sequential(encoder(8, x.shape[1]), nn.ReLU(), nn.Dropout(p))
        if turn == 3
        else encoder(8, x.shape[1])
    )
    if turn == 4:
        body.insert(3, nn.Dropout2d(p))
    return cls(nn.Sequential(body, nn.Linear(32, classes)), x, y, dice, f"kind {turn}")


@plant("untrained-frozen")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 5
    if turn == 0:
        x, y = words(dice)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        body: nn.Module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        model: nn.Module = Then(
            lambda m, t: m.head(m.body(m.embed(t)).mean(1)),
            embed=nn.Embedding(120, 32),
            body=body,
            head=nn.Linear(32, 4),
        )
    else:
        x, y, classes = drawn(dice)
        c = x.shape[1]
        if turn == 1:
            body = models.resnet18(num_classes=32, in_channels=c, base_channels=8)
        elif turn == 2:
            body = nn.Sequential(nn.Flatten(), net(x[0].numel(), 96, 64, 32))
        else:
            body = encoder(8, c, norm=turn == 3)
        if turn == 4:
            models.kaiming_init(body)
        model = nn.Sequential(body, nn.ReLU(), nn.Linear(32, classes))
    body.requires_grad_(False)
    own = [p for p in model.parameters() if p.requires_grad]
    case = cls(model, x, y, dice, f"kind {turn}", also={"frozen-parameters"})
    case.optimizer = learner(model, dice, some(dice, own, list(model.parameters())))
    return case


# Steps


def pictured(
    dice: Any,
    step: Callable[[Any], Any],
    note: str,
    batch: int = 16,
    sgd: bool = False,
    scheduled: Any = None,
) -> Case:
    """Return a set-up with a training step of its own; step and scheduled get the optimizer."""
    x, y, classes = drawn(dice, 600)
    model = small(x, classes, dice)
    optimizer = optim.SGD(model.parameters(), 0.03, some(dice, 0.0, 0.9)) if sgd else learner(model, dice)
    keywords = dict(train_step=step(optimizer)) | ({"eval_step": judging} if dice.integers(2) else {})
    return Case(model, (x, y), nn.CrossEntropyLoss(), optimizer, batch, note, keywords)


@plant("schedule-too-fast")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 6
    given = bool(dice.integers(2))
    held = []

    def step(optimizer: Any) -> Any:
        scheduler = [
            lambda: optim.lr_scheduler.StepLR(optimizer, int(some(dice, 2, 5)), 0.1),
            lambda: optim.lr_scheduler.ExponentialLR(optimizer, float(some(dice, 0.5, 0.6, 0.7))),
            lambda: optim.lr_scheduler.MultiStepLR(optimizer, [3, 6, 9], 0.1),
            lambda: optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.6**epoch),
            lambda: optim.lr_scheduler.PolynomialLR(optimizer, 10),
            lambda: optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
        ][turn]()
        held.append(scheduler)
        return training(F.cross_entropy, lambda model: scheduler.step())

    case = pictured(dice, step, f"kind {turn}", int(some(dice, 8, 16)))
    case.keywords |= {"scheduler": held[0]} if given else {}
    return case


@plant("step-too-small")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 5
    scale = float(some(dice, 2.0**12, 2.0**16))

    def step(optimizer: Any) -> Any:
        def train_step(model: nn.Module, batch: Any, optimizer: Any) -> float:
            model.train()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            (loss * (scale if turn < 2 else 1e-4 if turn == 4 else 1.0)).backward()
            if turn < 3:
                nn.utils.clip_grad_norm_(model.parameters(), 1e-4 if turn == 2 else 1.0)
            if turn == 3:
                nn.utils.clip_grad_value_(model.parameters(), 1e-6)
            for p in model.parameters() if turn < 2 else ():
                p.grad /= scale
            optimizer.step()
            return loss.item()

        return train_step

    return pictured(dice, step, f"kind {turn}", sgd=True)


@plant("accumulation-lost")
def _(dice: Any, seed: int) -> Case:
    turn, every = seed % 4, int(some(dice, 2, 4, 8))

    def step(optimizer: Any) -> Any:
        count = [0]

        def train_step(model: nn.Module, batch: Any, optimizer: Any) -> float:
            model.train()
            pieces = zip(*(part.chunk(every) for part in batch), strict=True) if turn == 3 else [batch]
            for inputs, labels in pieces:
                if turn in (0, 3):
                    optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), labels) / every
                if turn == 1:
                    model.zero_grad()
                for p in model.parameters() if turn == 2 else ():
                    p.grad = None
                loss.backward()
                count[0] += 1
            if turn == 3 or count[0] % every == 0:
                optimizer.step()
            return loss.item()

        return train_step

    return pictured(dice, step, f"kind {turn}, {every} micro-batches")


# Data


@plant("future-leak")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 6
    x = speech(350, int(some(dice, 16, 20, 24)))
    steps = x.shape[1] - 1
    embed, head = nn.Embedding(24, 32), nn.Linear(32, 24)
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    place = nn.Parameter(0.02 * torch.randn(steps, 32))
    wrong = torch.triu(torch.ones(steps, steps, dtype=torch.bool), 1).T.contiguous()
    if turn == 0:
        model = Then(
            lambda m, t: m.head(m.body(m.embed(t) + m.place)), embed=embed, head=head, body=body, place=place
        )
    elif turn == 1:  # what is hidden is the past
        model = Then(
            lambda m, t: m.head(m.body(m.embed(t) + m.place, mask=wrong)),
            embed=embed,
            head=head,
            body=body,
            place=place,
        )
    elif turn == 2:
        cell = some(dice, nn.GRU, nn.LSTM)(32, 16, batch_first=True, bidirectional=True)
        model = Then(lambda m, t: m.head(m.body(m.embed(t))[0]), embed=embed, head=head, body=cell)
    elif turn == 3:
        model = Then(
            lambda m, t: m.head(F.relu(m.body(m.embed(t).transpose(1, 2))).transpose(1, 2)),
            embed=embed,
            head=head,
            body=nn.Conv1d(32, 32, 3, padding=1),
        )
    elif turn == 4:
        model = Then(
            lambda m, t: m.head((h := m.body(m.embed(t))[0]) + h.mean(1, keepdim=True)),
            embed=embed,
            head=head,
            body=nn.GRU(32, 32, batch_first=True),
        )
    else:
        mixed = nn.MultiheadAttention(32, 4, batch_first=True)
        model = Then(
            lambda m, t: m.head(m.body(h := m.embed(t) + m.place, h, h)[0] + h),
            embed=embed,
            head=head,
            body=mixed,
            place=place,
        )
    loss = some(
        dice,
        lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()),
        lambda o, y: F.cross_entropy(o.transpose(1, 2), y),
    )
    return Case(model, (x[:, :-1], x[:, 1:]), loss, rates(model, 2e-3), note=f"kind {turn}")


def colored(dice: Any, turn: int) -> tuple[Tensor, Tensor, int]:
    """Return pictures of several channels: shapes, digits in colors, textures with an alpha channel."""
    if turn == 0:
        return drawn(dice, 700, "shapes")
    if turn == 1:
        x, y, classes = drawn(dice, 700, "mnist")
        ink, paper = 0.5 + torch.rand(700, 3, 1, 1), torch.rand(700, 3, 1, 1) - 0.5
        x = paper + (ink - paper) * x.sigmoid()
    else:
        y, classes = torch.randint(0, 3, (700,)), 3
        fine = F.interpolate(torch.randn(700, 4, 16, 16), size=32, mode="bicubic")
        rough = F.interpolate(torch.randn(700, 4, 6, 6), size=32, mode="bicubic")
        x = torch.where((y == 0)[:, None, None, None], rough, fine) + (y == 2)[:, None, None, None] * 0.7
    return (x - x.mean()) / x.std(), y, classes


@plant("scrambled-input")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 3
    x, y, classes = colored(dice, turn)
    torn = x.permute(0, 2, 3, 1).reshape(x.shape)
    model = (
        TheirNet(x.shape[1:], classes, norm=bool(dice.integers(2)))
        if x.shape[-1] % 4 == 0 and dice.integers(2)
        else nn.Sequential(encoder(12, x.shape[1]), nn.ReLU(), nn.Linear(32, classes))
    )
    return cls(model, torn, y, dice, f"kind {turn}")


class Changing(Dataset):
    """Pictures that are worked on in place."""

    def __init__(self, x: Tensor, y: Tensor, turn: int) -> None:
        self.x, self.y, self.turn = x, y, turn
        self.raw = x.numpy()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x = self.x[i]
        if self.turn == 0:
            x.sub_(0.2).div_(0.8)
        elif self.turn == 1:
            x += 0.05 * torch.randn_like(x)
        elif self.turn == 2:
            x[:] = x.roll(1, -1)
        elif self.turn == 3:
            self.raw[i] *= 0.9
        else:
            x[..., : x.shape[-1] // 2] = x[..., : x.shape[-1] // 2].flip(-1)
        return x.clone(), self.y[i]


@plant("data-changes")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 5
    x, y, classes = drawn(dice, 600)
    model = small(x, classes, dice)
    train = DataLoader(Changing(x[:480], y[:480], turn), 32, shuffle=True)
    val = DataLoader(Changing(x[480:], y[480:], turn) if dice.integers(2) else Rows(x[480:], y[480:]), 32)
    return Case(
        model, (), nn.CrossEntropyLoss(), learner(model, dice), note=f"kind {turn}", loader=train, val=val
    )


class Shaken(Dataset):
    """Pictures changed by random numbers of a generator that each worker has a copy of."""

    def __init__(self, x: Tensor, y: Tensor, source: Any) -> None:
        self.x, self.y, self.source = x, y, source

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x, dice = self.x[i], self.source
        if isinstance(dice, torch.Generator):
            return x + 0.2 * torch.randn(x.shape, generator=dice), self.y[i]
        if isinstance(dice, np.random.Generator):
            return x.roll(int(dice.integers(-4, 5)), -1), self.y[i]
        if isinstance(dice, np.random.RandomState):
            return x + torch.from_numpy(0.2 * dice.randn(*x.shape)).float(), self.y[i]
        return x + 0.2 * torch.randn_like(x), self.y[i]


class Stream(IterableDataset):
    """Pictures in a row, all of them from each worker."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self) -> Any:
        return iter([*zip(self.x, self.y, strict=True)])


def same_seed(worker: int) -> None:
    """Seed a worker, and each the same."""
    torch.manual_seed(42)


@plant("workers-alike")
def _(dice: Any, seed: int) -> Case:
    turn = seed % 5
    x, y, classes = drawn(dice, 600)
    model = small(x, classes, dice)
    seed = int(dice.integers(99))
    source = [
        torch.Generator().manual_seed(seed),
        np.random.default_rng(seed),
        np.random.RandomState(seed),
        None,
        None,
    ][turn]
    sets = Stream(x[:480], y[:480]) if turn == 4 else Shaken(x[:480], y[:480], source)
    given: dict[str, Any] = {} if turn == 4 else {"shuffle": True}
    given |= {"worker_init_fn": same_seed} if turn == 3 else {}
    train = DataLoader(sets, 32, num_workers=2, **given)
    return Case(
        model,
        (),
        nn.CrossEntropyLoss(),
        learner(model, dice),
        note=f"kind {turn}",
        loader=train,
        val=DataLoader(Rows(x[480:], y[480:]), 32),
    )
