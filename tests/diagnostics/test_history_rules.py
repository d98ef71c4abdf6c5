import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl_course.diagnostics import diagnose_history
from dl_course.training.history import History

T = np.arange(20)
FALLING = 0.1 + 2 * np.exp(-T / 4)


def faults(train, val=None, **columns):
    table = pd.DataFrame({"epoch": range(1, len(train) + 1), "train_loss": train})
    if val is not None:
        table["val_loss"] = val
    return diagnose_history(table.assign(**columns)).faults


def test_curves_of_a_good_training_bring_nothing():
    assert faults(FALLING, FALLING + 0.1) == set()


@given(st.integers(5, 60), st.floats(1, 6), st.floats(0, 0.3), st.floats(0.5, 5))
def test_whatever_its_length_speed_floor_and_start(epochs, speed, floor, start):
    t = np.arange(epochs)
    train = floor * start + (1 - floor) * start * np.exp(-t * 6 / epochs / speed * 3)
    high = train[-1] > 0.5
    assert high or faults(train, train * 1.1) == set()


def test_validation_that_rises_while_training_falls_is_overfitting_from_its_best_epoch():
    report = diagnose_history(
        pd.DataFrame({"train_loss": FALLING, "val_loss": FALLING + 0.1 + 0.08 * np.maximum(0, T - 6)})
    )
    assert report.faults == {"overfitting"}
    best = int(np.argmin(FALLING + 0.08 * np.maximum(0, T - 6))) + 1
    assert abs(int(list(report)[0].where.removeprefix("epoch ")) - best) <= 1


def test_validation_that_keeps_less_than_half_of_what_training_won_is_overfitting():
    assert faults(FALLING, 1.3 + 0.8 * np.exp(-T / 3)) == {"overfitting"}


def test_losses_that_stay_high_and_close_together_are_underfitting():
    train = 1.7 + 0.5 * np.exp(-T / 15)
    assert faults(train, train + 0.03) == {"underfitting"}


def test_a_high_accuracy_is_no_underfitting_whatever_the_loss():
    train = 1.7 + 0.5 * np.exp(-T / 15)  # as with a label smoothing of 0.5
    assert faults(train, train, train_accuracy=np.full(20, 0.97)) == set()


def test_a_loss_that_falls_and_then_stands_still_is_on_a_plateau():
    assert "plateau" in faults(0.9 + 1.3 * np.exp(-T / 1.2))
    assert "plateau" in faults(np.full(20, 2.303))


def test_jumps_up_and_down_are_unstable():
    assert faults(FALLING + np.where(T % 3 == 0, 1.2, 0.0)) == {"unstable-training"}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_has_diverged_at_that_epoch(bad):
    train = FALLING.copy()
    train[7:] = bad
    report = diagnose_history(pd.DataFrame({"train_loss": train, "val_loss": FALLING}))
    assert report.faults == {"diverged"} and list(report)[0].where == "epoch 8"


def test_a_loss_that_ends_above_its_start_has_diverged():
    report = diagnose_history({"train_loss": 2 * np.exp(T / 8), "val_loss": 2 * np.exp(T / 8)})
    assert list(report)[0].fault == "diverged" and list(report)[0].because is None
    assert all(each.because == "diverged" for each in list(report)[1:])


def test_too_few_epochs_and_missing_columns_are_said():
    report = diagnose_history({"train_loss": [2.0, 1.0], "val_loss": [2.0, 1.2]})
    assert report.faults == set() and "needs 4 epochs" in report.skipped["overfitting"]
    assert "needs" in diagnose_history({"train_loss": FALLING}).skipped["overfitting"]


def test_a_history_of_the_trainer_is_taken_as_it_is():
    history = History()
    for epoch, loss in enumerate(0.9 + 1.3 * np.exp(-T / 1.2), 1):
        row = dict(
            step=epoch, epoch=epoch, samples=1, loss=loss, learning_rate=0.1, gradient_norm=1.0, seconds=1.0
        )
        history.add_step(row)
        history.add_epoch(epoch, {"loss": loss}, 1.0)
    assert "plateau" in diagnose_history(history).faults
