"""Diagnostics: measurements of a live network, each a table that shows itself."""
# ruff: noqa: F401  the names are handed on

from dl_course.diagnostics.activations import activation_statistics, dead_units
from dl_course.diagnostics.checks import check_loader, check_outputs
from dl_course.diagnostics.checkup import checkup, diagnose_history
from dl_course.diagnostics.cost import ResourceMonitor, profile
from dl_course.diagnostics.forward import debug_forward
from dl_course.diagnostics.gradients import gradient_flow, gradient_statistics
from dl_course.diagnostics.lr_finder import LRCurve, find_learning_rate
from dl_course.diagnostics.rules import Finding, Report
from dl_course.diagnostics.statistics import tensor_statistics
from dl_course.diagnostics.table import Table
from dl_course.diagnostics.weights import WeightHistory, weight_statistics
