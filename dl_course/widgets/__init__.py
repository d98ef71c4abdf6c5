"""Widgets: the interactive faces of the rooms below; each works with no front end too."""

from dl_course.widgets.convolution import ConvolutionStepper
from dl_course.widgets.descent import DescentPlayground
from dl_course.widgets.drawing import DrawingPad, as_mnist
from dl_course.widgets.explorer import LayerExplorer

__all__ = ["ConvolutionStepper", "DescentPlayground", "DrawingPad", "LayerExplorer", "as_mnist"]
