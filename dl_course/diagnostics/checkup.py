"""The check-up: find and name what is wrong with a network, before it costs a night of training."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import nn

from dl_course.diagnostics.rules import Report
from dl_course.diagnostics.rules.evidence import Evidence
from dl_course.diagnostics.rules.finding import CHECKS, CURVES, report_of
from dl_course.diagnostics.rules.history import Curves
from dl_course.kept import kept
from dl_course.runtime import preserved_rng


def checkup(
    model: nn.Module, train_loader: Any, loss_fn: Callable[[Any, Any], Any] | None = None, *,
    optimizer: Any = None, scheduler: Any = None, val_loader: Any = None,
    train_step: Callable[..., Any] | None = None, eval_step: Callable[..., Any] | None = None, seed: int = 0,
) -> Report:  # fmt: skip
    """Return what is wrong with a network, its data or its training, found on copies in a few seconds.

    loss_fn(outputs, labels); where there is none, the loss is that of ``model(**batch)``, of a
    LightningModule's ``training_step``, or of train_step: a usual one is recognised, and report.notes says
    which · loaders: of (inputs, labels), inputs a tensor or several in a tuple, of (input, input, …, labels),
    or of dicts, handed over by name, with labels, label, targets, target or y among them · optimizer,
    scheduler: as training will use them, judged at the schedule's highest rate; a LightningModule brings them
    · train_step(model, batch, optimizer): your own update, zero_grad() to step() · eval_step(model, batch):
    your evaluation of a batch, with the model as training leaves it · seed: of the trials' random numbers.
    What cannot be looked for, for want of an argument or as something raised, is in ``report.skipped``. The
    caller's model, optimizer, scheduler, loaders and random state stay as they were, and so does all that the
    steps and the loss can reach: closures, globals, attributes. An iterator is used up; what is printed or
    written to files stays written.
    Takes a few seconds, at most about half a minute on two cores, with networks of the size of this course's.
    """
    given = dict(optimizer=optimizer, scheduler=scheduler, val_loader=val_loader, train_step=train_step)
    roots = (model, loss_fn, optimizer, scheduler, train_step, eval_step)
    loaders = [each for each in (train_loader, val_loader) if not isinstance(each, Iterator)]
    with preserved_rng(seed), kept(*roots, *loaders) as reached:
        evidence = Evidence(model, train_loader, loss_fn, **given, eval_step=eval_step, seed=seed)
        if reached.lost:
            evidence.notes.append(
                f"could not be put back, had it been used: {', '.join(sorted(reached.lost))}"
            )
        report = report_of(CHECKS, evidence)
        return replace(report, notes=tuple(evidence.notes), measured=_measured(evidence))


def _measured(evidence: Evidence) -> dict[str, Any]:
    """Return what the rules have measured already, by the panel that draws it; nothing is run for it."""
    made = vars(evidence)
    layers, _ = made.get("passed", (None, None))
    found = {"gradients": made.get("flow"), "layers": layers, "labels": made.get("labels")}
    if evidence.trial.cache_info().currsize:
        found["trial"] = evidence.trial(1.0)[0]
    return {name: each for name, each in found.items() if each is not None and len(each)}


def diagnose_history(history: Any) -> Report:
    """Return what learning curves say: a ``History`` or a table with epoch, train_loss, val_loss, …."""
    return report_of(CURVES, Curves(pd.DataFrame(getattr(history, "epochs", history))))
