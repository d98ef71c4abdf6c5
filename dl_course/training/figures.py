"""Figures: what is measured on a batch, and how much each figure weighs when batches are put together."""

import copy
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.metrics import recognised
from dl_course.training.losses import FocalLoss

CLASS_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss, FocalLoss)


def loss_settings(loss_fn: Any) -> tuple[Any, dict[str, Any]]:
    """Return a loss without its ``functools.partial``, and what it was given: weight, ignore_index, …"""
    options: dict[str, Any] = {}
    while isinstance(loss_fn, partial):
        options = loss_fn.keywords | options
        loss_fn = loss_fn.func
    if isinstance(loss_fn, nn.Module):
        names = ("weight", "ignore_index", "reduction")
        options = {name: getattr(loss_fn, name) for name in names if hasattr(loss_fn, name)}
    return loss_fn, options


def is_known(loss_fn: Any) -> bool:
    """Return whether it is a loss of torch's, or ``FocalLoss``: one whose demands and divisor are known."""
    function, _ = loss_settings(loss_fn)
    kind = type(function) if isinstance(function, nn.Module) else function
    return kind is FocalLoss or str(getattr(kind, "__module__", "")).startswith("torch.nn.")


def is_class_loss(loss_fn: Any) -> bool:
    """Return whether it is one of torch's, or ``FocalLoss``, that takes classes as labels."""
    function, _ = loss_settings(loss_fn)
    return isinstance(function, CLASS_LOSSES) or function in (F.cross_entropy, F.nll_loss)


def loss_divisor(loss_fn: Any, labels: Tensor) -> float:
    """Return what the loss of these labels is divided by, times a constant; of an unknown loss, the samples.

    Cross-entropy divides by the weights of the labels that it doesn't ignore, and the others of torch's by
    the number of elements. Only when batches weigh as much do several small ones equal a big one.
    """
    if not is_known(loss_fn):
        return len(labels)
    if not is_class_loss(loss_fn) or labels.is_floating_point():
        return labels.numel()
    _, options = loss_settings(loss_fn)
    counted = labels[labels != options.get("ignore_index", -100)]
    weight = options.get("weight")
    if weight is None:
        return len(counted)
    known = counted[(counted >= 0) & (counted < len(weight))]  # check_labels names the others
    return float(weight.to(labels.device)[known].sum())


def are_classes(outputs: Any, labels: Any) -> bool:
    """Return whether labels are classes for outputs (N, C, …): whole numbers (N, …), or probabilities."""
    if not isinstance(outputs, Tensor) or not isinstance(labels, Tensor) or outputs.ndim < 2:
        return False
    if outputs.shape[1] < 2:
        return False
    if not labels.is_floating_point():
        return labels.shape == outputs.shape[:1] + outputs.shape[2:]
    return labels.shape == outputs.shape and bool(
        (labels >= 0).all() and ((labels.sum(1) - 1).abs() < 1e-3).all()
    )


def accuracy(logits: Tensor, labels: Tensor, ignore_index: int = -100) -> tuple[Tensor, Tensor]:
    """Return the share of a batch recognised, and how many labels count: those of a class, not ignored.

    logits: (N, C, …) · labels: (N, …), or probabilities (N, C, …).
    """
    hits = recognised(logits, labels)
    if labels.is_floating_point():
        return hits.mean(), torch.tensor(hits.numel())
    counted = (labels >= 0) & (labels < logits.shape[1]) & (labels != ignore_index)
    return (hits * counted).sum() / counted.sum().clamp_min(1), counted.sum()


class Metrics:
    """The metrics of a pass: functions whose values are means, and objects that add up what they are shown.

    given: by name, or None for the accuracy where labels are classes. A function takes (outputs, labels) and
    returns the batch's mean, or the mean and what it weighs. An object has torchmetrics' ``update(outputs,
    labels)``, ``compute()`` and ``reset()``.
    """

    def __init__(self, given: Mapping[str, Any] | None, loss_fn: Any, device: torch.device) -> None:
        self.loss_fn = loss_fn
        self.functions: dict[str, Callable[..., Any]] | None = None
        self.objects: dict[str, Any] = {}
        if given is not None:
            self.functions = {name: each for name, each in given.items() if not _adds_up(each)}
            self.objects = {name: each for name, each in given.items() if _adds_up(each)}
        for metric in self.objects.values():
            if hasattr(metric, "persistent"):
                metric.persistent(True)  # or a checkpoint leaves out what torchmetrics has added up
            if hasattr(metric, "to"):
                metric.to(device)

    @torch.no_grad()
    def measure(self, outputs: Any, labels: Tensor) -> dict[str, float]:
        """Return the batch's values, with NAME_weight for a function that says how much it weighs."""
        if self.functions is None:
            self.functions = self._default(outputs, labels)
        row: dict[str, float] = {}
        for name, function in self.functions.items():
            found = function(outputs, labels)
            value, *weight = found if isinstance(found, tuple) else (found,)
            row[name] = float(value)
            row |= {f"{name}_weight": float(each) for each in weight if each != len(labels)}
        for metric in self.objects.values():
            metric.update(outputs, labels)
        return row

    def _default(self, outputs: Any, labels: Tensor) -> dict[str, Callable[..., Any]]:
        if are_classes(outputs, labels):
            _, options = loss_settings(self.loss_fn)
            return {"accuracy": partial(accuracy, ignore_index=options.get("ignore_index", -100))}
        why = "no accuracy is measured, since the labels are no classes; metrics={} says that you know"
        logging.getLogger("dl_course").warning(why)
        return {}

    def results(self) -> dict[str, float]:
        """Return what the objects have found, and let them begin anew."""
        found: dict[str, float] = {}
        for name, metric in self.objects.items():
            value = metric.compute()
            values = value if isinstance(value, Mapping) else {name: value}
            found |= {key: float(each) for key, each in values.items()}
            metric.reset()
        return found

    def fresh(self) -> "Metrics":
        """Return the same metrics for another pass, with nothing added up yet."""
        other = copy.copy(self)
        other.objects = copy.deepcopy(self.objects)
        for metric in other.objects.values():
            metric.reset()
        return other

    def state_dict(self) -> dict[str, Any]:
        """Return what the objects have added up, where they have a state_dict."""
        return {name: each.state_dict() for name, each in self.objects.items() if hasattr(each, "state_dict")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what objects of these names had added up."""
        for name, values in state.items():
            if name in self.objects:
                self.objects[name].load_state_dict(values)


def _adds_up(metric: Any) -> bool:
    return all(callable(getattr(metric, name, None)) for name in ("update", "compute", "reset"))
