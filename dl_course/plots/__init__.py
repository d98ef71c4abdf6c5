"""Plots: numbers in, Matplotlib axes out. Nothing is computed here that a test would want to assert on."""
# ruff: noqa: F401  the names are handed on

from dl_course.plots.curves import learning_curves, learning_rate_curve, reliability, resource_curves
from dl_course.plots.layers import gradient_flow, histograms, means, traces
from dl_course.plots.matrices import channel_gates, confusion_matrix, numbers, unit_activations, weight_matrix
from dl_course.plots.pictures import attention, feature_maps, image_grid, kernels
