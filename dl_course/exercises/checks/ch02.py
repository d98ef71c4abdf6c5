"""Judging chapter 02: a network by hand. The right answers can be told to make a slip."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from dl_course.exercises.compare import Difference
from dl_course.exercises.judging import Exercise
from dl_course.exercises.probes import Case, Outputs

Array = np.ndarray
SIZES = np.arange(3, 8)


def _layers(rng: np.random.Generator, *names: str) -> Iterator[Case]:
    """Yield inputs of a linear layer; the first is square, where the wrong transpose still fits."""
    n, n_in, n_out = rng.permutation(SIZES)[:3]
    for samples, inputs, outputs in ((n, n, n), (n, n_in, n_out), (1, n_in, n_out)):
        shapes = {"dout": (samples, outputs), "x": (samples, inputs), "w": (inputs, outputs), "b": (outputs,)}
        about = f"{samples} samples, {inputs} inputs, {outputs} outputs"
        yield {"about": about} | {name: rng.normal(size=shapes[name]) for name in names}


class LinearForward(Exercise):
    """Linear, forward."""

    name = "linear_forward"
    hints = ("`@` is the matrix product, (N, n_in) @ (n_in, n_out). Broadcasting adds b to each row of it.",)
    reference = staticmethod(lambda x, w, b: x @ w + b)
    mistakes: ClassVar = {
        "the bias is missing": lambda x, w, b: x @ w,
        "w is (n_in, n_out) here, so x @ w needs no transpose": lambda x, w, b: x @ w.T + b,
        "the order matters: each row of x meets the columns of w, x @ w": lambda x, w, b: w @ x + b,
        "* multiplies element by element; a layer is a matrix product, @": lambda x, w, b: x * w + b,
        "b has a number for each output: add it as a row": lambda x, w, b: x @ w + b[:, None],
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        return _layers(rng, "x", "w", "b")


class ReLU(Exercise):
    """ReLU without touching your input."""

    name = "relu"
    hints = ("`np.maximum(a, b)` compares element by element, and returns a new array.",)
    reference = staticmethod(lambda x: np.maximum(x, 0))
    mistakes: ClassVar = {
        "you took the absolute value; negative numbers become zero": np.abs,
        "np.max finds the largest along an axis; np.maximum compares element by element": lambda x: np.max(
            x, 0
        ),
        "max and if ask about the whole array; np.maximum compares element by element": lambda x: max(x, 0),
        "that is the mask, 1 where x > 0; ReLU keeps the number itself there": lambda x: 1 * (x > 0),
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        n, m, k = rng.permutation(SIZES)[:3]
        for about, shape in {"two axes": (n, m), "one column": (n, 1), "three axes": (n, m, k)}.items():
            yield {"about": f"numbers of both signs, {about}", "x": rng.normal(size=shape)}


def _backward(dout: Array, x: Array, w: Array, slip: str = "") -> tuple[Array, ...]:
    n = len(x) if slip == "mean" else 1
    dx = dout @ (w if slip == "dx" else w.T)
    dw = dout.T @ x if slip == "dw" else x.T @ dout / n
    db = {"no sum": dout, "axis": dout.sum(1)}.get(slip, dout.sum(0) / n)
    return {"dx last": (dw, db, dx), "dw first": (dw, dx, db)}.get(slip, (dx, dw, db))


class LinearBackward(Exercise):
    """Linear, backward."""

    name = "linear_backward"
    hints = (
        "Each gradient has the shape of its array. Let the shapes tell you what to transpose.",
        "dw[i, j] collects x[n, i] · dout[n, j] over all samples n. Which matrix product is that?",
        "b was added to every row, so db sums the rows of dout. And dx (N, n_in) is dout (N, n_out) @ what?",
    )
    reference = staticmethod(_backward)
    slips: ClassVar = {
        "dw": "dw is transposed; it must have the shape of w",
        "dx": "dx goes back through w: that takes the transpose of w",
        "no sum": "b was added to every sample, so db sums dout over the batch",
        "axis": "db sums over the batch, axis 0, and keeps one number for each output",
        "mean": "don't divide by N: if the loss is a mean, dout contains that already",
        "dx last": "the gradients are right, but in the wrong order: return dx, dw, db",
        "dw first": "dx and dw are swapped: return dx, dw, db",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        return _layers(rng, "dout", "x", "w")


def _slopes(f: Any, x: Array, h: float, slip: str = "") -> Array | float:
    x = x if slip == "in place" else x.astype(x.dtype if slip == "type" else float)
    if slip == "at once":
        return (f(x + h) - f(x - h)) / (2 * h)
    down = 0.0 if slip == "up" else h
    slopes = np.zeros(x.shape)
    for i in range(len(x)) if slip == "rows" else np.ndindex(x.shape):
        here = np.copy(x[i])
        x[i] = here + h
        above = f(x)
        x[i] = here - down
        slopes[i] = (above - f(x)) / (h if slip == "one h" else h + down)
        x[i] = here - down if slip in ("kept", "in place") else here
    return slopes


class NumericalGradient(Exercise):
    """Central-difference gradient."""

    name = "numerical_gradient"
    hints = (
        "Move one number up by h and call f; down by h and call f; put it back. Then the next number.",
        "`for i in np.ndindex(x.shape)` visits every index of an array with any number of axes.",
        "Start from `x = np.array(x, np.float64)`: it is a copy, and no step is rounded away.",
    )
    reference = staticmethod(_slopes)
    slips: ClassVar = {
        "one h": "x + h and x − h are 2h apart: divide by 2h",
        "up": "that is a one-sided difference, whose error is far larger: move up by h and down by h",
        "at once": "you moved all the numbers at once; each has a slope of its own",
        "rows": "you moved a whole row at once; np.ndindex(x.shape) visits single numbers",
        "kept": "put each number back before you move the next",
        "type": "in float32 or integers a small step is rounded away: make x a float64 copy first",
        "in place": "put each number back before the next, and work on a copy: x is your caller's",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        n, m, k = rng.permutation(SIZES)[:3]
        for about, shape, h, dtype in (
            ("a vector", (n,), 0.25, float),  # so large that the exact slope is another number
            ("a matrix", (n, m), 0.15, float),
            ("three axes", (2, m, k), 0.2, float),
            ("float32", (n,), 1e-6, np.float32),
            ("float32", (n,), 0.25, np.float32),
            ("whole numbers", (m,), 0.25, int),
        ):
            x = rng.uniform(2, 9, shape) * rng.choice([-1, 1], shape)
            yield {"about": about, "x": x.astype(dtype), "h": h, "a": rng.uniform(1, 2, shape)}


def _cross_entropy(scores: Array, targets: Array, slip: str = "") -> tuple[float, Array]:
    n, classes = scores.shape
    axis = 0 if slip == "axis" else 1
    with np.errstate(all="ignore"):
        shifted = scores - scores.max(axis, keepdims=True) * (slip != "p overflows")
        total = np.exp(shifted).sum(axis, keepdims=True)
        p = np.exp(shifted) / total
        log_p = np.log(p) if slip in ("p overflows", "log 0") else shifted - np.log(total)
        loss = float(-log_p[np.arange(n), targets].mean())
    loss *= {"sums": n, "sum": n, "C": 1 / classes}.get(slip, 1)
    return loss, (p - np.eye(classes)[targets] * (slip != "p")) / (1 if slip in ("sums", "no N") else n)


class CrossEntropy(Exercise):
    """Stable softmax cross-entropy and its gradient."""

    name = "cross_entropy"
    hints = (
        "Subtract each row's largest score first, with keepdims=True. The probabilities stay the same.",
        "log p of all classes at once: shifted − log Σ exp(shifted). So log never gets a p that became 0.",
        "`log_p[np.arange(N), targets]` picks each row's true class. The gradient: p, minus 1 there, over N.",
    )
    reference = staticmethod(_cross_entropy)
    slips: ClassVar = {
        "p overflows": "exp of a large score overflows: subtract each row's largest score first",
        "log 0": "your softmax is safe, but log of a p that became 0 is −∞; see the second hint",
        "axis": "the softmax goes over the classes of a sample, axis 1, not over the batch",
        "no N": "the loss is a mean over the batch, so its gradient is divided by N too",
        "sums": "the loss is a mean over the batch: divide it, and with it the gradient, by N",
        "sum": "the loss is a mean over the batch: divide it by N",
        "C": "you averaged over all N·C entries; each sample has one term",
        "p": "the true class is missing in the gradient: it is p minus 1 there",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        n, classes = rng.permutation(SIZES)[:2]
        kinds = ("a few samples", n, 1), ("one sample", 1, 1), ("equal scores", n, 0), ("huge scores", n, 1e4)
        for about, samples, scale in kinds:
            scores = scale * rng.normal(size=(samples, classes))
            others = rng.integers(1, classes, samples)  # how far from the largest score the true class stands
            yield {"about": about, "scores": scores, "targets": (scores.argmax(1) + others) % classes}

    def judge(self, case: Case, outputs: Outputs) -> Difference | None:
        found = super().judge(case, outputs)
        if found and case["about"] == "huge scores" and isinstance(found.got, float):
            capped = (
                "what keeps your log away from 0 caps the loss; see the second hint"  # log(p + 1e-12) or clip
            )
            unsafe = "exp overflows, or log gets a 0: first subtract each row's own largest score"
            return replace(found, diagnosis=capped if 0 < found.got < 1000 else unsafe)
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
    scale = {"uphill": -rate, "no rate": 1, "nothing": 0}.get(slip, rate)
    for p, gradient in zip((w1, b1, w2, b2), (dw1, db1, dw2, db2), strict=True):
        p -= scale * gradient * (slip != "no biases" or p.ndim > 1)
    again, _ = _cross_entropy(np.maximum(x @ w1 + b1, 0) @ w2 + b2, targets)
    return {"afterwards": again, "no loss": None}.get(slip, loss)


class TrainingStep(Exercise):
    """One training step."""

    name = "training_step"
    hints = (
        "Forward: linear_forward, relu, linear_forward, cross_entropy. Keep the input of each step.",
        "Backward: linear_backward, then the ReLU's `dhidden * (hidden > 0)`, then linear_backward again.",
        "Compute all gradients, then move: `params[name] -= learning_rate * gradient`. Return the loss.",
    )
    reference = staticmethod(_trained)
    slips: ClassVar = {
        "no mask": "the gradient passed the ReLU unchanged; where the ReLU gave 0, it has to become 0",
        "sign of gradient": "the ReLU's mask is where its value was positive, not where its gradient is",
        "no relu": "there is no ReLU between your layers; without it, the two are only one",
        "late": "you moved w2 before the gradient passed back through it: compute all, then move",
        "nothing": "nothing moved: `w = w - …` makes a new array; change params, `params[name] -= …`",
        "uphill": "you went uphill: subtract the gradient",
        "no biases": "the biases didn't move; they are parameters too",
        "afterwards": "return the loss before the step, as the forward pass gave it",
        "no rate": "the learning rate is missing: you moved by the whole gradient",
        "no loss": "the parameters are right; now return the loss",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        for about, n, steps in (("one step", 6, 1), ("a batch of one", 1, 1), ("three steps", 5, 3)):
            n_in, hidden, classes = rng.permutation(SIZES)[:3]
            shapes = {"w1": (n_in, hidden), "b1": (hidden,), "w2": (hidden, classes), "b2": (classes,)}
            params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
            batch = {"x": rng.normal(size=(n, n_in)), "targets": rng.integers(0, classes, n)}
            yield {"about": about, **params, **batch, "learning_rate": 0.3, "steps": steps}


def _moved(p: Array, v: Array, gradient: Array, rate: float, momentum: float, slip: str = "") -> None:
    old = v.copy()
    new = momentum * v + {"average": 1 - momentum, "rate inside": rate}.get(slip, 1) * gradient
    v[...] = v if slip in ("no v", "nothing") else new
    along = {"early": old, "nothing": 0, "Nesterov": momentum * new + gradient}.get(slip, new)
    p -= {"uphill": -rate, "rate inside": 1, "no rate": 1}.get(slip, rate) * along


class MomentumStep(Exercise):
    """A step with momentum."""

    name = "momentum_step"
    hints = (
        "Two lines: first the new velocity from the old one and the gradient, then the move along it.",
        "Your caller keeps both arrays for the next step, so change them: `v *= momentum` does.",
    )
    reference = staticmethod(_moved)
    slips: ClassVar = {
        "no v": "v isn't kept: `v = …` makes a new array; write into the old one, with `v[:] = …`",
        "nothing": "nothing moved: `p = …`, `v = …` make new arrays; `v *= …`, `v += …`, `p -= …` don't",
        "average": "that is an average, with (1 − momentum) · gradient; here all of it is added",
        "rate inside": "the learning rate belongs to the move of p, not into v",
        "early": "p moved along the old velocity; update v first",
        "uphill": "you went uphill: subtract the velocity",
        "no rate": "the learning rate is missing in the move",
        "Nesterov": "that is Nesterov's momentum, which looks a step ahead; the plain one is asked for",
    }

    def cases(self, rng: np.random.Generator) -> Iterator[Case]:
        kinds = ("in motion", 1, 0.9, 1), ("three steps from rest", 3, 0.5, 0), ("no momentum", 2, 0.0, 1)
        for about, count, momentum, moving in kinds:
            p, v, *_ = drawn = rng.normal(size=(2 + count, *rng.permutation(SIZES)[:2]))
            state = {"p": p, "v": moving * v, "gradients": drawn[2:]}
            yield {"about": about, **state, "learning_rate": 0.2, "momentum": momentum}
