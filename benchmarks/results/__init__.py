"""What benchmarks found, kept as small JSON files: the book and the README take their figures from here."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FIGURE = {"what", "value", "unit", "low", "high", "n", "rival", "limit"}  # "what" and "value" are required
UNITS = {"", "share", "s", "ms", "MiB", "bytes", "x", "min"}


def store(name: str, title: str, command: str, figures: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write results/NAME.json and return its path; ValueError for a figure of another form.

    title: what was measured, in a few words · command: what measures it again, from the repository's root ·
    figures: by a short key, each ``what`` (in words) and ``value``, and where they are known ``unit`` (one of
    UNITS; a share lies in [0, 1], "x" is a ratio), ``low`` and ``high`` (a 95 % interval), ``n`` (what it
    rests on, in words: "78 set-ups", "5 seeds"), ``rival`` (the same figure of ``{"name": value}``), and
    ``limit`` (what was asked for, in words). Date and number of CPU cores are added.
    """
    for key, figure in figures.items():
        if not {"what", "value"} <= set(figure) <= FIGURE or figure.get("unit", "") not in UNITS:
            raise ValueError(f"figure '{key}' has {sorted(figure)}; they have {FIGURE}, units {UNITS}")
    made = {"date": date.today().isoformat(), "cores": os.cpu_count()}
    record = {"title": title, "command": command, **made, "figures": figures}
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path


def stored() -> dict[str, dict[str, Any]]:
    """Return every stored result by its name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
