"""Milliseconds a stroke on the drawing pad takes, from the canvas's PNG to the answer; a figure instead.

    python benchmarks/drawing.py

A seven grows stroke by stroke, as the front end sends it; every layer of chapter 06's network is shown in
turn. The rival, in turns with it, draws the same answer with Matplotlib, as ``Reading`` does on a page of a
notebook. Exits 1 where the slowest layer's median is above 100 ms.
"""

import base64
import io
import statistics
import sys
import time

import torch
from PIL import Image, ImageDraw

from dl_course import models
from dl_course.evaluation import Predictor
from dl_course.widgets import DrawingPad

NAME, STROKES, LIMIT = "digitnet-mnist", 12, 100


def main() -> int:
    torch.set_num_threads(2)
    pad = DrawingPad(Predictor(models.trained(NAME), shape=(1, 28, 28)))
    medians, figures = {}, []
    for layer in pad.layers:
        times = []
        for ink in growing():
            times.append(milliseconds(lambda ink=ink, layer=layer: ask(pad, ink, layer)))
            if layer == pad.layers[-1]:
                figures.append(milliseconds(pad.reading._repr_png_))
        medians[layer] = statistics.median(times)
        print(f"{layer:<16} {medians[layer]:>8.1f} ms a stroke, at most {max(times):.1f}")
    slowest, figure = max(medians.values()), statistics.median(figures)
    print(f"{'as a figure':<16} {figure:>8.1f} ms more")
    print(
        f"slowest layer {slowest:.1f} ms (<= {LIMIT} asked for); a figure: {figure / slowest:.1f} times that"
    )
    return int(slowest > LIMIT)


def growing():
    """Yield the canvas after each stroke, as a data URL."""
    paper = Image.new("RGBA", (280, 280), "black")
    pen = ImageDraw.Draw(paper)
    for step in range(1, STROKES + 1):
        pen.line(
            [(80, 60), (200, 60), (200 - 80 * step / STROKES, 60 + 170 * step / STROKES)],
            "white",
            24,
            "curve",
        )
        file = io.BytesIO()
        paper.save(file, "png")
        yield f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def ask(pad: DrawingPad, ink: str, layer: str) -> None:
    with pad.hold_trait_notifications():
        pad.ink, pad.layer, pad.stroke = ink, layer, pad.stroke + 1
    assert pad.answer["stroke"] == pad.stroke and "probabilities" in pad.answer, pad.answer["status"]


def milliseconds(function) -> float:
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
