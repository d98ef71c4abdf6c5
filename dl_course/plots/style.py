"""What all plots share: axes to draw on, colours that everyone can tell apart, arrays from tensors."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# seaborn's "colorblind" palette, without the seconds that importing seaborn takes
COLORS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494"]


def line_style(index: int) -> dict[str, Any]:
    """Return how the curve of that number looks: told apart by colour, dashes and markers."""
    dashes = ["-", "--", "-.", ":"][index % 4]
    marker = "os^Dv<>P"[index % 8]
    return {"color": COLORS[index % 8], "linestyle": dashes, "marker": marker, "markersize": 4}


def new_axes(ax: Axes | None, width: float = 5.5, height: float = 3.4) -> Axes:
    """Return the axes given, else those of a new figure of that size in inches."""
    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="compressed")[1]


def panels(ax: Any, count: int) -> list[Axes]:
    """Return the axes given, one or several, as a list, else those of a new figure side by side."""
    if ax is None:
        _, ax = plt.subplots(1, count, figsize=(0.7 + 3.4 * count, 3.2), layout="constrained")
    return list(np.ravel(np.asarray(ax, dtype=object)))


def array(values: Any, axes: str = "") -> np.ndarray:
    """Return the values, a tensor's too, as an array; ValueError where it doesn't have the axes named."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    values = np.asarray(values)
    if axes and values.ndim != axes.count(",") + 1:
        raise ValueError(f"expected the shape ({axes}); given: {values.shape}")
    return values


def scale(values: np.ndarray) -> dict[str, Any]:
    """Return a colour map and its limits: viridis for magnitudes, diverging around 0 for signed values.

    The largest half percent lies beyond the limits, so that one value doesn't darken all others.
    """
    sizes = np.abs(values[np.isfinite(values)])
    limit = (np.percentile(sizes, 99.5) or sizes.max() or 1) if sizes.size else 1
    low, cmap = (-limit, "RdBu_r") if (values < 0).any() else (0, "viridis")
    return {"cmap": cmap, "vmin": low, "vmax": limit}


def colorbar(image: Any, label: str) -> None:
    """Draw the colour bar of an image beside it, with arrows where values lie beyond its ends."""
    beyond = "both" if image.norm.vmin < 0 else "max"
    extend = beyond if np.abs(image.get_array()).max() > image.norm.vmax else "neither"
    image.axes.figure.colorbar(image, ax=image.axes, label=label, extend=extend)
