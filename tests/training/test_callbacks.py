"""Callbacks: each does its one thing, in the Trainer and where possible without."""

import logging
import math
import sys

import pandas as pd
import pytest
import torch
from torch import nn

from dl_course.training import CSVLog, EarlyStopping, GradientMonitor, LivePlot
from tests.training.small import PICTURES, loader, net, trainer

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise


def epochs_until_stop(losses, **options):
    stopping = EarlyStopping(**options)
    return next((number for number, loss in enumerate(losses, 1) if stopping.update(loss)), None)


def test_patience_counts_the_epochs_since_the_best():
    assert epochs_until_stop([3, 2, 2.5, 2.4, 1, 1.5, 1.4, 1.3], patience=3) == 8
    assert epochs_until_stop([3, 2, 1], patience=1) is None
    assert epochs_until_stop([1, 0.95, 0.9, 0.85], patience=2, min_delta=0.2) == 3
    assert epochs_until_stop([0.5, 0.6, 0.6], patience=1, monitor="val_accuracy") == 3
    assert epochs_until_stop([1, math.nan, math.nan], patience=2) == 3


def test_early_stopping_ends_a_fit_and_says_why():
    run = trainer(net(), val=loader(6), callbacks=[EarlyStopping(2, "learning_rate", mode="max")])
    assert len(run.fit(9)) == 3
    assert run.stopped == "learning_rate was no better than 0.1 for 2 epochs"


def test_early_stopping_on_a_column_that_is_not_there_names_those_that_are():
    with pytest.raises(KeyError, match="val_loss.*val_loader.*train_loss"):
        trainer(net(), callbacks=[EarlyStopping()]).fit(1)


def test_the_csv_has_every_epoch_as_soon_as_it_is_over(tmp_path):
    class Reads:
        lengths = []

        def on_epoch_end(self, trainer):
            self.lengths.append(len(pd.read_csv(tmp_path / "log.csv")))

    trainer(net(), callbacks=[CSVLog(tmp_path / "log.csv"), Reads()]).fit(3)
    assert Reads.lengths == [1, 2, 3]


def test_gradient_norms_of_every_parameter_are_kept_at_every_so_many_steps():
    model = net()
    monitor = GradientMonitor(every=2)
    steps = trainer(model, callbacks=[monitor]).fit(2).steps
    table = monitor.table
    assert sorted(table.step.unique()) == [2, 4, 6, 8]
    assert set(table.parameter) == {name for name, _ in model.named_parameters()}
    joint = table.groupby("step").gradient_norm.apply(lambda norms: norms.pow(2).sum() ** 0.5)
    pd.testing.assert_series_equal(
        joint, steps.set_index("step").gradient_norm.loc[joint.index], check_names=False, rtol=1e-5
    )


def test_the_gradient_monitor_works_in_a_loop_by_hand_and_leaves_out_what_has_no_gradient():
    model, monitor = net(), GradientMonitor()
    model[0].requires_grad_(False)
    nn.functional.cross_entropy(model(PICTURES[0]), PICTURES[1]).backward()
    monitor.record(model, step=1)
    row = monitor.table.set_index("parameter").loc["5.weight"]
    assert row.gradient_norm == pytest.approx(model[5].weight.grad.norm().item())
    assert row.ratio == pytest.approx((model[5].weight.grad.norm() / model[5].weight.norm()).item())
    assert not monitor.table.parameter.str.startswith("0.").any()
    assert GradientMonitor().table.empty


def test_the_live_plot_says_once_that_there_is_no_notebook(caplog):
    with caplog.at_level(logging.WARNING, "dl_course"):
        trainer(net(), callbacks=[LivePlot()]).fit(3)
    assert [record.message for record in caplog.records] == ["LivePlot: no notebook here, so nothing to see"]


def test_the_live_plot_draws_over_its_picture_after_every_epoch_and_closes_it(monkeypatch):
    import IPython.display
    import matplotlib.pyplot as plt
    from IPython.core import getipython

    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("update", len(figure.axes[0].lines[0].get_xdata())))

    def display(figure, display_id):
        shown.append(("display", len(figure.axes[0].lines[0].get_xdata())))
        return Handle()

    plt.close(plt.figure())  # pyplot asks once, with its first figure, whether it runs in IPython
    monkeypatch.setattr(getipython, "get_ipython", lambda: type("Shell", (), {"kernel": 1})())
    monkeypatch.setattr(IPython.display, "display", display)
    open_before = plt.get_fignums()
    trainer(net(), callbacks=[LivePlot()]).fit(3)
    assert shown == [("display", 1), ("update", 2), ("update", 3)] and plt.get_fignums() == open_before


def test_callbacks_hear_of_every_event_in_order():
    class Listens:
        heard = []

        def __getattr__(self, event):
            if not event.startswith("on_"):
                raise AttributeError(event)
            return lambda trainer: self.heard.append(f"{event} {trainer.step}")

    trainer(net(), callbacks=[listener := Listens()]).fit(1)
    assert listener.heard == [
        "on_fit_start 0",
        *[f"on_step_end {i}" for i in (1, 2, 3, 4)],
        "on_epoch_end 4",
        "on_fit_end 4",
    ]
    with pytest.raises(ValueError, match="no batch"):
        trainer(net(), [], callbacks=[listener]).fit(1)
    assert listener.heard[-2:] == ["on_fit_start 0", "on_fit_end 0"]


def test_importing_the_room_imports_no_tracker():
    import subprocess

    unwanted = "{'wandb', 'tensorboard', 'IPython', 'matplotlib'}"
    code = f"import sys, dl_course.training; print(sorted({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    assert torch is sys.modules["torch"]
