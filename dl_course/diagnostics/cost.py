"""What a network costs: time by layer, memory; and what a process uses while a block of code runs."""

import json
import os
from collections import defaultdict
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter
from typing import Any
from unittest.mock import patch

import psutil
import torch
from torch import nn

from dl_course.diagnostics.table import Table, table
from dl_course.hooks import mapped, preserved, tensors_in, watching
from dl_course.runtime import device_of


def profile(model: nn.Module, *inputs: Any, repeats: int = 5, trace: str | Path | None = None) -> Table:
    """Return kind, calls and ms a forward of each layer, and below its layers of what holds them.

    Medians of the repeats, after a warm-up; an accelerator is waited for at every layer. The note has a whole
    forward's time, inputs per second, and the peak of its memory for tensors. trace: a file to write for
    Perfetto. In the mode the model is in, without gradients; buffers and random state are put back.
    """
    device = device_of(model)
    kinds = dict[str, str]()
    given = mapped(lambda tensor: tensor.to(device), inputs)
    times = defaultdict[str, list[float]](list)
    starts = list[float]()
    whole = list[float]()

    def clock() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return perf_counter()

    def leave(name: str, module: nn.Module, *call: Any) -> None:
        times[name].append(clock() - starts.pop())
        kinds[name] = type(module).__name__

    with preserved(model), torch.no_grad():
        peak = _peak_memory(lambda: model(*given), device, trace)
        for _ in range(repeats):
            start = clock()
            model(*given)
            whole.append(clock() - start)
        with watching(model, leave, lambda *call: starts.append(clock())):
            for _ in range(repeats):
                model(*given)
    rows = {}
    for name, taken in times.items():
        calls = len(taken) // repeats
        rows[name or "(model)"] = {"kind": kinds[name], "calls": calls, "ms": 1e3 * calls * median(taken)}
    seconds = median(whole)
    rate = len(next(tensors_in(given))) / median(whole)
    return table(
        rows, f"{1e3 * seconds:.4g} ms · {rate:,.4g} inputs per second · {peak / 2**20:,.4g} MiB at most"
    )


def _peak_memory(forward: Any, device: torch.device, trace: str | Path | None) -> float:
    """Return the most bytes in use, less those before, as torch's profiler counts them."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, KINETO_LOG_LEVEL="99"):  # it chats on stderr
        with torch.profiler.profile(profile_memory=True) as profiler:
            forward()
        path = Path(trace or f"{folder}/trace.json")
        profiler.export_chrome_trace(str(path))
        events = [
            event for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"
        ]
    own = [e for e in events if (e["args"]["Device Type"] == 0) == (device.type == "cpu")]
    return max(accumulate(e["args"]["Bytes"] for e in sorted(own, key=lambda e: e["ts"])), default=0)


class ResourceMonitor:
    """Samples what this process uses while a ``with`` block runs; the thread ends with the block.

    Then ``table()`` has seconds, CPU in % of one core, memory; with CUDA memory and use of the GPU.
    """

    def __init__(self, interval: float = 0.1) -> None:
        self.interval = interval
        self._rows = list[dict[str, float]]()

    def __enter__(self) -> "ResourceMonitor":
        self._done = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        process = psutil.Process()
        start = perf_counter()
        ended = False
        process.cpu_percent()  # counts from call to call
        while not ended:
            ended = self._done.wait(self.interval)
            row = {"seconds": perf_counter() - start, "CPU / %": process.cpu_percent()}
            row["memory / MiB"] = process.memory_info().rss / 2**20
            if torch.cuda.is_available():
                row["GPU memory / MiB"] = torch.cuda.memory_reserved() / 2**20
                with suppress(ModuleNotFoundError):  # torch asks for NVIDIA's own package, nvidia-ml-py
                    row["GPU / %"] = float(torch.cuda.utilization())
            self._rows.append(row)

    def table(self) -> Table:
        """Return a row a sample; ``plots.resource_curves`` draws them."""
        return Table(self._rows)
