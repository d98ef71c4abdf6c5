"""Figures on pages come from stored results, and are what is stored."""

import re
from pathlib import Path

import pytest

from benchmarks.results import stored
from book import BookError
from book.figures import filled, shown, table

ROOT = Path(__file__).resolve().parents[2]
RECORD = {
    "title": "t", "command": "python benchmarks/x.py", "date": "2026-11-29", "cores": 2,
    "figures": {
        "a": {"what": "found", "value": 0.974, "unit": "share", "low": 0.91, "high": 0.99, "n": "78 set-ups"},
        "b": {"what": "quicker", "value": 3.104, "unit": "x", "rival": {"other|one": 12.0}},
    },
}  # fmt: skip


def test_a_figure_is_put_in_with_its_unit():
    assert filled("It finds {{result:x.a}}, {{result:x.b}}.", {"x": RECORD}) == "It finds 97.4 %, 3.1 ×."


def test_a_figure_that_nobody_stored_is_refused_by_name():
    with pytest.raises(BookError, match=r"^no stored result 'x.c' in benchmarks/results/$"):
        filled("{{result:x.c}}", {"x": RECORD})


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(0.5, "share", "50 %"), (1234.5, "ms", "1,234 ms"), (7, "", "7"), ("4 of 78", "", "4 of 78")],
)
def test_figures_are_rounded_as_they_are_read(value, unit, words):
    assert shown({"value": value, "unit": unit}) == words


def test_a_table_has_the_columns_that_are_filled_and_the_command_that_measures_again():
    lines = table(RECORD).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "measured", "value", "95 % interval", "rests on", "beside"
    ]  # fmt: skip
    assert "91 % to 99 %" in lines[2] and "other\\|one: 12 ×" in lines[3]
    assert lines[-1] == "`python benchmarks/x.py` · 2026-11-29 · 2 CPU cores"


def test_figures_in_the_readme_are_the_stored_ones():
    text = (ROOT / "README.md").read_text("utf-8")
    marked = re.findall(r"<!-- result:([\w-]+)\.([\w-]+) -->(.*?)<!-- -->", text)
    assert marked
    assert [words for name, key, words in marked if words != shown(stored()[name]["figures"][key])] == []
