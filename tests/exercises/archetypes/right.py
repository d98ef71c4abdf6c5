"""A learner's right answers, written otherwise than the references: other names, other order, other types."""

import torch
import torch.nn.functional as F
from torch import nn


def unit_rows(x):
    return torch.stack([row / row.double().pow(2).sum().sqrt() for row in x])


def endless_batches(n, size):
    at = 0
    while True:
        yield torch.arange(at, min(at + size, n))
        at = 0 if at + size >= n else at + size


class RunningMean:
    seen = None

    def update(self, batch):
        self.seen = batch if self.seen is None else torch.cat([self.seen, batch])
        return self.seen.mean()


class ResidualLinear(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w2 = nn.Linear(d, d)
        self.w1 = nn.Linear(d, d)

    def forward(self, x):
        return (x + self.w2(self.w1(x).relu())).relu()


def one_step(model, batch, optimizer):
    x, y = batch
    loss = F.nll_loss(F.log_softmax(model(x), dim=1), y)
    model.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def Contest():
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
