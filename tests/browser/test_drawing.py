"""The drawing pad in a real JupyterLab: digits drawn by mouse are read, the keyboard reaches all else."""

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dl_course.widgets import as_mnist
from tests.browser.test_lab import APP, opened, output_of, run_cells

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # a JupyterLab, a browser

CELLS = {
    "pad": """from dl_course import models
from dl_course.evaluation import Predictor
from dl_course.widgets import DrawingPad

pad = DrawingPad(Predictor(models.trained("digitnet-mnist"), shape=(1, 28, 28)))
pad""",
    "busy": "import time\nbefore = pad.stroke\ntime.sleep(4)",
    "asked": "print('asked', pad.stroke - before, 'times')",
}
STROKES = {  # as shares of the canvas
    "1": [(0.45, 0.25), (0.55, 0.15), (0.53, 0.85)],
    "0": [(0.5, 0.15), (0.36, 0.22), (0.3, 0.45), (0.33, 0.7), (0.45, 0.85), (0.6, 0.82), (0.7, 0.6),
          (0.69, 0.35), (0.62, 0.2), (0.5, 0.15)],
    "7": [(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)],
}  # fmt: skip


@pytest.fixture
def pad(lab, page):
    opened(page, lab.holding(CELLS))
    run_cells(page, "pad")
    says(page, "Draw a digit")
    return page.locator(".drawing-pad")


def says(page, pattern):
    page.locator(".drawing-pad .status", has_text=re.compile(pattern)).wait_for(timeout=60_000)


def draw(page, pad, digit):
    box = pad.locator("canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in STROKES[digit]]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def pixels(url):
    return np.asarray(Image.open(BytesIO(b64decode(url.partition(",")[2]))).convert("L"), dtype=int)


def drawn(pad):
    return pixels(pad.locator("canvas").evaluate("canvas => canvas.toDataURL()"))


def test_digits_drawn_by_mouse_are_read_and_the_keyboard_does_the_rest(page, pad):
    for digit in STROKES:
        draw(page, pad, digit)
        says(page, rf"^{digit} \(\d+%\)")
        page.wait_for_timeout(500)  # for the answer to the last stroke
        seen = pixels(pad.locator(".seen").get_attribute("src"))
        assert abs(seen - as_mnist(drawn(pad).astype(np.uint8)).numpy() * 255).max() <= 1
        shares = pad.locator(".bars span").all_inner_texts()
        assert max(range(10), key=lambda name: int(shares[name][:-1])) == int(digit)
        pad.locator(".clear").click()
        assert drawn(pad).max() == 0 and pad.locator(".bars span").all_inner_texts() == [""] * 10

    draw(page, pad, "7")
    says(page, r"^7")
    page.wait_for_timeout(500)
    pad.locator("canvas").focus()
    maps = pad.locator(".maps").get_attribute("src")
    with page.expect_download() as download:
        for key in ("Tab", "Tab", "Enter"):
            page.keyboard.press(key)
    saved = np.asarray(Image.open(download.value.path()).convert("L"))
    assert saved.shape == (280, 280) and (saved == drawn(pad)).all()

    layer = pad.locator(".layer").input_value()
    for key in ("Tab", "ArrowUp"):
        page.keyboard.press(key)
    page.wait_for_function("old => document.querySelector('.drawing-pad .maps').src != old", arg=maps)
    assert pad.locator(".layer").input_value() != layer

    for key in ("Shift+Tab", "Shift+Tab", "Space"):
        page.keyboard.press(key)
    says(page, "Draw a digit")
    assert drawn(pad).max() == 0


def test_of_what_is_drawn_while_the_kernel_is_busy_the_last_alone_is_read(page, pad):
    page.evaluate(
        f"""() => {{{APP}
            app.shell.currentWidget.content.activeCellIndex = 1;
            app.commands.execute('notebook:run-cell');
        }}"""
    )
    page.wait_for_timeout(500)
    draw(page, pad, "7")
    says(page, "waiting for the kernel")
    says(page, r"^7 \(\d+%\)")
    page.wait_for_timeout(500)
    run_cells(page, "asked")
    assert output_of(page, "asked").strip() == "asked 2 times"
