"""Against rare classes: weigh the loss, draw the rare more often, or keep fewer of the others."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from dl_course.data.labels import classes_of, labels_of


def class_weights(source: Any) -> Tensor:
    """Return N / (C · count) of each class, (C,), from a data set, a part of one, or labels.

    Raises ValueError where there are no labels, and for a class without a sample.
    """
    counts = torch.bincount(labels_of(source), minlength=len(classes_of(source)))
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
