"""Honest notebooks: the suites' answers, right and wrong, handed in the many ways in which people hand in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.grading.answers import Written, written_answers

Cells = list[dict[str, Any]]
HABITS: dict[str, Callable[[Variant, random.Random], None]] = {}


@dataclass
class Variant:
    """What somebody hands in: cells, a file's name and form; and the answer that counts for each exercise."""

    chapter: str
    cells: Cells
    counts: dict[str, Written | None]
    name: str = ""
    folder: bool = False
    minor: int = 5
    metadata: dict[str, Any] = field(default_factory=dict)
    lines: bool = True
    mark: str = ""

    def hand_in(self, submissions: Path, student: str) -> None:
        """Write the notebook, alone or in a folder."""
        place = submissions / student if self.folder else submissions
        place.mkdir(parents=True, exist_ok=True)
        cells = [dict(cell) for cell in self.cells]
        for number, cell in enumerate(cells):
            if self.lines:
                cell["source"] = cell["source"].splitlines(keepends=True)
            if self.minor < 5:
                cell.pop("id", None)
            else:
                cell.setdefault("id", f"cell-{number}")
        notebook = {"cells": cells, "metadata": self.metadata, "nbformat": 4, "nbformat_minor": self.minor}
        name = self.name if self.folder else f"{student}.ipynb"
        (place / name).write_text(self.mark + json.dumps(notebook, ensure_ascii=False, indent=1), "utf-8")


def variants(chapter: str, count: int) -> list[Variant]:
    """Return that many notebooks of a chapter; all its answers have a turn before the next round begins."""
    answers = list(written_answers(chapter))
    rng = random.Random(int(chapter))
    deck: list[Written] = []
    made = []
    for number in range(count):
        counts: dict[str, Written | None] = {}
        while len(counts) < min(2, len({each.exercise for each in answers})):
            deck = deck or rng.sample(answers, len(answers))
            pick = deck.pop()
            counts.setdefault(pick.exercise, pick)
        if number % 5 == 0:
            counts[rng.choice(list(counts))] = None
        variant = Variant(chapter, _cells(counts), counts, name=f"{chapter}_chapter.ipynb")
        chosen = [list(HABITS)[number % len(HABITS)], rng.choice(list(HABITS))]
        for name in sorted(chosen, key="writes_all_in_one_cell".__ne__):  # else one bad cell spoils them all
            HABITS[name](variant, rng)
        made.append(variant)
    return made


def _code(source: str, **metadata: Any) -> dict[str, Any]:
    cell = {"cell_type": "code", "source": source, "metadata": metadata, "outputs": []}
    return cell | {"execution_count": None}


def _cells(counts: dict[str, Written | None]) -> Cells:
    cells: Cells = [{"cell_type": "markdown", "source": "# My answers\n\nGrößer als ≥ 1.", "metadata": {}}]
    cells += [_code(each.above) for each in counts.values() if each]
    for name, each in counts.items():
        stub = f'def {name}(*args):\n    raise NotImplementedError("Your turn: {name}")'
        cells.append(_code(each.definition if each else stub, tags=["exercise"]))
        cells.append(_code(f"check({name})", tags=["check"]))
    return cells


def habit(function: Callable[[Variant, random.Random], None]) -> Callable[[Variant, random.Random], None]:
    HABITS[function.__name__] = function
    return function


def _defining(variant: Variant) -> Sequence[int]:
    return [n for n, cell in enumerate(variant.cells) if "exercise" in cell["metadata"].get("tags", [])]


@habit
def leaves_it_as_it_was_released(variant: Variant, rng: random.Random) -> None:
    pass


@habit
def shuffles_the_answers(variant: Variant, rng: random.Random) -> None:
    first = min(_defining(variant), default=len(variant.cells))  # imports stay on top
    tail = variant.cells[first:]
    rng.shuffle(tail)
    variant.cells[first:] = tail


@habit
def copies_cells(variant: Variant, rng: random.Random) -> None:
    variant.cells += [dict(variant.cells[n]) for n in _defining(variant)]


@habit
def keeps_an_older_attempt_above(variant: Variant, rng: random.Random) -> None:
    name = rng.choice(list(variant.counts))
    variant.cells.insert(1, _code(f"def {name}(*args):\n    return 'I will do this tomorrow'"))


@habit
def keeps_the_course_solutions_below(variant: Variant, rng: random.Random) -> None:
    rights = {each.exercise: each for each in written_answers(variant.chapter) if each.right}
    for name in [each for each in variant.counts if each in rights]:
        label = f"# @title Solution: {name}\nfrom dl_course import solution\n\n"
        source = f"{label}{rights[name].above}\n\n@solution\n{rights[name].definition}"
        variant.cells.append(_code(source, tags=["solution"]))


@habit
def writes_all_in_one_cell(variant: Variant, rng: random.Random) -> None:
    code = [cell["source"] for cell in variant.cells if cell["cell_type"] == "code"]
    variant.cells = [_code("\n\n\n".join(code), tags=["exercise"])]


@habit
def uses_colab(variant: Variant, rng: random.Random) -> None:
    variant.minor, variant.folder, variant.name = 0, True, f"Copy of {variant.chapter}_chapter.ipynb"
    variant.metadata = {"colab": {"provenance": [], "toc_visible": True}, "accelerator": "GPU"}
    for cell in variant.cells:
        cell["metadata"] = {"id": f"{rng.getrandbits(48):x}", "cellView": "form", **cell["metadata"]}
    variant.cells.insert(0, _code("!pip list | head\n%matplotlib inline\nfrom google.colab import drive"))


@habit
def uses_vs_code(variant: Variant, rng: random.Random) -> None:
    variant.minor, variant.lines, variant.folder = 2, False, True
    variant.metadata = {"language_info": {"name": "python", "version": "3.12.1"}, "orig_nbformat": 4}
    for cell in variant.cells:
        cell["metadata"] = {"vscode": {"languageId": "python"}, **cell["metadata"]}


@habit
def loses_all_metadata(variant: Variant, rng: random.Random) -> None:
    variant.minor = rng.randint(0, 4)
    for cell in variant.cells:
        cell["metadata"] = {}


@habit
def renames_the_file(variant: Variant, rng: random.Random) -> None:
    variant.folder, variant.name = True, rng.choice(["final (2).ipynb", "Übung – meine.ipynb", "07.ipynb"])


@habit
def keeps_outputs_of_all_kinds(variant: Variant, rng: random.Random) -> None:
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "x",
        "traceback": ["\x1b[31mred\x1b[0m"],
    }
    html = {"output_type": "display_data", "data": {"text/html": "<b>bold</b>"}, "metadata": {}}
    for cell in variant.cells:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]}, error, html]
            cell["execution_count"] = rng.randint(1, 99)


@habit
def plays_around_in_other_cells(variant: Variant, rng: random.Random) -> None:
    variant.cells.insert(1, _code("%time sum(range(10))\n?print\nx = 3  # my x"))
    variant.cells.append(_code("this is no Python at all, but I keep it"))
    variant.cells.append(_code("1 / 0"))
    variant.cells.append({"cell_type": "raw", "source": "def relu(x): return 1", "metadata": {}})


@habit
def saves_with_a_byte_order_mark(variant: Variant, rng: random.Random) -> None:
    variant.mark, variant.lines = "\ufeff", False
