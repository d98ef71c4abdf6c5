"""Against rare classes: weigh the loss, draw the rare more often, or keep fewer of the others."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset


def labels_of(source: Any) -> Tensor:
    """Return the labels, (N,), from a data set's ``labels`` or ``targets``, or as given; opens no file."""
    if isinstance(source, Subset):
        return labels_of(source.dataset)[torch.as_tensor(source.indices)]
    labels = getattr(source, "labels", getattr(source, "targets", source))
    if not isinstance(labels, Tensor | np.ndarray | list | tuple) or not len(labels):
        raise ValueError(f"no labels in a {type(source).__name__}; give the labels themselves, (N,)")
    return torch.as_tensor(labels)


def class_weights(source: Any) -> Tensor:
    """Return N / (C · count) of each class, (C,), from a data set or labels; ValueError for a count of 0."""
    counts = torch.bincount(labels_of(source), minlength=len(getattr(source, "classes", ())))
    if missing := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(f"no sample of class {missing}, so no weight; leave the class out, or find some")
    return counts.sum() / (len(counts) * counts)


def balanced_sampler(source: Any) -> Tensor:
    """Return each sample's probability to be drawn, (N,), that makes all classes equally frequent.

    For ``data.loader(dataset, weights=balanced_sampler(dataset))`` or torch's ``WeightedRandomSampler``.
    """
    _, classes, counts = labels_of(source).unique(return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[classes].double())


def undersampled(dataset: Any, seed: int = 0) -> Any:
    """Return the data set with as many samples of each class, drawn by the seed, as the rarest class has."""
    labels = labels_of(dataset)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    classes, counts = labels.unique(return_counts=True)
    kept = torch.cat([order[labels[order] == one][: counts.min()] for one in classes]).sort().values
    return dataset.subset(kept) if hasattr(dataset, "subset") else Subset(dataset, kept.tolist())
