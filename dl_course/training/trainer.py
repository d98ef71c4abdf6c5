"""The Trainer: the training loop, with what a long run needs around it. Begin at ``fit`` and read on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau
from tqdm.auto import tqdm

from dl_course.hooks import evaluating, mapped, tensors_in
from dl_course.runtime import pick_device
from dl_course.training import problems
from dl_course.training.callbacks import CSVLog
from dl_course.training.checkpoints import Checkpoint, load, plain_names, unheard, whole
from dl_course.training.figures import Metrics, loss_divisor
from dl_course.training.gradients import clip_by_global_norm
from dl_course.training.history import History, combined, means
from dl_course.training.positions import (
    batches_from,
    position,
    random_state,
    set_epoch,
    set_position,
    set_random_state,
)

Step = Callable[[nn.Module, Any], Any]


class Trainer:
    """Trains a model in place: ``fit`` returns the history, ``evaluate`` measures on another loader.

    Loaders give (inputs (N, …), labels (N, …)) · loss_fn(outputs, labels): a mean over the batch · optimizer,
    scheduler: one, or a list; a scheduler steps by its ``interval`` "step", "epoch" or "metric", else as its
    type must · device: where the model moves, by default the best there is · precision: "fp32", or mixed
    "bf16" or "fp16" · accumulate: batches to an update, by the gradient of all their samples' mean
    (BatchNorm still sees one batch at a time) · max_grad_norm: clip the gradient of each optimizer's
    parameters to it · callbacks: objects with any of the methods problems.EVENTS, all called with the
    Trainer · output_dir: where latest.pt, best.pt and history.csv go · metrics: by name, functions of
    (outputs, labels), or objects as torchmetrics has, see ``figures.Metrics``; by default the accuracy, {}
    for none · progress: whether to show a bar · checkup: whether to run ``diagnostics.checkup`` before the
    first step and log what it finds, or "strict" to raise ValueError where that is an error.
    A model in train mode keeps the flags of its parts: a BatchNorm that you froze stays frozen.

    Batches of another form, several inputs, no labels, two networks: step(model, batch), in the place of
    loss_fn, gets the batch on the device, in the form the loader gave it, and returns the loss; or a dict
    with "loss" and whatever else is to be in the history. With a list of optimizers the loss is a list, too,
    one for each, which moves that one's parameters alone. eval_step: the same for ``evaluate``, by default
    step · loss_weight(batch): what its loss is divided by, the padding of sentences left out, say; known of
    torch's losses, else the number of samples. ``steps.md`` has three examples.
    """

    is_split = False  # whether each of several processes has a part of the model

    def __init__(
        self, model: nn.Module, train_loader: Any, val_loader: Any = None, *,
        loss_fn: Callable[[Any, Tensor], Tensor] | None = None, optimizer: Any, scheduler: Any = None,
        step: Step | None = None, eval_step: Step | None = None,
        loss_weight: Callable[[Any], float] | None = None,
        device: str | torch.device | None = None, precision: str = "fp32", accumulate: int = 1,
        max_grad_norm: float | None = None, callbacks: Iterable[Any] = (),
        output_dir: str | Path | None = None, metrics: Mapping[str, Any] | None = None,
        progress: bool = True, checkup: bool | str = False,
    ) -> None:  # fmt: skip
        self.device = pick_device(device)
        self.model = model.to(self.device)
        self.network: nn.Module = self.model  # what a step calls; one of several processes wraps it
        self.loss_fn = loss_fn.to(self.device) if isinstance(loss_fn, nn.Module) else loss_fn
        self.step_function = step
        self.eval_function = eval_step or step
        self.loss_weight = loss_weight or self._divisor
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.optimizers = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
        self.optimizer = self.optimizers[0]
        self.schedulers = scheduler if isinstance(scheduler, list | tuple) else [scheduler]
        self.schedulers = [each for each in self.schedulers if each is not None]
        self.precision = precision
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.accumulate = accumulate
        self.max_grad_norm = float("inf") if max_grad_norm is None else max_grad_norm
        folder = (
            [] if output_dir is None else [Checkpoint(output_dir), CSVLog(Path(output_dir, "history.csv"))]
        )
        # Checkpoints come last, so that they hold what the others know of the epoch.
        self.callbacks = sorted([*callbacks, *folder], key=lambda each: isinstance(each, Checkpoint))
        problems.check_parts(self, metrics)
        self.metrics = Metrics(metrics, loss_fn, self.device)
        self.progress = progress
        self.checkup = checkup
        self.history = History()
        self.stopped = ""  # why fit ended early; a callback sets it to end fit
        self.epoch = 0  # epochs done
        self.step = 0  # updates done
        self.batch = 0  # batches used in this epoch
        self.inputs = torch.empty(0)  # the last batch's first tensor, for callbacks
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
        if self.checkup and not self.step:
            problems.check_up(self, strict=self.checkup == "strict")
        self.stopped = ""
        batches = problems.length(self.train_loader) or 0
        done = self.epoch * batches + self.batch
        self._tell("on_fit_start")
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
            self.stopped = "interrupted"
            if press.args:  # the second press, in the middle of something
                raise
            with whole():
                self._random = self._random or random_state()
                self._tell("on_interrupt")
        except Exception as error:
            self.stopped = f"failed: {type(error).__name__}"
            raise
        finally:
            self._tell("on_fit_end")
        return self.history

    def _train_epoch(self, bar: Any) -> None:
        if not self.model.training:
            self.model.train()
        with whole():
            batches = self._batches()
        self._clock = perf_counter()
        while used := self._next_update(batches):
            bar.update(used)
        self._random = random_state()
        problems.check_not_empty(self.batch, self.train_loader)

    def _next_update(self, batches: Iterator[Any]) -> int:
        with whole():  # loading too, since it may draw random numbers
            group = list(islice(batches, self.accumulate))
            if group:
                with problems.memory_explained(self, group[0]), problems.buffers_kept(self.model):
                    self._update(group)
        return len(group)

    def _update(self, group: Sequence[Any]) -> None:
        shares = self._shares(group)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        rows = []
        for number, (batch, share) in enumerate(zip(group, shares, strict=True)):
            with self._summing(last=number == len(group) - 1):
                losses, row = self._measure(batch, self.network, self.metrics)
                problems.check_loss(self, row, batch, number)
                self._backward(losses, share)
            rows.append(row)
        row = self._gathered(rows, self.train_loader, self.batch)
        figures = dict(learning_rate=float(self.optimizers[0].param_groups[0]["lr"]))
        figures["gradient_norm"] = self._move()
        self.step += 1
        self.batch += len(group)
        now = perf_counter()
        figures["seconds"] = now - self._clock
        self._clock = now
        self.history.add_step(dict(step=self.step, epoch=self.epoch + 1) | row | figures)
        self._tell("on_step_end")

    def _shares(self, group: Sequence[Any]) -> list[float]:
        """Return each batch's share in the update's gradient."""
        weights = [self.loss_weight(batch) for batch in group]
        return [weight / (sum(weights) or 1) for weight in weights]

    def _divisor(self, batch: Any) -> float:
        if self.step_function is not None:
            return problems.samples_in(batch)
        return loss_divisor(self.loss_fn, problems.checked_pair(batch)[1])

    def _summing(self, last: bool) -> AbstractContextManager[Any]:
        """Return the context of a batch whose gradient is added; several processes meet at the last."""
        return nullcontext()

    def _measure(
        self, batch: Any, network: nn.Module, metrics: Metrics, evaluates: bool = False
    ) -> tuple[list[Tensor], dict[str, float]]:
        """Return the losses of a batch, one for each optimizer, and its row of figures."""
        samples = problems.samples_in(batch)
        weight = self.loss_weight(batch)
        losses, figures = self.run(batch, network, metrics, evaluates)
        loss = sum(loss.item() for loss in losses) if weight else 0.0  # the mean of no labels is NaN
        row = dict(samples=samples, loss=loss) | figures
        return losses, row if weight == samples else row | {"loss_weight": weight}

    def run(
        self, batch: Any, network: nn.Module, metrics: Metrics | None = None, evaluates: bool = False
    ) -> tuple[list[Tensor], dict[str, float]]:
        """Return a batch's losses and other figures, as the step, or loss_fn and metrics, find them."""
        moved = mapped(lambda tensor: tensor.to(self.device, non_blocking=True), batch)
        self.inputs = next(tensors_in(moved))
        function = self.eval_function if evaluates else self.step_function
        with self.autocast():
            if function is not None:
                count = None if evaluates else len(self.optimizers)
                return problems.checked_step(function(network, moved), count)
            inputs, labels = problems.checked_pair(moved)
            outputs = network(inputs)
            problems.check_labels(self.loss_fn, outputs, batch[1])
            loss = problems.explained_loss(self.loss_fn, outputs, labels)
        return [loss], {} if metrics is None else metrics.measure(outputs, labels)

    def _backward(self, losses: Sequence[Tensor], share: float) -> None:
        for number, (loss, optimizer) in enumerate(zip(losses, self.optimizers, strict=True), 1):
            alone = len(losses) == 1
            inputs = None if alone else problems.parameters_of(optimizer)
            self.scaler.scale(loss * share).backward(inputs=inputs, retain_graph=number < len(losses))

    def _move(self) -> float:
        """Clip, check and let the optimizers and schedules step; return the norm of all gradients."""
        norms = []
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
            norms.append(clip_by_global_norm(problems.parameters_of(optimizer), self.max_grad_norm))
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        problems.check_gradient(self, norm)
        scale = self.scaler.get_scale()
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)  # fp16 leaves out a step whose gradient overflowed, and scales less
        self.scaler.update()
        if self.scaler.get_scale() >= scale:
            self._schedule("step")
        return norm

    def autocast(self) -> torch.autocast:
        """Return the context in which the model computes in the Trainer's precision."""
        kind = problems.PRECISIONS[self.precision]
        return torch.autocast(self.device.type, kind, enabled=kind is not None)

    @torch.no_grad()
    def evaluate(self, loader: Any, model: nn.Module | None = None) -> dict[str, float]:
        """Return "loss" and the metrics over all samples of a loader, in eval mode and without gradients.

        model: another than the Trainer's, as ``EMA.model``.
        """
        network = self.model if model is None else model.to(self.device)
        metrics = self.metrics.fresh()
        rows = []
        with unheard():
            batches = iter(loader)
        with (
            evaluating(network),
            evaluating(self.loss_fn if isinstance(self.loss_fn, nn.Module) else network),
        ):
            for batch in batches:
                with problems.memory_explained(self, batch):
                    rows.append(self._measure(batch, network, metrics, evaluates=True)[1])
        problems.check_not_empty(len(rows), loader)
        return means(self._gathered(rows, loader)) | metrics.results()

    def _gathered(self, rows: Sequence[Mapping[str, float]], loader: Any, first: int = 0) -> dict[str, float]:
        """Return one row for these batches, the loader's from ``first`` on, of all processes: here of one."""
        return combined(rows)

    def _end_epoch(self, found: Mapping[str, float], seconds: float) -> None:
        row = self.history.add_epoch(self.epoch + 1, found, seconds, self.metrics.results())
        self.epoch += 1
        self.batch = 0
        self._order = None
        self._random = None
        self._schedule("epoch")
        self._schedule("metric", row.get("val_loss", row["train_loss"]))
        self._tell("on_epoch_end")

    def _schedule(self, event: str, *metric: float) -> None:
        for scheduler in self.schedulers:
            kind = "step" if isinstance(scheduler, OneCycleLR | CyclicLR) else "epoch"
            kind = "metric" if isinstance(scheduler, ReduceLROnPlateau) else kind
            if getattr(scheduler, "interval", kind) == event:
                scheduler.step(*metric)

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event, lambda trainer: None)(self)

    def _batches(self) -> Iterator[Any]:
        """Return the epoch's batches, without those that it has used before an interrupt."""
        loaders = (self.train_loader, self.val_loader)
        set_epoch(self.train_loader, self.epoch)
        if self._order is None:
            self._order = position(loaders)
        else:
            set_position(loaders, self._order)
        with unheard():
            batches = batches_from(self.train_loader, self.batch)
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

    def model_state(self) -> dict[str, Any]:
        """Return the model's state by names without the wrappers of torch.compile and DataParallel."""
        state = self.model.state_dict()
        return {plain: state[name] for plain, name in plain_names(self.model).items()}

    def load_model_state(self, state: Mapping[str, Any]) -> None:
        """Take the model's state over, as ``model_state`` gives it."""
        self.model.load_state_dict({name: state[plain] for plain, name in plain_names(self.model).items()})

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on, as tensors and numbers."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state["model"] = self.model_state()
        state["optimizers"] = [each.state_dict() for each in self.optimizers]
        state["schedulers"] = [each.state_dict() for each in self.schedulers]
        state["callbacks"] = {key: each.state_dict() for key, each in self._stateful().items()}
        state |= dict(epoch=self.epoch, step=self.step, batch=self.batch)
        state["order"] = self._order or position((self.train_loader, self.val_loader))
        return state | dict(random=self._random or random_state())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state. Raises ValueError, before anything changes, where it is of another Trainer."""
        parts = self._parts()
        problems.check_state(self, state, {*parts})
        for name, part in parts.items():
            part.load_state_dict(state[name])
        self.load_model_state(state["model"])
        for kind in ("optimizers", "schedulers"):
            for part, saved in zip(getattr(self, kind), state[kind], strict=True):
                part.load_state_dict(saved)
        for key, callback in self._stateful().items():
            if key in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][key])
        self.epoch = state["epoch"]
        self.step = state["step"]
        self.batch = state["batch"]
        self._order = state["order"]
        self._random = state["random"]

    def _parts(self) -> dict[str, Any]:
        parts = dict(scaler=self.scaler, history=self.history, metrics=self.metrics)
        if isinstance(self.loss_fn, nn.Module) and self.loss_fn.state_dict():
            parts["loss_fn"] = self.loss_fn
        return parts

    def _stateful(self) -> dict[str, Any]:
        """Return the callbacks that have a state, by class and number."""
        kept = [each for each in self.callbacks if hasattr(each, "load_state_dict")]
        names = [type(callback).__name__ for callback in kept]
        return {f"{name} {names[:i].count(name)}": kept[i] for i, name in enumerate(names)}
