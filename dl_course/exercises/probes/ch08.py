"""Calling the answers of chapter 08."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from PIL import UnidentifiedImageError
from torch import nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import called, filled


@probe
def largest_difference(answer: Any, case: Case) -> Outputs:
    side = case["pictures"].shape[-1]
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * (side - 2) ** 2, 4)
    model = filled(nn.Sequential(*layers), case["seed"])
    frozen = deepcopy(model).eval()
    amount = case["amount"]
    fault = case["fault"]

    def run(pictures: np.ndarray) -> np.ndarray:
        if fault == "two alone" and len(pictures) != 2:
            raise ValueError(f"Got invalid dimensions: index 0 Got: {len(pictures)} Expected: 2")
        with torch.no_grad():
            logits = frozen(torch.from_numpy(pictures)).numpy()
        logits[1 if fault == "larger batches" else 0 :, 1] += amount
        logits[-1, -1] = np.nan if fault == "nan" and len(pictures) > 1 else logits[-1, -1]
        return logits

    return called(answer, model.train(), run, case["pictures"], case["sizes"])


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
