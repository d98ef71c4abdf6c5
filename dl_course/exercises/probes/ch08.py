"""Calling the answers of chapter 08."""

from typing import Any

import numpy as np
from PIL import UnidentifiedImageError
from torch import nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, filled


def exported(case: Case) -> nn.Module:
    """Return the network whose file is verified."""
    side = case["pictures"].shape[-1]
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * (side - 2) ** 2, 4)
    return filled(nn.Sequential(*layers), case["seed"])


@probe
def largest_difference(answer: Any, case: Case) -> Outputs:
    def run(pictures: np.ndarray) -> np.ndarray:
        known = case["logits"]  # the judge has run the file: what is wrong with it isn't known here
        if str(len(pictures)) not in known:
            raise ValueError(f"Got invalid dimensions: index 0 Got: {len(pictures)} Expected: {min(known)}")
        return known[str(len(pictures))].copy()

    return called(answer, exported(case).train(), run, case["pictures"], case["sizes"])


@probe
def predict_in_batches(answer: Any, case: Case) -> Outputs:
    logits = case["logits"]
    sizes = []

    def run(pictures: np.ndarray) -> np.ndarray:
        sizes.append(len(pictures))
        return logits[pictures[:, 0, 0, 0].astype(int)]  # each picture has its number in a corner

    pictures = np.zeros((len(logits), 1, 2, 2), np.float32)
    pictures[:, 0, 0, 0] = np.arange(len(logits))
    outputs = called(answer, run, pictures, case["size"])
    return {"returned": outputs["returned"], "batches": [int(size) for size in sizes]}


@probe
def drift_p_value(answer: Any, case: Case) -> Outputs:
    return called(
        answer, *(case[key].copy() for key in ("confidence", "classes", "new_confidence", "new_classes"))
    )


@probe
def status_for(answer: Any, case: Case) -> Outputs:
    try:
        return called(answer, case["body"].tobytes(), case["most_bytes"], case["most_pixels"])
    except UnidentifiedImageError as error:  # whose message has an address, another one each time
        raise UnidentifiedImageError("cannot identify image file").with_traceback(
            error.__traceback__
        ) from None
