"""Experiments: configurations → runs → comparisons; search; training in several processes."""
# ruff: noqa: F401  the names are handed on

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dl_course.experiments.analysis import (
    SeedComparison,
    by_seed,
    compare,
    compare_seeds,
    curves,
    figures,
    report,
    run_table,
    settings,
    weights,
)
from dl_course.experiments.build import build_model, build_pictures
from dl_course.experiments.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig
from dl_course.experiments.reading import changed, configs, load_config, save_config
from dl_course.experiments.running import build_trainer, evaluate, train
from dl_course.experiments.runs import Run, find_runs
from dl_course.experiments.studies import importances, search, trial_table

if TYPE_CHECKING:
    from dl_course.experiments.drawing import draw_curves, draw_seeds, draw_trials


def __getattr__(name: str) -> Any:
    # Lazy, because Matplotlib takes long to import, and a training on the command line draws nothing.
    if not name.startswith("draw_"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.drawing"), name)
