"""Figures on pages, taken from stored results: {{result:faults.recall}} becomes "97 %"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.results import stored
from book import BookError

_PLACE = re.compile(r"\{\{result:([\w-]+)\.([\w-]+)\}\}")


def filled(text: str, results: Mapping[str, Any]) -> str:
    """Return the text with every {{result:name.key}} replaced; BookError for a result that isn't stored."""

    def value(place: re.Match[str]) -> str:
        try:
            return shown(results[place[1]]["figures"][place[2]])
        except KeyError as error:
            raise BookError(f"no stored result '{place[1]}.{place[2]}' in benchmarks/results/") from error

    return _PLACE.sub(value, text)


def shown(figure: Mapping[str, Any]) -> str:
    """Return a figure's value with its unit, rounded as it is read: "97 %", "3.1 ×", "4 of 78"."""
    return _with_unit(figure["value"], figure.get("unit", ""))


def _with_unit(value: Any, unit: str) -> str:
    if unit == "share":
        return f"{_rounded(100 * value)} %"
    return f"{_rounded(value)} {'×' if unit == 'x' else unit}".strip()


def _rounded(value: Any) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if float(value).is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(record: Mapping[str, Any]) -> str:
    """Return a result's figures as a Markdown table, with the command that measures them again."""
    rows = [
        "| measured | value | 95 % interval | rests on | beside | asked for |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for figure in record["figures"].values():
        unit = figure.get("unit", "")
        interval = (
            f"{_with_unit(figure['low'], unit)} to {_with_unit(figure['high'], unit)}"
            if "low" in figure
            else ""
        )
        rivals = "; ".join(
            f"{name}: {_with_unit(value, unit)}" for name, value in figure.get("rival", {}).items()
        )
        cells = (
            figure["what"],
            shown(figure),
            interval,
            figure.get("n", ""),
            rivals,
            figure.get("limit", ""),
        )
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    when = f"`{record['command']}` · {record['date']} · {record['cores']} CPU cores"
    return "\n".join([*_without_empty_columns(rows), "", when])


def _without_empty_columns(rows: list[str]) -> list[str]:
    split = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    used = [i for i in range(len(split[0])) if any(row[i].strip() for row in split[2:])]
    return ["|" + "|".join(row[i] for i in used) + "|" for row in split]


def what_it_can_do() -> str:
    """Return the body of the page: a section for every stored result."""
    return "\n\n".join(f"## {record['title']}\n\n{table(record)}" for record in stored().values())
