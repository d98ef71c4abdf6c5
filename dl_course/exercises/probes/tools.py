"""What probes share: values made plain, calls with their side effects, modules filled alike."""

from __future__ import annotations

import copy
import hashlib
import linecache
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dl_course.exercises.limits import TimeUp
from dl_course.exercises.probes import Case, Outputs, Probe


def plain(value: Any) -> Any:
    """Return the value as arrays, numbers, strings, lists, dicts; anything else as its type's name."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype is torch.bfloat16 else value).numpy().copy()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.copy() if value.dtype.kind in "biufc" else plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    return f"<an object of type {type(value).__name__}>"


def called(function: Any, *arguments: Any, **options: Any) -> Outputs:
    """Call, and return what came back and what became of the arguments."""
    return {"returned": plain(function(*arguments, **options)), "inputs afterwards": plain(arguments)}


def filled(module: nn.Module, seed: int) -> nn.Module:
    """Fill every parameter and buffer from seed, shape (without 1s) and leaf name, and return the module.

    Two modules of the same architecture then compute the same numbers, whatever their attributes are called,
    in whatever order they are defined, and whether a 1×1 layer is written as Linear or as convolution.
    """
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if not tensor.is_floating_point() or not tensor.numel():
                continue
            leaf = name.rpartition(".")[2]
            shape = [size for size in tensor.shape if size != 1]
            digest = hashlib.sha256(f"{seed} {shape} {leaf}".encode()).digest()
            noise = np.random.default_rng(int.from_bytes(digest[:8], "big")).normal(size=tensor.shape)
            noise = (
                np.abs(noise) + 0.5
                if leaf == "running_var"
                else noise * tensor[0].numel() ** -0.5
                if len(shape) > 1
                else noise
            )
            tensor.copy_(torch.from_numpy(noise))
    return module


def module_outputs(module: nn.Module, *inputs: Tensor, seed: int) -> Outputs:
    """Fill the module, run it forward and backward in training mode; return its output and all gradients.

    Those of parameters are summed over tensors of the same leaf name, so that no attribute's name matters.
    """
    module = filled(module, seed).train()
    leaves = [each.clone().requires_grad_(each.is_floating_point()) for each in inputs]
    out = module(*leaves)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    (out * weights).sum().backward()
    norms: dict[str, float] = {}
    for name, parameter in module.named_parameters():
        leaf = name.rpartition(".")[2]
        if parameter.grad is not None:
            norms[leaf] = norms.get(leaf, 0.0) + float(parameter.grad.abs().sum())
    return {
        "output": plain(out),
        "gradient of the input": plain([each.grad for each in leaves]),
        "gradients": norms,
    }


def answer_outputs(probe: Probe, answer: Any, case: Case) -> Outputs:
    """Call the answer through its probe; an exception, also SystemExit, becomes outputs that name it."""
    try:
        return probe(answer, copy.deepcopy(case))
    except (KeyboardInterrupt, TimeUp):
        raise
    except BaseException as error:  # whatever an answer may raise is an answer's output
        return {
            "raised": type(error).__name__,
            "message": str(error)[:500],
            "line": learner_line(answer, error),
        }


def learner_line(answer: Any, error: BaseException) -> str:
    """Return the innermost line of the learner's code that the exception passed through, "" if none."""
    files = {code.co_filename for code in code_objects(answer)}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            source = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"line {frame.lineno}, in {frame.name}: {source}"
    return ""


def code_objects(answer: Any) -> Iterable[CodeType]:
    """Yield the code of a function or of a class's own methods, nested functions included."""
    members = vars(answer).values() if isinstance(answer, type) else [answer]
    unwrapped = (getattr(each, "__func__", getattr(each, "fget", each)) for each in members)
    pending = [each.__code__ for each in unwrapped if hasattr(each, "__code__")]
    while pending:
        code = pending.pop()
        yield code
        pending += [each for each in code.co_consts if isinstance(each, CodeType)]


def artefact(name: str) -> Path:
    """Return a file that the learner saved beside the notebook; FileNotFoundError where there is none."""
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no file '{name}' beside the notebook: save it there first")
    return path
