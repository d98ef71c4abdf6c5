"""The command `dl-course`: each verb is a function here, and imports what it needs when it is called."""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dl_course.files import DataUnavailable
from dl_course.language import chosen, named


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status: 0 done, 1 not as it should be, 2 wrong usage."""
    parser = _parser()
    options, extra = parser.parse_known_args(arguments)
    if extra and options.verb not in (lab, train):
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    options.extra = extra
    try:
        return options.verb(options)
    except (ValueError, OSError, ImportError, DataUnavailable) as error:
        print(f"dl-course: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dl-course", description="The deep-learning course: open, check, build.", allow_abbrev=False
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(function, summary: str, **how: bool) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
        how["allow_abbrev"] = False
        sub = verbs.add_parser(function.__name__, help=summary, description=summary, **how)  # type: ignore
        sub.set_defaults(verb=function)
        return sub

    sub = verb(lab, "Copy missing chapters to work/ and open JupyterLab; further options go to JupyterLab.")
    sub.add_argument("--prepare-only", action="store_true", help="copy the chapters, open nothing")
    sub.add_argument(
        "--language", metavar="CODE", help="of the chapters, such as zh_CN; else DL_COURSE_LANGUAGE"
    )
    sub = verb(doctor, "Look whether everything is here that the course needs; exit status 1 if not.")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub = verb(data, "List the data sets and which of them are here; download those that are named.")
    sub.add_argument("names", nargs="*", metavar="NAME", help="a data set, such as mnist")
    sub = verb(checkup, "Look for what is wrong with a training set-up; exit status 1 if anything is.")
    sub.add_argument("target", metavar="MODULE:FUNCTION", help="returns a dict of checkup's arguments")
    sub.add_argument(
        "--format", default="text", choices=("text", "json", "sarif"), help="of the report (text)"
    )
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
    sub = verb(translate, "Show how far a translation is; bring it up to date, check it, look at it.")
    sub.add_argument("names", nargs="*", metavar="NAME", help="01 or 01_setup, README, dl_course; else all")
    sub.add_argument("--language", metavar="CODE", default="zh_CN", help="zh_CN")
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--update", action="store_true", help="add new messages, mark changed ones as fuzzy")
    how.add_argument("--check", action="store_true", help="exit status 1 if anything is missing or wrong")
    how.add_argument("--out", metavar="DIR", type=Path, help="write the translated notebooks to DIR")
    verb(train, "Train as --config FILE says; --training.epochs 3 and the like override it.", add_help=False)
    sub = verb(evaluate, "Print a run's figures on pictures that it was not trained on, and keep them there.")
    sub.add_argument("run", metavar="RUN", help="a run's folder")
    sub.add_argument(
        "--split", default="test", choices=("train", "val", "test"), help="which pictures (test)"
    )
    sub = verb(compare, "Print a table of runs, their spread over seeds, and whether it could be luck.")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder")
    sub.add_argument("--metric", default="val_accuracy", help="a final figure (val_accuracy)")
    sub.add_argument(
        "--plot", metavar="FILE", type=Path, help="draw it, too, into a picture such as seeds.png"
    )
    sub = verb(release, "Write a chapter as an assignment, without solutions, marked up for nbgrader too.")
    sub.add_argument("chapter", help="a chapter, such as 04 or 04_training")
    sub.add_argument("-o", "--out", metavar="DIR", type=Path, required=True, help="the folder to write to")
    sub.add_argument("--exercises", nargs="+", default=[], metavar="NAME", help="those to grade; else all")
    sub.add_argument("--points", nargs="+", default=[], metavar="NAME=N", help="what they are worth")
    sub.add_argument("--private", metavar="DIR", type=Path, help="your own checks and probes, as for grade")
    sub = verb(serve, "Serve a trained network over HTTP, with a page to try it; Ctrl-C or SIGTERM stops it.")
    sub.add_argument("model", metavar="MODEL", type=Path, help="a file of to_onnx or of Predictor.save")
    sub.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1: this machine alone)")
    sub.add_argument("--port", type=int, default=8000, help="8000; 0: any that is free")
    grading = verb(grade, "Judge a folder of submissions; write marks and feedback (for instructors).")
    grading.add_argument("submissions", metavar="SUBMISSIONS", help="a notebook or a folder for each student")
    grading.add_argument("-o", dest="out", metavar="RESULTS", required=True, help="where results go")
    for name, meaning in _GRADING.items():
        grading.add_argument(f"--{name}", help=meaning)
    grading.add_argument("--jobs", type=int, default=1, help="notebooks at the same time")
    grading.add_argument("--timeout", type=float, default=60.0, help="seconds for a notebook (60)")
    grading.add_argument("--memory", default="2G", help="most memory for a notebook (2G)")
    grading.add_argument("--manual", action="append", default=[], metavar="PART=POINTS", help="marked by you")
    grading.add_argument("--require-sandbox", action="store_true", help="refuse where it can't be enclosed")
    for name, (kind, meaning) in _DESK.items():
        grading.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=meaning)
    for name, meaning in {
        "exercises NAME": "those that count; else all",
        "points NAME=N": "their worth",
    }.items():
        option, _, shown = name.partition(" ")
        grading.add_argument(f"--{option}", nargs="+", default=[], metavar=shown, help=meaning)
    _add_after_grading(verb)
    return parser


def _add_after_grading(verb: Callable[..., argparse.ArgumentParser]) -> None:
    sub = verb(regrade, "Answer a regrade request: judge an answer again, or give its mark; keep the reason.")
    sub.add_argument("student", help="as in grades.csv")
    sub.add_argument("-o", dest="out", metavar="RESULTS", required=True, help="where grade put its results")
    sub.add_argument("--exercise", required=True, metavar="NAME", help="which answer")
    sub.add_argument("--because", required=True, metavar="TEXT", help="the reason, for the student to read")
    sub.add_argument(
        "--points", type=float, metavar="N", help="the new mark, by hand; else it's judged again"
    )
    sub = verb(similar, "List pairs of answers that read alike, to look at: no verdict.")
    sub.add_argument("submissions", metavar="SUBMISSIONS", type=Path, help="as for grade")
    sub.add_argument(
        "-o", dest="out", metavar="FILE", type=Path, required=True, help="a page, such as alike.html"
    )
    sub.add_argument("--chapter", help="its number, such as 04; else as the notebooks are named")
    sub.add_argument("--private", metavar="DIR", type=Path, help="your own checks and probes, as for grade")
    sub.add_argument("--share", type=float, default=0.6, help="of the shorter answer that both have (0.6)")
    sub = verb(certificate, "Sign a statement of what a student's answers passed, or make the key for it.")
    sub.add_argument("result", nargs="?", type=Path, metavar="RESULT", help="RESULTS/results/STUDENT.json")
    sub.add_argument("--sign", metavar="KEY", type=Path, help="your private key")
    sub.add_argument("--issuer", default="", metavar="TEXT", help="who signs: the course, the school")
    sub.add_argument("-o", dest="out", metavar="FILE", type=Path, help="where to write it; else it's printed")
    sub.add_argument("--new-key", metavar="FILE", type=Path, help="make a key pair: FILE and FILE.pub")
    sub = verb(verify, "Say whether a signed statement is genuine; needs no network.")
    sub.add_argument("file", metavar="FILE", type=Path, help="the statement")
    sub.add_argument("--key", metavar="PUB", type=Path, required=True, help="the issuer's public key")


_DESK: dict[str, tuple[Callable[[str], Any], str]] = {
    "due": (str, "when it was due: '2026-11-29 23:59'"),
    "late": (float, "percent of the points for each late day begun (10)"),
    "grace": (float, "minutes that cost nothing (0)"),
    "late-most": (float, "percent that lateness can cost (100)"),
    "extensions": (str, "a CSV of student and due: other times for some"),
    "times": (str, "a CSV of student and time: when they handed in, if the files don't say"),
    "format": (str, "canvas or moodle: write marks and feedback in its form, too"),
    "assignment": (str, "the assignment's name there"),
}


_GRADING = {
    "chapter": "its number, such as 04; else as the notebooks are named",
    "seed": "what the hidden inputs are made from; else one is drawn, and kept in RESULTS/seed.txt",
    "private": "a folder with your own checks/chNN.py and probes/chNN.py",
    "roster": "a CSV of all students, to see who is missing",
    "dask": "the address of a Dask scheduler, to grade on many machines",
}


def lab(options: argparse.Namespace) -> int:
    """Open JupyterLab on the learner's copy of the first chapter."""
    from dl_course.workspace import course_root, prepare

    root = course_root()
    language = named(options.language, strict=True) if options.language else chosen()
    for line in prepare(root, language):
        print(line)
    if options.prepare_only:
        return 0
    first = min(path.name for path in (root / "work").glob("[0-9][0-9]_*.ipynb"))
    where = [f"--ServerApp.root_dir={root / 'work'}", f"--LabApp.default_url=/lab/tree/{first}"]
    command = [sys.executable, "-m", "jupyterlab", *where, *options.extra]
    env = os.environ | {"PYTHONHASHSEED": "0", "DL_COURSE_LANGUAGE": language}
    return subprocess.run(command, check=False, env=env).returncode


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
        table = available()
        width = max(map(len, table.index))
        for name, state, what in zip(table.index, table["state"], table["what"], strict=True):
            print(f"{name:<{width}}  {state:<16}  {what}")
    return 0


def checkup(options: argparse.Namespace) -> int:
    """Print what is wrong: 0 for nothing, 1 for a warning or an error, 2 where it could not be judged."""
    from dl_course.diagnostics import checkup as look

    accepted = inspect.signature(look)
    sys.path.insert(0, os.getcwd())
    try:
        function = pkgutil.resolve_name(options.target)
        given = accepted.bind(**function()).arguments
    except Exception as error:  # of a stranger's module: it is not a finding
        form = f"MODULE:FUNCTION, a function that returns a dict of {', '.join(accepted.parameters)}"
        why = f"given '{options.target}': {type(error).__name__}: {error}"
        print(f"dl-course: {why}; expected {form}, such as train:parts", file=sys.stderr)
        return 2
    report = look(**given)
    if options.format == "sarif":
        print(report.to_sarif(os.path.relpath(inspect.getsourcefile(function) or "")))
    else:
        print(report.to_json() if options.format == "json" else report)
    if report.healthy and report.unread:
        print(f"dl-course: not judged: {report.unread}", file=sys.stderr)
        return 2
    return 0 if report.healthy else 1


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


def translate(options: argparse.Namespace) -> int:
    """Update, check, or look at translations of the chapters."""
    from dl_course.authoring import translate as work
    from dl_course.workspace import course_root

    given = course_root(), options.names, named(options.language, strict=True)
    if options.check:
        wrong = work.check(*given)
        print("\n".join(wrong or ["nothing is missing or wrong"]))
        return 1 if wrong else 0
    if options.out:
        print(*work.render(*given, options.out), sep="\n")
    else:
        print("\n".join((work.update if options.update else work.state)(*given)))
    return 0


def train(options: argparse.Namespace) -> int:
    """Train as the rest of the line says."""
    from dl_course.experiments.running import from_arguments

    print(from_arguments(options.extra))
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Evaluate a run."""
    from dl_course.experiments import Run
    from dl_course.experiments import evaluate as found

    print(found(Run(options.run), options.split))
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare runs, in words and in a picture."""
    from dl_course.experiments import Run, draw_seeds, figures, report

    runs = [Run(folder) for folder in options.runs]
    print(report(runs, options.metric))
    if options.plot:
        draw_seeds(figures(runs, options.metric)).figure.savefig(options.plot)  # type: ignore[union-attr]
    return 0


def release(options: argparse.Namespace) -> int:
    """Write an assignment."""
    from dl_course.authoring.release import parsed_points, release
    from dl_course.workspace import course_root

    points = parsed_points(options.points)
    chosen = options.chapter, options.out, options.exercises, points, options.private
    print(release(course_root(), *chosen))
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve a network until stopped; a line of JSON for each request goes to stderr."""
    from dl_course.deploy import serve as run

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(options.model, options.host, options.port)
    return 0


def grade(options: argparse.Namespace) -> int:
    """Judge a folder of submissions and print the grades; what isolates them is said first, on stderr."""
    from dl_course.authoring.release import parsed_points
    from dl_course.grading.command import grade as judge
    from dl_course.grading.desk import Desk

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = {name: value for name, value in vars(options).items() if name not in ("verb", "extra")}
    manual = parsed_points(given.pop("manual"))
    points = parsed_points(given.pop("points"))
    desk = {name.replace("-", "_"): given.pop(name.replace("-", "_"), None) for name in _DESK}
    set_by_hand = {name: value for name, value in desk.items() if value is not None}
    made = Desk(only=given.pop("exercises"), points=points, **set_by_hand)
    print(judge(**given, manual=manual, desk=made).to_string())
    return 0


def regrade(options: argparse.Namespace) -> int:
    """Answer a regrade request and print the grades."""
    from dl_course.grading.regrade import regrade as answer

    how = {"exercise": options.exercise, "because": options.because, "points": options.points}
    print(answer(options.student, options.out, **how).to_string())
    return 0


def similar(options: argparse.Namespace) -> int:
    """Write the page of answers that read alike; say who couldn't be compared."""
    from dl_course.grading.similarity import compare

    pairs, unread = compare(options.submissions, options.out, options.chapter, options.private, options.share)
    print(f"{pairs} pairs to look at: {options.out}")
    for student, why in unread.items():
        print(f"not compared: {student}: {why}", file=sys.stderr)
    return 0


def certificate(options: argparse.Namespace) -> int:
    """Make a key pair, or sign a statement."""
    from dl_course.grading.certificate import certificate as signed
    from dl_course.grading.certificate import keys
    from dl_course.grading.results import read_result, write_whole

    if options.new_key:
        print(f"keep {options.new_key} to yourself; give away {keys(options.new_key)}")
        return 0
    if not (options.result and options.sign):
        raise ValueError("a statement needs a RESULT and --sign KEY; --new-key FILE makes a key")
    result = read_result(options.result)
    if result is None:
        raise ValueError(f"'{options.result}' is no result of the judge: give RESULTS/results/STUDENT.json")
    text = json.dumps(signed(result, options.sign, options.issuer), indent=1, ensure_ascii=False)
    if options.out:
        write_whole(options.out, f"{text}\n")
    print(options.out or text)
    return 0


def verify(options: argparse.Namespace) -> int:
    """Print what a genuine statement says; ValueError where it isn't."""
    from dl_course.grading.certificate import verify as verified

    said = verified(options.file.read_text("utf-8", "replace"), options.key)
    points = f"{said['points']:g} of {said['of']:g} points"
    print(f"genuine: {said['student']}, chapter {said['chapter']}: {points}")
    print(f"passed: {', '.join(said['passed']) or 'nothing'}")
    print(f"signed by {said['issuer'] or 'somebody without a name'}, {said['date']}\n{said['attests']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
