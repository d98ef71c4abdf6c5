"""Watching: what is kept of requests, and drift that is found where it is, and seldom where it isn't."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2_contingency, ks_2samp
from torch import nn
from torchvision.transforms.v2.functional import rotate

from dl_course import data
from dl_course.deploy import PredictionLog, drift, shadow
from dl_course.deploy.watch import features
from dl_course.evaluation import Predictor, compare, predict
from dl_course.models import model_card, trained

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise


def uniform(n, classes=4, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), n)


# The log ---------------------------------------------------------------------------------------------------


def test_a_request_becomes_a_row_a_picture():
    log = PredictionLog(("cat", "dog"))
    log.record(torch.tensor([[0.9, 0.1], [0.25, 0.75]]), 0.2)
    log.record(np.array([[0.5, 0.5]], np.float16), 0.1)
    table = log.table()
    assert list(table["request"]) == [1, 1, 2] and list(table["class"]) == ["cat", "dog", "cat"]
    assert list(table["ms"]) == [200, 200, 100] and table["time"].is_monotonic_increasing
    np.testing.assert_allclose(table["confidence"], [0.9, 0.75, 0.5])
    np.testing.assert_allclose(table["feature log p1"], np.log([0.1, 0.75, 0.5]), rtol=1e-6)


def test_the_log_keeps_no_more_than_its_limit_and_the_newest():
    log = PredictionLog(limit=5)
    for seconds in range(4):
        log.record(uniform(2), seconds)
    assert list(log.table()["request"]) == [2, 3, 3, 4, 4]
    assert list(log.table(last=3)["request"]) == [3, 4, 4]
    assert log.summary()["requests"] == 3 and log.summary(last=2)["requests"] == 1


def test_the_summary_counts_each_request_once_and_refused_ones_too():
    log, rng = PredictionLog(), np.random.default_rng(0)
    seconds, sizes = rng.exponential(size=30), rng.integers(1, 6, 30)
    parts = [uniform(n, seed=index) for index, n in enumerate(sizes)]
    for p, taken in zip(parts, seconds, strict=True):
        log.record(p, taken)
    for reason in ("too large", "no picture", "too large"):
        log.refuse(reason)
    summary, sure = log.summary(), np.concatenate(parts).max(1)
    assert (summary["requests"], summary["pictures"], summary["refused"]) == (30, sizes.sum(), 3)
    for share in (50, 95, 99):
        assert summary[f"ms p{share}"] == pytest.approx(np.percentile(1000 * seconds, share))
    assert summary["confidence mean"] == pytest.approx(sure.mean())
    assert summary["confidence below 0.5"] == pytest.approx((sure < 0.5).mean())
    assert log.refused == {"too large": 2, "no picture": 1}


def test_reasons_with_a_number_in_them_do_not_fill_the_memory():
    log = PredictionLog()
    for size in range(300):
        log.refuse(f"413 {size} bytes")
    log.refuse("413 7 bytes")
    assert log.refused.total() == 301 and len(log.refused) == 101
    assert log.refused["413 7 bytes"] == 2 and log.refused["others"] == 200


def test_an_empty_log_has_an_empty_table_and_a_summary_of_zeros():
    log = PredictionLog()
    assert len(log.table()) == 0 and log.summary().to_dict() == {"requests": 0, "pictures": 0, "refused": 0}


def test_every_request_is_one_line_of_json_in_the_log_of_the_process(caplog):
    log = PredictionLog(("a", "b"))
    with caplog.at_level(logging.INFO, "dl_course.requests"):
        log.record([[0.25, 0.75], [0.5, 0.5]], 0.004, np.zeros((2, 1, 8, 8)))
        log.refuse('not a "picture"\n')
    first, second = (json.loads(record.getMessage()) for record in caplog.records)
    assert first.pop("time") <= second.pop("time")
    assert first == {"request": 1, "ms": 4.0, "class": ["b", "a"], "confidence": [0.75, 0.5]}
    assert second == {"refused": 'not a "picture"\n'}
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_threads_may_record_at_once_and_no_request_is_lost():
    log = PredictionLog(limit=10**6)
    with ThreadPoolExecutor(8) as pool:
        for n in range(200):
            pool.submit(log.record, uniform(1 + n % 3, seed=n), 0.0)
            pool.submit(log.refuse, "busy")
    table = log.table()
    assert log.refused["busy"] == 200 and sorted(table["request"].unique()) == list(range(1, 201))
    assert table.groupby("request").size().value_counts().to_dict() == {1: 67, 2: 67, 3: 66}
    assert table["request"].is_monotonic_increasing


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 30, 17), (1, 2, 5)])
def test_of_a_picture_only_coarse_means_and_the_contrast_are_kept(shape):
    pictures = np.random.default_rng(0).random((3, *shape), np.float32)
    kept = pd.DataFrame(features(uniform(3), pictures))
    tiles = kept.filter(like="tile").to_numpy()
    assert tiles.shape == (3, min(4, shape[1]) * min(4, shape[2]))
    np.testing.assert_allclose(kept["feature contrast"], pictures.mean(1).std((1, 2)), rtol=1e-5)
    if shape == (1, 28, 28):
        pooled = nn.functional.adaptive_avg_pool2d(torch.from_numpy(pictures), 4).flatten(1)
        np.testing.assert_allclose(tiles, pooled, rtol=1e-5)


def test_a_probability_of_zero_has_a_finite_logarithm():
    assert np.isfinite(list(features(np.array([[1.0, 0.0]])).values())).all()


# Drift -----------------------------------------------------------------------------------------------------


def made_up(n, rng, classes=3, sureness=5.0):
    log = PredictionLog(limit=n)
    drawn = rng.gamma(sureness * np.eye(classes)[rng.integers(0, classes, n)] + 0.5)  # Dirichlet's
    log.record(drawn / drawn.sum(1, keepdims=True), 0.0)
    return log.table()


@pytest.mark.parametrize("seed", range(8))
def test_the_p_values_are_scipys_and_corrected_by_holm(seed):
    rng = np.random.default_rng(seed)
    old, new = made_up(300, rng), made_up(200, rng, sureness=5.0 - (seed == 0))
    table = drift(old, new).table
    assert table["p"]["confidence"] == ks_2samp(old["confidence"], new["confidence"]).pvalue
    counts = pd.crosstab(np.repeat([0, 1], [300, 200]), pd.concat([old["class"], new["class"]]).to_numpy())
    assert table["p"]["classes"] == pytest.approx(chi2_contingency(counts).pvalue)
    smallest, middle, largest = np.sort(table["p"])
    corrected = np.minimum(1, np.maximum.accumulate([3 * smallest, 2 * middle, largest]))
    np.testing.assert_allclose(np.sort(table["corrected"]), corrected)
    assert set(table.index) == {"confidence", "classes", "features"}


def test_the_same_seed_finds_the_same_and_a_drift_shows_itself():
    rng = np.random.default_rng(1)
    old, new = made_up(200, rng), made_up(200, rng, sureness=1.0)
    first, again = drift(old, new, seed=3), drift(old, new, seed=3)
    assert first.table.equals(again.table) and first.alarm
    assert repr(first).startswith("drift in ") and "confidence" in first._repr_html_()
    calm = drift(old, made_up(200, rng))
    assert not calm.alarm and repr(calm).startswith("no drift (false alarms: at most 1%)")


def test_classes_alone_may_drift_as_in_a_week_of_sevens():
    rng = np.random.default_rng(2)
    old, new = made_up(400, rng), made_up(400, rng)
    sevens = pd.concat([new[new["class"] == "0"]] * 4).iloc[: len(new)].assign(**{"feature log p0": 0.0})
    assert drift(old, sevens).table["p"]["classes"] < 1e-10
    assert drift(old, old.assign(**{"class": "0"}).sample(frac=1)).alarm


def test_only_one_class_everywhere_and_rare_classes_are_no_drift():
    rng = np.random.default_rng(3)
    old, new = made_up(60, rng), made_up(50, rng)
    assert drift(old.assign(**{"class": "7"}), new.assign(**{"class": "7"})).table["p"]["classes"] == 1
    rare = [str(index) for index in range(30)]
    old["class"], new["class"] = [*rare, *["x"] * 30], [*rare[:10], *["x"] * 40]
    assert drift(old, new).table["p"]["classes"] == pytest.approx(
        chi2_contingency([[30, 30], [10, 40]]).pvalue
    )


@pytest.mark.parametrize("sizes", [(19, 50), (50, 19), (0, 50)])
def test_too_few_pictures_are_refused(sizes):
    rng = np.random.default_rng(0)
    old, new = (made_up(50, rng).iloc[:size] for size in sizes)
    with pytest.raises(ValueError, match=f"at least 20 pictures.* given: {sizes[0]} and {sizes[1]}"):
        drift(old, new)


def test_without_a_change_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(4)
    corrected = [
        drift(made_up(150, rng), made_up(100, rng), seed=i).table["corrected"].min() for i in range(60)
    ]
    assert np.mean(np.array(corrected) < 0.2) <= 0.35  # at most 0.2, and three standard errors


@pytest.fixture(scope="module")
def reader():
    normalize = {"name": "normalize"} | model_card("simplecnn-digits")["normalize"]
    return Predictor(trained("simplecnn-digits"), normalize, shape=(1, 28, 28))


def tabled(reader, pictures):
    log = PredictionLog(limit=len(pictures))
    log.record(reader.probabilities(pictures), 0.0, pictures)
    return log.table()


def noisy(pictures):
    return (pictures + 0.1 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))).clamp(
        0, 1
    )


CHANGES = {"turned": lambda x: rotate(x, 30), "inverted": lambda x: 1 - x, "noisy": noisy}


def test_turned_inverted_and_noisy_digits_are_found_and_the_same_ones_are_not(reader):
    parts = [data.load("digits", split).tensors()[0] for split in data.SPLITS]
    pool = torch.cat(parts)
    table, found = tabled(reader, pool), {}
    order = np.random.default_rng(0).permutation(len(pool))
    old, new = table.iloc[order[:898]], order[898:1398]
    for name, change in CHANGES.items():
        found[name] = drift(old, tabled(reader, change(pool[new]))).alarm
    assert found == dict.fromkeys(CHANGES, True)
    assert (
        sum(
            drift(table.iloc[o[:898]], table.iloc[o[898:1398]]).alarm
            for o in (np.random.default_rng(s).permutation(len(pool)) for s in range(20))
        )
        <= 1
    )


def test_a_class_nobody_knew_is_found(reader):
    pool, labels = data.load("digits", "train").tensors()
    eight = labels == 8
    blind = Predictor(WithoutEight(reader), shape=(1, 28, 28))
    table = tabled(blind, pool)
    known, unknown = table[~eight.numpy()], table[eight.numpy()]
    order = np.random.default_rng(0).permutation(len(known))
    old, rest = known.iloc[order[:600]], known.iloc[order[600:]]
    assert not drift(old, rest).alarm
    assert drift(old, pd.concat([unknown, rest.iloc[: 500 - len(unknown)]])).alarm


class WithoutEight(nn.Module):
    """Doesn't know that there are eights."""

    def __init__(self, reader):
        super().__init__()
        self.reader = reader

    def forward(self, x):
        logits = self.reader.model(self.reader.transform(x))
        return torch.cat([logits[:, :8], logits[:, 9:]], 1)


# A shadow --------------------------------------------------------------------------------------------------


def test_a_shadow_is_judged_by_the_courses_comparison(reader):
    test = data.load("digits", "test")
    worse = Predictor(reader.model, None, shape=(1, 28, 28))  # forgets to normalize
    found = shadow(reader, worse, test)
    pictures, labels = test.tensors()
    by_hand = [[(transform(pictures), labels)] for transform in (reader.transform, worse.transform)]
    assert found == compare(*(predict(reader.model, each) for each in by_hand))
    assert found.accuracy_a > found.accuracy_b and shadow(reader, reader, test).p_value == 1
