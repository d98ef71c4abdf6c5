"""Chapter 04: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import Dataset
from torchvision.ops import sigmoid_focal_loss
from torchvision.transforms import v2

from dl_course.exercises.checks.ch04 import _factor, _focal
from dl_course.hooks import evaluating
from tests.exercises.suites import Suite, assert_mistakes_are_named, both_tests, share_with_outputs_of

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise

suite = Suite()
wrong, right = suite.wrong, suite.right

# PictureFiles --------------------------------------------------------------------------------------------


class Files(Dataset):
    """A right answer, in parts that a wrong one replaces."""

    def __init__(self, files, labels):
        self.pairs = list(zip(files, labels, strict=True))

    def __len__(self):
        return len(self.pairs)

    def picture(self, file):
        return torch.from_numpy(np.array(Image.open(file).convert("L")))[None] / 255.0

    def __getitem__(self, index):
        file, label = self.pairs[index]
        return self.picture(file), label


right("PictureFiles")(Files)


@right("PictureFiles")
class _(Files):
    """Not derived in its ways: labels as tensors, torchvision's scaling."""

    def __getitem__(self, index):
        file, label = self.pairs[index]
        return v2.functional.to_image(Image.open(file).convert("L")).float().div(255), torch.tensor(label)


@wrong("PictureFiles", "divide by 255")
class _(Files):
    def picture(self, file):
        return torch.from_numpy(np.array(Image.open(file).convert("L")))[None]


@wrong("PictureFiles", "the channel axis is missing")
class _(Files):
    def picture(self, file):
        return super().picture(file)[0]


@wrong("PictureFiles", "make every picture grey")
class _(Files):
    def picture(self, file):
        return v2.functional.pil_to_tensor(Image.open(file)) / 255


@wrong("PictureFiles", "read in __init__")
class _(Files):
    def __init__(self, files, labels):
        super().__init__(files, labels)
        self.all = [self.picture(file) for file in files]

    def __getitem__(self, index):
        return self.all[index], self.pairs[index][1]


@wrong("PictureFiles", "not of classes")
class _(Files):
    def __len__(self):
        return len({label for _, label in self.pairs})


@wrong("PictureFiles", "have come apart")
class _(Files):
    def __getitem__(self, index):
        return self.picture(self.pairs[index][0]), self.pairs[index - 1][1]


# train_step ----------------------------------------------------------------------------------------------


@wrong("train_step", "call optimizer.zero_grad() before backward()")
def _(model, optimizer, images, labels):
    model.train()
    loss = nn.CrossEntropyLoss()(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong("train_step", "call optimizer.zero_grad() before backward()")
def _(model, optimizer, images, labels):
    model.train()
    loss = nn.CrossEntropyLoss()(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@wrong("train_step", "begin with model.train()")
def _(model, optimizer, images, labels):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong("train_step", "nothing moved")
def _(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


@wrong("train_step", "went through two")
def _(model, optimizer, images, labels):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(torch.softmax(model(images), dim=-1), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong("train_step", "return loss.item()")
def _(model, optimizer, images, labels):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss


@right("train_step")
def _(model, optimizer, images, labels):
    model.train()
    loss = F.nll_loss(model(images).log_softmax(1), labels)
    model.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


@right("train_step")
def _(model, optimizer, images, labels):
    model.train(True)

    def closure():
        optimizer.zero_grad(set_to_none=False)
        loss = -model(images).log_softmax(1)[torch.arange(len(labels)), labels].mean()
        loss.backward()
        return loss

    return optimizer.step(closure).item()


# evaluate ------------------------------------------------------------------------------------------------


def over(model, batches, reduction="mean"):
    """Yield each batch's loss, hits and size."""
    for images, labels in batches:
        logits = model(images)
        loss = F.cross_entropy(logits, labels, reduction=reduction).item()
        yield loss, (logits.argmax(1) == labels).sum().item(), len(labels)


def summed(model, batches):
    loss, hits, n = np.sum(list(over(model, batches, "sum")), axis=0)
    return loss / n, hits / n


@wrong("evaluate", "the mean of the batches' means")
@torch.no_grad()
def _(model, batches):
    was = model.training
    model.eval()
    figures = [(loss, hits / n) for loss, hits, n in over(model, batches)]
    model.train(was)
    return tuple(sum(column) / len(batches) for column in zip(*figures, strict=True))


@wrong("evaluate", "the loss is a mean over batches")
@torch.no_grad()
def _(model, batches):
    was = model.training
    model.eval()
    loss, hits, n = np.sum(list(over(model, batches)), axis=0)
    model.train(was)
    return loss / len(batches), hits / n


@wrong("evaluate", "model.eval() is missing")
@torch.no_grad()
def _(model, batches):
    return summed(model, batches)


@wrong("evaluate", "use torch.no_grad()")
def _(model, batches):
    was = model.training
    model.eval()
    result = summed(model, batches)
    model.train(was)
    return result


@wrong("evaluate", "should leave in it")
@torch.no_grad()
def _(model, batches):
    model.eval()
    return summed(model, batches)


@wrong("evaluate", "from 0 to 1")
@torch.no_grad()
def _(model, batches):
    was = model.training
    model.eval()
    loss, share = summed(model, batches)
    model.train(was)
    return loss, 100 * share


@wrong("evaluate", "is its `return` missing")
@torch.no_grad()
def _(model, batches):
    was = model.training
    model.eval()
    summed(model, batches)
    model.train(was)


@wrong("evaluate", "now thawed")
@torch.no_grad()
def _(model, batches):
    was = model.training
    model.eval()
    result = summed(model, batches)
    model.train(was)
    return result


@right("evaluate")
def _(model, batches):
    with evaluating(model), torch.inference_mode():
        logits = torch.cat([model(images) for images, _ in batches])
        labels = torch.cat([labels for _, labels in batches])
        return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).float().mean()


@right("evaluate")
def _(model, batches):
    flags = [(each, each.training) for each in model.modules()]
    model.eval()
    with torch.set_grad_enabled(False):
        result = list(summed(model, batches))
    for each, flag in flags:
        each.training = flag
    return result


# warmup_cosine -------------------------------------------------------------------------------------------


@wrong("warmup_cosine", "begin with 1/(warmup + 1)")
def _(step, warmup, total):
    if step < warmup:
        return step / warmup
    return 0.5 + 0.5 * math.cos(math.pi * min(1, (step - warmup) / (total - warmup)))


@wrong("warmup_cosine", "the top is reached a step early")
def _(step, warmup, total):
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * min(1, (step - warmup) / (total - warmup)))


@wrong("warmup_cosine", "the cosine begins after the warm-up")
def _(step, warmup, total):
    return (
        (step + 1) / (warmup + 1) if step < warmup else 0.5 + 0.5 * math.cos(math.pi * min(1, step / total))
    )


@wrong("warmup_cosine", "rises again after half a turn")
def _(step, warmup, total):
    return (
        (step + 1) / (warmup + 1)
        if step < warmup
        else 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (total - warmup))
    )


@wrong("warmup_cosine", "halve it")
def _(step, warmup, total):
    return (
        (step + 1) / (warmup + 1)
        if step < warmup
        else 1 + math.cos(math.pi * min(1, (step - warmup) / (total - warmup)))
    )


@right("warmup_cosine")
def _(step, warmup, total):
    done = np.clip((step - warmup) / (total - warmup), 0, 1)
    return min((step + 1) / (warmup + 1), np.cos(np.pi / 2 * done) ** 2)


@right("warmup_cosine")
def _(step, warmup, total):
    rising, falling = torch.linspace(0, 1, warmup + 2)[1:-1], torch.linspace(0, math.pi, total - warmup + 1)
    factors = torch.cat([rising, (falling.cos() + 1) / 2, torch.zeros(5)])
    return factors[step]


@pytest.mark.parametrize(("warmup", "total"), [(0, 9), (4, 12), (1, 3)])
def test_the_reference_schedule_is_the_one_that_torch_composes(warmup, total):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    falling = CosineAnnealingLR(optimizer, total - warmup)
    parts = [LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup), falling] if warmup else [falling]
    scheduler = SequentialLR(optimizer, parts, [warmup] if warmup else [])
    rates = []
    for _ in range(total):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([_factor(step, warmup, total) for step in range(total)], abs=1e-9)


# accumulated_step ----------------------------------------------------------------------------------------


def accumulate(weight, zero_inside=False, step_inside=False, zero_first=True):
    def answer(model, optimizer, batches):
        n, total = sum(len(labels) for _, labels in batches), 0.0
        if zero_first:
            optimizer.zero_grad()
        for images, labels in batches:
            if zero_inside:
                optimizer.zero_grad()
            loss = weight(F.cross_entropy(model(images), labels), len(labels), n, len(batches))
            loss.backward()
            total += loss.item()
            if step_inside:
                optimizer.step()
        if not step_inside:
            optimizer.step()
        return total

    return answer


def share(loss, n, everyone, batches):
    return loss * n / everyone


wrong("accumulated_step", "so the gradient is too large")(accumulate(lambda loss, *_: loss))
wrong("accumulated_step", "of unequal size")(accumulate(lambda loss, n, everyone, batches: loss / batches))
wrong("accumulated_step", "step once")(accumulate(share, step_inside=True))
wrong("accumulated_step", "only the last one counted")(accumulate(share, zero_inside=True))
wrong("accumulated_step", "gradients from before")(accumulate(share, zero_first=False))
right("accumulated_step")(accumulate(share))


@wrong("accumulated_step", "which saves no memory")
def _(model, optimizer, batches):
    optimizer.zero_grad()
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong("accumulated_step", "which saves no memory")
def _(model, optimizer, batches):
    optimizer.zero_grad()
    n = sum(len(labels) for _, labels in batches)
    loss = sum(F.cross_entropy(model(images), labels, reduction="sum") for images, labels in batches) / n
    loss.backward()
    optimizer.step()
    return loss.item()


@right("accumulated_step")
def _(model, optimizer, batches):
    model.zero_grad()
    n = loss = 0
    for images, labels in batches:
        part = F.cross_entropy(model(images), labels, reduction="sum")
        part.backward()
        n, loss = n + len(labels), loss + part.detach()
    for parameter in model.parameters():
        parameter.grad /= n
    optimizer.step()
    return loss / n


@right("accumulated_step")
def _(model, optimizer, batches):
    sums = [torch.zeros_like(parameter) for parameter in model.parameters()]
    n = sum(len(labels) for _, labels in batches)
    losses = []
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels) * (len(labels) / n)
        for total, gradient in zip(sums, torch.autograd.grad(loss, model.parameters()), strict=True):
            total += gradient
        losses.append(loss.item())
    for parameter, total in zip(model.parameters(), sums, strict=True):
        parameter.grad = total
    optimizer.step()
    return np.sum(losses)


# clip_by_global_norm -------------------------------------------------------------------------------------


def joint(gradients):
    return math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))


@wrong("clip_by_global_norm", "each tensor was clipped by itself")
def _(gradients, max_norm):
    norm = joint(gradients)
    for gradient in gradients:
        if gradient.norm() > max_norm:
            gradient.mul_(max_norm / gradient.norm())
    return norm


@wrong("clip_by_global_norm", "single values were cut off")
def _(gradients, max_norm):
    norm = joint(gradients)
    for gradient in gradients:
        torch.clamp(gradient, -max_norm, max_norm, out=gradient)
    return norm


@wrong("clip_by_global_norm", "stretched too")
def _(gradients, max_norm):
    norm = joint(gradients)
    for gradient in gradients:
        gradient *= max_norm / (norm + 1e-9)
    return norm


@wrong("clip_by_global_norm", "is something divided by zero")
def _(gradients, max_norm):
    norm = joint(gradients)
    for gradient in gradients:
        gradient.div_(norm).mul_(min(norm, max_norm))
    return norm


@wrong("clip_by_global_norm", "change them in place")
def _(gradients, max_norm):
    norm = joint(gradients)
    for gradient in gradients:
        gradient = gradient * min(1, max_norm / (norm + 1e-9))
    return norm


@wrong("clip_by_global_norm", "norms don't add up")
def _(gradients, max_norm):
    norm = sum(gradient.norm() for gradient in gradients)
    for gradient in gradients:
        gradient *= min(1, max_norm / (norm + 1e-9))
    return norm


@wrong("clip_by_global_norm", "return the norm from before")
def _(gradients, max_norm):
    norm = joint(gradients)
    for gradient in gradients:
        gradient *= min(1, max_norm / (norm + 1e-9))
    return joint(gradients)


@wrong("clip_by_global_norm", "without clip_grad_norm_")
def _(gradients, max_norm):
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    return nn.utils.clip_grad_norm_(parameters, max_norm)


@right("clip_by_global_norm")
def _(gradients, max_norm):
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    if norm > max_norm:
        for gradient in gradients:
            gradient.copy_(gradient * max_norm / norm)
    return norm


@right("clip_by_global_norm")
def _(gradients, max_norm):
    norm = np.sqrt(sum(np.square(gradient.numpy()).sum() for gradient in gradients))
    for gradient in gradients:
        gradient /= max(1.0, norm / max_norm)
    return norm


# EarlyStopping -------------------------------------------------------------------------------------------


class Stops:
    """A right answer, in parts that a wrong one replaces."""

    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta, self.best, self.waited = patience, min_delta, float("inf"), 0

    def better(self, loss):
        return loss < self.best - self.min_delta

    def enough(self):
        return self.waited >= self.patience

    def update(self, loss):
        if self.better(loss):
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return self.enough()


right("EarlyStopping")(Stops)


@right("EarlyStopping")
class _:
    def __init__(self, patience, min_delta=0.0):
        self.patience, self.min_delta, self.losses = patience, min_delta, []

    @property
    def best(self):
        return self.so_far()[0]

    def so_far(self):
        best, at = np.inf, -1
        for epoch, loss in enumerate(self.losses):
            if best - loss > self.min_delta:
                best, at = loss, epoch
        return best, at

    def update(self, loss):
        self.losses.append(loss)
        return np.bool_(len(self.losses) - 1 - self.so_far()[1] >= self.patience)


@wrong("EarlyStopping", "one epoch late")
class _(Stops):
    def enough(self):
        return self.waited > self.patience


@wrong("EarlyStopping", "one epoch early")
class _(Stops):
    def enough(self):
        return self.waited + 1 >= self.patience


@wrong("EarlyStopping", "only epochs in a row count")
class _(Stops):
    def update(self, loss):
        if self.better(loss):
            self.best = loss
        else:
            self.waited += 1
        return self.enough()


@wrong("EarlyStopping", "not with the last one")
class _(Stops):
    def update(self, loss):
        self.waited = 0 if self.better(loss) else self.waited + 1
        self.best = loss
        return self.enough()


@wrong("EarlyStopping", "ask <, not <=")
class _(Stops):
    def better(self, loss):
        return loss <= self.best - self.min_delta


@wrong("EarlyStopping", "min_delta is left out")
class _(Stops):
    def better(self, loss):
        return loss < self.best


@wrong("EarlyStopping", "NaN counted as progress")
class _(Stops):
    def better(self, loss):
        return not (loss >= self.best - self.min_delta)


# focal_loss ----------------------------------------------------------------------------------------------


@wrong("focal_loss", "the mean was taken too early")
def _(logits, labels, gamma=2.0):
    loss = F.cross_entropy(logits, labels)
    return (1 - torch.exp(-loss)) ** gamma * loss


@wrong("focal_loss", "upside down")
def _(logits, labels, gamma=2.0):
    p = logits.softmax(1)[torch.arange(len(labels)), labels]
    return (p**gamma * F.cross_entropy(logits, labels, reduction="none")).mean()


@wrong("focal_loss", "gamma is an exponent")
def _(logits, labels, gamma=2.0):
    p = logits.softmax(1)[torch.arange(len(labels)), labels]
    return (gamma * (1 - p) * F.cross_entropy(logits, labels, reduction="none")).mean()


@wrong("focal_loss", "the gradient isn't")
def _(logits, labels, gamma=2.0):
    with torch.no_grad():
        weight = (1 - logits.softmax(1).gather(1, labels[:, None]).squeeze(1)) ** gamma
    return (weight * F.cross_entropy(logits, labels, reduction="none")).mean()


@wrong("focal_loss", "these are added up")
def _(logits, labels, gamma=2.0):
    log_p = logits.log_softmax(1).gather(1, labels[:, None])
    return (-((1 - log_p.exp()) ** gamma) * log_p).sum()


@wrong("focal_loss", "NaN or infinity")
def _(logits, labels, gamma=2.0):
    p = logits.softmax(1).gather(1, labels[:, None])
    return (-((1 - p) ** gamma) * p.log()).mean()


@wrong("focal_loss", "the sign is the wrong way round")
def _(logits, labels, gamma=2.0):
    log_p = logits.log_softmax(1).gather(1, labels[:, None])
    return ((1 - log_p.exp()) ** gamma * log_p).mean()


@right("focal_loss")
def _(logits, labels, gamma=2.0):
    one_hot = F.one_hot(labels, logits.shape[1])
    log_p = logits - logits.logsumexp(1, keepdim=True)
    return -(one_hot * (1 - log_p.exp()) ** gamma * log_p).sum() / len(logits)


@right("focal_loss")
def _(logits, labels, gamma=2.0):
    losses = []
    for row, label in zip(logits.float(), labels, strict=True):
        price = F.cross_entropy(row, label)
        losses.append((-torch.expm1(-price)) ** gamma * price)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_the_reference_focal_loss_is_torchvisions_where_there_are_two_classes(gamma):
    logits, labels = torch.randn(9, dtype=torch.float64), torch.arange(9) % 2
    theirs = sigmoid_focal_loss(logits, labels.double(), alpha=-1, gamma=gamma, reduction="mean")
    ours = _focal(torch.stack([torch.zeros(9), logits], 1), labels, gamma)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)


NAMES = ["train_step", "evaluate", "warmup_cosine", "accumulated_step"]
NAMES += ["clip_by_global_norm", "EarlyStopping", "focal_loss"]


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_recognised_whatever_a_graders_seed(name):
    assert_mistakes_are_named(name, (1, 2**31))


@pytest.mark.parametrize("name", NAMES)
def test_right_outputs_for_one_seed_are_wrong_for_another(name):
    assert share_with_outputs_of(name, known=1, asked=2) <= 0.25


test_wrong, test_right = both_tests(suite)
