"""Features: what a layer makes of a picture, as one row of numbers, to compare pictures by."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dl_course.explain.maps import at_rest
from dl_course.hooks import watching


def features(
    model: nn.Module, images: Tensor, layers: Sequence[str], *, batch: int = 250
) -> dict[str, Tensor]:
    """Return what each layer puts out, {name: (N, C)}, on the CPU: means over places, or over tokens.

    batch: how many images are run at once. A layer must be called once in a run.
    Raises ValueError for unknown layers and for outputs that aren't (N, C), (N, tokens, C) or (N, C, h, w).
    """
    found: dict[str, list[Tensor]] = {name: [] for name in layers}

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        found[name].append(averaged(name, output).detach().cpu())

    for part in images.split(batch):
        with at_rest(model, part) as part, torch.no_grad(), watching(model, leave, layers=layers):
            model(part)
    return {name: torch.cat(parts) for name, parts in found.items()}


def averaged(name: str, output: Any) -> Tensor:
    """Return a layer's output as (N, C), or raise ValueError."""
    over = {2: (), 3: (1,), 4: (2, 3)}.get(output.ndim if isinstance(output, Tensor) else 0)
    if over is None:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"layer '{name}' puts out {got}; features need (N, C), (N, T, C) or (N, C, h, w)")
    return output.mean(over) if over else output
