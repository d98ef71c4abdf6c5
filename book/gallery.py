"""The pictures of the README and the front page, taken in a real browser from what the package says today.

    make book && python -m book.gallery

Writes .github/gallery/*.png: an answer and the check that names its mistake, the check-up's report, the layer
explorer and the drawing pad of the built site.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

from book import BUILD, ROOT, BookError
from book.browser import chromium, serving, visiting

GALLERY = ROOT / ".github" / "gallery"
CHECK = """\
def standardize(images: Tensor) -> Tensor:
    \"\"\"Return the batch (N, C, H, W), every channel with mean 0 and deviation 1.\"\"\"
    images = images.float()
    mean = images.mean(dim=(0, 2, 3), keepdim=True)
    std = images.std(dim=(0, 2, 3), keepdim=True)
    return (images - mean) / torch.where(std > 0, std, 1)

check(standardize)"""
CHECKUP = """\
pictures = TensorDataset(255 * digits.tensors()[0], digits.tensors()[1])
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10), nn.Softmax(dim=1))

checkup(model, DataLoader(pictures, 64, shuffle=True), nn.CrossEntropyLoss())"""
STYLE = """
body { margin: 0; padding: 20px; font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff }
body { width: 760px }
.cell { border-left: 4px solid #0173b2; background: #f3f4f5; padding: 10px 14px; font-size: 13.5px }
.cell pre { margin: 0; white-space: pre-wrap } .output { padding: 12px 4px 0; font-size: 14px }
.output table { border-collapse: collapse } .output td, .output th { padding: 2px 8px; vertical-align: top }
"""


def page(code: str, shown: Any) -> str:
    """Return a page like a notebook's cell with its output."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    formatter = HtmlFormatter(nobackground=True)
    style = STYLE + formatter.get_style_defs(".cell")
    cell = f'<div class="cell">{highlight(code, PythonLexer(), formatter)}</div>'
    output = f'<div class="output">{shown._repr_html_()}</div>'
    return f'<!doctype html><meta charset="utf-8"><style>{style}</style>{cell}{output}'


def ran(code: str) -> Any:
    """Run the lines and return the value of the last one, as a notebook does."""
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, TensorDataset

    from dl_course import check
    from dl_course.data import load
    from dl_course.diagnostics import checkup

    names = {"torch": torch, "Tensor": Tensor, "nn": nn, "check": check, "checkup": checkup}
    names |= {"DataLoader": DataLoader, "TensorDataset": TensorDataset, "digits": load("digits", "train")}
    body, _, last = code.rpartition("\n\n")
    torch.manual_seed(0)
    exec(dedent(body), names)
    return eval(last, names)


def take(folder: Path = GALLERY, site: Path = BUILD / "html") -> list[Path]:
    """Take the four pictures; BookError where the site isn't built."""
    if not (site / "draw.html").is_file():
        raise BookError("build/book/html holds no page; run: make book")
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, tempfile.TemporaryDirectory() as cells:
        for name, code in {"check": CHECK, "checkup": CHECKUP}.items():
            (Path(cells) / f"{name}.html").write_text(page(code, ran(code)), "utf-8")
        with serving(Path(cells)) as address, _window(browser, address) as (tab, _):
            for name in ("check", "checkup"):
                tab.goto(f"{address}{name}.html")
                tab.locator("body").screenshot(path=folder / f"{name}.png")
        with serving(site) as address, _window(browser, address) as (tab, _):
            _explorer(tab, address).screenshot(path=folder / "explorer.png")
            _pad(tab, address).screenshot(path=folder / "pad.png")
    for path in sorted(folder.glob("*.png")):
        _fewer_bytes(path)
    return sorted(folder.glob("*.png"))


def _window(browser: Any, address: str) -> Any:
    return visiting(browser, address, viewport={"width": 1000, "height": 900}, color_scheme="light")


def _explorer(tab: Any, address: str) -> Any:
    tab.goto(f"{address}explore.html")
    tab.locator(".explorer-layer label", has_text="stage2").last.click()
    tab.locator(".explorer-picture label").nth(5).click()
    tab.wait_for_function("[...document.querySelectorAll('.live img')].every(image => image.complete)")
    return tab.locator(".live")


def _pad(tab: Any, address: str) -> Any:
    tab.goto(f"{address}draw.html")
    tab.locator(".live button").click()
    tab.wait_for_selector('.live[data-state="ready"]')
    canvas = tab.locator(".live canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for number, (x, y) in enumerate(SEVEN):
        tab.mouse.move(box["x"] + x, box["y"] + y, steps=8)
        if number == 0:
            tab.mouse.down()
    tab.mouse.up()
    tab.wait_for_function("document.querySelector('.live .status').textContent.includes('%')")
    return tab.locator(".live")


SEVEN = ((80, 70), (200, 70), (150, 150), (120, 230))


def _fewer_bytes(path: Path) -> None:
    from PIL import Image, ImageChops, ImageOps

    picture = Image.open(path).convert("RGB")
    left, top, right, bottom = ImageChops.difference(
        picture, Image.new("RGB", picture.size, "white")
    ).getbbox()
    picture = ImageOps.expand(picture.crop((left, top, right, bottom)), 12, "white")
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> int:
    """Take the pictures and say where they are."""
    try:
        for path in take():
            print(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes")
    except BookError as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
