"""The measurements that a report rests on, drawn: a small panel each."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from dl_course import plots
from dl_course.plots.style import line_style, panels

SEEN_IN = {  # which measurement shows a fault
    "labels": "class-imbalance unshuffled-training labels-out-of-range labels-constant output-width",
    "trial": "lr-too-high lr-too-low nonfinite-loss no-update cannot-overfit-batch loss-is-a-sum",
    "gradients": "vanishing-gradients exploding-gradients zero-gradient no-gradient nonfinite-gradients",
    "layers": "bad-initialisation dead-units saturated-units missing-nonlinearity input-not-normalised",
}
TEXTS = {
    "labels": dict(title="Labels", xlabel="label", ylabel="samples looked at"),
    "trial": dict(title="Short trial on a copy", xlabel="step", ylabel="loss"),
    "gradients": dict(title="Gradients on one batch"),
    "layers": dict(title="Signal through the layers", xlabel="std of outputs over samples"),
}


def draw(report: Any) -> list[Axes]:
    """Draw what decided, a panel each, at most three; ValueError where nothing can be drawn."""
    shown = dict.fromkeys(name for each in report for name in SEEN_IN if each.fault in SEEN_IN[name].split())
    names = [name for name in shown if name in report.measured][:3]
    if not names:
        able = ", ".join(" ".join(SEEN_IN.values()).split())
        raise ValueError(
            f"found {sorted(report.faults)}; figures there are of {able}, where they were measured"
        )
    axes = panels(None, len(names))
    for name, ax in zip(names, axes, strict=True):
        PANELS[name](report.measured[name], ax)
        ax.set(**TEXTS[name])
    return axes


def _layers(spreads: dict[str, tuple[float, float]], ax: Axes) -> Axes:
    stds = {"ratio": [after for _, after in spreads.values()], "remark": ""}
    return plots.gradient_flow(pd.DataFrame(stds, list(spreads)), ax)


PANELS = {
    "labels": lambda values, ax: ax.bar(*(each.tolist() for each in values.unique(return_counts=True))),
    "trial": lambda values, ax: ax.plot(range(1, len(values) + 1), values, **line_style(0)),
    "gradients": plots.gradient_flow,
    "layers": _layers,
}
