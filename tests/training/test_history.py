"""The history: a table of epochs and one of steps, that add up, survive a file and show themselves."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl_course.training import History
from dl_course.training.history import combined, direction, is_better, means
from tests.training.small import loader, net, same, trainer

finite = st.floats(-1e6, 1e6)
COLUMNS = "epoch train_loss train_accuracy val_loss val_accuracy learning_rate gradient_norm "
COLUMNS += "samples_per_second seconds"


@given(st.lists(st.tuples(st.integers(1, 99), finite), min_size=1, max_size=20))
def test_means_weigh_every_sample_alike(rows):
    samples, losses = zip(*rows, strict=True)
    row = combined([dict(samples=s, loss=x) for s, x in rows])
    assert row["loss"] == pytest.approx(np.average(losses, weights=samples), abs=1e-6)
    assert set(means(row)) == {"loss"} and row["samples"] == sum(samples)


def test_a_figure_with_a_weight_of_its_own_weighs_by_that_also_where_it_is_nothing():
    rows = [dict(samples=4, loss=1.0, loss_weight=1.0), dict(samples=4, loss=2.0, loss_weight=3.0)]
    assert combined(rows) == dict(samples=8, loss=1.75, loss_weight=4.0)
    assert combined([*rows, dict(samples=4, loss=np.nan, loss_weight=0.0)])["loss"] == 1.75
    assert combined([combined(rows), dict(samples=2, loss=0.0, loss_weight=np.nan)])["loss"] == 7 / 6


@pytest.mark.parametrize(
    ("column", "value", "best", "by", "better"),
    [
        ("val_loss", 0.4, 0.5, 0.0, True), ("val_loss", 0.5, 0.5, 0.0, False),
        ("val_loss", 0.45, 0.5, 0.1, False), ("val_error", 0.1, 0.2, 0.0, True),
        ("val_accuracy", 0.9, 0.8, 0.0, True), ("val_accuracy", 0.8, 0.9, 0.0, False),
        ("val_loss", 0.4, np.nan, 9.0, True), ("val_loss", np.nan, 0.5, 0.0, False),
        ("f1", np.nan, np.nan, 0.0, False),
    ],
)  # fmt: skip
def test_losses_and_errors_fall_and_accuracies_rise(column, value, best, by, better):
    assert is_better(direction(column), value, best, by) is better


@pytest.mark.parametrize("name", ["mae", "rmse", "nll", "perplexity", "ece", "loss", "error"])
def test_less_is_better_of_what_measures_an_error(name):
    assert direction(f"val_{name}") == direction(f"train_{name}") == direction(name) == "min"
    assert direction(f"val_{name}", "max") == "max"


@pytest.mark.parametrize(("column", "mode"), [("val_quality", None), ("val_loss", "maximum")])
def test_an_unknown_figure_needs_its_direction(column, mode):
    with pytest.raises(ValueError, match=f"'{column}' needs mode='min' or mode='max'.*known without"):
        direction(column, mode)


@pytest.fixture
def run():
    made = trainer(net(), loader(10, 4), val=loader(8))
    made.fit(2)
    return made


def test_the_columns_are_those_that_other_rooms_read(run):
    assert list(run.history.epochs) == COLUMNS.split()
    assert list(run.history.steps)[:5] == ["step", "epoch", "samples", "loss", "accuracy"]
    assert run.history.steps.step.tolist() == [1, 2, 3, 4, 5, 6]
    assert run.history.steps.samples.tolist() == [4, 4, 2] * 2
    assert len(run.history) == 2 and run.history.last == run.history.epochs.iloc[-1].to_dict()


def test_a_history_comes_back_from_its_state_to_the_bit_and_goes_on(run):
    copied = History()
    copied.load_state_dict(run.history.state_dict())
    pd.testing.assert_frame_equal(copied.epochs, run.history.epochs)
    pd.testing.assert_frame_equal(copied.steps, run.history.steps)
    assert same(copied.last, run.history.last) and same(copied.last_step, run.history.last_step)
    copied.add_step(copied.last_step | {"step": 7, "epoch": 3})
    copied.add_epoch(3, {"loss": 1.0, "top5": 0.5}, seconds=0.0)  # a figure more than before
    assert copied.epochs.val_top5.isna().tolist() == [True, True, False]


def test_a_fresh_history_is_empty_and_has_a_state():
    empty = History()
    empty.load_state_dict(History().state_dict())
    assert len(empty) == 0 and empty.epochs.empty and empty.steps.empty and empty.last == {}


def test_the_file_holds_the_table(run, tmp_path):
    run.history.to_csv(tmp_path / "there" / "history.csv")
    read = pd.read_csv(tmp_path / "there" / "history.csv")
    pd.testing.assert_frame_equal(read, run.history.epochs)


def test_it_shows_every_column_in_the_terminal_and_in_the_notebook(run):
    for text in (repr(run.history), run.history._repr_html_()):
        assert all(name in text for name in COLUMNS.split())


def test_its_plot_shows_training_beside_validation(run):
    panels = run.history.plot()
    assert [panel.get_ylabel() for panel in panels] == ["loss", "accuracy"]
    lines = {line.get_label(): line.get_ydata().tolist() for line in panels[0].lines}
    assert lines == {
        "training": run.history.epochs.train_loss.tolist(),
        "validation": run.history.epochs.val_loss.tolist(),
    }
