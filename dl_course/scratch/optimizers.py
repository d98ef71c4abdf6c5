"""Optimizers: what to do with a gradient. Each step changes the model's parameters in place."""

import numpy as np

from dl_course.scratch.layers import Layer


class SGD:
    """With momentum, as torch's: v ← μ·v + g, then p ← p − η·v."""

    def __init__(self, model: Layer, learning_rate: float = 0.1, momentum: float = 0.0) -> None:
        self.model = model
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.v = {name: np.zeros_like(p) for name, p in model.params.items()}

    def step(self) -> None:
        """Move every parameter once."""
        grads = self.model.grads
        for name, p in self.model.params.items():
            v = self.v[name]
            v *= self.momentum
            v += grads[name]
            p -= self.learning_rate * v


class Adam:
    """m ← β₁·m + (1 − β₁)·g, s ← β₂·s + (1 − β₂)·g², p ← p − η·m̂ / (√ŝ + ε); a hat divides by 1 − βᵗ.

    Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    """

    def __init__(self, model: Layer, learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999):
        self.model = model
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.t = 0
        self.m = {name: np.zeros_like(p) for name, p in model.params.items()}
        self.s = {name: np.zeros_like(p) for name, p in model.params.items()}

    def step(self) -> None:
        """Move every parameter once."""
        self.t += 1
        grads = self.model.grads
        for name, p in self.model.params.items():
            m = self.m[name]
            s = self.s[name]
            g = grads[name]
            m += (1 - self.beta1) * (g - m)
            s += (1 - self.beta2) * (g**2 - s)
            m_hat = m / (1 - self.beta1**self.t)
            s_hat = s / (1 - self.beta2**self.t)
            p -= self.learning_rate * m_hat / (np.sqrt(s_hat) + 1e-8)
