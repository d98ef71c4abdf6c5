"""What other sites show of a page: its description and a card, drawn by Matplotlib."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from book import Project

_TAGS = re.compile(r"<[^>]+>")
_PARAGRAPH = re.compile(r"<p>(.+?)</p>", re.DOTALL)
GENERAL = "general"


def describe(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Add a page's description, and the card that is shown where its address is shared."""
    if app.builder.name != "html":
        return
    project = Project.read()
    title = html.unescape(_TAGS.sub("", context.get("title") or "dl_course"))
    found = _PARAGRAPH.search(context.get("body") or "")
    words = " ".join(html.unescape(_TAGS.sub("", found[1])).split()) if found else project.description
    about = words if len(words) < 200 else words[:199].rsplit(" ", 1)[0] + " …"
    card = page.partition("chapters/")[2] or GENERAL
    tags = {
        "og:title": title,
        "og:description": about,
        "og:type": "article",
        "og:site_name": "dl_course",
        "og:url": f"{app.config.html_baseurl}{page}.html",
        "og:image": f"{project.site}/stable/_static/cards/{card}.png",
        "og:image:alt": title,
    }
    lines = [f'<meta property="{name}" content="{html.escape(value)}">' for name, value in tags.items()]
    lines.append(f'<meta name="description" content="{html.escape(about)}">')
    lines.append('<meta name="twitter:card" content="summary_large_image">')
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)


def draw_cards(folder: Path, cache: Path, titles: dict[str, str]) -> None:
    """Draw a card of 1200×630 for each title that has none yet."""
    for path in (folder, cache):
        path.mkdir(parents=True, exist_ok=True)
    for name, title in titles.items():
        kept = cache / f"card-{name}.txt"
        if not (folder / f"{name}.png").is_file() or not kept.is_file() or kept.read_text("utf-8") != title:
            _draw(folder / f"{name}.png", title)
            kept.write_text(title, "utf-8")


def _draw(path: Path, title: str) -> None:
    import textwrap

    import numpy as np
    from matplotlib.figure import Figure
    from PIL import Image

    number, _, words = title.rpartition(" · ")
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="#10243e")
    waves = np.add.outer(np.sin(np.linspace(0, 7, 28)), np.cos(np.linspace(0, 5, 28)))
    for place in range(8):
        axes = figure.add_axes((0.06 + 0.113 * place, 0.07, 0.1, 0.19))
        axes.imshow(np.maximum(np.roll(waves, 3 * place, place % 2), 0) ** (1 + place / 4), cmap="viridis")
        axes.axis("off")
    figure.text(0.06, 0.86, "dl_course", color="#9ecbff", fontsize=30, va="center")
    figure.text(0.94, 0.86, number, color="#9ecbff", fontsize=30, va="center", ha="right")
    figure.text(
        0.06, 0.54, textwrap.fill(words, 30), color="white", fontsize=46, va="center", linespacing=1.25
    )
    figure.savefig(path)
    Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(path, optimize=True)
