"""Search: spaces, pruning on true reports, studies that go on after a kill and are shared by processes."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from dl_course.experiments import ExperimentConfig, importances, search, studies, trial_table
from dl_course.training import TrainingError
from tests.experiments.test_running import SMALL

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ExperimentConfig()
SPACE = {"training.learning_rate": {"low": 1e-4, "high": 1.0, "log": True}, "data.batch_size": [16, 32]}


def stand_in(config, runs, callbacks, progress):
    """A training of four epochs whose accuracy falls with the distance from a learning rate of 0.01."""
    accuracy = 1 / (1 + abs(config.training.learning_rate - 0.01)) - 0.01 * (config.data.batch_size == 32)
    for epoch in (1, 2, 3, 4):
        row = {"epoch": epoch, "val_accuracy": accuracy * epoch / 4, "val_loss": 1 - accuracy * epoch / 4}
        trainer = SimpleNamespace(epoch=epoch, history=SimpleNamespace(last=row))
        for callback in callbacks:
            callback.on_epoch_end(trainer)
    return SimpleNamespace(metrics=row)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("dl_course.experiments.studies.train", stand_in)


def quick_search(space=SPACE, **how):
    return search(CONFIG, space, **how)


def test_a_search_trains_real_runs_and_keeps_them(tmp_path):
    space = {"training.learning_rate": [0.01, 0.03]}
    study = search(SMALL, space, method="grid", runs=tmp_path)
    assert sorted(trial.params["training.learning_rate"] for trial in study.trials) == [0.01, 0.03]
    from dl_course.experiments import find_runs

    values = {run.config.training.learning_rate: run.metrics["val_accuracy"] for run in find_runs(tmp_path)}
    assert {t.params["training.learning_rate"]: t.value for t in study.trials} == values
    assert [sorted(trial.intermediate_values) for trial in study.trials] == [[1, 2], [1, 2]]


def test_a_search_stays_in_its_space_and_finds_the_better_part(quick):
    study = quick_search(trials=30)
    rates = [trial.params["training.learning_rate"] for trial in study.trials]
    assert len(rates) == 30 and all(1e-4 <= rate <= 1 for rate in rates)
    assert study.best_params["training.learning_rate"] < 0.05 and study.best_value > 0.95


def test_every_epoch_is_reported_and_the_worse_are_pruned(quick):
    study = quick_search(trials=30, method="random")
    table = trial_table(study)
    assert set(table["state"]) == {"complete", "pruned"}
    pruned = table[table["state"] == "pruned"]
    assert (pruned["epochs"] < 4).all() and (table[table["state"] == "complete"]["epochs"] == 4).all()
    finals = {
        row.Index: study.trials[row.Index].intermediate_values[row.epochs] for row in pruned.itertuples()
    }
    assert pruned["value"].to_dict() == finals
    better = {epoch: [t.intermediate_values[epoch] for t in study.trials[:5]] for epoch in (1, 2, 3, 4)}
    first = study.trials[pruned.index[0]].intermediate_values
    assert pruned.index[0] == 5 and first[1] < np.median(better[1])  # as soon as five have come before it


def test_a_loss_is_made_small(quick):
    study = quick_search(trials=12, metric="val_loss")
    assert study.direction == optuna.study.StudyDirection.MINIMIZE and study.best_value < 0.1


def test_a_grid_tries_every_combination_once(quick):
    space = {"training.learning_rate": [0.001, 0.01, 0.1], "data.batch_size": [16, 32]}
    study = quick_search(space, method="grid")
    tried = {tuple(trial.params.values()) for trial in study.trials}
    assert len(study.trials) == len(tried) == 6
    assert study.best_params == {"training.learning_rate": 0.01, "data.batch_size": 16}


def test_the_seed_decides_what_is_tried(quick):
    one, two, other = (quick_search(trials=12, seed=seed) for seed in (0, 0, 1))
    assert trial_table(one).equals(trial_table(two)) and not trial_table(one).equals(trial_table(other))


@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_a_stopped_search_goes_on_as_if_it_had_not(quick, tmp_path, name):
    whole = quick_search(trials=14, storage=tmp_path / f"whole-{name}")
    quick_search(trials=6, storage=tmp_path / name)
    parts = quick_search(trials=14, storage=tmp_path / name)
    assert trial_table(parts).equals(trial_table(whole))
    assert trial_table(parts)["training.learning_rate"].is_unique
    assert len(quick_search(trials=14, storage=tmp_path / name).trials) == 14  # nothing more to do


@contextmanager
def program(storage, trials, seconds=0.0):
    """Begin a search with the stand-in as a program of its own, which prints a line for every trial."""
    call = f"searched({str(storage)!r}, {trials}, {seconds})"
    command = [sys.executable, "-c", f"from tests.experiments.test_search import searched; {call}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def searched(storage, trials, seconds):
    """What such a program does."""

    def slow(*arguments, **how):
        done = stand_in(*arguments, **how)
        print("tried", flush=True)
        time.sleep(seconds)
        return done

    studies.train = slow
    quick_search(trials=trials, storage=Path(storage))


@pytest.mark.timeout(180)
def test_a_killed_search_goes_on(quick, tmp_path):
    with program(tmp_path / "a.db", 50, seconds=0.3) as process:
        for _ in range(3):
            assert process.stdout.readline() == "tried\n", process.stdout.read()
        process.kill()
    states = trial_table(quick_search(trials=10, storage=tmp_path / "a.db"))["state"].value_counts()
    assert states["running"] == 1 and states.drop("running").sum() == 10


@pytest.mark.timeout(180)
def test_several_processes_share_a_study_and_try_different_settings(quick, tmp_path):
    quick_search(trials=1, storage=tmp_path / "a.journal")
    with program(tmp_path / "a.journal", 12, seconds=0.05) as process:
        assert process.stdout.readline() == "tried\n", process.stdout.read()
        study = quick_search(trials=12, storage=tmp_path / "a.journal")
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    study = quick_search(trials=12, storage=tmp_path / "a.journal")
    rates = [trial.params["training.learning_rate"] for trial in study.trials]
    assert 12 <= len(rates) <= 13 and len(set(rates)) == len(rates)


def test_a_training_that_diverges_is_one_failed_trial(monkeypatch):
    def diverging(config, *arguments, **how):
        if config.data.batch_size == 32:
            raise TrainingError("the loss is nan")
        return stand_in(config, *arguments, **how)

    monkeypatch.setattr("dl_course.experiments.studies.train", diverging)
    table = trial_table(quick_search(trials=10))
    assert len(table) == 10
    assert set(table[table["data.batch_size"] == 32]["state"]) == {"fail"}


def test_an_interrupted_training_ends_the_search(monkeypatch):
    monkeypatch.setattr(
        "dl_course.experiments.studies.train", lambda *arguments, **how: SimpleNamespace(metrics={})
    )
    with pytest.raises(KeyboardInterrupt):
        quick_search(trials=3)


def test_what_matters_gets_the_larger_importance(quick):
    shares = importances(quick_search(trials=40, method="random"))
    assert shares["training.learning_rate"] > shares["data.batch_size"]
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("space", "how", "expected"),
    [
        ({"training.epohcs": [1]}, {}, "training.epohcs: unknown key; did you mean 'training.epochs'"),
        ({"training.epochs": [1, "two"]}, {}, "training.epochs: takes int; given: two"),
        ({"training.epochs": {"low": 0, "high": 3}}, {}, "training.epochs: takes at least 1; given: 0"),
        ({"training.epochs": {"lo": 1, "high": 3}}, {}, "takes a list of choices or"),
        ({"training.epochs": {"low": 1, "high": 3}}, {"method": "grid"}, "takes a list of choices for"),
        ({}, {"method": "gird"}, "unknown method 'gird'; did you mean 'grid'"),
    ],
)
def test_an_impossible_space_is_refused_before_anything_is_trained(space, how, expected):
    with pytest.raises(ValueError) as refused:
        quick_search(space, **how)
    assert expected in str(refused.value)


def test_an_unknown_metric_is_refused_with_the_nearest(quick):
    with pytest.raises(ValueError, match="no metric 'val_acuracy'; did you mean 'val_accuracy'"):
        quick_search(trials=2, metric="val_acuracy", mode="max")


def test_a_figure_that_is_to_fall_is_searched_for_its_smallest_value(quick):
    assert quick_search(trials=1, metric="val_loss").direction.name == "MINIMIZE"
    with pytest.raises(ValueError, match="'val_quality' needs mode='min' or mode='max'"):
        quick_search(trials=1, metric="val_quality")
