"""The training loop: shuffle, slice, forward, backward, step."""

from typing import Any

import numpy as np

from dl_course.scratch.layers import Array, Layer


def evaluate(model: Layer, x: Array, y: Array, loss: Any) -> dict[str, float]:
    """Return the loss and, for class numbers y, (N,), the accuracy, a fraction; both in evaluation mode."""
    training = model.training
    model.train(False)
    try:
        scores = model.forward(x)
    finally:
        model.train(training)
    row = {"loss": loss.forward(scores, y)}
    if y.ndim == 1 and y.dtype.kind in "iu":
        row["accuracy"] = float((scores.argmax(axis=1) == y).mean())
    return row


def fit(
    model: Layer, x: Array, y: Array, *, loss: Any, optimizer: Any, epochs: int = 5, batch_size: int = 128,
    seed: int = 0, validation: tuple[Array, Array] | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Train the model on x, (N, d), and y in an order drawn from the seed; the stop button keeps what it had.

    Returns a row for each finished epoch: its mean loss while training, and ``evaluate`` on ``validation``.
    """
    from tqdm.auto import tqdm

    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x and y need as many rows, at least one; given: {len(x)} and {len(y)}")
    if optimizer.model is not model:
        raise ValueError(f"the optimizer moves another model, {optimizer.model}; given: {model}")
    history: list[dict[str, float]] = []
    rng = np.random.default_rng(seed)
    training = model.training
    try:
        model.train()
        for epoch in range(1, epochs + 1):
            total = 0.0
            order = rng.permutation(len(x))
            for start in tqdm(range(0, len(x), batch_size), desc=f"epoch {epoch}", leave=False):
                batch = order[start : start + batch_size]
                total += loss.forward(model.forward(x[batch]), y[batch]) * len(batch)
                model.backward(loss.backward())
                optimizer.step()
            measured = evaluate(model, *validation, loss) if validation else {}
            history.append({"epoch": epoch, "loss": total / len(x)})
            history[-1] |= {f"validation_{name}": value for name, value in measured.items()}
    except KeyboardInterrupt:
        pass
    finally:
        model.train(training)
    return history
