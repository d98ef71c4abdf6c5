"""Where to compute and with which random numbers: devices, seeds, and putting random state back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


def pick_device(prefer: str | torch.device | None = None) -> torch.device:
    """Return the preferred device, else the best there is: CUDA, then Apple's MPS, then the CPU.

    Raises ValueError where the preferred device is not on this machine.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if prefer is None:
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    names = ", ".join(kind for kind in there if there[kind])
    try:
        device = torch.device(prefer)
    except RuntimeError as error:
        raise ValueError(f"no device is called '{prefer}'; there is: {names}") from error
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if not there.get(device.type, False) or (device.index or 0) >= count:
        raise ValueError(f"no device '{prefer}' here; there is: {names}")
    return device


def device_of(module: nn.Module) -> torch.device:
    """Return the device of the module's first parameter or buffer; the CPU where it has neither."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def fitted_to(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return x on the module's device and, where it holds floats, in the precision of its parameters."""
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    dtype = next(floats, x.dtype) if x.is_floating_point() else x.dtype
    return x.to(device_of(module), dtype, non_blocking=True)


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators: the only place that seeds the world."""
    seed = int(seed)  # NumPy's integers, too, which random.seed refuses
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def preserved_rng(seed: int | None = None) -> Iterator[None]:
    """Put all global random state back on leaving; seed inside where a seed is given."""
    python, numpy_state = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        try:
            if seed is not None:
                set_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
