"""Search: let Optuna try settings, stop what is worse than most, and go on after a stop.

Akiba et al., "Optuna", KDD 2019; TPE: Bergstra et al., NeurIPS 2011; median: Golovin et al., KDD 2017.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import pandas as pd

from dl_course.experiments.config import ExperimentConfig
from dl_course.experiments.reading import changed
from dl_course.experiments.running import train
from dl_course.registry import nearest
from dl_course.training import TrainingError
from dl_course.training.history import direction

METHODS = ("tpe", "random", "grid")


def search(
    config: ExperimentConfig, space: Mapping[str, Any], *, trials: int | None = None, method: str = "tpe",
    study: str = "search", storage: str | Path | None = None, runs: str | Path = "runs",
    metric: str = "val_accuracy", mode: str | None = None, seed: int = 0,
) -> Any:  # fmt: skip
    """Return Optuna's study after so many ended trials in all: a run each, or what a pruned one left of it.

    space: setting → list of choices, or {"low": …, "high": …, "log": True}, whole numbers if both are; for
    "grid" lists alone · storage: none for memory, or a file that other processes may work with at once, and
    with which a killed search goes on: "study.db" for SQLite, "study.journal" on a folder that machines
    share · metric: of the last epoch; after each one, what is worse than the median of others is pruned ·
    mode: "min" or "max", needed for a metric that ``training.history.direction`` doesn't know.
    """
    optuna = _optuna()
    _check(config, space, method)
    size = prod(len(choices) for choices in space.values()) if method == "grid" else 20
    wanted = trials or size
    state = optuna.trial.TrialState
    ended = (state.COMPLETE, state.PRUNED, state.FAIL)

    def sampler(number: int) -> Any:
        kinds = optuna.samplers
        if method == "grid":
            return kinds.GridSampler(dict(space), seed=seed)
        return (kinds.TPESampler if method == "tpe" else kinds.RandomSampler)(seed=seed + number)

    def objective(trial: Any) -> float:
        if method != "grid":  # so that no two processes, nor one after a stop, draw the same
            trial.study.sampler = sampler(trial.number)
        settings = {key: _suggested(trial, key, values) for key, values in space.items()}
        run = train(changed(config, settings), runs, callbacks=[Report(trial, metric)], progress=False)
        if metric not in run.metrics:
            raise KeyboardInterrupt
        return run.metrics[metric]

    with _quiet(optuna):
        made = optuna.create_study(
            study_name=study, storage=_storage(optuna, storage), load_if_exists=True,
            direction={"min": "minimize", "max": "maximize"}[direction(metric, mode)],
            sampler=sampler(0), pruner=optuna.pruners.MedianPruner(),
        )  # fmt: skip
        if len(made.get_trials(deepcopy=False, states=ended)) < wanted:
            limit = optuna.study.MaxTrialsCallback(wanted, states=ended)
            made.optimize(objective, callbacks=[limit], catch=(TrainingError,))
    return made


class Report:
    """Tells a trial the metric of every epoch, and the run's folder; ends the training if it is pruned."""

    def __init__(self, trial: Any, metric: str) -> None:
        self.trial = trial
        self.metric = metric

    def on_epoch_end(self, trainer: Any) -> None:
        """Report; raises TrialPruned."""
        row = trainer.history.last
        if self.metric not in row:
            raise ValueError(f"no metric '{self.metric}'{nearest(self.metric, row)}")
        self.trial.report(row[self.metric], trainer.epoch)
        if self.trial.should_prune():
            raise _optuna().TrialPruned


def trial_table(study: Any) -> pd.DataFrame:
    """Return a row a trial: state, value (a pruned one's last), epochs, and the settings."""
    rows = {}
    for trial in study.get_trials(deepcopy=False):
        reported = trial.intermediate_values
        value = reported[max(reported)] if trial.value is None and reported else trial.value
        shown = {"state": trial.state.name.lower(), "value": value, "epochs": max(reported, default=0)}
        rows[trial.number] = shown | trial.params
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("trial")


def importances(study: Any) -> "pd.Series[float]":
    """Return each setting's share in the variance of the results, by fANOVA (Hutter et al., ICML 2014)."""
    optuna = _optuna()
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return pd.Series(optuna.importance.get_param_importances(study, evaluator=evaluator), name="importance")


def _check(config: ExperimentConfig, space: Mapping[str, Any], method: str) -> None:
    """Raise ValueError for what would stumble later, after hours."""
    if method not in METHODS:
        raise ValueError(f"unknown method '{method}'{nearest(method, METHODS)}")
    for key, values in space.items():
        ranged = isinstance(values, Mapping)
        if ranged and (method == "grid" or not {"low", "high"} <= values.keys() <= {"low", "high", "log"}):
            allowed = "a list of choices" + ' or {"low": …, "high": …, "log": …}' * (method != "grid")
            raise ValueError(f"{key}: takes {allowed} for the method '{method}'; given: {values}")
        for value in (values["low"], values["high"]) if ranged else values:
            changed(config, {key: value})


def _suggested(trial: Any, key: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return trial.suggest_categorical(key, values)
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    return (trial.suggest_int if whole else trial.suggest_float)(key, **values)


def _storage(optuna: Any, path: str | Path | None) -> Any:
    if path is None or "://" in str(path):
        return path
    if Path(path).suffix == ".db":
        return f"sqlite:///{path}"
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    return optuna.storages.JournalStorage(backend)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna's lines of log back, but for warnings."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('a search needs optuna: pip install "dl-course[experiments]"') from error
    return optuna
