"""Rules on labels, beside what comes out of the model and what the loss makes of both."""

from math import inf, isfinite, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_course.diagnostics.rules.evidence import Evidence, operations
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.hooks import mapped

SHAPING = {
    "View", "UnsafeView", "Squeeze", "Unsqueeze", "Permute", "Transpose", "T", "Clone", "Slice", "Select",
    "Expand", "ToCopy", "Alias",
}  # fmt: skip
RANGES = {
    "Relu": (0, inf), "Sigmoid": (0, 1), "Tanh": (-1, 1), "Softmax": (0, 1), "Softplus": (0, inf),
    "Exp": (0, inf), "Abs": (0, inf), "Hardsigmoid": (0, 1),
}  # fmt: skip


def _tensors(e: Evidence) -> tuple[Tensor, Tensor]:
    """Return (outputs, labels) of the batch; Skip where they are not a tensor each."""
    outputs = e.outputs
    labels = e.batch[1]
    if not isinstance(outputs, Tensor) or not isinstance(labels, Tensor) or not labels.dim():
        raise Skip
    return outputs.detach(), labels


def _in_units(e: Evidence) -> tuple[Tensor, Tensor]:
    """Return (outputs, labels as such outputs) where these are what the loss asks for; else Skip."""
    outputs, labels = _tensors(e)
    if not labels.is_floating_point() or labels.numel() != outputs.numel():
        raise Skip
    return outputs, labels.reshape(outputs.shape).to(outputs.dtype)


def last_operation(node: Any) -> tuple[Any, str]:
    """Return the last operation but for those that change the shape, and its name in autograd."""
    while (kind := type(node).__name__.partition("Backward")[0]) in SHAPING and node.next_functions[0][0]:
        node = node.next_functions[0][0]
    return node, kind


def softmax_axis(node: Any) -> int:
    """Return the axis of a softmax, from 0 on; autograd keeps -1 as 2**64 - 1."""
    axis = node._saved_dim
    dims = node._saved_result.dim()
    return (axis - 2**64 if axis >= 2**63 else axis) % dims


@rule("labels-constant", "error")
def constant_labels(e: Evidence) -> Found:
    """Labels differ; those of a binary loss by 1 % of its range from 0 to 1 at least. (Where the loss sees
    none, they don't matter.)

    Look at what is read: ToTensor, or / 255, makes zeros of a mask's classes; a filter may keep one class.
    """
    outputs = _tensors(e)[0]
    binary = _binary(e)
    places = [("training labels", e.train_loader, e.train)]
    places += (
        [("validation labels", e.given["val_loader"], e.val)] if e.given["val_loader"] is not None else []
    )
    for name, loader, taken in places:
        y = torch.cat([part.flatten() for _, part in taken if isinstance(part, Tensor)])
        alike = (y.max() - y.min()).item() <= (0.01 if binary else 0.0)
        residual = y.is_floating_point() and not binary and not y.any()  # of an equation: to be made 0
        if len(y) > 1 and alike and not residual and not _others_in_store(loader, y) and _matters(e, outputs):
            return name, f"all {len(y)} {name} are {y[0].item():.3g}; limit 2 of them"
    return None


def _matters(e: Evidence, outputs: Tensor) -> bool:
    """Return whether the loss looks at labels at all: not all the same 0, or 1."""
    labels = e.batch[1]
    with torch.no_grad():
        zeros, ones = (e.loss_fn(outputs, torch.full_like(labels, value)).item() for value in (0, 1))
    return abs(zeros - ones) > 1e-6 * abs(zeros)


def _others_in_store(loader: Any, y: Tensor) -> bool:
    """Return whether labels of the data set, beyond those looked at, are others: then they come sorted."""
    store: Any = getattr(loader, "dataset", None)
    if not hasattr(store, "__getitem__") or not hasattr(store, "__len__") or len(store) <= len(y):
        return False
    rows = [store[i] for i in torch.linspace(0, len(store) - 1, 32).long().tolist()]
    return any(bool((torch.as_tensor(row[-1]) != y[0]).any()) for row in rows)


def _binary(e: Evidence) -> bool:
    """Return whether the loss is binary cross-entropy, as autograd names it."""
    return "BinaryCrossEntropy" in " ".join(loss_operations(e))


def loss_operations(e: Evidence) -> list[str]:
    """Return the names, in autograd, of what the loss does with outputs."""
    return [type(node).__name__ for node in _loss_graph(e)]


def _loss_graph(e: Evidence) -> list[Any]:
    free = mapped(lambda t: t.detach().clone().requires_grad_(t.is_floating_point()), e.outputs)
    return operations(e.loss_fn(free, e.batch[1]))


def saying(e: Evidence) -> list[Tensor]:
    """Return outputs that say the labels, 1 for what is right and 0 for the rest: labels from 0 to 1 as they
    are; of classes, along the first axis or the last, also of the next token's.
    """
    outputs, y = _tensors(e)
    if y.is_floating_point():
        fits = y.numel() == outputs.numel() and y.min() >= 0 and y.max() <= 1
        return [y.reshape(outputs.shape).to(outputs)] * bool(fits)
    found = list[Tensor]()
    for axis in {1, outputs.dim() - 1} if outputs.dim() > 1 else ():
        classes = outputs.shape[axis]
        if outputs.movedim(axis, -1).shape[:-1] == y.shape and y.max() < classes:
            for each in (y, y.roll(-1, 1)) if y.dim() == 2 else (y,):
                found.append(F.one_hot(each.clamp_min(0), classes).movedim(-1, axis).to(outputs))
    return found


@rule("label-noise")
def wrong_answers(e: Evidence) -> Found:
    """With a loss that applies softmax, outputs that say the labels, at some size, cost 0.7 of what zeros do,
    at most; or their opposite does, where outputs are distances.

    A view or reshape before the loss puts outputs beside labels of others: move classes to the end first, by
    permute. Or mend the sign of the loss.
    """
    outputs, labels = _tensors(e)
    if labels.is_floating_point() or not e.softmax_by_sample(outputs) or not (right := saying(e)):
        return None
    nothing = e.loss_of(0 * outputs)
    right = right if nothing > 0 else right[:1]  # below zero, wrong answers may be paid without end
    best, worst = (
        min(e.loss_of(k * s * said) for said in right for k in (3, 6, 12, 60, 600)) for s in (1, -1)
    )
    distances = 0 <= worst < 0.7 * nothing
    paid = best > (0.7 if nothing > 0 else 1.3) * nothing + 1e-6 * abs(nothing)
    return (
        not distances
        and paid
        and f"outputs that say the labels cost {best:.3g} at least, zeros {nothing:.3g}"
    )


@rule("labels-out-of-range", "error")
def blanks(e: Evidence) -> Found:
    """CTC's blank is a class of its own, and no label.

    Count labels from 1 on, with one output more, where blank is 0.
    """
    node = next((node for node in _loss_graph(e) if type(node).__name__.startswith("CtcLoss")), None)
    if node is None:
        return None
    y: Tensor = node._saved_targets
    lengths = torch.as_tensor(node._saved_target_lengths)
    y = y[torch.arange(y.shape[1]) < lengths[:, None]] if y.dim() == 2 else y
    wrong = int((y == node._saved_blank).sum())
    return wrong > 0 and f"{wrong} of {y.numel()} labels are {node._saved_blank}, which is the blank; limit 0"


@rule("labels-out-of-range", "error")
def labels_out_of_range(e: Evidence) -> Found:
    """Each class has an output, and a loss of classes gets whole numbers.

    Classes are 0 … C - 1: subtract 1 where they count from 1, map unknown ones, call .long() on floats.
    """
    outputs = e.outputs
    y = e.targets
    if not isinstance(outputs, Tensor) or outputs.dim() != y.dim() + 1 or outputs.shape[1] < 2:
        return None
    if y.is_floating_point():
        whole = e.batch[1].long().clamp(0, outputs.shape[1] - 1)
        only = _refused(e, e.batch[1]) and not _refused(e, whole)
        return only and f"labels are {y.dtype}, the loss takes whole numbers alone"
    if outputs.dim() > 2 and not _refused(e, torch.full_like(e.batch[1], outputs.shape[1])):
        return None  # its classes are along another axis
    wrong = y[((y < 0) | (y >= outputs.shape[1])) & (y != getattr(e.loss_fn, "ignore_index", -100))]
    which = wrong.unique().tolist()[:5]
    last = outputs.shape[1] - 1
    return len(wrong) > 0 and f"{len(wrong)} of {len(y)} labels are {which}; outputs are for 0 to {last}"


def _refused(e: Evidence, labels: Tensor) -> bool:
    try:
        with torch.no_grad():
            return not e.loss_fn(e.outputs, labels).isfinite()
    except (RuntimeError, TypeError, ValueError, IndexError):
        return True


@rule("labels-out-of-range", "error")
def binary_labels_out_of_range(e: Evidence) -> Found:
    """Labels of a binary loss are from 0 to 1; beyond, it has no floor: the larger the outputs, the lower.

    Subtract 1 from labels that are 1 and 2, map -1 to 0, divide a mask of 0 and 255 by 255.
    """
    outputs, labels = _tensors(e)
    wrong = (labels < 0) | (labels > 1)
    if not wrong.any() or not _binary(e):
        return None
    free = outputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(e.loss_fn(free, labels), free)
    bounded = type(e.graph[0]).__name__.startswith(("Sigmoid", "Softmax"))  # the loss takes probabilities
    low, lower = (e.loss_of((slope < 0).to(free) if bounded else -far * slope.sign()) for far in (30, 60))
    found = low < 0 and (bounded or lower < 1.5 * low or low < -3)
    text = f"{wrong.sum()} of {labels.numel()} labels are {labels[wrong].unique().tolist()[:3]}, not 0 to 1"
    return bool(found) and f"{text}; the loss can be {lower:.3g}"


@rule("labels-scale")
def scale_of_labels(e: Evidence) -> Found:
    """Labels that outputs are to equal have a size (root mean square) below 100, or outputs start near it.

    Adam moves a bias by its rate a step: at 0.001 it takes 100,000 steps to 100.

    Train on (y - mean) / std, or on log(y), and turn predictions back.
    """
    outputs, y = _in_units(e)
    size, starts = (t.double().square().mean().sqrt().item() for t in (y, outputs))
    asked = e.loss_of(y.view_as(outputs)) < 0.01 * e.loss_of(0 * outputs)
    text = f"labels have a size of {size:.3g}, outputs of {starts:.2g}; limit 100"
    return asked and size > 100 * max(1.0, starts) and text


@rule("output-range", "error")
def output_range(e: Evidence) -> Found:
    """The last activation can reach the labels: 5 % may lie beyond what a ReLU, sigmoid or tanh gives; rows
    that sum to one are for labels that do.

    Take the last activation out of the model, or bring the labels into its range.
    """
    outputs, y = _in_units(e)
    node, kind = last_operation(e.graph[0])
    if kind == "Hardtanh":
        RANGES[kind] = node._saved_min_val, node._saved_max_val
    if kind not in RANGES:
        return None
    low, high = RANGES[kind]
    beyond = (y < low - 1e-3) | (y > high + 1e-3)
    near = y.clamp(low + 1e-6, high - 1e-6)
    if kind == "Softmax" and y.shape == node._saved_result.shape:
        sums = y.sum(softmax_axis(node), keepdim=True)
        beyond = beyond | ((sums - 1).abs() > 1e-3)
        near = near / sums.clamp_min(1)
    share = beyond.double().mean().item()
    text = (
        f"{share:.0%} of labels, {y.min():.3g} to {y.max():.3g}, are out of reach of the last {kind.lower()}"
    )
    return share > 0.05 and e.loss_of(y) < e.loss_of(near) and f"{text}; limit 5 %"


@rule("class-imbalance")
def class_imbalance(e: Evidence) -> Found:
    """The rarest class is at most 10 times rarer, as the loss weighs it; where counts err by 2 standard
    deviations: 4 times.

    Weigh the loss or the sampling by 1 / frequency, and judge by the recall of each class.
    """
    classes, counts = e.labels[e.labels >= 0].unique(return_counts=True)
    least, most = counts.min().item(), counts.max().item()
    rare, common = classes[counts.argmin()], classes[counts.argmax()]
    weight = _weight(e, rare, common) if most >= 10 * least else 1.0
    sure = most >= 10 * weight * least and most - 2 * sqrt(most) > 4 * weight * (least + 2 * sqrt(least) + 2)
    where = f"class {rare}"
    return where, sure and f"{least} samples of {where}, {most} of the commonest; limit 10 times"


def _weight(e: Evidence, rare: Tensor, common: Tensor) -> float:
    """Return how many times as much as a sample of the common class one of the rare class moves outputs."""
    outputs, labels = _tensors(e)
    half = len(labels) // 2
    y = torch.cat([torch.zeros_like(labels[:half]) + common, torch.zeros_like(labels[half:]) + rare])
    free = torch.zeros_like(outputs, requires_grad=True)
    (slope,) = torch.autograd.grad(e.loss_fn(free, y.to(labels.dtype)), free)
    slopes = slope.abs().flatten(1).sum(1)
    weight = (slopes[half:].mean() / slopes[:half].mean()).item()
    return weight if isfinite(weight) else 1.0


@rule("unshuffled-training")
def unshuffled(e: Evidence) -> Found:
    """Classes follow each other by chance: a sample some places on has the same one not half-way from that to
    always. (Copies of a picture may come in a row: up to 16 places, a quarter of what a class has, are left.)

    Give the training loader shuffle=True.
    """
    y = e.labels
    counts = e.labels.unique(return_counts=True)[1]
    if len(y) < 32:
        raise Skip("needs 32 samples")
    if len(counts) == 1:
        others = _others_in_store(e.train_loader, y)
        return others and f"all of the first {len(y)} have the same class, and others come later"
    chance = (counts / len(y)).square().sum().item()
    lag = max(1, min(16, len(y) // len(counts) // 4))
    same = (y[lag:] == y[:-lag]).double().mean().item()
    limit = (1 + chance) / 2
    surely = same - chance > 6 * sqrt(chance * (1 - chance) / len(y))
    return same > limit and surely and f"{same:.0%} have the class of that {lag} before; limit {limit:.0%}"
