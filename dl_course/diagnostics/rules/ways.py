"""How people call their models: batches in dicts, a loss inside the model, Lightning's steps, one's own."""

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from dl_course.diagnostics.rules.finding import Skip
from dl_course.hooks import mapped, tensors_in, watching
from dl_course.kept import kept
from dl_course.runtime import preserved_rng

LABELS = ("labels", "label", "targets", "target", "y")  # as dicts call them
FEW = 8  # samples that a loss is recognised by
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": F.cross_entropy,
    "cross-entropy of tokens": lambda o, y: F.cross_entropy(o.flatten(0, -2), y.flatten()),
    "cross-entropy of next tokens": lambda o, y: F.cross_entropy(o[:, :-1].flatten(0, 1), y[:, 1:].flatten()),
    "smoothed cross-entropy": partial(F.cross_entropy, label_smoothing=0.1),
    "negative log-likelihood": F.nll_loss,
    "mean squared error": F.mse_loss,
    "mean squared error of columns": lambda o, y: F.mse_loss(o.flatten(), y.flatten()),
    "mean absolute error": F.l1_loss,
    "smooth mean absolute error": F.smooth_l1_loss,
    "binary cross-entropy with logits": lambda o, y: F.binary_cross_entropy_with_logits(o, y.to(o)),
    "binary cross-entropy": lambda o, y: F.binary_cross_entropy(o, y.to(o)),
}


class Form:
    """How a loader puts its batches together: (inputs, labels), (input, …, labels), or by name."""

    def __init__(self) -> None:
        self.flat = False
        self.names = list[str]()
        self.label: Any = None
        self.like: Any = None

    def parts(self, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """Return (inputs, labels) of a batch that was split."""
        if labels is None and len(inputs) == 1 and isinstance(inputs[0], Mapping):
            self.like = inputs[0]
            self.label = next((name for name in LABELS if name in self.like), None)
            tensors = [name for name, value in self.like.items() if isinstance(value, Tensor)]
            self.names = [name for name in tensors if name != self.label]
            return tuple(self.like[name] for name in self.names), self.like.get(self.label)
        self.flat |= labels is None and len(inputs) > 2  # a loss needs labels
        return (inputs[:-1], inputs[-1]) if self.flat else (inputs, labels)

    def whole(self, batch: Any) -> Any:
        """Return (inputs, labels) as the loader gives them."""
        inputs, labels = batch
        if self.names:
            values = dict(zip(self.names, inputs, strict=True))
            return _updated(self.like, values | ({self.label: labels} if self.label else {}))
        alone = inputs[0] if len(inputs) == 1 else inputs
        return (*inputs, labels) if self.flat else alone if labels is None else (alone, labels)


def _updated(like: Any, values: dict[str, Any]) -> Any:
    made = copy.copy(like)
    made.update(values)
    return made


@dataclass
class Way:
    """How outputs come from inputs, by (model, inputs) or, where None, model(*inputs), and the loss of them.

    inside: whether the loss is all that is known: then labels are the last input, and "loss" the output.
    """

    call: Any
    loss_fn: Any
    inside: bool = False
    note: str = ""


def way_of(e: Any) -> Way:
    """Return the way; where no loss was given, that of the model or of the step, if it is a known one."""
    taken = e.taken  # by which the form is known
    call = _by_name(e.form, e.model)
    if e.given_loss is not None or not taken:
        return Way(call, e.given_loss or unknown)
    few = mapped(lambda t: t[:FEW].to(e.device) if t.dim() else t, taken[0])
    run = _inside(e)
    with preserved_rng(e.given["seed"]), torch.enable_grad():
        if run is not None:
            calls, loss = _seen(copy.deepcopy(e.model), partial(run, batch=e.form.whole(few)))
        elif e.given["train_step"] and e.given["optimizer"]:
            calls, loss = _practised(e, few)
        else:
            return Way(call, unknown)
        found = _recognised(e, call, calls, few, loss)
    if found or run is None:
        return found or Way(call, unknown)
    whole = lambda inputs: e.form.whole((inputs[:-1], inputs[-1]))  # noqa: E731
    note = "the loss, made inside the model, is none of the usual ones: outputs were not held against labels"
    return Way(lambda model, inputs: {"loss": run(model, whole(inputs))}, lambda o, y: o["loss"], True, note)


def unknown(outputs: Any, labels: Any) -> Any:
    """Stand for a loss that nobody has given; raises Skip."""
    raise Skip("needs loss_fn=")


def _by_name(form: Form, model: nn.Module) -> Any:
    """Return how inputs in a dict are handed over: by name, or, where none is an argument, in the dict."""
    if not form.names:
        return None
    known = inspect.signature(model.forward).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in known.values())
    fits = {name for name in form.names if takes_all or name in known}
    if not fits and len(form.names) == 1:
        return None
    named = lambda inputs: dict(zip(form.names, inputs, strict=True))  # noqa: E731
    if not fits:
        return lambda model, inputs: model.forward(named(inputs))
    return lambda model, inputs: model.forward(**{k: v for k, v in named(inputs).items() if k in fits})


def _inside(e: Any) -> Any:
    """Return how a model gives its own loss, (model, batch) -> loss, or None."""
    if hasattr(e.model, "training_step"):
        return lambda model, batch: _loss_in(model.training_step(batch, 0))
    known = inspect.signature(e.model.forward).parameters
    if not e.form.label or e.form.label not in known or e.given["train_step"]:
        return None
    takes_all = any(each.kind is each.VAR_KEYWORD for each in known.values())
    return lambda model, batch: _loss_in(model(**{k: v for k, v in batch.items() if takes_all or k in known}))


def _loss_in(result: Any) -> Any:
    if isinstance(result, Mapping):
        return result["loss"]
    return result[0] if isinstance(result, tuple | list) else getattr(result, "loss", result)


def _seen(model: nn.Module, run: Any) -> tuple[list[Any], Any]:
    """Return all modules' calls, (name, tensors given, output), and the loss that ``run(model)`` gave."""
    calls = list[Any]()

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        calls.append((name, [*tensors_in([args, kwargs])], mapped(lambda t: t.detach().clone(), output)))

    with watching(model, leave):
        return calls, run(model)


class _Backward(TorchFunctionMode):
    """Notes what backward() is called on."""

    loss: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.loss = args[0].detach() if func is Tensor.backward else self.loss
        return func(*args, **(kwargs or {}))


def _practised(e: Any, few: Any) -> tuple[list[Any], Any]:
    step = e.given["train_step"]
    optimizer = e.given["optimizer"]
    with kept(e.model, optimizer, step), _Backward() as backward:
        batch = mapped(torch.clone, e.form.whole(few))
        calls = _seen(e.model, lambda model: step(model, batch, optimizer))[0]
    return calls, backward.loss


def _recognised(e: Any, call: Any, calls: list[Any], few: Any, loss: Any) -> Way | None:
    """Return the way of the last module that was given the inputs, and put out what has this loss."""
    inputs, labels = few
    if not isinstance(loss, Tensor) or not isinstance(labels, Tensor):
        return None
    for name, given, output in reversed(calls):
        for place, each in enumerate(reversed([*tensors_in(output)]), 1):
            known = _known_loss(each, labels, loss) if _among(inputs, given) else None
            way = partial(_picked, name=name, call=call, place=place)
            if known and _works(e, way, inputs, each):
                note = f"the loss is not given; it is {known} of what '{name or 'the model'}' puts out"
                return Way(way, LOSSES[known], note=note)
    return None


def _known_loss(outputs: Tensor, labels: Tensor, loss: Tensor) -> str | None:
    for name, function in LOSSES.items():
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of shapes that don't fit
            if outputs.dim() and torch.isclose(function(outputs, labels), loss, rtol=1e-4):
                return name
    return None


def _among(inputs: Any, given: list[Tensor]) -> bool:
    return any(a.shape == b.shape and torch.equal(a, b) for a in tensors_in(inputs) for b in given)


def _picked(model: nn.Module, inputs: Any, name: str, call: Any, place: int) -> Tensor:
    if name:
        return [*tensors_in(model.get_submodule(name)(*inputs))][-place]
    return [*tensors_in(call(model, inputs) if call else model.forward(*inputs))][-place]


def _works(e: Any, way: Any, inputs: Any, outputs: Tensor) -> bool:
    with suppress(Exception), torch.no_grad():
        return bool(way(copy.deepcopy(e.model), mapped(torch.clone, inputs)).shape == outputs.shape)
    return False


def called(model: nn.Module, way: Any) -> None:
    """Have a model, in place, called another way: model(*inputs) gives ``way(model, inputs)``."""
    kind = type(model)

    def forward(self: nn.Module, *inputs: Any) -> Any:
        self.__class__ = kind
        try:
            return way(self, inputs)
        finally:
            self.__class__ = other

    made: Any = type(kind)
    other = made(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    model.__class__ = other


def lightning(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return the optimizer, schedule and step of a LightningModule, so far as they are not given."""
    if not hasattr(model, "training_step") or not hasattr(model, "configure_optimizers"):
        return {}
    made = {"train_step": given["train_step"] or _training_step}
    if given["optimizer"] is None:
        both = model.configure_optimizers()
        both = (both["optimizer"], both.get("lr_scheduler")) if isinstance(both, Mapping) else both
        optimizer, scheduler = both if isinstance(both, tuple | list) and len(both) == 2 else (both, None)
        made |= {"optimizer": _single(optimizer), "scheduler": _single(scheduler)}
    return made


def _single(part: Any) -> Any:
    """Return what is in a list of one, or in a dict with its settings; None for several."""
    part = (part[0] if len(part) == 1 else None) if isinstance(part, tuple | list) else part
    return part.get("scheduler") if isinstance(part, Mapping) else part


def _training_step(model: Any, batch: Any, optimizer: Any) -> None:
    """Make a step as Lightning does."""
    optimizer.zero_grad()
    _loss_in(model.training_step(batch, 0)).backward()
    optimizer.step()
