"""What train_step and eval_step can reach is as it was, whatever they do to it."""

import collections
import copy
import functools
import itertools
import random
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from dl_course.diagnostics import checkup
from dl_course.kept import kept
from tests.diagnostics.networks import same

LOSSES, STEPS, CALLS = [], 0, itertools.count()
SETTINGS = types.SimpleNamespace(seen=0, best=torch.tensor(9.0))


class Loop:
    """A training loop as people write it, with all that such loops hold."""

    epochs = []

    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.calls, self.norms = model, optimizer, 0, {}
        self.scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        self.scaler, self.average = torch.amp.GradScaler("cpu"), AveragedModel(model)
        self.recent, self.names = collections.deque(maxlen=3), set()
        self.dice, self.own = np.random.default_rng(0), torch.Generator().manual_seed(3)
        self.table, self.python = np.zeros(4), random.Random(5)
        self.frozen = [p.detach().clone() for p in model.parameters()]

    def step(self, model, batch, optimizer):
        """Return the loss, and change whatever there is."""
        global STEPS
        model.train()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.average.update_parameters(model)
        self.calls, STEPS = self.calls + 1, STEPS + 1
        self.norms[self.calls] = loss.item()
        self.recent.append(loss.detach())
        self.names.add(self.calls)
        self.table[self.dice.integers(4)] += self.python.random() + torch.rand((), generator=self.own).item()
        type(self).epochs = [*self.epochs, loss.item()]
        self.epochs.append(next(CALLS))
        LOSSES.append(loss.item())
        SETTINGS.seen += 1
        SETTINGS.best.clamp_(max=loss.item())
        self.frozen[0].data = model[0].weight.detach().clone()
        return loss.item()


def parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 4))
    dice = torch.Generator().manual_seed(0)
    y = torch.randint(0, 4, (160,), generator=dice)
    x = torch.randn(4, 12, generator=dice)[y] + 0.5 * torch.randn(160, 12, generator=dice)
    return (
        model,
        DataLoader(TensorDataset(x, y), 32, shuffle=True),
        torch.optim.Adam(model.parameters(), 1e-3),
    )


def plain(value):
    """A copy of numbers and tensors, to compare with."""
    if isinstance(value, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler):
        return copy.deepcopy(value.state_dict())
    if isinstance(value, torch.amp.GradScaler):
        return [value.state_dict(), value._scale]
    if isinstance(value, torch.Generator):
        return value.get_state().clone()
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, random.Random):
        return value.getstate()
    return value.tolist() if isinstance(value, np.ndarray) else copy.deepcopy(value)


def everything(loop):
    held = {name: plain(value) for name, value in vars(loop).items()}
    grads = [None if p.grad is None else p.grad.clone() for p in loop.model.parameters()]
    return held, grads, list(LOSSES), STEPS, repr(CALLS), vars(SETTINGS).copy(), list(Loop.epochs)


def as_function(loop):
    optimizer, scheduler, scaler = loop.optimizer, loop.scheduler, loop.scaler

    def train_step(model, batch, _):
        assert loop.model is model and loop.scheduler is scheduler and loop.scaler is scaler
        return loop.step(model, batch, optimizer)

    return train_step


def as_partial(loop):
    return functools.partial(lambda extra, model, batch, optimizer: loop.step(model, batch, optimizer), [1])


@pytest.mark.parametrize("form", [lambda loop: loop.step, as_function, as_partial])
def test_what_a_step_can_reach_is_bit_identical_afterwards(form):
    model, loader, optimizer = parts()
    loop = Loop(model, optimizer)
    loop.step(model, next(iter(loader)), optimizer)  # so that there are gradients, moments, an average
    before = everything(loop)
    before[5]["best"] = SETTINGS.best.clone()
    report = checkup(model, loader, nn.CrossEntropyLoss(), optimizer=optimizer, train_step=form(loop))
    assert same(before, everything(loop)), {n: same(v, everything(loop)[0][n]) for n, v in before[0].items()}
    assert "no-zero-grad" not in report.skipped


def test_a_step_that_moves_the_callers_schedule_moves_it_no_longer():
    model, loader, optimizer = parts()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def train_step(model, batch, optimizer):
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
        scheduler.step()

    checkup(
        model, loader, nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler, train_step=train_step
    )
    assert optimizer.param_groups[0]["lr"] == 1e-3 and scheduler.last_epoch == 0


def test_an_evaluation_and_a_loss_may_hold_the_model_itself():
    model, loader, optimizer = parts()
    seen, hits = [], torch.zeros(4)

    def loss(outputs, labels):
        return F.cross_entropy(outputs, labels) + 1e-3 * sum(p.square().sum() for p in model.parameters())

    def eval_step(_, batch):
        seen.append(len(batch[1]))
        hits.add_(F.one_hot(model.eval()(batch[0]).argmax(1), 4).sum(0))

    before = copy.deepcopy(model.state_dict())
    checkup(model, loader, loss, optimizer=optimizer, eval_step=eval_step)
    assert same(before, model.state_dict()) and model.training and not seen and not hits.any()
    assert all(p.grad is None for p in model.parameters())


def test_what_a_failing_step_did_is_undone_too():
    model, loader, optimizer = parts()
    log = []

    def train_step(model, batch, optimizer):
        log.append(1)
        model[0].weight.data.zero_()
        raise KeyError("typo")

    before = copy.deepcopy(model.state_dict())
    report = checkup(model, loader, nn.CrossEntropyLoss(), optimizer=optimizer, train_step=train_step)
    assert report.skipped["no-zero-grad"] == "KeyError: 'typo'"
    assert not log and same(before, model.state_dict())


def test_views_slots_and_counters_are_put_back_and_what_cannot_be_is_named():
    class Slotted:
        __slots__ = ("count",)

    thing, base = Slotted(), torch.arange(6.0)
    thing.count, view, numbers = 0, base[2:], itertools.count(5)
    stream = (i for i in range(9))
    next(numbers)

    def change():
        thing.count += 1
        view.mul_(2)
        next(stream)
        return next(numbers)

    for _ in range(2):
        with kept(change) as reached:
            assert change() == 6
        assert thing.count == 0 and base.tolist() == [0, 1, 2, 3, 4, 5]
    assert reached.lost == {"generator"}
