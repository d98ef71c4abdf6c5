"""A patient: a network and all that its training is made of, each part to be looked at and replaced."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from dl_course.data import Loader
from dl_course.language import say
from dl_course.runtime import device_of, preserved_rng

Batch = tuple[Tensor, Tensor]


@dataclass(repr=False)
class Patient:
    """A network in training, as its owner brought it in.

    story: what the owner says · train_loader, val_loader: give (pictures, labels); their ``dataset`` is
    ``data.Pictures``, its ``transform`` prepares the pictures · loss_fn: of (logits, labels) ·
    train_step(model, batch, optimizer, loss_fn): makes an update, returns the logits ·
    eval_step(model, batch): returns the logits · epochs: how long to train. Logits of a network with a single
    output are what it takes the number for.
    """

    number: int
    story: str
    model: nn.Module
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    train_loader: Loader
    val_loader: Loader
    train_step: Callable[..., Tensor]
    eval_step: Callable[[nn.Module, Batch], Tensor]
    epochs: int

    def train(self) -> pd.DataFrame:
        """Train the model, in place; return the history, a row an epoch."""
        rows = []
        update = partial(self.train_step, optimizer=self.optimizer, loss_fn=self.loss_fn)
        with preserved_rng(self.number):
            for epoch in range(1, self.epochs + 1):
                row = {"epoch": epoch} | self._measured(update, self.train_loader, "train")
                rows.append(row | self._measured(self.eval_step, self.val_loader, "val"))
        return pd.DataFrame(rows)

    def history(self) -> pd.DataFrame:
        """Return what ``train`` returns, tried on a copy: epoch, train_loss, …, val_accuracy."""
        return deepcopy(self).train()

    def predict(self, pictures: Tensor) -> Tensor:
        """Return logits (N, classes) of pictures (N, C, H, W), 0 to 1, prepared as for validation."""
        transform = self.val_loader.dataset.transform or (lambda given: given)
        inputs = transform(pictures)
        unknown = torch.zeros(len(pictures), dtype=torch.long)
        return _scores(self.eval_step(self.model, self._moved((inputs, unknown))).detach().cpu())

    def arguments(self) -> dict[str, Any]:
        """Return what ``diagnostics.checkup`` takes: ``checkup(**patient.arguments())``."""
        names = ("model", "train_loader", "loss_fn", "optimizer", "val_loader", "eval_step")
        step = partial(self.train_step, loss_fn=self.loss_fn)
        return {name: getattr(self, name) for name in names} | {"train_step": step}

    def parts(self) -> dict[str, str]:
        """Return the parts that a treatment can change, each as text that then differs, in this process."""
        loaders = self.train_loader, self.val_loader
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        names = [name for name, p in self.model.named_parameters() if id(p) in held]
        rates = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        weights = tuple(tensor.cpu().numpy().tobytes() for tensor in self.model.state_dict().values())
        sets = [(loader.dataset.images.numpy(), loader.dataset.labels.tolist()) for loader in loaders]
        samples = sorted((i.tobytes(), y) for pair in sets for i, y in zip(*pair, strict=True))
        batches = f"{_settings(self.train_loader)} {_order(self.train_loader)}"
        return {
            "model": f"{self.model} {hash(weights)}",
            "loss": f"{type(self.loss_fn).__name__} {_settings(self.loss_fn)}",
            "optimizer": f"{type(self.optimizer).__name__} {rates} {names}",
            "data": str(hash(tuple(samples))),
            "preparation": str([loader.dataset.transform for loader in loaders]),
            "batches": f"{type(self.train_loader).__name__} {batches}",
            "steps": f"{self.train_step} {self.eval_step} {self.epochs}",
        }

    def _measured(self, step: Callable[..., Tensor], loader: Loader, name: str) -> dict[str, float]:
        """Return mean loss and accuracy over the loader, of the logits that a step on each batch returns."""
        loss = 0.0
        right = 0
        seen = 0
        for inputs, labels in map(self._moved, loader):
            logits = step(self.model, (inputs, labels)).detach()
            loss += self.loss_fn(logits, labels).item() * len(labels)
            right += int((_scores(logits).argmax(1) == labels).sum())
            seen += len(labels)
        return {f"{name}_loss": loss / seen, f"{name}_accuracy": right / seen}

    def _moved(self, batch: Batch) -> Batch:
        inputs, labels = (tensor.to(device_of(self.model)) for tensor in batch)
        return inputs, labels

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.model.parameters())
        held = self.train_loader.dataset
        lines = [
            f"Patient {self.number}",
            self.story,
            f"{type(self.model).__name__}, {weights:,} parameters",
            f"{held}, and {len(self.val_loader.dataset)} for validation",
        ]
        return "\n".join(map(say, lines))


def _scores(logits: Tensor) -> Tensor:
    """Return them (N, classes); of a number a sample, how near each of the ten digits is."""
    digits = torch.arange(10, device=logits.device)
    return logits if logits.dim() > 1 and logits.shape[1] > 1 else -(logits.reshape(-1, 1) - digits).abs()


def _order(loader: Any) -> str:
    """Return in which order a loader takes its pictures: ours has an Order, torch's a sampler."""
    order = getattr(loader, "order", None) or getattr(loader, "sampler", None)
    weights = getattr(order, "weights", None)
    drawn = None if weights is None else hash(tuple(weights.tolist()))  # its text leaves out most of it
    return f"{type(order).__name__} {_settings(order)} {drawn}"


def _settings(part: Any) -> str:
    """Return the plain attributes of an object; those that count how often it was used are none."""
    counted = ("epoch", "seed", "start")
    known = {k: v for k, v in getattr(part, "__dict__", {}).items() if k not in counted}
    return str(sorted((k, v) for k, v in known.items() if isinstance(v, bool | int | float | str)))
