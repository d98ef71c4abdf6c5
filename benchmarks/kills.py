"""kill -9 at random moments of a training: each leaves a checkpoint that resumes to the same end, to the bit.

    python benchmarks/kills.py [kills, by default 50] [epochs of a training, by default 30]

One process imports torch and starts the trainings as processes of their own. Exits 1 where a training cannot
be resumed, or ends with another state than the one that nobody killed.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from dl_course import data
from dl_course.runtime import set_seed
from dl_course.training import EarlyStopping, Trainer, load, save, schedules

EPOCHS = int(sys.argv[2]) if len(sys.argv) > 2 else 30


def train(folder: Path) -> None:
    """Train a small network with everything that has a state, from where it was killed; leave final.pt."""
    torch.set_num_threads(1)
    set_seed(1)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 3)
    model = nn.Sequential(*layers)
    pictures = data.Pictures(
        "noise", torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8), torch.arange(40) % 3, "abc", (0.5,),
        (0.3,),
        transform=lambda picture: picture + 0.1 * torch.rand(1),
    )  # fmt: skip
    loaders = data.loader(pictures, 6, shuffle=True), data.loader(pictures, 40)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = schedules.build("one-cycle", optimizer, epochs=EPOCHS, steps_per_epoch=len(loaders[0]))
    trainer = Trainer(
        model, *loaders, loss_fn=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler,
        device="cpu", callbacks=[EarlyStopping(EPOCHS)], output_dir=folder,
    )  # fmt: skip
    trainer.resume()
    trainer.fit(EPOCHS)
    state = trainer.state_dict()
    for name in ("seconds", "samples_per_second"):  # a clock is no part of the state
        del state["history"]["epochs"][name], state["history"]["steps"][name]
    save(folder / "final.pt", state)


def start(folder: Path) -> int:
    """Start a training in a process of its own; return its number."""
    if child := os.fork():
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the progress bar
        train(folder)
        status = 0
    finally:
        os._exit(status)


def same(one, other) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    failed, begun, finished, epochs = 0, time.perf_counter(), 0, []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.waitpid(start(folder / "whole"), 0)
        duration = time.perf_counter() - begun
        for number in range(kills):
            run = folder / str(number)
            child = start(run)
            time.sleep(random.uniform(0, duration))
            os.kill(child, signal.SIGKILL)
            finished += os.waitpid(child, 0)[1] != signal.SIGKILL
            epochs.append(load(run / "latest.pt")["epoch"] if (run / "latest.pt").exists() else 0)
            whole = os.waitpid(start(run), 0)[1] == 0
            failed += not (whole and same(load(run / "final.pt"), load(folder / "whole" / "final.pt")))
    print(f"{kills} kills, after {sorted(epochs)} of {EPOCHS} epochs; {finished} had finished before")
    print(f"{kills - failed} of {kills} resumed to the same end, to the bit")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
