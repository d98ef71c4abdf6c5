"""`python -m dl_course.bootstrap`: install what the course still needs beside a torch that is already there.

For Colab and its like, right after the package itself came with --no-deps. Needs only the standard library.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

FROZEN = ("torch", "torchvision", "numpy")  # a notebook service builds these for its machine
SERVER_SIDE = ("jupyterlab",)  # the service has its own
EXTRAS = ("experiments", "deploy", "photos")  # that chapters need


def requirements() -> list[str]:
    """Return the course's own requirements, with the chapters' extras, without what the server runs."""
    stated = (line.partition(";") for line in metadata.requires("dl-course") or [])
    wanted = [requirement.strip() for requirement, _, marker in stated if _is_needed(marker)]
    return [each for each in wanted if _name(each) not in SERVER_SIDE]


def constraints() -> list[str]:
    """Return "name==version" for those of FROZEN that are here."""
    here = {name: version for name in FROZEN if (version := _version(name))}
    return [f"{name}=={version}" for name, version in here.items()]


def install() -> None:
    """Install what is missing or too old, with torch and numpy held at the versions already here."""
    with tempfile.TemporaryDirectory() as folder:
        frozen = Path(folder, "frozen.txt")
        frozen.write_text("\n".join(constraints()), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(frozen)]
        if subprocess.run([*pip, *requirements()], check=False).returncode:
            held = ", ".join(constraints()) or "nothing"
            sys.exit(f"pip could not install what is missing while holding {held}; its reason stands above")


def _is_needed(marker: str) -> bool:
    return "extra" not in marker or any(f'"{extra}"' in marker for extra in EXTRAS)


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    install()
