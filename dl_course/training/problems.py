"""What goes wrong in a training, in words: what was found, where, and what to try."""

import math
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dl_course.hooks import preserved, tensors_in, watching
from dl_course.registry import nearest
from dl_course.training.losses import FocalLoss

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
EVENTS = ("fit_start", "step_end", "epoch_end", "interrupted", "fit_end")
NO_MEMORY = "out of memory|can't allocate memory|not enough memory"


class TrainingError(RuntimeError):
    """A training that cannot go on; says where, and what to try. layer: the one concerned, or None."""

    layer: str | None = None


def check_parts(trainer: Any) -> None:
    """Raise ValueError for parts of a Trainer that do not belong together."""
    if trainer.precision not in PRECISIONS:
        raise ValueError(f"unknown precision '{trainer.precision}'{nearest(trainer.precision, PRECISIONS)}")
    if trainer.accumulate < 1 or trainer.max_grad_norm <= 0:
        given = f"{trainer.accumulate} and {trainer.max_grad_norm}"
        raise ValueError(f"accumulate counts from 1 and max_grad_norm is above 0; given: {given}")
    own = {id(p) for p in trainer.model.parameters()}
    if not any(id(p) in own for group in trainer.optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "the optimizer moves no parameter of this model: make it after the model, from its own"
        )
    if trainer.scheduler is not None and trainer.scheduler.optimizer is not trainer.optimizer:
        raise ValueError("the scheduler steers another optimizer: make it after this one, from this one")
    for callback in trainer.callbacks:
        if isinstance(callback, type) or not any(hasattr(callback, event) for event in EVENTS):
            raise ValueError(f"a callback is an object with one of the methods {EVENTS}; given: {callback!r}")


def check_start(trainer: Any, epochs: int) -> None:
    """Raise ValueError where ``fit(epochs)`` would stumble, before it has cost anything."""
    tensors = [*trainer.model.parameters(), *tensors_in(list(trainer.optimizer.state.values()))]
    if strays := {str(t.device) for t in tensors if t.ndim and t.device.type != trainer.device.type}:
        raise ValueError(
            f"the Trainer works on {trainer.device}, the model or the optimizer's state lies on {strays}: "
            f"model.to('{trainer.device}'), then make the optimizer, then the Trainer"
        )
    total, loader = getattr(trainer.scheduler, "total_steps", None), trainer.train_loader
    needed = epochs * math.ceil(len(loader) / trainer.accumulate) if hasattr(loader, "__len__") else 0
    if total and needed > total:
        raise ValueError(f"the scheduler ends after {total} steps; {epochs} epochs take {needed}")


def checked_batch(batch: Any) -> tuple[Tensor, Tensor]:
    """Return the batch; raise ValueError unless it is a pair of tensors of as many samples."""
    inputs, labels = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    if isinstance(inputs, Tensor) and isinstance(labels, Tensor) and 0 < len(inputs) == len(labels):
        return inputs, labels
    given = [tuple(t.shape) if isinstance(t, Tensor) else type(t).__name__ for t in (inputs, labels)]
    raise ValueError(f"a batch is (inputs, labels), tensors of as many samples, not 0; given: {given}")


def check_not_empty(batches: int, loader: Any) -> None:
    """Raise ValueError where a loader gave nothing."""
    if not batches:
        size = len(loader.dataset) if hasattr(getattr(loader, "dataset", None), "__len__") else "unknown"
        raise ValueError(
            f"the loader gave no batch (samples in its data set: {size}). Is the set empty, smaller than a "
            "batch under drop_last, or the loader a generator, which can be read only once?"
        )


def check_labels(trainer: Any, outputs: Any, labels: Tensor) -> None:
    """Raise ValueError for a class that the model has no output for; a GPU would end the process.

    labels: as the loader gave them, on the CPU as a rule, where a look at every batch costs microseconds.
    """
    loss_fn = trainer.loss_fn
    classifies = isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss | FocalLoss)
    classifies |= "accuracy" in trainer.metrics or loss_fn in (F.cross_entropy, F.nll_loss)
    if not classifies or not isinstance(outputs, Tensor) or labels.is_floating_point():
        return
    classes = outputs.shape[1] if outputs.ndim == labels.ndim + 1 >= 2 else 1
    low, high = labels.aminmax()
    if classes > 1 and (low < 0 or high >= classes):
        wrong = set(labels[(labels < 0) | (labels >= classes)].tolist())
        if wrong := wrong - {getattr(loss_fn, "ignore_index", -100)}:
            raise ValueError(
                f"labels are classes 0 … {classes - 1} for a model of {classes} outputs; found: "
                f"{sorted(wrong)[:5]}. Counted from 1: subtract 1. More classes: widen the last layer"
            )


def explained_loss(loss_fn: Callable[[Any, Tensor], Tensor], outputs: Any, labels: Tensor) -> Tensor:
    """Return the loss; raise ValueError with what was probably meant where outputs and labels do not fit."""
    cause: Exception | None = None
    if not (labels.is_floating_point() and _differ_in_shape_alone(outputs, labels)):
        try:
            loss = loss_fn(outputs, labels)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            if re.search(NO_MEMORY, str(error)):
                raise
            cause = error
        else:
            if loss.ndim == 0:
                return loss
            raise ValueError(f"the loss function gives {tuple(loss.shape)}, not one mean; reduction='mean'?")
    given = (
        f"{tuple(outputs.shape)} {outputs.dtype}" if isinstance(outputs, Tensor) else type(outputs).__name__
    )
    raise ValueError(
        f"the loss function cannot take outputs {given} with labels {tuple(labels.shape)} {labels.dtype}: "
        f"{_meant(outputs, labels) or cause}"
    ) from cause


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


def check_loss(trainer: Any, value: float, batch: tuple[Tensor, Tensor], number: int) -> None:
    """Raise TrainingError where the loss is not finite: batch, first layer concerned, what to try."""
    if math.isfinite(value):
        return
    bad, layer = [i for i, each in enumerate(batch[0]) if not each.isfinite().all()], None
    if bad or not batch[1].isfinite().all():
        why = f"the batch is not finite itself (samples {bad[:5]}, or labels): mend data or transform"
    elif (layer := _first_bad_layer(trainer)) is not None:
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
    rate = trainer.optimizer.param_groups[0]["lr"]
    error = TrainingError(
        f"{why}. Try a tenth of the learning rate (now {rate:.3g}), a warm-up, max_grad_norm=1"
        + (", precision='bf16'" if trainer.precision == "fp16" else "")
        + ". This update was not made; trainer.resume('latest') goes back to the last checkpoint"
    )
    error.layer = layer
    raise error


def _first_bad_layer(trainer: Any) -> str | None:
    found: list[str] = []

    def look(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not found and not all(tensor.isfinite().all() for tensor in tensors_in(output)):
            found.append(name)

    with torch.no_grad(), preserved(trainer.model), watching(trainer.model, look), trainer.autocast():
        trainer.model(trainer.inputs)
    return found[0] if found else None


@contextmanager
def memory_explained(trainer: Any, batch: tuple[Tensor, Tensor]) -> Iterator[None]:
    """Turn "out of memory" into a TrainingError that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(NO_MEMORY, str(error)):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that fill the memory
        raise TrainingError(
            f"out of memory with a batch of {tuple(batch[0].shape)}. Lower, in this order: "
            f"batch_size={max(1, len(batch[0]) // 2)} with accumulate={2 * trainer.accumulate}, the "
            "same update; precision='bf16'; what is kept, by checkpointed(model, layers); the pictures' size"
        ) from error


def check_state(state: Any, names: set[str]) -> None:
    """Raise ValueError for a checkpoint that lacks what this Trainer needs."""
    if missing := sorted(names - state.keys()):
        raise ValueError(f"the checkpoint holds no {', '.join(missing)}; there is: {', '.join(state)}")
