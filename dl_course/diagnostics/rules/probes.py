"""Rules on what comes out in eval mode: the same batch asked twice, and with other samples beside it."""

from contextlib import suppress
from functools import cached_property
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from dl_course.diagnostics.rules.evidence import WEIGHTED, Dropouts, Evidence, related
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.diagnostics.rules.practice import MODAL
from dl_course.hooks import mapped, tensors_in
from dl_course.kept import SOURCES, kept
from dl_course.runtime import preserved_rng

FEW = 16  # samples of a probe
MOVED = 1e-4  # of outputs, in proportion: rounding makes 1e-7 of them


class Asker:
    """A copy of the model in eval mode, in float64 where it can be, and a few samples to ask it with."""

    def __init__(self, e: Evidence) -> None:
        self.model = e.copies()[0].eval()  # by which floats may differ
        self.least = 1e-5
        self.count = len(e.batch[0][0]) if related(e.batch) else FEW if 2 * e.size > FEW else 2
        self.inputs = mapped(self.cut, e.batch[0])
        parts = [part for module in self.model.modules() for part in vars(module).values()]
        self.dice = [part for part in parts if isinstance(part, SOURCES)]
        if self.count < FEW:  # float64 takes more time than there is
            return
        doubled = mapped(lambda t: t.double() if t.is_floating_point() else t, self.inputs)
        with suppress(RuntimeError, TypeError, ValueError), torch.no_grad():  # it may make tensors of float32
            e.copies()[0].eval().double()(*mapped(torch.clone, doubled))
            self.model = self.model.double()
            self.inputs = doubled
            self.least = 1e-9

    def cut(self, t: Tensor) -> Tensor:
        """Return the samples that are asked of."""
        return t[: self.count] if t.dim() else t

    def __call__(self, change: Any = torch.clone, seed: int = 0) -> list[Tensor]:
        """Return the floats that come out for the samples, each input changed."""
        with preserved_rng(seed), kept(*self.dice), torch.no_grad():
            found = tensors_in(self.model(*mapped(change, self.inputs)))
            return [t.detach().nan_to_num(0, 0, 0) for t in found if t.is_floating_point()]

    twice = cached_property(lambda self: (self(), self()))


def apart(once: list[Tensor], twice: list[Tensor]) -> float:
    """Return how far answers are apart, as a share of how large they are."""
    pairs = [(a, b) for a, b in zip(once, twice, strict=True) if a.shape == b.shape and a.numel()]
    return max((((a - b).abs().max() / a.abs().max().clamp_min(1e-30)).item() for a, b in pairs), default=0.0)


@rule("stateful-evaluation")
def stateful(e: Evidence) -> Found:
    """In eval mode the same batch, with the same random numbers, gets the same answer twice.

    Start each batch with a new state: reset it in forward, or hand it over as an argument.
    """
    ask = e.of(Asker)
    moved = apart(*ask.twice)
    return moved > ask.least and f"outputs differ by {moved:.2g} of their size; limit {ask.least}"


@rule("random-in-eval")
def random_in_eval(e: Evidence) -> Found:
    """In eval mode the same batch gets the same answer with other random numbers. To sample is part of models
    with several outputs, as of autoencoders, and of those that rebuild their inputs; dropout of none.

    Hand the mode over: F.dropout(x, p, training=self.training); or use nn.Dropout.
    """
    ask = e.of(Asker)
    first, again = ask.twice
    other = ask(seed=1)
    if (moved := apart(again, other)) <= MOVED or apart(first, again) > ask.least:
        return None
    with Dropouts() as dropping:
        ask()
    inputs, labels = ([*tensors_in(part)] for part in e.batch)
    rebuilds = not labels or any(x.shape == y.shape and torch.equal(x, y) for x in inputs for y in labels)
    if max(dropping.shares) == 0 and (rebuilds or not isinstance(e.outputs, Tensor)):
        return None
    what = (
        f"dropout of {max(dropping.shares):.0%} is on" if any(dropping.shares) else "random numbers are drawn"
    )
    return f"in eval mode {what}: outputs differ by {moved:.2g} of their size; limit {MOVED}"


@rule("samples-mixed", "error")
def samples_mixed(e: Evidence) -> Found:
    """In eval mode a sample's output depends on that sample alone: the others' stay when it is replaced. Left
    out are inputs that relate samples, (N, N), and steps of sequences in the place of the batch.

    Look for the batch taken for something else: batch_first=True of LSTM and attention, softmax and sum over
    dim=0, a view or reshape that puts the batch's numbers together.
    """
    inputs, labels = ([t for t in tensors_in(part) if t.dim()] for part in e.batch)
    if related(e.batch) or len({len(t) for t in (*inputs, *labels[:1])}) != 1 or shifted(e) == 0:
        raise Skip("needs inputs and labels with a row a sample")
    ask = e.of(Asker)
    count = min(ask.count, len(inputs[0]))
    pairs = zip(ask.twice[1], ask(_first_replaced), strict=True)
    share = max((_others(a, (a - b).abs(), count) for a, b in pairs), default=0.0)
    text = f"when sample 0 is replaced, others' outputs move by {share:.2g} of what its own does"
    return share > MOVED and f"{text}; limit {MOVED}"


def _first_replaced(t: Tensor) -> Tensor:
    t = t.clone()
    if t.is_floating_point() and t.dim() > 1:
        t[0] = t.mean() + t.std() * torch.randn(t[0].shape, generator=torch.Generator().manual_seed(0)).to(t)
    elif t.dim():
        others = t[1:][(t[1:] != t[:1]).reshape(len(t) - 1, -1).any(1)]
        t[:1] = others[-1:] if len(others) else t[:1]
    return t


def _others(answer: Tensor, moves: Tensor, count: int) -> float:
    """Return how far outputs of others move, over how far that of sample 0 does; 0 where rows are none."""
    if not answer.dim() or len(answer) % count or not answer.numel():
        return 0.0
    if answer.shape[:2] == (count, count):  # every sample with every other: similarities
        moves = moves[:, 1:]
    rows = [
        moves.reshape(count, -1),
        moves.reshape(len(moves) // count, count, -1).transpose(0, 1).flatten(1),
    ]
    return min((each[1:].max() / each[0].max().clamp_min(1e-30)).item() for each in rows)


def shifted(e: Evidence) -> int | None:
    """Return the axis, 1 or 0, along which labels are an input moved on by one; None where there is none."""
    pairs = [(x, y) for x in tensors_in(e.batch[0]) for y in tensors_in(e.batch[1])]
    return next((axis for axis in (1, 0) for x, y in pairs if _follows(x, y, axis)), None)


def _follows(x: Tensor, y: Tensor, axis: int) -> bool:
    if x.shape != y.shape or x.dim() < 2 or x.shape[axis] < 4:
        return False
    known, wanted = x.narrow(axis, 1, x.shape[axis] - 1), y.narrow(axis, 0, x.shape[axis] - 1)
    return known.isclose(wanted.to(known)).double().mean().item() > 0.99


@rule("future-leak", "error")
def future_leak(e: Evidence) -> Found:
    """Where labels are the inputs moved on by one step, no output may depend on later inputs than its own.

    Mask what is to come: a causal mask in attention, no bidirectional layers, padding on the left alone.
    """
    if (axis := shifted(e)) is None:
        raise Skip
    ask = e.of(Asker)
    y = next(tensors_in(e.batch[1]))
    steps = y.shape[axis]
    half = y.shape[axis] // 2

    def changed(t: Tensor) -> Tensor:
        early, late = t.narrow(axis, 0, half), t.narrow(axis, half, steps - half)
        return torch.cat([early, late.roll(1, 1 - axis)], axis)

    moved = lambda t: changed(t) if _follows(t, y[: len(t)], axis) else t.clone()  # noqa: E731
    moves = [(a - b).abs() for a, b in zip(ask.twice[1], ask(moved), strict=True)]
    share = max((_earlier(each, axis, steps, half) for each in moves), default=0.0)
    text = f"when steps from {half} on change, earlier outputs move by {share:.2g} of what later ones do"
    return share > MOVED and f"{text}; limit {MOVED}"


def _earlier(moves: Tensor, axis: int, steps: int, half: int) -> float:
    if moves.dim() > 2 and moves.shape[1] == moves.shape[2] == steps:  # as many classes: either may be steps
        pair = moves, moves.transpose(1, 2)
        return min((each[:, :half].max() / each.max().clamp_min(1e-30)).item() for each in pair)
    if moves.dim() > 2 and moves.shape[1] != steps and moves.shape[2] == steps:  # (N, classes, steps)
        moves = moves.transpose(1, 2)
    elif moves.dim() and len(moves) % steps == 0 and (moves.dim() < 3 or moves.shape[axis] != steps):
        moves = moves.reshape(*((-1, steps) if axis else (steps, -1)), *moves.shape[1:])  # (N * steps, …)
    fits = moves.dim() > 1 and moves.shape[axis] == steps
    return (moves.narrow(axis, 0, half).max() / moves.max().clamp_min(1e-30)).item() if fits else 0.0


@rule("dropout-too-strong")
def strong_dropout(e: Evidence) -> Found:
    """No layer drops 80 %: the paper drops 20 to 50 %, and tells what is kept, 0.8 of inputs, 0.5 of units.

    Give the share to drop, not to keep: nn.Dropout(0.2).
    """
    model = e.training()[0]
    shares = dict[str, Any]()
    for name, module in model.named_modules():
        shares[name] = module.p if isinstance(module, MODAL[1]) else getattr(module, "dropout", 0.0)
    shares["F.dropout"] = max(e.dropped)
    strong = [name for name, share in shares.items() if isinstance(share, float) and share >= 0.8]
    return bool(strong) and (strong[0], f"{shares[strong[0]]:.0%} are dropped; limit 80 %")


@rule("untrained-frozen")
def untrained_frozen(e: Evidence) -> Found:
    """What is frozen has been trained: its weights don't still look as PyTorch, He or Glorot draw them.

    One step takes weights over the edge of a uniform draw, biases away from zero, BatchNorm's factors from 1.

    Load weights into the backbone before freezing it, or let it learn: requires_grad_().
    """
    groups = e.given["optimizer"].param_groups if e.given["optimizer"] else [{"params": e.model.parameters()}]
    learning, fresh = (
        {id(p) for group in groups for p in group["params"] if p.requires_grad},
        dict[str, float](),
    )
    for name, module in e.model.named_modules():
        still = not any(id(p) in learning for p in module.parameters())  # incl. those of parametrizations
        if still and isinstance(module, WEIGHTED):
            fresh[name] = _drawn(module)
        elif still and isinstance(module, MODAL[0] | nn.LayerNorm) and (module.weight != 1).any():
            return None
    text = f"{len(fresh)} frozen layers all have weights as they are drawn at random; limit 1"
    return len(fresh) > 1 and all(fresh.values()) and sum(fresh.values()) > 4000 and (next(iter(fresh)), text)


def _drawn(module: Any) -> float:
    """Return how many numbers say that weights are drawn: all, where they are as normal as initialisations
    make them; infinity, where uniform, up to the edge, or with biases still zero; else 0.
    """
    weight = module.weight.detach().double()
    bias = module.bias
    fan_in, fan_out = weight[0].numel(), weight.numel() // weight.shape[1]
    fans = (fan_in, fan_out, (fan_in + fan_out) / 2)
    error = (2 * weight.numel()) ** -0.5
    stds = [(gain / fan) ** 0.5 for fan in fans for gain in (1 / 3, 1, 2)] + [0.01, 0.02]
    edges = [weight.abs().max().item() / (3**0.5 * std) for std in stds]
    near = any(abs(weight.std().item() / std - 1) < 4 * error for std in stds)
    bell = near and abs((weight / weight.std()).pow(4).mean().item() - 3) < 28 * error
    sure = bias is not None and not bias.any()
    flat = any(1 - 40 * error**2 < edge < 1 + 1e-6 for edge in edges)
    return inf if flat or (bell and sure) else bell * weight.numel()
