"""TensorBoard's file is read with TensorBoard's own reader; Weights & Biases runs offline."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dl_course.training import TensorBoard, WandB
from tests.training.small import loader, net, same, trainer


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    read.Reload()
    return read


def test_tensorboard_gets_figures_pictures_graph_and_histograms(tmp_path):
    run = trainer(net(), val=loader(6), callbacks=[TensorBoard(tmp_path, every=3)])
    history = run.fit(2)
    read = events(tmp_path)
    tags = read.Tags()
    losses = read.Scalars("step/loss")
    assert [each.step for each in losses] == [3, 6]
    np.testing.assert_allclose([each.value for each in losses], history.steps.loss[[2, 5]], rtol=1e-6)
    np.testing.assert_allclose(
        [each.value for each in read.Scalars("epoch/val_loss")], history.epochs.val_loss, rtol=1e-6
    )
    assert tags["graph"] and len(tags["images"]) == 1
    assert {"weights/5.weight", "gradients/5.weight"} <= set(tags["histograms"])


def test_tensorboard_changes_nothing_of_the_training(tmp_path):
    states = []
    for callbacks in ([], [TensorBoard(tmp_path, every=1)]):
        torch.manual_seed(0)
        run = trainer(net(dropout=0.5), callbacks=callbacks)
        run.fit(2)
        states.append(run.model.state_dict())
    assert same(*states)


def test_a_resumed_training_takes_back_what_a_killed_one_wrote_after_its_checkpoint(tmp_path):
    for epochs in (1, 2):
        run = trainer(net(), callbacks=[TensorBoard(tmp_path / "board", every=1)], output_dir=tmp_path)
        run.resume()
        if epochs == 2:
            lost = TensorBoard(tmp_path / "board", every=1)
            lost.on_fit_start(run)
            lost._writer.add_scalar("step/loss", 99.0, 5)
            lost.on_fit_end(run)
        run.fit(epochs)
    losses = events(tmp_path / "board").Scalars("step/loss")
    assert [each.step for each in losses] == list(range(1, 9)) and max(each.value for each in losses) < 99


def test_a_model_that_cannot_be_traced_trains_without_a_graph(tmp_path, caplog):
    class Picky(nn.Sequential):
        def forward(self, x):
            if torch.jit.is_tracing():
                raise RuntimeError("not me")
            return super().forward(x)

    trainer(Picky(*net()), callbacks=[TensorBoard(tmp_path)]).fit(1)
    assert "no graph of this model: not me" in caplog.text
    assert not events(tmp_path).Tags()["graph"]


def test_wandb_runs_offline_with_every_epoch_and_goes_on_in_the_same_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    rows, ids, init = [], [], wandb.init

    def spying(**options):
        run = init(**options)
        ids.append(run.id)
        log = run.log
        monkeypatch.setattr(run, "log", lambda row, step: (rows.append((step, row)), log(row, step=step)))
        return run

    monkeypatch.setattr(wandb, "init", spying)
    options = dict(mode="offline", dir=str(tmp_path), project="test")
    for epochs in (1, 2):
        run = trainer(net(), callbacks=[WandB(**options)], output_dir=tmp_path / "out")
        run.resume()
        run.fit(epochs)
    assert [step for step, _ in rows] == [4, 8] and len(set(ids)) == 1
    assert rows[1][1] == run.history.last
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_wandb_where_it_is_not_installed_says_how_to(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match="pip install wandb"):
        trainer(net(), callbacks=[WandB()]).fit(1)


def test_chapter_07s_lines_turn_wandbs_runs_into_a_table_to_compare(monkeypatch):
    wandb = pytest.importorskip("wandb")
    summaries = pytest.importorskip("wandb.apis.public.summary", reason="wandb's summaries are elsewhere")

    def run(name, rate, accuracy):
        summary = summaries.HTTPSummary(SimpleNamespace(dir="."), None, summary={"val_accuracy": accuracy})
        return SimpleNamespace(name=name, config={"learning_rate": rate}, summary=summary)

    runs = [run("small-000", 0.01, 0.95), run("small-001", 0.1, 0.91)]
    asked = []
    api = SimpleNamespace(runs=lambda path: asked.append(path) or runs)
    monkeypatch.setattr(wandb, "Api", lambda: api)
    lesson = (Path(__file__).parents[2] / "solutions" / "07_experiments.py").read_text()
    (lines,) = re.findall(r"^# ```python\n((?:# .*wandb\.Api.*\n)(?:#.*\n)*?)# ```", lesson, re.MULTILINE)
    scope = {"wandb": wandb, "pd": pd}
    exec(lines.replace("# ", ""), scope)
    assert asked == ["my-team/digits"]
    assert scope["table"].loc["small-001"].to_dict() == {"learning_rate": 0.1, "val_accuracy": 0.91}
