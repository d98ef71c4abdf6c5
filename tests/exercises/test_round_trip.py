"""Two processes: cases are made here, answers called in a worker without checks/, and judged here again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dl_course.exercises.judging import Exercise, verdict
from dl_course.exercises.probes import sent
from dl_course.exercises.wire import dump, load

pytestmark = pytest.mark.timeout(300)  # it starts programs or trains: more than a test has otherwise

ARCHETYPES = Path(__file__).parent / "archetypes"
PACKAGE = Path(__file__).parents[2] / "dl_course"
SECRET = 20_261_121

WORKER = """
import importlib.util, sys
from pathlib import Path
from dl_course.exercises.probes import find_probe
from dl_course.exercises.probes.tools import answer_outputs
from dl_course.exercises.wire import dump, load

assert importlib.util.find_spec("dl_course.exercises.checks") is None, "a worker has no checks"
assert importlib.util.find_spec("tests") is None and not any("judging" in name for name in sys.modules)

def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(loaded := importlib.util.module_from_spec(spec))
    return loaded

module(Path("probes.py"))
names = load(Path("cases").read_bytes())
for kind in ("right", "wrong", "forged"):
    answers = module(Path(f"{kind}.py"))
    call = lambda name, case: answer_outputs(find_probe(name), getattr(answers, name), case)
    outputs = {name: [call(name, case) for case in cases] for name, cases in names.items()}
    Path(f"{kind}.outputs").write_bytes(dump(outputs))
"""


@pytest.fixture(scope="module")
def exercises():
    before = dict(Exercise.registered)
    from tests.exercises.archetypes import checks

    yield {e.name: e for e in Exercise.registered.values() if type(e).__module__ == checks.__name__}
    Exercise.registered.clear()  # so that the course's own progress doesn't list them
    Exercise.registered.update(before)


@pytest.fixture(scope="module")
def trip(exercises, tmp_path_factory):
    """Cases made here, and the outputs of right, wrong and forged answers as the worker sent them."""
    from tests.exercises.archetypes.checks import train_challenge

    folder = tmp_path_factory.mktemp("worker")
    worker_only = shutil.ignore_patterns("checks", "judging.py", "compare.py", "__pycache__", "authoring")
    shutil.copytree(PACKAGE, folder / "site" / "dl_course", ignore=worker_only)
    for file in ("probes.py", "right.py", "wrong.py", "forged.py"):
        shutil.copy(ARCHETYPES / file, folder)
    train_challenge(folder / "challenge.safetensors")
    cases = {name: exercise.seeded_cases(SECRET) for name, exercise in exercises.items()}
    (folder / "cases").write_bytes(
        dump({name: [sent(case) for case in each] for name, each in cases.items()})
    )
    # the worker sees the copy alone, not the editable install of this repository
    start = (
        "import sys; sys.path.insert(0, 'site')\n"
        "sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in repr(finder)]"
    )
    env = os.environ | {"PYTHONPATH": ""}
    subprocess.run([sys.executable, "-I", "-c", f"{start}\n{WORKER}"], cwd=folder, env=env, check=True)
    return cases, {
        kind: load((folder / f"{kind}.outputs").read_bytes()) for kind in ("right", "wrong", "forged")
    }


NAMES = ["unit_rows", "endless_batches", "RunningMean", "ResidualLinear", "one_step", "Contest"]


@pytest.mark.parametrize("name", NAMES)
def test_a_right_answer_passes_through_two_processes(name, exercises, trip):
    cases, outputs = trip
    found = verdict(exercises[name], cases[name], outputs["right"][name])
    assert found.passed, found
    assert found.share == 1


@pytest.mark.parametrize(
    ("name", "diagnosis"),
    [
        ("unit_rows", "you scaled columns"),
        ("endless_batches", "the last, short batch is lost"),
        ("RunningMean", "you averaged the batches' means"),
        ("ResidualLinear", "the skip connection is missing"),
        ("one_step", "zero_grad() is missing"),
        ("Contest", "the network can't be used"),
    ],
)
def test_a_wrong_answer_fails_through_two_processes_with_its_diagnosis(name, diagnosis, exercises, trip):
    cases, outputs = trip
    found = verdict(exercises[name], cases[name], outputs["wrong"][name])
    assert not found.passed
    assert diagnosis in found.difference.diagnosis


@pytest.mark.parametrize("name", NAMES)
def test_forged_objects_and_constants_earn_nothing(name, exercises, trip):
    cases, outputs = trip
    assert verdict(exercises[name], cases[name], outputs["forged"][name]).share == 0


@pytest.mark.parametrize("name", NAMES)
def test_outputs_recorded_in_the_notebook_earn_nothing_under_a_secret_seed(name, exercises, trip):
    exercise = exercises[name]
    secret, outputs = trip[0][name], trip[1]["right"][name]
    assert verdict(exercise, exercise.seeded_cases(0), outputs).share == 0
    assert verdict(exercise, secret, outputs).passed


def test_missing_outputs_count_as_wrong(exercises, trip):
    cases, outputs = trip
    found = verdict(exercises["unit_rows"], cases["unit_rows"], outputs["right"]["unit_rows"][:1])
    assert (found.share, found.passed) == (0.5, False)


def test_what_stays_with_the_judge_is_not_sent(exercises):
    case = exercises["Contest"].seeded_cases(0)[0]
    assert "_labels" in case
    assert sorted(sent(case)) == ["x"]
