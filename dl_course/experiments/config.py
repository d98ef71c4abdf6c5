"""Configurations: an experiment written down, in dataclasses that refuse what is impossible."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dl_course.data import DATASETS, TRANSFORMS
from dl_course.models import MODELS
from dl_course.registry import Registry, nearest
from dl_course.training.optimizers import OPTIMIZERS
from dl_course.training.problems import PRECISIONS
from dl_course.training.schedules import SCHEDULES


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, and how they reach the network.

    name: of a data set · batch_size: pictures to an update, of all processes together · num_workers:
    processes that load · pin_memory: for a quicker way to a GPU, where there is one · splits: shares of the
    training pictures to train on, to validate on and, a third, to leave out; none: the set's own ·
    augmentation: a policy of data.TRANSFORMS, for training alone.
    """

    name: str = "digits"
    batch_size: int = 64
    num_workers: int = 0
    pin_memory: bool = True
    splits: list[float] | None = None
    augmentation: str = "none"

    def __post_init__(self) -> None:
        _known("data.name", DATASETS, self.name)
        _demand("data.batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        _demand("data.num_workers", self.num_workers, self.num_workers >= 0, "at least 0")
        shares = self.splits or [0.5, 0.5]
        fits = len(shares) in (2, 3) and min(shares) > 0 and abs(sum(shares) - 1) < 1e-6
        _demand("data.splits", self.splits, fits, "two or three shares above 0 that add up to 1")
        _known("data.augmentation", TRANSFORMS, self.augmentation)
        policy = "a policy; pictures are normalized by the data set's mean and std anyway"
        _demand("data.augmentation", self.augmentation, self.augmentation != "normalize", policy)


@dataclass(frozen=True)
class ModelConfig:
    """Which network; what is none is as its builder in models.MODELS has it.

    in_channels: of the pictures, by default as the data have them · base_channels: the first stage's width ·
    layers: a ResNet's blocks in each of its four stages · dropout: the probability · pretrained: begin with
    torchvision's weights, but for the last layer · options: what else the builder takes, such as stem: cifar.
    """

    name: str = "simplecnn"
    in_channels: int | None = None
    base_channels: int | None = None
    layers: list[int] | None = None
    dropout: float | None = None
    pretrained: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _known("model.name", MODELS, self.name)
        for key in ("in_channels", "base_channels"):
            value = getattr(self, key)
            _demand(f"model.{key}", value, value is None or value >= 1, "at least 1")
        _demand("model.dropout", self.dropout, 0 <= (self.dropout or 0) < 1, "from 0 to below 1")
        four = not self.layers or len(self.layers) == 4 and min(self.layers) >= 1
        _demand("model.layers", self.layers, four, "four numbers of blocks, each at least 1")
        self.builder()

    def builder(self) -> Callable[..., Any]:
        """Return the network's builder with all that is configured; ValueError for what it does not take."""
        builder = self._deepened(MODELS.get(self.name))
        takes = accepted(builder)
        # What a configuration calls base_channels is the width of a Vision Transformer or an MLP.
        width = "width" if "width" in takes else "base_channels"
        named = {"in_channels": self.in_channels, width: self.base_channels, "dropout": self.dropout}
        configured = {key: value for key, value in named.items() if value is not None}
        for key in configured.keys() - takes.keys():
            field = "base_channels" if key == width else key
            raise ValueError(f"model.{field}: '{self.name}' takes no '{key}'{nearest(key, takes)}")
        for key in self.options.keys() - takes.keys():
            raise ValueError(f"model.options.{key}: '{self.name}' takes no '{key}'{nearest(key, takes)}")
        return partial(builder, **configured | self.options)

    def _deepened(self, builder: Callable[..., Any]) -> Callable[..., Any]:
        """Return a ResNet's builder with the configured numbers of blocks in place of its own."""
        if not self.layers:
            return builder
        resnet = isinstance(builder, partial) and len(builder.args) == 2
        _demand("model.layers", self.layers, resnet, f"none for '{self.name}', which is no ResNet")
        block = builder.args[0]  # type: ignore[attr-defined]
        return partial(builder.func, block, tuple(self.layers))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class TrainingConfig:
    """How it is trained.

    optimizer, scheduler: names of training.OPTIMIZERS and SCHEDULES, or scheduler "none" · warmup: the share
    of steps in which the rate rises, where the schedule has one · precision: "fp32", "bf16" or "fp16" ·
    max_grad_norm: clip to it · patience: stop after so many epochs without a better val_loss · seed: of
    weights, order and augmentation · device: by default the best there is · parallel: how several processes
    train, "ddp" with a whole network each, or "fsdp" with a part each · timeout: seconds that one waits for
    the others.
    """

    epochs: int = 5
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    scheduler: str = "cosine"
    warmup: float | None = None
    precision: str = "fp32"
    max_grad_norm: float | None = None
    patience: int | None = None
    seed: int = 0
    device: str | None = None
    parallel: str = "ddp"
    timeout: float = 60.0

    def __post_init__(self) -> None:
        _known("training.optimizer", OPTIMIZERS, self.optimizer)
        if self.scheduler != "none":
            _known("training.scheduler", SCHEDULES, self.scheduler)
        if self.precision not in PRECISIONS:
            unknown = f"unknown precision '{self.precision}'{nearest(self.precision, PRECISIONS)}"
            raise ValueError(f"training.precision: {unknown}")
        _demand("training.parallel", self.parallel, self.parallel in ("ddp", "fsdp"), "ddp or fsdp")
        for key in ("epochs", "patience"):
            value = getattr(self, key)
            _demand(f"training.{key}", value, value is None or value >= 1, "at least 1")
        for key in ("learning_rate", "max_grad_norm", "timeout"):
            value = getattr(self, key)
            _demand(f"training.{key}", value, value is None or 0 < value < float("inf"), "above 0")
        for key in ("weight_decay", "seed"):
            _demand(f"training.{key}", getattr(self, key), getattr(self, key) >= 0, "at least 0")
        self._check_warmup()

    def _check_warmup(self) -> None:
        if self.warmup is not None:
            rises = self.scheduler != "none" and "warmup" in accepted(SCHEDULES.get(self.scheduler))
            _demand("training.warmup", self.warmup, rises, f"none for the scheduler '{self.scheduler}'")
            _demand("training.warmup", self.warmup, 0 <= self.warmup < 1, "a share of all steps, below 1")


@dataclass(frozen=True)
class ExperimentConfig:
    """A whole experiment; name: what its run folders begin with."""

    name: str = "experiment"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        fits = re.fullmatch(r"[\w][\w.+-]*", self.name) is not None
        _demand("name", self.name, fits, "a folder's name: letters, digits and _ . + -")


def accepted(builder: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the parameters that a builder takes, by name."""
    return inspect.signature(builder).parameters


def _known(key: str, registry: Registry, name: str) -> None:
    try:
        registry.get(name)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _demand(key: str, given: Any, fits: bool, accepted: str) -> None:
    if not fits:
        raise ValueError(f"{key}: takes {accepted}; given: {given}")
