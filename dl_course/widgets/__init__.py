"""Widgets: the interactive faces of the rooms below; each works with no front end too."""

from dl_course.widgets.drawing import DrawingPad, as_mnist
from dl_course.widgets.explorer import LayerExplorer

__all__ = ["DrawingPad", "LayerExplorer", "as_mnist"]
