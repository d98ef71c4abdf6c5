"""Features: what a layer makes of many pictures, computed once and kept on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from dl_course.files import atomic, data_root, is_writable
from dl_course.hooks import evaluating, resolve, watching
from dl_course.runtime import device_of

Batches = Iterable[Any]
AVERAGED = {2: (), 3: (1,), 4: (2, 3)}  # axes that aren't samples or channels, by the number of axes
Prepare = Callable[[Tensor], Tensor] | None


def features(
    model: nn.Module, loader: Batches, layer: str | Sequence[str], prepare: Prepare = None,
    folder: str | Path | None = None, *, progress: bool = True,
) -> tuple[Any, Tensor]:  # fmt: skip
    """Return what a layer gives in eval mode for each picture, (N, C) float32, and the labels (N,) beside it.

    loader: batches (pictures, labels) · layer: a name from ``model.named_modules()``, or several, which give
    a dict; maps (N, C, H, W) are averaged over their positions, tokens (N, T, C) over T · prepare: done to
    every batch, such as ``model.preparation`` · folder: where batches are kept, else data_root()/features ·
    progress: whether to show a bar.
    A batch's file is named for its content, the weights and the layer: after a stop, or with more pictures or
    layers, only what is missing is computed. Raises ValueError for an unknown layer, or another shape.
    """
    names = [layer] if isinstance(layer, str) else list(layer)
    for name in names:
        resolve(model, name)
    network = _digest([repr(model).encode(), *map(_bytes, model.state_dict().values())])
    parts = []
    labels = []
    with evaluating(model), torch.no_grad():
        for pictures, answers in tqdm(loader, desc="features", leave=False, disable=not progress):
            inputs = pictures if prepare is None else prepare(pictures)
            content = _digest([network, _bytes(inputs), f"{tuple(inputs.shape)} {inputs.dtype}".encode()])
            parts.append(_kept(folder or data_root() / "features", content, model, inputs, names))
            labels.append(torch.as_tensor(answers))
    if not parts:
        raise ValueError("the loader gave no pictures")
    joined = {name: torch.cat([part[name] for part in parts]) for name in names}
    return joined[layer] if isinstance(layer, str) else joined, torch.cat(labels)


def _kept(
    folder: str | Path, content: bytes, model: nn.Module, inputs: Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    paths = {name: Path(folder, f"{_digest([content, name.encode()]).hex()}.safetensors") for name in names}
    found: dict[str, Tensor] = {}
    for path in paths.values():
        with suppress(FileNotFoundError, SafetensorError):  # not there, or damaged
            found |= load_file(path)
    missing = [name for name in names if name not in found]
    new = averaged_outputs(model, inputs, missing) if missing else {}
    for name in new if is_writable(Path(folder)) else ():
        with atomic(paths[name]) as part:
            save_file({name: new[name]}, part)
    return found | new


def averaged_outputs(model: nn.Module, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return what the named layers give for inputs, (N, C) each, still in autograd's graph; or ValueError."""
    seen: dict[str, Tensor] = {}

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"layer '{name}' gives {given}; features are (N, C), (N, T, C) or (N, C, H, W)")
        axes = AVERAGED[output.ndim]
        averaged = output.mean(axes) if axes else output.clone()  # a layer after it may work in place
        seen[name] = averaged.float().cpu().contiguous()

    with watching(model, leave, layers=names):
        model(inputs.to(device_of(model)))
    if silent := [name for name in names if name not in seen]:
        raise ValueError(f"layer '{silent[0]}' is never called by the network's forward")
    return seen


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(chunks: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()
