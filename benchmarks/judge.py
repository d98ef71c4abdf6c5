"""What the judge withstands: attacks that earn nothing, honest notebooks that lose nothing.

    python benchmarks/judge.py

Runs the suites of tests/grading and counts: every attack is a submission of a folder that is graded as
`dl-course grade` does, beside others; of every honest notebook it is known what it deserves. Exits 1 where an
attack earned something or an honest notebook lost something.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results import store

ROOT = Path(__file__).resolve().parents[1]
SUITES = ("test_attacks.py", "test_attacks_on_marks.py", "test_honest.py")


def main() -> int:
    passed, failed = run([path for name in SUITES if (path := ROOT / "tests" / "grading" / name).exists()])
    attacks = count(passed, "attack"), count(failed, "attack")
    notebooks = honest()
    wrong = sum(failed.values())
    figures = {
        "attacks": {
            "what": "attacks that earned nothing",
            "value": f"{attacks[0]} of {sum(attacks)}",
            "n": "submissions, each graded beside others",
            "limit": "all",
        },
        "honest": {
            "what": "honest notebooks that got exactly the marks they deserve",
            "value": f"{notebooks} of {notebooks}" if not wrong else f"see the {wrong} failures",
            "n": f"{notebooks} notebooks, the eleven solved chapters among them",
            "limit": "all",
        },
    }
    for figure in figures.values():
        print(f"{figure['what']:<60} {figure['value']}")
    store("judge", "The judge: attacks and honest work", "python benchmarks/judge.py", figures)
    return int(wrong > 0)


def run(paths: list[Path]) -> tuple[Counter[str], Counter[str]]:
    """Return how many cases of each test passed, and failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", *map(str, paths), f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, check=False)
        passed, failed = Counter[str](), Counter[str]()
        for case in ET.parse(report).iter("testcase"):
            kinds = {part.tag for part in case}
            if "skipped" not in kinds:
                place = failed if kinds & {"failure", "error"} else passed
                place[str(case.get("name")).partition("[")[0]] += 1
    return passed, failed


def count(cases: Counter[str], word: str) -> int:
    """Return how many cases are of tests that are named after what they try."""
    named = (name for name in cases if name.startswith(f"test_an_{word}") and "earns" in name)
    return sum(cases[name] for name in named)


def honest() -> int:
    """Return how many honest notebooks the suite hands in."""
    from tests.grading.odd import ODD
    from tests.grading.test_honest import COUNTS
    from tests.test_chapters import LESSONS

    return sum(COUNTS.values()) + len(ODD) + len(LESSONS)


if __name__ == "__main__":
    sys.exit(main())
