"""Every page of the built site in Chromium: axe-core's WCAG 2.2 A and AA in both schemes at three widths.

    python -m book.accessibility [page.html …] [--widths 360 768 1280] [--schemes light dark]

Exits 1 on any violation, request to elsewhere, script's error, or page that is wider than the window.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from book import BUILD, BookError
from book.browser import chromium, serving, visiting
from book.live import vendored_file

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
WIDTHS, SCHEMES = (360, 768, 1280), ("light", "dark")
_RUN = """async rules => (await axe.run(document, {runOnly: rules, resultTypes: ["violations"]})).violations
  .map(each => `${each.id}: ${each.nodes.length} × ${each.help}, ${each.nodes[0].html.slice(0, 160)}`)"""
# The theme makes code that scrolls reachable by keyboard some moments after a change of size.
_SETTLED = """async () => {
  const late = () => [...document.querySelectorAll("pre, .cell_output > .output")].some(
    each => each.scrollWidth > each.clientWidth && each.tabIndex !== 0);
  await new Promise(done => setTimeout(done, 400));
  for (let turn = 0; turn < 100 && late(); turn++) await new Promise(done => setTimeout(done, 50));
}"""
_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def pages_of(site: Path) -> list[str]:
    """Return all pages' addresses within the site; 404.html has a base of its own."""
    found = [page.relative_to(site).as_posix() for page in site.rglob("*.html")]
    return sorted(each for each in found if "_static" not in each.split("/") and each != "404.html")


def problems(
    browser: Any, address: str, pages: Sequence[str],
    widths: Sequence[int] = WIDTHS, schemes: Sequence[str] = SCHEMES,
) -> Iterator[str]:  # fmt: skip
    """Yield what is wrong on each page of the served site, at each width and in each scheme."""
    axe = vendored_file("axe-core", "axe.min.js").read_text("utf-8")
    for scheme in schemes:
        options = {"viewport": {"width": widths[0], "height": 900}, "color_scheme": scheme}
        with visiting(browser, address, **options, reduced_motion="reduce") as (page, elsewhere):
            errors: list[str] = []
            page.on("pageerror", lambda error, errors=errors: errors.append(f"script error: {error}"))
            for name in pages:
                page.goto(address + name, wait_until="load")
                page.evaluate(axe)
                for width in widths:
                    found = [*_at(page, width), *errors, *(f"asks elsewhere: {url}" for url in elsewhere)]
                    yield from (f"{name}, {width} px, {scheme}: {each}" for each in found)
                    errors.clear()
                    elsewhere.clear()


def _at(page: Any, width: int) -> list[str]:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(_SETTLED)
    wide = ["wider than the window"] if page.evaluate(_WIDE) else []
    return [*wide, *page.evaluate(_RUN, RULES)]


def main() -> int:
    """Look at the pages named, or at all."""
    parser = argparse.ArgumentParser(prog="python -m book.accessibility", description=__doc__)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=SCHEMES)
    asked = parser.parse_args()
    site = BUILD / "html"
    try:
        pages = asked.pages or pages_of(site)
        if not pages:
            raise BookError("build/book/html holds no page; run: make book")
        found = 0
        with serving(site) as address, chromium() as browser:
            for each in problems(browser, address, pages, asked.widths, asked.schemes):
                found += 1
                print(each, flush=True)
    except BookError as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    looks = len(pages) * len(asked.widths) * len(asked.schemes)
    print(f"{len(pages)} pages, {looks} looks: {found} problems")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
