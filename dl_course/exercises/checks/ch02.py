"""Judging chapter 02: a network by hand, forwards, backwards and one step downhill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise
from dl_course.exercises.probes import Case, Outputs

Array = np.ndarray


def _sizes(rng: np.random.Generator, count: int) -> list[int]:
    return [int(size) for size in rng.permutation(np.arange(3, 8))[:count]]


def _named(difference: Difference | None, *names: str) -> Difference | None:
    """Say "dw" where the difference says "returned[1]"."""
    where = difference.where.removeprefix("returned[").removesuffix("]") if difference else ""
    return replace(difference, where=names[int(where)]) if difference and where.isdigit() else difference


class LinearForward(Exercise):
    """Linear, forward."""

    name = "linear_forward"
    hints = (
        "`@` is the matrix product: (N, n_in) @ (n_in, n_out) has the shape (N, n_out).",
        "Broadcasting adds b to every row of the product; it needs no loop, and no new axis.",
    )
    reference = staticmethod(lambda x, w, b: x @ w + b)
    mistakes: ClassVar = {
        "the bias is missing": lambda x, w, b: x @ w,
        "w comes as (n_in, n_out), so x @ w fits as it is; torch keeps the transpose, we don't": (
            lambda x, w, b: x @ w.T + b
        ),
        "* multiplies number by number; a layer needs the matrix product, @": lambda x, w, b: x * w + b,
        "b has one number for each output, not for each sample: add it as the row that it is": (
            lambda x, w, b: x @ w + b[:, None]
        ),
        "the bias is to be added, not subtracted": lambda x, w, b: x @ w - b,
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def layer(about: str, n: int, n_in: int, n_out: int, dtype: Any = np.float64) -> Case:
            shapes = {"x": (n, n_in), "w": (n_in, n_out), "b": (n_out,)}
            return {"about": about} | {key: rng.normal(size=s).astype(dtype) for key, s in shapes.items()}

        n, n_in, n_out = _sizes(rng, 3)
        yield layer("as many samples as inputs and outputs", n, n, n)
        yield layer("more outputs than inputs, or fewer", n, n_in, n_out)
        yield layer("a batch of one", 1, n_in, n_out)
        yield layer("one output, in float32", n, n_in, 1, np.float32)


class ReLU(Exercise):
    """ReLU without touching your input."""

    name = "relu"
    hints = (
        "Which numbers stay as they are, and what becomes of the others?",
        "`np.maximum(a, b)` compares number by number, and makes a new array.",
    )
    reference = staticmethod(lambda x: np.maximum(x, 0))
    mistakes: ClassVar = {
        "you took the absolute value; negative numbers become zero": np.abs,
        "np.max looks for the largest along an axis; np.maximum compares number by number": (
            lambda x: np.max(x, 0)
        ),
        "max and if ask one question of the whole array; np.maximum or np.where ask it of every number": (
            lambda x: max(x, 0)
        ),
        "that is the mask, 1 where x > 0; ReLU keeps the number itself there": lambda x: 1 * (x > 0),
        "the wrong side is zero: positive numbers stay": lambda x: np.minimum(x, 0),
        "positive numbers stay as they are, also beyond 1": lambda x: np.clip(x, 0, 1),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        n, m, k = _sizes(rng, 3)
        signs = np.where(np.arange(n * m).reshape(n, m) % 2, 1, -1)
        yield {"about": "numbers of both signs", "x": signs * rng.uniform(0.1, 3, (n, m))}
        yield {"about": "one number in each row, in float32", "x": rng.normal(size=(n, 1)).astype(np.float32)}
        yield {"about": "three axes", "x": rng.normal(size=(n, m, k))}
        yield {"about": "all negative", "x": -rng.uniform(0.1, 3, (m, k))}


def _backward(dout: Array, x: Array, w: Array) -> tuple[Array, Array, Array]:
    return dout @ w.T, x.T @ dout, dout.sum(0)


def _backward_but(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return a linear_backward whose (dx, dw, db) are changed by change(dx, dw, db, dout, w)."""
    return lambda dout, x, w: change(*_backward(dout, x, w), dout, w)


class LinearBackward(Exercise):
    """Linear, backward."""

    name = "linear_backward"
    hints = (
        "Each gradient has the shape of its array. Let the shapes tell you what to transpose.",
        "dw[i, j] collects x[n, i] · dout[n, j] over all samples n. Which matrix product is that?",
        "b was added to every row, so db collects the rows of dout. And dx (N, n_in) is dout (N, n_out) @ …",
    )
    reference = staticmethod(_backward)
    mistakes: ClassVar = {
        "dw is transposed; it must have the shape of w": _backward_but(
            lambda dx, dw, db, d, w: (dx, dw.T, db)
        ),
        "dx goes back through w the other way: it needs the transpose of w": (
            _backward_but(lambda dx, dw, db, d, w: (d @ w, dw, db))
        ),
        "b was added to every sample, so db sums dout over the batch": (
            _backward_but(lambda dx, dw, db, d, w: (dx, dw, d))
        ),
        "db sums over the batch, axis 0, and keeps one number for each output": (
            _backward_but(lambda dx, dw, db, d, w: (dx, dw, d.sum(1)))
        ),
        "db sums over the outputs too; it keeps one number for each output": (
            _backward_but(lambda dx, dw, db, d, w: (dx, dw, d.sum()))
        ),
        "db is a sum over the batch, not a mean: where a loss divides by N, dout is divided already": (
            _backward_but(lambda dx, dw, db, d, w: (dx, dw, db / len(d)))
        ),
        "you divided by N; where a loss divides by N, dout is divided already": (
            _backward_but(lambda dx, dw, db, d, w: (dx, dw / len(d), db / len(d)))
        ),
        "the gradients are right, but in another order: return dx, dw, db": (
            _backward_but(lambda dx, dw, db, d, w: (dw, db, dx))
        ),
        "dx and dw have changed places: return dx, dw, db": (
            _backward_but(lambda dx, dw, db, d, w: (dw, dx, db))
        ),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def layer(about: str, n: int, n_in: int, n_out: int) -> Case:
            shapes = {"dout": (n, n_out), "x": (n, n_in), "w": (n_in, n_out)}
            return {"about": about} | {key: rng.normal(size=shape) for key, shape in shapes.items()}

        n, n_in, n_out = _sizes(rng, 3)
        yield layer("as many samples as inputs and outputs", n, n, n)
        yield layer("more outputs than inputs, or fewer", n, n_in, n_out)
        yield layer("a batch of one", 1, n_in, n_out)
        yield layer("one input and one output", n, 1, 1)

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        return _named(super().judge(case, outputs), "dx", "dw", "db")


def _slopes(
    f: Any, x: Array, h: float, up: float = 1, width: float = 2, dtype: Any = float, back: float = 1,
    copied: bool = True,
) -> Array:  # fmt: skip
    """Return central differences; up to `up`·h, divided by `width`·h, moved back by `back`·h after each."""
    x = x.astype(dtype or x.dtype) if copied else x
    slopes = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        x[i] += up * h
        above = f(x)
        x[i] -= h + up * h
        slopes[i] = (above - f(x)) / (width * h)
        x[i] += back * h
    return slopes


def _slopes_of_rows(f: Any, x: Array, h: float) -> Array:
    x, slopes = x.astype(float), np.zeros(x.shape)
    for i in range(len(x)):
        move = np.zeros(x.shape)
        move[i] = h
        slopes[i] = (f(x + move) - f(x - move)) / (2 * h)
    return slopes


class NumericalGradient(Exercise):
    """Central-difference gradient."""

    name = "numerical_gradient"
    hints = (
        "Move one number up by h, ask f; move it down by h, ask f; put it back. Then the next number.",
        "`for i in np.ndindex(x.shape)` visits every index of an array with any number of axes.",
        "Start from `x = np.array(x, np.float64)`: it is a copy, and no step is rounded away.",
    )
    reference = staticmethod(_slopes)
    mistakes: ClassVar = {
        "between x + h and x − h lie 2h: divide by 2h": partial(_slopes, width=1),
        "that is a one-sided difference; its error is far larger. Go h up and h down": (
            lambda f, x, h: _slopes(f, x.astype(float) + h / 2, h / 2)
        ),
        "that is a one-sided difference, downwards; go h up and h down": (
            lambda f, x, h: _slopes(f, x.astype(float) - h / 2, h / 2)
        ),
        "you moved all numbers at once; each has a slope of its own": (
            lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h)
        ),
        "you moved a whole row at once; np.ndindex(x.shape) visits single numbers": _slopes_of_rows,
        "put each number back before you move the next": partial(_slopes, back=0),
        "put each number back before you move the next; and work on a copy, x isn't yours": (
            partial(_slopes, back=0, copied=False)
        ),
        "in float32, or in whole numbers, a small step is rounded away: make x a float64 copy first": (
            partial(_slopes, dtype=None)
        ),
        "the order is f(x + h) − f(x − h): the sign is the wrong way round": partial(_slopes, width=-2),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def point(about: str, *shape: int, h: float = 1e-5, dtype: Any = np.float64) -> Case:
            x = rng.uniform(2, 9, shape) * rng.choice([-1, 1], shape)
            return {"about": about, "x": x.astype(dtype), "h": h, "a": rng.uniform(1, 2, shape)}

        n, m, k = _sizes(rng, 3)
        yield point("a vector, and a large step", n, h=0.25)
        yield point("a vector, and a small step", n)
        yield point("a matrix", n, m, h=1e-4)
        yield point("three axes", 2, m, k, h=0.01)
        yield point("float32", n, h=1e-6, dtype=np.float32)
        yield point("whole numbers", m, h=1e-4, dtype=np.int64)


def _cross_entropy(
    scores: Array, targets: Array, axis: int = 1, shift: int = 1, way: str = "log p"
) -> tuple[float, Array]:
    with np.errstate(all="ignore"):
        n, rows = len(scores), np.arange(len(scores))
        shifted = scores - shift * scores.max(axis, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
        p = np.exp(log_p) if way == "log p" else np.exp(shifted) / np.exp(shifted).sum(axis, keepdims=True)
        log_p = log_p if way == "log p" else np.log(p)
        return float(-log_p[rows, targets].mean()), (p - np.eye(scores.shape[1])[targets]) / n


def _cross_entropy_but(change: Callable[..., Any]) -> Callable[..., Any]:
    """Return a cross_entropy whose results are changed by change(loss, gradient, scores, targets)."""
    return lambda scores, targets: change(*_cross_entropy(scores, targets), scores, targets)


class CrossEntropy(Exercise):
    """Stable softmax cross-entropy and its gradient."""

    name = "cross_entropy"
    hints = (
        "Take each row's largest score away first, with keepdims=True. The probabilities stay the same.",
        "log p of all classes at once: shifted − log Σ exp(shifted). So no p that became 0 meets a log.",
        "`log_p[np.arange(N), targets]` picks every row's own class. The gradient: p, minus 1 there, over N.",
    )
    reference = staticmethod(_cross_entropy)
    mistakes: ClassVar = {
        "exp of a large score overflows: take each row's largest score away first": (
            partial(_cross_entropy, shift=0, way="p")
        ),
        "log of a sum of exp overflows for large scores: take each row's largest away first": (
            partial(_cross_entropy, shift=0)
        ),
        "your softmax is safe, but a p that became 0 has log −∞: use log p = shifted − log Σ exp(shifted)": (
            partial(_cross_entropy, way="p")
        ),
        "the softmax goes over the classes of one sample, axis 1, not over the batch": (
            partial(_cross_entropy, axis=0)
        ),
        "the loss is a mean over the batch, so its gradient is divided by N too": (
            _cross_entropy_but(lambda loss, g, s, t: (loss, g * len(s)))
        ),
        "loss and gradient are a mean over the batch: divide both by N": (
            _cross_entropy_but(lambda loss, g, s, t: (loss * len(s), g * len(s)))
        ),
        "the loss is a mean over the batch: divide it by N": (
            _cross_entropy_but(lambda loss, g, s, t: (loss * len(s), g))
        ),
        "you averaged over all N·C entries; each sample has one term": (
            _cross_entropy_but(lambda loss, g, s, t: (loss / s.shape[1], g))
        ),
        "the true class is missing in the gradient: it is p minus 1 there": (
            _cross_entropy_but(lambda loss, g, s, t: (loss, g + np.eye(s.shape[1])[t] / len(s)))
        ),
        "the minus of −log p is missing: a loss is never negative": (
            _cross_entropy_but(lambda loss, g, s, t: (-loss, g))
        ),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def batch(about: str, n: int, classes: int, scale: float = 1.0) -> Case:
            scores = scale * rng.normal(size=(n, classes)).round(3)
            return {"about": about, "scores": scores, "targets": rng.integers(0, classes, n)}

        n, classes = _sizes(rng, 2)
        yield batch("a few samples", n, classes)
        yield batch("as many samples as classes", n, n)
        yield batch("a batch of one", 1, classes)
        yield batch("all scores equal", n, classes, scale=0.0)
        huge = batch("scores in the thousands", n, classes, scale=1e4)
        huge["targets"][0] = huge["scores"][0].argmin()
        yield huge

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        found = _named(super().judge(case, outputs), "loss", "gradient")
        if found and found.where == "loss" and isinstance(found.got, float):
            if found.expected > 100 and 0 <= found.got < found.expected:  # log(p + 1e-12), clip(p, 1e-12, 1)
                return replace(
                    found, diagnosis="a small number that saves the log also caps the loss: use log p"
                )
        return found


def _trained(params: dict[str, Array], x: Array, targets: Array, rate: float, slip: str = "") -> float | None:
    w1, b1, w2, b2 = (params[name] for name in ("w1", "b1", "w2", "b2"))
    before = x @ w1 + b1
    hidden = before if slip == "no relu" else np.maximum(before, 0)
    loss, dout = _cross_entropy(hidden @ w2 + b2, targets)
    dhidden, dw2, db2 = _backward(dout, hidden, w2)
    if slip == "late":
        dhidden = dout @ (w2 - rate * dw2).T
    mask = {"no mask": True, "no relu": True, "sign of gradient": dhidden > 0}.get(slip, before > 0)
    _, dw1, db1 = _backward(dhidden * mask, x, w1)
    for p, gradient in zip((w1, b1, w2, b2), (dw1, db1, dw2, db2), strict=True):
        moves = slip != "nothing" and not (slip == "no biases" and p.ndim == 1)
        p -= {"uphill": -1, "rate": 1 / rate, "mean": 1 / len(x)}.get(slip, 1) * rate * gradient * moves
    again, _ = _cross_entropy(np.maximum(x @ w1 + b1, 0) @ w2 + b2, targets)
    return {"afterwards": again, "no loss": None}.get(slip, loss)


class TrainingStep(Exercise):
    """One training step."""

    name = "training_step"
    hints = (
        "Forward: linear_forward, relu, linear_forward, cross_entropy. Keep what lies between; backward needs it.",
        "Backward, in reverse: the loss gives the gradient of the scores, linear_backward carries it on. Through "
        "the ReLU it passes only where the hidden value is positive: `dhidden * (hidden > 0)`.",
        "Compute all gradients first, then move: `params[name] -= learning_rate * gradient`. Return the loss.",
    )
    reference = staticmethod(_trained)
    mistakes: ClassVar = {
        "the gradient went straight through the ReLU: where it put out 0, nothing comes back": (
            partial(_trained, slip="no mask")
        ),
        "the mask of the ReLU is where its value was positive, not where the gradient is": (
            partial(_trained, slip="sign of gradient")
        ),
        "there is no ReLU between your layers; the two are then only one": partial(_trained, slip="no relu"),
        "you moved w2 before the gradient had passed back through it: compute all, then move": (
            partial(_trained, slip="late")
        ),
        "nothing has moved: `w = w - …` makes a new array; change params, with `params[name] -= …`": (
            partial(_trained, slip="nothing")
        ),
        "you went uphill: subtract the gradient": partial(_trained, slip="uphill"),
        "the biases didn't move; they are parameters too": partial(_trained, slip="no biases"),
        "the loss is to be the one before the step, which the forward pass gave": (
            partial(_trained, slip="afterwards")
        ),
        "the learning rate is missing: you moved by the whole gradient": partial(_trained, slip="rate"),
        "you divided by N again; cross_entropy has done it": partial(_trained, slip="mean"),
        "return the loss": partial(_trained, slip="no loss"),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def network(about: str, n: int, steps: int = 1) -> Case:
            n_in, hidden, classes = _sizes(rng, 3)
            shapes = {"w1": (n_in, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
            params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
            batch = {"x": rng.normal(size=(n, n_in)), "targets": rng.integers(0, classes, n)}
            return {"about": about, "params": params, **batch, "learning_rate": 0.3, "steps": steps}

        yield network("one step", int(rng.integers(4, 9)))
        yield network("a batch of one", 1)
        yield network("three steps, one after the other", int(rng.integers(4, 9)), steps=3)


def _moved(p: Array, v: Array, gradient: Array, rate: float, momentum: float, slip: str = "") -> None:
    if slip == "early":
        p -= rate * v
    new = momentum * v + {"average": 1 - momentum, "rate inside": rate}.get(slip, 1) * gradient
    step = momentum * new + gradient if slip == "Nesterov" else new
    if slip not in ("early", "nothing"):
        p -= {"uphill": -rate, "rate inside": 1, "no rate": 1}.get(slip, rate) * step
    if slip not in ("no v", "nothing"):
        v[...] = new


class MomentumStep(Exercise):
    """A step with momentum."""

    name = "momentum_step"
    hints = (
        "Two lines: first the new velocity from the old one and the gradient, then the move along it.",
        "Both arrays belong to your caller, who keeps them for the next step: `v *= momentum` changes v itself.",
    )
    reference = staticmethod(_moved)
    mistakes: ClassVar = {
        "v keeps nothing from step to step: `v = …` makes a new array; write into v, with `v[:] = …`": (
            partial(_moved, slip="no v")
        ),
        "nothing has moved: `p = …` and `v = …` make new arrays; use `v *= …`, `v += …`, `p -= …`": (
            partial(_moved, slip="nothing")
        ),
        "that is a moving average, with (1 − momentum) on the gradient; here the whole gradient is added": (
            partial(_moved, slip="average")
        ),
        "the learning rate belongs to the move of p, not into v": partial(_moved, slip="rate inside"),
        "p moved along the old velocity; renew v first": partial(_moved, slip="early"),
        "you went uphill: subtract the velocity": partial(_moved, slip="uphill"),
        "the learning rate is missing in the move": partial(_moved, slip="no rate"),
        "that is Nesterov's momentum, which looks a step ahead; here the plain one is asked for": (
            partial(_moved, slip="Nesterov")
        ),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def steps(about: str, count: int, *shape: int, momentum: float, moving: float = 1.0) -> Case:
            case = {"p": rng.normal(size=shape), "v": moving * rng.normal(size=shape), "momentum": momentum}
            return {
                "about": about,
                **case,
                "learning_rate": 0.2,
                "gradients": rng.normal(size=(count, *shape)),
            }

        n, m = _sizes(rng, 2)
        yield steps("one step, already in motion", 1, n, momentum=0.9)
        yield steps("three steps of a matrix, from rest", 3, n, m, momentum=0.5, moving=0.0)
        yield steps("no momentum: plain gradient descent", 2, n, momentum=0.0)
