"""The book: how long its build takes, what it weighs, and whether its pages keep what they promise.

    DL_COURSE_DATA=… python benchmarks/book.py [--pictures 200]

Builds the site into a new folder. In Chromium, with all but the site refused: axe-core on each page, in both
schemes at three widths; requests to elsewhere; the first paint of each chapter with the processor slowed
four times (Chrome's measure); and pictures of MNIST's test set through the page's drawing pad, ten times
as large, beside what PyTorch makes of the same drawing. Exits 1 where a promise is broken. Without MNIST the
pad reads scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from results import store

from book import build
from book.accessibility import SCHEMES, WIDTHS, pages_of, problems
from book.browser import chromium, serving, visiting
from book.figures import shown
from book.live import read_by_both
from dl_course import data
from dl_course.files import DataUnavailable

SLOWED, PAINT_MS, BUILD_S, CLOSE, VISITS = 4, 1000, 60, 1e-3, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=200)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as folder:
        site, figures = built(Path(folder))
        with serving(site) as address, chromium() as browser:
            figures |= looked_at(browser, address, pages_of(site))
            figures |= painted(browser, address, pages_of(site)) | drawn_on(browser, address, count)
    for figure in figures.values():
        print(f"{figure['what']:<70} {shown(figure):>12}   {figure.get('limit', '')}")
    store("book", "The book: build, accessibility, size, drawing pad", "python benchmarks/book.py", figures)
    most = {"seconds": BUILD_S, "largest": 1.5, "violations": 0, "elsewhere": 0, "paint": PAINT_MS}
    kept = all(figures[key]["value"] <= limit for key, limit in most.items())
    return int(
        not kept or figures["pad"]["value"] != f"{count} of {count}" or figures["gap"]["value"] > CLOSE
    )


def built(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the site, and figures of its build."""
    began = time.perf_counter()
    site = build.html(folder)
    seconds = time.perf_counter() - began
    megabytes = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
    largest = max(path.stat().st_size for path in site.rglob("*.html")) / 1e6
    return site, {
        "seconds": {
            "what": "building the site",
            "value": round(seconds),
            "unit": "s",
            "limit": f"≤ {BUILD_S} s",
        },
        "pages": {"what": "pages", "value": len(pages_of(site))},
        "size": {"what": "megabytes of the site with its pictures", "value": round(megabytes, 1)},
        "largest": {"what": "megabytes of the largest page", "value": round(largest, 2), "limit": "≤ 1.5"},
    }


def looked_at(browser: Any, address: str, pages: list[str]) -> dict[str, Any]:
    """Return how many violations and requests to elsewhere there are on all pages."""
    wrong = list(problems(browser, address, pages))
    print("\n".join(wrong))
    elsewhere = sum("asks elsewhere" in each for each in wrong)
    where = f"{len(pages)} pages, {len(SCHEMES)} schemes, {' and '.join(map(str, WIDTHS))} px"
    words = "violations of WCAG 2.2 A and AA found by axe-core"
    return {
        "violations": {"what": words, "value": len(wrong) - elsewhere, "n": where, "limit": "0"},
        "elsewhere": {"what": "requests to other sites", "value": elsewhere, "n": where, "limit": "0"},
    }


def painted(browser: Any, address: str, pages: list[str]) -> dict[str, Any]:
    """Return the first contentful paint of the slowest chapter."""
    chapters = [page for page in pages if page.startswith("chapters/")]
    slowest = max(first_paint(browser, address, page) for page in chapters)
    words = f"first contentful paint of the slowest chapter, processor slowed {SLOWED} times"
    rests = f"{len(chapters)} chapters, the quickest of {VISITS} visits each"
    limit = f"≤ {PAINT_MS} ms"
    return {"paint": {"what": words, "value": round(slowest), "unit": "ms", "limit": limit, "n": rests}}


def drawn_on(browser: Any, address: str, count: int) -> dict[str, Any]:
    """Return how far the page's pad agrees with PyTorch."""
    same, gap, source = agreement(browser, address, count)
    rests = f"{count} test pictures of {source}"
    words = "largest difference of a probability to PyTorch's"
    return {
        "pad": {"what": "drawings read as PyTorch reads them", "value": f"{same} of {count}", "n": rests},
        "gap": {"what": words, "value": float(f"{gap:.2g}"), "limit": f"≤ {CLOSE}", "n": rests},
    }


def first_paint(browser: Any, address: str, page: str) -> float:
    """Return the milliseconds to the first contentful paint, of visits without a cache the quickest.

    What else the machine does can only add to it, as the documentation of ``timeit`` says.
    """
    found = []
    for _ in range(VISITS):
        with visiting(browser, address, viewport={"width": 1280, "height": 900}) as (tab, _elsewhere):
            tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": SLOWED})
            tab.goto(address + page, wait_until="load")
            tab.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
            found.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    return min(found)


def agreement(browser: Any, address: str, count: int) -> tuple[int, float, str]:
    """Return how many pictures page and PyTorch read alike, the largest difference, and their source."""
    images, source = pictures(count)
    with visiting(browser, address) as (tab, _):
        tab.goto(f"{address}draw.html")
        tab.locator(".live button").click()
        tab.wait_for_selector('.live[data-state="ready"]')
        got, wanted = read_by_both(tab, images)
    return int((got.argmax(1) == wanted.argmax(1)).sum()), (got - wanted).abs().max().item(), source


def pictures(count: int) -> tuple[Sequence[Any], str]:
    """Return pictures (H, W) in [0, 1], the first of a test set, and its name."""
    try:
        name = "mnist"
        found = data.load(name, "test")
    except DataUnavailable:
        name = "digits"
        found = data.load(name, "test")
    return [found[index][0][0] for index in range(count)], name


if __name__ == "__main__":
    sys.exit(main())
