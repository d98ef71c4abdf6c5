"""Focal loss, beside torch's cross-entropy and torchvision's focal loss."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from dl_course.training.losses import FocalLoss

REDUCTIONS = ["mean", "sum", "none"]


def drawn(samples, classes, seed=0, dtype=torch.float64, mixed=False):
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(samples, classes, generator=generator)).to(dtype).requires_grad_()
    if mixed:
        return logits, torch.rand(samples, classes, generator=generator).softmax(1).to(dtype)
    return logits, torch.randint(classes, (samples,), generator=generator)


@given(
    st.integers(1, 9), st.integers(2, 6), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from(REDUCTIONS), st.integers(0, 99),
)  # fmt: skip
def test_without_gamma_it_is_torchs_cross_entropy_and_so_is_its_gradient(
    samples, classes, weighted, mixed, smoothing, reduction, seed
):
    logits, labels = drawn(samples, classes, seed, mixed=mixed)
    weight = torch.linspace(0.2, 3.0, classes, dtype=torch.float64) if weighted else None
    ours = FocalLoss(0.0, weight, smoothing, reduction)(logits, labels)
    theirs = F.cross_entropy(logits, labels, weight, label_smoothing=smoothing, reduction=reduction)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@given(st.floats(0.0, 5.0), st.integers(0, 99))
def test_of_two_classes_it_is_torchvisions_focal_loss_of_their_difference(gamma, seed):
    logits, labels = drawn(8, 2, seed)
    theirs = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], labels.double(), alpha=-1, gamma=gamma)
    torch.testing.assert_close(FocalLoss(gamma, reduction="none")(logits, labels), theirs)


@given(st.floats(0.0, 5.0), st.integers(2, 6))
def test_it_is_the_papers_formula(gamma, classes):
    logits, labels = drawn(7, classes)
    p = logits.softmax(1)[torch.arange(7), labels]
    torch.testing.assert_close(
        FocalLoss(gamma, reduction="none")(logits, labels), -((1 - p) ** gamma) * p.log()
    )


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_its_gradient_is_the_numerical_one(gamma, smoothing):
    logits, labels = drawn(4, 3)
    loss = FocalLoss(gamma, torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), smoothing)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_picture_recognised_for_sure_or_not_at_all_has_a_finite_loss_and_gradient(gamma, dtype):
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]], dtype=dtype, requires_grad=True)
    loss = FocalLoss(gamma, reduction="none")(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(loss, torch.tensor([0.0, 600.0]))
    loss.sum().backward()
    assert logits.grad.isfinite().all() and logits.grad[1].tolist() == [-1.0, 1.0]


def test_half_precision_is_computed_in_single():
    logits, labels = drawn(50, 5, dtype=torch.float16)
    loss = FocalLoss(2.0)(logits, labels)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, FocalLoss(2.0)(logits.float(), labels))


def test_a_class_ruled_out_by_minus_infinity_does_no_harm():
    logits = torch.tensor([[1.0, 2.0, -torch.inf]], requires_grad=True)
    loss = FocalLoss(2.0)(logits, torch.tensor([0]))
    loss.backward()
    torch.testing.assert_close(loss, FocalLoss(2.0)(logits[:, :2], torch.tensor([0])))
    assert logits.grad.isfinite().all()


def test_an_empty_batch_is_nan_on_average_as_with_torch():
    logits, labels = drawn(0, 3)
    assert FocalLoss()(logits, labels).isnan() and FocalLoss(reduction="sum")(logits, labels) == 0


def test_weights_move_with_the_loss_and_are_saved():
    loss = FocalLoss(weight=torch.ones(3)).double()
    assert loss.weight.dtype is torch.float64 and "weight" in loss.state_dict()


@pytest.mark.parametrize("bad", [{"gamma": -1.0}, {"label_smoothing": 1.5}, {"reduction": "average"}])
def test_settings_that_mean_nothing_are_refused(bad):
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=f"given: .*{name}={value!r}"):
        FocalLoss(**bad)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 2)])
@pytest.mark.parametrize("ignore_index", [-100, 2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_without_gamma_it_is_cross_entropy_for_pixels_and_ignored_labels_too(shape, ignore_index, reduction):
    torch.manual_seed(0)
    logits, labels = torch.randn(shape), torch.randint(0, 4, (6, *shape[2:]))
    labels[0] = ignore_index
    how = {
        "weight": torch.rand(4),
        "label_smoothing": 0.1,
        "reduction": reduction,
        "ignore_index": ignore_index,
    }
    torch.testing.assert_close(FocalLoss(0.0, **how)(logits, labels), F.cross_entropy(logits, labels, **how))
    labels = torch.softmax(torch.randn(shape), 1)
    del how["ignore_index"]
    torch.testing.assert_close(FocalLoss(0.0, **how)(logits, labels), F.cross_entropy(logits, labels, **how))


def test_pixels_weigh_by_how_sure_each_is():
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    each = F.cross_entropy(logits, labels, reduction="none")
    expected = (each * (1 - (-each).exp()) ** 2).mean()
    torch.testing.assert_close(FocalLoss(2.0)(logits, labels), expected)
    with pytest.raises(ValueError, match=r"labels \(N, …\).*given: \(2, 3, 4, 4\) and \(2, 3\)"):
        FocalLoss()(logits, torch.zeros(2, 3).long())
