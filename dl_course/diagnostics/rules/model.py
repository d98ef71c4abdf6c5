"""Rules on the model: how it is built, and what comes out of it before any training."""

import re
from itertools import accumulate
from math import isfinite, prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from dl_course.diagnostics.activations import relu_activity
from dl_course.diagnostics.rules.evidence import BATCH, Evidence, below
from dl_course.diagnostics.rules.finding import Found, rule
from dl_course.diagnostics.rules.labels import SHAPING, last_operation, loss_operations, saying, softmax_axis
from dl_course.diagnostics.rules.practice import MODAL, flags_met
from dl_course.hooks import mapped, tensors_in
from dl_course.kept import kept

BENDING = "elu|Elu|ilu|anh|igmoid|Softplus|wish|Mish|Where|Clamp|imum|Abs|Exp[BM]|LogB|Sin|Cos|Erf|Pow|Glu|"
BENDING += "Thresh|Rnn|Lstm|Gru"  # in autograd's names of operations
LINEAR = ("Addmm", "Mm", "Convolution", "Linear")


@rule("output-width", "error")
def output_width(e: Evidence) -> Found:
    """As many outputs as classes.

    Too many: each class is met 10 times, and the last outputs never. Were they as frequent as the rarest,
    one would be unseen by chance with exp(-10).
    Too few: labels beyond are a third as frequent as others at least; else they are strays, out of range.

    Give the last layer one output a class.
    """
    y = e.labels
    width = e.logits.shape[1]
    counts = y[y >= 0].bincount().double()
    few = len(counts) > width and counts.min() > 0 and counts[width:].mean() > counts.median() / 3
    many = len(counts) < width and counts.min() >= 10 and e.softmax_in_loss
    return bool(few or many) and f"{width} outputs, but labels of {len(counts)} classes"


@rule("output-activation", "error")
def output_activation(e: Evidence) -> Found:
    """Logits go as they are into a loss that applies softmax or sigmoid; log-probabilities into NLLLoss and
    KLDivLoss.

    Take the activation at the end out of the model, or take the loss that belongs to it.
    """
    if not isinstance(e.outputs, torch.Tensor):
        return None
    used = " ".join(loss_operations(e))
    sigmoid = "BinaryCrossEntropyWithLogits" in used
    divergence = isinstance(e.loss_fn, nn.KLDivLoss) or e.loss_fn is F.kl_div
    if ("NllLoss" in used and not re.search(r"\bLog", used)) or divergence:
        last = e.outputs.shape[:-1] == e.batch[1].shape
        off = (e.outputs.exp().sum(-1 if last else 1) - 1).abs().max()
        return bool(off > 1e-3) and "the loss takes log-probabilities; exp(outputs) do not sum to one"
    if not sigmoid and not ("LogSoftmax" in used if e.outputs.dim() > 2 else e.softmax_in_loss):
        return None
    low = e.outputs.min()
    high = e.outputs.max()
    (node, last) = last_operation(e.graph[0])
    if last == "Softmax" and softmax_axis(node) == 0:  # over the batch: samples-mixed
        return None
    ends = last.startswith(("Softmax", "Sigmoid", "Tanh", "Relu", "Hardtanh", "Clamp"))
    sums = e.outputs.shape[-1] > 1 and low >= 0 and (e.outputs.sum(-1) - 1).abs().max() < 1e-3
    made = sums and not last.startswith(
        ("Addmm", "Mm", "Convolution", "Linear")
    )  # weights sum to 1 by chance
    return bool(ends or made) and f"outputs from {low:.3g} to {high:.3g} come out of {last}"


@rule("output-activation", "error")
def probabilities_wanted(e: Evidence) -> Found:
    """A loss of labels from 0 to 1 takes probabilities, as Dice's does, where it is about 0 when outputs are
    the labels, and falls below that when they are twice as large.

    Put a sigmoid, or a softmax over classes, between the model and this loss.
    """
    right = saying(e)
    low, high = e.outputs.min(), e.outputs.max()
    if low > -1e-3 and high < 1 + 1e-3:
        return None
    nothing = e.loss_of(0 * e.outputs)
    costs = [(e.loss_of(said), e.loss_of(2 * said)) for said in right]
    falls = any(abs(once) < 0.05 * nothing and twice < once - 0.05 * nothing for once, twice in costs)
    return falls and f"the loss takes probabilities; outputs are from {low:.3g} to {high:.3g}"


@rule("bad-initialisation", "error")
def bad_initialisation(e: Evidence) -> Found:
    """Units have weights of their own, and layers keep the signal: how much samples differ in it.

    PyTorch's own initialisation loses a factor of 0.58 in a layer's weights, He's gains 1.41. Limits: in all
    1000 times less, by weights' doing, 0.3 a layer; or 30 times more (such logits make any softmax 0 or 1),
    2 a layer. What normalisation mends is no fault.

    Draw the weights anew, at random: PyTorch's default, or He's for ReLU (models.kaiming_init).
    """
    layers: dict[str, Any] = {name: e.model.get_submodule(name) for name in e.spreads}
    for name, layer in list(layers.items())[:-1]:
        weight = layer.weight
        learns = getattr(layer, "groups", 1) == 1 and len(layer.weight) > 1
        alike = learns and weight.requires_grad and bool((weight == weight[:1]).all())
        if alike and (weight.any() or e.flow.loc[f"{name}.weight", "gradient"] == 0):
            return name, "all its units have the same weights, so they stay alike"
    kept = [(name, *pair) for name, pair in e.spreads.items() if layers[name].weight.any() and min(pair) > 0]
    if not kept or not isfinite(prod(pair[1] for pair in kept)) or e.loss < 0.9 * e.alike:  # it has learnt
        return None
    name = kept[-1][0]
    change = kept[-1][2] / kept[0][1]
    weights = prod(out / into for _, into, out in kept)
    lost, gained = change < 1e-3 and weights < 0.3 ** len(kept), change > 30 and weights > 2 ** len(kept)
    return name, (lost or gained) and f"samples differ {change:.2g} times as much as inputs; 0.001 to 30"


@rule("missing-nonlinearity")
def missing_nonlinearity(e: Evidence) -> Found:
    """Between two layers something bends: without, they are one linear layer. (Pooling does not count, and a
    linear recurrence, which calls its layers again and again, is none of them.)

    Put an activation, such as nn.ReLU(), after every layer but the last.
    """
    names = [type(node).__name__ for node in e.graph]
    linear = sum(name.startswith(LINEAR) for name in names)
    inside = [_attends(name) for name in names[1:]]  # at the end a softmax bends nothing
    bends = any(re.search(BENDING, n) or not n[-1].isdigit() for n in names if "AccumulateGrad" not in n)
    straight = 1 < linear <= 2 * len(e.spreads) and not bends and (not any(inside) or _unbent_pair(e.graph))
    return straight and f"{linear} linear layers or convolutions, and no activation at all"


def _unbent_pair(graph: list[Any]) -> bool:
    """Whether a linear layer behind attention goes straight into the next, as in a block without its GELU.

    Projections before attention do so, too, and are fine: of queries and keys the softmax bends the product.
    """
    linear = [node for node in graph if type(node).__name__.startswith(LINEAR)]
    for first in [source for node in linear for source in _sources(node, LINEAR)]:
        ends_attention = bool(_sources(first, ("Bmm", "Scaled")))
        if not ends_attention and any(_attends(type(node).__name__) for node in below([first])):
            return True
    return False


def _attends(name: str) -> bool:
    return "Softmax" in name or "Attention" in name


def _sources(node: Any, kinds: tuple[str, ...]) -> list[Any]:
    """Return the operations of these kinds that a node takes inputs from, past shapes and dropout alone."""
    found = []
    pending = [before for before, _ in node.next_functions if before is not None]
    while pending:
        before = pending.pop()
        name = type(before).__name__
        if name.startswith(kinds):
            found.append(before)
        elif name.partition("Backward")[0] in SHAPING | {"Mul"}:
            pending += [each for each, _ in before.next_functions if each is not None]
    return found


@rule("dead-units")
def dead_units(e: Evidence) -> Found:
    """Of units that are always on or always off half are off by chance: not 2 standard deviations more, where
    those are four fifths of all units (two thirds, where fewer are left than there are outputs), not all.

    Lower the learning rate, mend biases and initialisation; or take LeakyReLU or GELU.
    """
    layers = any(isinstance(module, nn.ReLU | nn.ReLU6) for module in e.model.modules())
    if not layers and not any(type(node).__name__.startswith(("Relu", "Hardtanh")) for node in e.graph):
        return None
    pieces = [e.few(batch) for batch in e.train[: 4 * BATCH]]
    sizes = accumulate(len(next(tensors_in(piece))) for piece in pieces)
    few = pieces[: 1 + sum(size < 4 * e.size for size in sizes)]
    for name, (counts, places) in relu_activity(e.training()[0], few).items():
        units = len(counts)
        dead = int((counts == 0).sum())
        on = int((counts == places).sum())
        share = 2 / 3 if units - dead < [1, *next(tensors_in(e.outputs)).shape][-1] else 4 / 5
        limit = min(units, max(share * units, (dead + on) / 2 + (dead + on) ** 0.5))
        if dead >= limit:
            return name, f"{dead} of {units} units are 0 for all inputs looked at; limit {limit:.0f}"
    return None


@rule("saturated-units")
def saturated_units(e: Evidence) -> Found:
    """At most half the outputs of a sigmoid or tanh inside the model are within 1 % of the ends of its range.

    Inputs of variance 1, as Xavier's initialisation makes them, bring 2 % of tanh's there, none of sigmoid's.
    Once learning has halved the loss of one answer for all, units may be as sure as that.

    Make what goes in smaller: normalise inputs, initialise by Xavier's rule; or take ReLU.
    """
    if e.loss < 0.5 * e.alike:
        return None
    for node in reversed(e.graph[1:]):
        kind = type(node).__name__.partition("B")[0]
        if kind in ("Tanh", "Sigmoid"):
            output = node._saved_result if kind == "Tanh" else 2 * node._saved_result - 1
            share = (output.abs() > 0.98).double().mean().item()
            if share > 0.5:
                return kind.lower(), f"{share:.0%} of {output[0].numel()} units are at the ends; limit 50 %"
    return None


@rule("batchnorm-small-batch")
def small_batches(e: Evidence) -> Found:
    """BatchNorm divides by the batch's own std, of which 1 or 2 samples say nothing.

    Take batches of 8 at least, or GroupNorm.
    """
    norms = [name for name, module in e.model.named_modules() if isinstance(module, MODAL[0])]
    size = sorted(e.sizes)[len(e.sizes) // 2]
    text = f"batches of {size} for {len(norms)} BatchNorm layers; limit 3"
    return bool(norms) and (norms[0], size <= 2 and text)


@rule("wrong-mode")
def wrong_mode(e: Evidence) -> Found:
    """BatchNorm's running statistics follow the data, and not the last batch alone: momentum above 0 and
    below 1, not frozen before the first batch.

    Train in train mode: set BatchNorm's flags and momentum back.
    """
    for name, module in e.model.named_modules():
        if isinstance(module, MODAL[0]):
            new = e.model.training and not module.training and module.num_batches_tracked == 0
            if module.momentum in (0, 1) or new or not module.track_running_stats:
                return name, f"its statistics are none of the data: {module}, training={module.training}"
    return None


@rule("wrong-mode")
def wrong_mode_in_steps(e: Evidence) -> Found:
    """train_step runs the model, as given, in train mode; eval_step, after training, in eval mode.

    Call model.train() before each epoch of training, model.eval() before each evaluation.
    """
    if e.given["train_step"] and e.given["optimizer"] and True not in (e.standing.flags or {True}):
        return "train_step runs the model in eval mode"
    eval_step = e.need("eval_step")
    with kept(e.model, eval_step), flags_met(e.model) as flags:
        if not e.model.training:
            e.model.train()
        eval_step(e.model, mapped(torch.clone, e.whole))
    return True in flags and "eval_step runs the model in train mode: dropout is on, BatchNorm learns"
