"""Watching a network: what it said, how long it took, and whether it still meets what it was made for.

Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017; Holm, "A Simple Sequentially
Rejective Multiple Test Procedure", 1979.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from dl_course.evaluation import Comparison, Predictor

REQUESTS = logging.getLogger("dl_course.requests")
SIDE = 4  # of what is kept of a picture: too coarse to read it
REASONS = 100  # that are counted each by itself: some have a number in them, another one each time
RARE = 10  # pictures of a class in both samples: fewer are counted together


class PredictionLog:
    """What a network said of the last pictures; ``record`` and ``refuse`` may be called by several threads.

    classes: their names · limit: of pictures kept. Each call also writes one line, JSON, to the logger
    "dl_course.requests" at level INFO. Of a picture nothing is kept but 4×4 means and its contrast.
    """

    def __init__(self, classes: Sequence[str] = (), limit: int = 10_000) -> None:
        self.classes = tuple(classes)
        self.refused = Counter[str]()
        self._rows: deque[dict[str, Any]] = deque(maxlen=limit)
        self._requests = 0
        self._lock = Lock()

    def record(self, probabilities: Any, seconds: float, pictures: Any = None) -> None:
        """Note one request: probabilities (N, C), how long it took, pictures (N, channels, H, W) in [0, 1].

        Without pictures, drift is looked for in probabilities alone.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        names = [self.classes[c] if self.classes else str(c) for c in p.argmax(1)]
        numbers = features(p, pictures)
        entry: dict[str, Any] = {"time": time.time(), "ms": 1000 * seconds}
        told = {"class": names, "confidence": p.max(1).tolist()}
        with self._lock:
            self._requests += 1
            entry = {"request": self._requests} | entry
            for name, sure, *row in zip(names, p.max(1), *numbers.values(), strict=True):
                of_picture = {"class": name, "confidence": sure} | dict(zip(numbers, row, strict=True))
                self._rows.append(entry | of_picture)
        REQUESTS.info(json.dumps(entry | told))

    def refuse(self, reason: str) -> None:
        """Note a request that was refused, and why."""
        with self._lock:
            known = reason in self.refused or len(self.refused) < REASONS
            self.refused[reason if known else "others"] += 1
        REQUESTS.info(json.dumps({"time": time.time(), "refused": reason}))

    def table(self, last: int | None = None) -> pd.DataFrame:
        """Return a row a picture, oldest first: request, time, ms, class, confidence, features."""
        with self._lock:
            rows = list(self._rows)
        return pd.DataFrame(rows[-last:] if last else rows)

    def summary(self, last: int | None = None) -> pd.Series:
        """Return the figures to look at each morning: how many, how fast (in ms, a request), how sure."""
        table = self.table(last)
        figures: dict[str, float] = {"requests": 0, "pictures": len(table), "refused": self.refused.total()}
        if len(table):
            ms = table.drop_duplicates("request")["ms"]
            figures["requests"] = len(ms)
            figures |= {f"ms p{share}": float(np.percentile(ms, share)) for share in (50, 95, 99)}
            sure = table["confidence"]
            figures |= {"confidence mean": sure.mean(), "confidence below 0.5": (sure < 0.5).mean()}
        return pd.Series(figures)


def features(probabilities: np.ndarray, pictures: Any = None) -> dict[str, np.ndarray]:
    """Return the numbers by which a classifier tells samples apart, by name, each (N,).

    The logarithm of each probability and, of pictures (N, channels, H, W), 4×4 means and the contrast.
    """
    logs = np.log(np.clip(probabilities, 1e-9, 1))
    numbers = {f"feature log p{c}": column for c, column in enumerate(logs.T)}
    if pictures is not None:
        grey = np.asarray(pictures, dtype=np.float64).mean(1)
        numbers["feature contrast"] = grey.std((1, 2))
        for i, rows in enumerate(np.array_split(grey, min(SIDE, grey.shape[1]), 1)):
            for j, tile in enumerate(np.array_split(rows, min(SIDE, grey.shape[2]), 2)):
                numbers[f"feature tile {i}{j}"] = tile.mean((1, 2))
    return numbers


@dataclass(frozen=True)
class Drift:
    """Whether two samples differ. table: a row a test with its p-value, as it is and after Holm's correction.

    alarm: whether a corrected p-value is below alpha. Where nothing has changed, that happens in at most a
    share alpha of all comparisons: with 0.01, one comparison in a hundred is a false alarm.
    """

    table: pd.DataFrame
    alpha: float

    @property
    def alarm(self) -> bool:
        """Whether to look for a reason."""
        return bool((self.table["corrected"] < self.alpha).any())

    def __repr__(self) -> str:
        found = self.table.index[self.table["corrected"] < self.alpha]
        said = f"drift in {', '.join(found)}" if self.alarm else "no drift"
        return f"{said} (false alarms: at most {self.alpha:.0%})\n{self.table}"

    def _repr_html_(self) -> str:
        return f"<p>{repr(self).splitlines()[0]}</p>{self.table.to_html(float_format='{:.3g}'.format)}"


def drift(reference: pd.DataFrame, new: pd.DataFrame, alpha: float = 0.01, seed: int = 0) -> Drift:
    """Return whether new pictures come from where the reference's came from.

    reference, new: tables of ``PredictionLog``, with other pictures each; the reference's must not be those
    that the network was trained on, of which it is surer. Three tests: Kolmogorov and Smirnov's on the
    confidence, chi-square on the predicted classes, and a classifier that tries to tell the samples apart by
    all features. ValueError with fewer than 20 pictures in one of them.
    """
    from scipy.stats import ks_2samp

    if min(len(reference), len(new)) < 20:
        raise ValueError(f"needs at least 20 pictures in each table; given: {len(reference)} and {len(new)}")
    p_values = {
        "confidence": ks_2samp(reference["confidence"], new["confidence"]).pvalue,
        "classes": _classes_differ(reference["class"], new["class"]),
        "features": _told_apart(reference, new, seed),
    }
    table = pd.DataFrame({"p": pd.Series(p_values)}).sort_values("p")
    steps = table["p"] * np.arange(len(table), 0, -1)
    table["corrected"] = steps.cummax().clip(upper=1)
    return Drift(table, alpha)


def _classes_differ(reference: pd.Series, new: pd.Series) -> float:
    from scipy.stats import chi2_contingency

    counts = pd.concat([reference.value_counts(), new.value_counts()], axis=1).fillna(0).to_numpy()
    rare = counts.sum(1) < RARE
    counts = np.concatenate([counts[~rare], counts[rare].sum(0, keepdims=True)])
    counts = counts[counts.sum(1) > 0]
    return float(chi2_contingency(counts).pvalue) if len(counts) > 1 else 1.0


def _told_apart(reference: pd.DataFrame, new: pd.DataFrame, seed: int) -> float:
    """Train a classifier on one half; return the p-value of Mann and Whitney's test of it on the other."""
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    named = [column for column in reference if str(column).startswith("feature")]
    x = np.concatenate([reference[named], new[named]])
    y = np.repeat([0, 1], [len(reference), len(new)])
    half = np.random.default_rng(seed).permutation(len(x)) % 2 == 0
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced"))
    scores = classifier.fit(x[half], y[half]).decision_function(x[~half])
    is_new = y[~half] == 1
    return float(mannwhitneyu(scores[is_new], scores[~is_new], alternative="greater").pvalue)


def shadow(current: Predictor, candidate: Predictor, pictures: Any) -> Comparison:
    """Return which of two predictors is better on the same labelled pictures; the users see the current one.

    A is the current one, b the candidate: of ``evaluation.compare``.
    """
    from dl_course.deploy.export import predictions_of
    from dl_course.evaluation import compare

    return compare(predictions_of(current, pictures), predictions_of(candidate, pictures))
