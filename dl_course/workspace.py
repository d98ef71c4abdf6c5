"""The learner's own copies of the chapters, in work/: made when missing, brought back on request."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

from dl_course.files import repository_root
from dl_course.registry import nearest


def course_root() -> Path:
    """Return the folder that holds chapters/; FileNotFoundError says where to call this from."""
    root = repository_root()
    if root is None or not (root / "chapters").is_dir():
        raise FileNotFoundError(
            "no chapters/ here or above: run this inside a clone of the course's repository"
        )
    return root


def prepare(root: Path) -> list[Path]:
    """Copy to work/ the chapters that are not there yet; return the new ones."""
    work = root / "work"
    work.mkdir(exist_ok=True)
    missing = [
        path for path in sorted((root / "chapters").glob("*.ipynb")) if not (work / path.name).exists()
    ]
    return [Path(shutil.copy(path, work / path.name)) for path in missing]


def reset(root: Path, name: str) -> list[str]:
    """Bring an exercise or a chapter back to how it was built, keeping a copy; return what was done.

    name: an exercise ("standardize"), a chapter's number ("01") or its file's name ("01_setup").
    """
    # imported here, because `make lab` shall wait for neither torch nor nbformat
    from dl_course.exercises.checks import all_exercises
    from dl_course.exercises.progress_file import progress

    chapters = {path.stem: path for path in sorted((root / "chapters").glob("*.ipynb"))}
    exercises = all_exercises()
    if name in exercises:
        stem = next((stem for stem in chapters if stem.startswith(f"{exercises[name].chapter}_")), "")
        names = [name]
    else:
        number = {stem: stem.partition("_")[0] for stem in chapters}  # "05", or "05b" of a second part
        stem = next((stem for stem in chapters if name in (stem, number[stem], f"{stem}.ipynb")), "")
        names = [each for each in exercises if stem and exercises[each].chapter == number[stem]]
    if not stem:
        raise ValueError(
            f"no exercise and no chapter is named '{name}'{nearest(name, [*exercises, *chapters])}"
        )
    mine = root / "work" / f"{stem}.ipynb"
    original = chapters[stem]
    done = [f"kept your version as {_kept(mine).relative_to(root)}"] if mine.exists() else []
    if name in exercises and mine.exists():
        done += [_exercise_back(mine, original, name)]
    else:
        mine.parent.mkdir(exist_ok=True)
        shutil.copy(original, mine)
        done += [f"work/{mine.name} is as it was built"]
    progress.forget(names)
    return done


def _kept(path: Path) -> Path:
    folder = path.parent / "before_reset"
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(path, folder / f"{path.stem}-{datetime.now():%Y%m%d-%H%M%S-%f}.ipynb"))


def _exercise_back(mine: Path, original: Path, name: str) -> str:
    """Put the stub back into the learner's last cell that defines the exercise, or append it."""
    import nbformat

    from dl_course.notebooks import defined_names, read, tags

    stub = next(c for c in read(original).cells if "exercise" in tags(c) and name in defined_names(c.source))
    notebook = read(mine)
    theirs = [c for c in notebook.cells if name in defined_names(c.source) and "solution" not in tags(c)]
    if theirs:
        theirs[-1].source = stub.source
        theirs[-1].outputs = []
        theirs[-1].execution_count = None
    else:
        notebook.cells.append(stub)
    temporary = mine.with_suffix(".part")
    nbformat.write(notebook, temporary)
    os.replace(temporary, mine)
    return f"{name} in work/{mine.name} is the stub again" + (
        "" if theirs else ", at the end of the notebook"
    )
