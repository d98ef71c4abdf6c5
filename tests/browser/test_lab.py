"""The first chapter in a real JupyterLab: run all, answers, diagnosis, collapsed solutions."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # a JupyterLab, a browser

APP = "const app = window.jupyterapp; const cells = app.shell.currentWidget.content.widgets;"
COUNTS = (
    "cells.filter(c => c.model.type == 'code' && c.model.sharedModel.source.trim())"
    ".map(c => c.model.sharedModel.execution_count)"
)
WRONG = "def standardize(images):\n    x = images.float()\n    return (x - x.mean()) / x.std(correction=0)"
RIGHT = (
    "def standardize(images):\n    x = images.double()\n"
    "    std = x.std((0, 2, 3), correction=0, keepdim=True)\n"
    "    return (x - x.mean((0, 2, 3), keepdim=True)) / std.clamp(min=1e-12)"
)


def opened(page, address):
    """Open a notebook and wait until its cells are drawn and its kernel is idle."""
    page.goto(address)
    page.wait_for_function(
        "window.jupyterapp && window.jupyterapp.shell.currentWidget?.content?.widgets?.length > 0"
    )
    page.wait_for_function(
        f"(() => {{{APP} return document.querySelectorAll('.jp-Cell').length >= cells.length}})()"
    )
    status = "[...document.querySelectorAll('.jp-StatusBar-Widget *')].map(e => e.textContent.trim())"
    idle = f"{status}.some(text => text.endsWith('| Idle'))"
    page.wait_for_function(idle, timeout=90_000)


def run_cells(page, *ids):
    """Run the cells with these ids, one after another, and wait for each."""
    for cell in ids:
        page.evaluate(
            f"""async id => {{{APP}
                app.shell.currentWidget.content.activeCellIndex = cells.findIndex(c => c.model.id == id);
                await app.commands.execute('notebook:run-cell');
            }}""",
            cell,
        )


def type_into(page, cell, source):
    page.evaluate(
        f"([id, text]) => {{{APP} cells.find(c => c.model.id == id).model.sharedModel.setSource(text)}}",
        [cell, source],
    )


def output_of(page, cell):
    return page.evaluate(
        f"id => {{{APP} return cells.find(c => c.model.id == id).outputArea?.node.innerText ?? ''}}", cell
    )


def test_chapter_01_runs_and_an_answer_is_checked_in_jupyterlab(lab, page):
    opened(page, lab.copy("01_setup"))
    page.evaluate(f"async () => {{{APP} await app.commands.execute('notebook:run-all-cells')}}")
    page.wait_for_function(f"(() => {{{APP} return {COUNTS}.every(n => n)}})()", timeout=240_000)

    errors = page.evaluate(
        f"() => {{{APP} return document.querySelectorAll('[data-mime-type*=\"error\"]').length}}"
    )
    assert errors == 0
    for name in ("standardize", "pairwise_distances", "seeded_split", "count_parameters"):
        assert f"{name}: not attempted yet" in output_of(page, f"check-{name}")
        assert "the reference solution is used" in output_of(page, f"solution-{name}")
        assert page.locator(".jp-InputPlaceholder", has_text=f"Solution: {name}").is_visible()
    assert (
        page.locator(".jp-InputPlaceholder").count() == 5
    )  # four solutions and the Colab cell, all collapsed

    type_into(page, "exercise-standardize", WRONG)
    run_cells(page, "exercise-standardize", "check-standardize", "solution-standardize")
    assert "one mean and one std for all channels" in output_of(page, "check-standardize")
    assert "the reference solution is used" in output_of(page, "solution-standardize")

    type_into(page, "exercise-standardize", RIGHT)
    run_cells(page, "exercise-standardize", "check-standardize", "solution-standardize")
    assert "standardize: passed (1 point)" in output_of(page, "check-standardize")
    assert "your own answer is used" in output_of(page, "solution-standardize")
