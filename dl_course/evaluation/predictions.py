"""Predictions: what a network says of a labelled set, and every figure that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from sklearn import metrics
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from dl_course.data import classes_of
from dl_course.data import loader as make_loader
from dl_course.evaluation.calibration import Calibration, calibrated
from dl_course.hooks import evaluating
from dl_course.runtime import fitted_to


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network says of labelled pictures, on the CPU.

    logits: (N, C) float · labels: (N,) int64 · ids: (N,) int64, by default each picture's place in the order
    of the loader, so its index in the data set unless that was shuffled · classes: names, by default 0 … C-1.
    ValueError where these don't fit together.
    """

    logits: Tensor
    labels: Tensor
    classes: Sequence[str] = ()
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or self.labels.shape != self.logits.shape[:1]:
            given = f"{tuple(self.logits.shape)} and {tuple(self.labels.shape)}"
            raise ValueError(f"needs logits (N, C) and labels (N,); given: {given}")
        count = self.logits.shape[1]
        outside = [int(label) for label in self.labels.unique() if not 0 <= label < count]
        if outside:
            raise ValueError(f"labels are 0 … {count - 1}, one for each output; given also: {outside}")
        if self.classes and len(self.classes) != count:
            raise ValueError(f"{len(self.classes)} names of classes for {count} outputs")
        object.__setattr__(self, "classes", tuple(self.classes) or tuple(str(c) for c in range(count)))
        object.__setattr__(self, "ids", torch.arange(len(self.labels)) if self.ids is None else self.ids)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def probabilities(self) -> Tensor:
        """The softmax of the logits, (N, C), in float64."""
        return self.logits.double().softmax(1)

    @cached_property
    def predicted(self) -> Tensor:
        """The class with the largest logit, (N,)."""
        return self.logits.argmax(1)

    @cached_property
    def confidence(self) -> Tensor:
        """The probability of the predicted class, (N,)."""
        return self.probabilities.amax(1)

    @property
    def correct(self) -> Tensor:
        """Whether each prediction is right, (N,) bool."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """The fraction that is right, in [0, 1]; NaN of no pictures."""
        return self.correct.double().mean().item()

    @property
    def loss(self) -> float:
        """The mean cross-entropy of a picture, in nats; every picture counts the same."""
        return F.cross_entropy(self.logits.double(), self.labels).item()

    def report(self) -> pd.DataFrame:
        """Return scikit-learn's classification report: precision, recall, F1 and support of each class."""
        report = metrics.classification_report(
            self.labels, self.predicted, labels=range(len(self.classes)), target_names=self.classes,
            output_dict=True, zero_division=float("nan"),
        )  # fmt: skip
        averages = {"accuracy", "micro avg", "macro avg", "weighted avg"} - set(self.classes)
        rows = {name: row for name, row in report.items() if name not in averages or name == "macro avg"}
        return pd.DataFrame(rows).T.astype({"support": int})

    def confusion_matrix(self) -> pd.DataFrame:
        """Return how often each true class (row) was called each class (column)."""
        counts = metrics.confusion_matrix(self.labels, self.predicted, labels=range(len(self.classes)))
        rows, columns = (pd.Index(self.classes, name=name) for name in ("true", "predicted"))
        return pd.DataFrame(counts, rows, columns)

    def worst(self, k: int = 10) -> pd.DataFrame:
        """Return the k mistakes made with most confidence: id, true and predicted class, confidence."""
        wrong = (~self.correct).nonzero().flatten()
        wrong = wrong[self.confidence[wrong].argsort(descending=True, stable=True)[:k]]
        assert self.ids is not None
        return pd.DataFrame(
            {
                "id": self.ids[wrong].tolist(),
                "true": [self.classes[label] for label in self.labels[wrong].tolist()],
                "predicted": [self.classes[label] for label in self.predicted[wrong].tolist()],
                "confidence": self.confidence[wrong].tolist(),
            }
        )

    def calibration(self, bins: int = 15) -> Calibration:
        """Return how far confidence and accuracy agree, in bins of equal width.

        Raises ValueError without a bin or a picture.
        """
        return calibrated(self.confidence.numpy(), self.correct.numpy(), bins)

    def __repr__(self) -> str:
        figures = f"accuracy {self.accuracy:.4f}, loss {self.loss:.4f}" if len(self) else "no figures"
        return f"Predictions of {len(self):,} pictures in {len(self.classes)} classes: {figures}"


def predict(model: nn.Module, pictures: Iterable[Any]) -> Predictions:
    """Return the network's predictions of a loader's, or a data set's, labelled pictures.

    The network stays on its device, is put in eval mode and gets its mode back. ValueError unless batches
    are (pictures, labels) and outputs are logits (N, C).
    """
    batches = make_loader(pictures, 256) if isinstance(pictures, Dataset) else pictures
    source = getattr(batches, "dataset", None)
    logits = []
    labels = []
    with evaluating(model), torch.no_grad():
        for batch in tqdm(batches, "predict", delay=2, leave=False):
            inputs, truth = _pair(batch)
            out = model(fitted_to(model, inputs))
            if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(truth):
                given = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise ValueError(f"the model must give logits ({len(truth)}, C); it gave: {given}")
            logits.append(out.float())
            labels.append(truth)
    if not logits:
        raise ValueError("no batch to predict: the loader is empty")
    return Predictions(torch.cat(logits).cpu(), torch.cat(labels).cpu(), classes_of(source))


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    if not (isinstance(batch, Sequence) and len(batch) == 2 and isinstance(batch[1], Tensor)):
        raise ValueError(f"a batch must be (pictures, labels); given: {type(batch).__name__}")
    return batch[0], batch[1]
