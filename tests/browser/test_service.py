"""The service's page in a real browser: digits drawn or dropped are read, photographs too; all is its own."""

import io
import re
from base64 import b64decode, b64encode

import numpy as np
import pytest
from PIL import Image, ImageDraw
from torch import nn

from dl_course import models
from dl_course.deploy import serving, to_onnx
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


def test_a_photograph_reaches_the_service_whole_to_be_cut_as_the_network_was_taught_to(page, tmp_path):
    network = nn.Sequential(nn.AdaptiveAvgPool2d((1, 4)), nn.Flatten())
    names = [f"{colour} {place}" for colour in ("red", "green", "blue") for place in range(4)]
    predictor = Predictor(network, None, names, shape=(3, 32, 32), crop=0.5)
    to_onnx(predictor, tmp_path / "photographs.onnx")
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 300, 3), np.uint8))
    seen = []
    with serving(tmp_path / "photographs.onnx", on_prediction=lambda *what: seen.append(what[2])) as address:
        page.goto(address)
        says(page, "Drop a picture")
        for name in ("wide.png", "wide.webp"):
            drop(page, wide, name)
            says(page, r"\d %")
            assert page.locator("#shares tr").count() == 10  # of twelve, the likeliest first
            page.get_by_role("button", name="Clear").click()
    np.testing.assert_allclose(seen[0], predictor.tensors(wide), atol=1e-5)
    assert np.abs(seen[1] - predictor.tensors(wide).numpy()).mean() < 0.1  # WebP has lost a little
