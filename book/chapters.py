"""Chapters as the book shows them: an exercise becomes a box of stub, hints and solution."""

from __future__ import annotations

import html
import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from nbformat.v4 import new_markdown_cell

from book import BookError, Project
from dl_course.language import say
from dl_course.notebooks import Cell, Notebook, read, tags

_DOCTYPE = re.compile(r"<!DOCTYPE[^>]*>\s*")
_BADGE = re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)
_OUTWARD = re.compile(r"\]\(\.\./([^)\s]+)\)")  # a link from chapters/ to another folder
_QUESTION = re.compile(r"(from dl_course import ask\s+)?ask\([^)]*\)")  # all that such a cell holds
# What the book itself says in a chapter, by language.
_WORDS = {
    "en": {
        "DrawingPad": "[Draw here](../draw.md): the same network reads your digits in this browser.",
        "LayerExplorer": "[Look into the layers](../explore.md) of a network, here in the browser.",
        "ConvolutionStepper": "[Step through it](../play.md#step-through-a-convolution), in the browser.",
        "DescentPlayground": "[Play with it](../play.md#walk-down-a-surface), here in the browser.",
        "open": "Open in {}",
        "exercise": "Exercise {}",
        "stub": "The stub: where you begin",
        "hint": "Hint {} of {}",
        "solution": "The solution",
        "check": "In the notebook, {} tries your answer and names your mistake.",
    },
    "zh_CN": {
        "DrawingPad": "[在这里画](../draw.md)：同一个网络就在浏览器里读你写的数字。",
        "LayerExplorer": "[看看各层](../explore.md)：就在浏览器里，不用安装。",
        "ConvolutionStepper": "[一步一步地卷积](../play.md#step-through-a-convolution)：就在浏览器里。",
        "DescentPlayground": "[动手试试](../play.md#walk-down-a-surface)：就在浏览器里。",
        "open": "在 {} 中打开",
        "exercise": "练习 {}",
        "stub": "从这里开始写",
        "hint": "提示 {}／{}",
        "solution": "参考答案",
        "check": "在笔记本里，{} 会检验你的答案，并指出错在哪里。",
    },
}
_WIDGETS = ("DrawingPad", "LayerExplorer", "ConvolutionStepper", "DescentPlayground")
_LABEL = re.compile(r"^# @title .*\n@solution\n")


@dataclass(frozen=True)
class Chapter:
    """A stored notebook, fit to be shown."""

    stem: str
    notebook: Notebook

    @property
    def title(self) -> str:
        """The first line, "01 · Setup: pictures are numbers"."""
        return self.notebook.cells[0].source.partition("\n")[0].removeprefix("# ")

    @property
    def opening(self) -> str:
        """The first paragraph, in one line."""
        paragraphs = self.notebook.cells[0].source.split("\n\n")
        return " ".join(next((p for p in paragraphs[1:] if not p.startswith("[!")), "").split())

    @property
    def exercises(self) -> list[str]:
        """The names of the exercises, in order."""
        return [cell.id.partition("-")[2] for cell in self.notebook.cells if cell.id.startswith("exercise-")]


def read_chapters(root: Path) -> list[Chapter]:
    """Return every chapter in order; BookError where there is none, or one that isn't fit to be shown."""
    chapters = [Chapter(path.stem, read(path)) for path in sorted((root / "chapters").glob("*.ipynb"))]
    if not chapters:
        raise BookError("chapters/ is empty; run: dl-course build")
    for chapter in chapters:
        _refuse_unfit(chapter)
    return chapters


def _refuse_unfit(chapter: Chapter) -> None:
    for cell in chapter.notebook.cells:
        if cell.cell_type != "code" or not cell.source or "skip-execution" in tags(cell):
            continue
        where = f"chapters/{chapter.stem}.ipynb, cell {cell.id}"
        if cell.execution_count is None:
            raise BookError(f"{where}: not run yet; run: dl-course build {chapter.stem.partition('_')[0]}")
        pictures = [each for each in cell.outputs if "image/png" in each.get("data", {})]
        if any(not each.metadata.get("image/png", {}).get("alt") for each in pictures):
            raise BookError(f'{where}: a picture without alt text; give the cell alt="…" in solutions/')


def shown(chapter: Chapter, project: Project, paper: bool = False, language: str = "en") -> Notebook:
    """Return the notebook for the page, or for paper: there nothing folds, and solutions stand at the end."""
    notebook = deepcopy(chapter.notebook)
    solutions = {c.id.partition("-")[2]: c.source for c in notebook.cells if c.id.startswith("solution-")}
    solutions = {name: _LABEL.sub("", source) for name, source in solutions.items()}
    cells: list[Cell] = []
    for cell in notebook.cells:
        kind, _, name = cell.id.partition("-")
        if kind == "exercise":
            if paper:
                box = _on_paper(name, cell.source)
            else:
                box = _folded(name, cell.source, solutions[name], language)
            cells.append(_text(box, cell.id))
        elif kind not in ("bootstrap", "check", "solution"):
            cells.append(_plain(cell, chapter, project, language))
            if paper:
                _flatten(cell)
            else:
                cells += _livelier(cell, language)
    if paper and solutions:
        parts = [f"({_anchor(name)})=\n### `{name}`\n\n{_code(code)}" for name, code in solutions.items()]
        cells.append(_text("## Solutions\n\n" + "\n\n".join(parts), "solutions"))
    notebook.cells = cells
    return notebook


def _plain(cell: Cell, chapter: Chapter, project: Project, language: str) -> Cell:
    if cell.cell_type == "markdown":
        cell.source = _BADGE.sub(lambda _: opened_elsewhere(project, chapter.stem, language), cell.source)
        cell.source = _OUTWARD.sub(lambda found: f"]({project.source(found[1])})", cell.source)
    else:
        alts = [
            each.metadata["image/png"]["alt"] for each in cell.outputs if "image/png" in each.get("data", {})
        ]
        if _QUESTION.fullmatch(cell.source.strip()):
            cell.metadata["tags"] = [*tags(cell), "remove-input"]
        if alts:
            cell.metadata["mystnb"] = {"image": {"alt": alts[0]}}
    return cell


def _flatten(cell: Cell) -> None:
    """Bring a cell's HTML into the form of paper and e-readers: XHTML, open, without styles of its own.

    An SVG loses its document type: Graphviz names a file elsewhere in it, which EPUB forbids.
    """
    from bs4 import BeautifulSoup

    for output in cell.get("outputs", []):
        if "image/svg+xml" in output.get("data", {}):
            output.data["image/svg+xml"] = _DOCTYPE.sub("", "".join(output.data["image/svg+xml"]))
        if "text/html" in output.get("data", {}):
            soup = BeautifulSoup("".join(output.data["text/html"]), "html.parser")
            for style in soup.find_all("style"):
                style.decompose()
            for tag in soup.find_all(True):
                tag.attrs = {
                    name: value
                    for name, value in tag.attrs.items()
                    if name not in ("border", "style", "valign")
                }
                if tag.name == "details":
                    tag["open"] = "open"
            output.data["text/html"] = soup.decode(formatter="minimal")


def _livelier(cell: Cell, language: str) -> list[Cell]:
    """Return a line that leads to the page where a widget works without a kernel."""
    there = [name for name in _WIDGETS if cell.cell_type == "code" and f"{name}(" in cell.source]
    words = [_WORDS[language][name] for name in there]
    return [_text(words[0], f"{cell.id}-live")] if words else []


def opened_elsewhere(project: Project, stem: str, language: str = "en") -> str:
    """Return a row of links that open the chapter in a notebook; drawn here, so nothing is fetched."""
    links = project.openers(f"chapters/{stem}.ipynb").items()
    return (
        '<p class="openers">'
        + " ".join(f'<a href="{url}">{_WORDS[language]["open"].format(name)}</a>' for name, url in links)
        + "</p>"
    )


def _folded(name: str, stub: str, solution: str, language: str) -> str:
    words = _WORDS[language]
    hints = _hints(name, language)
    inner = ""
    for number, text in reversed(list(enumerate(hints, 1))):  # a hint lies inside the one before: one by one
        summary = words["hint"].format(number, len(hints))
        inner = f"<details><summary>{summary}</summary>\n<p>{text}</p>\n{inner}</details>\n"
    label = words["exercise"].format(name)
    title = words["exercise"].format(f"<code>{name}</code>")
    parts = [
        f'<section class="exercise" id="{_anchor(name)}" aria-label="{label}">',
        f'<p class="exercise-name">{title}</p>',
        f"<details><summary>{words['stub']}</summary>\n\n{_code(stub)}\n\n</details>",
        inner,
        f"<details><summary>{words['solution']}</summary>\n\n{_code(solution)}\n\n</details>",
        f"<p>{words['check'].format(f'<code>check({name})</code>')}</p>",
        "</section>",
    ]
    return "\n\n".join(part for part in parts if part)


def _on_paper(name: str, stub: str) -> str:
    hints = "".join(f"<li>{text}</li>" for text in _hints(name, "en"))
    ladder = f"<p>Hints, one by one:</p>\n<ol>{hints}</ol>" if hints else ""
    return f"**Exercise** `{name}`\n\n{_code(stub)}\n\n{ladder}\n\n[The solution](#{_anchor(name)})"


def _hints(name: str, language: str) -> list[str]:
    from dl_course.exercises.checks import find_exercise  # brings torch with it

    hints = [say(text, language) for text in find_exercise(name).hints]
    return [re.sub(r"`+([^`]+)`+", r"<code>\1</code>", html.escape(text)) for text in hints]


def _anchor(name: str) -> str:
    return f"exercise-{name.replace('_', '-').lower()}"


def _code(source: str) -> str:
    return f"```python\n{source}\n```"


def _text(source: str, name: str) -> Cell:
    return new_markdown_cell(source, id=name)
