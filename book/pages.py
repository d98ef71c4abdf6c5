"""The book's source folder: every page as Sphinx reads it, made from chapters, documents and docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from benchmarks.results import stored
from book import HERE, ROOT, BookError, Project
from book.chapters import Chapter, read_chapters, shown
from book.figures import filled, what_it_can_do

DOCUMENTS = {  # in the repository: the page's name
    "datasets/README.md": "data",
    "TEACHING.md": "teaching",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}
ROOMS = (
    "data", "scratch", "models", "training", "evaluation", "diagnostics", "explain", "plots", "hooks",
    "metrics", "runtime", "files", "registry", "experiments", "deploy", "widgets", "clinic",
)  # fmt: skip
_CHAPTER = re.compile(r"\{\{chapter:(\w+)\}\}")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def write_pages(folder: Path, project: Project, said: dict[str, str], paper: bool = False) -> list[Chapter]:
    """Write every page that differs from what is there, remove those of no use; return the chapters.

    said: what is put for {{name}} on our own pages. BookError where something is missing.
    """
    chapters = read_chapters(ROOT)
    documents = [page for document, page in DOCUMENTS.items() if (ROOT / document).is_file()]
    said = said | {"documents": "\n".join(documents)}
    pages = {f"chapters/{chapter.stem}.ipynb": _notebook(chapter, project, paper) for chapter in chapters}
    pages |= dict(_documents(project))
    pages |= {} if paper else {f"api/{room}.rst": _room(room) for room in ROOMS}
    pages["what-it-can-do.md"] = _own("what-it-can-do", said, chapters).replace(
        "{{results}}", what_it_can_do()
    )
    pages["chapters.md"] = _own("chapters", said, chapters).replace("{{chapters}}", _contents(chapters))
    skipped = {"index", "api", "draw", "explore", "play", "404"} if paper else set()
    for path in sorted((HERE / "pages").glob("*.md")):
        if f"{path.stem}.md" not in pages and path.stem not in skipped and not path.stem.startswith("paper"):
            pages[path.name] = _own(path.stem, said, chapters)
    if paper:
        pages["index.md"] = _own("paper-index", said, chapters)
    write(folder, pages)
    return chapters


def write(folder: Path, pages: dict[str, str]) -> None:
    """Write every page that differs from what is there, and remove those of no use."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _notebook(chapter: Chapter, project: Project, paper: bool) -> str:
    return nbformat.writes(shown(chapter, project, paper))


def _own(stem: str, said: dict[str, str], chapters: list[Chapter]) -> str:
    """Return a page of ours with figures, chapters and what is said put in."""
    text = filled((HERE / "pages" / f"{stem}.md").read_text("utf-8"), stored())
    for name, value in said.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return _CHAPTER.sub(lambda found: _chapter(found[1], chapters), text)


def _chapter(name: str, chapters: list[Chapter]) -> str:
    found = [chapter.stem for chapter in chapters if chapter.stem.partition("_")[2] == name]
    if not found:
        raise BookError(f"the book speaks of a chapter '{name}', and chapters/ has none of that name")
    return f"[chapter {found[0].partition('_')[0]}](chapters/{found[0]}.ipynb)"


def _contents(chapters: list[Chapter]) -> str:
    listed = [f"- [{each.title}](chapters/{each.stem}.ipynb): {each.opening}" for each in chapters]
    tree = "\n".join(f"chapters/{each.stem}" for each in chapters)
    return "\n".join(listed) + "\n\n```{toctree}\n:hidden:\n\n" + tree + "\n```"


def _documents(project: Project) -> Iterator[tuple[str, str]]:
    for document, page in DOCUMENTS.items():
        if (ROOT / document).is_file():
            yield f"{page}.md", _document(document, project)


def _document(document: str, project: Project) -> str:
    text = (ROOT / document).read_text("utf-8")
    return _LINK.sub(lambda found: _link(found, document, project), text)


def _link(found: re.Match[str], document: str, project: Project) -> str:
    text, target, anchor = found[1], found[2], found[3] or ""
    path = (ROOT / document).parent.joinpath(target).resolve()
    inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else target
    if inside == "README.md":
        return f"[{text}](index.md)"
    if inside in DOCUMENTS and (ROOT / inside).is_file():
        return f"[{text}]({DOCUMENTS[inside]}.md{anchor})"
    if inside.startswith("chapters/") and inside.endswith(".ipynb"):
        return f"[{text}]({inside})"
    return f"[{text}]({project.source(inside)}{anchor})"


def _room(room: str) -> str:
    """Return the reference page of a room: its public names, in the order in which the room lists them."""
    module = importlib.import_module(f"dl_course.{room}")
    title = f"dl_course.{room}"
    parts = [f"{title}\n{'=' * len(title)}", f".. automodule:: dl_course.{room}\n   :no-members:"]
    for name in _public(module):
        value = getattr(module, name)
        kind = "autoclass" if inspect.isclass(value) else "autofunction"
        members = "\n   :members:" if inspect.isclass(value) else ""
        parts.append(f".. {kind}:: dl_course.{room}.{name}{members}")
    return "\n\n".join(parts) + "\n"


def _public(module: object) -> Iterator[str]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    for name in names:
        value = getattr(module, name)
        ours = getattr(value, "__module__", "").startswith(module.__name__)
        if ours and callable(value) and getattr(value, "__name__", "") == name:
            yield name
