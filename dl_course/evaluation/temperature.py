"""Temperature scaling: one number that makes a network as sure of itself as it may be.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from dl_course.evaluation.predictions import Predictions

LIMIT = 5.0  # of the logarithm of a temperature


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
