"""`dl-course doctor`: is everything here that the course needs, and what to do where it isn't."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from platformdirs import user_data_path

from dl_course.files import data_root
from dl_course.language import filled, say, titled, width

SIGNS = {"ok": "✓", "note": "·", "problem": "✗"}
NEEDED_GIB = 4


@dataclass(frozen=True)
class Item:
    """One thing that was looked at. status: ok · note (worth knowing) · problem (needed, and missing)."""

    name: str
    status: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Health:
    """What the doctor found; shows itself as text and as HTML."""

    items: tuple[Item, ...]

    @property
    def healthy(self) -> bool:
        """True where nothing that is needed is missing."""
        return all(item.status != "problem" for item in self.items)

    def to_json(self) -> str:
        """Return the items as JSON."""
        return json.dumps({"healthy": self.healthy, "items": [asdict(item) for item in self.items]}, indent=1)

    def __repr__(self) -> str:
        most = max(width(say(item.name)) for item in self.items)
        rows = []
        for item in self.items:
            rows.append(f"{SIGNS[item.status]} {filled(say(item.name), most)}  {say(item.found)}")
            rows += [f"  {'':<{most}}  {titled('fix', item.fix)}"] if item.fix else []
        end = "everything needed is here" if self.healthy else "something needed is missing: see above"
        return "\n".join([*rows, say(end)])

    def _repr_html_(self) -> str:
        cells = ((SIGNS[i.status], say(i.name), say(i.found), say(i.fix)) for i in self.items)
        rows = (
            "".join(f'<td style="text-align:left">{html.escape(text)}</td>' for text in row) for row in cells
        )
        head = "".join(
            f'<th style="text-align:left">{say(title) if title else ""}</th>'
            for title in ("", "looked at", "found", "fix")
        )
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def doctor() -> Health:
    """Look at Python, torch, device, driver, memory, Jupyter, widgets, data and write access."""
    examinations: list[Callable[[], Iterator[Item]]] = [
        _python,
        _torch,
        _memory,
        _jupyter,
        _widgets,
        _data,
        _writing,
    ]
    return Health(tuple(item for examine in examinations for item in examine()))


def _python() -> Iterator[Item]:
    found = f"{platform.python_version()}, {sys.prefix}"
    old = sys.version_info < (3, 11)
    yield Item("Python", "problem" if old else "ok", found, "install Python 3.11 or newer" if old else "")


def _torch() -> Iterator[Item]:
    missing = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        yield Item(
            "torch",
            "problem",
            f"no {' and no '.join(missing)}",
            "pip install torch torchvision (or: make lab)",
        )
        return
    import torch

    from dl_course.runtime import pick_device

    yield Item("torch", "ok", f"{torch.__version__}, torchvision {metadata.version('torchvision')}")
    device = pick_device()
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory / 2**30
        yield Item("device", "ok", f"cuda: {torch.cuda.get_device_name(device)}, {total:.0f} GiB")
    else:
        yield Item(
            "device", "ok", f"{device.type}, {torch.get_num_threads()} threads: enough for every chapter"
        )
    yield _driver(torch.version.cuda, device.type == "cuda")


def _driver(built_for: str | None, in_use: bool) -> Item:
    command = shutil.which("nvidia-smi")
    build = f"torch is built for CUDA {built_for}" if built_for else "torch is built without CUDA"
    if command is None:
        return Item("CUDA and driver", "note", f"no NVIDIA driver; {build}: the CPU is used")
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        driver = answer.stdout.strip().partition("\n")[0]
    except (OSError, subprocess.SubprocessError):
        driver = "not answering"
    if in_use:
        return Item("CUDA and driver", "ok", f"driver {driver}; {build}")
    fix = "install a torch build for your driver (README: choosing a CUDA build), or update the driver"
    return Item("CUDA and driver", "note", f"driver {driver}, but torch can't use it; {build}", fix)


def _memory() -> Iterator[Item]:
    import psutil

    total, free = (
        size / 2**30 for size in (psutil.virtual_memory().total, psutil.virtual_memory().available)
    )
    small = total < NEEDED_GIB
    fix = f"close other programs; the chapters are made for {NEEDED_GIB} GiB and more" if small else ""
    yield Item("memory", "note" if small else "ok", f"{total:.1f} GiB, {free:.1f} GiB free", fix)


def _jupyter() -> Iterator[Item]:
    if importlib.util.find_spec("jupyterlab") is None:
        yield Item("JupyterLab", "problem", "not installed", "pip install jupyterlab (or: make lab)")
        return
    from jupyter_client.kernelspec import KernelSpecManager

    specs = KernelSpecManager().get_all_specs()
    python = specs.get("python3", {}).get("spec", {}).get("argv", ["none"])[0]
    elsewhere = os.path.isabs(python) and Path(python).parent != Path(sys.executable).parent
    fix = "python -m ipykernel install --sys-prefix" if elsewhere or python == "none" else ""
    found = f"{metadata.version('jupyterlab')}, kernel python3 runs {python}"
    yield Item("JupyterLab", "note" if fix else "ok", found, fix)


def _widgets() -> Iterator[Item]:
    if importlib.util.find_spec("ipywidgets") is None:
        yield Item(
            "widgets", "problem", "ipywidgets is not installed", "pip install ipywidgets (or: make lab)"
        )
        return
    there = Path(sys.prefix, "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager").is_dir()
    fix = "" if there else "pip install --force-reinstall jupyterlab_widgets, then reload the page"
    state = (
        "its JupyterLab extension is there" if there else "no extension for JupyterLab (Colab has its own)"
    )
    yield Item(
        "widgets", "ok" if there else "note", f"ipywidgets {metadata.version('ipywidgets')}; {state}", fix
    )


def _data() -> Iterator[Item]:
    if importlib.util.find_spec("torchvision") is None:  # data/ needs it; what is missing has been said
        yield Item("data", "note", f"{data_root()}: can't be looked at without torch and torchvision")
        return
    from dl_course.data import available

    table = available()
    here = list(table.index[table["state"] == "here"])
    away = list(table.index[table["state"] != "here"])
    found = [f"{data_root()}: here: {', '.join(here)}"]
    found += [f"to be downloaded when asked for: {', '.join(away)}"] if away else []
    yield Item("data", "ok", "; ".join(found))


def _writing() -> Iterator[Item]:
    # As in exercises/progress_file.py, which can't be imported where torch is missing.
    home = Path(os.environ.get("DL_COURSE_HOME") or user_data_path("dl_course"))
    for name, folder, variable in (
        ("write: this folder", Path.cwd(), "start Jupyter in a folder of your own"),
        ("write: progress", home, "set DL_COURSE_HOME to a folder that you may write to"),
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Item(name, "problem", f"{folder}: {error.strerror}", variable)
        else:
            yield Item(name, "ok", str(folder))
