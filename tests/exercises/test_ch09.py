"""Chapter 09: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dl_course.exercises.checks import all_exercises
from tests.exercises.suites import Suite, assert_mistakes_are_named, both_tests, share_with_outputs_of

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise

suite = Suite()
wrong, right = suite.wrong, suite.right

# top_classes ---------------------------------------------------------------------------------------------


@wrong("top_classes", "these are logits")
def _(logits, names, k=3):
    return [(names[i], logits[i].item()) for i in logits.argsort(descending=True)[:k]]


@wrong("top_classes", "you scaled the best few")
def _(logits, names, k=3):
    best, places = logits.topk(k)
    return [(names[i], p.item()) for i, p in zip(places, best.softmax(0), strict=True)]


@wrong("top_classes", "the least probable")
def _(logits, names, k=3):
    chances = F.softmax(logits, dim=-1)
    return [(names[i], chances[i].item()) for i in chances.argsort()[:k]]


@wrong("top_classes", "the best one comes first")
def _(logits, names, k=3):
    chances = F.softmax(logits, dim=-1)
    return [(names[i], chances[i].item()) for i in chances.argsort()[-k:]]


@right("top_classes")
def _(logits, names, k=3):
    weights = np.exp(logits.numpy() - logits.max().item())
    chances = weights / weights.sum()
    return [(names[i], float(chances[i])) for i in np.argsort(-chances)[:k]]


@right("top_classes")
def _(logits, names, k=3):
    pairs = list(zip(names, logits.float().log_softmax(0).exp().tolist(), strict=True))
    return sorted(pairs, key=lambda pair: pair[1], reverse=True)[:k]


# channel_statistics --------------------------------------------------------------------------------------


@wrong("channel_statistics", "divide by 255")
def _(images):
    return images.float().mean((0, 2, 3)), images.float().std((0, 2, 3))


@wrong("channel_statistics", "one number for all channels")
def _(images):
    return (images / 255).mean(), (images / 255).std()


@wrong("channel_statistics", "how pictures differ is then left out")
def _(images):
    scaled = images / 255
    return scaled.mean((0, 2, 3)), torch.stack([picture.flatten(1).std(1) for picture in scaled]).mean(0)


@wrong("channel_statistics", "take its root")
def _(images):
    scaled = images / 255
    return scaled.mean((0, 2, 3)), scaled.var((0, 2, 3))


@right("channel_statistics")
def _(images):
    std, mean = torch.std_mean(images.double() / 255, (0, 2, 3))
    return mean, std


@right("channel_statistics")
def _(images):
    flat = images.numpy().transpose(1, 0, 2, 3).reshape(images.shape[1], -1) / 255
    return flat.mean(1), flat.std(1)


@right("channel_statistics")
def _(images):
    total, squares, number = 0, 0, 0
    for picture in images:
        scaled = picture.double().flatten(1) / 255
        total = total + scaled.sum(1)
        squares = squares + scaled.square().sum(1)
        number += scaled.shape[1]
    return total / number, (squares / number - (total / number) ** 2).sqrt()


# shared_pictures -----------------------------------------------------------------------------------------


@wrong("shared_pictures", "of the same index")
def _(train, test):
    return [i for i, (a, b) in enumerate(zip(train, test, strict=False)) if torch.equal(a, b)]


@wrong("shared_pictures", "these are indices in train")
def _(train, test):
    return [i for i, a in enumerate(train) if any(torch.equal(a, b) for b in test)]


@wrong("shared_pictures", "compare every pixel")
def _(train, test):
    means = {picture.double().mean().item() for picture in train}
    return [i for i, picture in enumerate(test) if picture.double().mean().item() in means]


@right("shared_pictures")
def _(train, test):
    same = (test[:, None] == train[None]).flatten(2).all(2)
    return same.any(1).nonzero().flatten().tolist()


@right("shared_pictures")
def _(train, test):
    return [i for i, a in enumerate(test) if any(torch.equal(a, b) for b in train)]


# nearest_pictures ----------------------------------------------------------------------------------------


@wrong("nearest_pictures", "long vectors win")
def _(query, features, k=5):
    return (features * query).sum(1).argsort(descending=True)[:k]


@wrong("nearest_pictures", "that is the distance")
def _(query, features, k=5):
    return torch.cdist(query[None], features)[0].argsort()[:k]


@wrong("nearest_pictures", "the least similar")
def _(query, features, k=5):
    return F.cosine_similarity(features, query[None]).argsort()[:k]


@right("nearest_pictures")
def _(query, features, k=5):
    return F.cosine_similarity(features, query[None]).argsort(descending=True)[:k]


@right("nearest_pictures")
def _(query, features, k=5):
    rows, q = features.numpy(), query.numpy()
    return np.argsort(-(rows @ q) / np.linalg.norm(rows, axis=1))[:k]


# split_by_place ------------------------------------------------------------------------------------------


@wrong("split_by_place", "must end before the border")
def _(lefts, width, border, gap):
    return lefts <= border, lefts >= border + gap


@wrong("split_by_place", "without the gap")
def _(lefts, width, border, gap):
    return lefts + width <= border, lefts >= border


@wrong("split_by_place", "crops across the border are left out")
def _(lefts, width, border, gap):
    train = lefts + width <= border
    return train, torch.logical_not(train)


@right("split_by_place")
def _(lefts, width, border, gap):
    return (lefts + width - 1).lt(border), (lefts - gap).ge(border)


@right("split_by_place")
def _(lefts, width, border, gap):
    last = lefts.numpy() + width - 1
    return last < border, lefts.numpy() >= border + gap


# head_step -----------------------------------------------------------------------------------------------


@wrong("head_step", "the body's statistics moved")
def _(model, head, images, labels, optimizer):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong("head_step", "the head's own norm")
def _(model, head, images, labels, optimizer):
    model.eval()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong("head_step", "gradients add up")
def _(model, head, images, labels, optimizer):
    model.eval().get_submodule(head).train()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong("head_step", "it applies softmax itself")
def _(model, head, images, labels, optimizer):
    model.eval().get_submodule(head).train()
    optimizer.zero_grad()
    loss = F.cross_entropy(F.softmax(model(images), dim=1), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@right("head_step")
def _(model, head, images, labels, optimizer):
    for name, module in model.named_modules():
        module.training = name == head or name.startswith(f"{head}.")
    for parameter in model.parameters():
        parameter.grad = None
    loss = -model(images).log_softmax(1)[torch.arange(len(labels)), labels].mean()
    loss.backward()
    optimizer.step()
    return loss.detach()


@right("head_step")
def _(model, head, images, labels, optimizer):
    parts = dict(model.named_children())
    model.eval()
    with torch.no_grad():
        features = parts["pool"](parts["body"](images))
    parts[head].train()
    loss = F.cross_entropy(parts[head](features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


test_a_wrong_answer_is_told_its_mistake, test_a_right_answer_passes_however_it_is_written = both_tests(suite)
NAMES = [name for name, exercise in all_exercises().items() if exercise.chapter == "09"]


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_named_whatever_the_seed(name):
    assert_mistakes_are_named(name, range(3))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_learnt_by_heart_earn_nothing_with_another_seed(name):
    assert share_with_outputs_of(name, 0, 1) <= 0.34
