"""Rules on the loss and its gradient, before any step."""

from math import exp, isfinite, log
from typing import Any

import numpy as np

from dl_course.diagnostics.forward import debug_forward
from dl_course.diagnostics.rules.evidence import Evidence
from dl_course.diagnostics.rules.finding import Found, rule


@rule("initial-loss")
def initial_loss(e: Evidence) -> Found:
    """Zeros cost ln C. The last layer's bias, which sees no input, may not cost as much again.

    Logits of He's initialisation have a variance of 2, which each max-pooling may double: 16 after three,
    which costs 4 on average, and up to 7, as the inputs have much in common. Limit: 8 more than zeros.

    Initialise the last layer with small weights and a bias of 0.
    """
    nothing = e.loss_of(e.logits * 0)
    last: Any = e.model.get_submodule([*e.spreads][-1]) if e.spreads else None
    bias = getattr(last, "bias", None)
    if not e.softmax_in_loss:
        return None
    if bias is not None and bias.shape == e.logits.shape[1:]:
        cost = e.loss - e.loss_of(e.logits - bias)
        if cost > nothing:
            return f"of the first loss, {e.loss:.3g}, the last bias makes {cost:.3g}; limit {nothing:.3g}"
    limit = nothing * (1 + 8 / log(e.logits.shape[1]))
    return e.loss > limit and f"the first loss is {e.loss:.3g}; limit {limit:.3g}"


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


def _growth(e: Evidence) -> tuple[str, float]:
    """Return ln of (gradient / weight at the first layer, over that at the last), by a line through all."""
    rows = [name for layer in e.spreads if (name := f"{layer}.weight") in e.flow.index]
    ratio = e.flow.loc[rows, "ratio"].loc[lambda r: (r > 0) & np.isfinite(r)]
    steep = np.polyfit(np.arange(len(ratio)), np.log(ratio), 1)[0] if len(ratio) > 2 else 0.0
    return (rows or [""])[0], -steep * (len(ratio) - 1)


@rule("vanishing-gradients")
def vanishing(e: Evidence) -> Found:
    """In proportion to the weights, the first layer's gradient is no 1000 times smaller than the last one's.

    With that it needs 1000 steps for one of the last layer's.

    Take ReLU for sigmoid or tanh, He's initialisation, BatchNorm, or shortcuts.
    """
    where, growth = _growth(e)
    return where, growth < -log(
        1000
    ) and f"its gradient / weight is {exp(growth):.2g} of the last one's; limit 0.001"


@rule("exploding-gradients")
def exploding(e: Evidence) -> Found:
    """In proportion to weights, the first layer's gradient is no 1000 times larger, nor any its weight.

    Take He's initialisation or BatchNorm; clip the gradient's norm to 1.
    """
    where, growth = _growth(e)
    largest = e.flow.loc[e.flow["weight"] > 0, "ratio"].max()
    worst = max(exp(growth), largest if isfinite(largest) else 0)
    return (
        where,
        worst > 1000
        and f"gradient / weight is {largest:.2g}, or {exp(growth):.2g} of the last one's; limit 1000",
    )
