"""Gradient checking: does ``backward`` say what really happens when a number moves a little?"""

import copy
from typing import Any

import numpy as np

from dl_course.scratch.layers import Array


class GradientCheck(dict[str, tuple[float, tuple[int, ...]]]):
    """For the input "x" and each parameter: the largest relative error, and the index where it is."""

    tolerance = 1e-6

    @property
    def passed(self) -> bool:
        """Whether every error is within the tolerance; NaN is not."""
        return all(error <= self.tolerance for error, _ in self.values())

    def __repr__(self) -> str:
        title = f"gradient check {'passed' if self.passed else 'FAILED'} (tolerance {self.tolerance:.0e})"
        return "\n".join([title, *(f"  {k}: relative error {e:.1e} at {i}" for k, (e, i) in self.items())])


def gradient_check(layer: Any, x: Array, *targets: Array, at_most: int = 1000) -> GradientCheck:
    """Compare a layer's ``backward`` (with targets: a loss's) with central differences in float64, on a copy.

    L = Σ y·dout with random dout, so ∂L/∂p ≈ Σ (y(p + h) − y(p − h))·dout / 2h: two forwards of the batch for
    each number p of input and parameters (in large arrays: ``at_most``, random). Errors are relative to the
    array's largest derivative, or 1e-4 if that is larger. A kink within h (ReLU at 0) counts as an error.
    """
    layer = copy.deepcopy(layer)
    x = np.array(x, np.float64)
    rng = np.random.default_rng(0)
    parts = _parts(layer)
    for part in parts:
        part.params = {name: p.astype(np.float64) for name, p in getattr(part, "params", {}).items()}
    dice = [(part.rng.bit_generator, part.rng.bit_generator.state) for part in parts if hasattr(part, "rng")]

    def forward() -> Any:
        for generator, state in dice:
            generator.state = state  # Dropout draws the same mask every time
        return np.copy(layer.forward(x, *targets))

    def slope(p: Array, i: tuple[int, ...], h: float) -> float:
        kept = p[i]
        p[i] = kept + h
        above = forward()
        p[i] = kept - h
        below = forward()
        p[i] = kept
        return float(np.vdot(dout, above - below) / (2 * h))

    dout = np.asarray(rng.normal(size=forward().shape))
    claims = {"x": layer.backward(dout), **getattr(layer, "grads", {})}
    result = GradientCheck()
    for name, p in {"x": x, **layer.params}.items():
        if claims[name].shape != p.shape:
            raise ValueError(
                f"the gradient of {name} has shape {claims[name].shape}, {name} itself {p.shape}"
            )
        where = [tuple(map(int, np.unravel_index(i, p.shape))) for i in rng.permutation(p.size)[:at_most]]
        h = 6e-6 * max(1, np.abs(p).max(initial=0)) ** 0.5  # truncation and rounding are both small
        pairs = np.array([(slope(p, i, h), claims[name][i]) for i in where]).reshape(-1, 2)
        errors = np.abs(pairs[:, 0] - pairs[:, 1]) / max(1e-4, np.abs(pairs).max(initial=0))
        worst = int(errors.argmax()) if where else 0  # where max() would pass over a NaN
        result[name] = (float(errors[worst]), where[worst]) if where else (0.0, ())
    return result


def _parts(layer: Any) -> list[Any]:
    inside = getattr(layer, "layers", ())
    return [leaf for part in inside for leaf in _parts(part)] if inside else [layer]
