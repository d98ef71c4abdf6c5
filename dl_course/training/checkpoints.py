"""Checkpoints: all that a training must know to go on as if nothing had happened, in one file."""

import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from dl_course.files import atomic
from dl_course.training.history import is_better


def save(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers, texts, and lists and dicts of these; the file is there whole or not at all.

    Raises TypeError for anything else, which ``torch.load(weights_only=True)`` would refuse.
    """
    with atomic(Path(path)) as part:
        with part.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())  # before it takes the old one's place: power may fail too
        try:
            torch.load(part, weights_only=True, mmap=True)
        except Exception as error:
            raise TypeError(
                f"a checkpoint holds tensors and plain numbers; {path} would not load: {error}"
            ) from error


def load(path: str | Path) -> dict[str, Any]:
    """Return what ``save`` wrote, on the CPU: ``model.load_state_dict(load("best.pt")["model"])``.

    Raises ValueError for a file that is damaged or holds other things.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} is no checkpoint, or a damaged one: {error}") from error


@contextmanager
def whole() -> Iterator[None]:
    """Hold the Stop button (SIGINT) back until the block is done: half an update is worth nothing.

    Pressed again, it ends the block at once, by a KeyboardInterrupt that says so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt("pressed twice, so nothing was saved")
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if pressed:
        signal.raise_signal(signal.SIGINT)


class Checkpoint:
    """Keeps ``latest.pt``, ``best.pt`` and every so many epochs ``epoch-0012.pt``, of which the newest stay.

    every: epochs between two that are kept (None: none) · keep: how many · monitor: the column of
    ``history.epochs`` that says which is best. The Stop button leaves a ``latest.pt`` too, within an epoch.
    """

    state = ("best",)

    def __init__(
        self, folder: str | Path, every: int | None = None, keep: int = 3, monitor: str = "val_loss"
    ) -> None:
        if every is not None and every < 1 or keep < 1:
            raise ValueError(f"every and keep count from 1; given: {every=}, {keep=}")
        self.folder, self.every, self.keep, self.monitor = Path(folder), every, keep, monitor
        self.best = float("nan")

    def fit_start(self, trainer: Any) -> None:
        """Remove what a killed process left half-written; warn where another run lies in the folder."""
        if not trainer.step and (self.folder / "latest.pt").exists():
            way = "trainer.resume('latest') before fit goes on from it, another folder keeps both"
            warnings.warn(f"{self.folder} holds an earlier run, which this one replaces; {way}", stacklevel=4)
        for part in self.folder.glob(".*.pt.*.part"):
            part.unlink()

    def epoch_end(self, trainer: Any) -> None:
        """Write the files that are due, ``latest.pt`` last: a run resumed from it writes the others again."""
        paths = []
        if self.every and trainer.epoch % self.every == 0:
            paths.append(self.folder / f"epoch-{trainer.epoch:04d}.pt")
        value = trainer.history.last.get(self.monitor)
        if value is not None and is_better(self.monitor, value, self.best):
            self.best = value
            paths.append(self.folder / "best.pt")
        first, *others = [*paths, self.folder / "latest.pt"]
        save(first, trainer.state_dict())
        for path in others:
            with atomic(path) as part:
                shutil.copyfile(first, part)
        for old in sorted(self.folder.glob("epoch-*.pt"))[: -self.keep]:
            old.unlink()

    def interrupted(self, trainer: Any) -> None:
        """Write the state after the last whole step."""
        save(self.folder / "latest.pt", trainer.state_dict())
