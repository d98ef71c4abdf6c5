"""A summary: what every layer of a network puts out, holds and costs, as one run shows it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.backends import cudnn, mha, mkldnn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dl_course.hooks import evaluating, preserved, tensors_in, watching
from dl_course.runtime import device_of

Size = Sequence[int] | Tensor
FORMATS = dict.fromkeys(["parameters", "macs", "bytes"], "{:,}".format)


class Summary(pd.DataFrame):
    """One row a layer, "(model)" for the whole: kind, output, calls, parameters, macs, bytes."""

    def __repr__(self) -> str:
        return self.to_string(formatters=FORMATS)

    def _repr_html_(self) -> str:
        return self.to_html(formatters=FORMATS)


def summary(model: nn.Module, input_size: Size | list[Size], depth: int | None = None) -> Summary:
    """Return what a run in eval mode shows; a layer's row has all that is inside. The model stays as it was.

    input_size: a shape without the batch, (3, 224, 224), run as a batch of one; or an input tensor, where its
    numbers matter (token ids); or a list of those, one an input. depth: levels of layers to show, or all.
    macs: multiply-accumulates as PyTorch counts them, those inside attention and LSTM included. bytes: what
    the innermost modules put out, views and in-place outputs aside. A layer called twice works twice.
    """
    sizes = input_size if isinstance(input_size, list) else [input_size]
    with preserved(model, seed=0), evaluating(model), _counting() as counter:
        run = _Run(counter)
        with watching(model, run.leave, run.enter):
            model(*(_example(size, model) for size in sizes))
    shown = [name for name in run.rows if depth is None or name.count(".") < depth]
    return Summary([run.rows[name] for name in shown], index=[name or "(model)" for name in shown])


def _example(size: Size, model: nn.Module) -> Tensor:
    if isinstance(size, Tensor):
        return size.to(device_of(model))
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    return torch.rand(1, *size, dtype=dtype, device=device_of(model))


class _Run:
    """Fills the rows while the model runs."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.counter = counter
        self.bytes = 0
        self.innermost = False
        self.rows: dict[str, dict[str, Any]] = {}
        self.starts: list[tuple[int, int]] = []  # work and bytes before each of the calls now running

    def enter(self, name: str, module: nn.Module) -> None:
        parameters = sum(p.numel() for p in module.parameters())
        row = dict(kind=type(module).__name__, output="", calls=0, parameters=parameters, macs=0, bytes=0)
        self.rows.setdefault(name, row)
        self.starts.append((self.counter.get_total_flops(), self.bytes))
        self.innermost = True

    def leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        row = self.rows[name]
        tensors = list(tensors_in(output))
        flops, size = self.starts.pop()
        if self.innermost:
            given = {tensor.data_ptr() for tensor in tensors_in([args, kwargs])} - {0}
            self.bytes += sum(tensor.nbytes for tensor in tensors if tensor.data_ptr() not in given)
        self.innermost = False
        row["output"] = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        row["calls"] += 1
        row["macs"] += (self.counter.get_total_flops() - flops) // 2
        row["bytes"] += self.bytes - size


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    """Count with the fused kernels off: they hide the products of attention and LSTM from the counter."""
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", "TF32 acceleration")  # mkldnn.flags, on CPUs without TF32
            with mkldnn.flags(False), cudnn.flags(False), FlopCounterMode(display=False) as counter:
                yield counter
    finally:
        mha.set_fastpath_enabled(fast)
