"""Rules on the optimizer and the training step."""

from itertools import cycle, islice
from math import hypot

import torch

from dl_course.diagnostics.rules.evidence import Evidence
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.diagnostics.rules.practice import Practice, distance
from dl_course.hooks import mapped, tensors_in


@rule("frozen-parameters", "error")
def out_of_reach(e: Evidence) -> Found:
    """Something requires a gradient, and the optimizer has all that does.

    Make the optimizer after the model, of model.parameters(); requires_grad_() what shall learn.
    """
    learning = {name: p for name, p in e.model.named_parameters() if p.requires_grad}
    moved = {id(p) for group in e.need("optimizer").param_groups for p in group["params"]}
    left = [name for name, p in learning.items() if id(p) not in moved]
    text = (
        f"{len(left)} of {len(learning)} parameters that require a gradient are not in the optimizer; limit 0"
    )
    return (left[0], text) if left else not learning and "no parameter requires a gradient"


@rule("frozen-parameters", "info")
def frozen(e: Evidence) -> Found:
    """Not most of the network is frozen.

    Right for a backbone that was trained; else call requires_grad_() on it.
    """
    still, total = (
        sum(p.numel() for p in e.model.parameters() if keep or not p.requires_grad) for keep in (0, 1)
    )
    return total / 2 < still < total and f"{still:,} of {total:,} weights do not learn; limit half"


@rule("no-zero-grad", "error")
def no_zero_grad(e: Evidence) -> Found:
    """An update made twice has the same gradient twice, not the sum.

    Call optimizer.zero_grad() in every step, before loss.backward().
    """
    norms = e.standing.norms
    if len(norms) < 2 or norms[0] == 0:
        raise Skip("needs a train_step that calls optimizer.step()")
    return (
        norms[1] > 1.5 * norms[0]
        and f"the second gradient is {norms[1] / norms[0]:.3g} times the first; limit 1.5"
    )


@rule("no-update", "error")
def no_update(e: Evidence) -> Found:
    """Where there are gradients, an update moves weights.

    Call optimizer.step() after loss.backward(); give the optimizer a rate above 0.
    """
    moves = any(e.moving.moved) if e.given["train_step"] else e.plain != 0  # NaN, too, has moved
    return not moves and (e.flow["gradient"] > 0).any() and "no weight moves, though there are gradients"


@rule("accumulation-lost", "error")
def accumulation_lost(e: Evidence) -> Found:
    """All samples since the last update have a say in the next: its gradient is another when half of those in
    the first micro-batches are replaced.

    Call zero_grad() right after step(), not in every micro-batch.
    """
    calls = e.standing.updates
    if len(calls) < 2 or not e.standing.norms[1]:
        raise Skip("needs a train_step that calls optimizer.step()")
    several = calls[1] - calls[0] > 1
    half = len(next(tensors_in(e.batch))) // 2
    other = e.as_given(mapped(lambda t: torch.cat([t[-half:], t[half:]]) if t.dim() and half else t, e.batch))
    order = [e.whole if several and call == calls[1] else other for call in range(calls[1] + 1)]
    run = Practice(e, moves=False).run(order, lambda p: len(p.updates) == 2)
    off = distance(run.gradients, e.standing.gradients) / e.standing.norms[1]
    which = f"all but the last of {calls[1] - calls[0]} micro-batches" if several else "half of the batch"
    return run.updates == calls and off < 1e-5 and f"the gradient stays the same when {which} are replaced"


@rule("loss-is-a-sum", "info")
def summed_gradients(e: Evidence) -> Found:
    """Several micro-batches give an update the mean of their gradients: with the same one each time, that of
    one. Their sum is as many times as large.

    Divide each loss by the number of micro-batches; else the rate has to follow it.
    """
    calls = e.standing.updates
    several = calls[1] - calls[0] if len(calls) > 1 else 1
    alone = hypot(*e.flow["gradient"].fillna(0))
    summed = several > 1 and abs(e.standing.norms[1] - several * alone) < 0.25 * several * alone
    return summed and f"the gradient of {several} micro-batches alike is {several} times that of one; limit 1"


@rule("step-too-small")
def step_too_small(e: Evidence) -> Found:
    """At the same rate, train_step moves weights by a 300th of what a plain step does, or more: the norm of
    gradients is seldom above 100 in a fresh network, so that clipping it to 1 leaves a 100th.

    Unscale gradients before they are clipped (scaler.unscale_), and clip to a norm of about 1.
    """
    practice = e.moving
    if not practice.updates or not practice.rates[0] or not e.plain:
        raise Skip("needs a train_step that calls optimizer.step()")
    ratio = practice.moved[0] / practice.rates[0] * e.peaks[0] / e.plain
    return 0 < ratio < 1 / 300 and f"weights move {ratio:.2g} as far as in a plain step; limit 1/300"


@rule("schedule-too-fast")
def schedule_too_fast(e: Evidence) -> Found:
    """In the later half of the first epoch the rate is above 2 % of the highest it had; a schedule that ends
    with this epoch has half of it left in the middle, and one that falls to 1/1000 by equal factors 3 %. It
    does not fall to a tenth and rise again within this epoch: warm restarts come after an epoch or more.

    Call scheduler.step() once an epoch, or give the schedule the number of batches.
    """
    e.need("train_step")
    epoch = len(e.train_loader) if hasattr(e.train_loader, "__len__") else len(e.train)
    pieces = [e.as_given(e.few(batch)) for batch in e.train]
    still = lambda p: len(p.updates) > 8 and not p.schedules and len(set(p.rates)) == 1  # noqa: E731
    rates = Practice(e, peak=False).run(islice(cycle(pieces), epoch), still).rates
    if len(rates) < 8:
        raise Skip("needs an epoch of 8 updates")
    half = len(rates) // 2
    most = max(rates)
    top = [rate > 0.9 * most for rate in rates].index(True)
    low = top + [rate < 0.1 * most for rate in (*rates[top:], 0.0)].index(True)
    if max(rates[low:], default=0.0) > 0.9 * most:
        return f"in one epoch the rate falls from {most:.2g} to {min(rates[low:]):.2g} and is up again"
    text = f"after {half} of an epoch's {epoch} steps the rate is {rates[half]:.2g}, it was {most:.2g}"
    return max(rates[half:]) < 0.02 * most and f"{text}; limit 2 %"
