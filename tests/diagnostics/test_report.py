"""The report of a check-up: causes with what they bring, for readers, programs, pipelines."""

import json

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from dl_course import checkup
from dl_course.diagnostics import Finding
from dl_course.diagnostics.rules import Report
from dl_course.diagnostics.rules.drawn import SEEN_IN
from tests.diagnostics.test_checkup import FAULTS, loader, samples

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise

CAUSE = Finding("input-not-normalised", "error", None, "0 to 255", "Divide.")
MIDDLE = Finding("saturated-units", "warning", "1", "half < all", "Scale.", "input-not-normalised")
LAST = Finding("vanishing-gradients", "warning", None, "1e-9", "Mend.", "saturated-units")
OTHER = Finding("class-imbalance", "info", None, "1 : 12", "Weigh.")
REPORT = Report((CAUSE, OTHER, MIDDLE, LAST), {"no-update": "needs train_step="}, ("a note",))


def test_text_shows_each_cause_with_what_it_brings_along_below_it():
    assert repr(REPORT).splitlines() == [
        "error: input-not-normalised",
        "    found: 0 to 255",
        "    to do: Divide.",
        "    → warning: saturated-units at 1: half < all",
        "        → warning: vanishing-gradients: 1e-9",
        "info: class-imbalance",
        "    found: 1 : 12",
        "    to do: Weigh.",
        "a note",
        "not looked for: no-update: needs train_step=",
    ]


def test_html_shows_the_same_tree_and_escapes_what_it_was_given():
    html = REPORT._repr_html_()
    places = [html.index(each.fault) for each in (CAUSE, MIDDLE, LAST, OTHER)]
    assert places == sorted(places) and "→ saturated-units" in html and "half &lt; all" in html
    assert html.count("Divide.") == 1 and "Scale." not in html  # advice is for causes


def test_json_says_all_that_the_report_says():
    said = json.loads(REPORT.to_json())
    assert not said["healthy"] and said["notes"] == ["a note"]
    assert said["skipped"] == {"no-update": "needs train_step="}
    assert [Finding(**each) for each in said["findings"]] == list(REPORT)


def test_sarif_has_a_result_for_each_finding_at_its_layer_and_file():
    (run,) = json.loads(REPORT.to_sarif("train.py"))["runs"]
    assert [each["ruleId"] for each in run["results"]] == [each.fault for each in REPORT]
    assert [each["level"] for each in run["results"]] == ["error", "note", "warning", "warning"]
    (place,) = run["results"][2]["locations"]
    assert place["logicalLocations"] == [{"fullyQualifiedName": "1"}]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "train.py"
    assert {each["id"] for each in run["tool"]["driver"]["rules"]} == REPORT.faults


def test_plot_draws_the_trial_and_the_labels_that_decided():
    x, y = samples()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 4))
    kept = torch.cat([(y != 3).nonzero()[:, 0], (y == 3).nonzero()[:4, 0]])
    optimizer = torch.optim.SGD(model.parameters(), 300.0)
    report = checkup(model, loader(x[kept], y[kept]), nn.CrossEntropyLoss(), optimizer=optimizer)
    assert {"lr-too-high", "class-imbalance"} <= report.faults
    axes = {ax.get_title(): ax for ax in report.plot()}
    drawn = axes["Short trial on a copy"].lines[0].get_ydata()
    assert list(drawn) == pytest.approx(report.measured["trial"], nan_ok=True)
    heights = [bar.get_height() for bar in axes["Labels"].patches]
    assert heights == y[kept].bincount().tolist()
    plt.close("all")


def test_plot_says_what_it_could_draw_where_there_is_nothing():
    with pytest.raises(ValueError, match=r"found \['class-imbalance'.*figures there are of class-imbalance"):
        REPORT.plot()
    assert set(" ".join(SEEN_IN.values()).split()) <= set(FAULTS)
