"""What `dl-course grade` does: every submission of a folder, judged, with marks and feedback written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pandas as pd

from dl_course.exercises.checks import add_private, all_exercises
from dl_course.exercises.judging import Exercise
from dl_course.grading import lms, sandbox
from dl_course.grading import results as store
from dl_course.grading.analytics import first_passes
from dl_course.grading.cage import Cage, Unenclosed
from dl_course.grading.desk import (
    Desk,
    hand_back,
    opened,
    read_decisions,
    with_decisions,
    with_lateness,
)  # fmt: skip
from dl_course.grading.feedback import class_page, student_page
from dl_course.grading.judge import grade_submission, ungraded
from dl_course.grading.names import file_name, identity, printable, visible
from dl_course.grading.submissions import Submission, find_submissions, usual_chapter

_log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()  # a process has one cage, and the world's random numbers
_cages: dict[tuple[int, Path | None], Cage] = {}


def grade(
    submissions: str | Path, out: str | Path, *, chapter: str | None = None, seed: str | int | None = None,
    jobs: int = 1, timeout: float = 60.0, memory: str = "2G", private: str | Path | None = None,
    roster: str | Path | None = None, manual: Mapping[str, float] | None = None, dask: str | None = None,
    require_sandbox: bool = False, desk: Desk | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Judge every submission; write results/, feedback/, grades.csv and overview.html; return the grades.

    submissions: a folder, an entry for each student: a notebook, or a folder with it and saved files; or the
    ZIP that Canvas, Moodle or Google Classroom hands out · chapter: "04"; None: as the notebooks are named ·
    seed: secret, what the hidden inputs are made from; None: drawn once, kept in out/seed.txt · timeout:
    seconds for a notebook · memory: most for a worker ("2G") · private: a folder with your own
    checks/chNN.py and probes/chNN.py · roster: a CSV of all students · manual: parts that you mark yourself,
    by their points; out/manual.csv is the sheet · dask: the address of a Dask scheduler · require_sandbox:
    OSError where workers can't be enclosed · desk: which exercises count, their points, late work, a
    platform's form.
    What is done already is not done again, as long as files, checks and seed are the same.
    """
    desk = desk or Desk()
    late = desk.rule()
    times = desk.handed_in()
    if not timeout > 0:
        raise ValueError(f"timeout is a number of seconds above 0; given: {timeout:g}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    desk = replace(desk, extensions=_whole(desk.extensions) or "", times=_whole(desk.times) or "")
    settings: dict[str, Any] = {
        "submissions": _whole(submissions), "chapter": chapter, "seed": seed, "jobs": jobs,
        "timeout": timeout,
        "memory": memory, "private": _whole(private), "roster": _whole(roster),
        "manual": dict(manual or {}), "dask": dask, "require_sandbox": require_sandbox,
    }  # fmt: skip
    with opened(Path(submissions)) as (folder, _, known):
        found = find_submissions(folder)
        whose = {each.student: known[each.path.name] for each in found if each.path.name in known}
        if desk.format:
            lms.marks_for(desk.format, [{"student": name, **_NO_MARK} for name in whose], whose, "")
        results = _judge_all(found, out, desk, **settings)
        if late:
            results = with_lateness(results, found, known, late, times)
            for name in sorted({*late.extensions, *times} - {each.key for each in found}):
                _log.warning("A time is given for '%s', as whom nobody handed in", printable(name, 60))
        passes = first_passes(found, results[0]["chapter"]) if results else {}
    for result in results:
        who = whose.get(result["student"])
        result["note"] = "; ".join(filter(None, [result["note"], *(who.problems if who else ())]))
    store.write_whole(out / "settings.json", json.dumps(settings | {"desk": asdict(desk)}, indent=1))
    os.chmod(out / "settings.json", 0o600)  # the seed may stand in it
    return _write(with_decisions(results, read_decisions(out)), out, found, manual or {}, whose, desk, passes)


def _whole(path: str | Path | None) -> str | None:
    """Return a path that a later run finds from any folder."""
    return str(Path(path).resolve()) if path else None


_NO_MARK = {"points": 0.0, "of": 0.0, "note": ""}


def _judge_all(
    found: Sequence[Submission], out: Path, desk: Desk, *, chapter: str | None, seed: str | int | None,
    jobs: int, timeout: float, memory: str, private: str | None, roster: str | None, dask: str | None,
    require_sandbox: bool, **_rest: Any,
) -> list[store.Result]:  # fmt: skip
    """Return the result of every submission, and of everyone in the roster who handed in nothing."""
    chapter = chapter or usual_chapter(found)
    checks = Path(private).resolve() if private else None
    exercises = desk.exercises(chosen(chapter, checks))
    number = _number(str(seed) if seed is not None else _kept_seed(out / "seed.txt"))
    named = store.read_roster(Path(roster)) if roster else []
    if not found and not named:
        raise ValueError("nothing was handed in there: a notebook or a folder for each student is expected")
    worth = {each.name: each.points for each in exercises}
    rules = (chapter, checks, worth, number, timeout, _bytes(memory), require_sandbox)
    work = [(each, out / "results" / f"{file_name(each.student)}.json", *rules) for each in found]
    results = _in_parallel(work, jobs, dask)
    results += [
        ungraded(visible(student), chapter, exercises, "nothing was handed in")
        for student in named
        if identity(student) not in {each.key for each in found}
    ]
    listed = {identity(each) for each in named}
    strangers = {each.student for each in found if roster and each.key not in listed}
    return [_noted(each, "not in the roster") if each["student"] in strangers else each for each in results]


def _write(
    results: list[store.Result], out: Path, found: Sequence[Submission], manual: Mapping[str, float],
    whose: Mapping[str, lms.HandedIn], desk: Desk, passes: Mapping[str, Sequence[datetime]],
) -> pd.DataFrame:  # fmt: skip
    students = [result["student"] for result in results]
    marks = store.manual_marks(out / "manual.csv", manual, students) if manual else {}
    table = store.grades(results, marks)
    table["of"] += sum(manual.values())
    pages = {each.student: out / "feedback" / f"{file_name(each.student)}.html" for each in found}
    for result in results:
        if result["student"] in pages:
            store.write_whole(pages[result["student"]], student_page(result))
    store.write_whole(out / "grades.csv", store.table_as_csv(table))
    store.write_whole(out / "overview.html", class_page(results, passes))
    if desk.format:
        hand_back(out, table, pages, whose, desk)
    return table


def chosen(chapter: str, private: Path | None) -> list[Exercise]:
    """Return the exercises of a chapter, an instructor's own among them; ValueError where it has none."""
    if private:
        add_private(private)
    exercises = all_exercises().values()
    found = [each for each in exercises if each.chapter == chapter]
    if not found:
        known = ", ".join(sorted({each.chapter for each in exercises}))
        raise ValueError(f"no exercises in chapter '{chapter}'; there are chapters {known}")
    return found


def _in_parallel(work: Sequence[tuple[Any, ...]], jobs: int, dask: str | None) -> list[store.Result]:
    if jobs == 1 and dask is None:
        try:
            return [_result(*each) for each in work]
        finally:
            _close_cages()
    if dask is None and work:  # says what workers will run in, before any does
        *_, memory, require_sandbox = work[0]
        _enclosed(_cage(memory, work[0][3]), require_sandbox)
        _close_cages()
    try:
        import joblib
        from joblib.externals.loky import get_reusable_executor
    except ImportError as error:
        raise OSError('several jobs need joblib: pip install "dl-course[grading]"') from error
    with _backend(dask):
        results = joblib.Parallel(n_jobs=-1 if dask else jobs)(
            joblib.delayed(_result)(*each) for each in work
        )
    if dask is None:
        get_reusable_executor().shutdown(wait=True)
    return list(results)


@contextlib.contextmanager
def _backend(dask: str | None) -> Iterator[None]:
    """Send joblib's work to a Dask cluster, where an address is given."""
    if dask is None:
        yield
        return
    try:
        import joblib
        from distributed import Client
    except ImportError as error:
        raise OSError('a Dask cluster needs distributed: pip install "dl-course[grading]"') from error
    with Client(dask) as client, joblib.parallel_config(backend="dask"):
        yield
        client.run(_close_cages)


def _result(
    submission: Submission, path: Path, chapter: str, private: Path | None, worth: Mapping[str, float],
    seed: int, timeout: float, memory: int, require_sandbox: bool,
) -> store.Result:  # fmt: skip
    """Judge one submission and store the result; return the stored one where it still holds.

    Whatever goes wrong here, also in our own code, is this student's row with a note; the run goes on.
    """
    exercises = Desk(tuple(worth), worth).exercises(chosen(chapter, private))
    with _one_at_a_time:
        try:
            mark = store.fingerprint(submission, chapter, exercises, seed)
            old = store.read_result(path, submission.student)
            if old and old.get("fingerprint") == mark:
                return old
            cage = _enclosed(_cage(memory, private), require_sandbox)
            new = _judged(submission, exercises, chapter, seed, cage, timeout)
            new = _noted(store.with_changes(new, old), submission.note) | {"fingerprint": mark}
            store.write_whole(path, json.dumps(new, indent=1))
        except Unenclosed:
            raise
        except Exception as error:
            _log.exception("%s: the grader failed; the others are graded", submission.student)
            why = f"the grader failed here ({type(error).__name__}), not the student: mark this one by hand"
            return ungraded(submission.student, chapter, exercises, why)
        return new


def _judged(
    submission: Submission, exercises: Sequence[Exercise], chapter: str, seed: int, cage: Cage, timeout: float
) -> store.Result:
    try:
        return grade_submission(submission, exercises, chapter, seed, cage, timeout)
    except OSError as error:  # without namespaces, a worker can end the zygote; the next student gets another
        _log.warning("%s: %s", submission.student, printable(error))
        _close_cages()
        return ungraded(submission.student, chapter, exercises, "its code ended the process above its own")


def _noted(result: store.Result, note: str) -> store.Result:
    return result | {"note": "; ".join(each for each in (result["note"], note) if each)}


def _enclosed(cage: Cage, required: bool) -> Cage:
    if required and cage.isolation != sandbox.NAMESPACES:
        raise Unenclosed(f"no sandbox here, only {cage.isolation}: allow user namespaces, or grade as root")
    return cage


def _cage(memory: int, private: Path | None) -> Cage:
    if (memory, private) not in _cages:
        _cages[memory, private] = cage = Cage(memory, private)
        if cage.isolation == sandbox.GROUP and os.getuid() == 0:
            _close_cages()
            raise Unenclosed(
                "students' code must not run as root: grade as another user, or allow namespaces"
            )
        _log.info("Submissions run in: %s", cage.isolation)
    return _cages[memory, private]


def _close_cages() -> None:
    while _cages:
        _cages.popitem()[1].close()


Finalize(None, _close_cages, exitpriority=0)  # at the end of joblib's processes too, where atexit is not run


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") >> 1


def _kept_seed(path: Path) -> str:
    if not path.exists():
        store.write_whole(path, secrets.token_hex(16))
        os.chmod(path, 0o600)
    return path.read_text("utf-8").strip()


def _bytes(memory: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([MG])", memory.strip().upper())
    if not found:
        raise ValueError(f"memory '{memory}' is no amount: write 500M or 2G")
    return int(float(found[1]) * {"M": 2**20, "G": 2**30}[found[2]])
