"""Seeded generators of sick and healthy set-ups, for ``benchmarks/faults.py``.

Two worlds that share no network and no data set: "tuning", to choose limits by, and "reported".
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from dl_course import data, models
from dl_course.training.losses import FocalLoss
from dl_course.training.schedules import build as schedule

PLANTS: dict[str, Callable] = {}


@dataclass
class Parts:
    """A set-up in parts, as a fault finds it; ``arguments()`` puts it together for ``checkup``."""

    x: torch.Tensor
    y: torch.Tensor
    xv: torch.Tensor
    yv: torch.Tensor
    model: nn.Module
    loss: Any
    optimizer: Callable
    batch: int = 32
    shuffle: bool = True
    scheduler: Callable | None = None
    train_step: Any = None
    eval_step: Any = None
    also: set[str] = field(default_factory=set)  # names that are as right for what was planted
    note: str = ""
    seed: int = 0

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.y.max()) + 1

    def arguments(self) -> tuple[tuple, dict]:
        """Return the positional and the keyword arguments of ``checkup``."""

        def loader(x, y, shuffle):
            generator = torch.Generator().manual_seed(self.seed)
            return DataLoader(TensorDataset(x, y), self.batch, shuffle=shuffle, generator=generator)

        optimizer = self.optimizer(self.model)
        scheduler = None if self.scheduler is None else self.scheduler(optimizer)
        keywords = dict(optimizer=optimizer, scheduler=scheduler, val_loader=loader(self.xv, self.yv, False))
        keywords |= dict(train_step=self.train_step, eval_step=self.eval_step)
        return (self.model, loader(self.x, self.y, self.shuffle), self.loss), keywords


# The worlds: data, and networks by their style


@cache
def pictures(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (inputs, classes) of up to 1,400 samples, normalised."""
    if name == "blobs":
        dice = torch.Generator().manual_seed(3)
        y = torch.randint(0, 6, (1400,), generator=dice)
        centres = 1.2 * torch.randn(6, 24, generator=dice)
        return (centres[y] + torch.randn(1400, 24, generator=dice)) / 1.56, y
    found = data.load(name, fallback="digits" if name == "mnist" else None)
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(1))[:1400]
    x, y = found.images[order].float() / 255, found.labels[order].long()
    x = F.avg_pool2d(x, 2) if x.shape[-1] == 64 else x
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True), y


def mlp(shape, classes, dice, act=nn.ReLU, hidden=None, norm=None):
    sizes = [
        int(np.prod(shape)),
        *(hidden or [int(dice.choice([48, 96, 160]))] * int(dice.integers(1, 4))),
        classes,
    ]
    layers = [nn.Flatten()]
    for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers += [nn.Linear(a, b)] + ([nn.BatchNorm1d(b)] * bool(norm) + [act()]) * (i < len(sizes) - 2)
    return nn.Sequential(*layers)


def plain_cnn(shape, classes, dice, act=nn.ReLU, norm=False, depth=3, width=None, pool=nn.MaxPool2d):
    width, channels, layers = width or int(dice.choice([8, 16, 24])), shape[0], []
    for i in range(depth):
        layers += (
            [nn.Conv2d(channels, width, 3, padding=1)]
            + [nn.BatchNorm2d(width)] * norm
            + [act()]
            + [pool(2)] * (i < 3)
        )
        channels = width
    side = shape[-1] // 8
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * side * side, classes))


class TheirNet(nn.Module):
    """A network of someone else's style: functional activations, pooling, reshaping, dropout in forward."""

    def __init__(self, shape, classes, act=F.relu, norm=False, drop=0.1, depth=2):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(shape[0], 12, 5, padding=2), nn.Conv2d(12, 24, 3, padding=1)
        self.more = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1) for _ in range(depth - 2))
        self.bn = nn.BatchNorm2d(24) if norm else None
        self.h, self.out = nn.Linear(24 * (shape[1] // 4) * (shape[2] // 4), 64), nn.Linear(64, classes)
        self.act, self.drop = act, drop

    def forward(self, x):
        """Return the outputs, or the loss."""
        x = F.max_pool2d(self.act(self.c1(x)), 2)
        x = self.c2(x)
        x = F.max_pool2d(self.act(x if self.bn is None else self.bn(x)), 2)
        for layer in self.more:
            x = self.act(layer(x))
        x = self.act(self.h(x.view(len(x), -1)))
        return self.out(F.dropout(x, self.drop, self.training))


def vit(shape, classes, dice):
    patch = {28: 7, 32: 8}[shape[-1]]
    return models.VisionTransformer(
        classes,
        shape[0],
        shape[-1],
        patch,
        depth=int(dice.integers(2, 4)),
        embed_dim=48,
        num_heads=4,
        dropout=float(dice.choice([0, 0.1])),
    )


def resnet18(shape, classes, dice):
    return models.resnet18(
        num_classes=classes,
        in_channels=shape[0],
        base_channels=16,
        stem="cifar" if dice.random() < 0.3 else "imagenet",
    )


def normed_for_tuning(shape, classes, dice):
    if len(shape) < 3 or dice.random() < 0.3:
        return mlp(shape, classes, dice, norm=True)
    return models.SimpleCNN(classes, shape[0], int(dice.choice([8, 16])))


def normed_to_report(shape, classes, dice):
    made = [
        lambda: models.TinyResNet(classes, shape[0]), lambda: resnet18(shape, classes, dice),
        lambda: TheirNet(shape, classes, norm=True), lambda: models.DigitNet(classes, shape[0], 16),
    ]  # fmt: skip
    return made[dice.integers(4)]()


def bounded_to_report(shape, classes, dice):
    if dice.random() < 0.6:
        return TheirNet(shape, classes, act=torch.tanh)
    return TheirNet(shape, classes, act=torch.sigmoid, norm=True)  # without a norm they hardly learn


STYLES: dict[str, dict[str, Callable]] = {
    "tuning": {
        "plain": lambda s, c, d: mlp(s, c, d) if len(s) < 3 or d.random() < 0.6 else plain_cnn(s, c, d),
        "normed": normed_for_tuning,
        "tanh": lambda s, c, d: (mlp if len(s) < 3 or d.random() < 0.5 else plain_cnn)(s, c, d, act=nn.Tanh),
        "deep": lambda s, c, d: mlp(s, c, d, hidden=[64] * int(d.integers(7, 12))),
        "deep sigmoid": lambda s, c, d: mlp(s, c, d, act=nn.Sigmoid, hidden=[64] * int(d.integers(6, 10))),
    },
    "reported": {
        "plain": lambda s, c, d: TheirNet(s, c, depth=int(d.integers(2, 4))),
        "normed": normed_to_report,
        "layernorm": vit,
        "tanh": bounded_to_report,
        "deep": lambda s, c, d: TheirNet(s, c, depth=int(d.integers(8, 12))),
        "deep sigmoid": lambda s, c, d: TheirNet(s, c, act=torch.sigmoid, depth=int(d.integers(7, 11))),
    },
}  # fmt: skip
DATA = {"tuning": ["digits", "blobs"], "reported": ["shapes", "mnist"]}
RATES = {"sgd": 0.05, "momentum": 0.02, "adam": 1e-3, "adamw": 3e-4}


def make_optimizer(kind: str, rate: float) -> Callable:
    return {
        "sgd": lambda m: optim.SGD(m.parameters(), rate),
        "momentum": lambda m: optim.SGD(m.parameters(), rate, momentum=0.9),
        "adam": lambda m: optim.Adam(m.parameters(), rate),
        "adamw": lambda m: optim.AdamW(m.parameters(), rate, weight_decay=0.01),
    }[kind]  # fmt: skip


def healthy(half: str, seed: int, styles: tuple[str, ...] = (), name: str | None = None) -> Parts:
    """Return a set-up with nothing wrong: a network of one of the styles, its data, loss and optimizer."""
    dice = np.random.default_rng([seed, len(half)])
    torch.manual_seed(seed)
    names = [
        n
        for n in DATA[half]
        if n != "mnist" or not data.available().loc["mnist", "state"].startswith("to be")
    ]
    name = name or str(dice.choice(names))
    x, y = pictures(name)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    count = int(dice.choice([600, 900, 1100]))
    train, val = order[:count], order[1100:]
    usable = styles or ("plain", "normed", "layernorm", "tanh")
    style = str(dice.choice([s for s in usable if s in STYLES[half]]))
    model = STYLES[half][style](tuple(x.shape[1:]), int(y.max()) + 1, dice)
    kind = str(dice.choice(["momentum", "adam", "adamw"] + ["sgd"] * (style == "plain")))
    if style == "layernorm":
        kind = "adamw"
    return Parts(
        *(part.clone() for part in (x[train], y[train], x[val], y[val])), model, nn.CrossEntropyLoss(),
        make_optimizer(kind, RATES[kind]), batch=int(dice.choice([16, 32, 64])), seed=seed,
        note=f"{name} {style} {kind}",
    )  # fmt: skip


def varied(half: str, seed: int) -> Parts:
    """Return a healthy set-up with one of the many things that are unusual and fine."""
    p, dice = healthy(half, seed), np.random.default_rng([seed, 7])
    normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in p.model.modules())
    turn = int(dice.integers(16))
    if turn == 0:
        p.loss, p.note = nn.CrossEntropyLoss(label_smoothing=0.1), p.note + " smoothing"
    elif turn == 1:
        p.loss, p.note = F.cross_entropy, p.note + " functional loss"
    elif turn == 2:
        p.loss, p.note = FocalLoss(), p.note + " focal"
    elif turn == 3:
        p.model, p.loss, p.note = nn.Sequential(p.model, nn.LogSoftmax(1)), nn.NLLLoss(), p.note + " nll"
    elif turn == 4:
        classes = p.classes
        p.loss, p.note = (
            (lambda o, y: F.mse_loss(o, F.one_hot(y, classes).float())),
            p.note + " mse of one-hot",
        )
    elif turn == 5:
        classes = p.classes
        p.loss, p.note = (
            (lambda o, y: F.binary_cross_entropy_with_logits(o, F.one_hot(y, classes).float())),
            p.note + " bce",
        )
    elif turn == 6:
        scale = 0.25 / p.x.abs().max()
        p.x, p.xv, p.note = p.x * scale + 0.5, p.xv * scale + 0.5, p.note + " inputs in [0, 1]"
        low, high = p.x.min(), p.x.max()
        p.x, p.xv = (p.x - low) / (high - low), (p.xv - low) / (high - low)
    elif turn == 7:
        models.kaiming_init(p.model)
        p.note += " He"
    elif turn == 8:
        for m in p.model.modules():
            if isinstance(m, nn.Linear | nn.Conv2d):
                nn.init.xavier_normal_(m.weight)
        p.note += " Xavier"
    elif turn == 9:
        p.batch, p.note = (4 if not normed else 8), p.note + " small batches"
        p.optimizer = make_optimizer("adamw", 3e-4)
    elif turn == 10:
        p.optimizer, p.note = make_optimizer("adamw", 3e-4), p.note + " adamw 3e-4"
    elif turn == 11:
        p.optimizer, p.note = make_optimizer("sgd", 0.1), p.note + " sgd 0.1 warm-up"
        p.scheduler = lambda o: schedule("warmup-cosine", o, epochs=10, steps_per_epoch=30)
    elif turn == 12:
        head = [m for m in p.model.modules() if isinstance(m, nn.Linear)][-1]
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        p.note += " zero head"
    elif turn == 13:
        p.train_step, p.eval_step, p.note = good_step(p.loss), good_eval, p.note + " steps"
    elif turn == 14:
        fit(p, 40)
        p.note += " trained"
    elif turn == 15:
        p.model.eval()
        p.note += " given in eval mode"
    return p


def fit(p: Parts, steps: int, rate: float = 1e-3) -> None:
    optimizer, dice = optim.Adam(p.model.parameters(), rate), torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(0, len(p.x), (64,), generator=dice)
        optimizer.zero_grad()
        p.loss(p.model(p.x[rows]), p.y[rows]).backward()
        optimizer.step()


def good_step(loss_fn):
    def train_step(model, batch, optimizer):
        model.train()
        inputs, labels = batch
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train_step


def good_eval(model, batch):
    model.eval()
    with torch.no_grad():
        return model(batch[0]).argmax(1)


# The faults, one function each: it spoils a healthy set-up


def plant(fault: str, *styles: str):
    def made(function):
        PLANTS[fault] = lambda half, seed: _planted(function, fault, half, seed, styles)
        return function

    return made


def _planted(function, fault, half, seed, styles):
    dice = np.random.default_rng([seed, sum(map(ord, fault))])
    p = healthy(half, seed + 1000 * (sum(map(ord, fault)) % 97), styles)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        function(p, dice)
    p.also = p.also | {fault}
    return p


def weighted(p):
    return [m for m in p.model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def both(p, change):
    p.x, p.xv = change(p.x), change(p.xv)


@plant("input-not-normalised")
def _(p, dice):
    low, high, several = p.x.min(), p.x.max(), p.x.dim() == 4 and p.x.shape[1] > 1
    turn = dice.integers(4 if several else 3)
    kinds = [
        lambda x: (x - low) / (high - low) * 255, lambda x: x + 8, lambda x: (x - low) / (high - low) / 255,
        lambda x: x * torch.tensor([1.0, 30, 1]).view(1, 3, 1, 1),
    ]  # fmt: skip
    both(p, kinds[turn])
    p.note += f" kind {turn}"


@plant("input-nonfinite")
def _(p, dice):
    rows = torch.randperm(len(p.x))[: max(3, len(p.x) // int(dice.choice([20, 100, 200])))]
    p.x.flatten(1)[rows, 0] = float(dice.choice([np.nan, np.inf, -np.inf]))


@plant("constant-input")
def _(p, dice):
    if p.x.dim() == 4 and p.x.shape[1] > 1 and dice.random() < 0.4:
        channel = int(dice.integers(3))
        p.x[:, channel] = p.xv[:, channel] = 0.3
        p.note += " dead channel"
    else:
        noise = float(dice.choice([0, 1e-4, 1e-3]))
        one = p.x[:1].clone()
        both(p, lambda x: one + noise * torch.randn_like(x))


@plant("labels-out-of-range")
def _(p, dice):
    turn = dice.integers(4)
    if turn == 0:
        p.y, p.yv = p.y + 1, p.yv + 1
    elif turn == 1:
        p.y[torch.randperm(len(p.y))[:20]] = int(dice.choice([-1, 255, 99]))
    elif turn == 2:
        p.y, p.yv = p.y.float(), p.yv.float()
    else:
        p.y, p.yv = p.y - 1, p.yv - 1
    p.note += f" kind {turn}"


@plant("label-noise")
def _(p, dice):
    classes = p.classes
    if dice.random() < 0.5:
        p.y, p.yv = p.y[torch.randperm(len(p.y))], p.yv[torch.randperm(len(p.yv))]
    else:
        p.y, p.yv = torch.randint(0, classes, p.y.shape), torch.randint(0, classes, p.yv.shape)


@plant("class-imbalance")
def _(p, dice):
    rare = dice.choice(p.classes, int(dice.integers(1, 4)), replace=False)
    keep = torch.ones(len(p.y), dtype=torch.bool)
    for label in rare:
        rows = (p.y == int(label)).nonzero()[:, 0]
        keep[rows[max(1, len(rows) // int(dice.choice([20, 30, 50]))) :]] = False
    p.x, p.y = p.x[keep], p.y[keep]


@plant("train-val-leak")
def _(p, dice):
    share = float(dice.choice([0.2, 0.5, 1.0]))
    count = int(share * len(p.xv))
    rows = torch.randperm(len(p.x))[:count]
    noise = float(dice.choice([0, 0, 0.01]))
    p.xv[:count], p.yv[:count] = p.x[rows] + noise * torch.randn_like(p.x[rows]), p.y[rows]


@plant("unshuffled-training")
def _(p, dice):
    order = p.y.argsort(stable=True)
    p.x, p.y, p.shuffle = p.x[order], p.y[order], False


@plant("train-val-mismatch")
def _(p, dice):
    low, high, several = p.x.min(), p.x.max(), p.x.dim() == 4 and p.x.shape[1] > 1
    kinds = [
        lambda x: (x - low) / (high - low),
        lambda x: -x + 2 * x.mean() + 1,
        lambda x: 2.5 * x,
        lambda x: x.flip(1),
    ]
    turn = dice.integers(4 if several else 3)
    p.xv = kinds[turn](p.xv)
    p.note += f" kind {turn}"


@plant("output-width")
def _(p, dice):
    parent, name = p.model, ""
    for key, module in p.model.named_modules():
        if isinstance(module, nn.Linear):
            name = key
    parent = p.model.get_submodule(name.rpartition(".")[0])
    old = p.model.get_submodule(name)
    width = int(
        dice.choice(
            [old.out_features - 3, old.out_features - 1, old.out_features + 1, old.out_features + 10, 40]
        )
    )
    setattr(parent, name.rpartition(".")[2], nn.Linear(old.in_features, width))
    p.note += f" {width}"


@plant("output-activation")
def _(p, dice):
    classes, turn = p.classes, dice.integers(4)
    p.model = nn.Sequential(p.model, [nn.Softmax(1), nn.Sigmoid(), nn.Softmax(1), nn.Sigmoid()][turn])
    if turn == 2:
        p.loss = F.cross_entropy
    if turn == 3:
        p.loss = OneHotBCE(classes)
    p.note += f" kind {turn}"


class OneHotBCE(nn.BCEWithLogitsLoss):
    """Binary cross-entropy with logits, for classes."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, outputs, labels):
        """Return the outputs, or the loss."""
        return super().forward(outputs, F.one_hot(labels, self.classes).float())


@plant("initial-loss")
def _(p, dice):
    head = weighted(p)[-1]
    with torch.no_grad():
        if dice.random() < 0.5:
            head.bias[int(dice.integers(p.classes))] += float(dice.choice([8, 15, 40]))
        else:
            scores = p.model(p.x[:64])
            head.weight.mul_(float(dice.choice([10, 20])) / scores.std())
    p.also |= {"bad-initialisation"}


@plant("bad-initialisation", "plain", "tanh", "deep")
def _(p, dice):
    turn = dice.integers(3)
    relu = (
        not any(isinstance(m, nn.Tanh | nn.Sigmoid) for m in p.model.modules())
        and getattr(p.model, "act", F.relu) is F.relu
    )
    for m in weighted(p):
        if turn == 0 and relu:
            nn.init.normal_(m.weight, std=float(dice.choice([1.0, 2.0])))
        elif turn == 1:
            nn.init.normal_(m.weight, std=1e-4)
        else:
            nn.init.constant_(m.weight, float(dice.choice([0.0, 0.01, 0.1])))
        nn.init.zeros_(m.bias)
    p.note += f" kind {turn}"


@plant("missing-nonlinearity")
def _(p, dice):
    if isinstance(p.model, TheirNet):
        p.model.act = lambda x: x
        return
    found = [(n, m) for n, m in p.model.named_modules() if isinstance(m, nn.ReLU | nn.Tanh | nn.GELU)]
    if isinstance(p.model, models.ResNet | models.TinyResNet):  # their blocks call one ReLU twice
        p.model = plain_cnn(tuple(p.x.shape[1:]), p.classes, dice, act=nn.Identity, norm=True)
        return
    for name, _m in found:
        setattr(p.model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], nn.Identity())


@plant("dead-units", "plain")
def _(p, dice):
    layers = weighted(p)[:-1]
    layer = layers[int(dice.integers(len(layers)))]
    count = max(int(len(layer.bias) * float(dice.choice([0.85, 1.0]))), 1)
    with torch.no_grad():
        layer.bias[:count] = -float(dice.choice([30, 100]))


@plant("saturated-units", "tanh")
def _(p, dice):
    undone = p.model.c2 if getattr(p.model, "bn", None) is not None else None  # by the BatchNorm behind it
    layers = [layer for layer in weighted(p)[:-1] if layer is not undone]
    with torch.no_grad():
        layer = layers[int(dice.integers(len(layers)))]
        if dice.random() < 0.5:
            layer.bias.copy_(torch.randn_like(layer.bias).sign() * 12)
        else:
            layer.weight.mul_(60)
            p.also |= {"bad-initialisation"}


@plant("vanishing-gradients", "deep sigmoid")
def _(p, dice):
    p.also |= {"bad-initialisation"}


@plant("exploding-gradients", "deep")
def _(p, dice):
    gain = float(dice.choice([3.0, 4.0, 6.0]))
    for m in weighted(p):
        nn.init.kaiming_normal_(m.weight)
        m.weight.data.mul_(gain)
    p.also |= {"bad-initialisation", "initial-loss"}


class Then(nn.Module):
    """A network, and then a function of what it puts out."""

    def __init__(self, first, then):
        super().__init__()
        self.first, self.then = first, then

    def forward(self, x):
        """Return the outputs, or the loss."""
        return self.then(self.first(x))


@plant("nonfinite-loss")
def _(p, dice):
    turn = dice.integers(3)
    if turn == 0:
        p.model = Then(p.model, lambda o: o.log())
    elif turn == 1:
        p.model = Then(p.model, lambda o: o / (o.sum(1, keepdim=True) * 0))
    else:
        with torch.no_grad():
            weighted(p)[0].weight.view(-1)[0] = torch.nan
    p.note += f" kind {turn}"


@plant("nonfinite-gradients")
def _(p, dice):
    turn = dice.integers(2)
    p.model = Then(
        p.model,
        [
            lambda o: torch.where(o > 0, (o + 1e-6).sqrt(), o),
            lambda o: o + (o * 0).square().sum(1, keepdim=True).sqrt(),
        ][turn],
    )


class Detached(nn.Module):
    """Layers the first of which the gradient never reaches."""

    def __init__(self, body, head):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x):
        """Return the outputs, or the loss."""
        return self.head(self.body(x).detach())


@plant("no-gradient")
def _(p, dice):
    turn, classes = dice.integers(3), p.classes
    if turn == 0:
        p.model = Detached(p.model, nn.Sequential(nn.ReLU(), nn.Linear(classes, classes)))
    elif turn == 1:
        p.model.unused = nn.Linear(7, 7)
    if turn == 1 and isinstance(p.model, nn.Sequential):
        del p.model.unused
        p.model = Then(p.model, lambda o: o)
        p.model.unused = nn.Linear(7, 7)
    if turn == 2:
        inner = p.model
        p.model = nn.Sequential(
            Detached(
                nn.Sequential(nn.Flatten(), nn.Linear(p.x[0].numel(), 32)),
                nn.Sequential(nn.ReLU(), nn.Linear(32, classes)),
            )
        )
        del inner


@plant("frozen-parameters")
def _(p, dice):
    turn, old = dice.integers(4), p.optimizer
    p.also |= {"untrained-frozen"} if turn in (0, 3) else set()  # what is frozen is fresh
    if turn == 0:
        p.model.requires_grad_(False)
        weighted(p)[-1].requires_grad_(True)
    elif turn == 1:
        p.optimizer = lambda m: optim.Adam([q for i, q in enumerate(m.parameters()) if i > 1], 1e-3)
    elif turn == 2:
        stranger = nn.Linear(3, 3)
        p.optimizer = lambda m: old(stranger)
    else:
        p.optimizer = lambda m: optim.Adam(list(m.parameters())[-2:], 1e-3)
    p.note += f" kind {turn}"


@plant("lr-too-high")
def _(p, dice):
    kind, rate = [("sgd", 50.0), ("momentum", 10.0), ("adam", 1.0), ("adamw", 0.5), ("sgd", 300.0)][
        dice.integers(5)
    ]
    p.optimizer, p.note = make_optimizer(kind, rate), f"{p.note} -> {kind} {rate}"


@plant("lr-too-low")
def _(p, dice):
    kind, rate = [("sgd", 1e-6), ("momentum", 1e-7), ("adam", 1e-7), ("adamw", 1e-8), ("sgd", 1e-8)][
        dice.integers(5)
    ]
    p.optimizer, p.note = make_optimizer(kind, rate), f"{p.note} -> {kind} {rate}"


@plant("no-zero-grad")
def _(p, dice):
    loss_fn = p.loss

    def train_step(model, batch, optimizer):
        loss = loss_fn(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()

    p.train_step = train_step


@plant("no-update")
def _(p, dice):
    loss_fn = p.loss

    def train_step(model, batch, optimizer):
        optimizer.zero_grad()
        loss_fn(model(batch[0]), batch[1]).backward()

    if dice.random() < 0.7:
        p.train_step = train_step
    else:
        p.optimizer = lambda m: optim.SGD(m.parameters(), 0.0)


@plant("val-set-too-small")
def _(p, dice):
    count = int(dice.choice([8, 15, 25, 40]))
    p.xv, p.yv = p.xv[:count], p.yv[:count]


@plant("wrong-mode", "normed")
def _(p, dice):
    turn, loss_fn = dice.integers(4), p.loss
    if turn == 0:
        p.eval_step = lambda model, batch: model(batch[0]).argmax(1)
    elif turn == 1:
        step = good_step(loss_fn)

        def train_step(model, batch, optimizer):
            model.eval()
            optimizer.zero_grad()
            loss_fn(model(batch[0]), batch[1]).backward()
            optimizer.step()

        p.train_step = train_step
        del step
    else:
        for m in p.model.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                if turn == 2:
                    m.eval()
                else:
                    m.momentum = 0.0
    p.note += f" kind {turn}"


@plant("batchnorm-small-batch", "normed")
def _(p, dice):
    p.batch = 2


@plant("cannot-overfit-batch")
def _(p, dice):
    turn = dice.integers(4)
    if turn == 0:
        p.model = Then(p.model, lambda o: o[torch.randperm(len(o))])
    elif turn == 1:
        p.model = Then(p.model, lambda o: o.mean(0, keepdim=True).expand_as(o))
    elif turn == 2:
        loss_fn = p.loss
        p.loss = lambda o, y: loss_fn(o, y[torch.randperm(len(y))])
    else:
        p.model = Then(p.model, lambda o: 0.01 * torch.tanh(o))
    p.also |= {"samples-mixed", "random-in-eval"} if turn == 0 else {"samples-mixed"} if turn == 1 else set()
    p.note += f" kind {turn}"


# Learning curves


def curves(kind: str, seed: int) -> dict[str, Any]:
    """Return the columns of a history in which that happens; "" for a healthy one.

    Overfitting is drawn until validation ends a fifth above its best: else none has happened yet.
    """
    dice = np.random.default_rng([seed, len(kind), 5])
    made = _curves(kind, dice)
    while kind == "overfitting" and made["val_loss"][-3:].mean() < 1.2 * made["val_loss"].min():
        made = _curves(kind, dice)
    return made


def _curves(kind: str, dice: Any) -> dict[str, Any]:
    epochs = int(dice.integers(10, 40))
    t = np.arange(epochs)
    start, speed = dice.uniform(1.2, 2.3), dice.uniform(2, 6)
    floor = dice.uniform(0.02, 0.25)
    train = floor + (start - floor) * np.exp(-t / speed)
    val = train * dice.uniform(1.02, 1.2) + dice.uniform(0.02, 0.12)
    if kind == "overfitting":
        train = 0.02 + (start - 0.02) * np.exp(-t / speed)
        best = epochs * dice.uniform(0.2, 0.5)
        val = val + np.maximum(0, t - best) * dice.uniform(0.03, 0.1)
    elif kind == "underfitting":
        end = start * dice.uniform(0.7, 0.9)
        train = end + (start - end) * np.exp(-t / epochs * 2)
        val = train + dice.uniform(0, 0.08)
    elif kind == "plateau":
        end = dice.uniform(0.3, 0.6) * start if dice.random() < 0.6 else start
        end = max(end, 0.6)
        train = end + (start - end) * np.exp(-t / 1.2)
        val = train + dice.uniform(0, 0.1)
    elif kind == "unstable-training":
        train = train + dice.uniform(0.3, 0.8) * start * dice.random(epochs) * (dice.random(epochs) < 0.6)
        val = train + 0.1
    elif kind == "diverged":
        when = int(epochs * dice.uniform(0.2, 0.7))
        if dice.random() < 0.5:
            train[when:] = val[when:] = np.nan
        else:
            train[when:] = start * np.exp((t[when:] - when + 1) * dice.uniform(0.3, 1))
            val[when:] = train[when:]
    train, val = (v * np.exp(s * dice.standard_normal(epochs)) for v, s in ((train, 0.01), (val, 0.03)))
    return {"epoch": t + 1, "train_loss": train, "val_loss": val}


HISTORIES = ("overfitting", "underfitting", "unstable-training", "plateau", "diverged")
