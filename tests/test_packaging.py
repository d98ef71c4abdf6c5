"""What stands in two places agrees: requirements, commands, chapters, the repository's address."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dl_course.cli import _parser
from dl_course.notebooks import read

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
STATED = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
README = (ROOT / "README.md").read_text("utf-8")
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
ONLY_CONDA = {"python", "pip", "nbval"}  # nbval, of our extra dev: its pytest options stand in pyproject.toml


def bounds(lines):
    parsed = [Requirement(line) for line in lines]
    return {CONDA_NAMES.get(each.name, each.name): str(each.specifier) for each in parsed}


def conda():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    return bounds([*(each for each in listed if isinstance(each, str)), *listed[-1]["pip"]])


def test_conda_and_pip_users_get_the_same_packages_within_the_same_bounds():
    theirs = {name: bound for name, bound in conda().items() if name not in ONLY_CONDA}
    extras = PROJECT["optional-dependencies"]
    needed = [*extras["experiments"], *extras["deploy"], *extras["photos"]]
    assert theirs == bounds([*PROJECT["dependencies"], *needed])
    assert conda()["python"] == PROJECT["requires-python"]
    assert conda()["nbval"] == bounds(PROJECT["optional-dependencies"]["dev"])["nbval"]


def test_every_requirement_has_a_lower_bound_and_no_upper_one():
    assert [each for each in STATED if not re.fullmatch(r"[\w.-]+(\[\w+\])?>=[\d.]+(; .*)?", each)] == []


def test_constraints_pin_every_requirement_within_its_bounds_by_lines_of_name_and_version_alone():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[\w.]+", line)] == []
    pins = dict(line.split("==") for line in lines)
    assert len(pins) == len(lines)
    needed = [Requirement(each) for each in STATED]
    missing = {canonicalize_name(each.name) for each in needed} - pins.keys()
    assert missing == set(), "make update"
    outside = [
        str(each) for each in needed if not each.specifier.contains(pins[canonicalize_name(each.name)])
    ]
    assert outside == [], "make update"


def test_pins_leave_the_build_of_torch_open():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith(("nvidia", "cuda", "triton"))] == []
    assert [line for line in lines if "+" in line] == []


def test_every_command_that_the_readme_shows_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    verbs = set(_parser()._subparsers._group_actions[0].choices)
    fenced = re.compile(r"```sh\n(.*?)```", re.DOTALL)
    shown = [*fenced.findall(README), *re.findall(r"`[^`]+`", fenced.sub("", README))]
    made = {target for text in shown for target in re.findall(r"\bmake (\w+)", text)}
    called = {verb for text in shown for verb in re.findall(r"\bdl-course ([a-z]+)", text)}
    assert {"lab", "test"} <= made <= targets
    assert {"lab", "doctor", "reset", "progress", "build"} <= called <= verbs


def test_the_table_of_chapters_lists_each_chapter_once_in_order_with_its_link_and_title():
    rows = re.findall(r"^\| (\d\d\w?) \| \[([^\]]+)\]\(chapters/(\S+)\.ipynb\)", README, re.MULTILINE)
    assert [stem for _, _, stem in rows] == sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
    for number, title, stem in rows:
        chapter = read(ROOT / "chapters" / f"{stem}.ipynb")
        assert chapter.cells[0].source.startswith(f"# {number} · {title}")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_link_to_a_file_leads_somewhere(name):
    text = (ROOT / name).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_hosting_repository_is_named_in_pyproject_alone():
    place = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    sources = [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "environment.yml", *(ROOT / ".ci").iterdir()]
    sources += [*(ROOT / "solutions").glob("*.py"), *(ROOT / "dl_course").rglob("*.py")]
    binder = f"https://mybinder.org/v2/gh/{place}/HEAD"  # which follows it, or this fails
    assert README.count(binder) == 1
    texts = {path: path.read_text("utf-8").replace(binder, "") for path in sources}
    assert [str(path) for path, text in texts.items() if place in text] == []


def test_no_machine_and_no_absolute_path_is_named_in_what_we_wrote():
    sources = [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "environment.yml"]
    sources += [*(ROOT / "solutions").glob("*.py"), *(ROOT / "dl_course").rglob("*.py")]
    private = re.compile(r"(?<![\w.])/(work|root|home|Users)/\w")
    assert [str(path) for path in sources if private.search(path.read_text("utf-8"))] == []
