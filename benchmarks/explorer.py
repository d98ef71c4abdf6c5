"""The layer explorer: milliseconds from a choice to its picture, as a kernel sees them.

    python benchmarks/explorer.py

ResNet-18, a picture of 224×224, on the CPU; random weights, which take as long. Each time another layer is
chosen, from first to last. Exits 1 where the median of a view is above 200 ms. Beside it: the forward alone.
"""

import asyncio
import statistics
import sys
import time

import torch
from torchvision.models import resnet18

from dl_course.runtime import preserved_rng
from dl_course.widgets import LayerExplorer
from dl_course.widgets.views import VIEWS

LAYERS = ["conv1", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "layer4.1.conv2"]
ROUNDS, LIMIT = 4, 200


async def main() -> int:
    with preserved_rng(0):
        model, images = resnet18().eval(), torch.rand(1, 3, 224, 224)
    explorer = LayerExplorer(model, images)
    slow = 0
    print(f"{'forward alone':<14} {1000 * statistics.median(forwards(model, images)):>6.0f} ms")
    for view in VIEWS:
        explorer.view.value = view
        await picture_of(explorer)
        seconds = [await choose(explorer, layer) for _ in range(ROUNDS) for layer in LAYERS]
        median, worst = (1000 * figure(seconds) for figure in (statistics.median, max))
        slow += median > LIMIT
        print(f"{view:<14} {median:>6.0f} ms   (<= {LIMIT} asked for; slowest {worst:.0f})")
    return int(slow > 0)


async def choose(explorer: LayerExplorer, layer: str) -> float:
    start = time.perf_counter()
    explorer.layer.value = layer
    await picture_of(explorer)
    if not explorer.image.value:
        raise RuntimeError(explorer.status.value)
    return time.perf_counter() - start


async def picture_of(explorer: LayerExplorer) -> None:
    while explorer.status.value == "drawing …":
        await asyncio.sleep(0.001)


@torch.no_grad()
def forwards(model: torch.nn.Module, images: torch.Tensor) -> list[float]:
    times = [time.perf_counter()]
    for _ in range(20):
        model(images)
        times.append(time.perf_counter())
    return [after - before for before, after in zip(times, times[1:], strict=False)]


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
