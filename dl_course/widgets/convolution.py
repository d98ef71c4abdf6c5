"""The convolution stepper: a kernel slides over a small picture, and every product and sum can be read."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from traitlets import Float, Int, List

from dl_course import plots
from dl_course.widgets.views import Drawing, Faced, script


class ConvolutionStepper(Faced):
    """A kernel that steps over a picture, in the page alone; ``output`` is what it computes, by torch.

    picture: (H, W) numbers, by default a bright bar · kernel: (k, k) · stride, padding: as in ``nn.Conv2d`` ·
    place: where the window stands, counted row by row. Raises ValueError where the kernel has no place.
    """

    _esm = script("convolution")
    picture = List(List(Float())).tag(sync=True)
    kernel = List(List(Float())).tag(sync=True)
    stride = Int(1, min=1).tag(sync=True)
    padding = Int(0, min=0).tag(sync=True)
    place = Int(0).tag(sync=True)

    def __init__(
        self, picture: Any = None, kernel: Any = None, *, stride: int = 1, padding: int = 0, place: int = 0
    ) -> None:
        bar = np.pad(np.ones((4, 2)), ((1, 1), (2, 2)))
        edges = [[-1.0, 0.0, 1.0]] * 3
        tables = [np.asarray(each, float) for each in (bar if picture is None else picture, kernel or edges)]
        if any(table.ndim != 2 for table in tables) or len(tables[1]) != len(tables[1].T):
            shapes = " and ".join(str(table.shape) for table in tables)
            raise ValueError(f"picture (H, W) and kernel (k, k) are wanted; given: {shapes}")
        if len(tables[1]) > min(tables[0].shape) + 2 * padding:
            raise ValueError(f"a kernel of {len(tables[1])} has no place; a larger padding makes some")
        named = dict(zip(("picture", "kernel"), (table.tolist() for table in tables), strict=True))
        super().__init__(**named, stride=stride, padding=padding, place=place)

    def output(self) -> Tensor:
        """Return the whole output, (rows, columns)."""
        picture, kernel = (torch.tensor(each)[None, None] for each in (self.picture, self.kernel))
        return F.conv2d(picture, kernel, stride=self.stride, padding=self.padding)[0, 0]

    def _repr_png_(self) -> bytes:
        output = self.output()
        place = min(max(0, self.place), output.numel() - 1)
        row, column = divmod(place, output.shape[1])
        seen = output.flatten().where(torch.arange(output.numel()) <= place, torch.nan).view_as(output)
        figure = Drawing(figsize=(9, 3), layout="constrained")
        widths = [len(self.picture[0]) + 2 * self.padding, len(self.kernel), output.shape[1]]
        axes = figure.subplots(1, 3, width_ratios=widths)
        window = (column * self.stride, row * self.stride, len(self.kernel))
        plots.numbers(np.pad(self.picture, self.padding), axes[0], "picture", window=window)
        plots.numbers(self.kernel, axes[1], "kernel")
        plots.numbers(
            seen, axes[2], f"output, place {place + 1} of {output.numel()}", window=(column, row, 1)
        )
        return figure._repr_png_()

    def __repr__(self) -> str:
        return f"ConvolutionStepper: {self.output().numel()} places of a kernel {len(self.kernel)} wide"
