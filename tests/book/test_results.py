"""Stored results of benchmarks: one form, and a command that exists."""

import shlex
from datetime import date
from pathlib import Path

import pytest

from benchmarks import results

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", results.stored())
def test_a_stored_result_says_what_when_and_how_it_was_measured(name, tmp_path, monkeypatch):
    record = results.stored()[name]
    assert set(record) == {"title", "command", "date", "cores", "figures"}
    assert date.fromisoformat(record["date"]) <= date.today()
    script = next(part for part in shlex.split(record["command"]) if part.endswith(".py"))
    assert (ROOT / script).is_file()
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.store(name, record["title"], record["command"], record["figures"])
    for figure in record["figures"].values():
        assert figure.get("low", figure["value"]) <= figure["value"] <= figure.get("high", figure["value"])
        assert figure.get("unit") != "share" or 0 <= figure["value"] <= 1


def test_a_figure_without_words_or_in_an_unknown_unit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="figure 'a' has"):
        results.store("x", "t", "python benchmarks/x.py", {"a": {"value": 3}})
    with pytest.raises(ValueError, match="units"):
        results.store("x", "t", "python benchmarks/x.py", {"a": {"what": "w", "value": 3, "unit": "furlong"}})
    assert results.stored() == {}
