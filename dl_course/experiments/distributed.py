"""Several processes train one network: each takes a share of every batch, and their gradients are averaged.

torch's DistributedDataParallel (Li et al., VLDB 2020) does it while the backward pass is still running: an
*all-reduce* leaves the mean of all processes' gradients in each of them. That mean weighs processes alike,
but their shares of a batch may differ by a picture. So each one multiplies its loss by
world · n_local / n_total first, and the mean of the gradients is that of all pictures, to rounding.
``fully_shard`` (FSDP2; Zhao et al., VLDB 2023) averages in the same way, and leaves each process with only a
part of the weights and of the optimizer's state.

    loss_of_my_share = F.cross_entropy(network(my_pictures), my_labels)      # network = DDP(model)
    (loss_of_my_share * world * len(my_pictures) / pictures_in_the_batch).backward()
"""

import logging
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from dl_course.data import Loader
from dl_course.hooks import mapped
from dl_course.runtime import device_of, pick_device, preserved_rng
from dl_course.training import Trainer
from dl_course.training.figures import loss_settings
from dl_course.training.history import combined, means
from dl_course.training.positions import random_state


def rank() -> int:
    """Return which of the processes this is; 0 writes what a run leaves."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def explained() -> Iterator[None]:
    """Say in a RuntimeError's words that another process is gone, where torch tells of a lost connection."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or re.search("gloo|nccl|timed out", f"{error}".lower())
        if size() == 1 or not lost:
            raise
        why = "another process of this run has ended, or was silent for longer than training.timeout"
        raise RuntimeError(f"{why}; --resume goes on from the last checkpoint: {error}") from error


def shared(value: Any) -> Any:
    """Return the value that process 0 has."""
    values = [value]
    if size() > 1:
        with explained():
            dist.broadcast_object_list(values)
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
    chosen = pick_device(device)
    place = int(os.environ["LOCAL_RANK"])
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
        self.order.part = (rank(), size())
        self._pin = pin and torch.cuda.is_available()
        if self._torch is not None:
            self._torch.pin_memory = self._pin

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the next pass from that batch on."""
        found = super().batches(start)
        return ((x.pin_memory(), y.pin_memory()) for x, y in found) if self._pin else found

    def whole(self, batch: int) -> int:
        """Return how many pictures that batch, from 0, has in all processes."""
        return min(self.batch_size, len(self.dataset) - batch * self.batch_size)

    def samples(self, batch: int) -> int:
        """Return how many of them count in this process."""
        return len(range(rank(), self.whole(batch), size()))


def spread(model: nn.Module, parallel: str) -> nn.Module:
    """Return the model as several processes train it, all with the weights of process 0.

    "ddp": each has it whole, on CUDA with SyncBatchNorm in BatchNorm's place · "fsdp": each keeps a part of
    every layer, and of its optimizer's state. To be done before the optimizer is made.
    """
    if size() == 1:
        return model
    with explained():
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, 0)
    if any(p.is_cuda for p in model.parameters()):
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if parallel == "fsdp":
        mesh = init_device_mesh(device_of(model).type, (size(),))
        for part in [*model.children(), model]:
            if any(p.requires_grad for p in part.parameters()):
                fully_shard(part, mesh=mesh)
    return model


class DistributedTrainer(Trainer):
    """The Trainer of one among several processes; its loaders are Shares. In all the weights agree.

    Raises ValueError for a loss with class weights: shares are weighed by their pictures.
    """

    def __init__(self, model: nn.Module, *loaders: Any, **options: Any) -> None:
        super().__init__(model, *loaders, **options)
        self._full: dict[str, Any] = {}  # what an fsdp checkpoint holds, collected from all processes
        self.is_split = isinstance(self.model, FSDPModule)
        if size() > 1 and loss_settings(self.loss_fn)[1].get("weight") is not None:
            raise ValueError("several processes weigh by pictures: a loss without weight=, or one process")
        if dist.is_initialized() and not self.is_split:
            # BatchNorm's averages are exchanged in _gathered, with the right weights.
            self.network = DistributedDataParallel(self.model, broadcast_buffers=False)

    def _next_update(self, batches: Iterator[Any]) -> int:
        with explained():
            return super()._next_update(batches)

    def evaluate(self, loader: Any, model: nn.Module | None = None) -> dict[str, float]:
        """Return the figures of all processes' shares."""
        with explained():
            return super().evaluate(loader, model)

    def _shares(self, group: Sequence[Any]) -> list[float]:
        """Return world · n_local / n_total for each batch, as all-reduce takes the mean of processes."""
        numbers = range(self.batch, self.batch + len(group))
        total = sum(self.train_loader.whole(number) for number in numbers)
        return [size() * self.train_loader.samples(number) / total for number in numbers]

    def _summing(self, last: bool) -> AbstractContextManager[Any]:
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_gradient_sync(last)
        elif isinstance(self.network, DistributedDataParallel) and not last:
            return self.network.no_sync()
        return nullcontext()

    def _gathered(self, rows: Sequence[Mapping[str, float]], loader: Any, first: int = 0) -> dict[str, float]:
        """Return all processes' figures as one row; while training, average BatchNorm's statistics, too."""
        mine = [means(row) | {"samples": loader.samples(first + i)} for i, row in enumerate(rows)]
        row = combined(mine)
        if size() == 1:
            return row
        if torch.is_grad_enabled():
            _check_all_used(self.model)
        total = sum(loader.whole(first + i) for i in range(len(rows)))
        share = row["samples"] / total
        buffers = _batch_norm_averages(self.model) if torch.is_grad_enabled() else []
        figures = torch.tensor(list(row.values()), dtype=torch.float64, device=self.device)
        sums = torch.cat([figures, *(buffer.double().flatten() for buffer in buffers)]) * share
        dist.all_reduce(sums)
        values, *parts = sums.split([len(figures), *(buffer.numel() for buffer in buffers)])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))
        return dict(zip(row, values.tolist(), strict=True)) | {"samples": total}

    def _tell(self, event: str) -> None:
        if (
            event == "on_epoch_end" and self.is_split
        ):  # a callback of process 0 alone could not ask the others
            optimizers = [each.state_dict() for each in self.optimizers]
            self._full = mapped(_full_tensor, {"model": self.model_state(), "optimizers": optimizers})
        super()._tell(event)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that one process would have."""
        return super().state_dict() | self._full

    def load_model_state(self, state: Mapping[str, Any]) -> None:
        """Take over a model's state, of which each process may keep its part."""
        super().load_model_state({name: _like(self.model_state()[name], state[name]) for name in state})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of process 0; the others draw random numbers of their own."""
        optimizers = []
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            moved = [p for group in optimizer.param_groups for p in group["params"]]
            parts = {
                i: {k: _like(moved[i], v) for k, v in each.items()} for i, each in saved["state"].items()
            }
            optimizers.append({**saved, "state": parts})
        super().load_state_dict({**state, "optimizers": optimizers})
        if rank():
            with preserved_rng(self.step * size() + rank()):
                self._random = random_state()


def _check_all_used(model: nn.Module) -> None:
    """Raise ValueError for a parameter without a gradient, for which the other processes would wait."""
    unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if unused:
        who = f"process {rank()}: '{unused[0]}' and {len(unused) - 1} more took no part in the loss"
        raise ValueError(f"{who}; every process must use every parameter, so freeze what is not in use")


def _batch_norm_averages(model: nn.Module) -> list[Tensor]:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    pairs = [(norm.running_mean, norm.running_var) for norm in norms]
    return [average for pair in pairs for average in pair if average is not None]


def _full_tensor(tensor: Tensor) -> Tensor:
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def _like(own: Tensor, tensor: Any) -> Any:
    """Return this process's part of a tensor that is to take the place of its own, or to go along with it."""
    if not isinstance(own, DTensor) or isinstance(tensor, DTensor) or tensor.shape != own.shape:
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)
