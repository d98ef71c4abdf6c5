"""What `make test` runs: every part, with its time; fails when a part fails or the whole takes too long."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 25 * 60  # on 2 cores, for the complete course

PARTS = {
    "ruff": [BIN / "ruff", "check", "."],
    "format": [BIN / "ruff", "format", "--check", "."],
    "mypy": [BIN / "mypy"],
    "floors": [BIN / "lint-imports"],
    "chapters built": [BIN / "dl-course", "build", "--check"],
    "tests": [BIN / "python", "-m", "pytest", "-q", "--durations=10", "tests"],
    "notebooks": [BIN / "python", "-m", "pytest", "-q", "--nbval", "chapters"],
}


def main() -> int:
    """Run the parts in order, all of them even if one fails, and print the table."""
    began, rows = time.perf_counter(), []
    for name, command in PARTS.items():
        print(f"== {name}", flush=True)
        start = time.perf_counter()
        status = subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode
        rows.append((name, time.perf_counter() - start, status))
    total = time.perf_counter() - began
    print("\npart               seconds")
    for name, seconds, status in rows:
        print(f"{name:<18} {seconds:7.1f}  {'ok' if status == 0 else f'FAILED ({status})'}")
    print(f"{'all':<18} {total:7.1f}  {'ok' if total <= BUDGET_S else f'over the budget of {BUDGET_S} s'}")
    return 1 if total > BUDGET_S or any(status for *_, status in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
