"""The service's page in a real browser: digits drawn or dropped are read; all is its own."""

import io
import re
from base64 import b64decode, b64encode

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dl_course import models
from dl_course.deploy import serving
from dl_course.evaluation import Predictor
from dl_course.widgets import as_mnist
from tests.browser.test_drawing import STROKES, draw

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # a JupyterLab, a browser

DROP = """([base64, name, type]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0)), given = new DataTransfer();
  given.items.add(new File([bytes], name, {type}));
  const options = {dataTransfer: given, bubbles: true, cancelable: true};
  document.getElementById("pad").dispatchEvent(new DragEvent("drop", options));
}"""
SEEN = []


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "digits.safetensors"
    model, about = models.trained("digitnet-mnist"), {"name": "digitnet"}
    Predictor(model, None, "0123456789", shape=(1, 28, 28), architecture=about).save(path)
    with serving(path, on_prediction=lambda *what: SEEN.append(what[2])) as address:
        yield address


@pytest.fixture
def tab(page, address):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    says(page, "Draw a digit")
    yield page
    assert {url for url in asked if not url.startswith((address, "data:"))} == set()


def says(page, pattern):
    page.locator("#answer", has_text=re.compile(pattern)).wait_for(timeout=30_000)


def drop(page, picture, name="digit.png"):
    picture.save(file := io.BytesIO(), name.rpartition(".")[2].upper())
    page.evaluate(DROP, [b64encode(file.getvalue()).decode(), name, "image/" + name.rpartition(".")[2]])


def on_paper(digit, side=600):
    picture = Image.new("RGB", (side, side * 2 // 3), "white")
    places = [(x * side * 0.6 + 80, y * side * 0.6 + 20) for x, y in STROKES[digit]]
    ImageDraw.Draw(picture).line(places, "navy", 36, joint="curve")
    return picture


def test_digits_drawn_by_mouse_are_read_as_mnist_holds_them(tab):
    for digit in STROKES:
        draw(tab, tab.locator("body"), digit)
        says(tab, rf"^{digit} \(\d+ %\)")
        canvas = tab.locator("#pad").evaluate("pad => pad.toDataURL().split(',')[1]")
        ink = Image.open(io.BytesIO(b64decode(canvas))).convert("L")
        assert np.abs(SEEN[-1][0, 0] - as_mnist(np.asarray(ink)).numpy()).mean() < 0.015
        shares = [float(each[:-2]) for each in tab.locator("#shares .share").all_inner_texts()]
        assert np.argmax(shares) == int(digit) and abs(sum(shares) - 100) < 1
        tab.get_by_role("button", name="Clear").click()
        says(tab, "Draw a digit")
        assert tab.locator("#shares tr").count() == 0


def test_a_dropped_picture_is_read_even_dark_on_paper_and_in_another_format(tab):
    drop(tab, on_paper("7"))
    says(tab, r"^7 ")
    drop(tab, on_paper("0"), "digit.webp")
    says(tab, r"^0 ")


def test_a_chosen_file_is_read_by_keyboard_and_one_that_is_no_picture_is_said_to_be_none(tab, tmp_path):
    on_paper("1").save(tmp_path / "one.png")
    tab.locator("#file").set_input_files(tmp_path / "one.png")
    says(tab, r"^1 ")
    (tmp_path / "text.png").write_text("no picture")
    tab.locator("#file").set_input_files(tmp_path / "text.png")
    tab.get_by_role("alert").get_by_text("text.png can't be read as a picture").wait_for()
    assert tab.locator("#answer").inner_text() == "" and tab.locator("#shares tr").count() == 0


def test_the_documentation_shows_every_request_and_answer_without_a_network(tab):
    tab.get_by_role("link", name="How a program asks").click()
    for text in ("POST /predict", "GET /health", "multipart/form-data, image/png", "Retry-After", "curl -F"):
        tab.get_by_text(text).first.wait_for()


def test_what_the_server_refuses_stands_on_the_page(page, address):
    page.route("**/predict", lambda route: route.fulfill(status=413, json={"detail": "<b>too large</b>"}))
    page.goto(address)
    says(page, "Draw a digit")
    draw(page, page.locator("body"), "7")
    page.get_by_role("alert").get_by_text("<b>too large</b>").wait_for()
