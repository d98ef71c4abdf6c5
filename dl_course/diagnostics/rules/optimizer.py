"""Rules on the optimizer and the training step."""

from dl_course.diagnostics.rules.evidence import Evidence
from dl_course.diagnostics.rules.finding import Found, Skip, rule


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
    moves = any(e.moving.moved) if e.given["train_step"] else e.plain > 0
    return not moves and (e.flow["gradient"] > 0).any() and "no weight moves, though there are gradients"
