"""Pictures side by side, as one image on one set of axes: quick to draw, and at home in any figure."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dl_course.plots.style import array, colorbar, new_axes, scale


def image_grid(
    images: Any, titles: Sequence[str] | None = None, ax: Axes | None = None, *, columns: int | None = None,
    normalized: tuple[Any, Any] | None = None, heat: Any = None, label: str = "relevance",
) -> Axes:  # fmt: skip
    """Draw pictures, each under its title; a heat map covers them as far as it is hot.

    images: (N, C, H, W) or a list of (C, H, W), gray or RGB, bytes or floats in [0, 1] · normalized: the
    (mean, std) of the channels that Normalize took, to undo it · heat: (N, H, W), called label on its scale.
    """
    pictures = [_rgb(image, normalized) for image in images]
    if heat is None:
        return _draw(pictures, ax, titles=titles, columns=columns)
    return _draw(pictures, ax, label, titles=titles, columns=columns, heat=array(heat, "N, H, W"))


def feature_maps(activation: Any, ax: Axes | None = None, *, limit: int = 64) -> Axes:
    """Draw the first channels of one picture's activation, (C, H, W), on one scale."""
    maps = array(activation, "C, H, W")
    return _draw(maps[:limit], ax, "activation", f"{min(limit, len(maps))} of {len(maps)} channels")


def kernels(weight: Any, channel: int | None = None, ax: Axes | None = None, *, limit: int = 64) -> Axes:
    """Draw the first kernels of a convolution, (out, in, height, width), on one scale.

    Those on RGB in colour, where gray is zero; else, or with a channel, their weights on that channel (0).
    """
    weight = array(weight, "out, in, height, width")
    caption = f"{min(limit, len(weight))} of {len(weight)} kernels"
    if weight.shape[1] == 3 and channel is None:
        colours = 0.5 + weight.transpose(0, 2, 3, 1) / (2 * np.abs(weight).max() or 1)
        return _draw(colours[:limit], ax, caption=caption)
    channel = channel or 0
    return _draw(weight[:limit, channel], ax, "weight", f"{caption}, on input channel {channel}")


def attention(weights: Any, ax: Axes | None = None) -> Axes:
    """Draw each head's attention, (heads, T, T): a row is a token that asks, a column one that answers."""
    heads = array(weights, "heads, T, T")
    titles = [f"head {i}" for i in range(len(heads))]
    return _draw(heads, ax, "attention", "rows ask, columns answer", titles)


def _rgb(image: Any, normalized: tuple[Any, Any] | None) -> np.ndarray:
    picture = array(image, "C, H, W")
    if picture.dtype == np.uint8:
        picture = picture / 255
    if normalized is not None:
        mean, std = (np.reshape(array(each), (-1, 1, 1)) for each in normalized)
        picture = picture * std + mean
    low, high = picture.min(), picture.max()
    if low < -0.02 or high > 1.02:
        given = f"{low:.3g} to {high:.3g}"
        raise ValueError(f"pictures lie in [0, 1]; given: {given}; normalized=(mean, std) undoes Normalize")
    return picture.clip(0, 1).transpose(1, 2, 0).repeat(3 // len(picture), -1)


def _draw(
    tiles: Any, ax: Axes | None, label: str = "", caption: str = "", titles: Sequence[str] | None = None,
    columns: int | None = None, heat: np.ndarray | None = None,
) -> Axes:  # fmt: skip
    """Draw tiles, (H, W) on the colour scale of that label or (H, W, 3), with room for titles above them."""
    columns = columns or min(len(tiles), 6 if titles else 8)
    inches = min(6 / columns, 1.5) if ax is None else ax.get_window_extent().width / ax.figure.dpi / columns
    lines = max(title.count("\n") + 1 for title in titles) if titles else 0
    sheet = _Sheet(tiles, columns, titles=lines / inches)
    ax = new_axes(ax, columns * inches + 0.9 * bool(label), sheet.height * inches / sheet.right + 0.3)
    image = _show(ax, sheet.filled(tiles))
    if heat is not None:
        image = _show(ax, sheet.filled(heat), fading=True)
    for index, title in enumerate(titles or ()):
        top, left = sheet.corner(index)
        ax.text(left + (sheet.tile_width - 1) / 2, top - 1, title, ha="center", va="bottom", fontsize=9)
    if label:
        colorbar(image, label)
    ax.set_title(caption, fontsize=9, y=1)  # without y Matplotlib measures all ticks to place it
    ax.axis("off")
    return ax


class _Sheet:
    """Where tiles stand on one image, row by row; titles: lines of text to an inch of width."""

    def __init__(self, tiles: Any, columns: int, titles: float) -> None:
        self.columns = columns
        self.tile_width = max(tile.shape[1] for tile in tiles)
        self.tile_height = max(tile.shape[0] for tile in tiles)
        gap = 0.06 * self.tile_width
        title = 0.16 * titles * self.tile_width  # a line of the titles' font is 0.16 inches high
        self.right = self.tile_width + max(1, round(gap))  # from a tile to the next one beside it
        self.down = self.tile_height + max(1, round(gap + title))  # and below it
        self.height = math.ceil(len(tiles) / columns) * self.down

    def corner(self, index: int) -> tuple[int, int]:
        """Return the first row and column of a tile."""
        row, column = divmod(index, self.columns)
        return (row + 1) * self.down - self.tile_height, column * self.right

    def filled(self, tiles: Any) -> np.ndarray:
        """Return the image of all tiles; between them it is white, or NaN where tiles are numbers."""
        between = np.nan if tiles[0].ndim == 2 else 1.0
        shape = (self.height, self.columns * self.right, *tiles[0].shape[2:])
        canvas = np.full(shape, between, np.float32)
        for index, tile in enumerate(tiles):
            top, left = self.corner(index)
            canvas[top : top + len(tile), left : left + tile.shape[1]] = tile
        return canvas


def _show(ax: Axes, canvas: np.ndarray, fading: bool = False) -> Any:
    """Draw an image, numbers on their colour scale; fading: where they are small, what is below shows."""
    how = scale(canvas) if canvas.ndim == 2 else {}
    if fading:
        how["alpha"] = 0.85 * np.nan_to_num(np.abs(canvas) / how["vmax"]).clip(0, 1)
    return ax.imshow(canvas, **how)
