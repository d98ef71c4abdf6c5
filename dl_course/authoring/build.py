"""Lessons to notebooks: stub, check, collapsed solution, badge, bootstrap; ids that stay."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dl_course.authoring.lesson import Lesson
from dl_course.authoring.stubs import LessonError
from dl_course.notebooks import KERNEL, Cell, Notebook, read, stable_id

COLLAPSED = {"jupyter": {"source_hidden": True}, "cellView": "form"}
_BOOTSTRAP = """\
# @title Colab: install the course (does nothing where it is installed)
import importlib.util

if importlib.util.find_spec("dl_course") is None:
    import subprocess
    import sys

    source = "{source}"
    python = [sys.executable, "-m"]
    subprocess.run([*python, "pip", "install", "--quiet", "--no-deps", source], check=True)
    subprocess.run([*python, "dl_course.bootstrap"], check=True)
    print("Installed. Work is lost with the session: save a copy, and use progress.export().")"""

_BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"


def repository_address(root: Path) -> str:
    """Return the hosting repository's address, which stands in pyproject.toml alone."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
        "Repository"
    ]


def version(root: Path) -> str:
    """Return the version of the package, which stands in pyproject.toml alone."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def chapter(lesson: Lesson, root: Path, solved: bool = False) -> Notebook:
    """Return the notebook of a lesson without outputs: with stubs for learners, or solved for instructors."""
    taken: set[str] = set()
    cells: list[Cell] = []
    for index, cell in enumerate(lesson.cells):
        cells += _cells(lesson, index, cell, solved, taken)
        if index == 0:
            cells[0].source = _with_badge(cells[0].source, lesson, root)
            cells.append(_bootstrap_cell(root))
    return new_notebook(cells=cells, metadata=KERNEL, nbformat_minor=5)


def _cells(lesson: Lesson, index: int, cell: Cell, solved: bool, taken: set[str]) -> Iterator[Cell]:
    meta = {key: value for key, value in cell.metadata.items() if key in ("tags", "alt")}
    if cell.cell_type == "markdown":
        yield new_markdown_cell(cell.source, id=stable_id("text", cell.source, taken), metadata=meta)
    elif index in lesson.exercises:
        exercise = lesson.exercises[index]
        source = exercise.solved() if solved else exercise.stub()
        yield new_code_cell(source, id=f"exercise-{exercise.name}", metadata=meta)
    elif index in lesson.checks:
        name = lesson.checks[index]
        yield new_code_cell(cell.source, id=f"check-{name}", metadata=meta)
        answer = next(each for each in lesson.exercises.values() if each.name == name)
        collapsed = COLLAPSED | {"tags": ["solution", "hide-input"]}
        yield new_code_cell(answer.solution(), id=f"solution-{name}", metadata=collapsed)
    else:
        yield new_code_cell(cell.source, id=stable_id("code", cell.source, taken), metadata=meta)


def _with_badge(source: str, lesson: Lesson, root: Path) -> str:
    title, _, rest = source.partition("\n")
    if not title.startswith("# "):
        raise LessonError(
            f"{lesson.path.name}, line 2: the first cell begins with the chapter's title, '# …'"
        )
    hosted = repository_address(root).removeprefix("https://").replace("github.com", "github")
    address = f"https://colab.research.google.com/{hosted}/blob/v{version(root)}/chapters/{lesson.stem}.ipynb"
    return f"{title}\n\n{_BADGE.format(address=address)}\n{rest}"


def _bootstrap_cell(root: Path) -> Cell:
    source = f"git+{repository_address(root)}@v{version(root)}"
    collapsed = COLLAPSED | {"tags": ["bootstrap", "hide-input"]}
    return new_code_cell(_BOOTSTRAP.format(source=source), id="bootstrap", metadata=collapsed)


def differences(built: Notebook, stored: Notebook) -> Iterator[str]:
    """Yield what differs between two notebooks, outputs aside."""

    def parts(cell: Cell) -> dict[str, Any]:
        return {key: cell.get(key) for key in ("id", "cell_type", "source", "metadata")}

    for place, (new, old) in enumerate(zip(built.cells, stored.cells, strict=False)):
        changed = [key for key, value in parts(new).items() if parts(old)[key] != value]
        if changed:
            yield f"cell {place} ({new['id']}): {', '.join(changed)} differ"
            return
    if len(built.cells) != len(stored.cells):
        yield f"{len(built.cells)} cells are built, {len(stored.cells)} stored"
    if built.metadata != stored.metadata:
        yield "the notebook's metadata differ"


def _kept(cell: Cell) -> tuple[str, str]:
    return cell.source, cell.metadata.get("alt", "")


def stored_outputs(notebook: Notebook, path: Path) -> Notebook:
    """Take over the outputs of an earlier build for the cells whose source and alt text are unchanged."""
    old = {cell["id"]: cell for cell in read(path).cells} if path.exists() else {}
    for cell in notebook.cells:
        same = old.get(cell["id"])
        if cell.cell_type == "code" and same and _kept(same) == _kept(cell):
            cell.outputs = same.outputs
            cell.execution_count = same.execution_count
    return notebook
