"""python -m book [html] [epub] [pdf] [serve] [links]: builds the book into build/book/."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from book import BUILD, HERE, ROOT, BookError, Project, build


def main() -> int:
    """Build what is asked for; one sentence and status 1 where something is missing."""
    makers: dict[str, Callable[[], Path]] = {
        "html": build.html, "epub": build.epub, "pdf": build.pdf, "links": build.links,
    }  # fmt: skip
    parser = argparse.ArgumentParser(prog="python -m book", description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*makers, "serve", "stage"], default="html")
    wanted = parser.parse_args().what
    try:
        for name in [wanted] if isinstance(wanted, str) else wanted:
            if name == "serve":
                return serve()
            began = time.perf_counter()
            made = build.stage(Project.read()) if name == "stage" else makers[name]()
            print(f"{made.relative_to(ROOT)}  {time.perf_counter() - began:.1f} s")
    except BookError as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    return 0


def serve() -> int:
    """Build the site anew whenever a chapter, a page or a docstring changes, and show it."""
    build.stage(Project.read())
    watched = [ROOT / name for name in ("chapters", "book", "dl_course", "benchmarks/results", "TEACHING.md")]
    options = [part for path in watched for part in ("--watch", str(path))]
    command = [sys.executable, "-m", "sphinx_autobuild", "-c", str(HERE), *options]
    command += ["--ignore", "*/node_modules/*", "--ignore", "*.pyc"]
    command += ["--pre-build", f"{sys.executable} -m book stage"]
    command += [str(BUILD / "source"), str(BUILD / "served")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
