"""Rules on what comes out in eval mode: the same batch asked twice, and with other samples beside it."""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dl_course.diagnostics.rules.evidence import WEIGHTED, Evidence, operations
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.diagnostics.rules.kept import SOURCES, kept
from dl_course.diagnostics.rules.practice import MODAL
from dl_course.hooks import mapped, preserved, tensors_in
from dl_course.runtime import preserved_rng

FEW = 16  # samples of a probe
MOVED = 1e-4  # of outputs, in proportion: rounding makes 1e-7 of them
DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
NOISE = (torch.randn, torch.randn_like, torch.rand, torch.rand_like, torch.normal)


class Listener(TorchFunctionMode):
    """Notes the shares that dropout drops, and follows the noise that is drawn in autograd's graph."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped, self.noise = list[float](), list[Any]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, kwargs = func(*args, **(kwargs or {})), kwargs or {}
        if func in DROPOUTS:
            places = dict(zip(("p", "training"), args[1:3], strict=False))
            given = {"p": 0.5, "training": True} | places | kwargs
            self.dropped += [given["p"]] * bool(given["training"] and given["p"])
        if func in NOISE and torch.is_grad_enabled():
            result = result.detach().requires_grad_().clone()
            self.noise.append(result.grad_fn)
        return result


class Asker:
    """A copy of the model in eval mode, in float64 where it can be, and a few samples to ask it with."""

    def __init__(self, e: Evidence) -> None:
        self.model, self.least = e.copies()[0].eval(), 1e-5  # by which floats may differ
        self.inputs = mapped(lambda t: t[:FEW] if t.dim() else t, e.batch[0])
        parts = [part for module in self.model.modules() for part in vars(module).values()]
        self.dice = [part for part in parts if isinstance(part, SOURCES)]
        doubled = mapped(lambda t: t.double() if t.is_floating_point() else t, self.inputs)
        with suppress(RuntimeError, TypeError, ValueError), torch.no_grad():  # it may make tensors of float32
            e.copies()[0].eval().double()(*mapped(torch.clone, doubled))
            self.model, self.inputs, self.least = self.model.double(), doubled, 1e-9

    def __call__(self, inputs: Any, seed: int = 0) -> list[Tensor]:
        """Return the tensors that come out."""
        with preserved_rng(seed), kept(*self.dice), torch.no_grad():
            found = tensors_in(self.model(*mapped(torch.clone, inputs)))
            return [tensor.detach().clone() for tensor in found if tensor.is_floating_point()]


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
    moved = apart(ask(ask.inputs), ask(ask.inputs))
    return moved > ask.least and f"outputs differ by {moved:.2g} of their size; limit {ask.least}"


@rule("random-in-eval")
def random_in_eval(e: Evidence) -> Found:
    """In eval mode the same batch gets the same answer with other random numbers. To sample with a scale that
    is learnt, as autoencoders do, is part of a model, and so is chance where inputs are the labels.

    Hand the mode over: F.dropout(x, p, training=self.training); or use nn.Dropout.
    """
    ask = e.of(Asker)
    first, again, other = ask(ask.inputs), ask(ask.inputs), ask(ask.inputs, 1)
    if (moved := apart(again, other)) <= MOVED or apart(first, again) > ask.least:
        return None
    with preserved(ask.model, 0), Listener() as heard:
        outputs = ask.model(*mapped(torch.clone, ask.inputs))
    if not heard.dropped and (_reproduces(e) or _scaled(heard.noise, outputs)):
        return None
    what = f"dropout of {max(heard.dropped):.0%} is on" if heard.dropped else "random numbers are drawn"
    return f"in eval mode {what}: outputs differ by {moved:.2g} of their size; limit {MOVED}"


def _reproduces(e: Evidence) -> bool:
    inputs, labels = ([*tensors_in(part)] for part in e.batch)
    return not labels or any(a.shape == b.shape and torch.equal(a, b) for a in inputs for b in labels)


def _scaled(noise: list[Any], outputs: Any) -> bool:
    """Return whether noise is multiplied by something that has a gradient."""
    for node in operations(outputs):
        nexts = [each for each, _ in node.next_functions]
        drawn = type(node).__name__.startswith("Mul") and any(each in noise for each in nexts)
        if drawn and all(each is not None for each in nexts):
            return True
    return False


@rule("samples-mixed", "error")
def samples_mixed(e: Evidence) -> Found:
    """In eval mode a sample's output depends on that sample alone: the others' stay when it is replaced.

    Look for the batch taken for something else: batch_first=True of LSTM and attention, softmax and sum over
    dim=0, a view or reshape that puts the batch's numbers together.
    """
    ask = e.of(Asker)
    count, labels = _one_each(e, ask), [*tensors_in(e.batch[1])]
    if count < 4 or (labels and len(labels[0]) != len(next(tensors_in(e.batch[0])))) or shifted(e) == 0:
        raise Skip("needs four samples, each a row of the inputs and of the labels")
    with preserved_rng(0):
        before, after = ask(ask.inputs), ask(mapped(_first_replaced, ask.inputs))
    share = max((_others(a, b, count) for a, b in zip(before, after, strict=True)), default=0.0)
    text = f"when sample 0 is replaced, others' outputs move by {share:.2g} of what its own does"
    return share > MOVED and f"{text}; limit {MOVED}"


def _one_each(e: Evidence, ask: Asker) -> int:
    """Return how many samples there are; 0 where inputs are no rows of samples, or relate them."""
    sizes = {len(t) for t in tensors_in(ask.inputs) if t.dim()}
    inputs = [*tensors_in(e.batch[0])]
    related = len(inputs) > 1 and any(t.dim() == 2 and t.shape[0] == t.shape[1] for t in inputs)
    return sizes.pop() if len(sizes) == 1 and not related else 0


def _first_replaced(t: Tensor) -> Tensor:
    if not t.dim():
        return t
    t, other = t.clone(), t[1:][(t[1:] != t[:1]).flatten(1).any(1)]
    if t.is_floating_point() and t.dim() > 1:
        t[0] = t.mean() + t.std() * torch.randn_like(t[0])
    elif len(other):
        t[0] = other[-1]
    return t


def _others(a: Tensor, b: Tensor, count: int) -> float:
    """Return how far outputs of others move, over how far that of sample 0 does; 0 where rows are none."""
    if not a.dim() or a.shape != b.shape or len(a) % count:
        return 0.0
    if a.dim() > 1 and a.shape[1] == len(a) == count:  # every sample with every other: similarities
        a, b = a[:, 1:], b[:, 1:]
    moves = (a - b).abs()
    rows = [moves.reshape(count, -1), moves.reshape(len(a) // count, count, -1).transpose(0, 1).flatten(1)]
    return min((each[1:].max() / each[0].max().clamp_min(1e-30)).item() for each in rows if each.numel())


def shifted(e: Evidence) -> int | None:
    """Return the axis, 1 or 0, along which labels are an input moved on by one; None where there is none."""
    for y in [*tensors_in(e.batch[1])][:1]:
        for x in tensors_in(e.batch[0]):
            for axis in (1, 0):
                if x.shape == y.shape and x.dim() > 1 and (steps := x.shape[axis]) > 3:
                    known, wanted = x.narrow(axis, 1, steps - 1), y.narrow(axis, 0, steps - 1)
                    if known.isclose(wanted.to(known.dtype)).double().mean() > 0.99:
                        return axis
    return None


@rule("future-leak", "error")
def future_leak(e: Evidence) -> Found:
    """Where labels are the inputs moved on by one step, no output may depend on later inputs than its own.

    Mask what is to come: a causal mask in attention, no bidirectional layers, padding on the left alone.
    """
    if (axis := shifted(e)) is None:
        raise Skip("is for labels that are the inputs moved on by one step")
    ask = e.of(Asker)
    y = next(tensors_in(e.batch[1]))
    steps, half = y.shape[axis], y.shape[axis] // 2

    def changed(t: Tensor) -> Tensor:
        if t.shape[:2] != next(tensors_in(ask.inputs)).shape[:2] or t.dim() < 2:
            return t
        kept_part, later = t.split([half, t.shape[axis] - half], axis)
        return torch.cat([kept_part, later.roll(1, 1 - axis)], axis)

    pairs = zip(ask(ask.inputs), ask(mapped(changed, ask.inputs)), strict=True)
    shares = [_earlier((a - b).abs(), axis, steps, half) for a, b in pairs]
    share = max(shares, default=0.0)
    text = f"when steps from {half} on change, earlier outputs move by {share:.2g} of what later ones do"
    return share > MOVED and f"{text}; limit {MOVED}"


def _earlier(moves: Tensor, axis: int, steps: int, half: int) -> float:
    if moves.dim() > 2 and moves.shape[1] != steps and moves.shape[2] == steps:  # (N, classes, steps)
        moves = moves.transpose(1, 2)
    if moves.dim() and moves.shape[0] % steps == 0 and (moves.dim() < 2 or moves.shape[axis] != steps):
        moves = moves.reshape(*((-1, steps) if axis else (steps, -1)), *moves.shape[1:])  # (N * steps, …)
    if moves.dim() < 2 or moves.shape[axis] != steps:
        return 0.0
    return (moves.narrow(axis, 0, half).max() / moves.max().clamp_min(1e-30)).item()


@rule("dropout-too-strong")
def strong_dropout(e: Evidence) -> Found:
    """No layer drops 80 %: the paper drops 20 to 50 %, and tells what is kept, 0.8 of inputs, 0.5 of units.

    Give the share to drop, not to keep: nn.Dropout(0.2).
    """
    for name, module in e.model.named_modules():
        p = module.p if isinstance(module, MODAL[1]) else getattr(module, "dropout", 0.0)
        if isinstance(p, float) and p >= 0.8:
            return name, f"{type(module).__name__} drops {p:.0%}; limit 80 %"
    model = e.training()[0]
    with preserved(model), torch.no_grad(), Listener() as heard:
        model(*mapped(torch.clone, e.batch[0]))
    most = max(heard.dropped, default=0.0)
    return most >= 0.8 and f"F.dropout drops {most:.0%}; limit 80 %"


@rule("untrained-frozen")
def untrained_frozen(e: Evidence) -> Found:
    """What is frozen has been trained: its weights don't still look as PyTorch, He or Glorot draw them.

    One step takes weights over the edge of a uniform draw, biases away from zero, BatchNorm's factors from 1.

    Load weights into the backbone before freezing it, or let it learn: requires_grad_().
    """
    groups = e.given["optimizer"].param_groups if e.given["optimizer"] else []
    own = {id(p) for group in groups for p in group["params"]} or {id(p) for p in e.model.parameters()}
    fresh, trained = list[str](), 0
    for name, module in e.model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or (weight.requires_grad and id(weight) in own):
            continue
        if isinstance(module, WEIGHTED):
            drawn = _drawn(module, len(fresh))
            fresh, trained = fresh + [name] * drawn, trained + (not drawn)
        elif isinstance(module, MODAL[0] | nn.LayerNorm):
            trained += bool((weight != 1).any())
    text = f"{len(fresh)} frozen layers have weights as they are drawn at random, {trained} have others"
    return len(fresh) > 1 and not trained and (fresh[0], f"{text}; limit 1")


def _drawn(module: Any, others: int) -> bool:
    """Return whether weights are uniform, up to the edge, or normal, with a std that initialisations have."""
    weight, bias = module.weight.detach().double(), module.bias
    fan_in, fan_out = weight[0].numel(), weight.numel() // weight.shape[1]
    fans, error = (fan_in, fan_out, (fan_in + fan_out) / 2), (2 * weight.numel()) ** -0.5
    stds = [(gain / fan) ** 0.5 for fan in fans for gain in (1 / 3, 1, 2)] + [0.01, 0.02]
    edges = [weight.abs().max().item() / (3**0.5 * std) for std in stds]
    near = any(abs(weight.std().item() / std - 1) < 4 * error for std in stds)
    bell = near and abs((weight / weight.std()).pow(4).mean().item() - 3) < 28 * error
    sure = weight.numel() > 10_000 or (bias is not None and not bias.any())
    return any(1 - 40 * error**2 < edge < 1 + 1e-6 for edge in edges) or (bell and sure)
