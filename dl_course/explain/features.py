"""Features: what layers make of pictures, as rows of numbers to compare the pictures by."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dl_course.explain.maps import at_rest
from dl_course.models.features import averaged_outputs


def features(
    model: nn.Module, images: Tensor, layers: Sequence[str], *, batch: int = 250
) -> dict[str, Tensor]:
    """Return what each layer puts out, {name: (N, C)}, on the CPU: means over places, or over tokens.

    batch: how many images are run at once; `models.features` takes a loader, and keeps files.
    Raises ValueError for unknown layers and for outputs that aren't (N, C), (N, tokens, C) or (N, C, h, w).
    """
    parts = []
    for part in images.split(batch):
        with at_rest(model, part) as part, torch.no_grad():
            parts.append(averaged_outputs(model, part, layers))
    return {name: torch.cat([part[name] for part in parts]) for name in layers}
