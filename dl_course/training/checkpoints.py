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
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dl_course.files import atomic
from dl_course.training.history import direction, is_better


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


@contextmanager
def unheard() -> Iterator[None]:
    """Start processes that never hear the Stop button, which reaches all of a notebook's processes.

    A DataLoader's workers would end by it, and the training, which may want to go on, with them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows they have a console of their own
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def plain_names(model: nn.Module) -> dict[str, str]:
    """Return the names in a model's ``state_dict()`` as they are without wrappers, name to name.

    torch.compile puts "_orig_mod." into them, DataParallel and DistributedDataParallel "module.".
    """
    wrapped = []
    for name, module in model.named_modules(remove_duplicate=False):
        inner = "module" if isinstance(module, nn.DataParallel | DistributedDataParallel) else "_orig_mod"
        if inner in module._modules:
            wrapped.append((f"{name}.{inner}." if name else f"{inner}.", f"{name}." if name else ""))
    names: dict[str, str] = {}
    for key in model.state_dict():
        plain = key
        for prefix, without in reversed(wrapped):  # the inner ones first
            plain = without + plain.removeprefix(prefix) if plain.startswith(prefix) else plain
        names[plain] = key
    return names


class Checkpoint:
    """Keeps ``latest.pt``, ``best.pt`` and every so many epochs ``epoch-0012.pt``, of which the newest stay.

    every: epochs between two that are kept (None: none) · keep: how many · monitor: the column of
    ``history.epochs`` that says which is best · mode: "min" or "max", needed for a name that
    ``history.direction`` doesn't know. The Stop button leaves a ``latest.pt`` too, within an epoch.
    """

    def __init__(
        self, folder: str | Path, every: int | None = None, keep: int = 3, monitor: str = "val_loss",
        mode: str | None = None,
    ) -> None:  # fmt: skip
        if every is not None and every < 1 or keep < 1:
            raise ValueError(f"every and keep count from 1; given: {every=}, {keep=}")
        self.folder = Path(folder)
        self.every = every
        self.keep = keep
        self.monitor = monitor
        self.mode = direction(monitor, mode)
        self.best = float("nan")

    def state_dict(self) -> dict[str, float]:
        """Return the best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from the best figure of before."""
        self.best = state["best"]

    def on_fit_start(self, trainer: Any) -> None:
        """Remove what a killed process left half-written; warn where another run lies in the folder."""
        if not trainer.step and (self.folder / "latest.pt").exists():
            way = "trainer.resume('latest') before fit goes on from it, another folder keeps both"
            warnings.warn(f"{self.folder} holds an earlier run, which this one replaces; {way}", stacklevel=4)
        for part in self.folder.glob(".*.pt.*.part"):
            part.unlink()

    def on_epoch_end(self, trainer: Any) -> None:
        """Write the files that are due, ``latest.pt`` last: a run resumed from it writes the others again.

        Raises KeyError where the epoch has no such column; without a val_loader the default has none, and
        there is no ``best.pt``.
        """
        paths = []
        if self.every and trainer.epoch % self.every == 0:
            paths.append(self.folder / f"epoch-{trainer.epoch:04d}.pt")
        if self.monitor != "val_loss" or trainer.val_loader is not None:
            value = trainer.history.watched(self.monitor)
            if is_better(self.mode, value, self.best):
                self.best = value
                paths.append(self.folder / "best.pt")
        first, *others = [*paths, self.folder / "latest.pt"]
        save(first, trainer.state_dict())
        for path in others:
            with atomic(path) as part:
                shutil.copyfile(first, part)
        for old in sorted(self.folder.glob("epoch-*.pt"))[: -self.keep]:
            old.unlink()

    def on_interrupt(self, trainer: Any) -> None:
        """Write the state after the last whole step."""
        save(self.folder / "latest.pt", trainer.state_dict())
