"""Rules: what a check-up knows of faults, a function a rule, in the file of its stage."""
# ruff: noqa: F401, I001  rules join the list in the order of the stages

from dl_course.diagnostics.rules import data, labels, reading, model, probes, loss, optimizer, trial, history
from dl_course.diagnostics.rules.finding import CONSEQUENCES, Finding, Report
