"""Chapter 08: typical wrong answers get the right diagnosis; right ones pass, however they are written."""

import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from dl_course.exercises.checks import find_exercise
from dl_course.exercises.judging import verdict
from tests.exercises.suites import Suite, assert_mistakes_are_named, both_tests, share_with_outputs_of

suite = Suite()
wrong, right = suite.wrong, suite.right

# largest_difference --------------------------------------------------------------------------------------


def gaps(model, run, pictures, sizes, keep=np.abs):
    model.eval()
    for size in sizes:
        with torch.no_grad():
            yield keep(run(pictures[:size]) - model(torch.from_numpy(pictures[:size])).numpy())


@wrong("largest_difference", "in training mode")
def _(model, run, pictures, sizes):
    largest = 0.0
    for size in sizes:
        expected = model(torch.from_numpy(pictures[:size])).detach().numpy()
        try:
            got = run(pictures[:size])
        except ValueError:
            return math.inf
        if np.isnan(got).any():
            return math.inf
        largest = max(largest, np.abs(got - expected).max())
    return largest


@wrong("largest_difference", "take the absolute value")
def _(model, run, pictures, sizes):
    try:
        largest = max(gap.max() for gap in gaps(model, run, pictures, sizes, keep=np.asarray))
    except ValueError:
        return math.inf
    return math.inf if np.isnan(largest) else largest


@wrong("largest_difference", "you took the mean")
def _(model, run, pictures, sizes):
    try:
        means = [float(gap.mean()) for gap in gaps(model, run, pictures, sizes)]
    except ValueError:
        return math.inf
    return math.inf if any(map(math.isnan, means)) else max(means)


@wrong("largest_difference", "catch its exception")
def _(model, run, pictures, sizes):
    largest = [float(gap.max()) for gap in gaps(model, run, pictures, sizes)]
    return math.inf if any(map(math.isnan, largest)) else max(largest)


@wrong("largest_difference", "only the last size counts")
def _(model, run, pictures, sizes):
    try:
        for gap in gaps(model, run, pictures, sizes):
            largest = float(gap.max())
    except ValueError:
        return math.inf
    return math.inf if math.isnan(largest) else largest


@wrong("largest_difference", "only the first size is tried")
def _(model, run, pictures, sizes):
    return next(gaps(model, run, pictures, sizes)).max()


@right("largest_difference")
def _(model, run, pictures, sizes):
    try:
        largest = np.array([gap.max() for gap in gaps(model, run, pictures, sizes)])
    except Exception:
        return float("inf")
    return np.nan_to_num(largest, nan=np.inf).max()


@right("largest_difference")
def _(model, run, pictures, sizes):
    model.train(False)
    worst = torch.zeros(())
    for size in sizes:
        try:
            got = torch.as_tensor(run(pictures[:size]))
        except ValueError:
            return torch.tensor(torch.inf)
        worst = torch.maximum(worst, (got - model(torch.tensor(pictures[:size]))).detach().abs().amax())
    return torch.tensor(torch.inf) if worst.isnan() else worst


# predict_in_batches --------------------------------------------------------------------------------------


def chunks(run, pictures, size):
    return [run(pictures[start : start + size]) for start in range(0, len(pictures), size)]


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def both(p):
    return p.argmax(1), p.max(1)


@wrong("predict_in_batches", "the last batch is lost")
def _(run, pictures, size):
    logits = [run(pictures[i * size : (i + 1) * size]) for i in range(len(pictures) // size)]
    return both(softmax(np.concatenate(logits))) if logits else (np.array([]), np.array([]))


@wrong("predict_in_batches", "each picture went alone")
def _(run, pictures, size):
    logits = chunks(run, pictures, 1)
    return both(softmax(np.concatenate(logits))) if logits else (np.array([]), np.array([]))


@wrong("predict_in_batches", "`run` takes at most `size`")
def _(run, pictures, size):
    return both(softmax(run(pictures))) if len(pictures) else (np.array([]), np.array([]))


@wrong("predict_in_batches", "not along the batch")
def _(run, pictures, size):
    logits = torch.from_numpy(
        np.concatenate(
            [*chunks(run, pictures, size), np.zeros((0, 1))]
            if not len(pictures)
            else chunks(run, pictures, size)
        )
    )
    return logits.argmax(1), logits.softmax(0).amax(1)


@wrong("predict_in_batches", "after the softmax")
def _(run, pictures, size):
    parts = chunks(run, pictures, size)
    return both(np.concatenate(parts)) if parts else (np.array([]), np.array([]))


@wrong("predict_in_batches", "nothing to concatenate")
def _(run, pictures, size):
    return both(softmax(np.concatenate(chunks(run, pictures, size))))


@wrong("predict_in_batches", "NaN or infinity")
def _(run, pictures, size):
    parts = chunks(run, pictures, size)
    if not parts:
        return np.array([]), np.array([])
    logits = np.concatenate(parts)
    with np.errstate(all="ignore"):
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return logits.argmax(1), p.max(1)


@right("predict_in_batches")
def _(run, pictures, size):
    classes, sure = [], []
    for part in chunks(run, pictures, size):
        for row in part.tolist():
            classes.append(row.index(max(row)))
            sure.append(1 / sum(math.exp(logit - max(row)) for logit in row))
    return np.array(classes, int), np.array(sure, np.float32)


@right("predict_in_batches")
def _(run, pictures, size):
    parts = [
        torch.from_numpy(run(part))
        for part in np.split(pictures, range(size, len(pictures), size))
        if len(part)
    ]
    confidence, classes = (torch.cat(parts) if parts else torch.zeros(0, 1)).softmax(1).max(1)
    return classes, confidence


# drift_p_value -------------------------------------------------------------------------------------------


def table(*samples):
    kinds = np.unique(np.concatenate(samples))
    return np.array([[(sample == kind).sum() for kind in kinds] for sample in samples])


def p_values(confidence, classes, new_confidence, new_classes):
    yield stats.ks_2samp(confidence, new_confidence).pvalue
    yield stats.chi2_contingency(table(classes, new_classes)).pvalue


@wrong("drift_p_value", "two chances of a false alarm")
def _(*samples):
    return min(p_values(*samples))


@wrong("drift_p_value", "the larger p-value")
def _(*samples):
    return min(1, 2 * max(p_values(*samples)))


@wrong("drift_p_value", "the classes have no effect")
def _(*samples):
    return min(1, 2 * next(p_values(*samples)))


@wrong("drift_p_value", "compares only means")
def _(confidence, classes, new_confidence, new_classes):
    p = stats.ttest_ind(confidence, new_confidence).pvalue
    return min(1, 2 * min(p, *list(p_values(confidence, classes, new_confidence, new_classes))[1:]))


@wrong("drift_p_value", "chi-square takes counts")
def _(confidence, classes, new_confidence, new_classes):
    counts = table(classes, new_classes)
    p = stats.chi2_contingency(counts / counts.sum(1, keepdims=True)).pvalue
    return min(1, 2 * min(p, stats.ks_2samp(confidence, new_confidence).pvalue))


@wrong("drift_p_value", "a p-value is at most 1")
def _(*samples):
    return 2 * min(p_values(*samples))


@right("drift_p_value")
def _(confidence, classes, new_confidence, new_classes):
    import pandas as pd

    who = np.repeat([0, 1], [len(classes), len(new_classes)])
    counts = pd.crosstab(who, np.concatenate([classes, new_classes]))
    by_class = stats.chi2_contingency(counts)[1]
    return min(stats.kstest(confidence, new_confidence)[1] * 2, by_class * 2, 1)


@right("drift_p_value")
def _(confidence, classes, new_confidence, new_classes):
    most = max(classes.max(), new_classes.max()) + 1
    counts = np.stack([np.bincount(each, minlength=most) for each in (classes, new_classes)])
    counts = counts[:, counts.any(0)]
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    p = min(stats.chi2.sf(statistic, counts.shape[1] - 1), stats.ks_2samp(confidence, new_confidence)[1])
    return np.clip(2 * p, 0, 1)


# status_for ----------------------------------------------------------------------------------------------


def looked_at(body, most_pixels, of_none=415, of_broken=400, giant=413, caught=Exception):
    try:
        picture = Image.open(BytesIO(body))
    except Image.DecompressionBombError:
        return giant
    except caught:
        return of_none
    if picture.width * picture.height > most_pixels:
        return 413
    try:
        picture.load()
    except caught:
        return of_broken
    return 200


@wrong("status_for", "413, before anything looks inside")
def _(body, most_bytes, most_pixels):
    return looked_at(body, most_pixels)


@wrong("status_for", "exactly as many bytes as allowed is fine")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) >= most_bytes else looked_at(body, most_pixels)


@wrong("status_for", "look at width × height")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) > most_bytes else looked_at(body, math.inf)


@wrong("status_for", "that is what a bomb waits for")
def _(body, most_bytes, most_pixels):
    if len(body) > most_bytes:
        return 413
    try:
        picture = Image.open(BytesIO(body))
    except Image.DecompressionBombError:
        return 413
    except Exception:
        return 415
    try:
        pixels = np.asarray(picture)
    except Exception:
        return 400
    return 413 if pixels.size > most_pixels else 200


@wrong("status_for", "that means too large, 413")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) > most_bytes else looked_at(body, most_pixels, giant=415)


@wrong("status_for", "a service answers 415")
def _(body, most_bytes, most_pixels):
    if len(body) > most_bytes:
        return 413
    try:
        picture = Image.open(BytesIO(body))
    except Image.DecompressionBombError:
        return 413
    return 413 if picture.width * picture.height > most_pixels else looked_at(body, most_pixels)


@wrong("status_for", "gets 415, unsupported media type")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) > most_bytes else looked_at(body, most_pixels, of_none=400)


@wrong("status_for", "only broken: 400")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) > most_bytes else looked_at(body, most_pixels, of_broken=415)


@wrong("status_for", "you read only the header")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) > most_bytes else looked_at(body, most_pixels, of_broken=200)


@wrong("status_for", "catch Exception")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) > most_bytes else looked_at(body, most_pixels, caught=OSError)


@right("status_for")
def _(body, most_bytes, most_pixels):
    return 413 if len(body) > most_bytes else looked_at(body, most_pixels)


@right("status_for")
def _(body, most_bytes, most_pixels):
    if len(body) > most_bytes:
        return 413
    try:
        with Image.open(BytesIO(body)) as picture:
            opened = True
            if math.prod(picture.size) > most_pixels:
                return 413
            picture.convert("RGB")
    except Image.DecompressionBombError:
        return 413
    except Exception:
        return 400 if "opened" in locals() else 415
    return 200


# all -----------------------------------------------------------------------------------------------------

NAMES = ("largest_difference", "predict_in_batches", "drift_p_value", "status_for")


@pytest.mark.parametrize("name", NAMES)
def test_every_known_mistake_is_refused_and_named_for_other_seeds_too(name):
    assert_mistakes_are_named(name, range(4))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "status_for"])
def test_what_is_right_for_one_seed_is_wrong_for_another(name):
    assert share_with_outputs_of(name, known=0, asked=1) < 0.5


@pytest.mark.parametrize(
    "kind, error",
    [("PNG", SyntaxError), ("BMP", ValueError), ("PGM", ValueError), ("TIFF", TypeError)],
)
def test_damaged_pictures_raise_what_is_no_oserror(kind, error):
    for seed in range(3):
        cases = find_exercise("status_for").seeded_cases(seed)
        _, body = [case["body"].tobytes() for case in cases if case["about"] == f"a damaged {kind}"]
        with pytest.raises(error), Image.open(BytesIO(body)) as picture:
            picture.load()


@pytest.mark.parametrize("status", [200, 400, 413, 415])
def test_a_constant_status_is_never_right(status):
    exercise = find_exercise("status_for")
    cases = exercise.seeded_cases(0)
    outputs = [exercise.outputs_of(lambda *_: status, case) for case in cases]
    assert verdict(exercise, cases, outputs).share == 0


test_wrong, test_right = both_tests(suite)
