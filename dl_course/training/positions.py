"""Positions: where loaders and random numbers stand, so that a training goes on as if it had not stopped."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the state of all global random numbers."""
    kind, words, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(words).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the global random numbers back to where ``random_state`` found them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def position(loaders: Iterable[Any]) -> dict[str, Any]:
    """Return what decides the order of the loaders' next pass: epoch, generator, global random numbers."""
    generators = [getattr(loader, "generator", None) for loader in loaders]
    return {
        "epochs": [getattr(loader, "epoch", None) for loader in loaders],
        "generators": [generator and generator.get_state() for generator in generators],
        "random": random_state(),
    }


def set_position(loaders: Iterable[Any], state: Mapping[str, Any]) -> None:
    """Put the loaders and the global random numbers where ``position`` found them."""
    for loader, epoch, generator in zip(loaders, state["epochs"], state["generators"], strict=True):
        if epoch is not None:
            loader.epoch = epoch
        if generator is not None:
            loader.generator.set_state(generator)
    set_random_state(state["random"])
