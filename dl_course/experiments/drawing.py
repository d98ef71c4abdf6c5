"""Drawing: tables of runs and of trials, as Matplotlib axes."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dl_course.plots.style import COLORS, line_style, new_axes


def draw_curves(table: pd.DataFrame, column: str = "val_accuracy", ax: Axes | None = None) -> Axes:
    """Draw what ``curves`` gives: a line a setting, the mean of its seeds, in a band from least to most."""
    ax = new_axes(ax)
    for index, (setting, rows) in enumerate(table.groupby("setting", sort=False)):
        over = rows.groupby("epoch")[column]
        ax.fill_between(over.min().index, over.min(), over.max(), color=line_style(index)["color"], alpha=0.2)
        ax.plot(over.mean(), label=f"{setting} ({rows['seed'].nunique()} seeds)", **line_style(index))
    ax.set(xlabel="epoch", ylabel=column.replace("_", " "))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.legend(fontsize=8)
    return ax


def draw_seeds(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw what ``figures`` gives: a row a setting, a dot a seed, a bar at the mean."""
    metric = str(table.columns[-1])
    groups = list(table.groupby("setting", sort=False))
    ax = new_axes(ax, 5.5, 1 + 0.4 * len(groups))
    for row, (_, rows) in enumerate(groups):
        ax.plot(rows[metric], [row] * len(rows), "o", color=COLORS[0], alpha=0.6)
        ax.plot([rows[metric].mean()] * 2, [row - 0.3, row + 0.3], color=COLORS[3])
    ax.set_yticks(range(len(groups)), [str(setting) for setting, _ in groups], fontsize=9)
    ax.set(xlabel=metric.replace("_", " "), ylim=(len(groups) - 0.5, -0.5))
    return ax


def draw_trials(table: pd.DataFrame, ax: Axes | None = None, metric: str = "value") -> Axes:
    """Draw what ``trial_table`` gives: each trial's value; a cross where it was pruned."""
    ax = new_axes(ax)
    for index, (state, rows) in enumerate(table.groupby("state")):
        marker = {"complete": "o", "pruned": "x"}.get(str(state), "^")
        ax.plot(rows.index, rows["value"], marker, color=COLORS[index], label=str(state))
    ax.set(xlabel="trial", ylabel=metric)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.legend(fontsize=8)
    return ax
