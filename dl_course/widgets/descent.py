"""The descent playground: an optimizer walks down a surface; rate, method and noise are yours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from traitlets import Enum, Float, Int, List

from dl_course.plots.style import COLORS
from dl_course.widgets.views import Drawing, Faced, script

SURFACES: dict[str, Callable[[Any, Any], Any]] = {
    "bowl": lambda x, y: (x**2 + 2 * y**2) / 2,
    "ravine": lambda x, y: (x**2 / 2 + 12 * y**2) / 2,
    "saddle": lambda x, y: (x**2 - y**2) / 2 + y**4 / 8,
    "two valleys": lambda x, y: (x**2 - 2) ** 2 / 4 + 0.3 * x + y**2 / 2,
}
METHODS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9),
    "adam": torch.optim.Adam,
}


class DescentPlayground(Faced):
    """A walk down a surface, one of ``SURFACES``, in the page alone; ``path`` is the same by torch.

    method: "sgd", "momentum" (0.9) or "adam" · rate: the learning rate · noise: standard deviation added to
    each gradient, drawn in the page by seed · start: (x, y) · steps: taken so far. TraitError for others.
    """

    _esm = script("descent")
    surface = Enum(list(SURFACES), "ravine").tag(sync=True)
    method = Enum(list(METHODS), "sgd").tag(sync=True)
    rate = Float(0.1, min=0).tag(sync=True)
    noise = Float(0.0, min=0).tag(sync=True)
    start = List(Float(), [-2.5, 1.0], minlen=2, maxlen=2).tag(sync=True)
    seed = Int(0).tag(sync=True)
    steps = Int(0, min=0, max=500).tag(sync=True)

    def path(self, steps: int | None = None) -> Tensor:
        """Return the places of a walk without noise, (steps + 1, 2), the start first."""
        place = torch.tensor(self.start, dtype=torch.float64, requires_grad=True)
        optimizer = METHODS[self.method]([place], lr=self.rate)
        places = [place.detach().clone()]
        for _ in range(self.steps if steps is None else steps):
            optimizer.zero_grad()
            SURFACES[self.surface](*place).backward()
            optimizer.step()
            places.append(place.detach().clone())
        return torch.stack(places)

    def _repr_png_(self) -> bytes:
        places = self.path(self.steps or 30)
        x, y = np.meshgrid(np.linspace(-3, 3, 200), np.linspace(-3, 3, 200))
        figure = Drawing(figsize=(4.6, 4.2), layout="constrained")
        ax = figure.subplots()
        ax.contourf(x, y, np.sqrt(SURFACES[self.surface](x, y) + 3), levels=12, cmap="Blues_r")
        ax.plot(*places.T, "o-", color=COLORS[1], markersize=4, markeredgecolor="black")
        title = f"{self.surface}, {self.method}, rate {self.rate:g}: {len(places) - 1} steps"
        ax.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="x", ylabel="y", title=title)
        return figure._repr_png_()

    def __repr__(self) -> str:
        return f"DescentPlayground: {self.method} on '{self.surface}', rate {self.rate:g}"
