"""The site in a real browser, with everything but its own files refused."""

import pytest
import torch

from book import BookError
from book.accessibility import pages_of, problems
from book.browser import chromium, serving, visiting
from book.live import read_by_both
from dl_course.data import load

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Sphinx and ipywidgets
    pytest.mark.timeout(600),
    pytest.mark.e2e,
]


@pytest.fixture(scope="module")
def browser():
    """A Chromium, where there is one."""
    try:
        with chromium() as found:
            yield found
    except BookError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served."""
    with serving(site) as found:
        yield found


def test_no_page_asks_anybody_else_for_anything_and_no_script_fails(site, browser, address):
    errors = []
    with visiting(browser, address) as (tab, elsewhere):
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("response", lambda response: errors.append(response.url) if response.status >= 400 else None)
        for page in pages_of(site):
            tab.goto(address + page, wait_until="load")
    assert (elsewhere, errors) == ([], [])


def test_a_sample_of_pages_has_no_violation_of_wcag(browser, address):
    assert list(problems(browser, address, ["chapters/01_setup.html", "play.html"], [360], ["dark"])) == []
    assert list(problems(browser, address, ["api/hooks.html"], [1280], ["light"])) == []


def test_the_pad_loads_its_runtime_when_asked_and_reads_digits_as_pytorch_does(browser, address):
    images = load("digits", "test").tensors()[0][:12, 0]
    with visiting(browser, address) as (tab, elsewhere):
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"{address}draw.html", wait_until="load")
        assert not [url for url in asked if "/ort/" in url]
        assert "14.6 MB" in tab.locator(".live button").inner_text()
        tab.locator(".live button").click()
        tab.wait_for_selector('.live[data-state="ready"]')
        got, wanted = read_by_both(tab, images)
        assert (got - wanted).abs().max() <= 1e-3 and torch.equal(got.argmax(1), wanted.argmax(1))
        assert elsewhere == []


def test_figures_come_alive_by_the_notebooks_own_modules(browser, address):
    with visiting(browser, address) as (tab, _):
        tab.goto(f"{address}play.html", wait_until="load")
        tab.wait_for_selector('[data-live="convolution"][data-state="ready"]')
        before = tab.evaluate("document.querySelector('[data-live=convolution]').model.get('place')")
        tab.locator("[data-live=convolution] button", has_text="Step").click()
        after = tab.evaluate("document.querySelector('[data-live=convolution]').model.get('place')")
        assert after == before + 1
        tab.goto(f"{address}explore.html", wait_until="load")
        tab.locator(".explorer-layer label", has_text="stage3").last.click()
        assert "stage3 (BasicBlock): 32 maps of" in tab.locator(".explorer-maps figcaption").inner_text()
