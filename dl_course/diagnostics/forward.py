"""A forward pass followed layer by layer, to where it breaks."""

import inspect
import traceback
from collections import Counter
from typing import Any

import torch
from torch import nn

from dl_course.diagnostics.table import Table, numbered, table
from dl_course.hooks import mapped, preserved, tensors_in, watching
from dl_course.runtime import device_of


def debug_forward(model: nn.Module, *inputs: Any) -> Table:
    """Return a row a call, containers after what is inside them: kind, input, output, its range, NaN and Inf.

    The note names the layer that made the first NaN or Inf, or the one that raised and what it was given; the
    exception ends here. In the mode the model is in; buffers and random state are put back.
    """
    rows: dict[str, dict[str, Any]] = {}
    calls = Counter[str]()
    notes = list[str]()

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls[name] += 1
        shapes = {"input": _shapes([args, kwargs]), "output": _shapes(output)}
        values = torch.cat([torch.empty(0), *(t.flatten().float().cpu() for t in tensors_in(output))])
        finite = values[values.isfinite()]
        row = numbered(name, calls[name])
        low, high = finite.aminmax() if len(finite) else (torch.nan, torch.nan)
        rows[row] = {"kind": type(module).__name__, **shapes, "min": float(low), "max": float(high)}
        rows[row] |= {"nan": values.isnan().sum().item(), "inf": values.isinf().sum().item()}
        if len(finite) < len(values) and not notes:
            notes.append(f"the first NaN or Inf comes out of '{row}': {_cause(module, [args, kwargs])}")

    try:
        with preserved(model), torch.no_grad(), watching(model, leave):
            model(*mapped(lambda tensor: tensor.to(device_of(model)), inputs))
    except Exception as error:
        row, given = _raiser(model, error)
        rows[row] = {"input": given, "output": f"raised {type(error).__name__}"}
        notes.append(f"'{row}' raised {type(error).__name__}, given {given}: {error}")
    return table(rows, "; ".join(notes))


def _shapes(value: Any) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in(value))


def _cause(module: nn.Module, given: Any) -> str:
    if not all(tensor.isfinite().all() for tensor in module.parameters()):
        return "its weights aren't finite"
    if not all(tensor.isfinite().all() for tensor in tensors_in(given)):
        return "its input isn't finite, as given to the model or made by code between layers"
    return "its input and weights are finite"


def _raiser(model: nn.Module, error: Exception) -> tuple[str, str]:
    """Return the innermost module whose forward the exception passed, and its arguments."""
    names = {id(module): name for name, module in model.named_modules()}
    found = ("(model)", "")
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "forward" and id(frame.f_locals.get("self")) in names:
            info = inspect.getargvalues(frame)
            given = [info.locals.get(name or "") for name in (*info.args[1:], info.varargs, info.keywords)]
            found = names[id(info.locals["self"])] or "(model)", _shapes(given)
    return found
