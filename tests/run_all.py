"""What `make test` runs: every part, with its time; fails when a part fails or the whole takes too long."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 25 * 60  # on 2 cores, for the complete course

PYTEST = [BIN / "python", "-m", "pytest", "-q", "--durations=10"]
WORK = ["tests/clinic", "tests/deploy"]
# Two lanes side by side, a thread each, are sooner done than one with two threads.
LANES: list[dict[str, list[Any]]] = [
    {"tests": [*PYTEST, "tests", *(f"--ignore={room}" for room in WORK)]},
    {
        "ruff": [BIN / "ruff", "check", "."],
        "format": [BIN / "ruff", "format", "--check", "."],
        "mypy": [BIN / "mypy"],
        "floors": [BIN / "lint-imports"],
        "chapters built": [BIN / "dl-course", "build", "--check"],
        "notebooks": [*PYTEST, "--nbval", "chapters"],
        "tests of work": [*PYTEST, *WORK],
    },
]


def main() -> int:
    """Run all parts, even if one fails; print what each said when it has ended, and the table."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(LANES)) as pool:
        rows = [row for lane in pool.map(run, LANES) for row in lane]
    total = time.perf_counter() - began
    print("\npart               seconds")
    for name, seconds, status in rows:
        print(f"{name:<18} {seconds:7.1f}  {'ok' if status == 0 else f'FAILED ({status})'}")
    print(f"{'all':<18} {total:7.1f}  {'ok' if total <= BUDGET_S else f'over the budget of {BUDGET_S} s'}")
    return 1 if total > BUDGET_S or any(status for *_, status in rows) else 0


def run(lane: dict[str, list[Any]]) -> list[tuple[str, float, int]]:
    """Run a lane's parts one after another; return name, seconds, exit status of each."""
    rows = []
    for name, command in lane.items():
        start = time.perf_counter()
        print(f"… {name}", flush=True)
        done = subprocess.run(
            [str(part) for part in command], cwd=ROOT, check=False, text=True, encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        rows.append((name, time.perf_counter() - start, done.returncode))
        print(f"== {name}\n{done.stdout}", end="", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
