"""Calibration: of what a network says with 80 % confidence, 80 % should be right.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


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


def calibrated(confidence: NDArray, correct: NDArray, bins: int = 15) -> Calibration:
    """Return the calibration in bins (a, b] of equal width.

    confidence: (N,) in [0, 1] · correct: (N,) bool. Raises ValueError without a bin or a picture.
    """
    if bins < 1 or not len(confidence):
        raise ValueError(f"needs at least one bin and one picture; given: {bins} and {len(confidence)}")
    place = np.ceil(confidence * bins).astype(int).clip(1, bins)
    rows = [
        (upper / bins, int(inside.sum()), confidence[inside].mean(), correct[inside].mean())
        for upper in range(1, bins + 1)
        if (inside := place == upper).any()
    ]
    table = pd.DataFrame(rows, columns=["up to", "count", "confidence", "accuracy"])
    gaps = (table["confidence"] - table["accuracy"]).abs()
    return Calibration(float((gaps * table["count"]).sum() / len(confidence)), table)
