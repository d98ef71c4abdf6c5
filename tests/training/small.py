"""A small training for the tests of this room: twenty pictures, a net with all that has a state."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dl_course.training import Trainer

torch.manual_seed(7)
IMAGES, LABELS = torch.randint(0, 256, (40, 1, 6, 6), dtype=torch.uint8), torch.arange(40) % 3
PICTURES = IMAGES / 255, LABELS


def dataset(count=20):
    return TensorDataset(PICTURES[0][:count], PICTURES[1][:count])


def loader(count=20, batch=6):
    return DataLoader(dataset(count), batch)


def net(norm=True, dropout=0.0, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        middle = [nn.BatchNorm2d(4)] if norm else []
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            *middle,
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(64, 3),
        )


def same(one, other):
    """Whether nested states are equal to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other or one != one


def trainer(model, train=None, val=None, **options):
    train = loader() if train is None else train
    options.setdefault("optimizer", torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    options.setdefault("loss_fn", nn.CrossEntropyLoss())
    return Trainer(model, train, val, device="cpu", **options)
