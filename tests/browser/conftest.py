"""A real JupyterLab on a free port, and a real browser in front of it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # so that every cell is in the page
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}


class Lab:
    """A running JupyterLab whose files lie in `folder`."""

    def __init__(self, folder: Path, port: int, token: str) -> None:
        self.folder, self.address, self.token = folder, f"http://127.0.0.1:{port}", token

    def copy(self, chapter: str) -> str:
        """Put a chapter without outputs into the folder and return the address that opens it."""
        notebook = nbformat.read(ROOT / "chapters" / f"{chapter}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, self.folder / f"{chapter}.ipynb")
        return self._opening(f"{chapter}.ipynb")

    def holding(self, cells: dict[str, str]) -> str:
        """Put cells, sources by id, into a notebook and return the address that opens it.

        It is the same file each time, as one file has one kernel, and a kernel pays for importing torch.
        """
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
        notebook.cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in cells.items()]
        nbformat.write(notebook, self.folder / "tried.ipynb")
        return self._opening("tried.ipynb")

    def _opening(self, file: str) -> str:
        return f"{self.address}/doc/tree/{file}?token={self.token}&reset"


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    places = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "IPYTHONDIR",
    )
    own = {
        name: str(tmp_path_factory.mktemp(name.lower())) for name in (*places, "JUPYTERLAB_WORKSPACES_DIR")
    }
    for plugin, settings in SETTINGS.items():
        file = Path(own["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", f"{plugin}.jupyterlab-settings")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += [
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.port_retries=0",
        "--LabApp.expose_app_in_browser=True",
    ]
    env = os.environ | own | {"JUPYTER_TOKEN": token, "DL_COURSE_HOME": str(tmp_path_factory.mktemp("home"))}
    log = (folder.parent / "lab.log").open("w")
    server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, Path(log.name))
        yield Lab(folder, port, token)
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
    raise TimeoutError(log.read_text())


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One Chromium for the room: it starts once, and keeps JupyterLab's scripts compiled."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        try:
            yield program.new_context(viewport={"width": 1280, "height": 900})
        finally:
            program.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab of one's own."""
    tab = browser.new_page()
    yield tab
    tab.close()
