"""A network's layers down the page, from input to output: distributions, means, gradients; their traces."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dl_course.plots.style import COLORS, array, colorbar, line_style, new_axes, scale


def histograms(found: Mapping[str, tuple[Any, Any]], ax: Axes | None = None, *, label: str = "value") -> Axes:
    """Draw a histogram a layer, {name: (counts (B,), edges (B + 1,))}, each as high as its own peak.

    Heights are roots of the counts, so that the zeros of a ReLU don't hide the rest.
    """
    ax = _rows(found, label, ax)
    for row, (counts, edges) in enumerate(found.values()):
        heights = 0.9 * (array(counts) / max(1, array(counts).max(initial=0))) ** 0.5
        ax.stairs(row - heights, array(edges), baseline=row, fill=True, color=COLORS[0])
    ax.axvline(0, color="0.75", linestyle=":", zorder=0)  # behind the bar that a ReLU piles up there
    return ax


def means(table: pd.DataFrame, ax: Axes | None = None, *, label: str = "activation, mean ± std") -> Axes:
    """Draw mean ± standard deviation a layer: the columns "mean" and "std" of a table with a row a layer."""
    ax = _rows(table.index, label, ax)
    ax.errorbar(table["mean"], range(len(table)), xerr=table["std"], fmt="o", color=COLORS[0], capsize=3)
    ax.axvline(0, color="0.4", linestyle=":")
    return ax


def gradient_flow(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the columns "ratio", gradient norm over weight norm, and "remark" of a row a parameter."""
    names = [f"{name} ({remark})" if remark else name for name, remark in table["remark"].items()]
    ax = _rows(names, "norm of gradient / norm of weight", ax)
    ax.plot(table["ratio"].where(table["ratio"] > 0), range(len(table)), **line_style(0))
    ax.set_xscale("log")
    return ax


def traces(table: pd.DataFrame, quantity: str, ax: Axes | None = None) -> Axes:
    """Draw how a quantity moves over steps, of a table with columns "step", "layer" and the quantity.

    Up to eight layers are lines; more are the rows of a heat map.
    """
    wide = table.pivot_table(quantity, "layer", "step", sort=False)
    if len(wide) > 8:
        ax = _rows(wide.index, "step", ax)
        values = wide.to_numpy(float)
        colorbar(ax.pcolormesh(wide.columns, range(len(wide)), values, **scale(values)), quantity)
        return ax
    ax = new_axes(ax)
    for index, (layer, row) in enumerate(wide.iterrows()):
        ax.plot(row.index, row, markevery=0.1, label=str(layer), **line_style(index))
    ax.set(xlabel="step", ylabel=quantity)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _rows(names: Any, label: str, ax: Axes | None) -> Axes:
    ax = new_axes(ax, 5.5, 1 + 0.22 * len(names))
    ax.set_yticks(range(len(names)), [str(name) for name in names], fontsize=9)
    ax.set(ylim=(len(names) - 0.3, -1.1), xlabel=label)  # the first layer on top
    return ax
