"""Judging chapter 02: a network by hand, forwards, backwards and one step downhill."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise
from dl_course.exercises.probes import Case, Outputs

Array = np.ndarray


def _sizes(rng: np.random.Generator) -> list[int]:
    return [int(size) for size in rng.permutation(np.arange(3, 8))[:3]]


def _slips(answer: Callable[..., Any], slips: Mapping[str, str]) -> dict[str, Any]:
    """Return mistakes, diagnosis → answer, from diagnosis → the name of a slip that the answer can make."""
    return {diagnosis: partial(answer, slip=slip) for diagnosis, slip in slips.items()}


def _layers(rng: np.random.Generator, *names: str) -> Iterator[Case]:
    """Yield inputs of a linear layer; the first is square, where the wrong transpose still fits."""
    n, n_in, n_out = _sizes(rng)
    for about, (samples, inputs, outputs) in {
        "as many samples as inputs and outputs": (n, n, n),
        "different numbers of samples, inputs and outputs": (n, n_in, n_out),
        "a batch of one": (1, n_in, n_out),
        "one output": (n, n_in, 1),
    }.items():
        shapes = {"dout": (samples, outputs), "x": (samples, inputs), "w": (inputs, outputs), "b": (outputs,)}
        yield {"about": about} | {name: rng.normal(size=shapes[name]) for name in names}


def _where(difference: Difference | None, *names: str) -> Difference | None:
    """Say "dw" where the difference says "returned[1]"."""
    place = difference.where.removeprefix("returned[").removesuffix("]") if difference else ""
    return replace(difference, where=names[int(place)]) if difference and place.isdigit() else difference


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
        "w comes as (n_in, n_out), so x @ w fits without a transpose": lambda x, w, b: x @ w.T + b,
        "* multiplies number by number; a layer is a matrix product, @": lambda x, w, b: x * w + b,
        "b has a number for each output, not for each sample: add it as a row": lambda x, w, b: (
            x @ w + b[:, None]
        ),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        return _layers(rng, "x", "w", "b")


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
        "np.max finds the largest along an axis; np.maximum goes number by number": lambda x: np.max(x, 0),
        "max and if ask about the whole array at once; np.maximum goes number by number": lambda x: max(x, 0),
        "that is the mask, 1 where x > 0; ReLU keeps the number itself there": lambda x: 1 * (x > 0),
        "the wrong side is zero: positive numbers stay": lambda x: np.minimum(x, 0),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        n, m, k = _sizes(rng)
        signs = np.where(np.arange(n * m).reshape(n, m) % 2, 1, -1)
        yield {"about": "numbers of both signs", "x": signs * rng.uniform(0.1, 3, (n, m))}
        yield {"about": "one number in each row, in float32", "x": rng.normal(size=(n, 1)).astype(np.float32)}
        yield {"about": "three axes", "x": rng.normal(size=(n, m, k))}
        yield {"about": "all negative", "x": -rng.uniform(0.1, 3, (m, k))}


def _backward(dout: Array, x: Array, w: Array, slip: str = "") -> tuple[Array, ...]:
    n = len(x) if slip == "mean" else 1
    dx = dout @ (w if slip == "dx" else w.T)
    dw = x.T @ dout / n
    sums = {"no sum": dout, "axis": dout.sum(1), "all": dout.sum(), "mean of b": dout.mean(0)}
    right = dx, dw.T if slip == "dw" else dw, sums.get(slip, dout.sum(0) / n)
    order = {"dx last": (1, 2, 0), "dw first": (1, 0, 2)}.get(slip, (0, 1, 2))
    return tuple(right[place] for place in order)


class LinearBackward(Exercise):
    """Linear, backward."""

    name = "linear_backward"
    hints = (
        "Each gradient has the shape of its array. Let the shapes tell you what to transpose.",
        "dw[i, j] collects x[n, i] · dout[n, j] over all samples n. Which matrix product is that?",
        "b was added to every row, so db sums the rows of dout. And dx (N, n_in) is dout (N, n_out) @ what?",
    )
    reference = staticmethod(_backward)
    mistakes: ClassVar = _slips(
        _backward,
        {
            "dw is transposed; it must have the shape of w": "dw",
            "dx goes through w the other way: it needs the transpose of w": "dx",
            "b was added to every sample, so db sums dout over the batch": "no sum",
            "db sums over the batch, axis 0, and keeps one number for each output": "axis",
            "db sums over the batch alone; it keeps one number for each output": "all",
            "db is a sum, not a mean: where a loss divides by N, dout has it already": "mean of b",
            "don't divide by N: where a loss does, dout has it already": "mean",
            "the gradients are right, but in another order: return dx, dw, db": "dx last",
            "dx and dw have changed places: return dx, dw, db": "dw first",
        },
    )

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        return _layers(rng, "dout", "x", "w")

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        return _where(super().judge(case, outputs), "dx", "dw", "db")


def _slopes(f: Any, x: Array, h: float, slip: str = "") -> Array | float:
    x = x if slip == "in place" else x.astype(x.dtype if slip == "type" else float)
    if slip == "at once":
        return (f(x + h) - f(x - h)) / (2 * h)
    up, down = {"up": (h, 0.0), "down": (0.0, h)}.get(slip, (h, h))
    slopes = np.zeros(x.shape)
    for i in range(len(x)) if slip == "rows" else np.ndindex(x.shape):
        here = np.copy(x[i])
        x[i] = here + up
        above = f(x)
        x[i] = here - down
        slopes[i] = (above - f(x)) / (h if slip == "one h" else up + down)
        x[i] = here if slip not in ("kept", "in place") else here - down
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
    mistakes: ClassVar = _slips(
        _slopes,
        {
            "between x + h and x − h lie 2h: divide by 2h": "one h",
            "that is a one-sided difference, whose error is far larger: go h up and h down": "up",
            "that is a one-sided difference, downwards: go h up and h down": "down",
            "you moved all numbers at once; each has a slope of its own": "at once",
            "you moved a whole row at once; np.ndindex(x.shape) visits single numbers": "rows",
            "put each number back before you move the next": "kept",
            "put each number back before the next; and move them in a copy, x isn't yours": "in place",
            "in float32 or integers a small step is rounded away: make x a float64 copy first": "type",
        },
    )

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def point(about: str, *shape: int, h: float = 1e-5, dtype: Any = float) -> Case:
            x = rng.uniform(2, 9, shape) * rng.choice([-1, 1], shape)
            return {"about": about, "x": x.astype(dtype), "h": h, "a": rng.uniform(1, 2, shape)}

        n, m, k = _sizes(rng)
        yield point("a vector, and a large step", n, h=0.25)
        yield point("a vector, and a small step", n)
        yield point("a matrix", n, m, h=1e-4)
        yield point("three axes", 2, m, k, h=0.01)
        yield point("float32", n, h=1e-6, dtype=np.float32)
        yield point("whole numbers", m, h=1e-4, dtype=int)


def _cross_entropy(scores: Array, targets: Array, slip: str = "") -> tuple[float, Array]:
    (n, classes), axis = scores.shape, 0 if slip == "axis" else 1
    with np.errstate(all="ignore"):
        largest = scores.max(None if slip == "one max" else axis, keepdims=True)
        shifted = scores - largest * (slip not in ("p overflows", "log overflows"))
        exp = np.exp(shifted)
        log_p = np.log(exp / exp.sum(axis, keepdims=True))
        if slip not in ("p overflows", "log 0"):
            log_p = shifted - np.log(exp.sum(axis, keepdims=True))
        loss = float(-log_p[np.arange(n), targets].mean())
    gradient = (np.exp(log_p) - np.eye(classes)[targets] * (slip != "p alone")) / n
    loss *= {"sums": n, "sum": n, "C": 1 / classes, "minus": -1}.get(slip, 1)
    return loss, gradient * (n if slip in ("sums", "sum of gradient") else 1)


class CrossEntropy(Exercise):
    """Stable softmax cross-entropy and its gradient."""

    name = "cross_entropy"
    hints = (
        "Take each row's largest score away first, with keepdims=True. The probabilities stay the same.",
        "log p of all classes at once: shifted − log Σ exp(shifted). So no p that became 0 meets a log.",
        "`log_p[np.arange(N), targets]` picks every row's own class. The gradient: p, minus 1 there, over N.",
    )
    reference = staticmethod(_cross_entropy)
    mistakes: ClassVar = _slips(
        _cross_entropy,
        {
            "exp of a large score overflows: take each row's largest score away first": "p overflows",
            "Σ exp overflows for large scores: take each row's largest score away first": "log overflows",
            "your softmax is safe, but log of a p that became 0 is −∞; see the second hint": "log 0",
            "take each row's own largest score away; the batch's leaves the others at 0": "one max",
            "the softmax goes over the classes of a sample, axis 1, not over the batch": "axis",
            "the loss is a mean over the batch, so its gradient is divided by N too": "sum of gradient",
            "the loss is a mean over the batch: divide it, and with it the gradient, by N": "sums",
            "the loss is a mean over the batch: divide it by N": "sum",
            "you averaged over all N·C entries; each sample has one term": "C",
            "the true class is missing in the gradient: it is p minus 1 there": "p alone",
            "the minus of −log p is missing: this loss is never negative": "minus",
        },
    )

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def batch(about: str, n: int, classes: int, scale: float = 1.0) -> Case:
            scores = scale * rng.normal(size=(n, classes))
            return {"about": about, "scores": scores, "targets": rng.integers(0, classes, n)}

        n, classes, _ = _sizes(rng)
        yield batch("a few samples", n, classes)
        yield batch("as many samples as classes", n, n)
        yield batch("a batch of one", 1, classes)
        yield batch("all scores equal", n, classes, scale=0.0)
        huge = batch("scores in the thousands", n, classes, scale=1e4)
        yield huge | {"targets": huge["scores"].argmin(1)}

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        found = _where(super().judge(case, outputs), "loss", "gradient")
        capped = found and found.where == "loss" and np.ndim(found.got) == 0 and found.expected > 1000
        if found and capped and 0 < found.got < 1000:  # log(p + 1e-12), np.clip(p, 1e-12, 1) and the like
            found = replace(
                found, diagnosis="the small number that saves your log also caps the loss; see hint 2"
            )
        return found


def _trained(params: dict[str, Array], x: Array, targets: Array, rate: float, slip: str = "") -> Any:
    w1, b1, w2, b2 = (params[name] for name in ("w1", "b1", "w2", "b2"))
    before = x @ w1 + b1
    hidden = before if slip == "no relu" else np.maximum(before, 0)
    loss, dout = _cross_entropy(hidden @ w2 + b2, targets)
    dhidden, dw2, db2 = _backward(dout, hidden, w2)
    if slip == "late":
        dhidden = dout @ (w2 - rate * dw2).T
    mask = {"no mask": True, "no relu": True, "sign of gradient": dhidden > 0}.get(slip, before > 0)
    _, dw1, db1 = _backward(dhidden * mask, x, w1)
    scale = {"uphill": -rate, "no rate": 1, "mean": rate / len(x), "nothing": 0}.get(slip, rate)
    for p, gradient in zip((w1, b1, w2, b2), (dw1, db1, dw2, db2), strict=True):
        p -= scale * gradient * (slip != "no biases" or p.ndim > 1)
    again, _ = _cross_entropy(np.maximum(x @ w1 + b1, 0) @ w2 + b2, targets)
    return {"afterwards": again, "no loss": None}.get(slip, loss)


class TrainingStep(Exercise):
    """One training step."""

    name = "training_step"
    hints = (
        "Forward: linear_forward, relu, linear_forward, cross_entropy. Keep what lies between for the way back.",
        "Backward: linear_backward takes the scores' gradient to the hidden values; the ReLU lets it through "
        "only where they are positive, `dhidden * (hidden > 0)`; then linear_backward again.",
        "Compute all gradients, then move: `params[name] -= learning_rate * gradient`. Return the loss.",
    )
    reference = staticmethod(_trained)
    mistakes: ClassVar = _slips(
        _trained,
        {
            "the gradient went through the ReLU unchanged: where that gave 0, nothing comes back": "no mask",
            "the ReLU's mask is where its value was positive, not its gradient": "sign of gradient",
            "there is no ReLU between your layers; the two are then only one": "no relu",
            "you moved w2 before the gradient passed back through it: compute all, then move": "late",
            "nothing moved: `w = w - …` makes a new array; change params, `params[name] -= …`": "nothing",
            "you went uphill: subtract the gradient": "uphill",
            "the biases didn't move; they are parameters too": "no biases",
            "return the loss before the step, as the forward pass gave it": "afterwards",
            "the learning rate is missing: you moved by the whole gradient": "no rate",
            "you divided by N again; cross_entropy has done it": "mean",
            "the parameters are right; now return the loss": "no loss",
        },
    )

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, n, steps in (("one step", 6, 1), ("a batch of one", 1, 1), ("three steps", 5, 3)):
            n_in, hidden, classes = _sizes(rng)
            shapes = {"w1": (n_in, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
            params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
            batch = {"x": rng.normal(size=(n, n_in)), "targets": rng.integers(0, classes, n)}
            yield {"about": about, "params": params, **batch, "learning_rate": 0.3, "steps": steps}


def _moved(p: Array, v: Array, gradient: Array, rate: float, momentum: float, slip: str = "") -> None:
    step = -rate * v if slip == "early" else 0
    new = momentum * v + {"average": 1 - momentum, "rate inside": rate}.get(slip, 1) * gradient
    ahead = momentum * new + gradient if slip == "Nesterov" else new
    if slip != "nothing":
        p += step or {"uphill": rate, "rate inside": -1, "no rate": -1}.get(slip, -rate) * ahead
        v += (new - v) * (slip != "no v")


class MomentumStep(Exercise):
    """A step with momentum."""

    name = "momentum_step"
    hints = (
        "Two lines: first the new velocity from the old one and the gradient, then the move along it.",
        "Your caller keeps both arrays for the next step, so change them: `v *= momentum` does.",
    )
    reference = staticmethod(_moved)
    mistakes: ClassVar = _slips(
        _moved,
        {
            "v isn't kept: `v = …` makes a new array; write into the old one, with `v[:] = …`": "no v",
            "nothing moved: `p = …`, `v = …` make new arrays; `v *= …`, `v += …`, `p -= …` don't": "nothing",
            "that is an average, with (1 − momentum) · gradient; here all of it is added": "average",
            "the learning rate belongs to the move of p, not into v": "rate inside",
            "p moved along the old velocity; renew v first": "early",
            "you went uphill: subtract the velocity": "uphill",
            "the learning rate is missing in the move": "no rate",
            "that is Nesterov's momentum, which looks a step ahead; here the plain one is asked for": "Nesterov",
        },
    )

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        def steps(about: str, count: int, *shape: int, momentum: float, moving: int = 1) -> Case:
            state = {"p": rng.normal(size=shape), "v": moving * rng.normal(size=shape)}
            state |= {"gradients": rng.normal(size=(count, *shape)), "momentum": momentum}
            return {"about": about, **state, "learning_rate": 0.2}

        n, m, _ = _sizes(rng)
        yield steps("one step, already in motion", 1, n, momentum=0.9)
        yield steps("three steps of a matrix, from rest", 3, n, m, momentum=0.5, moving=0)
        yield steps("no momentum: plain gradient descent", 2, n, momentum=0.0)
