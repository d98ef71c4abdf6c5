"""Evaluation: predictions → figures, mistakes and honest comparisons; a network that strangers can use."""
# ruff: noqa: F401  the names are handed on

from dl_course.evaluation.calibration import Calibration
from dl_course.evaluation.comparison import Comparison, compare
from dl_course.evaluation.predictions import Predictions, predict
from dl_course.evaluation.predictor import Predictor
from dl_course.evaluation.temperature import fit_temperature, temperature_scaled
