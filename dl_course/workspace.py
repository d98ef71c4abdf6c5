"""The learner's own copies of the chapters, in work/: made when missing, brought back on request."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

from dl_course.files import repository_root
from dl_course.language import ENGLISH, chosen
from dl_course.registry import nearest


def course_root() -> Path:
    """Return the folder that holds chapters/; FileNotFoundError says where to call this from."""
    root = repository_root()
    if root is None or not (root / "chapters").is_dir():
        raise FileNotFoundError(
            "no chapters/ here or above: run this inside a clone of the course's repository"
        )
    return root


def prepare(root: Path, language: str = ENGLISH) -> list[str]:
    """Copy to work/ the chapters that are not there yet, in a language that has them; say what was done.

    A copy in English that nobody has touched gives way to the translation; any other stays as it is.
    """
    work = root / "work"
    work.mkdir(exist_ok=True)
    said = []
    for original in sorted((root / "chapters").glob("*.ipynb")):
        mine = work / original.name
        offered = _is_offered(root, original, language)
        if not mine.exists() or (offered and mine.read_bytes() == original.read_bytes()):
            _write(root, original, mine, language)
            english = (
                "" if offered or language == ENGLISH else f" (in English: not translated into {language} yet)"
            )
            said.append(f"new: work/{mine.name}{english}")
    return said


def _is_offered(root: Path, original: Path, language: str) -> bool:
    path = root / "translations" / language / f"{original.stem}.po"
    if not path.exists():  # so that nobody waits for nbformat
        return False
    from dl_course.authoring.translation import is_offered

    return is_offered(path)


def _write(root: Path, original: Path, mine: Path, language: str) -> None:
    """Write the chapter in the language, or in English where it isn't translated."""
    if not _is_offered(root, original, language):
        shutil.copy(original, mine)
        return
    from dl_course.authoring.translate import in_language
    from dl_course.notebooks import write

    write(in_language(root, original, language), mine)


def reset(root: Path, name: str) -> list[str]:
    """Bring an exercise or a chapter back to how it was built, keeping a copy; return what was done.

    name: an exercise ("standardize"), a chapter's number ("01") or its file's name ("01_setup"). It comes
    back in the language that `dl_course.language.chosen` names.
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
        built = mine.with_suffix(".built")
        _write(root, original, built, chosen())
        done += [_exercise_back(mine, built, name)]
        built.unlink()
    else:
        mine.parent.mkdir(exist_ok=True)
        _write(root, original, mine, chosen())
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
