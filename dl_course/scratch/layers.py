"""Layers: each can go forward, and can carry a gradient back. That is all that backpropagation needs.

A layer writes two formulas: ``_forward(x)`` for y, and ``_backward(dout)`` for ∂L/∂x where dout = ∂L/∂y.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Seed = int | np.random.Generator | None


class Layer:
    """A step of a network: parameters, their gradients by the same names, the last input x and output y."""

    _forward: Callable[[Array], Array]
    _backward: Callable[[Array], Array]
    settings: object = ""
    layers: tuple["Layer", ...] = ()
    training = True

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}

    def forward(self, x: Array) -> Array:
        """Return y for samples x, (N, d), and remember both for ``backward``."""
        self.x = x
        self.y = self._forward(x)
        return self.y

    def backward(self, dout: Array) -> Array:
        """Return ∂L/∂x for dout = ∂L/∂y; ``grads`` then holds ∂L/∂p. ValueError for a shape unlike y's."""
        expected = self.y.shape if hasattr(self, "y") else "yet to come: call forward first"
        if dout.shape != expected:
            raise ValueError(f"{self}: dout has shape {dout.shape}, the last output's is {expected}")
        return self._backward(dout)

    def train(self, mode: bool = True) -> None:
        """Switch to training, or with False to evaluation, also inside; only Dropout tells them apart."""
        self.training = mode
        for layer in self.layers:
            layer.train(mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings})"


class Linear(Layer):
    """y = x·w + b for x (..., n_in), with w (n_in, n_out) (torch keeps its transpose) and b (n_out,).

    He initialisation, w ~ N(0, 2/n_in), keeps the size of signals through ReLUs (He et al., ICCV 2015).
    """

    def __init__(self, n_in: int, n_out: int, seed: Seed = None, dtype: DTypeLike = np.float32) -> None:
        w = np.random.default_rng(seed).normal(0, np.sqrt(2 / n_in), (n_in, n_out))
        self.params = {"w": w.astype(dtype), "b": np.zeros(n_out, dtype)}
        self.grads = {name: np.zeros_like(p) for name, p in self.params.items()}
        self.settings = f"{n_in}, {n_out}"

    def _forward(self, x: Array) -> Array:
        n_in = len(self.params["w"])
        if x.shape[-1:] != (n_in,):
            raise ValueError(f"{self} takes x of shape (..., {n_in}); given: {x.shape}")
        return x @ self.params["w"] + self.params["b"]

    def _backward(self, dout: Array) -> Array:
        w = self.params["w"]
        x = self.x.reshape(-1, w.shape[0])
        dy = dout.reshape(-1, w.shape[1])
        self.grads["w"] = x.T @ dy  # ∂L/∂w = xᵀ·dout
        self.grads["b"] = dy.sum(axis=0)  # ∂L/∂b = Σ dout over the samples
        return dout @ w.T  # ∂L/∂x = dout·wᵀ


class ReLU(Layer):
    """y = max(x, 0), so ∂L/∂x = dout where y > 0, else 0."""

    def _forward(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def _backward(self, dout: Array) -> Array:
        return dout * (self.y > 0)


class Sigmoid(Layer):
    """y = 1 / (1 + e⁻ˣ), written exp(−log(1 + e⁻ˣ)) to never overflow, so ∂L/∂x = dout · y · (1 − y)."""

    def _forward(self, x: Array) -> Array:
        return np.exp(-np.logaddexp(0, -x))

    def _backward(self, dout: Array) -> Array:
        return dout * self.y * (1 - self.y)


class Tanh(Layer):
    """y = tanh x, so ∂L/∂x = dout · (1 − y²)."""

    def _forward(self, x: Array) -> Array:
        return np.tanh(x)

    def _backward(self, dout: Array) -> Array:
        return dout * (1 - self.y**2)


class Dropout(Layer):
    """y = x · mask: in training 0 with probability p, else 1 / (1 − p), so y has the mean of x; later 1."""

    def __init__(self, p: float = 0.5, seed: Seed = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p is a probability, 0 ≤ p < 1; given: {p}")
        self.p = p
        self.rng = np.random.default_rng(seed)
        self.settings = p

    def _forward(self, x: Array) -> Array:
        p = self.p if self.training else 0.0
        self.mask = (self.rng.random(x.shape) >= p).astype(x.dtype) / (1 - p)
        return x * self.mask

    def _backward(self, dout: Array) -> Array:
        return dout * self.mask


class Sequential(Layer):
    """Layers one after another; the parameter "w" of layer 2 is called "2.w"."""

    params = property(lambda self: self._named("params"))
    grads = property(lambda self: self._named("grads"))

    def __init__(self, *layers: Layer) -> None:
        if len(set(map(id, layers))) < len(layers):
            raise ValueError("a layer stands in two places, but it remembers only one input: make two of it")
        self.layers = layers
        self.settings = ", ".join(map(repr, layers))

    def _named(self, kind: str) -> dict[str, Array]:
        return {f"{i}.{k}": v for i, layer in enumerate(self.layers) for k, v in getattr(layer, kind).items()}

    def _forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def _backward(self, dout: Array) -> Array:
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout
