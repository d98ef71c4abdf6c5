"""What can be drawn of a layer: a view asks a room below for numbers and plots for a picture of them."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL.Image import Image, fromarray
from torch import Tensor, nn
from traitlets import Dict, default

from dl_course import plots
from dl_course.diagnostics import activation_statistics
from dl_course.explain import gradcam, overlay
from dl_course.explain.maps import at_rest, channels_last, classes, scores_of
from dl_course.hooks import capture, resolve, tensors_in
from dl_course.language import words_in

WIDTH = 6.4  # of a figure, in inches
LETTER = 0.08  # how wide a letter of a label is, and how high a line of the heading
LINE = 0.2


class Drawing(Figure):
    """A figure that shows itself in a notebook, unknown to pyplot: nobody has to close it."""

    def _repr_png_(self) -> bytes:
        canvas = FigureCanvasAgg(self)
        file = BytesIO()
        canvas.draw()
        picture = fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # a third less to pack
        picture.save(file, "PNG", compress_level=1, compress_type=3)  # zlib's Z_RLE: quicker, and smaller
        return file.getvalue()


def script(name: str) -> str:
    """Return a widget's script as a page loads it: one module, with what all of them share before its own."""
    folder = Path(__file__).parent
    return "".join((folder / f"{each}.js").read_text(encoding="utf-8") for each in ("said", name))


class Faced(anywidget.AnyWidget):
    """A widget with a picture beside its live view, for where no front end is.

    words: what its script says, in the reader's language, by the English.
    """

    words = Dict().tag(sync=True)

    @default("words")
    def _words(self) -> dict[str, str]:
        return words_in(str(self._esm))

    def _repr_png_(self) -> bytes:
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        shown, metadata = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        return shown | {"image/png": b64encode(self._repr_png_()).decode()}, metadata


def data_url(picture: Image) -> str:
    """Return a picture as a PNG inside a URL, for a page to show."""
    picture.save(file := BytesIO(), "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


@dataclass
class Inspection:
    """What is looked at: a layer of a model that sees a picture, (C, H, W) in [0, 1].

    inputs: the same as the model wants it, (1, C, H, W) · target: the class that Grad-CAM explains, None for
    the predicted one · strength: the share of its map in the overlay · names: of the classes.
    """

    model: nn.Module
    layer: str
    picture: Tensor
    inputs: Tensor
    target: Any
    strength: float
    names: Sequence[str]

    def __post_init__(self) -> None:
        self.module = resolve(self.model, self.layer)
        self.title = f"{self.layer or '(model)'} ({type(self.module).__name__})"


def _features(seen: Inspection, ax: Axes) -> str:
    model = seen.model
    layer = seen.layer
    with at_rest(model, seen.inputs) as inputs, torch.no_grad(), capture(model, layer) as calls:
        model(inputs)
    output = next(tensors_in([call.activation for call in calls[layer]][::-1]), torch.empty(0))
    if output.ndim not in (2, 3, 4) or len(output) != 1:
        raise ValueError(
            f"{seen.title} put out {tuple(output.shape)} for this picture; "
            "maps (1, C, h, w), units (1, U) and tokens (1, T, U) can be drawn"
        )
    if output.ndim == 4:
        output = output.movedim(-1, 1) if channels_last(output.shape, seen.inputs) else output
        plots.feature_maps(output[0], ax)
    else:
        plots.unit_activations(output.flatten(0, -2), ax).set_ylabel("token" if output.ndim == 3 else "")
    return f"{seen.title}\nputs out {' × '.join(map(str, output.shape[1:]))}"


def _kernels(seen: Inspection, ax: Axes) -> str:
    weights = {name: getattr(module, "weight", None) for name, module in seen.module.named_modules()}
    found = {name: w for name, w in weights.items() if isinstance(w, Tensor) and w.ndim in (2, 4)}
    if "" not in found:
        where = f"'{seen.layer}.{next(iter(found))}' in it" if found else "a convolution or a linear layer"
        raise ValueError(f"{seen.title} has no kernels of its own; take {where}")
    weight = found[""]
    if weight[0, 0].numel() == 1:
        plots.weight_matrix(weight.flatten(1), ax)
    else:
        plots.kernels(weight, ax=ax)
    return f"{seen.title}\nhas weights of {' × '.join(map(str, weight.shape))}"


def _histogram(seen: Inspection, ax: Axes) -> str:
    table, heading = _measured(seen, [seen.layer])
    plots.histograms(table.histograms, ax, label="activation")
    if len(table) == 1:
        ax.set(ylim=(0, -1), yticks=[], ylabel="how often")
    return heading


def _gradcam(seen: Inspection, ax: Axes) -> str:
    with capture(seen.model, "") as calls:
        heat = gradcam(seen.model, seen.inputs, seen.layer, seen.target)
    chosen = int(classes(seen.target, scores_of(calls[""][0].activation, 1)))
    laid = overlay(seen.picture[None], heat.to(seen.picture), seen.strength)[0]
    plots.image_grid([seen.picture, laid], ["picture", "where it looks"], ax)
    name = seen.names[chosen] if chosen < len(seen.names) else f"class {chosen}"
    return f"{seen.title}\nGrad-CAM for '{name}'" + (", as predicted" if seen.target is None else "")


def _statistics(seen: Inspection, ax: Axes) -> str:
    named = seen.model.named_modules(remove_duplicate=False)
    alike = [name for name, module in named if type(module) is type(seen.module)]
    place = alike.index(seen.layer)
    table, heading = _measured(seen, alike[max(0, place - 2) : place + 3])  # more takes long
    plots.means(table, ax)
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == (seen.layer or "(model)") else "normal")
    return heading


def _measured(seen: Inspection, layers: Sequence[str]) -> tuple[Any, str]:
    with at_rest(seen.model, seen.inputs) as inputs:
        table = activation_statistics(seen.model, [inputs], layers)
    if (row := seen.layer or "(model)") not in table.index:
        raise ValueError(f"{seen.title} put out no numbers for this picture")
    mean, std, low, high, zero = table.loc[row, ["mean", "std", "min", "max", "zero"]]
    words = f"mean {mean:.3g} · std {std:.3g} · min {low:.3g} · max {high:.3g} · {zero:.0%} zero"
    return table, f"{seen.title}\n{words}"


VIEWS = {  # name: (label, how to draw it, what to see in it)
    "features": ("feature maps", _features, "each tile is a channel, bright where it answers"),
    "kernels": ("kernels", _kernels, "what each unit weighs of its input"),
    "histogram": ("histogram", _histogram, "how often each value comes; a peak at zero is silence"),
    "gradcam": ("Grad-CAM", _gradcam, "bright is what speaks for the class"),
    "statistics": ("statistics", _statistics, "mean ± std beside the layers of its kind"),
}


def draw_view(seen: Inspection, view: str) -> Drawing:
    """Return the figure of a view, as high as what is in it needs."""
    figure = Drawing(figsize=(WIDTH, WIDTH), dpi=80)
    ax = figure.add_subplot()
    heading = VIEWS[view][1](seen, ax)
    for axis in [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]:
        if isinstance(locator := axis.get_major_locator(), MaxNLocator):
            locator.set_params(nbins=4)  # each tick takes 3 ms
    _lay_out(figure, ax, heading)
    return figure


def _lay_out(figure: Figure, ax: Axes, heading: str) -> None:
    """Set margins in inches by counting letters: a layout engine would take longer than drawing."""
    labels = ax.get_yticklabels() if ax.axison else []
    longest = max((len(label.get_text()) for label in labels), default=0)
    left = min(0.45 + LETTER * longest, 4.6) if ax.axison else 0.1
    bottom = 0.55 if ax.axison else 0.1
    top = 0.15 + LINE * (len(heading.splitlines()) + bool(ax.get_title()))
    figure.subplots_adjust(left=left / WIDTH, right=1 - 0.25 / WIDTH)
    inside = _height_inside(ax)
    height = bottom + inside + top
    figure.set_figheight(height)
    figure.subplots_adjust(bottom=bottom / height, top=1 - top / height)
    figure.suptitle(heading, fontsize=10, y=1 - 0.08 / height)


def _height_inside(ax: Axes) -> float:
    """Return the inches that the axes need: a picture by its proportions, a chart by its number of rows."""
    if ax.get_aspect() == 1:
        proportion = np.ptp(ax.get_ylim()) / np.ptp(ax.get_xlim())
        return float(proportion * WIDTH * ax.get_position(True).width)
    return max(3.2, 0.25 * len(ax.get_yticks()))
