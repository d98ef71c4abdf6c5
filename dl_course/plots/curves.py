"""Curves over epochs, learning rates and seconds."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dl_course.plots.style import COLORS, array, line_style, new_axes, panels


def learning_curves(table: pd.DataFrame, ax: Any = None) -> list[Axes]:
    """Draw training beside validation, a panel a quantity (loss, accuracy, …); return the panels' axes.

    table: a row an epoch, with columns such as train_loss and val_loss, and "epoch" as a column or the index.
    ax: one or more axes, for as many of the quantities; by default a new figure has room for all.
    """
    names = [str(name).removeprefix("train_") for name in table if str(name).startswith("train_")]
    if not names:
        raise ValueError(f"no column begins with 'train_'; there are: {', '.join(map(str, table))}")
    drawn = panels(ax, len(names))
    for panel, name in zip(drawn, names, strict=False):
        for index, (column, label) in enumerate([("train_", "training"), ("val_", "validation")]):
            if len(values := table.get(column + name, pd.Series(dtype=float)).dropna()):
                epochs = table.get("epoch", table.index.to_series())[values.index]
                panel.plot(epochs, values, label=label, **line_style(index))
        panel.set(xlabel="epoch", ylabel=name.replace("_", " "))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.legend()
    return drawn


def learning_rate_curve(
    rates: Any, losses: Any, suggestion: float | None = None, band: tuple[float, float] | None = None,
    ax: Axes | None = None, *, smoothed: Any = None,
) -> Axes:  # fmt: skip
    """Draw the loss over the learning rate, and it smoothed; the suggestion, and a band of several ones."""
    ax = new_axes(ax)
    line = array(losses if smoothed is None else smoothed)
    if smoothed is not None:
        ax.plot(array(rates), array(losses), ".", color="0.6", markersize=4, label="loss of a batch")
    ax.plot(array(rates), line, color=COLORS[0], label="loss" if smoothed is None else "smoothed")
    if band is not None:
        ax.axvspan(*band, color=COLORS[1], alpha=0.25, label="band of suggestions")
    if suggestion is not None:
        ax.axvline(suggestion, color=COLORS[1], linestyle="--", label=f"suggestion {suggestion:.2g}")
    seen = np.concatenate([line, array(losses)])
    low = np.nanmin(seen[np.isfinite(seen)])
    high = np.nanmax(line[: np.nanargmin(line) + 1])
    if high > low:  # what comes after the explosion would flatten all before it
        ax.set_ylim(low - 0.1 * (high - low), high + 0.3 * (high - low))
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
    ax.legend()
    return ax


def reliability(table: pd.DataFrame, ece: float, ax: Axes | None = None) -> Axes:
    """Draw accuracy over confidence, columns of a table with a row a bin; on the diagonal the two agree."""
    ax = new_axes(ax, 4, 3.8)
    ax.plot([0, 1], [0, 1], "--", color="0.4", label="perfectly calibrated")
    ax.plot(table["confidence"], table["accuracy"], label=f"calibration error {ece:.3f}", **line_style(0))
    ax.set(xlabel="mean confidence of a bin", ylabel="accuracy of a bin", xlim=(0, 1.02), ylim=(0, 1.02))
    ax.legend()
    return ax


def resource_curves(table: pd.DataFrame, ax: Any = None) -> list[Axes]:
    """Draw what a run used, one panel a column, over the column "seconds"; return the panels' axes."""
    names = [name for name in table if name != "seconds"]
    drawn = panels(ax, len(names))
    for panel, name in zip(drawn, names, strict=False):
        panel.plot(table["seconds"], table[name], color=COLORS[0])
        panel.set(xlabel="time / s", ylabel=name, ylim=(0, None))
    return drawn
