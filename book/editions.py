"""The book in other languages: the chapters whose translation is complete, beside the English ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from book import HERE, ROOT, Project
from book.chapters import Chapter, shown
from dl_course.authoring.translate import document, in_language
from dl_course.authoring.translation import is_offered, path_of
from dl_course.language import LANGUAGES

_CHAPTER_LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./chapters/)?(\d\d\w?_\w+)\.ipynb(#[^)\s]*)?\)")
_PAGE_LINK = re.compile(r"\[([^\]]+)\]\(\.\./(draw|explore|play)\.md(#[^)\s]*)?\)")


def editions(root: Path = ROOT) -> dict[str, list[Chapter]]:
    """Return the translated chapters by language, of those languages that have any."""
    found = {language: list(_chapters(root, language)) for language in LANGUAGES}
    return {language: chapters for language, chapters in found.items() if chapters}


def _chapters(root: Path, language: str) -> Iterator[Chapter]:
    for path in sorted((root / "chapters").glob("*.ipynb")):
        if is_offered(path_of(root, language, path.stem)):
            yield Chapter(path.stem, in_language(root, path, language))


def pages_of(language: str, chapters: list[Chapter], project: Project) -> dict[str, str]:
    """Return the pages of an edition, by the names that the English ones have."""
    here = HERE / "pages" / language
    pages = {f"chapters/{each.stem}.ipynb": _notebook(each, chapters, project, language) for each in chapters}
    listed = "\n".join(f"- [{each.title}](chapters/{each.stem}.ipynb)：{each.opening}" for each in chapters)
    tree = "\n".join(f"chapters/{each.stem}" for each in chapters)
    contents = f"{listed}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```"
    pages["chapters.md"] = (here / "chapters.md").read_text("utf-8").replace("{{chapters}}", contents)
    documents = []
    if is_offered(path_of(ROOT, language, "TEACHING")):
        documents.append("teaching")
        pages["teaching.md"] = _without_files(document(ROOT, "TEACHING", language), project)
    index = (here / "index.md").read_text("utf-8")
    pages["index.md"] = index.replace("{{documents}}", "\n".join(documents))
    return pages


def _notebook(chapter: Chapter, chapters: list[Chapter], project: Project, language: str) -> str:
    notebook = shown(chapter, project, language=language)
    there = {each.stem for each in chapters}

    def chapter_link(found: re.Match[str]) -> str:
        """Lead to the English chapter where there is no other yet; as HTML: for Sphinx it's another book."""
        text, stem, anchor = found[1], found[2], found[3] or ""
        if stem in there:
            return f"[{text}]({stem}.ipynb{anchor})"
        return f'<a href="../../chapters/{stem}.html{anchor}">{text}</a>'

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _CHAPTER_LINK.sub(chapter_link, cell.source)
            cell.source = _PAGE_LINK.sub(r'<a href="../../\2.html\3">\1</a>', cell.source)
    return str(nbformat.writes(notebook))


def _without_files(text: str, project: Project) -> str:
    """Let links to the repository's files lead to where it is hosted."""
    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", lambda found: f"]({project.source(found[1])})", text)
