"""Trackers: what other programs show of a training, TensorBoard here and Weights & Biases elsewhere."""

import logging
import warnings
from pathlib import Path
from typing import Any

from dl_course.hooks import evaluating, preserved


class TensorBoard:
    """Writes for ``tensorboard --logdir folder``: figures, pictures of a batch, the graph, histograms.

    every: steps between two figures of a step; the histograms of weights and gradients come every epoch.
    """

    def __init__(self, folder: str | Path, every: int = 10) -> None:
        self.folder, self.every, self._shown = Path(folder), every, False
        self._writer: Any = None

    def fit_start(self, trainer: Any) -> None:
        """Open the file; what a killed run wrote after the checkpoint is taken back."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)

    def step_end(self, trainer: Any) -> None:
        """Write the step's figures; at the first one the pictures and the graph."""
        if not self._shown:
            self._show(trainer)
        if trainer.step % self.every == 0:
            for name, value in trainer.history.last_step.items():
                self._writer.add_scalar(f"step/{name}", value, trainer.step)

    def _show(self, trainer: Any) -> None:
        self._shown, pictures = True, trainer.inputs[:64]
        if pictures.ndim == 4 and pictures.shape[1] in (1, 3):
            low, high = pictures.aminmax()
            self._writer.add_images("first batch", (pictures - low) / (high - low), trainer.step)
        try:
            with preserved(trainer.model), evaluating(trainer.model), warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*torch.jit")  # TensorBoard's only way to a graph
                self._writer.add_graph(trainer.model, pictures)
        except Exception as error:
            logging.getLogger("dl_course").warning("TensorBoard: no graph of this model: %s", error)

    def epoch_end(self, trainer: Any) -> None:
        """Write the epoch's figures and histograms."""
        for name, value in trainer.history.last.items():
            self._writer.add_scalar(f"epoch/{name}", value, trainer.step)
        for name, p in trainer.model.named_parameters():
            for kind, tensor in (("weights", p), ("gradients", p.grad)):
                if tensor is not None and tensor.isfinite().all():
                    values = tensor.detach().float()
                    self._writer.add_histogram(f"{kind}/{name}", values, trainer.step, bins=64)

    def fit_end(self, trainer: Any) -> None:
        """Close the file."""
        self._writer.close()


class WandB:
    """Sends the figures to Weights & Biases; without a network where $WANDB_MODE is "offline".

    options: what ``wandb.init`` takes (project, name, config, dir, …). A resumed training goes on in its run.
    """

    state = ("id",)

    def __init__(self, **options: Any) -> None:
        self.options, self.id = options, None
        self._run: Any = None

    def fit_start(self, trainer: Any) -> None:
        """Begin or go on with the run; ImportError names what to install."""
        try:
            import wandb
        except ImportError as error:
            raise ImportError("WandB needs the package wandb: pip install wandb") from error
        self._run = wandb.init(**{"id": self.id, "resume": "allow"} | self.options)
        self.id = self._run.id

    def epoch_end(self, trainer: Any) -> None:
        """Send the epoch's row."""
        self._run.log(trainer.history.last, step=trainer.step)

    def fit_end(self, trainer: Any) -> None:
        """End the run, or it would go on until the process ends."""
        self._run.finish()
