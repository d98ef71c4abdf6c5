"""Print pins of torch, torchvision and numpy as they stand in a file that `pip freeze` has written."""

import re
import sys
from pathlib import Path

FROZEN = (
    "torch",
    "torchvision",
    "numpy",
)  # as in dl_course/bootstrap.py; this runs before anything is installed


def pair(freeze: str) -> list[str]:
    """Return the pins, also of "torch @ https://…/torch-2.8.0%2Bcu126-….whl"; ValueError where one lacks."""
    found = {}
    for line in freeze.splitlines():
        if known := re.match(r"(torch|torchvision|numpy)(?:==| @ .*/\1-)(\d+(?:\.\d+)+)", line):
            name, version = known.groups()
            found[name] = version
    missing = [name for name in FROZEN if name not in found]
    if missing:
        raise ValueError(f"no version of {', '.join(missing)} in it")
    return [f"{name}=={found[name]}" for name in FROZEN]


if __name__ == "__main__":
    sys.stdout.write("\n".join(pair(Path(sys.argv[1]).read_text("utf-8"))) + "\n")
