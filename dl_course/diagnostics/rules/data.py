"""Rules on the data: what goes in, and with which labels."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_course.diagnostics.rules.evidence import Evidence, floats, spread
from dl_course.diagnostics.rules.finding import Found, Skip, rule
from dl_course.hooks import tensors_in
from dl_course.runtime import preserved_rng

FOLDS = 4  # of samples, that a classifier is tried on in turn
COPIES = 16  # of a picture, at most, that are looked for


@rule("input-nonfinite", "error")
def nonfinite_inputs(e: Evidence) -> Found:
    """No input may hold NaN or Inf: a single one spoils every weight.

    Find these samples (a file that does not read, 0/0 or log(0) in a transform); mend or drop them.
    """
    bad = e.facts["not finite"]
    count = e.facts["inputs"]
    return bad and f"{bad} of {count} inputs hold NaN or Inf; limit 0"


@rule("constant-input", "error")
def constant_inputs(e: Evidence) -> Found:
    """Inputs differ between samples, by 1 % of their size at least, and in every channel at all.

    Look at some pictures before and after the transforms: what makes them all the same?
    """
    size = e.x.square().mean().sqrt().item()
    between = spread(e.x)
    stds = e.facts["std by channel"]
    if len(e.x) > 1 and between <= 0.01 * size:
        return f"inputs differ by {between:.2g} between samples, and their size is {size:.2g}; limit 1 %"
    dead = [f"channel {c}" for c, std in enumerate(stds) if std <= 1e-4 * max(stds)]
    return bool(dead) and (dead[0], f"{dead[0]} is the same everywhere; the others' std is {max(stds):.2g}")


@rule("input-not-normalised")
def inputs_not_normalised(e: Evidence) -> Found:
    """Initialisations assume numbers of about 1: a size (root mean square) from 0.01 to 3.

    3 is more than a white picture has after ImageNet's normalisation, 2.6. Channels with 10 times the std of
    others curve the loss 100 times as much: no one learning rate fits both.

    Subtract the training set's mean and divide by its std, channel by channel; pictures 0–255 by 255 first.
    """
    size = e.x.square().mean().sqrt().item()
    stds = e.facts["std by channel"]
    if size < 0.01 or 3 < size < torch.inf:
        return (
            f"inputs have a size of {size:.3g} (mean {e.x.mean():.3g}, std {e.x.std():.3g}); limits 0.01, 3"
        )
    return max(stds) >= 10 * min(stds) > 1e-3 * max(stds) and f"channels' stds: {stds}; limit 10 times"


@rule("label-noise")
def label_noise(e: Evidence) -> Found:
    """Some simple classifier guesses held-out labels better than chance, by 4 standard deviations.

    Look at pictures beside their labels: shuffled apart from each other, or sorted differently?
    """
    x = e.x[:1024]
    y = e.labels[:1024]
    if len([*tensors_in(e.batch[0])]) > 1 or len(y.unique()) == 1:
        raise Skip("is for a single input and several classes")
    counts = y.unique(return_counts=True)[1]
    if not x.isfinite().all() or counts.min() < max(10, 100 / len(counts)):
        raise Skip("needs 100 finite samples, were all classes as rare as the rarest, and 10 a class")
    for features in (_pixels, _filters, _anywhere):
        guess = _guesses(features(x), y, torch.arange(len(y)) % FOLDS)
        right = int((guess == y).sum())
        chance = sum((guess == c).sum().item() * (y == c).sum().item() for c in y.unique()) / len(y)
        if right - chance > 4 * sqrt(chance * (1 - chance / len(y)) + 1e-9):
            return None
    return f"of {len(y)} held-out labels a classifier on filters guesses {right}, chance {chance:.0f}"


def _pixels(x: Tensor) -> Tensor:
    return (F.adaptive_avg_pool2d(x, 16) if x.dim() == 4 and x.shape[-1] > 16 else x).flatten(1)


def _filters(x: Tensor) -> Tensor:
    """Return what two layers of random filters see. Coates, Lee and Ng, AISTATS 2011."""
    x = ((x - x.mean()) / x.std()).reshape(len(x), *(x.shape[1:] if x.dim() == 4 else (-1, 1, 1)))
    x = F.adaptive_avg_pool2d(x, 32) if x.shape[-1] > 32 else x
    with preserved_rng(0):
        first, second = torch.randn(32, x.shape[1], 5, 5), torch.randn(128, 32, 3, 3) / 17
    first = F.normalize((first - first.mean((1, 2, 3), keepdim=True)).flatten(1)).view_as(first)
    if x.shape[-1] == 1:
        return F.conv2d(x, first, padding=2).relu().flatten(1)
    low = F.max_pool2d(F.conv2d(x, first, padding=2).abs(), 2)
    high = F.conv2d(low, second, padding=1).relu()
    return torch.cat([F.adaptive_avg_pool2d(low, 4).flatten(1), high.mean((2, 3)), high.amax((2, 3))], 1)


def _anywhere(x: Tensor) -> Tensor:
    """Return what each channel of (N, C, …), or of (N, steps, C), is at most, at least and on average."""
    x = x.reshape(len(x), x.shape[1], -1)
    stds = [x.std(axis, correction=0) for axis in (2, 1)]
    parts = stds + [part for axis in (2, 1) for part in (x.amax(axis), x.amin(axis), x.mean(axis))]
    return torch.cat(parts, 1).nan_to_num()


def _guesses(features: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    """Return the class that ridge regression on the other folds guesses for each sample; on folds 0 to 3 for
    what is in none of them.
    """
    f = (features - features.mean(0)) / (features.std(0) + 1e-6)
    kernel = F.normalize(f) @ F.normalize(f).T
    names, y = y.unique(return_inverse=True)
    classes = F.one_hot(y).float()
    guess = torch.zeros_like(y)
    for k in range(int(fold.max()) + 1):
        known = (fold != k) & (fold < FOLDS)
        inner = kernel[known][:, known] + 0.1 * torch.eye(int(known.sum()))
        solved = torch.linalg.solve(inner, classes[known] - classes[known].mean(0))
        guess[fold == k] = (kernel[fold == k][:, known] @ solved).argmax(1)
    return names[guess]


@rule("train-val-mismatch")
def other_order_of_classes(e: Evidence) -> Found:
    """What a simple classifier finds in training holds in validation: it is right half as often, at least, as
    on held-out training samples of the same classes, where that is 4 standard deviations above chance.

    Give both splits one list of classes: folders that differ number them anew (class_to_idx).
    """
    other = torch.cat([labels for _, labels in e.val])[:256]
    if other.dim() != 1 or other.is_floating_point() or len(other) < 32:
        raise Skip
    try:
        y = e.labels[:512]
    except Skip as why:  # nothing of the kind here: the rule on inputs has run
        raise Skip from why
    x = torch.cat([e.x[: len(y)], floats(e.val)[: len(other)]])
    if not x.isfinite().all():
        raise Skip
    fold = torch.cat([torch.arange(len(y)) % FOLDS, torch.full_like(other, FOLDS)])
    truth = torch.cat([y, other])
    for features in (_pixels, _filters, _anywhere):
        right = (_guesses(features(x), truth, fold) == truth).double()
        usual = sum(right[: len(y)][y == c].mean() * (other == c).sum() for c in y.unique())
        met = right[len(y) :].sum().item()
        if float(usual) > len(other) / len(y.unique()) + 4 * sqrt(len(other) / 4):
            text = f"of {len(other)} validation labels a simple classifier guesses {met:.0f}"
            return met < 0.5 * float(usual) and f"{text}; of as many in training {float(usual):.0f}"
    return None


@rule("train-val-leak", "error")
def leak(e: Evidence) -> Found:
    """A validation input 5 times as near to one training input as to any other is the same one: 1 % at most.

    Where training inputs have such twins among themselves, as many more; but not half of all that differ a
    little from theirs, as augmented copies do: of one number each, a fifth have such by chance.

    Split once, before anything else, by picture (by patient, by scene), and store the split.
    """
    train, val = _pixels(e.x), _pixels(floats(e.val))
    if train.shape[1] != val.shape[1] or len(train) < 8:
        raise Skip("needs inputs of one shape")
    twins, copies = _twins(train, val)
    usual = _twins(*train.chunk(2))[0] / (len(train) // 2)
    limit = (0.01 + usual) * len(val) + 3 * sqrt(usual * len(val) * (1 + 2 * len(val) / len(train))) + 1
    if copies > max(0.5 * len(val), 8):
        return f"{copies} of {len(val)} validation inputs are nearly the same as some in training; limit half"
    return twins > limit and f"{twins} of {len(val)} validation inputs are in training too; limit {limit:.0f}"


def _twins(known: Tensor, new: Tensor) -> tuple[int, int]:
    """Return how many have a twin, and how many have some, up to 16, that differ a little."""
    far = torch.cdist(new, known).topk(min(COPIES + 1, len(known)), largest=False).values
    jumps = (far[:, :-1] <= 0.2 * far[:, 1:]) & (far[:, :-1] > 1e-3 * far[:, 1:])
    return int((far[:, 0] <= 0.2 * far[:, 1]).sum()), int(jumps.any(1).sum())


@rule("val-set-too-small")
def small_validation(e: Evidence) -> Found:
    """An accuracy of 1/2 on n samples is known to 1.96 · sqrt(1/4 / n): to 10 points where n is 96.

    Set more samples aside or cross-validate; smaller differences than this width mean nothing.
    """
    known = getattr(getattr(e.need("val_loader"), "dataset", None), "__len__", None)
    n = known() if known else sum(len(next(tensors_in(batch))) for batch in e.val)
    return (
        0 < n < 96 and f"{n} validation samples: an accuracy is known to ± {0.98 / sqrt(n):.0%}; limit 10 %"
    )


@rule("train-val-mismatch")
def mismatch(e: Evidence) -> Found:
    """Channels' means agree to 0.3 std, stds to 1.3 times, as under mild augmentation; so does their order.

    Inputs are large or small as wholes, so figures of few are uncertain: 4 standard errors more are allowed.
    Chance puts shares of colors 1 standard error off. Limit: 2.5, and twice what the other order comes to.

    Give both loaders the same size, channel order and normalisation; only augmentation is for training alone.
    """
    a, b = e.facts, e.val_facts
    if a["shapes"] != b["shapes"]:
        return f"training inputs are {a['shapes']}, validation inputs {b['shapes']}"
    x = e.x
    y = floats(e.val)
    std = torch.tensor(a["std by channel"]).clamp_min(1e-6)
    shift = ((torch.tensor(b["mean by channel"]) - torch.tensor(a["mean by channel"])) / std).abs().max()
    ratio = (torch.tensor(b["std by channel"]).clamp_min(1e-6) / std).log().abs().max().exp()
    means, powers = x.flatten(1).mean(1), x.flatten(1).square().mean(1)
    errors = 4 * sqrt(1 / len(x) + 1 / len(y))
    limits = 0.3 + errors * means.std() / std.min(), 1.3 + errors * powers.std() / powers.mean() / 2
    if shift > limits[0] or ratio > limits[1]:
        text = f"channels differ by {shift:.2g} std in mean, {ratio:.2g} times in std"
        return f"{text}; limits {limits[0]:.2g}, {limits[1]:.2g}"
    if x.dim() != 4 or x.shape[1] != 3:
        return None
    straight, turned = _errors(x, y), _errors(x, y.flip(1))
    text = f"shares of colors are {straight:.1f} standard errors off, in the other order {turned:.1f}"
    return straight > max(2.5, 2 * turned) and f"{text}; limits 2.5 and twice"


def _errors(x: Tensor, y: Tensor) -> float:
    """Return how far the shares of 27 colors are apart, in standard errors: channels low, middle or high."""
    middle = x.mean((0, 2, 3), keepdim=True)
    half = x.std((0, 2, 3), keepdim=True) / 2
    shares = list[Tensor]()
    for each in (x, y):
        red, green, blue = ((each > middle - half).long() + (each > middle + half)).flatten(2).unbind(1)
        color = 9 * red + 3 * green + blue + 27 * torch.arange(len(each), device=each.device)[:, None]
        shares.append(color.flatten().bincount(minlength=27 * len(each)).view(-1, 27) / color.shape[1])
    error = torch.cat(shares).std(0) * sqrt(1 / len(x) + 1 / len(y))
    return ((shares[0].mean(0) - shares[1].mean(0)) / error).square().nanmean().sqrt().item()
