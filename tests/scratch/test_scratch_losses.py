import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dl_course.scratch import CrossEntropyLoss, MSELoss

sizes = st.integers(1, 7)
seeds = st.integers(0, 2**32 - 1)


def assert_like_torch(loss, y, targets, function) -> None:
    twin = torch.tensor(y, requires_grad=True)
    reference = function(twin, torch.from_numpy(targets))
    reference.backward()
    value = loss.forward(y, targets)
    assert isinstance(value, float)
    np.testing.assert_allclose(value, reference.item(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(loss.backward(), twin.grad, rtol=0, atol=1e-10 * max(1, abs(y).max()))
    np.testing.assert_allclose(loss.backward(-3.0), -3 * loss.backward(), atol=1e-300)


@given(n=sizes, classes=sizes, scale=st.sampled_from([1.0, 100.0, 1e4]), seed=seeds)
def test_cross_entropy_equals_torch_also_at_scores_of_ten_thousand(n, classes, scale, seed):
    rng = np.random.default_rng(seed)
    scores, numbers = rng.uniform(-scale, scale, (n, classes)), rng.integers(0, classes, n)
    assert_like_torch(CrossEntropyLoss(), scores, numbers, F.cross_entropy)
    assert_like_torch(CrossEntropyLoss(), scores, np.eye(classes)[numbers], F.cross_entropy)
    assert_like_torch(CrossEntropyLoss(), scores, rng.dirichlet(np.ones(classes), n), F.cross_entropy)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@given(shape=st.lists(sizes, min_size=1, max_size=3), scale=st.sampled_from([1.0, 1e3]), seed=seeds)
def test_mse_equals_torch(reduction, shape, scale, seed):
    rng = np.random.default_rng(seed)
    y, targets = rng.normal(0, scale, shape), rng.normal(0, scale, shape)
    assert_like_torch(MSELoss(reduction), y, targets, lambda a, b: F.mse_loss(a, b, reduction=reduction))


def test_cross_entropy_is_finite_and_silent_at_the_extremes():
    scores = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], np.float32)
    loss = CrossEntropyLoss()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert loss.forward(scores, np.array([1, 2])) == 1e4  # (2e4 + 0) / 2
        np.testing.assert_array_equal(loss.backward(), [[0.5, -0.5, 0], [0, 0, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_send_back_the_dtype_they_were_given(dtype):
    y = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)
    for loss, targets in [(CrossEntropyLoss(), np.arange(4) % 3), (MSELoss(), np.zeros((4, 3), int))]:
        loss.forward(y, targets)
        assert loss.backward().dtype == dtype


def test_losses_change_neither_scores_nor_targets():
    y, one_hot = np.random.default_rng(0).normal(size=(3, 3)), np.eye(3)
    for loss in (CrossEntropyLoss(), MSELoss()):
        before = y.copy()
        loss.forward(y, one_hot)
        gradient = loss.backward()
        gradient += 1
        np.testing.assert_array_equal(y, before)
        np.testing.assert_array_equal(one_hot, np.eye(3))
        np.testing.assert_allclose(loss.backward(), gradient - 1)


REFUSED = {
    "a class too many": (np.zeros((2, 3)), np.array([0, 3])),
    "a negative class": (np.zeros((2, 3)), np.array([-1, 0])),
    "class numbers as floats": (np.zeros((2, 3)), np.array([0.0, 1.0])),
    "class numbers in a column": (np.zeros((2, 3)), np.array([[0], [1]])),
    "another batch size": (np.zeros((2, 3)), np.array([0])),
    "rows that do not sum to 1": (np.zeros((2, 3)), np.zeros((2, 3))),
    "no samples": (np.zeros((0, 3)), np.zeros(0, int)),
    "scores without classes": (np.zeros(3), np.array([0, 1, 2])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_cross_entropy_refuses(name):
    scores, targets = REFUSED[name]
    with pytest.raises(ValueError, match=r"accepted: scores \(N, C\).*given: scores \(") as refusal:
        CrossEntropyLoss().forward(scores, targets)
    assert f"targets {targets.shape} of {targets.dtype}" in str(refusal.value)


def test_mse_refuses_targets_that_would_broadcast_and_empty_batches():
    with pytest.raises(ValueError, match=r"given: \(4, 1\), \(4,\)"):
        MSELoss().forward(np.ones((4, 1)), np.ones(4))
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        MSELoss().forward(np.ones((0, 1)), np.ones((0, 1)))
    with pytest.raises(ValueError, match="'mean' or 'sum'; given: 'none'"):
        MSELoss("none")
