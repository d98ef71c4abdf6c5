import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from dl_course.scratch import (
    SGD,
    Adam,
    CrossEntropyLoss,
    Dropout,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    evaluate,
    fit,
)

MNIST = Path(os.environ.get("DL_COURSE_DATA", "/nowhere")) / "MNIST" / "raw"


def mlp(n_in: int, seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(Linear(n_in, 100, rng), ReLU(), Linear(100, 10, rng))


def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    pictures = np.fromfile(MNIST / f"{split}-images-idx3-ubyte", np.uint8, offset=16)
    labels = np.fromfile(MNIST / f"{split}-labels-idx1-ubyte", np.uint8, offset=8)
    return pictures.reshape(-1, 784).astype(np.float32) / 255, labels


def test_a_network_learns_real_digits_that_it_has_not_seen():
    x, y = digits()
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    model, loss = mlp(64), CrossEntropyLoss()
    held_out = x[test], y[test]
    history = fit(
        model, x[train], y[train], loss=loss, optimizer=SGD(model, 0.1, 0.9), epochs=20, batch_size=32,
        validation=held_out,
    )  # fmt: skip
    # 20 seeds of split and start: worst 0.9667, mean 0.9793, best 0.9889
    assert evaluate(model, *held_out, loss)["accuracy"] >= 0.96
    assert [row["epoch"] for row in history] == list(range(1, 21))
    assert history[-1]["loss"] < history[0]["loss"] / 20
    assert history[-1]["validation_accuracy"] == evaluate(model, *held_out, loss)["accuracy"]


@pytest.mark.skipif(not MNIST.exists(), reason="DL_COURSE_DATA holds no MNIST")
def test_784_100_10_names_97_5_percent_of_mnists_test_digits_after_five_epochs():
    (x, y), loss = mnist("train"), CrossEntropyLoss()
    model = mlp(784)
    optimizer = SGD(model, learning_rate=0.1, momentum=0.9)
    with threadpool_limits(1):  # on a busy machine, waiting BLAS threads made 63 s of 7 s
        fit(model, x, y, loss=loss, optimizer=optimizer, epochs=4, batch_size=64)
        optimizer.learning_rate /= 10
        fit(model, x, y, loss=loss, optimizer=optimizer, epochs=1, batch_size=64, seed=1)
    assert evaluate(model, *mnist("t10k"), loss)["accuracy"] >= 0.975


def train_digits(seed: int, optimizer=SGD) -> tuple[Sequential, list[dict[str, float]]]:
    x, y = digits()
    model = Sequential(Linear(64, 16, 0), Dropout(0.2, 0), ReLU(), Linear(16, 10, 1))
    history = fit(
        model, x[:300], y[:300], loss=CrossEntropyLoss(), optimizer=optimizer(model), epochs=2, seed=seed,
        validation=(x[300:400], y[300:400]),
    )  # fmt: skip
    return model, history


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_the_same_seed_repeats_the_training_and_another_one_does_not(optimizer):
    (first, history), (again, history_again), (other, _) = (train_digits(s, optimizer) for s in (0, 0, 1))
    assert history == history_again
    np.testing.assert_array_equal(first.params["0.w"], again.params["0.w"])
    assert (first.params["0.w"] != other.params["0.w"]).any()


def test_an_epoch_visits_every_sample_once_shuffled_and_with_the_short_last_batch():
    class Remembering(MSELoss):
        def forward(self, y, targets):
            batches.append(targets[:, 0].tolist())
            return super().forward(y, targets)

    batches: list[list[float]] = []
    x, y, model = np.ones((10, 2), np.float32), np.arange(10.0).reshape(10, 1), Linear(2, 1, 0)
    fit(model, x, y, loss=Remembering(), optimizer=SGD(model, 0.01), epochs=2, batch_size=4)
    first, second = sum(batches[:3], []), sum(batches[3:], [])
    assert [len(batch) for batch in batches] == [4, 4, 2] * 2
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second and first != sorted(first)


def test_the_loss_of_an_epoch_is_the_mean_over_samples_not_over_batches():
    model, x = Linear(2, 1, 0, np.float64), np.random.default_rng(0).normal(size=(10, 2))
    y, still = np.arange(10.0).reshape(10, 1) ** 2, SGD(model, learning_rate=0)
    [row] = fit(model, x, y, loss=MSELoss(), optimizer=still, epochs=1, batch_size=4)
    assert row == {"epoch": 1, "loss": pytest.approx(evaluate(model, x, y, MSELoss())["loss"])}


def test_the_stop_button_keeps_the_epochs_and_the_training_mode_there_were():
    class Stopped(SGD):
        steps = 0

        def step(self):
            self.steps += 1
            if self.steps == 5:
                raise KeyboardInterrupt
            super().step()

    model = Sequential(Linear(2, 1, 0), Dropout(0.5))
    model.train(False)
    start, x, y = model.params["0.w"].copy(), np.ones((8, 2), np.float32), np.ones((8, 1))
    history = fit(model, x, y, loss=MSELoss(), optimizer=Stopped(model, 0.01), epochs=9, batch_size=4)
    assert [row["epoch"] for row in history] == [1, 2]
    assert (model.params["0.w"] != start).all()
    assert not model.training and not model.layers[1].training


def test_training_drops_out_and_evaluation_does_not_whatever_the_mode_before():
    seen = []

    class Witness(Dropout):
        def _forward(self, x):
            seen.append((len(x), self.training))
            return super()._forward(x)

    model, x, y = Sequential(Witness(0.5), Linear(2, 1, 0)), np.ones((4, 2)), np.ones((4, 1))
    model.train(False)
    fit(
        model, x, y, loss=MSELoss(), optimizer=SGD(model, 0.01), epochs=1, validation=(x[:3], y[:3])
    )  # fmt: skip
    assert seen == [(4, True), (3, False)]
    assert not model.training


def test_evaluation_mode_is_left_also_after_an_error():
    model = mlp(64)
    with pytest.raises(ValueError, match=r"Linear\(64, 100\) takes"):
        evaluate(model, np.ones((2, 3)), np.zeros(2, int), CrossEntropyLoss())
    assert model.training and model.layers[0].training


def test_fit_refuses_what_it_cannot_train_on():
    model, x, y = mlp(64), np.ones((4, 64)), np.zeros(4, int)
    settings = {"loss": CrossEntropyLoss(), "optimizer": SGD(model)}
    with pytest.raises(ValueError, match="given: 4 and 3"):
        fit(model, x, y[:3], **settings)
    with pytest.raises(ValueError, match="given: 0 and 0"):
        fit(model, x[:0], y[:0], **settings)
    with pytest.raises(ValueError, match="another model"):
        fit(mlp(64), x, y, **settings)
