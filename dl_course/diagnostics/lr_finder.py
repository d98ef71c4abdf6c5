"""The learning-rate finder: let the rate grow, and see where the loss falls and explodes. Smith, 2017."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from dl_course.diagnostics.table import order_kept
from dl_course.hooks import preserved
from dl_course.runtime import device_of


@dataclass(frozen=True, repr=False)
class LRCurve:
    """Rates (steps,), losses and smoothed (seeds, steps), NaN where a run had stopped, and what they suggest.

    A run suggests the rate at which its smoothed loss falls fastest over log rate, NaN if it never falls:
    suggestion is the median, band the least and the greatest. Within the band no rate is known to be better.
    """

    rates: Tensor
    losses: Tensor
    smoothed: Tensor
    suggestion: float
    band: tuple[float, float]

    def plot(self, ax: Any = None) -> Any:
        """Draw the means over the seeds, up to where the first run stopped, and the band; return the axes."""
        from dl_course import plots

        found = (self.suggestion, self.band)
        smoothed = self.smoothed.mean(0)
        return plots.learning_rate_curve(self.rates, self.losses.mean(0), *found, ax, smoothed=smoothed)

    def __repr__(self) -> str:
        low, high = self.band
        return f"learning rate {self.suggestion:.2g} ({low:.2g} to {high:.2g} over {len(self.losses)} seeds)"


def find_learning_rate(
    model: nn.Module, loader: Any, loss_fn: Callable[[Any, Any], Tensor], optimizer: Optimizer, *,
    start: float = 1e-6, end: float = 10.0, steps: int = 100, seeds: int = 3, smoothing: float = 0.9,
    progress: bool = True,
) -> LRCurve:  # fmt: skip
    """Return the loss while the rate of all groups grows from start to end, evenly in its logarithm.

    Trains once for each seed, which decides order and dropout; everything is put back, also by an interrupt.
    A run ends before its last step where the loss is not finite, or smoothed as far above the first losses as
    it was below. smoothing: weight of the past in the mean · progress: whether to show a bar. ValueError
    where there is nothing to measure.
    """
    if not 0 < start < end or steps < 3 or seeds < 1 or not 0 <= smoothing < 1 or not len(loader):
        given = f"{start=}, {end=}, {steps=}, {seeds=}, {smoothing=}, {len(loader)} batches"
        raise ValueError(
            f"needs 0 < start < end, steps ≥ 3, seeds, smoothing in [0, 1), batches; given: {given}"
        )
    rates = torch.logspace(math.log10(start), math.log10(end), steps, dtype=torch.float64)
    losses, smoothed = torch.full((2, seeds, steps), torch.nan, dtype=torch.float64)
    for seed in tqdm(range(seeds), "learning-rate finder", leave=False, disable=not progress):
        with _on_copies(model, loader, optimizer, seed):
            for step, pair in enumerate(_run(model, loader, loss_fn, optimizer, rates.tolist(), smoothing)):
                losses[seed, step], smoothed[seed, step] = pair
    suggested = torch.stack([_steepest(rates, run) for run in smoothed])
    low, median, high = suggested.nanquantile(torch.tensor([0.0, 0.5, 1.0], dtype=rates.dtype)).tolist()
    return LRCurve(rates, losses, smoothed, median, (low, high))


def _run(
    model: nn.Module, loader: Any, loss_fn: Any, optimizer: Optimizer, rates: list[float], smoothing: float
) -> Iterator[tuple[float, float]]:
    if not model.training:
        model.train()
    losses = list[float]()
    smoothed = list[float]()
    mean = 0.0
    for rate, (inputs, labels) in zip(rates, chain.from_iterable(repeat(loader)), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = loss_fn(model(inputs.to(device_of(model))), labels.to(device_of(model)))
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        mean = smoothing * mean + (1 - smoothing) * losses[-1]
        smoothed.append(mean / (1 - smoothing ** len(losses)))
        yield losses[-1], smoothed[-1]
        first = max(losses[: max(3, len(rates) // 10)])  # where the rate is too small to matter
        if smoothed[-1] > 2 * first - min(smoothed) + 1e-3 * abs(first):
            break
        loss.backward()
        optimizer.step()
    if not smoothed:
        raise ValueError(f"the first loss is {losses[0]}, whatever the rate: look at data and loss")


def _steepest(rates: Tensor, smoothed: Tensor) -> Tensor:
    falling = smoothed[: smoothed.nan_to_num(torch.inf).argmin() + 1]
    if len(falling) < 2:
        return rates.new_tensor(torch.nan)
    return rates[torch.gradient(falling, spacing=(rates[: len(falling)].log(),))[0].argmin()]


@contextmanager
def _on_copies(model: nn.Module, loader: Any, optimizer: Optimizer, seed: int) -> Iterator[None]:
    """Work on copies of parameters and optimizer state, in a seed's order; their own are never written to."""
    learning = chain(*(group["params"] for group in optimizer.param_groups), model.parameters())
    with preserved(model, seed), ExitStack() as stack:
        for p in set(learning):
            stack.callback(setattr, p, "data", p.data)
            stack.callback(setattr, p, "grad", p.grad)
            p.data = p.data.clone()
            p.grad = None
        for group in optimizer.param_groups:
            stack.callback(group.update, dict(group))
        stack.callback(setattr, optimizer, "state", optimizer.state)
        optimizer.state = defaultdict(dict, {p: deepcopy(kept) for p, kept in optimizer.state.items()})
        for generator in stack.enter_context(order_kept(loader)):
            generator.manual_seed(seed)
        if hasattr(loader, "epoch"):
            loader.epoch += seed * 10**6
        yield
