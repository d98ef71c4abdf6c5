"""Optimizers by name, with weight decay on weights alone."""

from functools import partial
from typing import Any

from torch import nn, optim

from dl_course.registry import Registry

OPTIMIZERS = Registry("optimizer")
OPTIMIZERS.register("sgd")(partial(optim.SGD, momentum=0.9))
for _class in (optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Adadelta):
    OPTIMIZERS.register(_class.__name__.lower())(_class)


def build(
    name: str, model: nn.Module, *, learning_rate: float, weight_decay: float = 0.0, **options: Any
) -> optim.Optimizer:  # fmt: skip
    """Return torch's optimizer of that name for what requires a gradient in the model; options: torch's own.

    Biases and norms (one dimension) do not decay: He et al., "Bag of Tricks", 2019. sgd has momentum 0.9.
    Raises ValueError for an unknown name or option, and for a model with nothing to learn.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    if not learning:
        raise ValueError("no parameter requires a gradient; unfreeze some: parameter.requires_grad_()")
    weights = [p for p in learning if p.ndim > 1]
    others = [p for p in learning if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return OPTIMIZERS.build(name, params=groups, lr=learning_rate, **options)
