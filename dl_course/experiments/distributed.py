"""Several processes train one network: each takes a share of every batch, and their gradients are added up.

What ``DistributedDataParallel`` does, in the open, and with the right weights where shares differ in size: an
uneven last batch counts as it does in one process.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dl_course.data import Loader
from dl_course.runtime import pick_device, preserved_rng
from dl_course.training import Trainer
from dl_course.training.positions import random_state


def rank() -> int:
    """Return which of the processes this is; 0 writes what a run leaves."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def together(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function of ``torch.distributed``; RuntimeError says so where another process is gone."""
    try:
        function(*arguments)
    except RuntimeError as error:
        why = "another process of this run has ended, or was silent for longer than training.timeout"
        raise RuntimeError(f"{why}; --resume goes on from the last checkpoint: {error}") from error


def shared(value: Any) -> Any:
    """Return the value that process 0 has."""
    values = [value]
    if size() > 1:
        together(dist.broadcast_object_list, values)
    return values[0]


@contextmanager
def processes(timeout: float, device: str | None) -> Iterator[str | None]:
    """Join the processes that torchrun started, by nccl on CUDA and gloo else; give this one's device.

    timeout: seconds that one waits for the others. Without torchrun, or inside of another such block, nothing
    happens.
    """
    if not dist.is_torchelastic_launched() or dist.is_initialized():
        yield device
        return
    chosen, place = pick_device(device), int(os.environ["LOCAL_RANK"])
    if chosen.type == "cuda":
        if place >= torch.cuda.device_count():
            raise ValueError(f"a process needs a GPU of its own; there are {torch.cuda.device_count()}")
        chosen = torch.device("cuda", place)
        torch.cuda.set_device(chosen)
    before = signal.signal(signal.SIGTERM, _stopped)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout))
    yield str(chosen)
    dist.destroy_process_group()  # after an error it would wait for those who are gone
    signal.signal(signal.SIGTERM, before)


def _stopped(number: int, frame: Any) -> None:
    """Torchrun stops all where one has ended; at once, as whatever waits for that one would wait for long."""
    why = "stopped: another process of this run has ended; --resume goes on from the last checkpoint"
    logging.getLogger("dl_course").error(why)
    os._exit(1)


class Share(Loader):
    """A Loader that gives this process every ``size()``-th picture of each batch.

    Where a batch has fewer pictures than there are processes, a process without one is given the first, which
    ``samples`` does not count: all must come to every exchange.
    """

    def __init__(self, dataset: Any, batch_size: int, *, pin: bool = True, **options: Any) -> None:
        super().__init__(dataset, batch_size, **options)
        self._pin = pin and torch.cuda.is_available()
        if self._torch is not None:
            self._torch.pin_memory = self._pin

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for pictures, labels in super().__iter__():
            yield (pictures.pin_memory(), labels.pin_memory()) if self._pin else (pictures, labels)

    def _batches(self) -> Iterator[tuple[int, Tensor]]:
        for epoch, batch in super()._batches():
            mine = batch[rank() :: size()]
            yield epoch, mine if len(mine) else batch[:1]

    def samples(self, batch: int) -> int:
        """Return how many pictures of that batch, from 0, count in this process."""
        whole = min(self.batch_size, len(self.dataset) - batch * self.batch_size)
        return len(range(rank(), whole, size()))


class DistributedTrainer(Trainer):
    """The Trainer of one among several processes; its loaders are Shares. In all the weights agree."""

    def together(self, rows: list[Any], loader: Any, first: int = 0) -> list[Any]:
        """Return all processes' figures; while training, leave in each all samples' mean gradient.

        The running statistics of BatchNorm are averaged, too.
        """
        if size() == 1:
            return rows
        mine = [row | {"samples": loader.samples(first + index)} for index, row in enumerate(rows)]
        everyone: list[Any] = [None] * size()
        together(dist.all_gather_object, everyone, mine)
        counts = [sum(row["samples"] for row in each) for each in everyone]
        if torch.is_grad_enabled():
            self._exchange(counts[rank()] / sum(counts))
        return [row for each in everyone for row in each]

    def _exchange(self, weight: float) -> None:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        statistics = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        tensors = gradients + statistics
        flat = torch.cat([tensor.flatten() for tensor in tensors]) * weight
        together(dist.all_reduce, flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def load_state_dict(self, state: Any) -> None:
        """Take over a state of process 0; the others draw random numbers of their own."""
        super().load_state_dict(state)
        if rank():
            with preserved_rng(self.step * size() + rank()):
                self._random = random_state()
