"""Colab's first cell, as it stands in a chapter, where torch and NumPy are there and newer ones on offer."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dl_course import bootstrap
from dl_course.notebooks import read

pytestmark = pytest.mark.timeout(600)  # it starts programs or trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
STATED = [*PROJECT["dependencies"], *EXTRAS["experiments"], *EXTRAS["deploy"], *EXTRAS["photos"]]
NEEDED = [Requirement(each) for each in STATED]
LEAST = {each.name: next(iter(each.specifier)).version for each in NEEDED}
NEWEST = "999.0"
GREEDY = {"captum": "torch", "tensorboard": "numpy"}  # their newest wants a newer one of what is frozen


def false_wheel(folder, name, version, needs=""):
    """Make a wheel that holds a module without content and may need another."""
    stem = re.sub("[-_.]+", "_", name)
    info = f"{stem}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}_false.py", "")
        needed = f"Requires-Dist: {needs}\n" if needs else ""
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(
            f"{info}/RECORD", f"{stem}_false.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return folder / f"{stem}-{version}-py3-none-any.whl"


class Machine:
    """A Python of its own, without a network, with some packages already there."""

    def __init__(self, folder: Path, empty: Path, offers: Path, **there: str) -> None:
        shutil.copytree(empty, folder / "venv", symlinks=True)
        self.folder, self.offers = folder, offers
        self.site = next((folder / "venv").glob("[Ll]ib/**/site-packages"))
        (folder / "there").mkdir()
        for name, version in there.items():
            zipfile.ZipFile(false_wheel(folder / "there", name, version)).extractall(self.site)

    def python(self, *arguments: str) -> subprocess.CompletedProcess:
        own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.offers), "PIP_CONFIG_FILE": os.devnull}
        env = {
            key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHONPATH"))
        } | own
        python = next((self.folder / "venv").glob("[bS]*/python*"))
        command = [str(python), *arguments]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def versions(self) -> dict[str, str]:
        """Return what is installed, by name."""
        found = (path.name.removesuffix(".dist-info").split("-") for path in self.site.glob("*.dist-info"))
        return {name.replace("_", "-"): version for name, version in found}


@pytest.fixture(scope="module")
def offers(tmp_path_factory):
    """A folder of wheels: what the course needs at its newest, and what is older and not greedy."""
    folder = tmp_path_factory.mktemp("offers")
    for requirement in NEEDED:
        greedy = requirement.name in GREEDY
        needs = f"{GREEDY[requirement.name]}>={NEWEST}" if greedy else ""
        false_wheel(folder, requirement.name, NEWEST, needs)
        if greedy:
            false_wheel(folder, requirement.name, LEAST[requirement.name])
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A Python with pip and nothing else."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's own wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "dl_course", folder / "dl_course", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder]
    subprocess.run(build, check=True, capture_output=True)
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def cell():
    """The bootstrap cell of a chapter, installing from a given source."""
    chapter = read(next((ROOT / "chapters").glob("01_*.ipynb")))
    source = next(cell.source for cell in chapter.cells if cell.id == "bootstrap")
    return lambda place: re.sub(r'source = "git\+.*"', lambda found: f"source = {str(place)!r}", source)


@pytest.fixture(scope="module")
def colab(tmp_path_factory, empty, offers, wheel, cell):
    """A machine like Colab's on which the cell has run once, and what the cell said."""
    there = {name: LEAST[name] for name in ("torch", "torchvision", "numpy", "scipy")}
    machine = Machine(tmp_path_factory.mktemp("colab"), empty, offers, **there, pandas="0.1")
    return machine, machine.python("-c", cell(wheel))


def test_the_cell_installs_the_course_and_says_that_work_is_lost_with_the_session(colab):
    machine, said = colab
    assert said.returncode == 0, said.stderr
    assert machine.versions()["dl-course"] == PROJECT["version"]
    assert said.stdout.startswith("Installed. ") and "lost with the session" in said.stdout


def test_torch_and_numpy_stay_as_they_are_though_newer_ones_are_on_offer(colab):
    machine, _ = colab
    frozen = {name: machine.versions()[name] for name in bootstrap.FROZEN}
    assert frozen == {name: LEAST[name] for name in bootstrap.FROZEN}


def test_what_is_missing_or_too_old_is_installed_and_what_suffices_stays(colab):
    machine, _ = colab
    versions = machine.versions()
    own = {
        name: version for name, version in versions.items() if name not in ("pip", "setuptools", "dl-course")
    }
    kept = {name: LEAST[name] for name in (*bootstrap.FROZEN, "scipy", *GREEDY)}
    assert own == {name: NEWEST for name in LEAST if name != "jupyterlab"} | kept


def test_where_the_course_is_installed_the_cell_does_nothing(colab, cell):
    machine, _ = colab
    before = machine.versions()
    again = machine.python("-c", cell("/nowhere/to/install/from.whl"))
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert machine.versions() == before


def test_a_torch_that_is_too_old_stops_the_cell_and_pip_says_why(tmp_path, empty, offers, wheel, cell):
    machine = Machine(tmp_path, empty, offers, torch="1.0", torchvision=LEAST["torchvision"])
    said = machine.python("-c", cell(wheel))
    assert said.returncode != 0 and "CalledProcessError" in said.stderr
    assert f"Cannot install torch>={LEAST['torch']} because" in said.stderr and "conflict" in said.stderr
    assert machine.versions()["torch"] == "1.0" and "Installed." not in said.stdout


def test_the_wheel_carries_every_module_and_data_file_of_the_package(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("dl_course/")}
    files = (
        path for path in (ROOT / "dl_course").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}


def test_requirements_are_those_of_the_project_without_extras_and_without_the_server():
    stated = {str(Requirement(each)) for each in bootstrap.requirements()}
    assert stated == {str(each) for each in NEEDED if each.name != "jupyterlab"}


def test_the_module_needs_the_standard_library_alone():
    text = (ROOT / "dl_course" / "bootstrap.py").read_text("utf-8")
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
    assert imported <= sys.stdlib_module_names
