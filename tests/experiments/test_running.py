"""Runs: two are one to the bit, none is lost, all go on; and what the commands say of them."""

import json
import math
import re
import shutil

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dl_course.cli import main
from dl_course.evaluation import predict
from dl_course.experiments import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    Run,
    TrainingConfig,
    build_pictures,
    changed,
    evaluate,
    find_runs,
    load_config,
    save_config,
    train,
)
from dl_course.training import load
from tests.training.small import same

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise

SMALL = ExperimentConfig(
    "small",
    DataConfig(batch_size=32, splits=[0.1, 0.1, 0.8]),
    ModelConfig("simplecnn", base_channels=2),
    TrainingConfig(epochs=2, learning_rate=0.01, seed=3, device="cpu"),
)


def trained(config, folder, **how):
    return train(config, folder, progress=False, **how)


def weights(run, checkpoint="latest"):
    return load(run.folder / f"{checkpoint}.pt")["model"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs: one of a configuration twice, and one of another seed."""
    folder = tmp_path_factory.mktemp("runs")
    return [trained(changed(SMALL, {"training.seed": seed}), folder) for seed in (3, 3, 4)]


def test_two_runs_of_one_configuration_and_seed_are_identical_to_the_bit(runs):
    one, two, other = runs
    assert same(weights(one), weights(two)) and not same(weights(one), weights(other))
    assert (one.folder / "metrics.json").read_bytes() == (two.folder / "metrics.json").read_bytes()
    clocks = ["seconds", "samples_per_second"]
    pd.testing.assert_frame_equal(one.history.drop(columns=clocks), two.history.drop(columns=clocks))
    abouts = [json.dumps(run.about | {"command": []}, sort_keys=True) for run in (one, two)]
    assert abouts[0] == abouts[1]


def test_no_run_overwrites_another(runs):
    assert [run.folder.name for run in runs] == ["small-000", "small-001", "small-002"]
    assert [run.folder for run in find_runs(runs[0].folder.parent)] == [run.folder for run in runs]


def test_a_run_holds_all_that_is_needed_to_do_it_again(runs):
    run = Run(runs[0].folder)
    assert load_config(run.folder / "config.yaml") == run.config == SMALL
    assert run.about["data"]["pictures"] == [
        len(build_pictures(SMALL.data, part)) for part in ("train", "val")
    ]
    assert re.fullmatch("[0-9a-f]{64}", run.about["data"]["sha256"])
    assert run.about["environment"]["torch"] == torch.__version__
    assert run.about["environment"]["processes"] == 1
    assert run.about["git"] is None or re.fullmatch("[0-9a-f]{40}", run.about["git"]["revision"])


def test_a_changed_picture_changes_the_checksum():
    from dl_course.experiments.runs import describe_work

    pictures = build_pictures(SMALL.data, "val")
    before = describe_work(torch.device("cpu"), 1, pictures)["data"]["sha256"]
    pictures.images[0, 0, 0, 0] += 1
    assert describe_work(torch.device("cpu"), 1, pictures)["data"]["sha256"] != before


def test_the_logs_and_the_final_figures_agree(runs):
    run = runs[0]
    last, best = run.history.iloc[-1], run.history.loc[run.history["val_loss"].idxmin()]
    assert run.metrics["epoch"] == len(run.history) == 2
    assert math.isclose(run.metrics["val_accuracy"], last["val_accuracy"])
    assert run.metrics["best_epoch"] == best["epoch"] and math.isclose(
        run.metrics["best_val_loss"], best["val_loss"]
    )
    board = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert board.Scalars("epoch/val_loss")[-1].value == pytest.approx(last["val_loss"])
    assert repr(run) == f"Run small-000: 2 epochs, val_loss {last['val_loss']:.4g}, val_accuracy " + (
        f"{last['val_accuracy']:.4g}"
    )


def test_a_run_gives_back_the_network_of_its_best_epoch(runs):
    run = runs[0]
    found = predict(run.model("best"), build_pictures(SMALL.data, "val"))
    assert found.accuracy == pytest.approx(run.metrics["best_val_accuracy"])
    assert found.loss == pytest.approx(run.metrics["best_val_loss"], rel=1e-5)
    assert not run.model().training


def test_a_training_leaves_the_random_numbers_alone(tmp_path, runs):
    before = torch.get_rng_state()
    again = trained(changed(runs[0].config, {"training.epochs": 1}), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.metrics["epoch"] == 1


class Stop:
    """Ends a training after an epoch as a kill would: by an error that nobody expects."""

    def on_epoch_end(self, trainer):
        if trainer.epoch == 2:  # the checkpoint of epoch 1 is there, that of 2 not yet
            raise MemoryError("killed")


def test_a_run_that_was_stopped_goes_on_in_its_folder_as_if_it_had_not(tmp_path, runs):
    with pytest.raises(MemoryError):
        trained(SMALL, tmp_path, callbacks=[Stop()])
    (stopped,) = find_runs(tmp_path)
    assert stopped.metrics == {} and repr(stopped) == "Run small-000: not finished"
    assert load(stopped.folder / "latest.pt")["epoch"] == 1
    resumed = trained(stopped.config, tmp_path / "elsewhere", resume=stopped)
    assert resumed.folder == stopped.folder and not (tmp_path / "elsewhere").exists()
    assert same(weights(resumed), weights(runs[0]))
    assert resumed.metrics == runs[0].metrics
    assert len(resumed.about["resumed"]) == 1


def test_a_run_goes_on_only_with_its_own_network_and_data(tmp_path, runs):
    other = changed(SMALL, {"model.base_channels": 3})
    with pytest.raises(ValueError, match="another network or other data; only 'training' may change"):
        trained(other, tmp_path, resume=runs[0])
    with pytest.raises(FileNotFoundError, match="is no run"):
        trained(SMALL, tmp_path, resume=tmp_path)
    assert runs[0].metrics


def test_early_stopping_ends_a_run_by_its_patience(tmp_path):
    run = trained(
        changed(SMALL, {"training.epochs": 9, "training.patience": 1, "training.learning_rate": 1e-9}),
        tmp_path,
    )
    losses = run.history["val_loss"]
    assert len(losses) < 9 and losses.iloc[-1] >= losses.iloc[-2]


def test_the_commands_train_evaluate_and_compare(tmp_path, capsys, runs):
    save_config(SMALL, tmp_path / "small.yaml")
    where = ["--runs", str(tmp_path / "runs")]
    assert main(["train", "--config", str(tmp_path / "small.yaml"), "--training.epochs", "1", *where]) == 0
    (run,) = find_runs(tmp_path / "runs")
    assert repr(run) in capsys.readouterr().out and run.config.training.epochs == 1
    assert main(["train", "--resume", str(run.folder), "--training.epochs", "2"]) == 0
    assert Run(run.folder).metrics["epoch"] == 2
    assert main(["evaluate", str(run.folder), "--split", "test"]) == 0
    stored = json.loads((run.folder / "metrics-test.json").read_text())
    found = predict(run.model(), build_pictures(SMALL.data, "test"))
    assert stored == {
        "checkpoint": "best",
        "loss": found.loss,
        "accuracy": found.accuracy,
        "pictures": len(found),
    }
    assert repr(evaluate(run)) in capsys.readouterr().out
    picture = tmp_path / "seeds.png"
    assert main(["compare", *(str(each.folder) for each in runs), "--plot", str(picture)]) == 0
    assert "val_accuracy" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["train", "--training.epohcs", "1"]) == 1
    assert "did you mean 'training.epochs'" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path)]) == 1


def test_a_broken_folder_is_left_out_with_a_warning(tmp_path, runs, caplog):
    folder = tmp_path / "runs"
    shutil.copytree(runs[0].folder.parent, folder)
    (folder / "small-001" / "config.yaml").write_text("training: {epochs: many}")
    assert [run.folder.name for run in find_runs(folder)] == ["small-000", "small-002"]
    assert "small-001 is left out" in caplog.text
