"""The drawing pad: draw a digit with mouse or finger, and see what a network makes of it while you draw."""

import asyncio
import warnings
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize, to_pil_image
from torchvision.utils import make_grid
from traitlets import Dict, Int, List, Unicode

from dl_course import plots
from dl_course.evaluation import Predictor
from dl_course.explain import gradcam, overlay
from dl_course.hooks import capture
from dl_course.plots.style import COLORS, scale
from dl_course.registry import nearest
from dl_course.widgets.views import Drawing, Faced, data_url, script

SIDE = 28  # of a picture
BOX = 20  # the longer side of a digit
COARSE = 5  # the side of a map that still tells where
SHOWN = 64  # maps at most


def as_mnist(ink: Any) -> Tensor:
    """Return a drawing as MNIST would hold it, (28, 28) in [0, 1], bright on black; without ink, zeros.

    ink: (H, W), a file or what else ``Predictor`` reads, 0 where nothing is drawn; ValueError for others. It
    is scaled to fit 20×20, antialiased, and moved by whole pixels until its centre of mass is nearest to
    (14, 14), though never off the edge: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    drawn = Predictor(nn.Identity()).tensors(ink).mean(1)
    picture = torch.zeros(SIDE, SIDE)
    if not drawn.any():
        return picture
    _, rows, columns = drawn.nonzero(as_tuple=True)
    drawn = drawn[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = (max(1, round(BOX * side / max(drawn.shape))) for side in drawn.shape[1:])
    digit = resize(drawn, [height, width], antialias=True)[0].clamp(0, 1)
    top = _start(digit.sum(1))
    left = _start(digit.sum(0))
    picture[top : top + height, left : left + width] = digit
    return picture


def _start(ink: Tensor) -> int:
    centre = float((ink * torch.arange(len(ink))).sum() / ink.sum())
    return min(max(round(SIDE / 2 - centre), 0), SIDE - len(ink))


@dataclass(repr=False)
class Reading:
    """What a network makes of one picture; it shows itself."""

    picture: Tensor  # (C, H, W) in [0, 1]
    probabilities: pd.Series  # by class
    layer: str = ""
    maps: Tensor | None = None  # what the layer puts out, (channels, h, w)
    heat: Tensor | None = None  # Grad-CAM there for the likeliest class, (H, W)

    def __repr__(self) -> str:
        return ", ".join(f"{name} ({share:.0%})" for name, share in self.probabilities.nlargest(2).items())

    def pictures(self) -> dict[str, Tensor]:
        """Return what there is to see, each (C, H, W) in [0, 1]: "seen", "heat" laid over it, "maps"."""
        if self.maps is None or self.heat is None:
            return {"seen": self.picture}
        look = scale(values := self.maps[:SHOWN].numpy())
        colours = colormaps[look["cmap"]]((values - look["vmin"]) / (look["vmax"] - look["vmin"]))[..., :3]
        grid = make_grid(torch.from_numpy(colours).movedim(-1, 1), padding=1, pad_value=0.5)
        return {"seen": self.picture, "heat": overlay(self.picture[None], self.heat[None])[0], "maps": grid}

    def _repr_png_(self) -> bytes:
        figure = Drawing(figsize=(9 if self.layer else 5, 3.2), layout="constrained")
        tiles = self.pictures()
        rest = ["bars", "maps"] if self.layer else ["bars"]
        titles = {"seen": "picture"} | ({"heat": "where it looks"} if self.layer else {})
        axes = figure.subplot_mosaic([[name, *rest] for name in titles])
        for name, title in titles.items():
            plots.image_grid([tiles[name]], [title], axes[name])
        axes["bars"].barh(self.probabilities.index, self.probabilities, color=COLORS[0])
        top = axes["bars"].get_ylim()[::-1]  # the first class above
        axes["bars"].set(xlim=(0, 1), ylim=top, xlabel="probability", title=repr(self))
        if self.layer:
            maps = plots.feature_maps(self.maps, axes["maps"], limit=SHOWN)
            maps.set_title(f"maps of {self.layer}", fontsize=9)
        return figure._repr_png_()


class DrawingPad(Faced):
    """A pad to draw a digit on for a predictor to read; ``predict`` reads a picture without a front end.

    layer: whose maps to show, one of ``layers``, or ValueError; by default the last with maps of 5×5 or more.
    ``reading``: of the drawing, or None. What is drawn while the kernel is busy is read after it, once.
    """

    _esm = script("drawing")
    classes = List(Unicode()).tag(sync=True)
    layers = List(Unicode()).tag(sync=True)
    layer = Unicode().tag(sync=True)
    reading: Reading | None = None
    ink = Unicode().tag(sync=True)  # the canvas: a PNG as a data URL
    stroke = Int().tag(sync=True)  # the number of the question, which its answer repeats
    answer = Dict().tag(sync=True)

    def __init__(self, predictor: Predictor, layer: str | None = None) -> None:
        self.predictor = predictor
        self._soon = lambda read: read()
        with suppress(RuntimeError):  # where a cell runs, which may train the model, it is to end first
            self._soon = asyncio.get_running_loop().call_soon_threadsafe
        with capture(predictor.model) as seen:
            count = predictor.probabilities(torch.zeros(1, SIDE, SIDE)).shape[1]
        once = {name: calls[0].activation for name, calls in seen.items() if len(calls) == 1}
        maps = {name: min(y.shape[2:]) for name, y in once.items() if getattr(y, "ndim", 0) == 4}
        wide = [name for name, side in maps.items() if side >= COARSE]
        names = [str(name) for name in predictor.classes or range(count)]
        super().__init__(classes=names, layers=list(maps), layer=layer or (wide or ["", *maps])[-1])
        self._example()  # refuses a layer without maps
        self.observe(lambda change: self._soon(self._read), ["stroke", "layer"])

    def predict(self, image: Any, layer: str | None = None) -> Reading:
        """Return what the network makes of one picture, any that its predictor reads, or raise ValueError."""
        model = self.predictor.model
        layer = self.layer if layer is None else layer
        picture = Predictor(model, shape=self.predictor.shape).tensors(image).clamp(0, 1)
        if len(picture) > 1:
            raise ValueError(f"the pad reads one picture at a time; given: {len(picture)}")
        if layer not in (self.layers or [""]):
            raise ValueError(f"layer '{layer}' gives no maps in a single call{nearest(layer, self.layers)}")
        with capture(model, layer) as seen:
            table = pd.Series(self.predictor.probabilities(picture)[0], self.classes)
        if not layer:
            return Reading(picture[0], table)
        heat = gradcam(model, self.predictor.transform(picture), layer, int(table.argmax()))[0].float().cpu()
        return Reading(picture[0], table, layer, seen[layer][0].activation[0].float().cpu(), heat)

    def _example(self) -> Reading:
        with warnings.catch_warnings(action="ignore"):  # about what nobody drew
            return self.predict(_seven())

    def _read(self) -> None:
        self.reading = None
        answer = {"status": ""}
        with warnings.catch_warnings(record=True, action="always") as remarks:
            try:
                if self.ink:
                    png = BytesIO(b64decode(self.ink.partition(",")[2]))
                    self.reading = self.predict(as_mnist(png))
                    answer = _face(self.reading)
            except Exception as error:  # whatever the model raises: nobody would see a traceback
                answer = {"status": str(error)[:300]}
        said = "; ".join([answer["status"], *(str(remark.message) for remark in remarks)])
        self.answer = answer | {"stroke": self.stroke, "status": said}

    def _repr_png_(self) -> bytes:
        return (self.reading or self._example())._repr_png_()

    def __repr__(self) -> str:
        return f"DrawingPad: {type(self.predictor.model).__name__}; predict(image)"


def _face(reading: Reading) -> dict[str, Any]:
    urls = {name: data_url(to_pil_image(picture)) for name, picture in reading.pictures().items()}
    return {"status": repr(reading), "probabilities": list(reading.probabilities)} | urls


def _seven() -> Tensor:
    paper = Image.new("L", (280, 280))  # what to show where nobody has drawn yet
    ImageDraw.Draw(paper).line([(80, 60), (200, 60), (120, 230)], 255, 22, "curve")
    return as_mnist(paper)
