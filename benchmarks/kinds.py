"""Healthy set-ups of kinds of their own, for ``benchmarks/faults.py``: one function each, varied by a seed.

Data are made here, so that there is something to learn in all of them, or are pictures of
``faulty.pictures``. Alarms on seeds 20000 to 20300 were known when rules were mended: take others to
measure anew.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from faulty import TheirNet, mlp, pictures
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset

from dl_course import data

KINDS: dict[str, Callable[[Any], "Case"]] = {}


class Rows(Dataset):
    """Rows of tensors, or of tuples of them: (inputs, labels), or (input, input, …, labels)."""

    def __init__(self, *columns: Any) -> None:
        self.columns = columns

    def __len__(self) -> int:
        first = self.columns[0]
        return len(first[0] if isinstance(first, tuple) else first)

    def __getitem__(self, i: int) -> Any:
        return tuple(tuple(t[i] for t in c) if isinstance(c, tuple) else c[i] for c in self.columns)


@dataclass
class Case:
    """A set-up as the check-up takes it.

    columns: inputs and labels of all samples; the last fifth, 100 at least, is to validate.
    """

    model: nn.Module
    columns: tuple[Any, ...]
    loss: Any
    optimizer: Any = None
    batch: int = 32
    note: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)
    also: set[str] = field(default_factory=set)
    loader: Any = None
    val: Any = None
    seed: int = 0

    def arguments(self) -> tuple[tuple, dict]:
        """Return the positional and the keyword arguments of ``checkup``."""
        count = len(Rows(*self.columns)) if self.columns else 0
        cut = count - max(100, count // 5)
        dice = torch.Generator().manual_seed(self.seed)
        loader = self.loader
        val = self.val
        if loader is None:
            loader = DataLoader(Rows(*part(self.columns, 0, cut)), self.batch, shuffle=True, generator=dice)
        if val is None and self.columns:
            val = DataLoader(Rows(*part(self.columns, cut, count)), self.batch)
        optimizer = self.optimizer or optim.Adam(self.model.parameters(), 1e-3)
        keywords = dict(optimizer=optimizer, val_loader=val) | self.keywords
        return (self.model, loader, self.loss), keywords


def part(columns: Any, first: int, end: int) -> tuple[Any, ...]:
    return tuple(part(c, first, end) if isinstance(c, tuple) else c[first:end] for c in columns)


def kind(function: Callable[[Any], Case]) -> Callable[[Any], Case]:
    KINDS[function.__name__] = function
    return function


def of_kind(seed: int) -> Case:
    """Return the healthy set-up of a seed."""
    return one(list(KINDS)[(seed // 10 * 3 + seed % 10) % len(KINDS)], seed)


def one(name: str, seed: int) -> Case:
    """Return a set-up of a kind, drawn by a seed."""
    torch.manual_seed(seed)
    made = KINDS[name](np.random.default_rng([seed, 22]))
    made.note, made.seed = made.note or name, seed
    return made


class Then(nn.Module):
    """Networks as parts, and a function that runs them."""

    def __init__(self, forward: Callable, **parts: Any) -> None:
        super().__init__()
        self.function = forward
        for name, each in parts.items():
            setattr(self, name, each)

    def forward(self, *inputs: Any) -> Any:
        """Return what the function makes of the inputs."""
        return self.function(self, *inputs)


def net(*sizes: int, act: Any = nn.ReLU, end: Any = None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1], *([end] if end is not None else []))


def encoder(width: int, channels: int = 1, out: int = 32, norm: bool = False) -> nn.Sequential:
    norms = [nn.BatchNorm2d(width), nn.BatchNorm2d(2 * width)] if norm else [nn.Identity(), nn.Identity()]
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1),
        norms[0],
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        norms[1],
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * width, out),
    )


def some(dice: Any, *choices: Any) -> Any:
    return choices[int(dice.integers(len(choices)))]


def table(dice: Any, features: int = 12, count: int = 800, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Return standard normal features, and a smooth target of mean 0 and std 1."""
    x = torch.randn(count, features)
    t = torch.tanh(2 * x @ torch.randn(features, 5) / features**0.5) @ torch.randn(5) + noise * torch.randn(
        count
    )
    return x, (t - t.mean()) / t.std()


def words(dice: Any, count: int = 700, length: int = 24, vocabulary: int = 120, classes: int = 4) -> Any:
    """Return token ids of texts in which some words tell the class."""
    y = torch.randint(0, classes, (count,))
    x = torch.randint(classes * 8, vocabulary, (count, length))
    for _ in range(4):
        x[torch.arange(count), torch.randint(0, length, (count,))] = 8 * y + torch.randint(0, 8, (count,))
    return x, y


def speech(count: int = 400, length: int = 20, vocabulary: int = 24) -> Tensor:
    """Return sequences of a Markov chain with few successors."""
    follow = torch.randint(0, vocabulary, (vocabulary, 3))
    x = torch.randint(0, vocabulary, (count, length + 1))
    for t in range(length):
        x[:, t + 1] = follow[x[:, t], torch.randint(0, 3, (count,))]
    return x


def waves(count: int = 600, steps: int = 40, classes: int = 4, channels: int = 3) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, classes, (count,))
    time = torch.arange(steps) / steps * 2 * torch.pi
    phase = 6.3 * torch.rand(count, 1, channels)
    return 1.4 * torch.sin((1 + y)[:, None, None] * time[:, None] + phase) + 0.3 * torch.randn(
        count, steps, channels
    ), y


def masks(count: int = 400) -> tuple[Tensor, Tensor]:
    found = data.load("shapes")
    x = F.avg_pool2d(found.images[:count].float() / 255, 2)
    mask = found.masks[:count].view(count, 64, 64)[:, ::2, ::2].long()
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True), mask


def drawn(dice: Any, count: int = 700) -> tuple[Tensor, Tensor]:
    x, y = pictures(some(dice, "mnist", "shapes"))
    first = int(dice.integers(len(x) - count))
    return x[first : first + count].clone(), y[first : first + count].clone()


def rates(model: nn.Module, rate: float = 1e-3, decay: float = 0.01) -> Any:
    return optim.AdamW(model.parameters(), rate, weight_decay=decay)


# Other people's networks


def _zoo(name: str, make: Callable[[Any, int], nn.Module], side: int = 32) -> None:
    def made(dice: Any) -> Case:
        x, y = pictures("shapes")
        x, y = x[:400].clone(), y[:400].clone()
        x = F.interpolate(x, size=side, mode="bilinear") if side != x.shape[-1] else x
        model = make(dice, int(y.max()) + 1)
        optimizer = some(
            dice, optim.Adam(model.parameters(), 1e-3), rates(model), optim.SGD(model.parameters(), 0.01, 0.9)
        )
        return Case(model, (x, y), nn.CrossEntropyLoss(label_smoothing=some(dice, 0.0, 0.1)), optimizer)

    made.__name__ = f"zoo {name}"
    kind(made)


zoo = torchvision.models
_zoo("resnet18", lambda d, k: zoo.resnet18(weights=None, num_classes=k))
_zoo(
    "resnext",
    lambda d, k: zoo.ResNet(zoo.resnet.Bottleneck, [1, 1, 1, 1], num_classes=k, groups=8, width_per_group=4),
)
_zoo("mobilenet v2", lambda d, k: zoo.mobilenet_v2(weights=None, num_classes=k, width_mult=0.5), 64)
_zoo("mobilenet v3", lambda d, k: zoo.mobilenet_v3_small(weights=None, num_classes=k), 64)
_zoo("shufflenet", lambda d, k: zoo.shufflenet_v2_x0_5(weights=None, num_classes=k), 64)
_zoo("squeezenet", lambda d, k: zoo.squeezenet1_1(weights=None, num_classes=k))
_zoo("mnasnet", lambda d, k: zoo.mnasnet0_5(weights=None, num_classes=k), 64)
_zoo("densenet", lambda d, k: zoo.DenseNet(12, (3, 3, 3), 16, num_classes=k))
_zoo("regnet", lambda d, k: zoo.regnet_y_400mf(weights=None, num_classes=k))
_zoo("efficientnet", lambda d, k: zoo.efficientnet_b0(weights=None, num_classes=k))
_zoo("vision transformer", lambda d, k: zoo.VisionTransformer(32, 8, 3, 4, 48, 96, num_classes=k))
_zoo("swin", lambda d, k: zoo.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=k))
_zoo(
    "vgg with norm",
    lambda d, k: nn.Sequential(
        zoo.vgg11_bn(weights=None).features[:15], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, k)
    ),
)


# Words and sequences


@kind
def transformer_encoder(dice: Any) -> Case:
    x, y = words(dice)
    layer = nn.TransformerEncoderLayer(
        32, 4, 64, dropout=0.1, batch_first=True, norm_first=bool(dice.integers(2))
    )
    model = Then(
        lambda m, t: m.head(m.body(m.embed(t) + m.place).mean(1)),
        embed=nn.Embedding(120, 32),
        place=nn.Parameter(0.02 * torch.randn(24, 32)),
        head=nn.Linear(32, 4),
        body=nn.TransformerEncoder(layer, int(dice.integers(1, 4)), enable_nested_tensor=False),
    )
    return Case(model, (x, y), nn.CrossEntropyLoss(), rates(model))


@kind
def transformer_with_padding(dice: Any) -> Case:
    x, y = words(dice)
    x = x.clone()
    x[torch.arange(24) >= torch.randint(16, 25, (len(x), 1))] = 0
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(m: Any, t: Tensor) -> Tensor:
        hidden = m.body(m.embed(t), src_key_padding_mask=t == 0)
        keep = (t != 0)[..., None]
        return m.head((hidden * keep).sum(1) / keep.sum(1).clamp_min(1))

    model = Then(
        forward,
        embed=nn.Embedding(120, 32, padding_idx=0),
        head=nn.Linear(32, 4),
        body=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
    )
    return Case(model, (x, y), nn.CrossEntropyLoss(), rates(model))


@kind
def causal_language_model(dice: Any) -> Case:
    x = speech()
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(20)
    model = Then(
        lambda m, t: m.head(m.body(m.embed(t) + m.place, mask=mask, is_causal=True)),
        embed=nn.Embedding(24, 32),
        place=nn.Parameter(0.02 * torch.randn(20, 32)),
        head=nn.Linear(32, 24),
        body=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
    )
    return Case(
        model, (x[:, :-1], x[:, 1:]), lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()), rates(model)
    )


@kind
def tied_language_model(dice: Any) -> Case:
    x = speech()
    embed = nn.Embedding(24, 32)
    nn.init.normal_(embed.weight, std=0.05)
    model = Then(
        lambda m, t: m.body(m.embed(t))[0] @ m.embed.weight.T,
        embed=embed,
        body=nn.LSTM(32, 32, batch_first=True),
    )
    return Case(model, (x[:, :-1], x[:, 1:]), lambda o, y: F.cross_entropy(o.transpose(1, 2), y))


@kind
def characters(dice: Any) -> Case:
    x = speech(300, 30, 30)
    cell = some(dice, nn.RNN, nn.GRU, nn.LSTM)(24, 48, int(dice.integers(1, 3)), batch_first=True)
    model = Then(
        lambda m, t: m.head(m.body(m.embed(t))[0]).transpose(1, 2),
        embed=nn.Embedding(30, 24),
        body=cell,
        head=nn.Linear(48, 30),
    )
    return Case(model, (x[:, :-1], x[:, 1:]), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 3e-3))


@kind
def masked_language_model(dice: Any) -> Case:
    y = speech(500, 19)
    hidden = torch.rand(y.shape) < 0.3
    hidden[:, 0] = True
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
    model = Then(
        lambda m, t: m.head(m.body(m.embed(t) + m.place)).transpose(1, 2),
        embed=nn.Embedding(25, 32),
        place=nn.Parameter(0.02 * torch.randn(20, 32)),
        head=nn.Linear(32, 24),
        body=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
    )
    return Case(
        model,
        (y.masked_fill(hidden, 24), y.masked_fill(~hidden, -100)),
        nn.CrossEntropyLoss(ignore_index=-100),
        rates(model),
    )


@kind
def translation(dice: Any) -> Case:
    source = torch.randint(2, 20, (500, 8))
    target = torch.cat([torch.ones(500, 1).long(), source.flip(1)], 1)

    def forward(m: Any, s: Tensor, t: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(t.shape[1])
        return m.head(m.body(m.embed(s) + m.place[:8], m.embed(t) + m.place[: t.shape[1]], tgt_mask=mask))

    model = Then(
        forward,
        embed=nn.Embedding(20, 32),
        place=nn.Parameter(0.1 * torch.randn(9, 32)),
        head=nn.Linear(32, 20),
        body=nn.Transformer(32, 4, 1, 1, 64, dropout=0.1, batch_first=True),
    )
    return Case(
        model,
        ((source, target[:, :-1]), target[:, 1:]),
        lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()),
        rates(model),
    )


@kind
def tagger(dice: Any) -> Case:
    x = torch.randint(0, 60, (500, 15))
    y = (x + x.roll(1, 1)) % 5
    y[:, 0] = x[:, 0] % 5
    model = Then(
        lambda m, t: m.head(m.body(m.embed(t))[0]).permute(0, 2, 1),
        embed=nn.Embedding(60, 24),
        body=nn.LSTM(24, 24, batch_first=True, bidirectional=True),
        head=nn.Linear(48, 5),
    )
    return Case(model, (x, y), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 5e-3))


@kind
def recurrent_classifier(dice: Any) -> Case:
    x, y = waves()
    cell = some(dice, nn.GRU, nn.LSTM)(3, 32, batch_first=True, bidirectional=bool(dice.integers(2)))
    width = 32 * (1 + cell.bidirectional)
    model = Then(lambda m, t: m.head(m.body(t)[0].mean(1)), body=cell, head=nn.Linear(width, 4))
    return Case(
        model, (x, y), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 3e-3), some(dice, 16, 32, 64)
    )


@kind
def recurrence_with_time_first(dice: Any) -> Case:
    x, y = waves()
    model = Then(
        lambda m, t: m.head(m.body(t.transpose(0, 1))[1][-1]), body=nn.GRU(3, 32), head=nn.Linear(32, 4)
    )
    return Case(model, (x, y), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 3e-3))


@kind
def forecast(dice: Any) -> Case:
    x = waves(600, 48)[0]
    cell = nn.LSTM(3, 32, batch_first=True)
    model = Then(lambda m, t: m.head(m.body(t)[0][:, -1]).view(-1, 8, 3), body=cell, head=nn.Linear(32, 24))
    return Case(model, (x[:, :40], x[:, 40:]), some(dice, nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss()))


@kind
def next_value(dice: Any) -> Case:
    x = waves(500, 31, channels=1)[0][..., 0]
    model = Then(
        lambda m, t: m.head(m.body(t[..., None])[0])[..., 0],
        body=nn.GRU(1, 32, batch_first=True),
        head=nn.Linear(32, 1),
    )
    return Case(model, (x[:, :-1], x[:, 1:]), nn.MSELoss(), optim.Adam(model.parameters(), 3e-3))


@kind
def causal_convolutions(dice: Any) -> Case:
    x = speech(300, 32)

    def forward(m: Any, t: Tensor) -> Tensor:
        h = m.embed(t).transpose(1, 2)
        for i, layer in enumerate(m.layers):
            h = h + F.relu(layer(F.pad(h, (2**i, 0))))
        return m.head(h)

    layers = nn.ModuleList(nn.Conv1d(24, 24, 2, dilation=2**i) for i in range(3))
    model = Then(forward, embed=nn.Embedding(24, 24), layers=layers, head=nn.Conv1d(24, 24, 1))
    return Case(model, (x[:, :-1], x[:, 1:]), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 3e-3))


@kind
def gated_convolutions(dice: Any) -> Case:
    x, y = waves()
    parametrized = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(
        parametrized(nn.Conv1d(3, 32, 5, padding=2)),
        nn.GLU(1),
        parametrized(nn.Conv1d(16, 32, 5, padding=2)),
        nn.GLU(1),
        nn.AdaptiveMaxPool1d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    return Case(
        model,
        (x.transpose(1, 2).contiguous(), y),
        nn.CrossEntropyLoss(),
        optim.Adam(model.parameters(), 3e-3),
    )


@kind
def connectionist(dice: Any) -> Case:
    labels = torch.randint(1, 6, (400, 4))
    x = 0.3 * torch.randn(400, 20, 8)
    for i in range(4):
        for t in range(2):
            x[torch.arange(400), 5 * i + t, labels[:, i]] += 3
    model = Then(
        lambda m, t: m.head(m.body(t)[0]).log_softmax(-1),
        body=nn.GRU(8, 32, batch_first=True, bidirectional=True),
        head=nn.Linear(64, 6),
    )

    def loss(o: Tensor, y: Tensor) -> Tensor:
        n = len(y)
        return F.ctc_loss(o.transpose(0, 1), y, torch.full((n,), 20), torch.full((n,), 4))

    return Case(model, (x / x.std(), labels), loss, optim.Adam(model.parameters(), 3e-3))


@kind
def pieces_in_a_bag(dice: Any) -> Case:
    y = torch.randint(0, 2, (600,)).float()
    x = torch.randn(600, 12, 10)
    x[torch.arange(600), torch.randint(0, 12, (600,)), 0] += 5 * y
    model = Then(
        lambda m, t: m.head((F.softmax(m.score(h := torch.tanh(m.embed(t))), 1) * h).sum(1)),
        embed=nn.Linear(10, 24),
        score=nn.Linear(24, 1),
        head=nn.Linear(24, 1),
    )
    return Case(model, (x, y[:, None]), nn.BCEWithLogitsLoss(), optim.Adam(model.parameters(), 3e-3))


@kind
def points(dice: Any) -> Case:
    y = torch.randint(0, 3, (500,))
    x = torch.randn(500, 40, 3)
    x[y == 0] = F.normalize(x[y == 0], dim=2) * 1.5
    x[y == 1, :, 2] *= 0.1
    model = Then(lambda m, t: m.head(m.each(t).amax(1)), each=net(3, 32, 48), head=net(48, 24, 3))
    return Case(model, (x, y), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 3e-3))


# Pictures in, pictures out


class UNet(nn.Module):
    """Two levels down and up, with shortcuts."""

    def __init__(self, channels: int, out: int, width: int = 8, norm: bool = True) -> None:
        super().__init__()

        def block(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b) if norm else nn.Identity(), nn.SiLU()
            )

        self.down = nn.ModuleList(
            [block(channels, width), block(width, 2 * width), block(2 * width, 4 * width)]
        )
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.head = nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the input's size."""
        first = self.down[0](x)
        second = self.down[1](F.max_pool2d(first, 2))
        h = self.down[2](F.max_pool2d(second, 2))
        for layer, shortcut in zip(self.up, (second, first), strict=True):
            h = layer(torch.cat([F.interpolate(h, scale_factor=2.0), shortcut], 1))
        return self.head(h)


@kind
def unet_of_classes(dice: Any) -> Case:
    x, mask = masks()
    model = UNet(3, int(mask.max()) + 1, norm=bool(dice.integers(2)))
    return Case(model, (x, mask), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 3e-3), 16)


def dice_loss(o: Tensor, y: Tensor) -> Tensor:
    p = o.sigmoid()
    return 1 - (2 * (p * y).sum((1, 2, 3)) + 1).div((p + y).sum((1, 2, 3)) + 1).mean()


@kind
def unet_of_masks(dice: Any) -> Case:
    x, mask = masks()
    loss = some(
        dice,
        nn.BCEWithLogitsLoss(),
        lambda o, y: F.binary_cross_entropy_with_logits(o, y) + dice_loss(o, y),
        dice_loss,
    )
    model = UNet(3, 1)
    return Case(model, (x, (mask > 0).float()[:, None]), loss, optim.Adam(model.parameters(), 3e-3), 16)


@kind
def fully_convolutional(dice: Any) -> Case:
    x, mask = masks()
    model = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 2, 1),
    )
    return Case(model, (x, (mask > 0).long()), nn.CrossEntropyLoss(weight=torch.tensor([0.3, 0.7])), batch=16)


@kind
def autoencoder(dice: Any) -> Case:
    x, _ = drawn(dice, 500)
    size = x[0].numel()
    model = nn.Sequential(nn.Flatten(), net(size, 128, 24, 128, size), nn.Unflatten(1, x.shape[1:]))
    return Case(model, (x, x), some(dice, nn.MSELoss(), nn.SmoothL1Loss()))


@kind
def convolutional_autoencoder(dice: Any) -> Case:
    x = (pictures("mnist")[0][:500].clone() - (low := pictures("mnist")[0].min())) / (
        pictures("mnist")[0].max() - low
    )
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 12, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 1, 4, 2, 1),
        nn.Sigmoid(),
    )
    return Case(model, (x, x), some(dice, nn.BCELoss(), nn.MSELoss()), optim.Adam(model.parameters(), 3e-3))


@kind
def denoiser(dice: Any) -> Case:
    x, _ = drawn(dice, 400)
    model = Then(
        lambda m, t: t - m.body(t),
        body=nn.Sequential(
            nn.Conv2d(x.shape[1], 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, x.shape[1], 3, padding=1),
        ),
    )
    return Case(model, (x + 0.5 * torch.randn_like(x), x), nn.MSELoss())


@kind
def larger_pictures(dice: Any) -> Case:
    x, _ = drawn(dice, 400)
    x = F.interpolate(x, size=28)
    c = x.shape[1]
    model = nn.Sequential(
        nn.Conv2d(c, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 4 * c, 3, padding=1), nn.PixelShuffle(2)
    )
    return Case(model, (F.avg_pool2d(x, 2), x), some(dice, nn.L1Loss(), nn.MSELoss()))


@kind
def variational_autoencoder(dice: Any) -> Case:
    x = (pictures("mnist")[0][:500].clone() > 0.5).float()

    def forward(m: Any, t: Tensor) -> Any:
        mean, log = m.down(t.flatten(1)).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log / 2).exp()
        return m.up(z).view_as(t), mean, log

    def loss(o: Any, y: Tensor) -> Tensor:
        rebuilt, mean, log = o
        far = 0.5 * (mean**2 + log.exp() - log - 1).sum() / len(y)
        return F.binary_cross_entropy_with_logits(rebuilt, y, reduction="sum") / len(y) + far

    model = Then(forward, down=net(784, 128, 32), up=net(16, 128, 784))
    return Case(model, (x, x), loss)


@kind
def noise_prediction(dice: Any) -> Case:
    x, _ = pictures("mnist")
    x = F.avg_pool2d(x[:500], 2)
    time, noise = torch.rand(len(x)), torch.randn_like(x)
    part = torch.cos(time * torch.pi / 2)[:, None, None, None]
    model = Then(
        lambda m, t, when: m.body(torch.cat([t, when[:, None, None, None].expand_as(t)], 1)),
        body=UNet(2, 1, norm=True),
    )
    model.body.down[2][0] = nn.Conv2d(16, 32, 3, padding=1)
    x = F.pad(part * x + (1 - part**2).sqrt() * noise, (1, 1, 1, 1))
    return Case(model, ((x, time), F.pad(noise, (1, 1, 1, 1))), nn.MSELoss(), rates(model, 2e-3))


@kind
def score_of_points(dice: Any) -> Case:
    angle = 6.3 * torch.rand(800)
    clean = torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(800, 2)
    noise = torch.randn(800, 2)
    model = net(2, 64, 64, 2, act=nn.SiLU)
    return Case(model, (clean + 0.5 * noise, noise), nn.MSELoss())


# Two networks, pairs, triples


@kind
def discriminator(dice: Any) -> Case:
    real = F.avg_pool2d(pictures("mnist")[0][:400], 2)
    fake = (
        nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 196))(torch.randn(400, 16))
        .detach()
        .view(400, 1, 14, 14)
    )
    y = torch.cat([torch.ones(400, 1), torch.zeros(400, 1)])
    order = torch.randperm(800)
    turn = int(dice.integers(3))
    spectral = nn.utils.parametrizations.spectral_norm if turn == 2 else (lambda layer: layer)
    model = nn.Sequential(
        spectral(nn.Conv2d(1, 16, 4, 2, 1)),
        nn.LeakyReLU(0.2),
        spectral(nn.Conv2d(16, 32, 4, 2, 1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        spectral(nn.Linear(288, 1)),
    )
    loss = [nn.BCEWithLogitsLoss(), nn.MSELoss(), lambda o, y: F.relu(1 - (2 * y - 1) * o).mean()][turn]
    return Case(
        model,
        (torch.cat([real, fake])[order], y[order]),
        loss,
        optim.Adam(model.parameters(), 2e-4, (0.5, 0.999)),
    )


@kind
def critic(dice: Any) -> Case:
    real, fake = torch.randn(500, 8) + 1, torch.randn(500, 8) * 0.5
    model = Then(
        lambda m, a, b: (m.body(a), m.body(b)), body=net(8, 48, 48, 1, act=lambda: nn.LeakyReLU(0.2))
    )

    def loss(o: Any, y: Tensor) -> Tensor:
        a, b = o
        return F.softplus(-a).mean() + F.softplus(b).mean()

    return Case(
        model, ((real, fake), torch.zeros(500)), loss, optim.Adam(model.parameters(), 2e-4, (0.5, 0.999))
    )


@kind
def two_views(dice: Any) -> Case:
    x, y = drawn(dice, 500)
    views = tuple(x + 0.3 * torch.randn_like(x) for _ in range(2))
    model = Then(
        lambda m, a, b: (F.normalize(m.body(a), dim=1), F.normalize(m.body(b), dim=1)),
        body=encoder(8, x.shape[1]),
    )

    def loss(o: Any, y: Tensor) -> Tensor:
        every = torch.cat(o)
        n = len(o[0])
        alike = (every @ every.T / 0.3).masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e9)
        return F.cross_entropy(alike, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))

    return Case(model, (views, y), loss)


@kind
def pictures_and_texts(dice: Any) -> Case:
    y = torch.randint(0, 8, (500,))
    first, second = (
        torch.randn(8, 16)[y] + 0.5 * torch.randn(500, 16),
        torch.randn(8, 12)[y] + 0.5 * torch.randn(500, 12),
    )
    model = Then(
        lambda m, a, b: m.scale.exp() * F.normalize(m.left(a), dim=1) @ F.normalize(m.right(b), dim=1).T,
        left=net(16, 32, 16),
        right=net(12, 32, 16),
        scale=nn.Parameter(torch.tensor(1.0)),
    )

    def loss(o: Tensor, y: Tensor) -> Tensor:
        own = torch.arange(len(o))
        return (F.cross_entropy(o, own) + F.cross_entropy(o.T, own)) / 2

    return Case(model, ((first, second), y), loss)


@kind
def supervised_contrast(dice: Any) -> Case:
    x, y = drawn(dice, 500)
    model = Then(lambda m, t: F.normalize(m.body(t), dim=1), body=encoder(8, x.shape[1]))

    def loss(o: Tensor, y: Tensor) -> Tensor:
        own = torch.eye(len(o), dtype=torch.bool)
        log = (o @ o.T / 0.3).masked_fill(own, -1e9).log_softmax(1)
        same = (y[:, None] == y) & ~own
        return -((log * same).sum(1) / same.sum(1).clamp_min(1)).mean()

    return Case(model, (x, y), loss, batch=64)


@kind
def triples(dice: Any) -> Case:
    x, y = drawn(dice, 600)
    order = y.argsort()
    positive = order[(torch.arange(len(x)) + 1) % len(x)][order.argsort()]
    negative = torch.stack(
        [(y != label).nonzero()[torch.randint(0, int((y != label).sum()), ())][0] for label in y]
    )
    model = Then(lambda m, a, p, n: (m.body(a), m.body(p), m.body(n)), body=encoder(8, x.shape[1], 16))
    triple = nn.TripletMarginLoss(margin=1.0)
    return Case(model, ((x, x[positive], x[negative]), y), lambda o, y: triple(*o))


@kind
def hard_triples(dice: Any) -> Case:
    x, y = drawn(dice, 600)
    model = Then(lambda m, t: F.normalize(m.body(t), dim=1), body=encoder(8, x.shape[1], 16))

    def loss(o: Tensor, y: Tensor) -> Tensor:
        far = (2 - 2 * o @ o.T).clamp_min(1e-6).sqrt()
        same = y[:, None] == y
        return F.relu(far.masked_fill(~same, 0).amax(1) - far.masked_fill(same, 9).amin(1) + 0.3).mean()

    return Case(model, (x, y), loss, batch=64)


@kind
def siamese(dice: Any) -> Case:
    x, y = drawn(dice, 600)
    other = torch.where(
        torch.rand(600) < 0.5,
        torch.stack([(y == label).nonzero()[-1][0] for label in y]),
        torch.randperm(600),
    )
    same = (y == y[other]).float()
    turn = int(dice.integers(2))
    model = Then(
        lambda m, a, b: (
            m.head((m.body(a) - m.body(b)).abs())[:, 0] if turn else (m.body(a) - m.body(b)).square().sum(1)
        ),
        body=encoder(8, x.shape[1], 16),
        head=nn.Linear(16, 1) if turn else nn.Identity(),
    )
    loss = (
        nn.BCEWithLogitsLoss()
        if turn
        else (lambda o, y: (y * o + (1 - y) * F.relu(1 - (o + 1e-6).sqrt()) ** 2).mean())
    )
    return Case(model, ((x, x[other]), same), loss)


@kind
def arc_margin(dice: Any) -> Case:
    x, y = drawn(dice, 600)
    model = Then(
        lambda m, t: F.linear(F.normalize(m.body(t), dim=1), F.normalize(m.centres, dim=1)),
        body=encoder(8, x.shape[1], 16, True),
        centres=nn.Parameter(torch.randn(int(y.max()) + 1, 16)),
    )
    return Case(model, (x, y), lambda o, y: F.cross_entropy(10 * (o - 0.2 * F.one_hot(y, o.shape[1])), y))


@kind
def redundancy_reduction(dice: Any) -> Case:
    x, y = drawn(dice, 500)
    views = tuple(x + 0.3 * torch.randn_like(x) for _ in range(2))
    model = Then(lambda m, a, b: (m.body(a), m.body(b)), body=encoder(8, x.shape[1], 16))

    def loss(o: Any, y: Tensor) -> Tensor:
        a, b = ((z - z.mean(0)) / (z.std(0) + 1e-4) for z in o)
        c = a.T @ b / len(a)
        return (c.diagonal() - 1).square().sum() + 0.01 * (c - torch.diag(c.diagonal())).square().sum()

    return Case(model, (views, y), loss, batch=64)


@kind
def teacher_and_pupil(dice: Any) -> Case:
    x, y = drawn(dice, 600)
    teacher = encoder(8, x.shape[1], int(y.max()) + 1)
    optimizer = optim.Adam(teacher.parameters(), 3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(teacher(x), y).backward()
        optimizer.step()
    soft = teacher(x).softmax(1).detach()
    model = Then(lambda m, t: m.body(t).log_softmax(1), body=encoder(4, x.shape[1], int(y.max()) + 1))
    return Case(model, (x, soft), nn.KLDivLoss(reduction="batchmean"))


# Numbers and tables


@kind
def unit_regression(dice: Any) -> Case:
    x, t = table(dice)
    model = net(12, 64, 64, 1, act=some(dice, nn.ReLU, nn.Tanh, nn.GELU))
    return Case(
        model,
        (x, t[:, None]),
        some(dice, nn.MSELoss(), nn.L1Loss(), nn.HuberLoss()),
        some(dice, None, optim.SGD(model.parameters(), 0.03)),
    )


@kind
def log_targets(dice: Any) -> Case:
    x, t = table(dice)
    model = Then(lambda m, t: m.body(t).squeeze(-1), body=net(12, 64, 64, 1))
    price = (11 + 0.6 * t).exp()
    return Case(
        model,
        (x, some(dice, price.log(), price.log1p() - 11, price.log10())),
        nn.MSELoss(),
        optim.Adam(model.parameters(), 3e-3),
    )


@kind
def mean_and_variance(dice: Any) -> Case:
    x, t = table(dice)
    model = Then(lambda m, t: m.body(t).chunk(2, 1), body=net(12, 64, 2))
    return Case(model, (x, t[:, None]), lambda o, y: F.gaussian_nll_loss(o[0], y, F.softplus(o[1]) + 1e-3))


@kind
def quantiles(dice: Any) -> Case:
    x, t = table(dice)
    at = torch.tensor([0.1, 0.5, 0.9])
    return Case(
        net(12, 64, 3), (x, t[:, None]), lambda o, y: torch.maximum(at * (y - o), (at - 1) * (y - o)).mean()
    )


@kind
def counts(dice: Any) -> Case:
    x, t = table(dice)
    y = torch.poisson((1 + 0.7 * t).exp())
    return Case(Then(lambda m, t: m.body(t)[:, 0], body=net(12, 48, 1)), (x, y), nn.PoissonNLLLoss())


@kind
def positive_targets(dice: Any) -> Case:
    x, t = table(dice)
    turn = int(dice.integers(3))
    y = [t.exp().clamp_max(6), t.sigmoid(), torch.tanh(t)][turn]
    return Case(
        net(12, 48, 48, 1, end=[nn.Softplus(), nn.Sigmoid(), nn.Tanh()][turn]),
        (x, y[:, None]),
        nn.MSELoss(),
        None,
    )


@kind
def survival(dice: Any) -> Case:
    x, t = table(dice)
    time = (-t).exp() * torch.empty(800).exponential_()
    seen = (torch.rand(800) < 0.7).float()

    def loss(o: Tensor, y: Tensor) -> Tensor:
        order = y[:, 0].argsort(descending=True)
        risk, event = o[order, 0], y[order, 1]
        return -((risk - risk.logcumsumexp(0)) * event).sum() / event.sum().clamp_min(1)

    return Case(net(12, 32, 1), (x, torch.stack([time, seen], 1)), loss, batch=64)


@kind
def many_labels(dice: Any) -> Case:
    x, _ = table(dice)
    y = (x @ torch.randn(12, 7) + some(dice, 0.0, -2.0) > 0).float()
    turn = int(dice.integers(2))
    loss = nn.BCELoss() if turn else some(dice, nn.BCEWithLogitsLoss(), nn.MultiLabelSoftMarginLoss())
    return Case(net(12, 48, 7, end=nn.Sigmoid() if turn else None), (x, y), loss)


@kind
def yes_or_no(dice: Any) -> Case:
    x, t = table(dice)
    y = (t > some(dice, 0.0, 1.0)).float()
    turn = int(dice.integers(3))
    loss = [nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(pos_weight=torch.tensor(4.0)), nn.SoftMarginLoss()][
        turn
    ]
    y = 2 * y - 1 if turn == 2 else y
    return Case(Then(lambda m, t: m.body(t).squeeze(1), body=net(12, 32, 1)), (x, y), loss)


@kind
def margins(dice: Any) -> Case:
    x, t = table(dice)
    y = torch.bucketize(t, torch.tensor([-0.5, 0.5]))
    return Case(
        net(12, 32, 3),
        (x, y),
        some(dice, nn.MultiMarginLoss(), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0]))),
    )


@kind
def ordered_classes(dice: Any) -> Case:
    x, t = table(dice)
    y = torch.bucketize(t, torch.tensor([-1.0, -0.3, 0.3, 1.0]))
    over = (y[:, None] > torch.arange(4)).float()
    return Case(
        Then(
            lambda m, t: m.body(t) + m.cuts, body=net(12, 32, 1), cuts=nn.Parameter(torch.linspace(1, -1, 4))
        ),
        (x, over),
        nn.BCEWithLogitsLoss(),
    )


@kind
def soft_classes(dice: Any) -> Case:
    x, t = table(dice)
    y = F.softmax(torch.stack([t, -t, 0 * t], 1), 1)
    return Case(net(12, 48, 3), (x, y), nn.CrossEntropyLoss())


@kind
def deep_table(dice: Any) -> Case:
    x, t = table(dice)
    layers: list[nn.Module] = []
    for a, b in ((12, 64), (64, 64), (64, 32)):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(some(dice, 0.1, 0.3, 0.5))]
    model = nn.Sequential(*layers, nn.Linear(32, 3))
    return Case(
        model, (x, torch.bucketize(t, torch.tensor([-0.5, 0.5]))), nn.CrossEntropyLoss(), rates(model)
    )


@kind
def categories_and_numbers(dice: Any) -> Case:
    x, t = table(dice)
    ids = torch.randint(0, 9, (800, 3))
    y = t + torch.randn(9)[ids[:, 0]]
    model = Then(
        lambda m, n, c: m.body(torch.cat([n, m.embed(c).flatten(1)], 1)),
        embed=nn.Embedding(9, 4),
        body=net(24, 48, 1),
    )
    return Case(model, ((x, ids), y[:, None]), nn.MSELoss())


@kind
def residual_table(dice: Any) -> Case:
    x, t = table(dice)

    def forward(m: Any, t: Tensor) -> Tensor:
        h = m.first(t)
        for layer in m.layers:
            h = h + layer(h)
        return m.head(h)

    layers = nn.ModuleList(
        nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 32))
        for _ in range(int(dice.integers(2, 7)))
    )
    return Case(
        Then(forward, first=nn.Linear(12, 32), layers=layers, head=nn.Linear(32, 1)),
        (x, t[:, None]),
        nn.MSELoss(),
    )


@kind
def experts(dice: Any) -> Case:
    x, t = table(dice)
    top = bool(dice.integers(2))

    def forward(m: Any, t: Tensor) -> Tensor:
        gate = m.gate(t)
        if top:
            gate = gate.masked_fill(gate < gate.topk(2, 1).values[:, -1:], -1e9)
        return (gate.softmax(1)[..., None] * torch.stack([each(t) for each in m.each], 1)).sum(1)

    model = Then(forward, gate=nn.Linear(12, 4), each=nn.ModuleList(net(12, 24, 1) for _ in range(4)))
    return Case(model, (x, t[:, None]), nn.MSELoss(), optim.Adam(model.parameters(), 3e-3))


@kind
def several_tasks(dice: Any) -> Case:
    x, t = table(dice)
    y = torch.bucketize(t, torch.tensor([-0.5, 0.5]))
    model = Then(
        lambda m, t: (m.first(h := m.body(t)), m.second(h)),
        body=net(12, 48, 48, end=nn.ReLU()),
        first=nn.Linear(48, 3),
        second=nn.Linear(48, 1),
    )
    return Case(
        model,
        (x, (y, (t**2)[:, None].clamp_max(4))),
        lambda o, y: F.cross_entropy(o[0], y[0]) + 0.5 * F.mse_loss(o[1], y[1]),
    )


@kind
def tasks_in_a_dict(dice: Any) -> Case:
    x, t = table(dice)
    model = Then(
        lambda m, t: {"high": m.first(h := m.body(t)), "value": m.second(h)},
        body=net(12, 48, end=nn.ReLU()),
        first=nn.Linear(48, 1),
        second=nn.Linear(48, 1),
    )
    y = torch.stack([(t > 0).float(), t], 1)
    return Case(
        model,
        (x, y),
        lambda o, y: (
            F.binary_cross_entropy_with_logits(o["high"], y[:, :1]) + F.mse_loss(o["value"], y[:, 1:])
        ),
    )


@kind
def boxes(dice: Any) -> Case:
    x, mask = masks(400)
    on = mask > 0
    edges = [
        f.clamp(0, 31) / 31.0
        for f in (
            (on.any(1).long().argmax(1)),
            (on.any(2).long().argmax(1)),
            31 - on.any(1).flip(1).long().argmax(1),
            31 - on.any(2).flip(1).long().argmax(1),
        )
    ]
    return Case(
        encoder(12, 3, 4, bool(dice.integers(2))),
        (x, torch.stack(edges, 1)),
        some(dice, nn.SmoothL1Loss(), nn.MSELoss()),
        batch=16,
    )


@kind
def ratings(dice: Any) -> Case:
    users, items = torch.randint(0, 60, (1500,)), torch.randint(0, 40, (1500,))
    y = (torch.randn(60, 3)[users] * torch.randn(40, 3)[items]).sum(1) / 3**0.5 + 0.1 * torch.randn(1500)
    model = Then(
        lambda m, u, i: (m.user(u) * m.item(i)).sum(1) + m.more(i)[:, 0] + m.mean,
        user=nn.Embedding(60, 8),
        item=nn.Embedding(40, 8),
        more=nn.Embedding(40, 1),
        mean=nn.Parameter(torch.zeros(())),
    )
    for each in (model.user, model.item, model.more):
        nn.init.normal_(each.weight, std=0.3)
    return Case(model, ((users, items), y), nn.MSELoss(), optim.Adam(model.parameters(), 0.01), 64)


@kind
def clicks(dice: Any) -> Case:
    users, items = torch.randint(0, 60, (1500,)), torch.randint(0, 40, (1500,))
    y = ((torch.randn(60, 3)[users] * torch.randn(40, 3)[items]).sum(1) > 0.5).float()
    model = Then(
        lambda m, u, i: m.body(torch.cat([m.user(u), m.item(i)], 1))[:, 0],
        user=nn.Embedding(60, 8),
        item=nn.Embedding(40, 8),
        body=net(16, 32, 1),
    )
    return Case(model, ((users, items), y), nn.BCEWithLogitsLoss(), optim.Adam(model.parameters(), 5e-3), 64)


@kind
def word_vectors(dice: Any) -> Case:
    x = speech(200, 10)
    centre, near = x[:, :-1].flatten(), x[:, 1:].flatten()
    near = torch.where(right := torch.rand(len(near)) < 0.5, near, torch.randint(0, 24, near.shape))
    model = Then(
        lambda m, a, b: (m.first(a) * m.second(b)).sum(1),
        first=nn.Embedding(24, 12),
        second=nn.Embedding(24, 12),
    )
    nn.init.uniform_(model.second.weight, -0.3, 0.3)
    return Case(
        model,
        ((centre, near), right.float()),
        nn.BCEWithLogitsLoss(),
        optim.Adam(model.parameters(), 0.01),
        64,
    )


@kind
def graphs(dice: Any) -> Case:
    y = torch.randint(0, 2, (500,))
    a = (torch.rand(500, 10, 10) < torch.where(y == 1, 0.45, 0.2)[:, None, None]).float()
    a = ((a + a.transpose(1, 2)) > 0).float() + torch.eye(10)
    a = a / a.sum(2, keepdim=True)
    x = torch.randn(500, 10, 6) + a.sum(1)[..., None]
    x = (x - x.mean()) / x.std()
    model = Then(
        lambda m, h, a: m.head(F.relu(a @ m.second(F.relu(a @ m.first(h)))).mean(1)),
        first=nn.Linear(6, 32),
        second=nn.Linear(32, 32),
        head=nn.Linear(32, 2),
    )
    return Case(model, ((x, a), y), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 5e-3))


@kind
def one_graph(dice: Any) -> Case:
    y = torch.randint(0, 3, (150,))
    a = (torch.rand(150, 150) < torch.where(y[:, None] == y, 0.15, 0.02)).float()
    a = torch.maximum(a, a.T) + torch.eye(150)
    a = a / a.sum(1, keepdim=True)
    x = F.one_hot(y, 3).float() + torch.randn(150, 3)
    model = Then(
        lambda m, h, a: a @ m.second(F.relu(a @ m.first(h))), first=nn.Linear(3, 16), second=nn.Linear(16, 3)
    )
    return Case(
        model, (), nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 0.01), loader=[((x / x.std(), a), y)]
    )


@kind
def action_values(dice: Any) -> Case:
    x, t = table(dice, 6)
    action = torch.randint(0, 3, (800,))
    model = net(6, 64, 64, 3)
    return Case(
        model,
        (x, (action, t + 0.5 * action)),
        lambda o, y: F.smooth_l1_loss(o.gather(1, y[0][:, None])[:, 0], y[1]),
    )


@kind
def duelling(dice: Any) -> Case:
    x, t = table(dice, 6)
    y = torch.stack([torch.randint(0, 3, (800,)).float(), t], 1)
    model = Then(
        lambda m, t: m.value(h := m.body(t)) + (a := m.gain(h)) - a.mean(1, keepdim=True),
        body=net(6, 48, end=nn.ReLU()),
        value=nn.Linear(48, 1),
        gain=nn.Linear(48, 3),
    )
    return Case(model, (x, y), lambda o, y: F.mse_loss(o.gather(1, y[:, :1].long()), y[:, 1:]))


@kind
def policy(dice: Any) -> Case:
    x, t = table(dice, 6)
    action, gain = torch.randint(0, 3, (800,)), torch.randn(800)
    gain = torch.where(action == torch.bucketize(t, torch.tensor([-0.5, 0.5])), 1.0, -0.5)
    return Case(
        net(6, 32, 3, act=nn.Tanh),
        (x, (action, gain)),
        lambda o, y: (F.cross_entropy(o, y[0], reduction="none") * y[1]).mean(),
    )


@kind
def coordinates(dice: Any) -> Case:
    picture = F.avg_pool2d(pictures("shapes")[0][int(dice.integers(100))], 1)
    side = torch.linspace(-1, 1, 32)
    where = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).view(-1, 2)
    order = torch.randperm(1024)
    turn = int(dice.integers(2))
    size = 2.0 ** torch.arange(4) * torch.pi
    body = net(16, 64, 64, 3)

    def seen(t: Tensor) -> Tensor:
        far = (t[..., None] * size).flatten(1)
        return torch.cat([far.sin(), far.cos()], 1)

    model = Then(lambda m, t: m.body(seen(t)), body=body)
    if turn:
        layers = [nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 3)]
        for i, layer in enumerate(layers):
            nn.init.uniform_(
                layer.weight, *((-0.5, 0.5) if i == 0 else (-((6 / 64) ** 0.5) / 30, (6 / 64) ** 0.5 / 30))
            )
        model = Then(
            lambda m, t: m.c((30 * m.b((30 * m.a(t)).sin())).sin()), a=layers[0], b=layers[1], c=layers[2]
        )
    return Case(model, (where[order], picture.permute(1, 2, 0).reshape(-1, 3)[order]), nn.MSELoss(), batch=64)


@kind
def flow(dice: Any) -> Case:
    angle = 6.3 * torch.rand(800)
    x = torch.stack([angle.cos(), angle.sin()], 1) + 0.15 * torch.randn(800, 2)

    def forward(m: Any, t: Tensor) -> Any:
        total = torch.zeros(len(t), dtype=t.dtype)
        for each in m.each:
            scale, move = each(t[:, :1]).chunk(2, 1)
            scale = torch.tanh(scale)
            t = torch.cat([t[:, 1:] * scale.exp() + move, t[:, :1]], 1)
            total = total + scale[:, 0]
        return t, total

    model = Then(forward, each=nn.ModuleList(net(1, 32, 2) for _ in range(6)))
    return Case(
        model,
        (x, torch.zeros(800)),
        lambda o, y: (o[0].square().sum(1) / 2 - o[1]).mean() + math.log(2 * math.pi),
    )


@kind
def codebook(dice: Any) -> Case:
    x = pictures("mnist")[0][:400].clone()

    def forward(m: Any, t: Tensor) -> Any:
        z = m.down(t).permute(0, 2, 3, 1)
        code = m.book[torch.cdist(z.reshape(-1, 8), m.book).argmin(1)].view_as(z)
        return m.up((z + (code - z).detach()).permute(0, 3, 1, 2)), z, code

    def loss(o: Any, y: Tensor) -> Tensor:
        rebuilt, z, code = o
        return F.mse_loss(rebuilt, y) + F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())

    down = nn.Sequential(nn.Conv2d(1, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 8, 4, 2, 1))
    up = nn.Sequential(nn.ConvTranspose2d(8, 24, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(24, 1, 4, 2, 1))
    model = Then(forward, down=down, up=up, book=nn.Parameter(torch.randn(64, 8) * 0.3))
    return Case(model, (x, x), loss, optim.Adam(model.parameters(), 2e-3))


# Other ways to train


def training(loss_fn: Any, change: Any = None, clip: float = 0.0, every: int = 1) -> Any:
    count = [0]

    def train_step(model: nn.Module, batch: Any, optimizer: Any) -> float:
        model.train()
        inputs, labels = batch
        if count[0] % every == 0:
            optimizer.zero_grad()
        loss = loss_fn(model(inputs), labels) / every
        loss.backward()
        count[0] += 1
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if count[0] % every == 0:
            optimizer.step()
        if change is not None:
            change(model)
        return loss.item()

    return train_step


def judging(model: nn.Module, batch: Any) -> Tensor:
    model.eval()
    with torch.inference_mode():
        return model(batch[0]).argmax(1)


@kind
def clipped(dice: Any) -> Case:
    x, y = drawn(dice)
    model = TheirNet(x.shape[1:], int(y.max()) + 1, norm=True)
    step = training(F.cross_entropy, clip=some(dice, 0.5, 1.0, 5.0))
    return Case(
        model,
        (x, y),
        nn.CrossEntropyLoss(),
        optim.SGD(model.parameters(), 0.02, 0.9),
        keywords=dict(train_step=step, eval_step=judging),
    )


@kind
def accumulated(dice: Any) -> Case:
    x, y = drawn(dice)
    model = TheirNet(x.shape[1:], int(y.max()) + 1)
    step = training(F.cross_entropy, every=some(dice, 2, 4))
    return Case(
        model, (x, y), nn.CrossEntropyLoss(), batch=16, keywords=dict(train_step=step, eval_step=judging)
    )


@kind
def averaged(dice: Any) -> Case:
    x, y = drawn(dice)
    model = mlp(x.shape[1:], int(y.max()) + 1, dice)
    mean = deepcopy(model)

    def change(model: nn.Module) -> None:
        with torch.no_grad():
            for a, b in zip(mean.parameters(), model.parameters(), strict=True):
                a.lerp_(b, 0.01)

    return Case(
        model,
        (x, y),
        nn.CrossEntropyLoss(),
        keywords=dict(train_step=training(F.cross_entropy, change), eval_step=judging),
    )


@kind
def one_cycle(dice: Any) -> Case:
    x, y = drawn(dice)
    model = TheirNet(x.shape[1:], int(y.max()) + 1, norm=bool(dice.integers(2)))
    optimizer = optim.SGD(model.parameters(), 0.05, 0.9)
    epochs = some(dice, 1, 3, 10)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.05, epochs=epochs, steps_per_epoch=18)

    def change(model: nn.Module) -> None:
        if scheduler.last_epoch < 18 * epochs - 1:
            scheduler.step()

    step = training(F.cross_entropy, change)
    return Case(
        model, (x, y), nn.CrossEntropyLoss(), optimizer, keywords=dict(train_step=step, scheduler=scheduler)
    )


@kind
def mixed_up(dice: Any) -> Case:
    x, y = drawn(dice)
    classes = int(y.max()) + 1
    model = TheirNet(x.shape[1:], classes)

    def train_step(model: nn.Module, batch: Any, optimizer: Any) -> float:
        model.train()
        share, order = np.random.beta(0.4, 0.4), torch.randperm(len(batch[0]))
        optimizer.zero_grad()
        out = model(share * batch[0] + (1 - share) * batch[0][order])
        loss = share * F.cross_entropy(out, batch[1]) + (1 - share) * F.cross_entropy(out, batch[1][order])
        loss.backward()
        optimizer.step()
        return loss.item()

    return Case(model, (x, y), nn.CrossEntropyLoss(), keywords=dict(train_step=train_step, eval_step=judging))


class Augmented(Dataset):
    """Pictures flipped, moved, or with noise, by torch's own random numbers."""

    def __init__(self, x: Tensor, y: Tensor, turn: int) -> None:
        self.x, self.y, self.turn = x, y, turn

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x = self.x[i]
        if self.turn == 0:
            return x.roll(int(torch.randint(-2, 3, ())), 1), self.y[i]
        return (
            x + 0.1 * torch.randn_like(x) if self.turn == 1 else x * (0.9 + 0.2 * torch.rand(()))
        ), self.y[i]


@kind
def augmented(dice: Any) -> Case:
    x, y = drawn(dice)
    model = TheirNet(x.shape[1:], int(y.max()) + 1, norm=bool(dice.integers(2)))
    loader = DataLoader(Augmented(x[:500], y[:500], int(dice.integers(3))), 32, shuffle=True, drop_last=True)
    return Case(model, (), nn.CrossEntropyLoss(), loader=loader, val=DataLoader(Rows(x[500:], y[500:]), 32))


@kind
def several_workers(dice: Any) -> Case:
    made = augmented(dice)
    made.loader = DataLoader(made.loader.dataset, 32, shuffle=True, num_workers=2)
    return made


@kind
def tuned(dice: Any) -> Case:
    x, y = drawn(dice)
    body, head = encoder(8, x.shape[1], 32, True), nn.Linear(32, int(y.max()) + 1)
    model = nn.Sequential(body, nn.ReLU(), head)
    optimizer = optim.Adam(model.parameters(), 3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        F.cross_entropy(model(x[:256]), y[:256]).backward()
        optimizer.step()
    head.reset_parameters()
    if some(dice, True, False):
        return Case(
            model,
            (x, y),
            nn.CrossEntropyLoss(),
            optim.AdamW(
                [{"params": body.parameters(), "lr": 1e-4}, {"params": head.parameters(), "lr": 1e-3}]
            ),
        )
    body.requires_grad_(False)
    return Case(model, (x, y), nn.CrossEntropyLoss(), optim.Adam(head.parameters(), 3e-3))
