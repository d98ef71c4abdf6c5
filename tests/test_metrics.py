"""Running loss and accuracy, beside scikit-learn and the figures of the whole set at once."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from dl_course.metrics import Running

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


def drawn(samples, classes, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=generator).to(dtype)
    return logits, torch.randint(classes, (samples,), generator=generator)


def run_over(logits, labels, sizes, **arguments):
    running = Running(**arguments)
    for x, y in zip(logits.split(sizes), labels.split(sizes), strict=True):
        running.update(F.cross_entropy(x.float(), y), x, y)
    return running


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any), st.integers(2, 7), st.integers(0, 99)
)
def test_any_cutting_into_batches_gives_the_figures_of_the_whole(sizes, classes, seed):
    logits, labels = drawn(sum(sizes), classes, seed)
    running = run_over(logits, labels, sizes)
    assert running.loss == pytest.approx(F.cross_entropy(logits.double(), labels).item(), rel=1e-6)
    assert running.accuracy == accuracy_score(labels, logits.argmax(1))
    assert running.samples == sum(sizes)
    counts = labels.bincount(minlength=classes)
    assert running.per_class[1].tolist() == counts.tolist()
    recall = recall_score(
        labels, logits.argmax(1), labels=range(classes), average=None, zero_division=torch.nan
    )
    assert torch.equal(running.per_class[0].isnan(), counts == 0)
    torch.testing.assert_close(running.per_class[0], torch.tensor(recall), equal_nan=True)


def test_a_short_last_batch_weighs_what_it_holds_and_not_as_a_batch():
    logits = torch.eye(2)[[0, 0, 0, 0, 1]]
    running = Running()
    running.update(torch.tensor(1.0), logits[:4], torch.zeros(4, dtype=torch.int64))
    running.update(torch.tensor(6.0), logits[4:], torch.zeros(1, dtype=torch.int64))
    assert running.loss == 2.0 and running.accuracy == 0.8


def test_a_mixed_label_counts_by_its_share_of_the_predicted_class():
    running = Running()
    labels = torch.tensor([[0.7, 0.3, 0.0], [0.25, 0.25, 0.5]])
    running.update(torch.tensor(0.0), torch.tensor([[9.0, 0, 0], [0, 9.0, 0]]), labels)
    assert running.accuracy == pytest.approx((0.7 + 0.25) / 2)
    torch.testing.assert_close(running.per_class[1], labels.double().sum(0))


@given(st.integers(1, 50), st.integers(1, 6))
def test_one_hot_probabilities_mean_the_same_as_classes(samples, classes):
    logits, labels = drawn(samples, classes)
    one_hot, by_class = Running(), run_over(logits, labels, samples)
    one_hot.update(F.cross_entropy(logits, labels), logits, F.one_hot(labels, classes).float())
    assert (one_hot.accuracy, one_hot.loss) == (by_class.accuracy, by_class.loss)
    torch.testing.assert_close(one_hot.per_class, by_class.per_class, equal_nan=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_logits_lose_no_samples_and_no_loss(device, dtype):
    logits, labels = (tensor.to(device) for tensor in drawn(5000, 3, dtype=dtype))
    running = Running()
    for _ in range(20):
        running.update(torch.tensor(1.001, dtype=dtype, device=device), logits, labels)
    assert running.loss == pytest.approx(torch.tensor(1.001, dtype=dtype).item(), rel=1e-12)
    assert running.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item(), rel=1e-12)
    assert running.per_class[1].device.type == "cpu"


def test_nothing_is_read_from_the_device_before_a_figure_is_asked_for(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a wait for the device")

    logits, labels = drawn(8, 3)
    with monkeypatch.context() as patch:
        for reader in ("item", "tolist", "__float__", "__bool__", "__int__", "cpu", "numpy"):
            patch.setattr(torch.Tensor, reader, refuse)
        running = Running()
        running.update(F.cross_entropy(logits, labels), logits, labels)
    assert running.accuracy == accuracy_score(labels, logits.argmax(1))


def test_no_graph_is_kept_alive():
    logits, labels = drawn(4, 3)
    logits.requires_grad_()
    running = Running()
    running.update(F.cross_entropy(logits, labels), logits, labels)
    assert not running._loss.requires_grad and not running._sums.requires_grad


def test_before_the_first_sample_every_figure_is_nan_or_zero():
    running = Running(num_classes=3)
    running.update(torch.tensor(torch.nan), torch.empty(0, 3), torch.empty(0, dtype=torch.int64))
    assert torch.tensor([running.loss, running.accuracy, *running.per_class[0]]).isnan().all()
    assert running.per_class[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((4, 3, 2), (4,)), ((4, 3), (5,)), ((4, 3), (4, 2))])
def test_other_shapes_are_refused_with_what_was_given(shapes):
    logits, labels = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"logits \(N, C.*given: \(4"):
        Running().update(torch.tensor(0.0), logits, labels)
