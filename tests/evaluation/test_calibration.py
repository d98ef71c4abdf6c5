"""Calibration against scikit-learn and planted truths; the temperature against torch's own optimizer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.calibration import calibration_curve

from dl_course.evaluation import Predictions, fit_temperature, temperature_scaled
from tests.evaluation.test_predictions import some


def honest(n, temperature=1.0, classes=4, seed=0):
    """Labels drawn from the softmax itself, and then logits that exaggerate by the temperature."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (n, classes)))
    labels = torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(seed))[:, 0]
    return Predictions(logits * temperature, labels)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_bins_are_scikit_learns(bins):
    found = some(2000, 3, seed=1)
    confidence, correct = found.confidence.numpy(), found.correct.numpy()
    share, mean = calibration_curve(correct, confidence, n_bins=bins)
    table = found.calibration(bins).table
    np.testing.assert_allclose(table["accuracy"], share)
    np.testing.assert_allclose(table["confidence"], mean)
    assert table["count"].sum() == 2000
    assert (table["confidence"] <= table["up to"]).all()
    assert (table["confidence"] > table["up to"] - 1 / bins).all()
    expected = (table["count"] / 2000 * (share - mean).__abs__()).sum()
    assert found.calibration(bins).ece == pytest.approx(expected)


def test_a_network_that_says_what_it_knows_has_almost_no_error():
    assert honest(50_000).calibration().ece < 0.01
    assert honest(50_000, temperature=3).calibration().ece > 0.05


def test_one_bin_leaves_the_gap_of_the_means():
    found = some()
    assert found.calibration(1).ece == pytest.approx(abs(found.confidence.mean().item() - found.accuracy))


def test_full_confidence_falls_into_the_last_bin():
    sure = Predictions(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    table = sure.calibration(10).table
    assert table["up to"].tolist() == [1.0] and table["count"].tolist() == [1]


@pytest.mark.parametrize("bins", [0, -1])
def test_without_a_bin_or_a_picture_there_is_no_calibration(bins):
    with pytest.raises(ValueError, match="at least one bin"):
        some().calibration(bins)
    with pytest.raises(ValueError, match="one picture; given: 15 and 0"):
        Predictions(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).calibration()


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_the_planted_temperature_is_found(planted):
    assert fit_temperature(honest(20_000, planted)) == pytest.approx(planted, rel=0.05)


def test_the_temperature_is_the_one_that_torchs_optimizer_finds():
    found = some(500, 6, seed=3)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(found.logits.double() / log_t.exp(), found.labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(found) == pytest.approx(log_t.exp().item(), rel=1e-4)


def test_scaling_heals_confidence_and_keeps_the_classes():
    validation, test = honest(5_000, 3, seed=1), honest(5_000, 3, seed=2)
    healed = temperature_scaled(test, validation)
    assert healed.predicted.equal(test.predicted) and healed.labels is test.labels
    assert healed.calibration().ece < test.calibration().ece / 3
    assert healed.loss < test.loss


def test_where_no_temperature_is_best_it_says_so():
    with pytest.raises(ValueError, match="accuracy 1 on 3 pictures"):
        fit_temperature(Predictions(torch.eye(3), torch.arange(3)))
    with pytest.raises(ValueError, match="accuracy 0 on 3 pictures"):
        fit_temperature(Predictions(torch.eye(3), torch.tensor([1, 2, 0])))
    with pytest.raises(ValueError, match="no picture"):
        fit_temperature(Predictions(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)))
