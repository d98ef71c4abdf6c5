"""What the public host runs is sound, calls only what exists, and says what the project says."""

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from dl_course import bootstrap
from dl_course.cli import _parser

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ACTIONLINT = Path(sys.executable).with_name("actionlint")


def script(name):
    """Return a script of .github/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".github" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands():
    """Yield every line of shell in the workflows, the dev container and the hooks, with where it stands."""
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
            rows = [step["run"] for step in job["steps"] if "run" in step]
            rows += [each["command"] for each in job.get("strategy", {}).get("matrix", {}).get("include", [])]
            for line in "\n".join(rows).replace("\\\n", " ").splitlines():
                yield path.name, line.strip()
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    yield "devcontainer.json", container["postCreateCommand"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    yield from ((".pre-commit-config.yaml", hook["entry"]) for hook in hooks)


@pytest.mark.skipif(not ACTIONLINT.exists(), reason="there is no actionlint for this machine")
def test_actionlint_has_nothing_to_say():
    assert {"gpu.yml", "release.yml", "test.yml", "weekly.yml"} <= {path.name for path in WORKFLOWS}
    done = subprocess.run([ACTIONLINT, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_command_that_is_called_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    targets |= {".venv/.lab", ".venv/.test"}
    verbs = set(_parser()._subparsers._group_actions[0].choices)
    made, called, files = set(), set(), set()
    for _, line in commands():
        made |= set(re.findall(r"\bmake ([\w./-]+)", line))
        called |= set(re.findall(r"dl-course (\w+)", line))
        files |= set(re.findall(r"(?:python|bash) ([\w./-]+(?:\.py|/run))\b", line))
    assert {"test", "test-oldest", ".venv/.test"} <= made <= targets
    assert {"lab", "build"} <= called <= verbs
    assert files >= {".ci/run", "tests/run_all.py"}
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_where_there_is_no_make_the_same_is_installed():
    made = re.search(r"^COURSE_AND_TOOLS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1]
    called = "\n".join(line for _, line in commands())
    assert re.findall(r'pip install .* -e "(.*?)"', called) == [made]


def test_options_of_the_tests_command_are_known_to_it():
    known = subprocess.run(
        [sys.executable, "tests/run_all.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for _, line in commands():
        given = re.findall(r"run_all\.py (.*)", line) + re.findall(r"\bARGS=(\S+)", line)
        for option in shlex.split(" ".join(given)):
            assert option.split("=")[0] in known, line


def test_colabs_pair_is_read_from_what_its_machines_have(tmp_path):
    frozen = "numpy==2.0.2\ntorch @ https://somewhere/whl/torch-2.8.0%2Bcu126-cp312-cp312-linux_x86_64.whl\n"
    frozen += "torchao==0.10.0\ntorchvision==0.23.0+cu126\nnumpy-stl==1\n"
    pair = script("colab_pair").pair
    assert pair(frozen) == ["torch==2.8.0", "torchvision==0.23.0", "numpy==2.0.2"]
    assert set(script("colab_pair").FROZEN) == set(bootstrap.FROZEN)
    with pytest.raises(ValueError, match="no version of torchvision"):
        pair("torch==2.8.0\nnumpy==2.0.2")


def test_a_release_has_notes_for_its_own_version_alone():
    notes = script("release_notes").notes
    assert len(notes(PROJECT["version"]).splitlines()) > 3
    with pytest.raises(ValueError, match="the tag says 99"):
        notes("99.0.0")


def test_the_citation_names_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_forms_have_a_field_for_what_is_needed():
    for name, field in {"sentence": "sentence", "chapter": "doctor", "check": "answer"}.items():
        form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text("utf-8"))
        assert {"name", "description", "body"} <= form.keys()
        assert field in {part["id"] for part in form["body"]}


def test_no_test_forks_a_process_that_has_run_autograd():
    def forks(path):  # in code; an attacker's notebook, which is a text, may
        calls = [
            node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)
        ]
        return "os.fork" in {ast.unparse(each) for each in calls}

    assert [path.name for path in (ROOT / "tests").rglob("*.py") if forks(path)] == []
