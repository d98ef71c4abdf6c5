"""Predictions against scikit-learn and torch; predict leaves the network as it was."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dl_course import data
from dl_course.evaluation import Predictions, predict


def some(n=200, classes=5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator, dtype=dtype) + 1.5 * F.one_hot(labels, classes)
    return Predictions(logits.to(dtype), labels)


@given(st.integers(1, 60), st.integers(2, 8), st.integers(0, 99))
def test_figures_are_scikit_learns(n, classes, seed):
    found = some(n, classes, seed)
    truth, said = found.labels.numpy(), found.predicted.numpy()
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, said))
    assert found.loss == pytest.approx(
        metrics.log_loss(truth, found.probabilities.numpy(), labels=range(classes))
    )
    matrix = metrics.confusion_matrix(truth, said, labels=range(classes))
    assert (found.confusion_matrix().to_numpy() == matrix).all()
    report = found.report()
    recall = metrics.recall_score(truth, said, labels=range(classes), average=None, zero_division=np.nan)
    np.testing.assert_allclose(report["recall"][:classes], recall)
    assert report["support"][:classes].tolist() == np.bincount(truth, minlength=classes).tolist()


def test_rows_of_the_confusion_matrix_are_true_classes():
    found = Predictions(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]), "ab")
    matrix = found.confusion_matrix()
    assert matrix.loc["a", "b"] == 1 and matrix.loc["b", "a"] == 0
    assert (matrix.index.name, matrix.columns.name) == ("true", "predicted")


def test_a_class_named_accuracy_keeps_its_row():
    found = Predictions(torch.eye(2), torch.tensor([0, 1]), ("accuracy", "other"))
    assert "other" in found.report().index and "macro avg" in found.report().index


def test_the_worst_are_the_most_confident_mistakes():
    logits = torch.tensor([[9.0, 0], [0, 1], [5, 0], [0, 3]])
    worst = Predictions(logits, torch.tensor([0, 0, 1, 0]), "ab", ids=torch.tensor([10, 11, 12, 13])).worst(2)
    assert worst["id"].tolist() == [12, 13]
    assert worst["true"].tolist() == ["b", "a"] and worst["predicted"].tolist() == ["a", "b"]
    assert worst["confidence"][0] == pytest.approx(1 / (1 + np.exp(-5)))


def test_no_mistakes_make_an_empty_table():
    assert Predictions(torch.eye(3), torch.arange(3)).worst().empty


def test_a_half_precision_network_is_judged_in_double_precision():
    half = some(dtype=torch.float16)
    assert half.loss == pytest.approx(F.cross_entropy(half.logits.double(), half.labels).item())


@pytest.mark.parametrize(
    ("logits", "labels", "classes", "what"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), (), r"needs logits \(N, C\)"),
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64), (), r"\(3, 2\) and \(4,\)"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), (), r"0 … 1, .* given also: \[2\]"),
        (torch.zeros(2, 2), torch.tensor([0, -1]), (), r"given also: \[-1\]"),
        (torch.zeros(2, 2), torch.tensor([0, 1]), "abc", "3 names of classes for 2 outputs"),
    ],
)
def test_what_does_not_fit_together_is_refused(logits, labels, classes, what):
    with pytest.raises(ValueError, match=what):
        Predictions(logits, labels, classes)


class Noisy(nn.Module):
    """Another output in train mode, and running statistics that a careless evaluation would change."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.fc = nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(self.drop(self.norm(x)).flatten(1))


def test_predict_gives_the_eval_modes_logits_in_order_and_leaves_the_network_alone():
    model, digits = Noisy(), data.load("digits", "test")
    model.drop.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = predict(model, data.loader(digits, 50))
    assert [module.training for module in (model, model.norm, model.drop)] == [True, True, False]
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    pictures, labels = digits.tensors()
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model.eval()(pictures))
    assert found.labels.equal(labels) and found.classes == digits.classes
    assert not found.logits.requires_grad


def test_a_data_set_a_loader_of_torch_and_ours_predict_the_same():
    model, digits = Noisy(), data.load("digits", "val")
    expected = predict(model, digits)
    for batches in (data.loader(digits, 7), DataLoader(digits, 64)):
        found = predict(model, batches)
        torch.testing.assert_close(found.logits, expected.logits)
        assert found.labels.equal(expected.labels)


def test_the_loss_weighs_a_short_last_batch_by_its_size():
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    model = nn.Linear(3, 3)
    found = predict(model, DataLoader(TensorDataset(x, y), 4))
    assert found.loss == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-5)


def test_batches_and_outputs_of_another_kind_are_refused_and_the_mode_comes_back():
    model = nn.Sequential(nn.Linear(3, 2), nn.Unflatten(1, (1, 2)))
    batch = (torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"logits \(4, C\); it gave: \(4, 1, 2\)"):
        predict(model, [batch])
    assert model.training
    with pytest.raises(ValueError, match=r"must be \(pictures, labels\); given: Tensor"):
        predict(model, [batch[0]])
    with pytest.raises(ValueError, match="the loader is empty"):
        predict(model, [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_on_cuda_the_predictions_come_back_to_the_cpu():
    found = predict(Noisy().cuda(), data.load("digits", "val"))
    assert found.logits.device.type == found.labels.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_predict_takes_a_network_in_another_precision(dtype):
    model, pictures = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), data.load("digits", "val")
    expected = predict(model, pictures)
    found = predict(model.to(dtype), pictures)
    assert found.logits.dtype == torch.float32
    torch.testing.assert_close(found.logits, expected.logits, atol=0.05, rtol=0)
