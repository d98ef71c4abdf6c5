"""What train_step does, seen on the caller's own objects, which are put back as they were."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import thread_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, dropout
from torch.optim.lr_scheduler import LRScheduler

from dl_course.hooks import mapped, watching
from dl_course.kept import kept
from dl_course.runtime import preserved_rng

MODAL = (batchnorm._BatchNorm, dropout._DropoutNd)  # layers that work differently in eval mode
CALLS = 64  # of train_step, at most, until it has made two updates
PATIENCE = 4.0  # seconds of this thread, for the same


@contextmanager
def flags_met(model: nn.Module) -> Iterator[set[bool]]:
    """Collect the training flags of layers that have two modes, while the model runs."""
    flags = set[bool]()

    def enter(name: str, module: nn.Module) -> None:
        flags.update([module.training] if isinstance(module, MODAL) else [])

    with watching(model, lambda *call: None, enter):
        yield flags


class Practice:
    """Some calls of train_step; of each update: the call, gradients' norm, rate, how far weights moved.

    Only with the caller's own objects a step means what it says: its closure may hold the scheduler of this
    optimizer, the scaler, an average of these weights. So they are used, and put back in place (``kept``).
    gradients: at the last update · flags: training flags met · schedules: whether a scheduler is in reach.
    """

    def __init__(self, e: Any, *, peak: bool = True, moves: bool = True) -> None:
        self.train_step = e.need("train_step")
        self.optimizer = e.need("optimizer")
        self.model = e.model
        self.seed = e.given["seed"]
        self.moves = moves
        self.peaks = e.peaks if peak else None
        self.calls = 0
        self.updates = list[int]()
        self.norms = list[float]()
        self.rates = list[float]()
        self.moved = list[float]()
        self.gradients = list[Tensor]()
        self.flags = set[bool]()

    def run(self, batches: Any, until: Any) -> "Practice":
        """Make a call a batch, until ``until(self)`` is true or time is up."""
        optimizer = self.optimizer
        end = thread_time() + PATIENCE
        with kept(self.model, optimizer, self.train_step) as reached, flags_met(self.model) as self.flags:
            self.schedules = any(isinstance(thing, LRScheduler) for thing in reached)
            for place, group in enumerate(optimizer.param_groups):
                group["lr"] = self.peaks[place] if self.peaks else group["lr"]
                group["weight_decay"] = 0.0  # which would move the weights by itself
            self.step = optimizer.step
            optimizer.step = self._noted
            for batch in batches:
                was = [p.detach().clone() for p in self.model.parameters() if self.moves]
                with preserved_rng(self.seed), torch.enable_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that the scheduler steps before the optimizer
                    self.train_step(self.model, mapped(torch.clone, batch), optimizer)
                if self.moves and self.calls in self.updates:  # by the whole call: it may copy weights back
                    self.moved.append(distance(self.model.parameters(), was))
                self.calls += 1
                if until(self) or thread_time() > end:
                    break
        return self

    def _noted(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        parameters = list(self.model.parameters())
        self.gradients = [p.grad.detach().clone() for p in parameters if p.grad is not None]
        self.updates.append(self.calls)
        self.norms.append(math.hypot(*(gradient.norm().item() for gradient in self.gradients)))
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        if not self.moves:
            return loss
        return self.step() if closure is None else self.step(closure)


def distance(parameters: Iterable[Tensor], was: list[Tensor]) -> float:
    """Return how far parameters are from where they were."""
    return math.hypot(*((p - w).norm().item() for p, w in zip(parameters, was, strict=True)))
