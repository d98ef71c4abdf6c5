"""Your own pictures: a CSV file of names and labels, or a folder per class."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dl_course.data.pictures import Transform
from dl_course.images import open_image, read_image
from dl_course.registry import nearest

CHANNELS = {"RGB": 3, "L": 1}


class CSVImageDataset(Dataset[tuple[Tensor, int]]):
    """The pictures that a table lists, one row each; each item is (float32 (C, H, W) in [0, 1], int label).

    csv: a CSV file, or a table · folder: what the file names are relative to, by default the CSV's folder ·
    mode: "RGB", or "L" for grey. Pictures of several sizes need a transform that resizes them to fit a batch.
    Files are read as ``Predictor`` and the service read them (``images.read_image``).
    Raises ValueError for another mode, a missing column and, with its row (the header is row 1), for an empty
    cell and a picture that is missing or unreadable: on reading, where only its end is broken.
    """

    def __init__(
        self, csv: str | Path | pd.DataFrame, folder: str | Path | None = None, *, file_column: str = "file",
        label_column: str = "label", transform: Transform | None = None, mode: str = "RGB", name: str = "",
    ) -> None:  # fmt: skip
        if mode not in CHANNELS:
            raise ValueError(f"pictures are read in the mode 'RGB' or 'L'; given: {mode!r}")
        self.transform = transform
        self.mode = mode
        if isinstance(csv, pd.DataFrame):
            self.name = name
            table = csv
        else:
            self.name = str(csv)
            table = pd.read_csv(csv, dtype={file_column: str})
            folder = folder or Path(csv).parent
        self._check_columns(table, (file_column, label_column))
        self.files = [Path(folder or ".") / file for file in table[file_column]]
        numbers, classes = pd.factorize(table[label_column], sort=True)
        self.labels = torch.from_numpy(numbers).long()
        self.classes = tuple(map(str, classes))
        for index, file in enumerate(self.files):
            with self._naming_the_row(index), open_image(file):
                pass

    def _check_columns(self, table: pd.DataFrame, columns: Sequence[str]) -> None:
        for column in columns:
            if column not in table:
                near = nearest(column, map(str, table.columns))
                raise ValueError(f"{self.name} has no column '{column}'{near}")
            for row in table[column].isna().to_numpy().nonzero()[0]:
                raise ValueError(f"{self.name}, row {row + 2}: the column '{column}' is empty")
        if not len(table):
            raise ValueError(f"{self.name} lists no pictures")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with self._naming_the_row(index):
            picture = torch.from_numpy(read_image(self.files[index], CHANNELS[self.mode]))
        return self.transform(picture) if self.transform else picture, int(self.labels[index])

    @contextmanager
    def _naming_the_row(self, index: int) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{self.name}, row {index % len(self) + 2}: {error}") from error


def folder_per_class(
    folder: str | Path, *, transform: Transform | None = None, mode: str = "RGB"
) -> CSVImageDataset:
    """Return the pictures of a folder that has a folder per class, named as it; other files are passed over.

    A picture has the ending of a format that Pillow reads, and no dot in front, as macOS's "._1.png" has.
    Raises ValueError as CSVImageDataset does.
    """
    readable = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    pictures = (file for file in Path(folder).glob("[!.]*/[!.]*") if file.suffix.lower() in readable)
    files = sorted(file for file in pictures if file.is_file())
    table = pd.DataFrame({"file": map(str, files), "label": [file.parent.name for file in files]})
    return CSVImageDataset(table, transform=transform, mode=mode, name=str(folder))
