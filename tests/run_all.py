"""What `make test` runs: every part, with its time; fails when a part fails or the whole takes too long."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from joblib import cpu_count

SCRIPTS = Path(sysconfig.get_path("scripts"))  # not always where Python itself lies, as on Windows
ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 25 * 60  # on 2 slow cores, for the complete course
PART_S = 20 * 60  # no part waits for ever, whatever hangs in it

PYTEST = (sys.executable, "-m", "pytest", "-q", "--durations=5")
# The rooms that learners read, for a lane each.
LEARNERS_ROOMS = (
    ("diagnostics", "explain", "data", "scratch"),
    ("training", "models", "evaluation", "plots"),
)
# Every process pays for what it imports, so there are few; but enough that all lanes have work to the end.
SHARES = 3  # of the chapters
# A lane for each core that may be used, in a container too; two at least, since parts wait for kernels and
# servers, and no more than memory suffices for.
LANES = min(max(cpu_count(), 2), 6)
WORK = ("authoring", "browser", "clinic", "deploy", "experiments")
JUDGE = "grading"


@dataclass(frozen=True)
class Part:
    """A command with its name."""

    name: str
    command: tuple[object, ...]


@dataclass(frozen=True)
class Ran:
    """What a part took and how it ended."""

    name: str
    seconds: float
    status: int


LINT = (
    Part("ruff", (SCRIPTS / "ruff", "check", ".")),
    Part("format", (SCRIPTS / "ruff", "format", "--check", ".")),
    Part("floors", (SCRIPTS / "lint-imports",)),
)
TYPES = Part("types", (SCRIPTS / "mypy",))


def main() -> int:
    """Run all parts, even if one fails; print what each said when it has ended, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="lint, types, and tests of the learners' rooms")
    parser.add_argument("--oldest", action="store_true", help="without lint, types, notebooks and browser")
    parser.add_argument("--portable", action="store_true", help="without the judge and the browser")
    parser.add_argument("--pytest", default="", help="further options for pytest, in one word")
    given = parser.parse_args()
    began = time.perf_counter()
    # Lanes side by side, a thread each, are sooner done than one with several threads.
    with ThreadPoolExecutor(LANES) as lanes:
        rows = list(lanes.map(run, parts(given)))
    total = time.perf_counter() - began
    failed = [row.name for row in rows if row.status]
    late = total > BUDGET_S
    print(f"\n{'part':<28} seconds")
    for row in sorted(rows, key=lambda row: -row.seconds):
        print(f"{row.name:<28} {row.seconds:7.1f}  {'ok' if row.status == 0 else f'FAILED ({row.status})'}")
    used = os.times()
    cpu = used.children_user + used.children_system  # 0 on Windows, which doesn't count them
    verdict = f"FAILED: {', '.join(failed)}" if failed else "ok"
    if late:
        verdict = f"over the budget of {BUDGET_S} s"
    print(f"{'all':<28} {total:7.1f}  {verdict}; {cpu:.0f} s of CPU")
    return 1 if late or failed else 0


def parts(given: argparse.Namespace) -> list[Part]:
    """Return what is to be run, the longest first."""
    options = tuple(given.pytest.split())
    folder = ROOT / "tests"
    if given.quick:
        planted = f"--ignore={folder / 'diagnostics' / 'test_faults_short.py'}"  # a benchmark of a minute
        chosen = [[folder / room for room in rooms] for rooms in LEARNERS_ROOMS]
        lanes = [tests(f"tests: {each[0].name} …", [*each, planted], options) for each in chosen]
        return [*lanes, TYPES, *LINT]
    out = set()
    if given.oldest or given.portable:
        out |= {"browser", "book"}
    if given.portable:
        out |= {JUDGE}
    learners = [room for lane in LEARNERS_ROOMS for room in lane]
    work = [room for room in WORK if room not in out]
    aside = [f"--ignore={folder / room}" for room in {*learners, *WORK, JUDGE, *out}]
    every = [
        tests("tests of learners' rooms", [folder / room for room in learners], options),
        tests("tests of work", [folder / room for room in work], options),
        tests("other tests", [folder, *aside], options),
    ]
    if JUDGE not in out:
        every.insert(0, tests("tests of the judge", [folder / JUDGE], options))
    if given.oldest:
        return every
    chapters = sorted((ROOT / "chapters").glob("*.ipynb"))
    shares = [chapters[first::SHARES] for first in range(SHARES)]
    return [*every, *(notebooks(share, options) for share in shares), TYPES, *LINT]


def tests(name: str, paths: list[object], options: tuple[str, ...]) -> Part:
    """Return the part that runs test files or folders."""
    return Part(name, (*PYTEST, *paths, *options))


def notebooks(paths: list[Path], options: tuple[str, ...]) -> Part:
    """Return the part that runs chapters, each in a kernel of its own, and compares their outputs."""
    names = [path.stem.split("_")[0] for path in paths]
    return Part(f"chapters {' '.join(names)}", (*PYTEST, "--nbval", *paths, *options))


def environment() -> dict[str, str]:
    """Return one thread a process, and modules that are compiled once.

    uv compiles nothing, and where PYTHONDONTWRITEBYTECODE is set, every process would compile torch's 3,000
    files for itself: three times as long as importing them.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"OMP_NUM_THREADS": "1", "DL_COURSE_LANGUAGE": "en"}


def run(part: Part) -> Ran:
    """Run a part to its end, or for at most PART_S; print what it said in one piece."""
    start = time.perf_counter()
    print(f"… {part.name}", flush=True)
    with subprocess.Popen(
        [str(word) for word in part.command], cwd=ROOT, text=True, encoding="utf-8",
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=PART_S)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            said += f"\nended after {PART_S} s\n"
    print(f"== {part.name}\n{said}", end="", flush=True)
    return Ran(part.name, time.perf_counter() - start, process.returncode)


if __name__ == "__main__":
    sys.exit(main())
