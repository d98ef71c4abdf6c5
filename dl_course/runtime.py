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
    device = torch.device(prefer)
    if not there.get(device.type, False):
        raise ValueError(
            f"no device '{prefer}' here; there is: {', '.join(kind for kind in there if there[kind])}"
        )
    return device


def device_of(module: nn.Module) -> torch.device:
    """Return the device of the module's first parameter or buffer; the CPU where it has neither."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators: the only place that seeds the world."""
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
