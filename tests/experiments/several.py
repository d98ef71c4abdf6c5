"""What the tests of several processes run, as a program under torchrun; it goes on until it is stopped.

    torchrun --nproc-per-node=2 -m tests.experiments.several FOLDER

One group of processes serves all tests, because a process takes seconds to import torch.
"""

import faulthandler
import logging
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from dl_course.experiments import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    TrainingConfig,
    changed,
    find_runs,
    train,
)
from dl_course.experiments.distributed import processes, rank, spread

LIMIT = 400  # seconds until a test gives up waiting
# 126 pictures in batches of 25: 13 and 12 for two processes, and one picture is left for the last batch
CONFIG = ExperimentConfig(
    "several",
    DataConfig(batch_size=25, splits=[0.1, 0.1, 0.8]),
    ModelConfig("simplenet"),
    TrainingConfig(
        epochs=2,
        optimizer="sgd",  # Adam would divide rounding errors by themselves where a gradient is nearly 0
        learning_rate=0.05,
        max_grad_norm=1.0,
        seed=5,
        device="cpu",
        timeout=120.0,
    ),
)
WITH_NORM = changed(CONFIG, {"model.name": "simplecnn", "training.epochs": 1, "training.learning_rate": 1e-9})
SPLIT = changed(CONFIG, {"training.parallel": "fsdp", "training.scheduler": "none"})
ENDLESS = changed(CONFIG, {"training.epochs": 100_000, "training.scheduler": "none"})


def main(folder: Path) -> None:
    with processes(CONFIG.training.timeout, "cpu"):
        train(CONFIG, folder / "plain", progress=False)
        train(WITH_NORM, folder / "norm", progress=False)
        train(SPLIT, folder / "fsdp", progress=False)
        train(changed(SPLIT, {"training.epochs": 1}), folder / "fsdp 1", progress=False)
        (stopped,) = find_runs(folder / "fsdp 1")
        train(SPLIT, resume=stopped, progress=False)
        torch.manual_seed(rank())
        torch.save(spread(nn.Linear(3, 2), "ddp").state_dict(), folder / f"{rank()}.pt")
        dist.barrier()
        if rank() == 0:
            (folder / "ready").touch()
        train(ENDLESS, folder / "endless", progress=False)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(3 * LIMIT, exit=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]))
