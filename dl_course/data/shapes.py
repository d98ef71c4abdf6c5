"""Shapes: generated pictures of which everything is known, also where the answer is.

One of ten shapes lies on textured ground among strokes and dots; a mask says which pixels are the shape.
The same seed gives the same bytes on every machine: Philox's raw bits, and float32 arithmetic that IEEE 754
rounds exactly (no sine, no matrix product).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Scenes = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]

VERSION = 1  # raise it when the drawing changes: it names the cached files
SIDE = 64  # of a picture
CORNER = 14  # the side of the patch in one corner that leaks the label
CHUNK = 25  # pictures drawn together: a set's first pictures do not depend on how many follow
CLUTTER = 6  # strokes and dots in a picture


def _colors(codes: str) -> Floats:
    return np.frombuffer(bytes.fromhex(codes), np.uint8).reshape(-1, 3).astype(np.float32)


# Light and dark tone of each ground, and the inks of what lies on it. A corner patch has the ink of its hint.
LIGHT = _colors("d6c4a0 465464 aabca0 604856 e0dad0 3c5e5a b2bcce 7c5e48")
DARK = _colors("b49a72 263042 769274 382a38 b8b4b2 1e3a3c 8090ae 523c2e")
INKS = _colors("e2463a f59430 fad04c 7ac048 24966e 48c2d4 2e6ac8 7c54c0 e46ca8 f6f2e8 2c2630")
_CONTRAST = np.minimum(*(abs(tone[:, None] - INKS).sum(2) for tone in (LIGHT, DARK)))  # (grounds, inks)
VISIBLE = np.argsort(-_CONTRAST, axis=1, kind="stable")[:, :7]  # the inks that stand out from each ground


class Dice:
    """Random numbers from a key of two integers, the same on every machine."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.Philox(key=np.array(key, np.uint64))

    def uniform(self, low: float, high: float, *shape: int) -> Floats:
        """Return numbers in [low, high), from the 24 bits that a float32 holds exactly."""
        words = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(40)
        return words.astype(np.float32).reshape(shape) * (2**-24 * (high - low)) + low

    def below(self, end: int, *shape: int) -> Ints:
        """Return whole numbers from 0 to end - 1."""
        return self.uniform(0, end, *shape).astype(np.int64)


def draw(labels: Ints, seed: int, hints: Ints | None = None) -> Scenes:
    """Draw one picture per label: images (N, 3, 64, 64) uint8, masks and patches (N, 64, 64) bool.

    With hints, a patch of the hinted class's ink covers one corner of each; the scenes are the same without.
    """
    parts = []
    for start in range(0, len(labels), CHUNK):
        rows = np.arange(start, start + CHUNK) % len(labels)  # always a whole chunk
        hint = None if hints is None else hints[rows]
        parts.append(_draw(labels[rows], hint, Dice(seed, start)))
    images, masks, patches = (np.concatenate(column)[: len(labels)] for column in zip(*parts, strict=True))
    return images, masks, patches


def _draw(labels: Ints, hints: Ints | None, dice: Dice) -> Scenes:
    ground = dice.below(len(LIGHT), CHUNK)
    each = np.arange(CHUNK)
    n = CHUNK * CLUTTER
    canvas = _textured(ground, dice)
    size = dice.uniform(0.8, 1.25, n)
    turn = dice.uniform(-3, 3, n)
    place = dice.uniform(3, SIDE - 3, 2, n)
    kind = len(SHAPES) + dice.below(2, n)
    on = each.repeat(CLUTTER)
    _lay(canvas, 17, on, kind, place, size, turn, _inks(ground[on], dice))

    size = dice.uniform(10, 14.5, CHUNK)
    turn = dice.uniform(-0.25, 0.25, CHUNK)
    place = 1.2 * size + dice.uniform(0, 1, 2, CHUNK) * (SIDE - 2.4 * size)
    masks = _lay(canvas, 36, each, labels, place, size, turn, _inks(ground, dice))

    patches = np.zeros_like(masks)
    if hints is not None:
        near = np.arange(SIDE) < CORNER
        edges = np.stack([near, near[::-1]])
        patches = edges[dice.below(2, CHUNK), :, None] & edges[dice.below(2, CHUNK), None, :]
        ink = INKS[hints] + dice.uniform(-14, 14, CHUNK, 3)
        np.copyto(canvas, ink[:, :, None, None], where=patches[:, None])
    return np.rint(canvas).clip(0, 255).astype(np.uint8), masks & ~patches, patches


def _textured(ground: Ints, dice: Dice) -> Floats:
    along, across = (_enlarged(dice.uniform(0, 1, CHUNK, *grid)) for grid in ((5, 17), (17, 5)))
    tone = across + (along - across) * dice.uniform(0, 1, CHUNK, 1, 1)
    tone = tone * 0.75 + dice.uniform(0, 0.25, CHUNK, SIDE, SIDE)
    light = LIGHT[ground, :, None, None]
    dark = DARK[ground, :, None, None]
    return np.asarray(dark + (light - dark) * tone[:, None], np.float32)


def _enlarged(grid: Floats) -> Floats:
    for axis in (2, 1):  # straight lines between the grid's values, along rows, then columns
        low, high = (np.moveaxis(grid, axis, 1)[:, part, None] for part in (slice(-1), slice(1, None)))
        between = np.arange(0, 1, low.shape[1] / SIDE, dtype=np.float32)[:, None]
        grid = np.moveaxis((low + (high - low) * between).reshape(len(grid), SIDE, -1), 1, axis)
    return grid


def _inks(ground: Ints, dice: Dice) -> Floats:
    return INKS[VISIBLE[ground, dice.below(VISIBLE.shape[1], len(ground))]] + dice.uniform(
        -14, 14, len(ground), 3
    )


def _lay(
    canvas: Floats, side: int, on: Ints, kind: Ints, place: Floats, size: Floats, turn: Floats, ink: Floats
) -> NDArray[np.bool_]:  # fmt: skip
    """Lay things and their shadows, each in a window of its own; return what they cover.

    turn: tangent of half the angle, from which sine and cosine follow exactly.
    """
    left, top = corner = (place - side / 2).astype(np.int64).clip(0, SIDE - side)
    pixels = (corner[:, :, None] + np.arange(side)).astype(np.float32) + 0.5 - place[:, :, None]
    dx = pixels[0, :, None, :]
    dy = pixels[1, :, :, None]
    turn = turn[:, None, None]
    size = size[:, None, None]
    cos = (1 - turn * turn) / (1 + turn * turn)
    sin = 2 * turn / (1 + turn * turn)
    u = (dx * cos + dy * sin) / size
    v = (dy * cos - dx * sin) / size

    depth = np.empty_like(u)  # in pixels, from the edge inwards
    for one in np.unique(kind):
        depth[kind == one] = -LEVELS[one](u[kind == one], v[kind == one])
    depth *= size
    cover = (depth + 0.5).clip(0, 1)
    shadow = (depth * 0.2 + 0.6).clip(0, 1)
    inside = depth > 0
    kept = ((1 - cover) * (1 - 0.45 * shadow))[:, None]
    laid = ink[:, :, None, None] * (cover * (1 - 0.14 * v))[:, None]

    covered = np.zeros((len(canvas), SIDE, SIDE), bool)
    for i, (picture, column, row) in enumerate(np.stack([on, left, top], 1).tolist()):
        window = canvas[picture, :, row : row + side, column : column + side]
        window *= kept[i]
        window += laid[i]
        covered[picture, row : row + side, column : column + side] = inside[i]
    return covered


def _disc(x: Floats, y: Floats, radius: float) -> Floats:
    return np.asarray(np.sqrt(x * x + y * y) - radius, np.float32)


def _box(x: Floats, y: Floats, width: float, height: float) -> Floats:
    return np.maximum(abs(x) - width, abs(y) - height)


def _star(x: Floats, y: Floats) -> Floats:
    normals = ((0.0, 1.0), (0.951, 0.309), (-0.951, 0.309), (0.588, -0.809), (-0.588, -0.809))
    return np.sort([x * a + y * b for a, b in normals], axis=0)[-2] - 0.36  # inside four of five lines


def _heart(x: Floats, y: Floats) -> Floats:
    wedge = np.maximum(np.maximum(abs(x) + y - 0.857, abs(x) - y - 0.75) * 0.707, -0.3 - y)
    return np.minimum(_disc(abs(x) - 0.45, y + 0.3, 0.5), wedge)


# Level functions in a thing's own coordinates, y pointing down: below 0 is inside, the slope is about 1.
SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "circle": lambda x, y: _disc(x, y, 0.9),
    "leaf": lambda x, y: _disc(abs(x) + 0.55, y, 1.15),
    "moon": lambda x, y: np.maximum(_disc(x, y, 0.95), -_disc(x - 0.68, y, 0.72)),
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "triangle": lambda x, y: np.maximum(abs(x) * 0.866 - (y - 0.2) * 0.5, y - 0.2) - 0.55,
    "star": _star,
    "heart": _heart,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.95, 0.34), _box(x, y, 0.34, 0.95)),
    "arrow": lambda x, y: np.minimum(
        np.maximum((abs(x) - y) * 0.707 - 0.68, y), _box(x, y - 0.45, 0.34, 0.5)
    ),
    "hourglass": lambda x, y: np.maximum(abs(x) * 0.76 - abs(y) * 0.65 - 0.09, abs(y) - 0.86),
}
LEVELS = (
    *SHAPES.values(),
    lambda x, y: _disc(np.maximum(abs(x) - 4.8, 0), y, 1.2),  # a stroke
    lambda x, y: _disc(x, y, 2.2),  # a dot
)
