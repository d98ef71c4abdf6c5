"""The layer explorer in a real JupyterLab, chosen by keyboard alone."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dl_course import data, models
from dl_course.widgets import LayerExplorer
from tests.browser.test_lab import opened, run_cells

pytestmark = pytest.mark.e2e

CELL = """from dl_course import data, models
from dl_course.widgets import LayerExplorer

name = "tinyresnet-shapes"
pictures = data.load("shapes", "test").subset(slice(0, 8))
LayerExplorer(models.trained(name), pictures, transform=models.model_card(name)["normalize"])"""
FETCH = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''));
}"""


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"), dtype=int)


def press(page, selector, *keys):
    page.locator(selector).first.focus()
    for key in keys:
        page.keyboard.press(key)


def test_a_picture_a_layer_and_a_view_are_chosen_by_keyboard_in_jupyterlab(lab, page):
    opened(page, lab.holding({"explorer": CELL}))
    run_cells(page, "explorer")
    page.locator(".explorer-status", has_text="stem, picture 0").wait_for(timeout=60_000)

    press(page, ".explorer-pictures button:nth-of-type(3)", "Space")
    press(page, ".explorer-view button:has-text('Grad-CAM')", "Enter")
    press(page, ".explorer-search input", *"stage2", "Enter")
    page.locator(".explorer-status", has_text="stage2, picture 2: bright").wait_for(timeout=30_000)
    press(page, ".explorer-strength .noUi-handle", *["ArrowRight"] * 4)
    press(page, ".explorer-target input", *"circle", "Enter")
    press(page, ".explorer-kind button:has-text('BasicBlock')", "Enter")
    page.locator(".explorer-status", has_text="stage1, picture 2: bright").wait_for(timeout=30_000)
    press(page, ".explorer-layer .noUi-handle", "ArrowRight")
    page.locator(".explorer-status", has_text="stage2, picture 2: bright").wait_for(timeout=30_000)

    name, pictures = "tinyresnet-shapes", data.load("shapes", "test").subset(slice(0, 8))
    explorer = LayerExplorer(models.trained(name), pictures, transform=models.model_card(name)["normalize"])
    choice = {"view": "gradcam", "picture": 2, "target": "circle", "strength": 0.7}
    ours = pixels(explorer.show("stage2", **choice)._repr_png_())
    shown = pixels(b64decode(page.locator("img.explorer-image").evaluate(FETCH)))
    assert shown.shape == ours.shape and abs(shown - ours).max() <= 2
