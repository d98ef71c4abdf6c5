"""The built site in a real browser: served on this machine's loopback, everything else refused."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from book import BookError


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of the loopback; give its address, with a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """Give a Chromium of the system, driven by Playwright; BookError where one of the two is missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise BookError("no chromium is installed; on Debian: apt-get install chromium fonts-dejavu-core")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise BookError('Playwright is missing; run: pip install -e ".[book,dev]"') from error
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], **options)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Any, address: str, **options: Any) -> Iterator[tuple[Any, list[str]]]:
    """Give a page, and the list of what it asks of anybody else, which is refused."""
    context, elsewhere = browser.new_context(**options), []

    def judged(route: Any) -> None:
        url = route.request.url
        if url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(url)
            route.abort()

    context.route("**/*", judged)
    page = context.new_page()
    page.set_default_timeout(60_000)
    try:
        yield page, elsewhere
    finally:
        context.close()


def printed(page: Path, to: Path) -> None:
    """Print a page to a PDF of A4, with numbers."""
    number = '<div style="font-size:8px;width:100%;text-align:center"><span class="pageNumber"></span></div>'
    margins = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
    with serving(page.parent) as address, chromium() as browser, visiting(browser, address) as (tab, _):
        tab.set_default_timeout(300_000)
        tab.goto(f"{address}{page.name}", wait_until="load")
        tab.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
        tab.wait_for_function("[...document.images].every(image => image.complete)")
        tab.pdf(
            path=to, format="A4", margin=margins, outline=True, tagged=True, display_header_footer=True,
            header_template="<span></span>", footer_template=number, print_background=True,
        )  # fmt: skip
