"""What the live figures need, made at build time: an ONNX file, stored activations, modules from npm."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from book import HERE, ROOT, BookError

RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.mjs")
LAYERS = ("stem.2", "stage1.conv1", "stage1", "stage2.conv1", "stage2", "stage3.conv1", "stage3")
PICTURES = 6  # of the explorer, each of another class
ASK = """async ([url, stroke]) => {
  const model = document.querySelector(".live").model;
  const answered = new Promise(done => model.on("change:answer", done));
  model.set("ink", url);
  model.set("stroke", stroke);
  model.save_changes();
  return (await answered).probabilities;
}"""


def vendored(package: str) -> Path:
    """Return the folder of an npm package, installed into book/ where it is missing; or raise BookError."""
    folder = HERE / "node_modules" / package
    if not folder.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            raise BookError(f"{package} is missing and npm isn't installed: install Node.js, which brings it")
        done = subprocess.run(
            [npm, "ci", "--prefix", HERE], cwd=HERE, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BookError(f"{package} is missing and npm could not fetch it: {_last_line(done.stderr)}")
    return folder


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and "complete log" not in line]
    return lines[-1] if lines else "it said nothing"


def vendored_file(package: str, path: str) -> Path:
    """Return a file of an npm package; BookError where the package has none such."""
    found = vendored(package) / path
    if not found.is_file():
        raise BookError(
            f"{found.relative_to(ROOT)} is missing; remove book/node_modules and run make book again"
        )
    return found


def put_runtime(folder: Path) -> int:
    """Copy ONNX Runtime for the browser to the folder; return how many bytes a reader loads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        shutil.copy2(vendored_file("onnxruntime-web", f"dist/{name}"), folder / name)
    return sum((folder / name).stat().st_size for name in RUNTIME[:2])


def put_digit_reader(folder: Path, cache: Path) -> int:
    """Write digits.onnx, chapter 06's network as chapter 08 exports one, and return its bytes.

    The export takes seconds, so it is kept in the cache until weights or exporter change.
    """
    from dl_course.models.init import TRAINED

    made_of = [TRAINED / "digitnet-mnist.safetensors", ROOT / "dl_course/deploy/export.py"]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in made_of)).hexdigest()[:16]
    kept = cache / f"digits-{key}.onnx"
    if not kept.is_file():
        from dl_course.deploy import to_onnx

        cache.mkdir(parents=True, exist_ok=True)
        to_onnx(digit_reader(), kept)
    shutil.copy2(kept, folder / "digits.onnx")
    return kept.stat().st_size


def digit_reader() -> Any:
    """Return the predictor of chapter 06's drawing pad: MNIST's digits, (1, 28, 28)."""
    from dl_course.evaluation import Predictor
    from dl_course.models import model_card, trained

    return Predictor(
        trained("digitnet-mnist"), classes=model_card("digitnet-mnist")["classes"], shape=(1, 28, 28)
    )


def read_by_both(tab: Any, pictures: Sequence[Any]) -> tuple[Any, Any]:
    """Return what the pad of a page that is open and ready says of pictures, and PyTorch, (N, 10) each.

    pictures: (H, W) in [0, 1]; each is drawn ten times as large, and both see the same drawing.
    """
    import torch
    from PIL import Image

    from dl_course.widgets import as_mnist

    reader = digit_reader()
    answers = []
    expected = []
    for number, picture in enumerate(pictures, 1):
        small = Image.fromarray((picture * 255).round().byte().numpy())
        file = io.BytesIO()
        small.resize((280, 280), Image.Resampling.BICUBIC).convert("RGBA").save(file, "png")
        url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        answers.append(tab.evaluate(ASK, [url, number]))
        expected.append(reader.probabilities(as_mnist(Image.open(file))))
    return torch.tensor(answers), torch.cat(expected)


def put_explorer(folder: Path) -> None:
    """Write explorer.json and its pictures: what every layer of one network makes of a few scenes."""
    import torch
    from torchvision.transforms.v2 import Normalize

    from dl_course.data import load
    from dl_course.hooks import capture
    from dl_course.models import model_card, trained

    about, model, scenes = (
        model_card("tinyresnet-shapes"),
        trained("tinyresnet-shapes").eval(),
        load("shapes", "test"),
    )
    labels = torch.as_tensor(scenes.labels)
    chosen = [int((labels == label).nonzero()[0]) for label in range(PICTURES)]
    pictures = torch.stack([scenes[index][0] for index in chosen])
    inputs = Normalize(**about["normalize"])(pictures)
    with torch.no_grad(), capture(model, list(LAYERS)) as seen:
        shares = model(inputs).softmax(1)
    (folder / "explorer").mkdir(parents=True, exist_ok=True)
    activations = {name: seen[name][0].activation for name in LAYERS}
    heats = _heats(model, inputs, pictures, shares.argmax(1))
    record = {"layers": [_layer(model, name, activations[name]) for name in LAYERS], "pictures": []}
    for place, index in enumerate(chosen):
        views = [_views(folder, place, name, activations[name][place], heats[name][place]) for name in LAYERS]
        record["pictures"].append({
            "file": _picture(folder, f"explorer/{place}.png", pictures[place]),
            "class": about["classes"][int(labels[index])],
            "predicted": about["classes"][int(shares[place].argmax())],
            "said": f"{about['classes'][int(shares[place].argmax())]} ({shares[place].max():.0%})",
            "layers": views,
        })  # fmt: skip
    (folder / "explorer.json").write_text(json.dumps(record), "utf-8")


def _layer(model: Any, name: str, activation: Any) -> dict[str, Any]:
    _, channels, height, width = activation.shape
    kind = type(model.get_submodule(name)).__name__
    return {"name": name, "kind": kind, "channels": channels, "size": f"{height} × {width}"}


def _heats(model: Any, inputs: Any, pictures: Any, classes: Any) -> dict[str, Any]:
    from dl_course.explain import gradcam, overlay

    with warnings.catch_warnings(action="ignore"):  # of maps that are all zeros
        return {name: overlay(pictures, gradcam(model, inputs, name, classes)) for name in LAYERS}


def _views(folder: Path, place: int, name: str, maps: Any, heat: Any) -> dict[str, str]:
    """Write one layer's maps and Grad-CAM for one picture; return where, and three numbers in words."""
    stem = f"explorer/{place}-{name.replace('.', '-')}"
    return {
        "maps": _grid(folder, f"{stem}.png", maps.numpy()),
        "heat": _picture(folder, f"{stem}-heat.png", heat),
        "mean": f"{maps.mean():.2f}",
        "max": f"{maps.max():.2f}",
        "zero": f"{(maps == 0).float().mean():.0%}",
    }


def _picture(folder: Path, name: str, picture: Any) -> str:
    from torchvision.transforms.v2.functional import to_pil_image

    to_pil_image(picture.clamp(0, 1)).save(folder / name, optimize=True)
    return name


def _grid(folder: Path, name: str, maps: Any) -> str:
    """Write the maps (C, H, W) side by side, in the colours that the course's plots have."""
    import numpy as np
    from matplotlib import colormaps
    from PIL import Image

    from dl_course.plots.style import scale

    look = scale(maps)
    columns = int(np.ceil(np.sqrt(len(maps))))
    rows = -(-len(maps) // columns)
    height, width = maps.shape[1:]
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), 255, np.uint8)
    for place, each in enumerate(maps):
        row, column = divmod(place, columns)
        top, left = 1 + row * (height + 1), 1 + column * (width + 1)
        share = (each - look["vmin"]) / (look["vmax"] - look["vmin"])
        sheet[top : top + height, left : left + width] = np.clip(share * 254, 0, 254).astype(np.uint8)
    picture = Image.fromarray(sheet, "P")
    colours = (colormaps[look["cmap"]](np.linspace(0, 1, 255))[:, :3] * 255).astype(np.uint8)
    picture.putpalette([*colours.ravel().tolist(), 127, 127, 127])
    picture.save(folder / name, optimize=True)
    return name


def put_state(folder: Path, name: str, widget: Any) -> None:
    """Write a widget's own synchronised traits, from which its module draws itself on a page."""
    ours = [name for name, trait in widget.traits(sync=True).items() if _is_ours(name, trait)]
    (folder / f"{name}.json").write_text(json.dumps({key: getattr(widget, key) for key in ours}), "utf-8")


def _is_ours(name: str, trait: Any) -> bool:
    return not name.startswith("_") and trait.this_class.__module__.startswith("dl_course.")


def put_all(static: Path, cache: Path) -> dict[str, str]:
    """Fill _static with all that the live figures need; return what a page says about it."""
    size = put_runtime(static / "ort")  # first, since npm may be missing
    from dl_course.widgets import ConvolutionStepper, DescentPlayground
    from dl_course.widgets.views import script

    for name in ("live", "widgets"):
        (static / name).mkdir(parents=True, exist_ok=True)
    size += put_digit_reader(static / "ort", cache)
    (static / "live" / "pad.json").write_text(json.dumps(pad_state()), "utf-8")
    put_explorer(static / "live")
    put_state(static / "live", "convolution", ConvolutionStepper(place=7))
    put_state(static / "live", "descent", DescentPlayground(steps=12))
    for name in ("convolution", "descent", "drawing"):
        (static / "widgets" / f"{name}.js").write_text(script(name), "utf-8")
    return {"pad_megabytes": f"{size / 1e6:.1f}"}


def pad_state() -> dict[str, Any]:
    """Return the traits with which the drawing pad begins."""
    return {
        "classes": [str(digit) for digit in range(10)],
        "layers": [],
        "layer": "",
        "ink": "",
        "stroke": 0,
        "answer": {},
    }
