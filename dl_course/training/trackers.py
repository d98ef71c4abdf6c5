"""Trackers: what other programs show of a training, TensorBoard here and Weights & Biases elsewhere."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dl_course.hooks import evaluating, preserved


class TensorBoard:
    """Writes for ``tensorboard --logdir folder``: figures, pictures of a batch, the graph, histograms.

    every: steps between two figures of a step; the histograms of weights and gradients come every epoch ·
    network: whether to look into the network, for its graph and histograms.
    """

    def __init__(self, folder: str | Path, every: int = 10, network: bool = True) -> None:
        self.folder = Path(folder)
        self.every = every
        self.network = network
        self._shown = False
        self._writer: Any = None

    def on_fit_start(self, trainer: Any) -> None:
        """Open the file; what a killed run wrote after the checkpoint is taken back."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)

    def on_step_end(self, trainer: Any) -> None:
        """Write the step's figures; at the first one the pictures and the graph."""
        if not self._shown:
            self._show(trainer)
        if trainer.step % self.every == 0:
            for name, value in trainer.history.last_step.items():
                self._writer.add_scalar(f"step/{name}", value, trainer.step)

    def _show(self, trainer: Any) -> None:
        self._shown = True
        pictures = trainer.inputs[:64]
        if pictures.ndim == 4 and pictures.shape[1] in (1, 3):
            low, high = pictures.aminmax()
            self._writer.add_images("first batch", (pictures - low) / (high - low), trainer.step)
        if not self.network:
            return
        try:
            with preserved(trainer.model), evaluating(trainer.model), warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*torch.jit")  # TensorBoard's only way to a graph
                self._writer.add_graph(trainer.model, pictures)
        except Exception as error:
            logging.getLogger("dl_course").warning("TensorBoard: no graph of this model: %s", error)

    def on_epoch_end(self, trainer: Any) -> None:
        """Write the epoch's figures and histograms."""
        for name, value in trainer.history.last.items():
            self._writer.add_scalar(f"epoch/{name}", value, trainer.step)
        for name, p in trainer.model.named_parameters() if self.network else ():
            for kind, tensor in (("weights", p), ("gradients", p.grad)):
                if tensor is not None and tensor.isfinite().all():
                    values = tensor.detach().float()
                    self._writer.add_histogram(f"{kind}/{name}", values, trainer.step, bins=64)

    def on_fit_end(self, trainer: Any) -> None:
        """Close the file."""
        self._writer.close()


class WandB:
    """Sends the figures to Weights & Biases; without a network where $WANDB_MODE is "offline".

    options: what ``wandb.init`` takes (project, name, config, dir, …). A resumed training goes on in its run.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.id: str | None = None
        self._run: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return the run's id."""
        return {"id": self.id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in the run of that id."""
        self.id = state["id"]

    def on_fit_start(self, trainer: Any) -> None:
        """Begin or go on with the run; ImportError names what to install."""
        try:
            import wandb
        except ImportError as error:
            raise ImportError("WandB needs the package wandb: pip install wandb") from error
        self._run = wandb.init(**{"id": self.id, "resume": "allow"} | self.options)
        self.id = self._run.id

    def on_epoch_end(self, trainer: Any) -> None:
        """Send the epoch's row."""
        self._run.log(trainer.history.last, step=trainer.step)

    def on_fit_end(self, trainer: Any) -> None:
        """End the run, or it would go on until the process ends."""
        self._run.finish()
