"""Rules on a short trial, on copies: can it learn, and at this rate?"""

from functools import partial
from math import inf, isfinite
from statistics import mean
from time import thread_time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dl_course.diagnostics.rules.evidence import STEPS, Evidence, joined, mean_answer, operations, stepped
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.hooks import mapped, tensors_in

# Adam's rate, and whether it follows what pulls all samples the same way. That is served first, and can
# leave units at their limits, with hundreds of steps to come back. Without it for ALONE steps, and then with
# a LITTLE of it, networks tell samples apart at once; yet most need no such care.
ATTEMPTS = ((1e-3, True), (1e-2, False), (3e-3, False), (1e-4, True))
ALONE = 50
LITTLE = 0.03
SECONDS = 3.0  # of this thread, for an attempt
FEW = 40  # steps that say something
MANY = 1000  # steps at most
LONG = 300  # steps of a trial whose loss rises first


@rule("lr-too-high", "error")
def too_high(e: Evidence) -> Found:
    """The loss falls by a tenth, does not jump to 3 times its start, or what one answer for all costs, and
    weights move by less than half their size a step (1e-3 is usual); or no lower rate makes it fall, and has
    it a quarter lower in the end, or all along; where it fell, lower in the end in any case. A network that
    has learnt may lose that for some steps, down to one answer for all and a tenth. Where the loss has risen
    and comes down again, 300 steps are judged by their end alone.

    Divide the learning rate by 10, twice if need be; or look for it: find_learning_rate.
    """
    losses, before, after, moved = e.trial(1.0)
    fine = after < 0.9 * before or (before < 0.8 * e.alike and after < 1.1 * e.alike)
    top = max(loss + 2 * abs(loss) for loss in (losses[0], e.alike))  # that may be below zero
    if fine and max(losses) < top and moved < 0.5 * STEPS:
        return None
    falls = mean(losses[-10:]) < 0.9 * max(losses[:-10], default=0) < inf
    if not fine and falls and moved < 0.1 * len(losses) and _comes_back(e):
        return None
    early = len(losses) < STEPS and isfinite(after) and moved < 0.5 * len(losses)
    if early and max(losses) < top:
        raise Skip("needs more steps than there is time for")
    text = f"in {len(losses)} steps from {before:.3g} to {after:.3g}, weights moved {moved:.2g} of their size"
    limit = min(before, after) if fine else before
    for rate in (0.1, 0.01, 1e-4):
        run = e.trial(rate)
        if run[2] < limit and not (mean(run[0]) > 0.75 * mean(losses) and run[2] > 0.75 * after):
            return f"{text}, at most {max(losses):.3g}; a lower rate leads to {run[2]:.3g}"
    return None


def _comes_back(e: Evidence) -> bool:
    """Return whether 300 steps end below the start, and no tenth of the rate ends far lower; Skip where they
    come down still when time is over.
    """
    losses, before, after, _ = e.trial(1.0, LONG)
    half, last = len(losses) // 2, len(losses) // 4
    down = len(losses) < LONG and mean(losses[-last:]) < 0.9 * mean(losses[half:-last])
    if down and not after < 0.9 * before:
        raise Skip("needs more steps than there is time for")
    return after < 0.9 * before and not e.trial(0.1, LONG)[2] < 0.5 * after


@rule("lr-too-low")
def too_low(e: Evidence) -> Found:
    """The loss moves by 0.5 % in 40 steps; or no rate 100 times as high, or more, lowers the loss 20 times as
    far, and by 0.2 % at least. Where weights move by 1e-4 of their size a step (1e-3 is usual): 1 %, by half.

    Multiply the learning rate by 10, twice if need be; or look for it: find_learning_rate.
    """
    losses, before, after, moved = e.trial(1.0)
    moves = moved > 1e-4 * len(losses)
    if not isfinite(after) or abs(before - after) > (0.01 if moves else 0.005) * before:
        return None
    least = 0.5 if moves else 0.002
    for rate in (1e3, 1e4, 1e5, 1e6, 1e2, 1e7, 1e8)[: 2 if moves else 7]:
        if (gain := before - e.trial(rate)[2]) > max(20 * (before - after), least * before):
            text = f"{len(losses)} steps lowered the loss, {before:.3g}, by {before - after:.1g}"
            return f"{text}; {rate:.0e} times the rate by {gain:.2g}"
    return None


@rule("cannot-overfit-batch", "error")
def cannot_overfit(e: Evidence) -> Found:
    """A network that works learns 16 samples by heart, to 80 % of the way to the least loss there can be.

    It has Adam, at four rates, a fifth where labels are large, and as many steps as bring it on: the later
    half of them by 2 %. Where its time ends first, and it does 5 % better than one answer for all, there is
    no verdict.

    Something cuts the way from input to loss: go through forward, labels and loss with these 16 samples.
    """
    if e.way.inside:
        raise Skip("needs a loss that is not made inside the model")
    batch = joined([e.batch], 16)
    count = len(next(tensors_in(batch)))
    outputs = mapped(lambda t: t.detach()[:count], e.outputs)
    if 10 * e.seconds * count > SECONDS:
        raise Skip("needs more steps than there is time for")
    loss_fn = e.copies()[2]
    best = inf
    late = False
    first = loss_fn(outputs, batch[1]).item()
    floor = _least(loss_fn, outputs, batch[1])
    alike = _least(loss_fn, outputs, batch[1], mean_answer)
    goal = floor + max(1e-3, 0.2 * (first - floor), 0.75 * (alike - floor) * _many(batch[1]))
    for rate, common in (*ATTEMPTS, *[(3e-3 * _size(batch[1]), True)] * (_size(batch[1]) > 10)):
        losses, on_its_way = _attempt(e, batch, rate, common, goal)
        best = min(best, *losses)
        if not best > goal:
            return None
        if on_its_way and len(losses) < FEW:
            raise Skip("needs more steps than there is time for")
        late |= on_its_way and (len(losses) < FEW or alike - mean(losses[-20:]) > 0.05 * (alike - floor))
    if late:
        raise Skip("needs more steps than there is time for")
    return f"from {first:.3g} the loss came to {best:.3g}; the least possible is {floor:.3g}"


def _many(labels: Any) -> bool:
    """Return whether samples have several classes each."""
    return isinstance(labels, Tensor) and labels.dim() > 1 and not labels.is_floating_point()


def _size(labels: Any) -> float:
    """Return the root mean square of labels that are floats, and 1 at least: how far outputs have to go."""
    floats = [t for t in tensors_in(labels) if t.is_floating_point() and t.numel()]
    return max([1.0, *(t.square().mean().sqrt().item() for t in floats)])


def _attempt(e: Evidence, batch: Any, rate: float, common: bool, goal: float) -> tuple[list[float], bool]:
    """Return the losses of learning the batch by heart, and whether only time ended it."""
    model, optimizer, loss_fn = e.training()
    own = {id(p) for group in optimizer.param_groups for p in group["params"]} if optimizer else None
    learning = [p for p in model.parameters() if p.requires_grad and (own is None or id(p) in own)]
    if not learning:
        raise Skip("needs an optimizer with parameters of the model that learn")
    adam = torch.optim.Adam(learning, rate)
    losses = list[float]()
    start = thread_time()

    def whole(*inputs: Any) -> Any:
        with _NoDropout():
            return model(*inputs)

    while thread_time() - start < SECONDS:
        left_out = 0.0 if common else 1 - LITTLE * (len(losses) >= ALONE)
        losses.append(stepped(whole, batch, loss_fn, adam, partial(_apart, left_out=left_out)))
        if len(losses) == 3 and thread_time() - start > 0.3 * SECONDS:  # 10 steps at most: no verdict
            return losses, True
        half = len(losses) // 2
        now = mean(losses[-20:])
        was = mean(losses[half - 20 : half]) if half >= 50 and half % 25 == 0 else inf
        if not losses[-1] > goal or len(losses) == MANY or was - now < 0.02 * (was - goal):
            return losses, False
    return losses, True


def _apart(outputs: Tensor, left_out: float) -> Tensor:
    """Return the outputs as they are; of their gradients, what samples have in common is left out."""
    common = mean_answer(outputs)
    return outputs - left_out * (common - common.detach()) if outputs.is_floating_point() else outputs


class _NoDropout(TorchFunctionMode):
    """Leaves out dropout, which is to make learning by heart hard; but not what drops more than half."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        usual = func in (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d) and kwargs["p"] <= 0.5
        return args[0] if usual else func(*args, **(kwargs or {}))


def _least(loss_fn: Any, outputs: Any, labels: Any, seen: Any = lambda t: t) -> float:
    """Return the least loss of any outputs, by descent on the outputs themselves; 0 where it goes below."""
    outputs = mapped(lambda t: t.detach().clone(), outputs)
    drawn = [loss_fn(outputs, labels).item() for _ in range(4)]
    if max(drawn) - min(drawn) > 1e-3 * abs(max(drawn)):
        return 0.0  # a random loss: the least of many draws says what luck can do, not what learning can
    free = [t.requires_grad_() for t in tensors_in(outputs) if t.is_floating_point()]
    least = inf
    made = operations(loss_fn(outputs, labels))  # of probabilities: of nothing but 0 to 1
    probable = any("BinaryCrossEntropyBackward" in type(node).__name__ for node in made)
    adam = torch.optim.Adam(free, 0.02 if probable else 0.3 * _size(labels))
    for _ in range(100):
        adam.zero_grad()
        loss = loss_fn(mapped(seen, outputs), labels)
        loss.backward()
        adam.step()
        for each in free if probable else []:
            each.data.clamp_(0, 1)
        least = min(least, loss.item())
    return max(0.0, least)
