"""The command `dl-course`: each verb is a function here, and imports what it needs when it is called."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dl_course.files import DataUnavailable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status: 0 done, 1 not as it should be, 2 wrong usage."""
    parser = _parser()
    options, extra = parser.parse_known_args(arguments)
    if extra and options.verb is not lab:
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    options.extra = extra
    try:
        return options.verb(options)
    except (ValueError, OSError, DataUnavailable) as error:
        print(f"dl-course: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dl-course", description="The deep-learning course: open, check, build."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(function, summary: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        sub = verbs.add_parser(function.__name__, help=summary, description=summary)
        sub.set_defaults(verb=function)
        return sub

    verb(lab, "Copy missing chapters to work/ and open JupyterLab there; further options go to JupyterLab.")
    sub = verb(doctor, "Look whether everything is here that the course needs; exit status 1 if not.")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = verb(data, "List the data sets and which of them are here; download those that are named.")
    sub.add_argument("names", nargs="*", metavar="NAME", help="a data set, such as mnist")
    sub = verb(progress, "Show which exercises you have passed, and what is next.")
    sub.add_argument("chapter", nargs="?", help="a chapter's number, such as 01")
    sub = verb(
        reset, "Bring an exercise or a chapter in work/ back to how it was; your version is kept beside it."
    )
    sub.add_argument("name", help="an exercise (standardize) or a chapter (01)")
    sub = verb(build, "Build chapters/ from solutions/ (for authors).")
    sub.add_argument(
        "names", nargs="*", metavar="NAME", help="lessons, such as 01 or 01_setup; all if none is named"
    )
    sub.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if anything but outputs differs"
    )
    sub.add_argument(
        "--no-execute", action="store_true", help="keep stored outputs of unchanged cells, run nothing"
    )
    sub.add_argument("--solved", metavar="DIR", type=Path, help="write the solved notebooks to DIR instead")
    return parser


def lab(options: argparse.Namespace) -> int:
    """Open JupyterLab on the learner's copy of the first chapter."""
    from dl_course.workspace import course_root, prepare

    root = course_root()
    for path in prepare(root):
        print(f"new: {path.relative_to(root)}")
    first = min(path.name for path in (root / "work").glob("[0-9][0-9]_*.ipynb"))
    where = [f"--ServerApp.root_dir={root / 'work'}", f"--LabApp.default_url=/lab/tree/{first}"]
    command = [sys.executable, "-m", "jupyterlab", *where, *options.extra]
    return subprocess.run(command, check=False, env=os.environ | {"PYTHONHASHSEED": "0"}).returncode


def doctor(options: argparse.Namespace) -> int:
    """Print what the doctor found."""
    from dl_course.doctor import doctor as look

    health = look()
    print(health.to_json() if options.json else health)
    return 0 if health.healthy else 1


def data(options: argparse.Namespace) -> int:
    """List the data sets, or get those that are named."""
    from dl_course.data import available, load

    for name in options.names:
        print(load(name))
    if not options.names:
        print(available().to_string())
    return 0


def progress(options: argparse.Namespace) -> int:
    """Print the learner's progress."""
    from dl_course import progress as mine

    print(mine(options.chapter))
    return 0


def reset(options: argparse.Namespace) -> int:
    """Bring an exercise or a chapter back."""
    from dl_course.workspace import course_root
    from dl_course.workspace import reset as back

    print("\n".join(back(course_root(), options.name)))
    return 0


def build(options: argparse.Namespace) -> int:
    """Build, or compare, the chapters."""
    from dl_course.authoring.command import build_chapters
    from dl_course.workspace import course_root

    return build_chapters(course_root(), options.names, options.check, not options.no_execute, options.solved)


if __name__ == "__main__":
    sys.exit(main())
