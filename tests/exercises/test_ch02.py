"""Chapter 02: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dl_course.exercises.checking import check
from dl_course.exercises.checks import find_exercise
from tests.exercises.suites import Suite, both_tests, diagnosis

suite = Suite()
wrong, right = suite.wrong, suite.right

# linear_forward ---------------------------------------------------------------------------------------------


@wrong("linear_forward", "the bias is missing")
def _(x, w, b):
    return np.dot(x, w)


@wrong("linear_forward", "needs no transpose")
def _(x, w, b):
    return x @ w.T + b


@wrong("linear_forward", "the order matters")
def _(x, w, b):
    return w @ x + b


@wrong("linear_forward", "element by element")
def _(x, w, b):
    return x * w + b


@wrong("linear_forward", "add it as a row")
def _(x, w, b):
    return x @ w + b.reshape(-1, 1)


@wrong("linear_forward", "transposed")
def _(x, w, b):
    return (x @ w + b).T


@wrong("linear_forward", "changed your input in place")
def _(x, w, b):
    y = x @ w + b
    b += 1
    return y


@right("linear_forward")
def _(x, w, b):
    return np.einsum("ni,io->no", x, w) + b[None]


@right("linear_forward")
def _(x, w, b):
    return [[sum(row[i] * w[i, o] for i in range(len(w))) + b[o] for o in range(len(b))] for row in x]


@right("linear_forward")
def _(x, w, b):
    y = (x.astype(np.float32) @ w.astype(np.float32)).astype(np.float32)
    y += b.astype(np.float32)
    return y


# relu -------------------------------------------------------------------------------------------------------


@wrong("relu", "changed your input in place")
def _(x):
    x[x < 0] = 0
    return x


@wrong("relu", "np.max finds the largest along an axis")
def _(x):
    return np.max(x, 0)


@wrong("relu", "ask about the whole array")
def _(x):
    return x if x > 0 else 0


@wrong("relu", "ask about the whole array")
def _(x):
    return max(0, x)


@wrong("relu", "that is the mask")
def _(x):
    return (x > 0).astype(float)


@wrong("relu", "absolute value")
def _(x):
    return abs(x)


@wrong("relu", "is its `return` missing?")
def _(x):
    np.maximum(x, 0)


@right("relu")
def _(x):
    y = x.copy()
    y[y < 0] = 0
    return y


@right("relu")
def _(x):
    return x * (x > 0)


@right("relu")
def _(x):
    return ((x + np.abs(x)) / 2).astype(np.float32)


# linear_backward --------------------------------------------------------------------------------------------


@wrong("linear_backward", "dw is transposed")
def _(dout, x, w):
    return dout @ w.T, dout.T @ x, dout.sum(axis=0)


@wrong("linear_backward", "takes the transpose of w")
def _(dout, x, w):
    return dout @ w, x.T @ dout, dout.sum(axis=0)


@wrong("linear_backward", "db sums dout over the batch")
def _(dout, x, w):
    return dout @ w.T, x.T @ dout, dout


@wrong("linear_backward", "axis 0")
def _(dout, x, w):
    return dout @ w.T, x.T @ dout, dout.sum(axis=1)


@wrong("linear_backward", "don't divide by N")
def _(dout, x, w):
    return dout @ w.T, x.T @ dout / len(x), dout.mean(axis=0)


@wrong("linear_backward", "in the wrong order")
def _(dout, x, w):
    return x.T @ dout, dout.sum(axis=0), dout @ w.T


@wrong("linear_backward", "right numbers, but the shape is")
def _(dout, x, w):
    return dout @ w.T, x.T @ dout, dout.sum(axis=0, keepdims=True)


@wrong("linear_backward", "changed your input in place")
def _(dout, x, w):
    dw = x.T @ dout
    x *= 0
    return dout @ w.T, dw, dout.sum(axis=0)


@right("linear_backward")
def _(dout, x, w):
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(w.shape[1])
    for sample, row in zip(x, dout, strict=True):
        dw += np.outer(sample, row)
        db += row
    for n in range(len(x)):
        dx[n] = w @ dout[n]
    return dx, dw, db


@right("linear_backward")
def _(dout, x, w):
    leaves = [torch.from_numpy(each).requires_grad_() for each in (x, w, np.zeros(w.shape[1]))]
    (leaves[0] @ leaves[1] + leaves[2]).backward(torch.from_numpy(dout))
    return [leaf.grad for leaf in leaves]


# numerical_gradient -----------------------------------------------------------------------------------------


@wrong("numerical_gradient", "divide by 2h")
def _(f, x, h=1e-5):
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = h
        gradient[i] = (f(x + e) - f(x - e)) / h
    return gradient


@wrong("numerical_gradient", "one-sided")
def _(f, x, h=1e-5):
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = h
        gradient[i] = (f(x + e) - f(x)) / h
    return gradient


@wrong("numerical_gradient", "all the numbers at once")
def _(f, x, h=1e-5):
    return (f(x + h) - f(x - h)) / (2 * h)


@wrong("numerical_gradient", "a whole row at once")
def _(f, x, h=1e-5):
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in range(len(x)):
        e = np.zeros_like(x)
        e[i] += h
        gradient[i] = (f(x + e) - f(x - e)) / (2 * h)
    return gradient


@wrong("numerical_gradient", "put each number back before you move the next")
def _(f, x, h=1e-5):
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        x[i] += h
        above = f(x)
        x[i] -= 2 * h
        gradient[i] = (above - f(x)) / (2 * h)
    return gradient


@wrong("numerical_gradient", "make x a float64 copy first")
def _(f, x, h=1e-5):
    x = x.copy()
    gradient = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + h
        above = f(x)
        x[i] = kept - h
        gradient[i] = (above - f(x)) / (2 * h)
        x[i] = kept
    return gradient


@wrong("numerical_gradient", "make x a float64 copy first")
def _(f, x, h=1e-5):
    gradient = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        kept = x[i].copy()
        x[i] += np.float64(h)
        above = f(x)
        x[i] = kept - h
        gradient[i] = (above - f(x)) / (2 * h)
        x[i] = kept
    return gradient


@wrong("numerical_gradient", "changed your input in place")
def _(f, x, h=1e-5):
    gradient = np.zeros(x.shape)
    wide = x.astype(np.float64)
    for i in np.ndindex(x.shape):
        wide[i] += h
        above = f(wide)
        wide[i] -= 2 * h
        gradient[i] = (above - f(wide)) / (2 * h)
        wide[i] += h
    x += 1
    return gradient


@right("numerical_gradient")
def _(f, x, h=1e-5):
    x = np.array(x, np.float64)
    moves = np.eye(x.size).reshape(-1, *x.shape) * h
    return np.array([f(x + move) - f(x - move) for move in moves]).reshape(x.shape) / (2 * h)


@right("numerical_gradient")
def _(f, x, h=1e-5):
    flat = x.astype(float).flatten()
    slopes = []
    for i in range(flat.size):
        above, below = flat.copy(), flat.copy()
        above[i] += h
        below[i] -= h
        slopes.append((f(above.reshape(x.shape)) - f(below.reshape(x.shape))) / (2 * h))
    return np.reshape(slopes, x.shape)


# cross_entropy ----------------------------------------------------------------------------------------------


@wrong("cross_entropy", "exp of a large score overflows")
@np.errstate(all="ignore")
def _(scores, targets):
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(p)), targets]).mean()
    p[np.arange(len(p)), targets] -= 1
    return loss, p / len(p)


@wrong("cross_entropy", "log of a p that became 0")
@np.errstate(all="ignore")
def _(scores, targets):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(p)), targets]).mean()
    p[np.arange(len(p)), targets] -= 1
    return loss, p / len(p)


@wrong("cross_entropy", "caps the loss")
def _(scores, targets):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(p)), targets] + 1e-9).mean()
    p[np.arange(len(p)), targets] -= 1
    return loss, p / len(p)


@wrong("cross_entropy", "each row's own largest score")
@np.errstate(all="ignore")
def _(scores, targets):
    shifted = scores - scores.max()
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(scores)), targets].mean(), _gradient(scores, targets)


@wrong("cross_entropy", "gradient is divided by N too")
def _(scores, targets):
    return _loss(scores, targets), _gradient(scores, targets) * len(scores)


@wrong("cross_entropy", "axis 1, not over the batch")
@np.errstate(all="ignore")
def _(scores, targets):
    shifted = scores - scores.max(axis=0)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=0)
    one_hot = np.eye(scores.shape[1])[targets]
    return -np.log(p[one_hot > 0]).mean(), (p - one_hot) / len(p)


@wrong("cross_entropy", "p minus 1 there")
def _(scores, targets):
    return _loss(scores, targets), _gradient(scores, targets) + np.eye(scores.shape[1])[targets] / len(scores)


@wrong("cross_entropy", "divide it, and with it the gradient, by N")
def _(scores, targets):
    return _loss(scores, targets) * len(scores), _gradient(scores, targets) * len(scores)


@wrong("cross_entropy", "all N·C entries")
def _(scores, targets):
    return _loss(scores, targets) / scores.shape[1], _gradient(scores, targets)


@wrong("cross_entropy", "sign is the wrong way round")
def _(scores, targets):
    return -_loss(scores, targets), _gradient(scores, targets)


@wrong("cross_entropy", "changed your input in place")
def _(scores, targets):
    result = _loss(scores, targets), _gradient(scores, targets)
    scores -= scores.max(axis=1, keepdims=True)
    return result


def _loss(scores, targets):
    return torch.nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(targets)).item()


def _gradient(scores, targets):
    p = torch.softmax(torch.from_numpy(scores), dim=1).numpy()
    return (p - np.eye(scores.shape[1])[targets]) / len(scores)


@right("cross_entropy")
def _(scores, targets):
    leaf = torch.from_numpy(scores).requires_grad_()
    loss = torch.nn.functional.cross_entropy(leaf, torch.from_numpy(targets))
    loss.backward()
    return loss, leaf.grad


@right("cross_entropy")
def _(scores, targets):
    loss, gradient = 0.0, np.zeros_like(scores)
    for n, (row, target) in enumerate(zip(scores, targets, strict=True)):
        total = np.logaddexp.reduce(row)
        loss += total - row[target]
        gradient[n] = np.exp(row - total)
        gradient[n, target] -= 1
    return loss / len(scores), gradient / len(scores)


# training_step ----------------------------------------------------------------------------------------------


def _gradients(params, x, targets):
    leaves = {name: torch.from_numpy(p).clone().requires_grad_() for name, p in params.items()}
    hidden = torch.relu(torch.from_numpy(x) @ leaves["w1"] + leaves["b1"])
    loss = torch.nn.functional.cross_entropy(hidden @ leaves["w2"] + leaves["b2"], torch.from_numpy(targets))
    loss.backward()
    return loss.item(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


@wrong("training_step", "passed the ReLU unchanged")
def _(params, x, targets, learning_rate):
    hidden = np.maximum(x @ params["w1"] + params["b1"], 0)
    scores = hidden @ params["w2"] + params["b2"]
    loss, dscores = _loss(scores, targets), _gradient(scores, targets)
    dhidden = dscores @ params["w2"].T
    params["w1"] -= learning_rate * x.T @ dhidden
    params["b1"] -= learning_rate * dhidden.sum(axis=0)
    params["w2"] -= learning_rate * hidden.T @ dscores
    params["b2"] -= learning_rate * dscores.sum(axis=0)
    return loss


@wrong("training_step", "before the gradient passed back through it")
def _(params, x, targets, learning_rate):
    hidden = np.maximum(x @ params["w1"] + params["b1"], 0)
    scores = hidden @ params["w2"] + params["b2"]
    loss, dscores = _loss(scores, targets), _gradient(scores, targets)
    params["w2"] -= learning_rate * hidden.T @ dscores
    params["b2"] -= learning_rate * dscores.sum(axis=0)
    dhidden = dscores @ params["w2"].T * (hidden > 0)
    params["w1"] -= learning_rate * x.T @ dhidden
    params["b1"] -= learning_rate * dhidden.sum(axis=0)
    return loss


@wrong("training_step", "the two are only one")
def _(params, x, targets, learning_rate):
    hidden = x @ params["w1"] + params["b1"]
    scores = hidden @ params["w2"] + params["b2"]
    loss, dscores = _loss(scores, targets), _gradient(scores, targets)
    dhidden = dscores @ params["w2"].T
    for name, gradient in {
        "w1": x.T @ dhidden,
        "b1": dhidden.sum(0),
        "w2": hidden.T @ dscores,
        "b2": dscores.sum(0),
    }.items():
        params[name] -= learning_rate * gradient
    return loss


@wrong("training_step", "nothing moved")
def _(params, x, targets, learning_rate):
    loss, gradients = _gradients(params, x, targets)
    for name, p in params.items():
        p = p - learning_rate * gradients[name]
    return loss


@wrong("training_step", "uphill")
def _(params, x, targets, learning_rate):
    loss, gradients = _gradients(params, x, targets)
    for name in params:
        params[name] += learning_rate * gradients[name]
    return loss


@wrong("training_step", "biases didn't move")
def _(params, x, targets, learning_rate):
    loss, gradients = _gradients(params, x, targets)
    for name in ("w1", "w2"):
        params[name] -= learning_rate * gradients[name]
    return loss


@wrong("training_step", "before the step")
def _(params, x, targets, learning_rate):
    _, gradients = _gradients(params, x, targets)
    for name in params:
        params[name] -= learning_rate * gradients[name]
    return _gradients(params, x, targets)[0]


@wrong("training_step", "now return the loss")
def _(params, x, targets, learning_rate):
    _, gradients = _gradients(params, x, targets)
    for name in params:
        params[name] -= learning_rate * gradients[name]


@right("training_step")
def _(params, x, targets, learning_rate):
    loss, gradients = _gradients(params, x, targets)
    for name in params:
        params[name] = params[name] - learning_rate * gradients[name]
    return loss


@right("training_step")
def _(params, x, targets, learning_rate):
    loss, gradients = _gradients(params, x, targets)
    for name, p in params.items():
        np.subtract(p, learning_rate * gradients[name], out=p)
    return np.float32(loss)


# momentum_step ----------------------------------------------------------------------------------------------


@wrong("momentum_step", "v isn't kept")
def _(p, v, gradient, learning_rate, momentum):
    v = momentum * v + gradient
    p -= learning_rate * v


@wrong("momentum_step", "nothing moved")
def _(p, v, gradient, learning_rate, momentum):
    v = momentum * v + gradient
    p = p - learning_rate * v
    return p, v


@wrong("momentum_step", "that is an average")
def _(p, v, gradient, learning_rate, momentum):
    v[:] = momentum * v + (1 - momentum) * gradient
    p -= learning_rate * v


@wrong("momentum_step", "not into v")
def _(p, v, gradient, learning_rate, momentum):
    v[:] = momentum * v + learning_rate * gradient
    p -= v


@wrong("momentum_step", "update v first")
def _(p, v, gradient, learning_rate, momentum):
    p -= learning_rate * v
    v *= momentum
    v += gradient


@wrong("momentum_step", "uphill")
def _(p, v, gradient, learning_rate, momentum):
    v *= momentum
    v += gradient
    p += learning_rate * v


@wrong("momentum_step", "learning rate is missing")
def _(p, v, gradient, learning_rate, momentum):
    v *= momentum
    v += gradient
    p -= v


@wrong("momentum_step", "Nesterov")
def _(p, v, gradient, learning_rate, momentum):
    v *= momentum
    v += gradient
    p -= learning_rate * (gradient + momentum * v)


@wrong("momentum_step", "changed your input in place")
def _(p, v, gradient, learning_rate, momentum):
    gradient += momentum * v
    v[:] = gradient
    p -= learning_rate * v


@right("momentum_step")
def _(p, v, gradient, learning_rate, momentum):
    v[...] = momentum * v + gradient
    p[...] = p - learning_rate * v
    return p, v


@right("momentum_step")
def _(p, v, gradient, learning_rate, momentum):
    for index in np.ndindex(p.shape):
        v[index] = momentum * v[index] + gradient[index]
        p[index] -= learning_rate * v[index]


test_wrong, test_right = both_tests(suite)

NAMES = ("linear_forward", "relu", "linear_backward", "numerical_gradient")
NAMES += ("cross_entropy", "training_step", "momentum_step")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NAMES)
def test_no_mistake_passes_whatever_the_seed(name, seed):
    exercise = find_exercise(name)
    cases = exercise.seeded_cases(seed)
    for says, mistake in exercise.mistakes.items():
        found = [exercise.judge(case, exercise.outputs_of(mistake, case)) for case in cases]
        assert any(found), says
    assert not any(exercise.judge(case, exercise.outputs_of(exercise.reference, case)) for case in cases)


@pytest.mark.parametrize("seed", range(5))
def test_right_answers_pass_whatever_the_seed(seed):
    for answer in (each.values[0] for each in suite.rights):
        exercise = find_exercise(answer.__name__)
        for case in exercise.seeded_cases(seed):
            assert exercise.judge(case, exercise.outputs_of(answer, case)) is None, (answer.__name__, case)


def test_momentum_is_torchs():
    case = find_exercise("momentum_step").seeded_cases(3)[1]
    outputs = find_exercise("momentum_step").outputs_of(find_exercise("momentum_step").reference, case)
    parameter = torch.nn.Parameter(torch.from_numpy(case["p"].copy()))
    optimizer = torch.optim.SGD([parameter], lr=case["learning_rate"], momentum=case["momentum"])
    for number, gradient in enumerate(case["gradients"], 1):
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        np.testing.assert_allclose(outputs[f"after step {number}"]["p"], parameter.detach(), rtol=1e-12)


def test_a_mistake_that_only_some_inputs_show_is_named_too(home):
    def numerical_gradient(f, x, h):
        if x.dtype != np.float64:
            return np.zeros(x.shape)
        return find_exercise("numerical_gradient").reference(f, x, h)

    result = check(numerical_gradient)
    assert "3 of 5 kinds of input right" in result.headline
    assert diagnosis(result) == ""
