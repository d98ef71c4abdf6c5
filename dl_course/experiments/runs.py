"""Runs: a folder for each training, with all that is needed to know what was done and to do it again."""

import hashlib
import importlib.metadata
import json
import logging
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from dl_course.data import Pictures
from dl_course.experiments.build import build_model
from dl_course.experiments.config import ExperimentConfig
from dl_course.experiments.reading import load_config, save_config
from dl_course.files import atomic
from dl_course.training import load

PACKAGES = ("torchvision", "numpy", "scikit-learn")


class Run:
    """A run's folder: config.yaml, about.json, history.csv, latest.pt, best.pt, metrics.json, tensorboard/.

    FileNotFoundError for a folder that is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "about.json").is_file():
            raise FileNotFoundError(f"'{folder}' is no run: it holds no about.json")
        self.config = load_config(self.folder / "config.yaml")

    @property
    def about(self) -> dict[str, Any]:
        """What it was made from: git revision, data and their checksum, versions, device, processes."""
        return json.loads((self.folder / "about.json").read_text("utf-8"))

    @property
    def history(self) -> pd.DataFrame:
        """The table of epochs, as ``training.History`` has it; empty before the first is done."""
        file = self.folder / "history.csv"
        return pd.read_csv(file) if file.is_file() else pd.DataFrame()

    @property
    def metrics(self) -> dict[str, float]:
        """The last epoch's figures, and the best one's; {} until it is finished."""
        file = self.folder / "metrics.json"
        return json.loads(file.read_text("utf-8")) if file.is_file() else {}

    def model(self, checkpoint: str = "best") -> nn.Module:
        """Return the network with the weights of "best", "latest" or another checkpoint, in eval mode."""
        data = self.about["data"]
        config = replace(self.config.model, pretrained=False)  # not to be fetched only to be replaced
        model = build_model(config, data["shape"], len(data["classes"]))
        model.load_state_dict(load(self.folder / f"{checkpoint}.pt")["model"])
        return model.eval()

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a JSON file into the folder, whole or not at all."""
        with atomic(self.folder / name) as part:
            part.write_text(json.dumps(values, indent=1), "utf-8")

    def __repr__(self) -> str:
        done = self.metrics
        figures = ", ".join(f"{key} {value:.4g}" for key, value in done.items() if key.startswith("val_"))
        return f"Run {self.folder.name}: " + (
            f"{done['epoch']} epochs, {figures}" if done else "not finished"
        )


def new_run(config: ExperimentConfig, runs: str | Path, about: Mapping[str, Any]) -> Run:
    """Return a run in a new folder, NAME-000, -001, …: the first that no other process has taken."""
    for number in count():
        folder = Path(runs, f"{config.name}-{number:03d}")
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    save_config(config, folder / "config.yaml")
    with atomic(folder / "about.json") as part:
        part.write_text(json.dumps(about, indent=1), "utf-8")
    return Run(folder)


def find_runs(runs: str | Path = "runs") -> list[Run]:
    """Return all runs in a folder, in the order of their names; a broken one is left out, with a warning."""
    found = []
    for path in sorted(Path(runs).glob("*/about.json")):
        try:
            found.append(Run(path.parent))
        except (ValueError, OSError) as error:
            logging.getLogger("dl_course").warning("%s is left out: %s", path.parent, error)
    return found


def describe_work(device: torch.device, processes: int, *parts: Pictures) -> dict[str, Any]:
    """Return what a run is made from: of the working directory's git, the pictures and the machine."""
    first = parts[0]
    checksum = hashlib.sha256()
    for pictures in parts:
        checksum.update(pictures.images.numpy().tobytes())
        checksum.update(pictures.labels.numpy().tobytes())
    data = {"name": first.name, "pictures": [len(part) for part in parts], "sha256": checksum.hexdigest()}
    data |= {"shape": list(first.images.shape[1:]), "classes": list(first.classes)}
    versions = {name: _version(name) for name in PACKAGES}
    versions["torch"] = str(torch.__version__)  # which says for which CUDA it was built, too
    machine = {"device": str(device), "processes": processes, "threads": torch.get_num_threads()}
    environment = {"python": platform.python_version(), "platform": platform.platform(), **versions}
    return {"git": _git(), "command": sys.argv, "data": data, "environment": environment | machine}


@cache  # a search asks for every trial, and scikit-learn's long description takes a tenth of a second to read
def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _git() -> dict[str, Any] | None:
    """Return the working directory's revision and whether files have changed since; None without git."""
    try:
        said = [
            subprocess.run(["git", *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": said[0], "changed": bool(said[1])}
