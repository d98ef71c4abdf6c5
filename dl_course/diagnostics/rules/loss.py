"""Rules on the loss and its gradient, before any step."""

from math import exp, inf, isfinite, log
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from dl_course.diagnostics.forward import debug_forward
from dl_course.diagnostics.rules.evidence import Evidence, operations, stepped
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.diagnostics.rules.probes import Asker
from dl_course.hooks import mapped, preserved
from dl_course.runtime import preserved_rng


@rule("loss-broadcast", "error")
def loss_broadcast(e: Evidence) -> Found:
    """The loss tells which output belongs to which label. Where outputs (N, 1) meet labels (N,), every output
    is compared with every label, and the loss stays exactly the same when labels move on by one sample.

    Give outputs and labels one shape: outputs.squeeze(1), or labels.unsqueeze(1).
    """
    outputs = e.outputs
    labels = e.batch[1]
    if not isinstance(outputs, Tensor) or not isinstance(labels, Tensor) or outputs.shape == labels.shape:
        return None
    shape = _broadcast_shape(outputs, labels)
    moved = labels.roll(1, 0)
    free = torch.rand_like(outputs)
    if len(outputs) != len(labels) or shape.numel() <= max(outputs.numel(), labels.numel()):
        return None
    with torch.no_grad():
        there, back, other = (
            e.loss_fn(free, y).item() for y in (labels, moved, labels[:1].expand_as(labels))
        )
    text = f"outputs {tuple(outputs.shape)} meet labels {tuple(labels.shape)} in {tuple(shape)}"
    rotated = abs(there - back) <= 1e-5 * abs(there)
    looks = abs(there - other) > 1e-4 * abs(there)
    return rotated and looks and f"{text}; with labels moved on by one the loss stays {there:.4g}"


def _broadcast_shape(outputs: Tensor, labels: Tensor) -> torch.Size:
    try:
        return torch.broadcast_shapes(outputs.shape, labels.shape)
    except RuntimeError:
        return torch.Size([0])


@rule("loss-is-a-sum", "info")
def sum_of_losses(e: Evidence) -> Found:
    """The loss of a batch taken twice is that of the batch, as it is with a mean; a sum has twice as much.

    Take reduction="mean", or divide by the batch's size; else the rate has to follow the size of batches.
    """
    if e.loss == 0 or not isfinite(e.loss):
        return None
    twice = mapped(lambda t: torch.cat([t, t]) if t.dim() else t, (e.outputs, e.batch[1]))
    with torch.no_grad():
        ratio = e.loss_fn(*twice).item() / e.loss
    return (
        abs(ratio - 2) < 0.02 and f"the loss of the batch taken twice is {ratio:.3g} times as large; limit 1"
    )


@rule("initial-loss")
def initial_loss(e: Evidence) -> Found:
    """Zeros cost ln C. The last layer's bias, which sees no input, may not cost as much again.

    Logits of He's initialisation have a variance of 2, which each max-pooling may double: 16 after three,
    which costs 4 on average, and up to 7, as the inputs have much in common. Limit: 8 more than zeros, or
    weights no larger than He draws them by the number of outputs.

    Initialise the last layer with small weights and a bias of 0.
    """
    nothing = e.loss_of(e.logits * 0)
    name = [*e.spreads][-1] if e.spreads else ""
    last: Any = e.model.get_submodule(name) if name else None
    bias = getattr(last, "bias", None)
    if not e.softmax_in_loss or _bottomless(e):
        return None
    if bias is not None and bias.shape == e.logits.shape[1:]:
        cost = e.loss - e.loss_of(e.logits - bias)
        if cost > nothing:
            return f"of the first loss, {e.loss:.3g}, the last bias makes {cost:.3g}; limit {nothing:.3g}"
    limit = nothing * (1 + 8 / log(e.logits.shape[1]))
    tame = bool(name) and e.spreads[name][0] < 3  # what goes into it
    usual = tame and isinstance(last, nn.Linear) and last.weight.abs().max() ** 2 <= 6 / last.out_features
    return e.loss > limit and not usual and f"the first loss is {e.loss:.3g}; limit {limit:.3g}"


def _bottomless(e: Evidence) -> bool:
    """Return whether the loss can be negative, as one weighted by advantages: then zeros cost anything."""
    free = torch.zeros_like(e.logits, requires_grad=True)
    (slope,) = torch.autograd.grad(e.loss_fn(free, e.batch[1]), free)
    return e.loss_of(-60 * slope.sign()) < 0


@rule("nonfinite-loss", "error")
def nonfinite_loss(e: Evidence) -> Found:
    """The loss is a number.

    Look there for a division by 0, a log or root of what is not above 0, a large exp; add a small eps.
    """
    note = "" if isfinite(e.loss) else debug_forward(e.training()[0], *e.batch[0]).note or "in 'loss_fn'"
    return bool(note) and (note.split("'")[1], f"the loss is {e.loss}; {note}")


@rule("nonfinite-gradients", "error")
def nonfinite_gradients(e: Evidence) -> Found:
    """The gradients of a finite loss are numbers.

    A root, norm or division has an infinite slope at 0, also inside torch.where: add a small eps under it.
    """
    bad = e.flow.index[e.flow["remark"] == "not finite"]
    return len(bad) > 0 and (bad[-1], isfinite(e.loss) and f"{len(bad)} gradients hold NaN or Inf; limit 0")


@rule("no-gradient", "error")
def no_gradient(e: Evidence) -> Found:
    """What requires a gradient gets one.

    Look for detach(), .data, item(), torch.no_grad(), and for layers that forward never calls.
    """
    none = e.flow.index[e.flow["remark"] == "none"]
    return len(none) > 0 and (none[0], f"{len(none)} of {len(e.flow)} parameters get no gradient; limit 0")


@rule("unregistered-parameters", "error")
def unregistered(e: Evidence) -> Found:
    """All that learns in the model is in model.parameters(), or the optimizer has it.

    Layers in a list or dict: nn.ModuleList, nn.ModuleDict; a tensor: nn.Parameter; another model: make it an
    attribute of this one.
    """
    model, optimizer, _ = e.training()
    with preserved(model):
        runs = [leaves(model(*mapped(torch.clone, e.batch[0]))) for _ in range(2)]
    groups = [group for each in (optimizer, e.given["optimizer"]) if each for group in each.param_groups]
    known = {id(p) for p in (*model.parameters(), *(p for group in groups for p in group["params"]))}
    again = {id(leaf) for leaf in runs[1]}  # what forward makes anew in each call isn't the same
    stray = [tuple(leaf.shape) for leaf in runs[0] if id(leaf) in again - known]
    return (
        len(stray) > 0
        and f"{len(stray)} tensors that learn are no parameters, of shapes {stray[:3]}; limit 0"
    )


def leaves(outputs: Any) -> list[Tensor]:
    """Return the tensors that autograd would give gradients to."""
    return [node.variable for node in operations(outputs) if hasattr(node, "variable")]


@rule("zero-gradient", "error")
def zero_gradient(e: Evidence) -> Found:
    """No matrix of weights has a gradient of exactly zero, now and in five steps of Adam on, but for a
    rounding of 1e-4 of the largest. (Behind a layer that starts at zero, gradients come with its first step;
    a margin that is kept costs nothing.)

    Look for a softmax or norm over an axis of length 1, a single output with cross-entropy, a factor of 0.
    """
    shapes = {name: p.dim() for name, p in e.model.named_parameters()}
    zero = [n for n in e.flow.index[e.flow["remark"] == "zero"] if shapes[n] > 1 and "weight_hh" not in n]
    if not zero or (e.loss == 0 and e.loss_of(mapped(lambda t: 10 * torch.randn_like(t), e.outputs)) != 0):
        return None
    model, _, loss_fn = e.training()
    named = dict(model.named_parameters())
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    for batch in (e.train * 6)[:6]:
        if not zero:
            return None
        stepped(model, e.few(batch), loss_fn, adam)
        norms = {name: 0.0 if p.grad is None else p.grad.norm().item() for name, p in named.items()}
        zero = [name for name in zero if norms[name] <= 1e-4 * max(norms.values())]  # but for rounding
    text = f"{len(zero)} of {len(shapes)} parameters have a gradient of exactly zero; limit 0"
    return len(zero) > 0 and (zero[0], text + " (as the loss is 0, always)" * (e.loss == 0))


@rule("gradient-mismatch")
def gradient_mismatch(e: Evidence) -> Found:
    """Autograd's slopes along a random direction are those of differences, to 1 %, or 5 times what two
    lengths of these disagree, in float64 and eval mode, at one of two places beside where the weights are:
    at an edge of ReLU there are two slopes. Two losses are 100 times their rounding apart. Left out are
    gradients made up on purpose: custom functions, straight-through estimators, several outputs.

    Part of the way from weights to loss has no gradient: look for .item(), .data, detach(), numpy, argmax.
    """
    ask = e.of(Asker)
    loss_fn = e.copies()[2]
    loss_fn = loss_fn.double() if isinstance(loss_fn, nn.Module) else loss_fn
    learning = {name: p for name, p in ask.model.named_parameters() if p.requires_grad}
    if ask.least > 1e-9 or not isinstance(e.outputs, Tensor) or not learning:
        raise Skip("needs a model that runs in float64, with a tensor as its output")
    labels = mapped(lambda t: t.double() if t.is_floating_point() else t, mapped(ask.cut, e.batch[1]))
    dice = torch.Generator().manual_seed(0)
    way = [torch.randn(p.shape, generator=dice).to(p) * p.abs().mean() for p in learning.values()]

    def loss(far: Tensor) -> Tensor:
        with preserved_rng(0), sdpa_kernel(SDPBackend.MATH):  # the fused one errs with float64's masks
            moved = {name: p.detach() + far * w for (name, p), w in zip(learning.items(), way, strict=True)}
            outputs = torch.func.functional_call(ask.model, moved, mapped(torch.clone, ask.inputs))
            return loss_fn(outputs, labels)

    for at in (1e-3, 1.7e-3):  # an edge of a ReLU may be near one of them
        here = torch.full((), at, dtype=torch.float64, device=e.device, requires_grad=True)
        with _StraightThrough() as straight:
            made = loss(here)
        own = straight.met or any(hasattr(node, "_forward_cls") for node in operations(made))
        if own or not made.requires_grad:
            raise Skip("is for gradients that are autograd's own")
        known = torch.autograd.grad(made, here, materialize_grads=True)[0].item()
        fine, error = _slope(loss, here, made)
        off = abs(fine - known) > max(0.01 * abs(fine), 0.01 * abs(known), 5 * error)
        if not off or error >= 0.01 * abs(fine):
            return None
    return f"along a direction the loss rises by {fine:.4g}, autograd says {known:.4g}"


def _slope(loss: Any, here: Tensor, made: Tensor) -> tuple[float, float]:
    """Return the slope by differences, and by how much two lengths of these disagree: inf where unsure."""
    error, fine = inf, 0.0
    for step in (1e-6, 2e-5, 5e-4):  # the larger ones where something on the way is of float32
        with torch.no_grad():
            wide, slope = ((loss(here + h) - loss(here - h)).item() / (2 * h) for h in (2 * step, step))
        sure = abs(slope) > abs(made.item()) * max(1e-6, 50 * torch.finfo(made.dtype).eps / step)
        if sure and abs(wide - slope) < error:
            error, fine = abs(wide - slope), slope
        if error < 0.002 * abs(fine):
            break
    return fine, error


class _StraightThrough(TorchFunctionMode):
    """Notes whether a value goes forward, and another one's gradient back: x + (value - x).detach(), or
    value + x - x.detach().
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = False
        self.still = dict[int, Any]()  # what stands for x without its gradient, and x

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("detach", "__get__") and isinstance(made, Tensor):
            self.still[id(made)] = made, args[0]
        elif name in ("add", "sub", "rsub", "__add__", "__radd__", "__sub__"):
            for x, other in (args[:2], args[1::-1]):
                source = self.still.get(id(other), (None, None))[1]
                self.met |= source is not None and (source is x or _less(source, x))
                self.still |= {id(made): (made, source)} if source is not None else {}
        self.met |= name == "gumbel_softmax"
        return made


def _less(source: Tensor, x: Any) -> bool:
    """Return whether x was taken away last to make the source."""
    node: Any = source.grad_fn
    known = isinstance(x, Tensor) and x.grad_fn is not None and "Sub" in type(node).__name__
    return known and any(each is x.grad_fn for each, _ in node.next_functions)


def _growth(e: Evidence, figures: Any = None) -> tuple[str, float]:
    """Return ln of (gradient / weight at the first layer, over that at the last), by a line through all."""
    rows = [name for layer in e.spreads if (name := f"{layer}.weight") in e.flow.index]
    figures = e.flow["ratio"] if figures is None else figures
    ratio = figures.loc[rows].loc[lambda r: (r > 0) & np.isfinite(r)]
    steep = np.polyfit(np.arange(len(ratio)), np.log(ratio), 1)[0] if len(ratio) > 2 else 0.0
    return (rows or [""])[0], -steep * (len(ratio) - 1)


@rule("vanishing-gradients")
def vanishing(e: Evidence) -> Found:
    """In proportion to the weights, the first layer's gradient is no 1000 times smaller than the last one's.

    With that it needs 1000 steps for one of the last layer's. (Gradient times weight is 30 times smaller,
    too: that stays the same where a layer has small weights and a factor behind it.)

    Take ReLU for sigmoid or tanh, He's initialisation, BatchNorm, or shortcuts.
    """
    where, growth = _growth(e)
    product = _growth(e, e.flow["gradient"] * e.flow["weight"])[1]
    return where, growth < -log(1000) and product < -log(
        30
    ) and f"its gradient / weight is {exp(growth):.2g} of the last one's; limit 0.001"


@rule("exploding-gradients")
def exploding(e: Evidence) -> Found:
    """In proportion to weights, the first layer's gradient is no 1000 times larger, nor that of any layer of
    several its weights.

    Take He's initialisation or BatchNorm; clip the gradient's norm to 1.
    """
    where, growth = _growth(e)
    flow = e.flow.loc[[f"{name}.weight" for name in e.spreads if f"{name}.weight" in e.flow.index]]
    largest = flow.loc[flow["weight"] > 0, "ratio"].max() if len(flow) > 1 else 0.0
    worst = max(exp(growth), largest if isfinite(largest) else 0)
    return (
        where,
        worst > 1000
        and f"gradient / weight is {largest:.2g}, or {exp(growth):.2g} of the last one's; limit 1000",
    )
