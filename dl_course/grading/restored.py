"""A submission's text in the assignment's order of things: every graded cell once, whatever became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dl_course.notebooks import KERNEL, Cell, Notebook, defined_names

_PICTURE = re.compile(r"[A-Za-z0-9+/=\s]{1,2000000}")  # base64 of at most 1.5 MB, and no markup
_NOT_FOUND = "# Nothing was found for {}: it is missing, or part of another cell."


def restored(submitted: Notebook, assignment: Notebook) -> Notebook:
    """Return the text and pictures of a submission, and every marked cell of the assignment exactly once.

    An answer is the last cell that defines its name, a text is found by its id; a check follows its answer.
    Nothing else of the submission stays: no metadata, no other output.
    """
    marked = [cell for cell in assignment.cells if "nbgrader" in cell.metadata]
    checks = {cell.source for cell in marked if cell.metadata.nbgrader.locked}
    kept = [cell for cell in submitted.cells if cell.source.strip() not in checks]
    cells = [_fresh(cell) for cell in kept]
    own = {key: new for old, new in zip(kept, cells, strict=True) for key in _keys(old)}
    place = 0
    for cell in marked:
        about = cell.metadata.nbgrader
        found = None if about.locked else own.get((cell.cell_type, about.grade_id))
        if not found or found.metadata:  # none, or one that is another answer's already
            text = cell.source if about.locked else _NOT_FOUND.format(about.grade_id)
            found = new_code_cell(text) if cell.cell_type == "code" else new_markdown_cell(text)
            cells.insert(place, found)
        found.metadata = cell.metadata
        place = next(number for number, each in enumerate(cells, 1) if each is found)
    return new_notebook(cells=cells, metadata=KERNEL)


def _fresh(cell: Cell) -> Cell:
    if cell.cell_type != "code":
        return new_markdown_cell(cell.source)
    pictures = [output.get("data", {}).get("image/png", "") for output in cell.outputs]
    kept = [new_output("display_data", {"image/png": each}) for each in pictures if _PICTURE.fullmatch(each)]
    return new_code_cell(cell.source, outputs=kept)


def _keys(cell: Cell) -> Iterator[tuple[str, Any]]:
    """Yield what a cell can be found by: its answers' names, or a text's id and the one in its metadata."""
    if cell.cell_type != "code":
        yield from (
            ("markdown", each) for each in (cell.id, cell.metadata.get("nbgrader", {}).get("grade_id"))
        )
    elif "@solution" not in cell.source:
        yield from (("code", f"exercise-{name}") for name in defined_names(cell.source))
