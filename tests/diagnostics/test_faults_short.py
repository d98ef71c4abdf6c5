import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from dl_course.diagnostics.rules.finding import CHECKS, CURVES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.timeout(900)
def test_the_short_benchmark_names_what_it_planted_and_is_silent_on_what_is_healthy():
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "faults.py", "--short"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def benchmark(name, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(name)


def test_the_benchmark_plants_every_fault_that_a_rule_names(monkeypatch):
    assert {rule.fault for rule in (*CHECKS, *CURVES)} == set(benchmark("faults", monkeypatch).FAULTS)


def test_results_that_are_there_are_counted_and_not_measured_again(monkeypatch, tmp_path, capsys):
    faults = benchmark("faults", monkeypatch)
    rows = tmp_path / "rows.jsonl"
    monkeypatch.setattr(sys, "argv", ["faults.py", "--only", "plateau", "--cases", "3", "--rows", str(rows)])
    assert faults.main() == 0
    first = rows.read_text("utf-8")
    monkeypatch.setattr(faults, "looked_at", lambda *case: pytest.fail(f"{case} is measured again"))
    assert faults.main() == 0
    assert rows.read_text("utf-8") == first
    assert capsys.readouterr().out.count("plateau                  recall  100% of   3") == 2


def test_a_folder_without_public_cases_is_named_as_such(monkeypatch, tmp_path, capsys):
    rivals = benchmark("faults_rivals", monkeypatch)
    monkeypatch.setenv("DL_COURSE_PUBLIC_FAULTS", str(tmp_path / "gone"))
    monkeypatch.setattr(sys, "argv", ["faults_rivals.py"])
    with pytest.raises(SystemExit):
        rivals.main()
    assert f"there is no cases.py in {tmp_path / 'gone'}" in capsys.readouterr().err
