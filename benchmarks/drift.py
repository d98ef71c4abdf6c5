"""Drift: how often ``deploy.drift`` cries wolf, and how often it finds what has changed, with 500 pictures.

python benchmarks/drift.py [--draws 200]

Reference and new pictures are drawn anew each time, without a common picture. "digits": all 1,797, half of
them the reference (both sides hold as many that the network was trained on). "mnist", where it is: 1,000 of
the test pictures against 500 others. A new class: the network, trained here, and the reference have no nine.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import rotate

from dl_course import data
from dl_course.data import loader
from dl_course.deploy import PredictionLog, drift
from dl_course.evaluation import Predictor
from dl_course.files import DataUnavailable
from dl_course.models import SimpleCNN, model_card, trained
from dl_course.runtime import set_seed
from dl_course.training import Trainer

NEW, NINE = 500, 9


def noisy(pictures: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Return the pictures with Gaussian noise, in [0, 1] again."""
    return (pictures + amount * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)


def changes(generator: torch.Generator) -> dict:
    """Return what may happen to pictures, by name."""
    return {
        "nothing": lambda x: x,
        "turned by 15°": lambda x: rotate(x, 15),
        "turned by 30°": lambda x: rotate(x, 30),
        "turned by 90°": lambda x: rotate(x, 90),
        "inverted": lambda x: 1 - x,
        "noise of 0.1": lambda x: noisy(x, 0.1, generator),
        "noise of 0.3": lambda x: noisy(x, 0.3, generator),
        "every fifth inverted": lambda x: torch.cat([1 - x[::5], *(x[i::5] for i in range(1, 5))]),
    }


def tabled(predictor: Predictor, pictures: Tensor) -> pd.DataFrame:
    """Return the log's table of these pictures."""
    log = PredictionLog(limit=len(pictures))
    log.record(predictor.probabilities(pictures), 0.0, pictures)
    return log.table()


def without_nine(pictures: data.Pictures) -> Predictor:
    """Return a predictor that has learned all digits but the nine."""
    set_seed(0)
    few = pictures.subset((pictures.labels != NINE).nonzero()[:3000, 0])
    model = nn.Sequential(nn.BatchNorm2d(1), SimpleCNN(num_classes=NINE, width=12))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    Trainer(
        model, loader(few, 64, shuffle=True), loss_fn=F.cross_entropy, optimizer=optimizer, progress=False
    ).fit(6)
    return Predictor(model, shape=(1, 28, 28))


def rates(
    predictor: Predictor, pool: Tensor, labels: Tensor, size: int, draws: int, new_class: Predictor
) -> dict:
    """Return the share of alarms for each change."""
    generator, found, every = torch.Generator().manual_seed(0), {}, np.arange(len(pool))
    count, as_they_are = max(20, draws // 4), tabled(predictor, pool)
    for name, change in changes(generator).items():
        how_often = draws if name == "nothing" else count
        changed = tabled(predictor, change(pool))
        found[name] = alarms(as_they_are, changed, every, every, size, how_often)
    table = tabled(new_class, pool)
    known, nine = ((labels != NINE).nonzero()[:, 0].numpy(), (labels == NINE).nonzero()[:, 0].numpy())
    found["no nine, still"] = alarms(table, table, known, known, size, draws)
    found["nines as often as others"] = alarms(table, table, known, every, size, count)
    for often, others in (("every second", 1), ("every fourth", 3)):
        few = nine[: NEW // (1 + others)]
        mixed = np.concatenate(
            [few, np.random.default_rng(0).choice(known, others * len(few), replace=False)]
        )
        found[f"{often} a nine"] = alarms(table, table, known, mixed, size, count)
    return found


def alarms(table, changed, old, new_ones, size: int, draws: int) -> float:
    """Return in which share of draws there is an alarm; no picture stands on both sides."""
    rang = 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        second = rng.permutation(new_ones)[:NEW]
        first = rng.permutation(np.setdiff1d(old, second))[:size]
        rang += drift(table.iloc[first], changed.iloc[second], seed=seed).alarm
    return rang / draws


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(allow_abbrev=False)
    arguments.add_argument("--draws", type=int, default=200)
    draws, results = arguments.parse_args().draws, {}
    began = time.perf_counter()
    parts = [data.load("digits", split) for split in data.SPLITS]
    pool, labels = (torch.cat(each) for each in zip(*(part.tensors() for part in parts), strict=True))
    normalize = {"name": "normalize"} | model_card("simplecnn-digits")["normalize"]
    predictor = Predictor(trained("simplecnn-digits"), normalize, shape=(1, 28, 28))
    results["digits"] = rates(predictor, pool, labels, 898, draws, without_nine(parts[0]))
    try:
        test = data.load("mnist", "test", download=False)
        pool, labels = test.tensors(slice(0, 3000))
        nines = without_nine(data.load("mnist", "train", download=False))
        mnist = Predictor(trained("digitnet-mnist"), shape=(1, 28, 28))
        results["mnist"] = rates(mnist, pool, labels, 1000, draws, nines)
    except DataUnavailable:
        print("MNIST isn't here")
    print(pd.DataFrame(results).rename_axis("share of alarms").to_string())
    print(
        f"{draws} draws without a change, {max(20, draws // 4)} with one; {time.perf_counter() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
