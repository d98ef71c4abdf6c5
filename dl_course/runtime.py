"""Where to compute and with which random numbers: devices, seeds, and putting random state back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


def pick_device(prefer: str | torch.device | None = None) -> torch.device:
    """Return the preferred device, else torch's accelerator, as CUDA or Apple's MPS, else the CPU.

    Raises ValueError for a name that torch doesn't know, and where that device is not on this machine.
    """
    best = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    there = ["cpu"] if best is None else [best.type, "cpu"]
    try:
        device = torch.device(there[0] if prefer is None else prefer)
    except RuntimeError as error:
        raise ValueError(f"no device is called '{prefer}'; there is: {', '.join(there)}") from error
    missing = device.type != "cpu" and (device.index or 0) >= torch.accelerator.device_count()
    if device.type not in there or missing:
        raise ValueError(f"no device '{prefer}' here; there is: {', '.join(there)}")
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
    python = random.getstate()
    numpy_state = np.random.get_state()
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        try:
            if seed is not None:
                set_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
