import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.mark.timeout(900)
def test_the_short_benchmark_names_what_it_planted_and_is_silent_on_what_is_healthy():
    done = subprocess.run([sys.executable, BENCHMARK, "--short"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
