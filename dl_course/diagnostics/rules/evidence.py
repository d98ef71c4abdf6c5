"""The evidence: a sample of the data, copies of the network, measurements; each made once, when asked for."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from copy import deepcopy
from functools import cache, cached_property
from itertools import cycle, islice
from time import perf_counter, thread_time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import conv
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from dl_course.diagnostics.checks import check_loader
from dl_course.diagnostics.forward import debug_forward
from dl_course.diagnostics.gradients import gradient_flow
from dl_course.diagnostics.rules.finding import Skip
from dl_course.diagnostics.rules.practice import CALLS, PATIENCE, Practice, distance
from dl_course.diagnostics.rules.ways import Form, Way, called, lightning, unknown, way_of
from dl_course.diagnostics.table import batches
from dl_course.hooks import mapped, preserved, tensors_in, watching
from dl_course.runtime import device_of

SAMPLES = 2048  # of a loader, at most
NUMBERS = 2**24  # that they hold together, at most
SECONDS = 5.0  # that a loader is waited for
BATCH = 64  # samples a step of a trial, at most
WORK = 12e9  # operations of a forward pass on them, about; but 2 samples at least
SIDE = 64  # pixels that large pictures keep, at least, where they mean too much work
STEPS = 40  # of a trial
WEIGHTED = (nn.Linear, conv._ConvNd)
DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
Parts = tuple[nn.Module, Any, Any]


class Dropouts(TorchFunctionMode):
    """Notes the shares that functions of dropout drop."""

    def __init__(self) -> None:
        super().__init__()
        self.shares = [0.0]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in DROPOUTS:
            places = dict(zip(("p", "training"), args[1:3], strict=False))
            given = {"p": 0.5, "training": True} | places | (kwargs or {})
            self.shares.append(given["p"] * bool(given["training"]))
        return func(*args, **(kwargs or {}))


class Evidence:
    """All that rules may look at. Model, optimizer, scheduler and loss are copied; the caller's never run."""

    def __init__(self, model: nn.Module, train_loader: Any, loss_fn: Any, **given: Any) -> None:
        self.model = model
        self.train_loader = train_loader
        self.given_loss = loss_fn
        self.given = given | lightning(model, given)
        self.notes = list[str]()
        self.device = device_of(model)
        self.form = Form()
        self.trial = cache(self._trial)
        self.made = dict[Any, Any]()
        self.seconds = 0.0  # that a forward pass took, a sample

    def of(self, measure: Any) -> Any:
        """Return ``measure(self)``, made once."""
        if measure not in self.made:
            self.made[measure] = measure(self)
        return self.made[measure]

    def need(self, name: str) -> Any:
        """Return an argument of the check-up; Skip where it was not given."""
        if self.given[name] is None:
            raise Skip(f"needs {name}=")
        return self.given[name]

    def _sample(self, loader: Any, name: str) -> list[Any]:
        taken = list[Any]()
        samples = 0
        numbers = 0
        start = perf_counter()
        try:
            with closing(batches(loader)) as stream:
                for inputs, labels in stream:
                    inputs, labels = self.form.parts(inputs, labels)
                    taken.append(mapped(torch.detach, (inputs, labels)))
                    x = next(tensors_in(inputs))
                    samples += len(x)
                    numbers += x.numel()
                    if samples >= SAMPLES or numbers >= NUMBERS or perf_counter() - start > SECONDS:
                        break
        except Exception as error:  # of a stranger's loader
            self.notes.append(f"{name} raised {type(error).__name__} after {len(taken)} batches: {error}")
        if isinstance(loader, Iterator):
            self.notes.append(f"{name} is an iterator: the {len(taken)} batches taken from it are gone")
        return taken

    taken = cached_property(lambda self: self._sample(self.train_loader, "train_loader"))
    val = cached_property(lambda self: self._sample(self.need("val_loader"), "val_loader"))
    facts = cached_property(lambda self: facts_of(self.train))
    val_facts = cached_property(lambda self: facts_of(self.val))
    batch = cached_property(lambda self: self.few(joined(self.train, self.size)))
    x = cached_property(lambda self: floats(self.train))
    sizes = cached_property(lambda self: [len(next(tensors_in(batch))) for batch in self.train])

    @cached_property
    def way(self) -> Way:
        """How the model is called, and the loss, where none was given."""
        try:
            way = way_of(self)
        except Exception as error:  # of a stranger's model or step
            note = f"looking for its loss, the model or step raised {type(error).__name__}: {error}"
            way = Way(None, unknown, note=note)
        self.notes += [way.note] * bool(way.note)
        return way

    loss_fn = cached_property(lambda self: self.way.loss_fn)

    @cached_property
    def train(self) -> list[Any]:
        """The batches, (inputs, labels) each."""
        return [((*x, y), y) for x, y in self.taken] if self.way.inside else self.taken

    @cached_property
    def thinned(self) -> tuple[float, int]:
        """The operations of a forward pass on a sample, and which rows and columns of pictures are used."""
        if not self.train:
            return 0.0, 1
        inputs, labels = mapped(lambda t: t[:2].to(self.device) if t.dim() else t, self.train[0])
        pictures = [t for t in inputs if isinstance(t, Tensor) and t.dim() == 4]
        work, outputs = self._work(inputs)
        every = min(pictures[0].shape[2:]) // SIDE if pictures else 1
        dense = len(inputs) > 1 or any(t.dim() > 2 for t in tensors_in(labels))
        if dense or every < 2 or work * BATCH < WORK:
            return work, 1
        less, small = self._work((pictures[0][..., ::every, ::every],))
        return (less, every) if small == outputs else (work, 1)

    def _work(self, inputs: Any) -> tuple[float, Any]:
        with suppress(Exception), torch.no_grad(), FlopCounterMode(display=False) as counter:
            outputs = self.copies()[0].eval()(*mapped(torch.clone, inputs))
            return counter.get_total_flops() / 2, [t.shape for t in tensors_in(outputs)]
        return 0.0, None

    size = property(lambda self: max(2, min(BATCH, int(WORK / max(self.thinned[0], 1)))))

    def few(self, batch: Any) -> Any:
        """Return as much of a batch as takes no long time, on the device."""
        every = self.thinned[1]
        size = len(next(tensors_in(batch))) if related(batch) else self.size
        thin = lambda t: t[..., ::every, ::every] if every > 1 and t.dim() == 4 else t  # noqa: E731
        return mapped(lambda t: thin(t[:size] if t.dim() else t).to(self.device), batch)

    @cached_property
    def whole(self) -> Any:
        """``batch`` as loaders give it, with an input alone in no tuple."""
        return self.as_given(self.batch)

    def as_given(self, batch: Any) -> Any:
        """Return (inputs, labels) as the loader gives them."""
        return self.form.whole((batch[0][:-1], batch[1]) if self.way.inside else batch)

    @cached_property
    def targets(self) -> Tensor:
        """The labels (N, …) of the sample; Skip where they are not in one tensor."""
        pieces = [labels for _, labels in self.train if isinstance(labels, Tensor) and labels.dim()]
        if len(pieces) < len(self.train) or len({piece.shape[1:] for piece in pieces}) > 1:
            raise Skip("is for labels in one tensor")
        return torch.cat(pieces)

    @cached_property
    def labels(self) -> Tensor:
        """The classes (N,) of the sample, also of (N, 1) and of floats 0 and 1; Skip where there are none."""
        y = self.targets
        y = y[:, 0] if y.dim() == 2 and y.shape[1] == 1 else y
        outputs = self.outputs if y.dim() == 1 and isinstance(self.outputs, Tensor) else None
        measured = outputs is not None and outputs.numel() == len(outputs) and len(y.unique()) > 2
        if y.dim() != 1 or measured or (y.is_floating_point() and not ((y == 0) | (y == 1)).all()):
            raise Skip("is for labels (N,) that are classes")
        return y.long()

    def copies(self, rate: float = 1.0) -> Parts:
        """Return copies of (model, optimizer, loss_fn), at ``rate`` times the schedule's highest."""
        model, optimizer, loss_fn = deepcopy((self.model, self.given["optimizer"], self.loss_fn))
        if self.way.call:
            called(model, self.way.call)
        model.zero_grad()  # copied together: the optimizer's parameters are the model's
        if optimizer is not None:
            for group, peak in zip(optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = peak * rate
        return model, optimizer, loss_fn

    @cached_property
    def peaks(self) -> list[float]:
        """The groups' learning rates where the schedule, as it goes on from here, is highest."""
        optimizer, scheduler = deepcopy((self.given["optimizer"], self.given["scheduler"]))
        rates = [[group["lr"] for group in optimizer.param_groups]]
        steps = 0 if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau | None) else 10_000
        with warnings.catch_warnings(), suppress(ValueError):  # one-cycle's end
            warnings.simplefilter("ignore")  # that no optimizer.step() comes between
            for _ in range(steps):
                scheduler.step()
                rates.append([group["lr"] for group in optimizer.param_groups])
        return max(rates, key=sum)

    def training(self, rate: float = 1.0) -> Parts:
        """Return copies with the model in train mode; parts of a model in train mode keep their flags."""
        model, *rest = self.copies(rate)
        return model if model.training else model.train(), *rest

    @cached_property
    def outputs(self) -> Any:
        """The outputs on ``batch`` in train mode, with their graph; Skip names the layer that raised."""
        model = self.training()[0].requires_grad_()
        try:
            with preserved(model):
                start = thread_time()
                made = model(*mapped(torch.clone, self.batch[0]))
                self.seconds = (thread_time() - start) / len(next(tensors_in(self.batch)))
                return made
        except Exception as error:
            note = debug_forward(model, *self.batch[0]).note
            raise Skip(f"the model does not take the loader's batch: {note}") from error

    @cached_property
    def logits(self) -> Tensor:
        """The outputs (N, C), C > 1; Skip where they are something else."""
        if not isinstance(self.outputs, Tensor) or self.outputs.dim() != 2 or self.outputs.shape[1] < 2:
            raise Skip("is for outputs (N, C), C > 1")
        return self.outputs.detach()

    graph = cached_property(lambda self: operations(self.outputs))

    def loss_of(self, outputs: Any) -> float:
        """Return the loss of any outputs with the labels of ``batch``."""
        with torch.no_grad():
            return self.loss_fn(outputs, self.batch[1]).item()

    loss = cached_property(lambda self: self.loss_of(self.outputs))
    alike = cached_property(lambda self: self.loss_of(mapped(mean_answer, self.outputs)))

    @cached_property
    def softmax_in_loss(self) -> bool:
        """Whether the loss stays as it is when all logits of a sample grow by the same, as softmax does."""
        return self.softmax_by_sample(self.logits)

    def softmax_by_sample(self, outputs: Tensor) -> bool:
        """Return the same of any outputs (N, …)."""
        shift = (torch.arange(len(outputs)) % 5).view(-1, *[1] * (outputs.dim() - 1)).to(outputs)
        drawn = 3 * torch.randn_like(outputs)  # those of a fresh network may be too much alike to tell
        with suppress(RuntimeError):  # a loss of probabilities refuses others
            return math.isclose(self.loss_of(drawn), self.loss_of(drawn + shift), rel_tol=1e-3)
        return False

    @cached_property
    def flow(self) -> Any:
        """``gradient_flow`` on ``batch`` in train mode."""
        model, _, loss_fn = self.training()
        return gradient_flow(model, self.batch, loss_fn)

    @cached_property
    def standing(self) -> Practice:
        """What train_step does until it has made two updates on one batch, while the weights stay."""
        return Practice(self, moves=False).run([self.whole] * CALLS, lambda p: len(p.updates) == 2)

    @cached_property
    def moving(self) -> Practice:
        """What its first update does."""
        return Practice(self).run([self.whole] * CALLS, lambda p: p.updates)

    @cached_property
    def plain(self) -> float:
        """How far zero_grad(), backward() and step() move the weights, without decay."""
        self.need("optimizer")
        model, optimizer, loss_fn = self.training()
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
        was = [p.detach().clone() for p in model.parameters()]
        stepped(model, self.batch, loss_fn, optimizer)
        return distance(model.parameters(), was)

    spreads = property(lambda self: self.passed[0])
    dropped = property(lambda self: self.passed[1])

    @cached_property
    def passed(self) -> tuple[dict[str, tuple[float, float]], list[float]]:
        """How samples differ before and after each linear layer and convolution, in the order they run in;
        and the shares that functions of dropout drop.
        """
        model = self.training()[0]
        found = dict[str, tuple[float, float]]()

        def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if isinstance(module, WEIGHTED):
                found.setdefault(name, (spread(args), spread(output)))

        with preserved(model), torch.no_grad(), watching(model, leave), Dropouts() as dropping:
            model(*mapped(torch.clone, self.batch[0]))
        return found, dropping.shares

    def _trial(self, rate: float, count: int = STEPS) -> tuple[list[float], float, float, float]:
        """Return losses of steps, loss on ``batch`` before and after, how far weights moved / their size."""
        self.need("optimizer")
        model, optimizer, loss_fn = self.training(rate)
        peaks = [group["lr"] for group in optimizer.param_groups]
        losses = list[float]()
        patience = 1.5 * PATIENCE if count > STEPS else PATIENCE
        warm = STEPS // 2 if self.given["scheduler"] is not None else 1
        before = self._loss(model)
        was = [p.detach().clone() for p in model.parameters()]
        pieces = [self.few(batch) for batch in self.train[:count]]
        start = thread_time()
        for step, batch in enumerate(islice(cycle(pieces), count)):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * min(1.0, (step + 1) / warm)
            losses.append(stepped(model, batch, loss_fn, optimizer))
            spent = thread_time() - start
            if not math.isfinite(losses[-1]) or spent + spent / (step + 1) > patience:
                break
        size = math.hypot(*(w.norm().item() for w in was))
        return losses, before, self._loss(model), distance(model.parameters(), was) / size

    def _loss(self, model: nn.Module) -> float:
        with preserved(model, self.given["seed"]), torch.no_grad():
            return self.loss_of(model(*mapped(torch.clone, self.batch[0])))


def stepped(model: Any, batch: Any, loss_fn: Any, optimizer: Any, seen: Any = lambda t: t) -> float:
    """Make one step, and return the loss before it; the loss sees ``seen`` of each output."""
    optimizer.zero_grad()
    inputs, labels = mapped(torch.clone, batch)
    loss = loss_fn(mapped(seen, model(*inputs)), labels)
    if loss.requires_grad and loss.isfinite():
        loss.backward()
        optimizer.step()
    return loss.item()


def operations(result: Any) -> list[Any]:
    """Return the operations that made tensors, as autograd recorded them, from the last to the first."""
    return below(each.grad_fn for each in tensors_in(result))


def below(nodes: Iterable[Any]) -> list[Any]:
    """Return these operations, and all that they take their inputs from; None among them is left out."""
    seen = dict[Any, None]()
    todo = list(nodes)
    while todo:
        if (node := todo.pop()) is not None and node not in seen:
            seen[node] = None
            todo += [each for each, _ in node.next_functions]
    return list(seen)


def spread(value: Any) -> float:
    """Return the std over samples of the first tensor, as root mean square over all else."""
    x = next(tensors_in(value)).detach().float()
    if not x.dim() or len(x) < 2:
        return 0.0
    x = x - x[0]  # where samples are alike, nothing is left, not a rounding either
    squares = (x - x.mean(0)).square().mean()  # five times as fast as x.std(0), for few samples
    return (squares * len(x) / (len(x) - 1)).sqrt().item()


def mean_answer(outputs: Tensor) -> Tensor:
    """Return the mean over samples (N, …), for each of them; integers as they are."""
    return outputs.mean(0).expand_as(outputs) if outputs.is_floating_point() else outputs


def floats(taken: list[Any]) -> Tensor:
    """Return the (first) inputs of batches in one tensor (N, …); Skip where they have no scale."""
    pieces = [next(tensors_in(inputs)) for inputs, _ in taken]
    if not all(piece.is_floating_point() for piece in pieces):
        raise Skip("is for inputs of floating-point numbers")
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise Skip("needs inputs of one shape")
    return torch.cat(pieces).float()


def facts_of(taken: list[Any]) -> dict[str, Any]:
    """Return ``check_loader``'s facts on the (first) inputs of batches."""
    facts = check_loader([next(tensors_in(inputs)) for inputs, _ in taken], len(taken))
    return dict(facts["value"])


def related(batch: Any) -> bool:
    """Return whether an input relates samples, (N, N): those of a graph can't be told apart."""
    inputs = [*tensors_in(batch[0])]
    return len(inputs) > 1 and any(t.dim() == 2 and len(t) == t.shape[1] == len(inputs[0]) for t in inputs)


def joined(taken: list[Any], size: int) -> Any:
    """Return the first samples as one batch; those of the first batch where shapes differ."""
    if taken and related(taken[0]):
        return taken[0]
    rows = [list(tensors_in(list(batch))) for batch in taken[:size]]
    rows = rows if len({tuple(t.shape[1:] for t in row) for row in rows}) == 1 else rows[:1]
    columns = iter([torch.cat(column)[:size] for column in zip(*rows, strict=True)])
    return mapped(lambda tensor: next(columns), taken[0])
