"""From the repository to a site, an e-book, a PDF; each is finished before it replaces the old one."""

from __future__ import annotations

import json
import re
import shutil
import struct
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from book import BUILD, HERE, ROOT, BookError, Project
from book.editions import editions, pages_of
from book.live import put_all
from book.pages import write, write_pages
from book.sharing import GENERAL, draw_cards

_IMAGE = re.compile(r"<img\b(?![^>]*\bloading=)([^>]*?)\s*/?>")


_SEARCH = ("searchtools", "language_data", "searchindex", "base-stemmer", "english-stemmer")
_NAMED = '<summary aria-label="Pages of this part">'
_DEFERRED = ("doctools", "translations", "sphinx_highlight", "sphinx-book-theme", *_SEARCH)


def stage(project: Project, build: Path = BUILD) -> Path:
    """Write the site's source folder and what its live figures load; return it."""
    said = put_all(build / "static", build / "cache")
    chapters = write_pages(build / "source", project, said | _addresses(project) | _counts())
    shutil.copytree(ROOT / ".github" / "gallery", build / "static" / "gallery", dirs_exist_ok=True)
    titles = {chapter.stem: chapter.title for chapter in chapters}
    draw_cards(
        build / "static" / "cards",
        build / "cache",
        {GENERAL: "Deep learning that you can take apart", **titles},
    )
    return build / "source"


def _addresses(project: Project) -> dict[str, str]:
    openers = " · ".join(
        f"[{name}]({url})" for name, url in project.openers("chapters/01_setup.ipynb").items()
    )
    return {
        "version": project.version,
        "repository": project.repository,
        "site": project.site,
        "openers": openers,
    }


def _counts() -> dict[str, str]:
    """Return how many exercises there are, and how many mistakes their checks know by name."""
    from dl_course.exercises.checks import all_exercises

    exercises = all_exercises().values()
    return {"exercises": str(len(exercises)), "mistakes": str(sum(len(each.mistakes) for each in exercises))}


def html(build: Path = BUILD) -> Path:
    """Build the site; return its folder."""
    project = Project.read()
    source = stage(project, build)
    others = editions()
    translated = {language: [each.stem for each in chapters] for language, chapters in others.items()}
    unfinished = _sphinx("html", source, build, html_context={"translated": translated})
    for language, chapters in others.items():
        folder = build / f"source-{language}"
        write(folder, pages_of(language, chapters, project))
        context = {"edition": language, "translated": translated}
        address = f"{project.site}/stable/{language}/"
        made = _sphinx(
            "html", folder, build, language=language, html_context=context, html_baseurl=address,
            html_static_path=[str(HERE / "static")],
        )  # fmt: skip
        _name_the_stemmer(made / "_static" / "language_data.js")
        made.replace(unfinished / language)
    _finish(unfinished, project)
    return _put(unfinished, build / "html")


def _name_the_stemmer(script: Path) -> None:
    """Let a search in Chinese stem English words by the stemmer that is there.

    Sphinx 9 writes the English one into the file, and names it ChineseStemmer below.
    """
    text = script.read_text("utf-8")
    script.write_text(
        text.replace("window.Stemmer = ChineseStemmer", "window.Stemmer = EnglishStemmer"), "utf-8"
    )


def epub(build: Path = BUILD) -> Path:
    """Build the e-book; return its path."""
    made = _sphinx("epub", _paper(build), build) / "dl_course.epub"
    _declare_contents(made)
    return _put(made, build / "dl_course.epub")


def pdf(build: Path = BUILD) -> Path:
    """Print the book as one page by Chromium; return its path."""
    from book.browser import printed

    page = _sphinx("singlehtml", _paper(build), build)
    unfinished = build / "unfinished.pdf"
    printed(page / "index.html", unfinished)
    return _put(unfinished, build / "dl_course.pdf")


def links(build: Path = BUILD) -> Path:
    """Ask for every address elsewhere that a page names; return their list, or raise BookError."""
    return _sphinx("linkcheck", _paper(build), build) / "output.txt"


def _paper(build: Path) -> Path:
    project = Project.read()
    write_pages(build / "source-paper", project, _addresses(project), paper=True)
    return build / "source-paper"


def _sphinx(builder: str, source: Path, build: Path, **settings: Any) -> Path:
    """Run a builder with warnings as errors; return its output, or raise BookError with the first of them.

    settings: Sphinx's, in place of those of conf.py.
    """
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    out = build / f"unfinished-{builder}{settings.get('language', '')}"
    warnings = StringIO()
    shutil.rmtree(out, ignore_errors=True)
    with patch_docutils(HERE), docutils_namespace():
        doctrees = build / f"doctrees-{source.name}"
        static = [HERE / "static", build / "static"] if builder == "html" else [HERE / "paper"]
        given: dict[str, Any] = {"html_static_path": [str(folder) for folder in static]} | settings
        if builder == "singlehtml":
            given["html_css_files"] = ["paper.css"]
        app = Sphinx(source, HERE, out, doctrees, builder, given, status=None, warning=warnings)
        app.build()
    found = [line for line in re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()).splitlines() if line.strip()]
    if found or app.statuscode:
        shutil.rmtree(out, ignore_errors=True)
        raise BookError(f"Sphinx has {len(found)} warnings, the first of them: {found[0] if found else '?'}")
    return out


def _put(unfinished: Path, place: Path) -> Path:
    """Put what is finished where the old one was."""
    if place.is_dir():
        shutil.rmtree(place)
    return unfinished.replace(place)


def _finish(site: Path, project: Project) -> None:
    """Pictures load when they are looked at; a map for search engines; the page for wrong addresses."""
    for page in site.rglob("*.html"):
        page.write_text(_sooner(_lazy(page.read_text("utf-8"), page), page), "utf-8")
    missing = site / "404.html"
    base = re.sub(r"^https?://[^/]+", "", f"{project.site}/stable/")
    missing.write_text(
        missing.read_text("utf-8").replace("<head>", f'<head>\n<base href="{base}">', 1), "utf-8"
    )
    pages = [page.relative_to(site).as_posix() for page in site.rglob("*.html")]
    listed = sorted(page for page in pages if page not in ("404.html", "search.html", "genindex.html"))
    rows = "".join(f"<url><loc>{escape(f'{project.site}/stable/{page}')}</loc></url>\n" for page in listed)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    (site / "sitemap.xml").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{space}">\n{rows}</urlset>\n', "utf-8"
    )
    (site / "robots.txt").write_text(f"User-agent: *\nSitemap: {project.site}/stable/sitemap.xml\n", "utf-8")
    (site / "version.json").write_text(json.dumps({"version": project.version}), "utf-8")
    unused = [site / "objects.inv", site / ".buildinfo", *(site / "_static").rglob("*.map")]
    for path in [*unused, site / "_static" / "scripts" / "fontawesome.js"]:
        path.unlink(missing_ok=True)


def _sooner(text: str, page: Path) -> str:
    """Let no script stand between a reader and the first words.

    The theme's 1.5 MB of icons as a script are left out, since its style sheet has the same ones as a font.
    The index of the search is loaded by the page that searches. Two of the theme's controls get a name: one
    had none, one another than it shows.
    """
    unwanted = ["fontawesome"] if page.name == "search.html" else ["fontawesome", *_SEARCH]
    text = re.sub(rf'<script [^>]*src="[^"]*({"|".join(unwanted)})\.js[^"]*"[^>]*></script>', "", text)
    text = text.replace('<summary><span class="toctree-toggle"', f'{_NAMED}<span class="toctree-toggle"')
    text = re.sub(r'(<button[^>]*search-button-field[^>]*?)\s+aria-label="[^"]*"', r"\1", text)
    return re.sub(rf'<script (src="[^"]*(?:{"|".join(_DEFERRED)})\.js)', r"<script defer \1", text)


def _lazy(text: str, page: Path) -> str:
    def image(found: re.Match[str]) -> str:
        return f'<img loading="lazy" decoding="async"{_size(found[1], page)}{found[1]}>'

    return _IMAGE.sub(image, text)


def _size(attributes: str, page: Path) -> str:
    """Return width and height of a PNG, so that nothing on the page moves when it comes."""
    source = re.search(r'src="([^"]+\.png)"', attributes)
    if not source or re.search(r"\b(width|height)=", attributes):
        return ""
    path = page.parent / source[1]
    if not path.is_file():
        return ""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return f' width="{width}" height="{height}"'


def _declare_contents(book: Path) -> None:
    """State in the e-book's list which pages hold formulas, as EPUB 3 wants and Sphinx doesn't."""
    with zipfile.ZipFile(book) as packed:
        parts = {info: packed.read(info) for info in packed.infolist()}
    pages = {info.filename.rpartition("/")[2]: data for info, data in parts.items()}

    def item(found: re.Match[str]) -> str:
        data = pages.get(found[1].rpartition("/")[2], b"")
        kinds = [
            kind
            for kind, mark in (("mathml", b"<math"), ("scripted", b"<script"), ("svg", b"<svg"))
            if mark in data
        ]
        known = re.search(r'properties="([^"]*)"', found[0])
        if not kinds or known:
            return found[0]
        return found[0].replace("<item ", f'<item properties="{" ".join(kinds)}" ', 1)

    with zipfile.ZipFile(book, "w") as packed:
        for info, data in parts.items():
            if info.filename.endswith(
                ".xhtml"
            ):  # Sphinx packs the style sheet of MyST-NB after the list is made
                data = re.sub(rb"<link [^>]*mystnb[^>]*>", b"", data)
            if info.filename.endswith("content.opf"):
                data = re.sub(r'<item [^>]*href="([^"]+\.xhtml)"[^>]*/>', item, data.decode()).encode()
            packed.writestr(info, data)
