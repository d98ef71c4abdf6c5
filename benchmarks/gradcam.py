"""Grad-CAM beside what a user would pick instead: seconds in turns, peak memory in processes of their own.

    python benchmarks/gradcam.py

ResNet-18, layer4, pictures of 224×224 on two CPU cores; random weights, which take as long. Exits 1 where a
figure is not met. pytorch-grad-cam comes with the extra "bench". Memory is read from Linux's /proc.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchvision.models import resnet18

from dl_course.explain import gradcam, gradcam_classes
from dl_course.runtime import preserved_rng

BATCH, CLASSES, ROUNDS = 16, range(10), 7
with preserved_rng(0):
    MODEL, IMAGES = resnet18().eval(), torch.randn(BATCH, 3, 224, 224)
TARGETS = list(range(BATCH))


@torch.no_grad()
def forward():
    MODEL(IMAGES)


def ours():
    gradcam(MODEL, IMAGES, "layer4", TARGETS)


def captum():
    LayerGradCam(MODEL, MODEL.layer4).attribute(IMAGES, TARGETS)


def pytorch_grad_cam():
    with GradCAM(MODEL, [MODEL.layer4]) as cam:
        cam(IMAGES, [ClassifierOutputTarget(target) for target in TARGETS])


def naive():
    """A picture at a time, backward to everything: as tutorials have it."""
    for image, target in zip(IMAGES, TARGETS, strict=True):
        kept = []
        handle = MODEL.layer4.register_forward_hook(
            lambda module, args, output, kept=kept: kept.append(output)
        )
        score = MODEL(image[None])[0, target]
        handle.remove()
        kept[0].retain_grad()
        score.backward()
        F.relu((kept[0].grad.mean((2, 3), keepdim=True) * kept[0]).sum(1))
        MODEL.zero_grad()


def ours_classes():
    gradcam_classes(MODEL, IMAGES[0], "layer4", CLASSES)


def captum_classes():
    for target in CLASSES:
        LayerGradCam(MODEL, MODEL.layer4).attribute(IMAGES[:1], target)


def captum_classes_at_once():
    LayerGradCam(MODEL, MODEL.layer4).attribute(IMAGES[:1].expand(10, -1, -1, -1), list(CLASSES))


def main() -> int:
    torch.set_num_threads(2)
    batch = in_turns(forward, ours, captum, pytorch_grad_cam, naive)
    classes = in_turns(ours_classes, captum_classes, captum_classes_at_once)
    memory = {
        function.__name__: peak(function.__name__) for function in (forward, ours, captum, pytorch_grad_cam)
    }
    for name, seconds in batch.items():
        print(f"{name:<24} {1000 * statistics.median(seconds) / BATCH:>8.1f} ms a picture")
    for name, seconds in classes.items():
        print(f"{name:<24} {1000 * statistics.median(seconds):>8.1f} ms for ten classes")
    for name, size in memory.items():
        print(f"{name:<24} {size:>8.0f} MiB more at the peak")

    def ratio(table, one, other):
        return statistics.median(a / b for a, b in zip(table[one], table[other], strict=True))

    figures = [
        ("time / forward alone", ratio(batch, "ours", "forward"), "<=", 1.1),
        ("time / captum's", ratio(batch, "ours", "captum"), "<=", 1.05),
        ("pytorch-grad-cam's time / ours", ratio(batch, "pytorch_grad_cam", "ours"), ">=", 2.5),
        ("ten classes: captum's time / ours", ratio(classes, "captum_classes", "ours_classes"), ">=", 8),
        ("peak memory / captum's", memory["ours"] / memory["captum"], "<=", 1),
    ]
    met = [value <= bound if sign == "<=" else value >= bound for _, value, sign, bound in figures]
    for (name, value, sign, bound), good in zip(figures, met, strict=True):
        print(f"{name:<36} {value:>6.2f}   {sign} {bound:<5} {'met' if good else 'NOT MET'}")
    _store(figures)
    return int(not all(met))


def _store(figures) -> None:
    from results import store

    keys = ("over-forward", "over-captum", "rival", "ten-classes", "memory")
    rounds = f"median of {ROUNDS} rounds of {BATCH} pictures of 224 × 224, ResNet-18"
    made = {
        key: {"what": name, "value": round(value, 3), "unit": "x", "limit": f"{sign} {bound}", "n": rounds}
        for key, (name, value, sign, bound) in zip(keys, figures, strict=True)
    }
    store("gradcam", "Grad-CAM: time and memory", "python benchmarks/gradcam.py", made)


def in_turns(*functions):
    for function in functions:
        function()
    table = {function.__name__: [] for function in functions}
    for _ in range(ROUNDS):
        for function in functions:
            start = time.perf_counter()
            function()
            table[function.__name__].append(time.perf_counter() - start)
    return table


def peak(name: str) -> float:
    """Return by how many MiB a call raises the peak of a new process that has run a small picture before."""
    return float(subprocess.run([sys.executable, __file__, name], capture_output=True, check=True).stdout)


def measure(name: str) -> None:
    torch.set_num_threads(2)
    with torch.no_grad():
        MODEL(IMAGES[:1, :, :64, :64])
    before = high_water()
    globals()[name]()
    print(high_water() - before)


def high_water() -> float:
    """Return the most memory the process has held, in MiB. getrusage would count what its parent held."""
    status = Path("/proc/self/status").read_text()  # Linux
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(measure(sys.argv[1]) if len(sys.argv) > 1 else main())
