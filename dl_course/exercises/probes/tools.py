"""What probes share: values made plain, calls with their side effects, modules filled alike."""

from __future__ import annotations

import copy
import hashlib
import io
import linecache
import math
import traceback
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dl_course.exercises.limits import TimeUp
from dl_course.exercises.probes import Case, Outputs, Probe, second_half


def plain(value: Any) -> Any:
    """Return the value as arrays, numbers, strings, lists, dicts; anything else as its type's name."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype is torch.bfloat16 else value).numpy().copy()
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.char in "gG":
        value = value.astype("d" if value.dtype.char == "g" else "D")
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
            tensor.copy_(torch.from_numpy(_noise(seed, tuple(tensor.shape), name.rpartition(".")[2])))
    return module


@lru_cache(
    maxsize=64
)  # a ResNet repeats its shapes, and is filled for every mistake that may explain an answer
def _noise(seed: int, size: tuple[int, ...], leaf: str) -> np.ndarray:
    shape = [each for each in size if each != 1]
    digest = hashlib.sha256(f"{seed} {shape} {leaf}".encode()).digest()
    noise = np.random.default_rng(int.from_bytes(digest[:8], "big")).normal(size=size)
    if leaf == "running_var":
        return np.abs(noise) + 0.5
    return noise * math.prod(size[1:]) ** -0.5 if len(shape) > 1 else np.asarray(noise)


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


def finished(name: str, outputs: Outputs, case: Case) -> Outputs:
    """Return the outputs of the probe's second half, if it has one and the first half raised nothing."""
    half = second_half(name)
    if half is None or "raised" in outputs:
        return outputs
    return answer_outputs(half, outputs, case["_apart"])


_TOGETHER = 64  # pictures that a program takes at once


def program(network: nn.Module) -> np.ndarray:
    """Return the bytes of a network for digits, its computation and weights, that run without its code.

    Raises ValueError where torch.export can't follow its forward pass.
    """
    from torch.export import export, save

    try:
        with io.BytesIO() as buffer, warnings.catch_warnings(action="ignore"):
            save(export(network.eval(), (torch.zeros(_TOGETHER, 1, 28, 28),), strict=False), buffer)
            return np.frombuffer(buffer.getvalue(), np.uint8)
    except Exception as error:  # whatever the learner's code or the exporter raises
        first = str(error).strip().partition("\n")[0][:150]
        says = (
            "this network can't be run without the notebook, because torch.export can't follow its forward: "
            "use tensors and layers alone there, torch.where instead of an if on a tensor's values, "
            f"and neither NumPy nor .item() ({first})"
        )
        raise ValueError(says) from error


def run_program(code: Any, pictures: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
    """Return all numbers that a program brought along, by name, and its outputs for pictures of bytes."""
    from torch.export import load

    loaded = load(io.BytesIO(np.asarray(code, np.uint8).tobytes()))
    network = loaded.module()
    padding = np.zeros((-len(pictures) % _TOGETHER, *pictures.shape[1:]), np.uint8)
    batches = torch.from_numpy(np.concatenate([pictures, padding])).div(255).split(_TOGETHER)
    with torch.no_grad():
        outputs = torch.cat([network(batch) for batch in batches])[: len(pictures)]
    constants = {name: each for name, each in loaded.constants.items() if isinstance(each, Tensor)}
    return {**loaded.state_dict, **constants}, outputs


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
