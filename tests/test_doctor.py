"""The doctor: whatever is missing is found, with its fix, and nothing makes the doctor itself fall ill."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dl_course import doctor as module
from dl_course.data import available
from dl_course.doctor import Health, Item, doctor
from dl_course.exercises.progress_file import progress


def item(health, name):
    return next(each for each in health.items if each.name == name)


def without(monkeypatch, *names):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else found(name))


def nvidia_smi(folder, monkeypatch, script):
    """Put a false nvidia-smi on the PATH."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_everything_that_is_looked_at_has_a_row(home):
    assert [each.name for each in doctor().items] == [
        "Python",
        "torch",
        "device",
        "CUDA and driver",
        "memory",
        "JupyterLab",
        "widgets",
        "data",
        "write: this folder",
        "write: progress",
    ]


def test_a_problem_makes_ill_and_what_is_worth_knowing_does_not():
    assert Health((Item("a", "ok", ""), Item("b", "note", "", "fix it"))).healthy
    assert not Health((Item("a", "ok", ""), Item("b", "problem", "", "fix it"))).healthy


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_a_missing_torch_is_a_problem_with_its_fix(monkeypatch, home, name):
    without(monkeypatch, name)
    health = doctor()
    assert item(health, "torch") == Item(
        "torch", "problem", f"no {name}", "pip install torch torchvision (or: make lab)"
    )
    assert not health.healthy


def test_the_command_itself_works_where_torch_and_jupyterlab_cannot_be_imported(home):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'jupyterlab', 'ipywidgets']));"
        "from dl_course.cli import main; sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    problems = {each["name"] for each in json.loads(done.stdout)["items"] if each["status"] == "problem"}
    assert problems == {"torch", "JupyterLab", "widgets"}


@pytest.mark.parametrize(("package", "row"), [("jupyterlab", "JupyterLab"), ("ipywidgets", "widgets")])
def test_a_missing_jupyterlab_or_ipywidgets_is_a_problem_with_its_fix(monkeypatch, home, package, row):
    without(monkeypatch, package)
    found = item(doctor(), row)
    assert found.status == "problem" and found.fix == f"pip install {package} (or: make lab)"


def test_widgets_without_their_extension_are_worth_knowing(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (found,) = module._widgets()
    assert found.status == "note" and "no extension" in found.found and "jupyterlab_widgets" in found.fix


def test_an_old_python_is_a_problem_with_its_fix(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    (found,) = module._python()
    assert (found.status, found.fix) == ("problem", "install Python 3.11 or newer")


def test_little_memory_is_worth_knowing(monkeypatch):
    import psutil

    size = SimpleNamespace(total=2 * 2**30, available=2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: size)
    (found,) = module._memory()
    assert (found.status, found.found) == ("note", "2.0 GiB, 1.0 GiB free") and "4 GiB" in found.fix


def test_a_folder_that_cannot_be_written_is_a_problem_with_its_fix(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "file"))
    health = doctor()
    assert item(health, "write: progress").status == "problem" and not health.healthy
    assert "DL_COURSE_HOME" in item(health, "write: progress").fix
    assert item(health, "write: this folder").status == "ok"


def test_looking_leaves_no_file_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    doctor()
    assert list(tmp_path.rglob("*")) == [tmp_path / "home"]


@pytest.mark.parametrize("home_is_set", [True, False])
def test_the_doctor_looks_where_progress_is_kept(monkeypatch, tmp_path, home_is_set):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("DL_COURSE_HOME", str(tmp_path / "mine") if home_is_set else "")
    assert item(doctor(), "write: progress").found == str(progress.path.parent)


def test_without_a_driver_the_cpu_is_used_and_nothing_is_to_be_done(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = module._driver(None, in_use=False)
    assert (found.status, found.fix) == ("note", "")
    assert found.found == "no NVIDIA driver; torch is built without CUDA: the CPU is used"


@pytest.mark.posix
@pytest.mark.parametrize(
    ("built_for", "said"), [(None, "torch is built without CUDA"), ("12.6", "torch is built for CUDA 12.6")]
)
def test_a_driver_that_torch_cannot_use_is_named_with_the_fix(monkeypatch, tmp_path, built_for, said):
    nvidia_smi(tmp_path, monkeypatch, "echo 550.54.14; echo 550.54.14")
    found = module._driver(built_for, in_use=False)
    assert found.found == f"driver 550.54.14, but torch can't use it; {said}"
    assert found.status == "note" and "choosing a CUDA build" in found.fix


@pytest.mark.posix
def test_a_driver_in_use_is_fine(monkeypatch, tmp_path):
    nvidia_smi(tmp_path, monkeypatch, "echo 550.54.14")
    found = module._driver("12.6", in_use=True)
    assert (found.status, found.fix) == ("ok", "")


@pytest.mark.posix
@pytest.mark.parametrize(
    "script", ["echo NVIDIA-SMI has failed because it could not; exit 9", "exec /nowhere"]
)
def test_a_driver_that_does_not_answer_is_said_to(monkeypatch, tmp_path, script):
    nvidia_smi(tmp_path, monkeypatch, script)
    assert module._driver("12.6", in_use=False).found.startswith("driver not answering, but")


@pytest.mark.posix
def test_a_driver_that_hangs_does_not_stop_the_doctor(monkeypatch, tmp_path):
    nvidia_smi(tmp_path, monkeypatch, "")

    def hang(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("nvidia-smi", timeout)

    monkeypatch.setattr(module.subprocess, "run", hang)
    assert "not answering" in module._driver("12.6", in_use=False).found


def kernel(monkeypatch, argv):
    specs = {"python3": {"spec": {"argv": argv}}} if argv else {}
    manager = SimpleNamespace(get_all_specs=lambda: specs)
    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager", lambda: manager)
    (found,) = module._jupyter()
    return found


def test_a_kernel_of_another_environment_is_named_though_both_have_the_same_python(monkeypatch, tmp_path):
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.symlink_to(Path(sys.executable).resolve())
    found = kernel(monkeypatch, [str(other), "-m", "ipykernel_launcher"])
    assert found.status == "note" and str(other) in found.found
    assert found.fix == "python -m ipykernel install --sys-prefix"


@pytest.mark.parametrize("python", ["python", sys.executable, str(Path(sys.executable).with_name("python3"))])
def test_a_kernel_of_this_environment_is_fine(monkeypatch, python):
    assert kernel(monkeypatch, [python]).status == "ok"


def test_a_missing_kernel_is_worth_knowing(monkeypatch):
    assert kernel(monkeypatch, None).fix


def test_the_doctor_says_of_the_data_what_the_table_of_data_sets_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_COURSE_DATA", str(tmp_path))
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / ".train.lock").touch()  # which is no data set
    table = available()
    item = next(module._data())
    here, _, away = item.found.partition("; to be downloaded when asked for: ")
    assert item.status == "ok" and here.startswith(f"{tmp_path}: here: ")
    assert here.rpartition(": ")[2].split(", ") == list(table.index[table["state"] == "here"])
    assert away.split(", ") == list(table.index[table["state"] != "here"])
    assert "mnist" in away.split(", ")


def test_health_shows_itself_as_text_html_and_json():
    health = Health((Item("a", "ok", "x < y"), Item("long name", "problem", "gone", "pip install <it>")))
    assert repr(health).splitlines() == [
        "✓ a          x < y",
        "✗ long name  gone",
        "             fix: pip install <it>",
        "something needed is missing: see above",
    ]
    assert "x &lt; y" in health._repr_html_() and "&lt;it&gt;" in health._repr_html_()
    assert json.loads(health.to_json())["items"][1]["fix"] == "pip install <it>"
    assert "everything needed is here" in repr(Health((Item("a", "ok", ""),)))
