"""Chapter 01: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from tests.exercises.suites import Suite, both_tests

suite = Suite()
wrong, right = suite.wrong, suite.right
with pytest.raises((NotImplementedError, RuntimeError)) as raised:
    torch.zeros(2, dtype=torch.uint8).std()
OF_INTEGERS = raised.type.__name__  # NotImplementedError, in torch 2.9 RuntimeError

# standardize ---------------------------------------------------------------------------------------------


@wrong("standardize", "one mean and one std for all channels")
def _(images):
    images = images.float()
    return (images - images.mean()) / images.std(correction=0)


@wrong("standardize", "N − 1")
def _(images):
    images = images.float()
    std = images.std((0, 2, 3), keepdim=True)
    return (images - images.mean((0, 2, 3), keepdim=True)) / torch.where(std > 0, std, 1)


@wrong("standardize", "changed your input in place")
def _(images):
    if not images.is_floating_point():
        images = images.float()
    images -= images.mean((0, 2, 3), keepdim=True)
    images /= images.std((0, 2, 3), correction=0, keepdim=True).clamp(min=1e-12)
    return images


@wrong("standardize", "each picture by itself")
def _(images):
    images = images.float()
    std = images.std((2, 3), correction=0, keepdim=True)
    return torch.nan_to_num((images - images.mean((2, 3), keepdim=True)) / std)


@wrong("standardize", "0/0 is NaN")
def _(images):
    images = images.float()
    return (images - images.mean((0, 2, 3), keepdim=True)) / images.std((0, 2, 3), correction=0, keepdim=True)


@wrong("standardize", f"raised {OF_INTEGERS} at line")
def _(images):
    std = images.std((0, 2, 3), correction=0, keepdim=True)
    return (images - images.mean((0, 2, 3), keepdim=True)) / torch.where(std > 0, std, 1)


@wrong("standardize", "is its `return` missing?")
def _(images):
    (images.float() - images.float().mean((0, 2, 3), keepdim=True)) / images.float().std(
        (0, 2, 3), keepdim=True
    )


@right("standardize")
def _(images):
    images = images.double()
    mean = images.mean((0, 2, 3), keepdim=True)
    return (images - mean) / ((images - mean) ** 2).mean((0, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)


@right("standardize")
def _(images):
    out = torch.empty(images.shape)
    for channel in range(images.shape[1]):
        values = images[:, channel].float()
        std = values.std(correction=0)
        out[:, channel] = (values - values.mean()) / (std if std > 0 else 1)
    return out


@right("standardize")
def _(images):
    images = images.clone().float()
    images -= images.mean((0, 2, 3), keepdim=True)
    images /= images.std((0, 2, 3), correction=0, keepdim=True) + 1e-8
    return images


# pairwise_distances --------------------------------------------------------------------------------------


@wrong("pairwise_distances", "transposed")
def _(a, b):
    return (a[None] - b[:, None]).pow(2).sum(-1).sqrt()


@wrong("pairwise_distances", "square root is missing")
def _(a, b):
    return (a[:, None] - b).pow(2).sum(-1)


@wrong("pairwise_distances", "loses its digits")
def _(a, b):
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)
    return (squares - 2 * a @ b.T).sqrt()


@wrong("pairwise_distances", "without loop")
def _(a, b):
    return torch.stack([(point - b).norm(dim=1) for point in a])


@wrong("pairwise_distances", "without cdist")
def _(a, b):
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


@right("pairwise_distances")
def _(a, b):
    return (a.unsqueeze(1) - b.unsqueeze(0)).norm(dim=2)


@right("pairwise_distances")
def _(a, b):
    difference = a.double()[:, None] - b.double()[None]
    return (difference * difference).sum(-1) ** 0.5


# count_parameters ----------------------------------------------------------------------------------------


@wrong("count_parameters", "buffers too")
def _(model, trainable_only=False):
    if trainable_only:
        return sum(p.numel() for p in model.parameters() if p.requires_grad)
    return sum(value.numel() for value in model.state_dict().values())


@wrong("count_parameters", "counted a shared weight twice")
def _(model, trainable_only=False):
    named = model.named_parameters(remove_duplicate=False)
    return sum(p.numel() for _, p in named if p.requires_grad or not trainable_only)


@wrong("count_parameters", "trainable_only makes no difference")
def _(model, trainable_only=False):
    return sum(p.numel() for p in model.parameters())


@wrong("count_parameters", "you counted tensors")
def _(model, trainable_only=False):
    return len([p for p in model.parameters() if p.requires_grad or not trainable_only])


@right("count_parameters")
def _(model, trainable_only=False):
    count = 0
    for p in set(model.parameters()):
        if p.requires_grad or not trainable_only:
            count += math.prod(p.shape)
    return count


@right("count_parameters")
def _(model, trainable_only=False):
    return torch.tensor(
        sum(p.nelement() for p in model.parameters() if not trainable_only or p.requires_grad)
    )


# seeded_split --------------------------------------------------------------------------------------------


@wrong("seeded_split", "global generator")
def _(n, share, seed):
    torch.manual_seed(seed)
    order, size = torch.randperm(n), round(n * share)
    return order[size:], order[:size]


@wrong("seeded_split", "nothing is shuffled")
def _(n, share, seed):
    size = round(n * share)
    return list(range(size, n)), list(range(size))


@wrong("seeded_split", "in both parts")
def _(n, share, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return order, order[: round(n * share)]


@wrong("seeded_split", "swapped")
def _(n, share, seed):
    order, size = torch.randperm(n, generator=torch.Generator().manual_seed(seed)), round(n * share)
    return order[:size], order[size:]


@wrong("seeded_split", "a different split the second time")
def _(n, share, seed):
    generator = torch.Generator()
    generator.seed()
    order, size = torch.randperm(n, generator=generator), round(n * share)
    return order[size:], order[:size]


@wrong("seeded_split", "wrong size")
def _(n, share, seed):
    chosen = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < share
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


@right("seeded_split")
def _(n, share, seed):
    order, size = np.random.default_rng(seed).permutation(n), round(n * share)
    return order[size:], order[:size]


@right("seeded_split")
def _(n, share, seed):
    order, size = list(range(n)), round(n * share)
    random.Random(seed).shuffle(order)
    return order[: n - size], order[n - size :]


test_wrong, test_right = both_tests(suite)
