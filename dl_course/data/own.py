"""Your own pictures: a CSV file of names and labels, or a folder per class."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from dl_course.data.pictures import Transform
from dl_course.registry import nearest


class CSVImageDataset(Dataset[tuple[Tensor, int]]):
    """The pictures that a table lists, one row each; each item is (float32 (C, H, W) in [0, 1], int label).

    csv: a CSV file, or a table · folder: what the file names are relative to, by default the CSV's folder ·
    mode: "RGB", or "L" for grey. Pictures of several sizes need a transform that resizes them to fit a batch.
    Raises ValueError for a missing column and, with its row (the header is row 1), for an empty cell and a
    picture that is missing or unreadable: on reading, where only its end is broken.
    """

    def __init__(
        self, csv: str | Path | pd.DataFrame, folder: str | Path | None = None, *, file_column: str = "file",
        label_column: str = "label", transform: Transform | None = None, mode: str = "RGB", name: str = "",
    ) -> None:  # fmt: skip
        self.transform, self.mode, self.name = transform, mode, name
        if not isinstance(csv, pd.DataFrame):
            folder, self.name, csv = (
                folder or Path(csv).parent,
                str(csv),
                pd.read_csv(csv, dtype={file_column: str}),
            )
        for column in (file_column, label_column):
            if column not in csv:
                raise ValueError(
                    f"{self.name} has no column '{column}'{nearest(column, map(str, csv.columns))}"
                )
            for row in csv[column].isna().to_numpy().nonzero()[0]:
                raise ValueError(f"{self.name}, row {row + 2}: the column '{column}' is empty")
        if not len(csv):
            raise ValueError(f"{self.name} lists no pictures")
        self.files = [Path(folder or ".") / file for file in csv[file_column]]
        numbers, labels = pd.factorize(csv[label_column], sort=True)
        self.labels, self.classes = torch.from_numpy(numbers).long(), tuple(map(str, labels))
        for index in range(len(self)):
            with self._opened(index):
                pass

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with self._opened(index) as file:
            picture = pil_to_tensor(file.convert(self.mode)).float().div_(255)
        return self.transform(picture) if self.transform else picture, int(self.labels[index])

    @contextmanager
    def _opened(self, index: int) -> Iterator[Image.Image]:
        try:
            with Image.open(self.files[index]) as file:
                yield file
        except OSError as error:
            problem = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            raise ValueError(f"{self.name}, row {index + 2}: {self.files[index]} {problem}") from error


def folder_per_class(
    folder: str | Path, *, transform: Transform | None = None, mode: str = "RGB"
) -> CSVImageDataset:
    """Return the pictures of a folder that has a folder per class, named as it; other files are passed over.

    Raises ValueError as CSVImageDataset does.
    """
    kinds = Image.registered_extensions()
    files = sorted(file for file in Path(folder).glob("*/*") if file.suffix.lower() in kinds)
    table = pd.DataFrame({"file": map(str, files), "label": [file.parent.name for file in files]})
    return CSVImageDataset(table, transform=transform, mode=mode, name=str(folder))
