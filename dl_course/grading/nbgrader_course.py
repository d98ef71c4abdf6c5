"""An nbgrader course whose marks come from the judge: no submission runs in a kernel that could reach them.

nbgrader makes the assignment, collects, keeps the gradebook, shows and returns feedback. Where it would run a
submission beside the gradebook and believe its outputs (0.9), `configure` puts what stands here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bleach import clean  # type: ignore[import-untyped]
from nbconvert.exporters import NotebookExporter
from nbconvert.filters import markdown2html
from nbformat.v4 import new_notebook, new_output
from nbgrader import preprocessors
from traitlets import Dict

from dl_course.grading import grade
from dl_course.grading.restored import restored
from dl_course.grading.submissions import find_submissions
from dl_course.notebooks import Notebook, read

_TAGS = "a b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong sub sup"
_TAGS += " table tbody td th thead tr u ul"

Resources = dict[str, Any]


def configure(c: Any) -> None:
    """Set in nbgrader's configuration `c` what makes its marks the judge's."""
    alembic = Path(sys.executable).parent  # nbgrader starts it by its bare name
    os.environ["PATH"] = os.pathsep.join([str(alembic), os.environ.get("PATH", "")])
    ours = preprocessors
    c.GenerateAssignment.preprocessors = [ours.LockCells, ours.ClearOutput, ours.CheckCellMetadata]
    c.GenerateAssignment.preprocessors += [ours.ComputeChecksums, ours.SaveCells]
    c.Autograde.exporter_class = Lenient
    c.Autograde.sanitize_preprocessors = [Restored, ours.OverwriteCells, ours.CheckCellMetadata]
    c.Autograde.autograde_preprocessors = [Judged, ours.SaveAutoGrades, ours.AssignLatePenalties]
    c.HTMLExporter.filters = {"markdown2html": harmless}  # of feedback, and of what the grader reads


def harmless(markdown: str) -> str:
    """Return a learner's Markdown as HTML that runs nothing and loads nothing."""
    return str(clean(markdown2html(markdown), tags=_TAGS.split(), strip=True))


class Lenient(NotebookExporter):
    """Reads as an empty notebook what is none, or links to somebody else's: that gets its mark too."""

    def from_filename(self, filename: str, resources: Resources | None = None, **options: Any) -> Any:
        """Return what nbconvert's own does, whatever the file is."""
        try:
            notebook = new_notebook() if Path(filename).is_symlink() else read(filename)
        except ValueError:
            notebook = new_notebook()
        return self.from_notebook_node(notebook, resources, **options)


class Restored(preprocessors.NbGraderPreprocessor):
    """Puts the assignment's cells back into a submission, and drops files that it only linked to."""

    def preprocess(self, nb: Notebook, resources: Resources) -> tuple[Notebook, Resources]:
        """Return a notebook of fresh cells; of one that can't be read through, only the assignment's."""
        course = self.parent.parent.coursedir
        about = resources["nbgrader"]
        who = about["student"], about["assignment"]
        theirs, copied = (
            Path(course.format_path(step, *who))
            for step in (course.submitted_directory, course.autograded_directory)
        )
        for path in [each for each in copied.rglob("*") if each.is_file()]:
            if not (theirs / path.relative_to(copied)).resolve().is_relative_to(theirs.resolve()):
                path.unlink()
        source = Path(course.format_path(course.source_directory, ".", who[1]))
        assignment = read(source / f"{about['notebook']}.ipynb")
        try:
            return restored(nb, assignment), resources
        except (AttributeError, TypeError, ValueError):  # its parts are no cells
            return restored(new_notebook(), assignment), resources


class Judged(preprocessors.NbGraderPreprocessor):
    """Gives each check the judge's points as its output, from where nbgrader takes them."""

    options = Dict(help="further arguments of dl_course.grading.grade: jobs, timeout, private").tag(
        config=True
    )

    def preprocess(self, nb: Notebook, resources: Resources) -> tuple[Notebook, Resources]:
        """Return the notebook with outputs under each check; the first one has the whole class judged."""
        run = self.parent.parent
        about = resources["nbgrader"]
        key = about["assignment"], about["notebook"]
        if key not in (judged := vars(run).setdefault("judged", {})):
            judged[key] = self._judge(run.coursedir, *key)
        for cell in nb.cells:
            if cell.metadata.get("nbgrader", {}).get("locked"):
                cell.outputs = _outputs(cell.metadata.nbgrader, judged[key][about["student"]])
        return nb, resources

    def _judge(self, course: Any, assignment: str, notebook: str) -> dict[str, Any]:
        """Return the results by student, of all who are to be graded; those of before are not made again."""
        step = course.submitted_directory
        out = Path(course.root, "judged", assignment, notebook)
        pattern = course.format_path(step, "(?P<student>.*)", assignment, escape=True)
        with TemporaryDirectory() as stage:
            for folder in glob(course.format_path(step, course.student_id, assignment)):
                if found := re.fullmatch(pattern, folder):
                    shutil.copytree(folder, Path(stage, found["student"]), symlinks=True)
            grade(stage, out, chapter=notebook.partition("_")[0], **self.options)
            names = {each.student: each.path.name for each in find_submissions(Path(stage))}
        results = [json.loads(path.read_text("utf-8")) for path in (out / "results").glob("*.json")]
        return {names[each["student"]]: each for each in results if each["student"] in names}


def _outputs(about: Any, result: Any) -> list[Any]:
    """Return what the judge says of an exercise, then its points in this assignment, which nbgrader reads."""
    name = about.grade_id.partition("-")[2]
    found = result["exercises"][name]
    said = [f"{name}: {found['status']}", found["diagnosis"], *found["notes"], result["note"]]
    points = about.points * found["points"] / found["of"]
    return [
        new_output("display_data", {"text/plain": "\n".join(filter(None, said))}),
        new_output("execute_result", {"text/plain": repr(float(points))}, execution_count=1),
    ]
