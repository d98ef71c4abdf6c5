"""The Trainer: the training loop, with what a long run needs around it. Begin at ``fit`` and read on."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau
from tqdm.auto import tqdm

from dl_course.hooks import evaluating
from dl_course.metrics import recognised
from dl_course.runtime import pick_device
from dl_course.training import problems
from dl_course.training.callbacks import CSVLog
from dl_course.training.checkpoints import Checkpoint, load, whole
from dl_course.training.gradients import clip_by_global_norm
from dl_course.training.history import History, mean
from dl_course.training.positions import position, random_state, set_position, set_random_state

Batch = tuple[Tensor, Tensor]


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of a batch recognised; logits (N, C), labels (N,) or probabilities (N, C)."""
    return recognised(logits, labels).mean()


class Trainer:
    """Trains a model in place: ``fit`` returns the history, ``evaluate`` measures on another loader.

    Loaders give (inputs (N, …), labels (N, …)) · loss_fn(outputs, labels): a mean over the batch · scheduler:
    steps by its ``interval`` "step", "epoch" or "metric", else as its type must · device: where the model
    moves, by default the best there is · precision: "fp32", or mixed "bf16" or "fp16" · accumulate: batches
    to an update, by the gradient of all their samples' mean (BatchNorm still sees one batch at a time) ·
    max_grad_norm: clip to this global norm · callbacks: objects with any of the methods problems.EVENTS, all
    called with the Trainer · output_dir: where latest.pt, best.pt and history.csv go · metrics: by name,
    functions of (outputs, labels) that are means over the batch; by default the accuracy, {} for none ·
    progress: whether to show a bar.
    A model in train mode keeps the flags of its parts: a BatchNorm that you froze stays frozen.
    """

    def __init__(
        self, model: nn.Module, train_loader: Any, val_loader: Any = None, *,
        loss_fn: Callable[[Any, Tensor], Tensor], optimizer: torch.optim.Optimizer, scheduler: Any = None,
        device: str | torch.device | None = None, precision: str = "fp32", accumulate: int = 1,
        max_grad_norm: float | None = None, callbacks: Iterable[Any] = (),
        output_dir: str | Path | None = None,
        metrics: Mapping[str, Callable[[Any, Tensor], Any]] | None = None,
        progress: bool = True,
    ) -> None:  # fmt: skip
        self.device = pick_device(device)
        self.model = model.to(self.device)
        self.loss_fn = loss_fn.to(self.device) if isinstance(loss_fn, nn.Module) else loss_fn
        self.train_loader, self.val_loader = train_loader, val_loader
        self.optimizer, self.scheduler, self.precision = optimizer, scheduler, precision
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.accumulate, self.max_grad_norm = accumulate, max_grad_norm or float("inf")
        self.metrics = {"accuracy": accuracy} if metrics is None else metrics
        folder = (
            [] if output_dir is None else [Checkpoint(output_dir), CSVLog(Path(output_dir, "history.csv"))]
        )
        # Checkpoints come last, so that they hold what the others know of the epoch.
        self.callbacks = sorted([*callbacks, *folder], key=lambda each: isinstance(each, Checkpoint))
        problems.check_parts(self)
        self.progress = progress
        self.history, self.stopped = History(), ""  # why fit ended early; a callback sets it to end fit
        self.epoch = self.step = self.batch = 0  # epochs done, updates done, batches used in this epoch
        self.inputs = torch.empty(0)  # of the last batch, for callbacks
        self._order: Any = None  # where the loaders stood when this epoch began
        self._random: Any = None  # the random numbers when the epoch's last update was done
        self._clock = 0.0  # and the time, of each

    def fit(self, epochs: int) -> History:
        """Train until this many epochs are done in all, those before counted; return the history.

        The Stop button ends it after the update it is in: the history so far comes back, latest.pt has the
        state, and ``fit``, or ``resume`` in another process, goes on from there; on a CPU to the bit. Pressed
        twice it ends at once, and saves nothing. Raises ValueError for parts that do not fit together, and
        TrainingError for numbers that are not finite and for full memory.
        """
        problems.check_start(self, epochs)
        self.stopped, batches = "", len(self.train_loader) if hasattr(self.train_loader, "__len__") else 0
        self._tell("fit_start")
        done = self.epoch * batches + self.batch
        try:
            shown = {"unit": "batch", "mininterval": 0.5, "disable": not self.progress}
            with tqdm(total=epochs * batches or None, initial=done, **shown) as bar:
                while self.epoch < epochs and not self.stopped:
                    self._train_epoch(bar)
                    start = perf_counter()
                    found = {} if self.val_loader is None else self.evaluate(self.val_loader)
                    with whole():
                        self._end_epoch(found, perf_counter() - start)
        except KeyboardInterrupt as press:
            if press.args:  # the second press, in the middle of something
                raise
            with whole():
                self.stopped, self._random = "interrupted", self._random or random_state()
                self._tell("interrupted")
        finally:
            self._tell("fit_end")
        return self.history

    def _train_epoch(self, bar: Any) -> None:
        if not self.model.training:
            self.model.train()
        batches, self._clock = self._batches(), perf_counter()
        while used := self._next_update(batches):
            bar.update(used)
        self._random = random_state()
        problems.check_not_empty(self.batch, self.train_loader)

    def _next_update(self, batches: Iterator[Batch]) -> int:
        with whole():  # loading too, since it may draw random numbers
            group = list(islice(batches, self.accumulate))
            if group:
                with problems.memory_explained(self, group[0]):
                    self._update(group)
        return len(group)

    def _update(self, group: Sequence[Batch]) -> None:
        samples, rows = sum(len(labels) for _, labels in group), list[Any]()
        self.optimizer.zero_grad()
        for number, batch in enumerate(group):
            loss, row = self._forward(batch)
            problems.check_loss(self, row["loss"], batch, number)
            self.scaler.scale(loss * (len(batch[1]) / samples)).backward()
            rows.append(row)
        rows = self.together(rows, self.train_loader, self.batch)
        self.scaler.unscale_(self.optimizer)
        norm = float(clip_by_global_norm(self.model.parameters(), self.max_grad_norm))
        problems.check_gradient(self, norm)
        rate, scale = self.optimizer.param_groups[0]["lr"], self.scaler.get_scale()
        self.scaler.step(self.optimizer)  # fp16 leaves out a step whose gradient overflowed, and scales less
        self.scaler.update()
        if self.scaler.get_scale() >= scale:
            self._schedule("step")
        self.step, self.batch = self.step + 1, self.batch + len(group)
        seconds, self._clock = perf_counter() - self._clock, perf_counter()
        samples = sum(row["samples"] for row in rows)
        figures = mean(rows) | dict(learning_rate=float(rate), gradient_norm=norm, seconds=seconds)
        self.history.add_step(dict(step=self.step, epoch=self.epoch + 1, samples=samples) | figures)
        self._tell("step_end")

    def _forward(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        self.inputs, labels = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        with self.autocast():
            outputs = self.model(self.inputs)
            problems.check_labels(self, outputs, batch[1])
            loss = problems.explained_loss(self.loss_fn, outputs, labels)
        with torch.no_grad():
            row = {name: float(metric(outputs, labels)) for name, metric in self.metrics.items()}
        return loss, dict(samples=len(labels), loss=loss.item()) | row

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes in the Trainer's precision."""
        kind = problems.PRECISIONS[self.precision]
        return torch.autocast(self.device.type, kind, enabled=kind is not None)

    @torch.no_grad()
    def evaluate(self, loader: Any) -> dict[str, float]:
        """Return "loss" and the metrics over all samples of a loader, in eval mode and without gradients."""
        rows = []
        with evaluating(self.model):
            for batch in map(problems.checked_batch, loader):
                with problems.memory_explained(self, batch):
                    rows.append(self._forward(batch)[1])
        problems.check_not_empty(len(rows), loader)
        return mean(self.together(rows, loader))

    def together(self, rows: list[Any], loader: Any, first: int = 0) -> list[Any]:
        """Return the figures of these batches, the loader's from ``first`` on, in all processes: here in one.

        Called after ``backward`` too, where a Trainer of several processes adds up their gradients.
        """
        return rows

    def _end_epoch(self, found: Mapping[str, float], seconds: float) -> None:
        row = self.history.add_epoch(self.epoch + 1, found, seconds)
        self.epoch, self.batch, self._order, self._random = self.epoch + 1, 0, None, None
        self._schedule("epoch")
        self._schedule("metric", row.get("val_loss", row["train_loss"]))
        self._tell("epoch_end")

    def _schedule(self, event: str, *metric: float) -> None:
        kind = "step" if isinstance(self.scheduler, OneCycleLR | CyclicLR) else "epoch"
        kind = "metric" if isinstance(self.scheduler, ReduceLROnPlateau) else kind
        if self.scheduler is not None and getattr(self.scheduler, "interval", kind) == event:
            self.scheduler.step(*metric)

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event, lambda trainer: None)(self)

    def _batches(self) -> Iterator[Batch]:
        """The epoch's batches, without those that it has used before an interrupt."""
        loaders = self.train_loader, self.val_loader
        if self._order is None:
            self._order = position(loaders)
        else:
            set_position(loaders, self._order)
        batches = map(problems.checked_batch, self.train_loader)
        if self.batch:
            deque(islice(batches, self.batch), maxlen=0)
        if self._random is not None:
            set_random_state(self._random)
            self._random = None
        return batches

    def resume(self, path: str | Path = "latest") -> bool:
        """Go on from a checkpoint: a path, or "latest" or "best" where ``Checkpoint`` keeps them.

        Without a "latest" nothing happens, so that a script may always call it before ``fit``; returns
        whether there was one. Raises ValueError for a file that is no checkpoint of such a Trainer.
        """
        if path in ("latest", "best"):
            folder = next((each.folder for each in self.callbacks if isinstance(each, Checkpoint)), None)
            if folder is None:
                raise ValueError(f"no folder to look for '{path}' in: give the Trainer an output_dir")
            if path == "latest" and not (folder / "latest.pt").exists():
                return False
            path = folder / f"{path}.pt"
        self.load_state_dict(load(path))
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on, as tensors and numbers."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state["callbacks"] = {key: {n: vars(c)[n] for n in c.state} for key, c in self._stateful().items()}
        state |= dict(epoch=self.epoch, step=self.step, batch=self.batch)
        state["order"] = self._order or position((self.train_loader, self.val_loader))
        return state | dict(random=self._random or random_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state. Raises ValueError where it lacks a part that this Trainer has."""
        parts = self._parts()
        problems.check_state(state, {*parts, "callbacks", "epoch", "step", "batch", "order", "random"})
        for name, part in parts.items():
            part.load_state_dict(state[name])
        for key, callback in self._stateful().items():
            vars(callback).update(state["callbacks"].get(key, {}))
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self._order, self._random = state["order"], state["random"]

    def _parts(self) -> dict[str, Any]:
        names = ("model", "optimizer", "scheduler", "scaler", "history")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def _stateful(self) -> dict[str, Any]:
        """Callbacks that name in ``state`` the attributes a checkpoint keeps, by class and number."""
        kept = [callback for callback in self.callbacks if hasattr(callback, "state")]
        names = [type(callback).__name__ for callback in kept]
        return {f"{name} {names[:i].count(name)}": kept[i] for i, name in enumerate(names)}
