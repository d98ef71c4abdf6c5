"""Heat maps of matrices: weights, units, gates, confusions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dl_course.plots.style import COLORS, array, colorbar, new_axes, scale


def weight_matrix(weight: Any, ax: Axes | None = None) -> Axes:
    """Draw a weight matrix, (out, in)."""
    return _heatmap(array(weight, "out, in"), ("input", "output", "weight"), ax)


def unit_activations(activation: Any, ax: Axes | None = None) -> Axes:
    """Draw a fully connected layer's activations, (N, units): a row a picture."""
    return _heatmap(array(activation, "N, units"), ("unit", "picture", "activation"), ax)


def channel_gates(gates: Any, ax: Axes | None = None) -> Axes:
    """Draw how far each picture opens each channel's gate, (N, C, 1, 1) or (N, C), from 0, shut, to 1."""
    values = array(gates).reshape(len(gates), -1)
    return _heatmap(values, ("channel", "picture", "gate"), ax, cmap="viridis", vmin=0, vmax=1)


def confusion_matrix(counts: Any, classes: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw counts, or shares, (C, C): a row is a true class, a column a predicted one."""
    counts = array(counts, "true class, predicted class")
    names = [str(name) for name in (range(len(counts)) if classes is None else classes)]
    ax = new_axes(ax, 1.8 + 0.42 * len(counts), 1.0 + 0.42 * len(counts))
    shares = counts.dtype.kind == "f"
    most = counts.max(initial=0) or 1
    labels = ("predicted class", "true class", "share" if shares else "pictures")
    _heatmap(counts, labels, ax, cmap="viridis", vmin=0, vmax=most)
    if len(counts) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if count < 0.6 * most else "black"
            text = f"{count:.2f}" if shares else f"{count:,}"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    ax.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) <= 2 else 90)
    ax.set_yticks(range(len(names)), names)
    return ax


def numbers(
    table: Any, ax: Axes | None = None, title: str = "", *, window: tuple[int, int, int] | None = None,
    **how: Any,
) -> Axes:  # fmt: skip
    """Draw a table of numbers, (rows, columns), coloured and written; nothing where it is NaN.

    window: (left, top, side) of a frame around some of them · how: goes to ``imshow``, such as cmap and vmin.
    """
    values = array(table, "rows, columns")
    ax = new_axes(ax, 3, 3)
    limit = max(1.0, np.nanmax(np.abs(values), initial=0))
    ax.imshow(values, **({"cmap": "RdBu_r", "vmin": -2 * limit, "vmax": 2 * limit} | how))
    edge = np.array(values.shape) - 0.5
    ax.vlines(np.arange(-0.5, edge[1] + 1), -0.5, edge[0], color="0.75", linewidth=0.6)
    ax.hlines(np.arange(-0.5, edge[0] + 1), -0.5, edge[1], color="0.75", linewidth=0.6)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            ax.text(column, row, f"{value:.3g}".replace("-", "−"), ha="center", va="center")
    if window:
        left, top, side = window
        corner = (left - 0.5, top - 0.5)
        ax.add_patch(Rectangle(corner, side, side, fill=False, color=COLORS[1], linewidth=2.5))
    ax.set_title(title, fontsize=10)
    ax.axis("off")
    return ax


def _heatmap(values: np.ndarray, labels: tuple[str, str, str], ax: Axes | None, **how: Any) -> Axes:
    ax = new_axes(ax)
    image = ax.imshow(values, aspect="auto", interpolation="nearest", **(how or scale(values)))
    ax.set(xlabel=labels[0], ylabel=labels[1])
    colorbar(image, labels[2])
    return ax
