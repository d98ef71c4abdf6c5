"""Submissions graded per minute: `dl-course grade`, with one job and with two, beside `nbgrader autograde`.

    python benchmarks/grading.py            # 50 submissions of chapter 02
    python benchmarks/grading.py --few 4

Both get the same notebooks: chapter 02 as released, some answers right, some wrong, some not begun. nbgrader
is as it comes: it runs the whole notebook in a kernel, and what marks it then gives isn't looked at. They
take turns, ten submissions at a time. Times are of the commands, their start included. The claim: at least
twice as many per minute.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from dl_course.authoring.lesson import read_lesson
from dl_course.authoring.release import release

ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "solutions" / "02_neural_basics.py"
TURN = 10  # submissions
GRADE = ("dl_course.cli", "grade", "submitted", "--chapter", "02", "--seed", "benchmark")
CALM = os.environ | {"OMP_NUM_THREADS": "1", "DL_COURSE_OFFLINE": "1"}
CALM["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{CALM['PATH']}"  # for alembic
AS_RELEASED = """\
from nbgrader.preprocessors import CheckCellMetadata, ComputeChecksums, LockCells, SaveCells

c = get_config()  # without ClearSolutions, which would put its own stubs for ours
c.GenerateAssignment.preprocessors = [LockCells, CheckCellMetadata, ComputeChecksums, SaveCells]
c.Execute.timeout = c.Execute.startup_timeout = c.Execute.iopub_timeout = 600  # on a busy machine
"""
WRONG = {"x @ w + b": "x @ w", "np.maximum(x, 0)": "np.abs(x)", "axis=0": "axis=1", " -= ": " += "}


def hand_in(course: Path, students: range) -> None:
    """Release the chapter, and write what the students of these numbers made of it."""
    released = nbformat.read(release(ROOT, "02", course / "source" / "week2", [], {}), as_version=4)
    solved = {exercise.name: exercise.solved() for exercise in read_lesson(LESSON).exercises.values()}
    rng = random.Random(students[0])
    for number in students:
        notebook = nbformat.from_dict(released)
        for cell in notebook.cells:
            name = cell.id.removeprefix("exercise-")
            if name in solved:
                cell.source = rng.choice([solved[name]] * 4 + [wrong(solved[name]), cell.source])
        path = course / "submitted" / f"student{number:02}" / "week2" / f"{LESSON.stem}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)


def wrong(source: str) -> str:
    for right, slip in WRONG.items():
        source = source.replace(right, slip)
    return source


def seconds(course: Path, *command: str) -> float:
    start = time.perf_counter()
    with open(course / "log.txt", "a+", encoding="utf-8") as log:
        done = subprocess.run([sys.executable, "-m", *command], cwd=course, env=CALM, stdout=log, stderr=log)
        if done.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{log.read()[-3000:]}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--few", metavar="N", type=int, default=50, help="N submissions instead of 50")
    count = parser.parse_args().few
    taken = dict.fromkeys(("nbgrader autograde", "dl-course grade --jobs 1", "dl-course grade --jobs 2"), 0.0)
    for first in range(0, count, TURN):
        with tempfile.TemporaryDirectory() as folder:
            course = Path(folder)
            hand_in(course, range(first, min(first + TURN, count)))
            (course / "nbgrader_config.py").write_text(AS_RELEASED)
            seconds(course, "nbgrader", "generate_assignment", "week2")
            taken["nbgrader autograde"] += seconds(course, "nbgrader", "autograde", "week2")
            for jobs in "12":
                taken[f"dl-course grade --jobs {jobs}"] += seconds(course, *GRADE, "-o", jobs, "--jobs", jobs)
        print(", ".join(f"{what} {spent:.1f} s" for what, spent in taken.items()), flush=True)
    print(f"{count} submissions of chapter 02, {os.cpu_count()} cores")
    for what, spent in taken.items():
        ratio = taken["nbgrader autograde"] / spent
        print(f"{what:<25} {spent:7.1f} s  {60 * count / spent:7.1f} a minute  {ratio:5.1f} × nbgrader")


if __name__ == "__main__":
    main()
