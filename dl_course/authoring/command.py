"""What `dl-course build` does: every lesson, or those named; written, or compared with what is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from dl_course.authoring.build import chapter, differences, stored_outputs
from dl_course.authoring.execute import execute
from dl_course.authoring.lesson import Lesson, read_lessons
from dl_course.notebooks import read, tags, write
from dl_course.registry import nearest


def build_chapters(root: Path, names: Sequence[str], check: bool, run: bool, solved: Path | None) -> int:
    """Build the named lessons, or all; with check, write nothing and return 1 on a difference."""
    lessons = _chosen(read_lessons(root / "solutions"), names)
    if check:
        return _compare(root, lessons, everything=not names)
    for lesson in lessons:
        began = time.perf_counter()
        notebook = chapter(lesson, root, solved=solved is not None)
        path = (solved or root / "chapters") / f"{lesson.stem}.ipynb"
        write(execute(notebook, root) if run else stored_outputs(notebook, path), path)
        print(f"{path}  {time.perf_counter() - began:.1f} s")
    return 0


def _chosen(lessons: Sequence[Lesson], names: Sequence[str]) -> list[Lesson]:
    by_name = {name: lesson for lesson in lessons for name in (lesson.chapter, lesson.stem)}
    for name in names:
        if name not in by_name:
            raise ValueError(f"no lesson is named '{name}'{nearest(name, by_name)}")
    return [by_name[name] for name in names] or list(lessons)


def _compare(root: Path, lessons: Sequence[Lesson], everything: bool) -> int:
    found = []
    for lesson in lessons:
        path = root / "chapters" / f"{lesson.stem}.ipynb"
        if not path.exists():
            found.append(f"{path.name} is not built")
            continue
        stored = read(path)
        found += [f"{path.name}: {each}" for each in differences(chapter(lesson, root), stored)]
        code = [
            cell for cell in stored.cells if cell.cell_type == "code" and "skip-execution" not in tags(cell)
        ]
        unrun = [cell for cell in code if cell.execution_count is None and cell.source]
        found += [f"{path.name}: {len(unrun)} cells have not been run"] if unrun else []
    if everything:
        known = {f"{lesson.stem}.ipynb" for lesson in lessons}
        strays = [path.name for path in sorted((root / "chapters").glob("*.ipynb")) if path.name not in known]
        found += [f"{name}: no lesson in solutions/ makes it" for name in strays]
    print("\n".join([*found, "run: dl-course build"] if found else ["chapters/ is what solutions/ makes"]))
    return 1 if found else 0
