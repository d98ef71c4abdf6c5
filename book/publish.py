"""Put a built site beside the versions that were published before: /0.1/, /stable/, and what leads there.

python -m book.publish SITE       SITE: a folder with what is published now, changed in place
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from book import BUILD, BookError, Project

LEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>dl_course</title>
<meta http-equiv="refresh" content="0; url=stable/">
<link rel="canonical" href="{site}/stable/">
<p><a href="stable/">The course</a></p>
</html>
"""


def publish(built: Path, site: Path, project: Project) -> list[str]:
    """Put the built site under its version, and under "stable" where none is newer; return all names.

    A patch takes its minor version's place: 0.1.2 is published as "0.1". BookError where no site is built.
    """
    if not (built / "index.html").is_file():
        raise BookError(f"{built} holds no site; run: make book")
    site.mkdir(parents=True, exist_ok=True)
    minor = ".".join(project.version.split(".")[:2])
    _replace(built, site / minor)
    known = [path.name for path in site.iterdir() if re.fullmatch(r"\d+\.\d+", path.name)]
    numbers = sorted(known, key=_order, reverse=True)
    names = ["stable", *numbers]
    if numbers[0] == minor:
        _replace(built, site / "stable")
        for name in ("404.html", "robots.txt"):
            shutil.copy2(built / name, site / name)
    (site / "versions.json").write_text(json.dumps(names), "utf-8")
    (site / "index.html").write_text(LEAD.format(site=project.site), "utf-8")
    (site / ".nojekyll").touch()
    return names


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("."))


def _replace(built: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(built, place)


def main() -> int:
    """Publish build/book/html into the folder named."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print("published:", ", ".join(publish(BUILD / "html", Path(sys.argv[1]), Project.read())))
    except BookError as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
