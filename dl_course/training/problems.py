"""What goes wrong in a training, in words: what was found, where, and what to try."""

import logging
import math
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dl_course.hooks import preserved, tensors_in, watching
from dl_course.registry import nearest
from dl_course.training.checkpoints import Checkpoint
from dl_course.training.figures import is_class_loss, is_known, loss_settings
from dl_course.training.history import OTHERS
from dl_course.training.positions import is_inexact

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
EVENTS = ("on_fit_start", "on_step_end", "on_epoch_end", "on_interrupt", "on_fit_end")
INTERVALS = ("step", "epoch", "metric")
NO_MEMORY = "out of memory|can't allocate memory|not enough memory"


class TrainingError(RuntimeError):
    """A training that cannot go on; says where, and what to try. layer: the one concerned, or None."""

    layer: str | None = None


def check_parts(trainer: Any, metrics: Mapping[str, Any] | None) -> None:
    """Raise ValueError for parts of a Trainer that do not belong together."""
    if trainer.precision not in PRECISIONS:
        raise ValueError(f"unknown precision '{trainer.precision}'{nearest(trainer.precision, PRECISIONS)}")
    if trainer.accumulate < 1 or not trainer.max_grad_norm > 0:
        given = f"{trainer.accumulate} and {trainer.max_grad_norm}"
        raise ValueError(f"accumulate counts from 1 and max_grad_norm is above 0; given: {given}")
    for callback in trainer.callbacks:
        if isinstance(callback, type) or not any(hasattr(callback, event) for event in EVENTS):
            raise ValueError(f"a callback is an object with one of the methods {EVENTS}; given: {callback!r}")
    _check_loss_or_step(trainer, metrics)
    _check_optimizers(trainer)
    _check_schedulers(trainer)


def _check_loss_or_step(trainer: Any, metrics: Mapping[str, Any] | None) -> None:
    if (trainer.loss_fn is None) == (trainer.step_function is None):
        raise ValueError("a Trainer needs loss_fn=, or step=, and not both")
    if metrics and trainer.step_function is not None:
        raise ValueError(
            "a step returns its figures itself, in the dict with its loss; metrics= is for loss_fn"
        )
    _check_names(metrics or {})
    if is_known(trainer.loss_fn) and loss_settings(trainer.loss_fn)[1].get("reduction") in ("sum", "none"):
        raise ValueError("the loss is one mean over the batch: reduction='mean'")


def _check_names(names: Any) -> None:
    """Raise ValueError for a figure that would take the place of one of the Trainer's own."""
    taken = sorted(name for name in names if name in OTHERS | {"loss", "samples"} or name.endswith("_weight"))
    if taken:
        raise ValueError(f"the history has figures of its own called {', '.join(taken)}; choose another name")


def _check_optimizers(trainer: Any) -> None:
    own = {id(p) for p in trainer.model.parameters()}
    for optimizer in trainer.optimizers:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not any(id(p) in own for p in parameters):
            raise ValueError(
                "the optimizer moves no parameter of this model: make it after the model, from its own"
            )
        if not any(p.requires_grad for p in parameters):
            raise ValueError("every parameter is frozen; unfreeze some: parameter.requires_grad_()")
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError("LBFGS asks for the loss many times a step, the Trainer once; take AdamW or SGD")
    if len(trainer.optimizers) > 1 and trainer.step_function is None:
        raise ValueError("several optimizers need step=, which returns a list with a loss for each")


def _check_schedulers(trainer: Any) -> None:
    for scheduler in trainer.schedulers:
        if not any(scheduler.optimizer is optimizer for optimizer in trainer.optimizers):
            raise ValueError("the scheduler steers another optimizer: make it after this one, from this one")
        interval = getattr(scheduler, "interval", "step")
        if interval not in INTERVALS:
            raise ValueError(f"scheduler.interval is one of {', '.join(INTERVALS)}; given: '{interval}'")


def check_start(trainer: Any, epochs: int) -> None:
    """Raise ValueError where ``fit(epochs)`` would stumble, before it has cost anything."""
    state = [list(optimizer.state.values()) for optimizer in trainer.optimizers]
    tensors = [*trainer.model.parameters(), *tensors_in(state)]
    if strays := {str(t.device) for t in tensors if t.ndim and t.device.type != trainer.device.type}:
        raise ValueError(
            f"the Trainer works on {trainer.device}, the model or the optimizer's state lies on {strays}: "
            f"model.to('{trainer.device}'), then make the optimizer, then the Trainer"
        )
    batches = length(trainer.train_loader) or 0
    for scheduler in trainer.schedulers:
        _check_length(trainer, scheduler, epochs, batches)
    if any(isinstance(each, Checkpoint) for each in trainer.callbacks) and is_inexact(trainer.train_loader):
        why = (
            "workers that persist keep random numbers of their own: resumed, this training would draw others"
        )
        way = "persistent_workers=False or data.loader resumes to the bit"
        logging.getLogger("dl_course").warning("%s; %s", why, way)


def _check_length(trainer: Any, scheduler: Any, epochs: int, batches: int) -> None:
    """Raise ValueError for a schedule of too few steps, or made for batches where several are a step."""
    updates = math.ceil(batches / trainer.accumulate)
    needed = epochs * updates
    total = getattr(scheduler, "total_steps", None)
    if total and needed > total:
        raise ValueError(f"the scheduler ends after {total} steps; {epochs} epochs take {needed}")
    sized = getattr(scheduler, "steps_per_epoch", None) == batches or total == epochs * batches
    if sized and trainer.accumulate > 1 and updates < batches:
        way = f"steps_per_epoch={updates}, batches over accumulate, rounded up"
        raise ValueError(f"the schedule is made for {batches} steps an epoch, which has {updates}: {way}")


def check_up(trainer: Any, strict: bool) -> None:
    """Log what a check-up finds before a training; raise ValueError for errors if strict, or for a step."""
    if trainer.loss_fn is None:
        raise ValueError(
            "checkup= is for a loss_fn; of a step, diagnostics.checkup(train_step=…) can be asked"
        )
    from dl_course.diagnostics import checkup

    parts = {"optimizer": trainer.optimizer, "val_loader": trainer.val_loader}
    parts["scheduler"] = trainer.schedulers[0] if trainer.schedulers else None
    report = checkup(trainer.model, trainer.train_loader, trainer.loss_fn, **parts)
    wrong = [finding for finding in report if finding.severity != "info"]
    if wrong:
        logging.getLogger("dl_course").warning("%s", report)
    if strict and any(finding.severity == "error" for finding in wrong):
        raise ValueError(f"the check-up found errors: {', '.join(finding.fault for finding in wrong)}")


def length(loader: Any) -> int | None:
    """Return the number of batches; None where nobody knows, as of an IterableDataset."""
    try:
        return len(loader)
    except TypeError:
        return None


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return what an optimizer moves."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def samples_in(batch: Any) -> int:
    """Return the length of a batch's first tensor; raise ValueError where there is none."""
    first = next(tensors_in(batch), None)
    if first is None:
        raise ValueError(f"a batch holds a tensor, in tuples, lists or dicts; given: {type(batch).__name__}")
    return len(first) if first.ndim else 1


def checked_pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Return the batch; raise ValueError unless it is a pair of tensors of as many samples."""
    inputs, labels = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    if isinstance(inputs, Tensor) and isinstance(labels, Tensor) and 0 < len(inputs) == len(labels):
        return inputs, labels
    given = [tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__ for t in (inputs, labels)]
    raise ValueError(
        f"a batch is (inputs, labels), tensors of as many samples, not 0; given: {given}. For another form "
        "give the Trainer step= in place of loss_fn="
    )


def checked_step(found: Any, count: int | None) -> tuple[list[Tensor], dict[str, float]]:
    """Return a step's losses, ``count`` of them, and its other figures; ValueError for anything else."""
    figures = dict(found) if isinstance(found, Mapping) else {"loss": found}
    losses = figures.pop("loss", None)
    losses = list(losses) if isinstance(losses, list | tuple) else [losses]
    right = all(isinstance(loss, Tensor) and loss.ndim == 0 for loss in losses)
    if not right or count not in (None, len(losses)):
        wanted = (
            "a loss, or a dict with it under 'loss'" if count in (None, 1) else f"a list of {count} losses"
        )
        raise ValueError(f"a step returns {wanted}, each a tensor of one number; given: {found}")
    _check_names(figures)
    return losses, {name: float(value) for name, value in figures.items()}


def check_not_empty(batches: int, loader: Any) -> None:
    """Raise ValueError where a loader gave nothing."""
    if not batches:
        size = length(getattr(loader, "dataset", None))
        raise ValueError(
            f"the loader gave no batch (samples in its data set: {size}). Is the set empty, smaller than a "
            "batch under drop_last, or the loader a generator, which can be read only once?"
        )


def check_labels(loss_fn: Any, outputs: Any, labels: Tensor) -> None:
    """Raise ValueError for a class that the model has no output for; a GPU would end the process.

    labels: as the loader gave them, on the CPU as a rule, where a look at every batch costs microseconds.
    Only of a loss that is known to take classes.
    """
    if not is_class_loss(loss_fn) or not isinstance(outputs, Tensor) or labels.is_floating_point():
        return
    classes = outputs.shape[1] if outputs.ndim == labels.ndim + 1 >= 2 else 1
    low, high = labels.aminmax()
    if classes > 1 and (low < 0 or high >= classes):
        wrong = set(labels[(labels < 0) | (labels >= classes)].tolist())
        if wrong := wrong - {loss_settings(loss_fn)[1].get("ignore_index", -100)}:
            raise ValueError(
                f"labels are classes 0 … {classes - 1} for a model of {classes} outputs; found: "
                f"{sorted(wrong)[:5]}. Counted from 1: subtract 1. More classes: widen the last layer"
            )


def explained_loss(loss_fn: Any, outputs: Any, labels: Tensor) -> Tensor:
    """Return the loss, run once.

    What a loss of torch's can't take raises ValueError with what was probably meant; what another raises
    comes as it is, with a note of what it was given.
    """
    given = f"outputs {_described(outputs)} with labels {_described(labels)}"
    known = is_known(loss_fn)
    if known and _differ_in_shape_alone(outputs, labels) and not is_class_loss(loss_fn):
        raise ValueError(f"the loss function cannot take {given}: {_meant(outputs, labels)}")
    try:
        loss = loss_fn(outputs, labels)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        if not known or re.search(NO_MEMORY, str(error)):
            error.add_note(f"the loss function was given {given}")
            raise
        why = _meant(outputs, labels) or error
        raise ValueError(f"the loss function cannot take {given}: {why}") from error
    if not isinstance(loss, Tensor) or loss.ndim:
        raise ValueError(f"the loss function gives {_described(loss)}, not one mean; reduction='mean'?")
    return loss


def _described(value: Any) -> str:
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


def _differ_in_shape_alone(outputs: Any, labels: Tensor) -> bool:
    """(N, 1) against (N,) would become (N, N) in a regression's loss, without an error."""
    same_size = isinstance(outputs, Tensor) and outputs.numel() == labels.numel()
    return same_size and outputs.shape != labels.shape


def _meant(outputs: Any, labels: Tensor) -> str:
    if not isinstance(outputs, Tensor):
        return "give it the part it takes: loss_fn=lambda outputs, labels: loss(outputs[…], labels)"
    if len(outputs) != len(labels):
        return "the model changed the number of samples; a view(-1, …) in it? flatten(1) keeps them"
    if _differ_in_shape_alone(outputs, labels):
        return "as many numbers in another shape; labels.view_as(outputs)?"
    if outputs.shape == labels.shape:
        return "one-hot labels? labels.argmax(1), or labels.float() as probabilities"
    if labels.shape == (len(labels), 1):
        return "one label a sample; labels.squeeze(1)?"
    is_class = labels.is_floating_point() and labels.ndim + 1 == outputs.ndim
    return "classes are whole numbers; labels.long()?" if is_class else ""


def check_loss(trainer: Any, row: Mapping[str, float], batch: Any, number: int) -> None:
    """Raise TrainingError where the loss is not finite: batch, first layer concerned, what to try."""
    value = row["loss"]
    if math.isfinite(value):
        return
    inputs, *others = tensors_in(batch)
    bad = [i for i, each in enumerate(inputs) if not each.isfinite().all()]
    layer: str | None = None
    if bad or not all(tensor.isfinite().all() for tensor in others):
        why = f"the batch is not finite itself (samples {bad[:5]}, or labels): mend data or transform"
    elif (layer := _first_bad_layer(trainer, batch)) is not None:
        module = trainer.model.get_submodule(layer)
        spoiled = [name for name, p in module.named_parameters() if not p.isfinite().all()]
        why = f"the first layer to put out such numbers is '{layer}' ({type(module).__name__})"
        why += f", whose {spoiled[0]} is not finite" if spoiled else ""
    else:
        why = "every layer's output is finite: is there a log(0) or a division by 0 in the loss function?"
    _stop(trainer, f"the loss is {value} at {_where(trainer, number)}; {why}", layer)


def check_gradient(trainer: Any, norm: float) -> None:
    """Raise TrainingError where the gradient is not finite, before the weights get it; fp16 skips such."""
    if math.isfinite(norm) or trainer.precision == "fp16":
        return
    gradients = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()] or [""]
    why = f"the loss is finite and its gradient is not, at {_where(trainer, 0)}, first for '{bad[-1]}': is "
    why += "there a square root, a norm or a division at 0 behind it? Add a small eps there"
    _stop(trainer, why, bad[-1].rpartition(".")[0] or None)


def _where(trainer: Any, number: int) -> str:
    return f"epoch {trainer.epoch + 1}, batch {trainer.batch + number + 1} (from 1)"


def _stop(trainer: Any, why: str, layer: str | None) -> None:
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    error = TrainingError(
        f"{why}. Try a tenth of the learning rate (now {rate:.3g}), a warm-up, max_grad_norm=1"
        + (", precision='bf16'" if trainer.precision == "fp16" else "")
        + ". This update was not made; trainer.resume('latest') goes back to the last checkpoint"
    )
    error.layer = layer
    raise error


def _first_bad_layer(trainer: Any, batch: Any) -> str | None:
    if trainer.is_split:
        return None  # which all processes would have to run
    found: list[str] = []

    def note(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not found and not all(tensor.isfinite().all() for tensor in tensors_in(output)):
            found.append(name)

    with preserved(trainer.model), watching(trainer.model, note):
        trainer.run(batch, trainer.model)
    return found[0] if found else None


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Where the block fails, put buffers back: BatchNorm's averages hold what came before the error."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    except Exception:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
        raise


@contextmanager
def memory_explained(trainer: Any, batch: Any) -> Iterator[None]:
    """Turn "out of memory" into a TrainingError that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(NO_MEMORY, str(error)):
            raise
        first = next(tensors_in(batch))
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that fill the memory
        raise TrainingError(
            f"out of memory with a batch of {tuple(first.shape)}. Lower, in this order: "
            f"batch_size={max(1, len(first) // 2)} with accumulate={2 * trainer.accumulate}, the "
            "same update; precision='bf16'; what is kept, by checkpointed(model, layers); the pictures' size"
        ) from error


def check_state(trainer: Any, state: Any, names: set[str]) -> None:
    """Raise ValueError for a checkpoint that lacks what this Trainer needs, or is of another network."""
    names |= {"model", "optimizers", "schedulers", "callbacks", "epoch", "step", "batch", "order", "random"}
    if missing := sorted(names - state.keys()):
        raise ValueError(f"the checkpoint holds no {', '.join(missing)}; there is: {', '.join(state)}")
    states = (trainer.model_state(), state["model"])
    own, saved = ({n: tuple(v.shape) for n, v in s.items() if isinstance(v, Tensor)} for s in states)
    differing = [name for name in {**own, **saved} if own.get(name) != saved.get(name)]
    if differing:
        name = differing[0]
        shapes = f"{own.get(name, 'nothing')} here, {saved.get(name, 'nothing')} there"
        raise ValueError(
            f"the checkpoint is of another network: {len(differing)} differ, as '{name}' ({shapes})"
        )
    for kind in ("optimizers", "schedulers"):
        if len(getattr(trainer, kind)) != len(state[kind]):
            given = f"{len(getattr(trainer, kind))} here, {len(state[kind])} there"
            raise ValueError(f"the checkpoint is of another number of {kind}: {given}")
    for optimizer, saved_one in zip(trainer.optimizers, state["optimizers"], strict=True):
        if _group_sizes(optimizer) != _group_sizes(saved_one):
            sizes = f"{_group_sizes(optimizer)} here, {_group_sizes(saved_one)} there"
            raise ValueError(f"the checkpoint's optimizer has other groups of parameters: {sizes}")


def _group_sizes(optimizer: Any) -> list[int]:
    groups = optimizer["param_groups"] if isinstance(optimizer, Mapping) else optimizer.param_groups
    return [len(group["params"]) for group in groups]
