"""Gradients of one batch, at layers and at parameters, with nothing left in ``.grad``."""

from collections.abc import Callable, Iterable
from math import nan
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dl_course.diagnostics.statistics import STATISTICS, tensor_statistics
from dl_course.diagnostics.table import Table, numbered, split, table
from dl_course.diagnostics.weights import weight_statistics
from dl_course.hooks import capture, mapped, preserved, tensors_in
from dl_course.runtime import device_of

Loss = Callable[[Any, Any], Tensor]


def gradient_statistics(
    model: nn.Module, batch: Any, loss_fn: Loss, layers: Iterable[str] | None = None
) -> Table:
    """Return ``tensor_statistics`` (near: 1e-6) of the gradients of the loss at outputs and at parameters.

    of: "output", a row a call as in ``activation_statistics`` and containers, "parameter", or why a parameter
    has NaN: "frozen", or "none", as no gradient comes, which is not a zero one. layers: the outputs of these.
    In the mode the model is in; ``.grad``, buffers and random state stay as they were.
    """
    inputs, labels = split(batch, device_of(model))
    inputs = mapped(lambda x: x.detach().requires_grad_(x.is_floating_point()), inputs)
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    wanted = [*learning.values(), *(x for x in tensors_in(inputs) if x.requires_grad)]
    with preserved(model), torch.enable_grad(), capture(model, layers, gradients=True) as seen:
        loss = loss_fn(model(*mapped(torch.clone, inputs)), labels)  # clones: in place on a leaf is an error
        found = torch.autograd.grad(loss, wanted, allow_unused=True) if loss.requires_grad else ()
    gradients = dict(zip(learning, found, strict=False))
    rows: dict[str, dict[str, Any]] = {}
    for name, calls in seen.items():
        for number, call in enumerate(calls, 1):
            for place, gradient in enumerate(tensors_in(call.gradient)):
                rows[numbered(name, number, place)] = {"of": "output", **tensor_statistics(gradient, 1e-6)}
    for name, parameter in model.named_parameters():
        if (at_parameter := gradients.get(name)) is not None:
            rows[name] = {"of": "parameter", **tensor_statistics(at_parameter, 1e-6)}
        else:
            rows[name] = {
                "of": "none" if parameter.requires_grad else "frozen",
                **dict.fromkeys(STATISTICS, nan),
            }
    return table(rows)


def gradient_flow(model: nn.Module, batch: Any, loss_fn: Loss) -> Table:
    """Return the norm of each parameter's gradient on one batch, of its weights, and the ratio of the two.

    remark: "frozen", "none", or "zero", or "not finite"; otherwise like ``gradient_statistics``.
    """
    found = gradient_statistics(model, batch, loss_fn, [])
    weight = weight_statistics(model)["norm"]
    norm = found["norm"]
    remark = found["of"].where(
        found["of"] != "parameter", np.where(norm == 0, "zero", np.where(np.isfinite(norm), "", "not finite"))
    )
    return Table({"gradient": norm, "weight": weight, "ratio": norm / weight, "remark": remark})
