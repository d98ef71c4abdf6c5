"""Questions in a real JupyterLab, answered by keyboard alone."""

import pytest

from dl_course.exercises.questions import find_question
from tests.browser.test_lab import opened, run_cells

pytestmark = pytest.mark.e2e


def test_questions_are_answered_by_keyboard_in_jupyterlab(lab, page):
    choices = find_question("02-all-zeros").options
    sources = ["from dl_course import ask\n\nask('02-all-zeros')", "ask('02-weight-gradient')"]
    opened(page, lab.holding({f"ask-{i}": source for i, source in enumerate(sources)}))
    run_cells(page, "ask-0", "ask-1")

    page.locator(".ask-entries button", has_text="c").first.wait_for(timeout=60_000)
    page.locator(".ask-entries button").first.focus()
    for key in ("Tab", "Tab", "Shift+Tab", "Enter"):
        page.keyboard.press(key)
    page.locator(".ask-status", has_text=f": {choices['b']}").wait_for(timeout=30_000)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.locator(".ask-status", has_text=f": {choices['c']}").wait_for(timeout=30_000)

    page.locator(".ask-entries input").focus()
    page.keyboard.type("784, 100")
    page.keyboard.press("Enter")
    page.locator(".ask-status", has_text="✓ Right: (784, 100)").wait_for(timeout=30_000)
    assert "A gradient has the shape of its array" in page.locator(".ask-explanation").last.inner_text()
