"""Experiments: configurations → runs → comparisons; search; training in several processes."""
# ruff: noqa: F401  the names are handed on

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
from dl_course.experiments.drawing import draw_curves, draw_importances, draw_seeds, draw_trials
from dl_course.experiments.reading import changed, configs, load_config, save_config
from dl_course.experiments.running import build_trainer, evaluate, train
from dl_course.experiments.runs import Run, find_runs
from dl_course.experiments.studies import importances, search, trial_table
