"""Schedules: how the learning rate goes, from what the optimizer was given as its highest."""

from functools import partial
from math import cos, pi
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR

from dl_course.registry import Registry

SCHEDULES = Registry("schedule")


def build(
    name: str, optimizer: Optimizer, *, epochs: int, steps_per_epoch: int, **options: Any
) -> LRScheduler:
    """Return torch's scheduler of that name; its ``interval`` says when to call ``step()``.

    "step": after every optimizer step · "epoch": after every epoch · "metric": then too, as ``step(loss)``.
    steps_per_epoch: optimizer steps, so batches over accumulate, rounded up · options: the share of
    "warmup", else torch's own. ValueError for an unknown name and for no steps.
    """
    if min(epochs, steps_per_epoch) < 1:
        raise ValueError(f"needs an epoch and a step at least; given: {epochs=}, {steps_per_epoch=}")
    arguments = {"optimizer": optimizer, "epochs": epochs, "steps_per_epoch": steps_per_epoch}
    scheduler = SCHEDULES.build(name, **arguments, **options)
    scheduler.interval = {StepLR: "epoch", ReduceLROnPlateau: "metric"}.get(type(scheduler), "step")
    if scheduler.interval == "step":
        scheduler.steps_per_epoch = steps_per_epoch
    return scheduler


@SCHEDULES.register("cosine")
def cosine(optimizer: Optimizer, epochs: int, steps_per_epoch: int, warmup: float = 0.0) -> LambdaLR:
    """On a line up for the share ``warmup`` of all steps; by half a cosine down to 0, to stay there.

    torch's LinearLR and CosineAnnealingLR, one after the other, give the same rates. Theirs rise again when
    training goes on, and a run resumed for more epochs keeps the old length.
    """
    total = epochs * steps_per_epoch
    rising = round(warmup * total)

    def factor(step: int) -> float:
        fallen = min(1.0, (step - rising) / max(1, total - rising))
        return (step + 1) / (rising + 1) if step < rising else (1 + cos(pi * fallen)) / 2

    return LambdaLR(optimizer, factor)


SCHEDULES.register("warmup-cosine")(partial(cosine, warmup=0.05))


@SCHEDULES.register("step")
def _step(optimizer: Optimizer, epochs: int, steps_per_epoch: int, **options: Any) -> StepLR:
    return StepLR(optimizer, **{"step_size": max(1, epochs // 3), **options})


@SCHEDULES.register("one-cycle")
def _one_cycle(optimizer: Optimizer, epochs: int, steps_per_epoch: int, **options: Any) -> OneCycleLR:
    options.setdefault("cycle_momentum", any(optimizer.defaults.get(key) for key in ("momentum", "betas")))
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, epochs=epochs, steps_per_epoch=steps_per_epoch, **options)


@SCHEDULES.register("plateau")
def _plateau(optimizer: Optimizer, epochs: int, steps_per_epoch: int, **options: Any) -> ReduceLROnPlateau:
    # torch's patience is 10 epochs, longer than a short training lasts
    return ReduceLROnPlateau(optimizer, **{"patience": min(10, epochs // 5), **options})
