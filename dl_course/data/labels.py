"""Labels and classes of a data set, however it is nested, without opening a picture."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset


def labels_of(source: Any) -> Tensor:
    """Return the labels, (N,), from a data set's ``labels`` or ``targets``, or as given; opens no file.

    A Subset has its part of them, a ConcatDataset its parts' in turn. Raises ValueError where there are none.
    """
    if isinstance(source, Subset):
        return labels_of(source.dataset)[torch.as_tensor(source.indices)]
    if isinstance(source, ConcatDataset):
        return torch.cat([labels_of(part) for part in source.datasets])
    labels = getattr(source, "labels", getattr(source, "targets", source))
    if not isinstance(labels, Tensor | np.ndarray | list | tuple) or not len(labels):
        raise ValueError(f"no labels in a {type(source).__name__}; give the labels themselves, (N,)")
    return torch.as_tensor(labels)


def classes_of(source: Any) -> tuple[str, ...]:
    """Return the names of a data set's classes, () where it has none, as labels given by themselves.

    Raises ValueError for a ConcatDataset whose parts name their classes differently.
    """
    if isinstance(source, Subset):
        return classes_of(source.dataset)
    if isinstance(source, ConcatDataset):
        names = [classes_of(part) for part in source.datasets]
        if len(set(names)) > 1:
            raise ValueError(f"the parts of a ConcatDataset name their classes differently: {names}")
        return names[0]
    return tuple(map(str, getattr(source, "classes", ())))
