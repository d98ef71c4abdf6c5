"""Statistics of all layers beside the plain forward pass, and beside keeping every activation.

    python benchmarks/layer_statistics.py

resnet18 on 10 batches of 32 pictures of 3×64×64. Exits 1 where our pass takes more than 1.7 times as long as
the plain one, in turns, where its peak of memory, in a process of its own, is more than 60 MiB higher,
or where a figure differs by more than 1e-5 from that of all activations kept and put together.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torchvision.models import resnet18

from dl_course.diagnostics import activation_statistics
from dl_course.hooks import watching

ROUNDS, BATCHES, SIZE = 7, 10, (32, 3, 64, 64)


def main() -> int:
    if sys.argv[1:]:
        return alone(sys.argv[1])
    model, loader = case()
    pairs = [(seconds(ours, model, loader), seconds(plain, model, loader)) for _ in range(ROUNDS)]
    time_ratio = statistics.median(one / other for one, other in pairs)
    memory = {name: peak(name) for name in WAYS}
    worst = difference(ours(model, loader), kept(model, loader))
    for name, pair in zip(("ours", "plain"), zip(*pairs, strict=True), strict=True):
        print(f"{name:<6} {statistics.median(pair):>8.2f} s  {memory[name]:>8.0f} MiB at most")
    print(f"kept   {seconds(kept, model, loader):>8.2f} s  {memory['kept']:>8.0f} MiB at most")
    more = memory["ours"] - memory["plain"]
    print(f"time × {time_ratio:.2f} (<= 1.7 asked for), memory +{more:.0f} MiB (<= 60)")
    print(f"greatest difference {worst:.1e} (<= 1e-5)")
    return int(time_ratio > 1.7 or more > 60 or not worst <= 1e-5)


def case():
    torch.manual_seed(0)
    return resnet18(num_classes=10).eval(), [torch.rand(SIZE) for _ in range(BATCHES)]


def plain(model, loader):
    with torch.no_grad():
        for x in loader:
            model(x)


def ours(model, loader):
    return activation_statistics(model, loader)


def kept(model, loader):
    """Return the figures as most write them: clone every activation, put them together, then compute."""
    outputs: dict[tuple[str, int], list] = {}
    calls: dict[str, int] = {}

    def leave(name, module, args, kwargs, output):
        if not any(module.children()):
            calls[name] = calls.get(name, 0) + 1
            outputs.setdefault((name, calls[name]), []).append(output.clone())

    with torch.no_grad(), watching(model, leave):
        for x in loader:
            calls.clear()
            model(x)
    found = {}
    for (name, call), tensors in outputs.items():
        x = torch.cat(tensors)
        values = x.double()
        found[f"{name} #{call}" if call > 1 else name] = {
            "mean": values.mean(), "std": values.std(correction=0), "norm": values.norm(), "min": x.min(),
            "max": x.max(), "zero": (x == 0).double().mean(), "near_zero": (x.abs() <= 1e-3).double().mean(),
        }  # fmt: skip
    return found


WAYS = {"ours": ours, "plain": plain, "kept": kept}


def difference(table, reference) -> float:
    """Return the greatest difference, in units of the layer's standard deviation; of norms, relative."""
    worst = 0.0
    assert set(reference) <= set(table.index)
    for name, figures in reference.items():
        for key, value in figures.items():
            unit = {"zero": 1, "near_zero": 1, "norm": value}.get(key, figures["std"])
            worst = max(worst, float(abs(table.loc[name, key] - value) / unit))
    return worst


def seconds(way, model, loader) -> float:
    start = time.perf_counter()
    way(model, loader)
    return time.perf_counter() - start


def peak(name: str) -> float:
    done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
    return float(done.stdout)


def alone(name: str) -> int:
    model, loader = case()
    WAYS[name](model, loader[:1])  # libraries load, buffers grow
    WAYS[name](model, loader)
    status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main())
