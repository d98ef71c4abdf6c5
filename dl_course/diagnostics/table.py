"""What every measurement returns, and how it takes a loader's batches apart."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import pandas as pd
import torch

from dl_course.hooks import mapped
from dl_course.runtime import preserved_rng


class Table(pd.DataFrame):
    """A pandas table that shows itself to four digits, and below it the note: what its rows can't say.

    histograms: {row: (counts, edges)} where there are some, for ``plots.histograms``.
    """

    _metadata = ["note", "histograms"]
    note: str = ""
    histograms: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return self.to_string(float_format="{:.4g}".format) + f"\n{self.note}" * bool(self.note)

    def _repr_html_(self) -> str:
        return self.to_html(float_format="{:.4g}".format) + f"<p>{escape(self.note)}</p>" * bool(self.note)


def table(rows: dict[str, dict[str, Any]], note: str = "", histograms: dict[str, Any] | None = None) -> Table:
    """Return the rows, by name, as a table."""
    made = Table(pd.DataFrame.from_dict(rows, orient="index"))
    made.note = note
    made.histograms = histograms
    return made


def numbered(name: str, call: int, place: int = 0) -> str:
    """Return a row's name: "fc", "fc #2" for its second call, "fc[1]" for the second tensor of an output."""
    return (name or "(model)") + f" #{call}" * (call > 1) + f"[{place}]" * bool(place)


def split(batch: Any, device: Any = "cpu") -> tuple[tuple[Any, ...], Any]:
    """Return (inputs, labels) on the device, of (input, labels), ((input, …), labels) or an input alone."""
    inputs, labels = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    inputs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return mapped(lambda tensor: tensor.to(device), (inputs, labels))


@contextmanager
def order_kept(loader: Any) -> Iterator[list[torch.Generator]]:
    """Give the generators that a loader draws its order from; put them, and its epoch, back at the end."""
    owners = (loader, getattr(loader, "sampler", None))
    generators = [each for owner in owners if (each := getattr(owner, "generator", None)) is not None]
    states = [each.get_state() for each in generators]
    epoch = getattr(loader, "epoch", None)
    try:
        yield generators
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        if epoch is not None:
            loader.epoch = epoch


def batches(loader: Any, device: Any = "cpu") -> Generator[tuple[tuple[Any, ...], Any], None, None]:
    """Yield the batches, split; then put back what the loader drew and counted, as if it had not run."""
    with preserved_rng(), order_kept(loader):
        yield from (split(batch, device) for batch in loader)
