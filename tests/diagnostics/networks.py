"""Small networks of every style: in place, shared, functional, recurrent, with dict outputs."""

import torch
import torch.nn.functional as F
from torch import nn


class Shared(nn.Module):
    """One linear layer called three times, its ReLU in place."""

    def __init__(self):
        super().__init__()
        self.fc, self.relu = nn.Linear(6, 6), nn.ReLU(inplace=True)

    def forward(self, x):
        for _ in range(3):
            x = self.relu(self.fc(x))
        return x


class Functional(nn.Module):
    """Convolutions with ReLUs that have no module."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = self.conv2(x).relu_().mean((2, 3))
        return torch.relu(self.fc(x)) + 1


class Recurrent(nn.Module):
    """An LSTM behind an embedding, with a dict as its output."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(10, 5, sparse=True), nn.LSTM(5, 7, batch_first=True)
        self.head = nn.Linear(7, 3)

    def forward(self, tokens):
        states, _ = self.lstm(self.embed(tokens))
        return {"logits": self.head(states[:, -1]), "states": states}


def state_of(model):
    """Everything about a model that a measurement must leave alone."""
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: p.grad if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        [p.requires_grad for p in model.parameters()],
        [m.training for m in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()],
        torch.get_rng_state(),
    )


def same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
