"""Running: an experiment from its configuration to a run with final figures, in one process or in several."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch.nn.functional import cross_entropy

from dl_course.data import Pictures
from dl_course.experiments.build import build_model, build_pictures
from dl_course.experiments.config import ExperimentConfig
from dl_course.experiments.distributed import DistributedTrainer, Share, processes, rank, shared, size, spread
from dl_course.experiments.reading import from_command_line, save_config
from dl_course.experiments.runs import Run, describe_work, new_run
from dl_course.runtime import pick_device, preserved_rng, set_seed
from dl_course.training import EarlyStopping, TensorBoard, optimizers, schedules

if TYPE_CHECKING:
    from dl_course.evaluation import Predictions

CLOCKS = ["seconds", "samples_per_second"]  # all else in a history repeats to the bit


def train(
    config: ExperimentConfig, runs: str | Path = "runs", *, resume: Run | str | Path | None = None,
    callbacks: Iterable[Any] = (), progress: bool = True,
) -> Run:  # fmt: skip
    """Train as configured, in a new folder below ``runs``, and return the run.

    resume: a run that goes on instead, in its folder, until config.training.epochs are done · callbacks:
    for the Trainer, beside the run's own. Global random numbers stand afterwards where they stood before.
    """
    settings = config.training
    run = None if resume is None else Run(resume.folder if isinstance(resume, Run) else resume)
    parts = [build_pictures(config.data, split) for split in ("train", "val")]  # a download outlasts timeouts
    with preserved_rng(settings.seed), processes(settings.timeout, settings.device) as device:
        if not rank():
            run = _begun(config, run, runs, describe_work(pick_device(device), size(), *parts))
        run = Run(shared(run and str(run.folder)))
        trainer = build_trainer(
            config, parts[0], parts[1], device=device, folder=run.folder, callbacks=callbacks,
            progress=progress and not rank(),
        )  # fmt: skip
        if resume is not None and (run.folder / "latest.pt").is_file():
            trainer.resume(run.folder / "latest.pt")
        history = trainer.fit(settings.epochs)
        if not rank() and trainer.stopped != "interrupted":
            run.write("metrics.json", _metrics(history.epochs))
            logging.getLogger("dl_course").info("%s", run)
    return run


def build_trainer(
    config: ExperimentConfig, training: Pictures, validation: Pictures, *, device: str | None = None,
    folder: Path | None = None, callbacks: Iterable[Any] = (), progress: bool = False,
) -> DistributedTrainer:  # fmt: skip
    """Return the Trainer of a configuration, ready to fit; only process 0 of several writes to the folder."""
    settings = config.training
    data = config.data
    place = pick_device(device or settings.device)
    model = build_model(config.model, training.images.shape[1:], len(training.classes)).to(place)
    model = spread(model, settings.parallel)
    shares: dict[str, Any] = dict(seed=settings.seed, num_workers=data.num_workers, pin=data.pin_memory)
    loaders = (
        Share(training, data.batch_size, shuffle=True, **shares),
        Share(validation, data.batch_size, **shares),
    )
    optimizer = optimizers.build(
        settings.optimizer, model, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    how: dict[str, Any] = {} if settings.warmup is None else {"warmup": settings.warmup}
    how |= {"epochs": settings.epochs, "steps_per_epoch": len(loaders[0])}
    named = settings.scheduler != "none"
    scheduler = schedules.build(settings.scheduler, optimizer, **how) if named else None
    own = [] if settings.patience is None else [EarlyStopping(settings.patience)]
    if rank():
        set_seed(settings.seed + rank())  # for dropout, say; the weights were drawn alike
        folder = None
    whole = size() == 1 or settings.parallel == "ddp"  # or process 0 could not look at it alone
    board = [] if folder is None else [TensorBoard(folder / "tensorboard", network=whole)]
    return DistributedTrainer(
        model, *loaders, loss_fn=cross_entropy, optimizer=optimizer, scheduler=scheduler, device=place,
        precision=settings.precision, max_grad_norm=settings.max_grad_norm,
        callbacks=[*own, *board, *callbacks], output_dir=folder, progress=progress,
    )  # fmt: skip


def _begun(config: ExperimentConfig, run: Run | None, runs: str | Path, about: dict[str, Any]) -> Run:
    """Return a new run, or the one that goes on; ValueError where that has another network or other data."""
    if run is None:
        return new_run(config, runs, about)
    before = run.about
    if (config.data, config.model) != (run.config.data, run.config.model):
        raise ValueError(f"{run.folder} has another network or other data; only 'training' may change now")
    if about["data"] != before["data"]:
        raise ValueError(f"{run.folder}: '{config.data.name}' has other pictures now than it was begun with")
    (run.folder / "metrics.json").unlink(missing_ok=True)
    save_config(config, run.folder / "config.yaml")
    run.write("about.json", before | {"resumed": [*before.get("resumed", []), about]})
    return run


def _metrics(table: pd.DataFrame) -> dict[str, Any]:
    """Return the last epoch's figures, and those of validation in the one of the smallest loss, best.pt's."""
    figures: Any = table.drop(columns=CLOCKS)
    best = figures.loc[
        figures["val_loss"].fillna(float("inf")).idxmin(), ["epoch", "val_loss", "val_accuracy"]
    ]
    return {
        **figures.iloc[-1],
        **best.add_prefix("best_"),
        "epoch": len(table),
        "best_epoch": int(best["epoch"]),
    }


def evaluate(run: Run, split: str = "test", checkpoint: str = "best") -> Predictions:
    """Return a run's predictions of "train", "val" or "test"; the figures go to its metrics-SPLIT.json."""
    from dl_course.evaluation import predict  # with scikit-learn, which a training never needs

    data = run.config.data
    device = pick_device(run.config.training.device)
    pictures: Any = build_pictures(data, split, varied=False)
    found = predict(run.model(checkpoint).to(device), pictures)
    figures = {"loss": found.loss, "accuracy": found.accuracy, "pictures": len(found)}
    run.write(f"metrics-{split}.json", {"checkpoint": checkpoint, **figures})
    return found


def from_arguments(arguments: Sequence[str]) -> Run:
    """Train as the command line says: --config, --runs, --resume, and settings such as --training.epochs."""
    help_ = {"runs": "the folder of run folders (runs)", "resume": "a run's folder: go on with it"}
    config, others = from_command_line(arguments, **help_)
    return train(config, others["runs"] or "runs", resume=others["resume"], progress=sys.stderr.isatty())
