"""Calibration: of what a network says with 80 % confidence, 80 % should be right.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from dl_course.evaluation.predictions import Predictions

LIMIT = 5.0  # of the logarithm of a temperature


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy agree. ece: the expected calibration error, in [0, 1].

    table: a row a bin that is not empty: its upper edge, count, mean confidence, accuracy.
    """

    ece: float
    table: pd.DataFrame

    def plot(self, ax: Any = None) -> Any:
        """Draw the reliability diagram; return its axes."""
        from dl_course.plots import reliability

        return reliability(self.table, self.ece, ax)

    def _repr_html_(self) -> str:
        return f"<p>expected calibration error {self.ece:.4f}</p>{self.table.round(3).to_html(index=False)}"


def calibrated(predictions: Predictions, bins: int = 15) -> Calibration:
    """Return the calibration in bins (a, b] of equal width. ValueError without a bin or a picture."""
    if bins < 1 or not len(predictions):
        raise ValueError(f"needs at least one bin and one picture; given: {bins} and {len(predictions)}")
    confidence, correct = predictions.confidence.numpy(), predictions.correct.numpy()
    place = np.ceil(confidence * bins).astype(int).clip(1, bins)
    rows = [
        (upper / bins, int(inside.sum()), confidence[inside].mean(), correct[inside].mean())
        for upper in range(1, bins + 1)
        if (inside := place == upper).any()
    ]
    table = pd.DataFrame(rows, columns=["up to", "count", "confidence", "accuracy"])
    gaps = (table["confidence"] - table["accuracy"]).abs()
    return Calibration(float((gaps * table["count"]).sum() / len(predictions)), table)


def fit_temperature(predictions: Predictions) -> float:
    """Return the T > 0 with the smallest loss of softmax(logits / T); above 1, the network was overconfident.

    Fit it on validation pictures. ValueError where no T is best, as when every picture is right.
    """
    if not len(predictions):
        raise ValueError("no picture to fit a temperature on")
    logits = predictions.logits.double().numpy()
    of_truth = logits[np.arange(len(logits)), predictions.labels.numpy()]

    def loss(log_t: float) -> float:
        return float(np.mean(logsumexp(logits / np.exp(log_t), axis=1) - of_truth / np.exp(log_t)))

    found = minimize_scalar(loss, bounds=(-LIMIT, LIMIT), method="bounded", options={"xatol": 1e-6})
    if predictions.correct.all() or abs(found.x) > LIMIT - 0.01:
        raise ValueError(
            f"no temperature is best at accuracy {predictions.accuracy:g} on {len(logits)} pictures"
        )
    return float(np.exp(found.x))


def temperature_scaled(predictions: Predictions, validation: Predictions) -> Predictions:
    """Return the predictions with all logits divided by the validation's temperature; the classes stay."""
    return replace(predictions, logits=predictions.logits / fit_temperature(validation))
