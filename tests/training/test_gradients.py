"""Clipping by the global norm, beside torch's."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import clip_grad_norm_

from dl_course.training.gradients import clip_by_global_norm


def parameters_of(shapes, scale=1.0, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in shapes]
    for p in parameters:
        p.grad = (torch.randn(p.shape, generator=generator) * scale).to(dtype)
    return parameters


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5),
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e3),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_gradients_and_norm_are_torchs(shapes, scale, max_norm, dtype):
    ours = parameters_of(shapes, scale, dtype)
    theirs = copy.deepcopy(ours)
    for p, q in zip(ours, theirs, strict=True):
        q.grad = p.grad.clone()
    torch.testing.assert_close(clip_by_global_norm(ours, max_norm), clip_grad_norm_(theirs, max_norm))
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_the_joint_norm_afterwards_is_the_limit_and_the_direction_is_kept():
    parameters = parameters_of([(30, 20), (7,)])
    before = torch.cat([p.grad.flatten() for p in parameters])
    norm = clip_by_global_norm(parameters, 1.0)
    after = torch.cat([p.grad.flatten() for p in parameters])
    assert norm.item() == pytest.approx(before.norm().item())
    assert after.norm().item() == pytest.approx(1.0, rel=1e-4)
    assert torch.cosine_similarity(before, after, dim=0).item() == pytest.approx(1.0, abs=1e-5)


def test_short_gradients_stay_to_the_bit():
    parameters = parameters_of([(5, 5)])
    before = parameters[0].grad.clone()
    clip_by_global_norm(parameters, 1e6)
    assert torch.equal(parameters[0].grad, before)


def test_parameters_without_a_gradient_are_left_out():
    (p,), idle = parameters_of([(3,)]), nn.Parameter(torch.ones(2))
    norm = clip_by_global_norm(iter([idle, p]), 0.5)
    assert idle.grad is None and norm.item() > 0.5 and p.grad.norm().item() == pytest.approx(0.5, rel=1e-4)
    assert clip_by_global_norm([idle], 1.0).item() == 0


def test_a_single_parameter_is_taken_as_torch_takes_it():
    (p,) = parameters_of([(3,)])
    assert clip_by_global_norm(p, 1e-2).item() > 1e-2 and p.grad.norm().item() == pytest.approx(
        1e-2, rel=1e-3
    )


def test_sparse_gradients_that_name_a_row_twice_count_its_sum():
    sparse, dense = (nn.Embedding(5, 3, sparse=kind) for kind in (True, False))
    dense.load_state_dict(sparse.state_dict())
    norms = []
    for table in (sparse, dense):
        table(torch.tensor([1, 1, 4])).pow(2).sum().backward()
        norms.append(clip_by_global_norm(table.parameters(), 0.1).item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)


def test_the_norm_of_half_precision_does_not_overflow():
    (p,) = parameters_of([(1000,)], scale=100.0, dtype=torch.float16)
    expected = p.grad.double().norm().item()
    p.grad *= 100  # squares are beyond float16's greatest, 65504
    assert clip_by_global_norm([p], 1.0).item() == pytest.approx(100 * expected, rel=1e-2)
    assert p.grad.float().norm().item() == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_gradients_with_a_number_that_is_not_finite_are_said_so_and_not_spoilt_further(bad):
    parameters = parameters_of([(3,), (2,)])
    parameters[0].grad[1] = bad
    before = [p.grad.clone() for p in parameters]
    assert not clip_by_global_norm(parameters, 1.0).isfinite()
    for p, grad in zip(parameters, before, strict=True):
        assert torch.equal(p.grad.nan_to_num(), grad.nan_to_num())


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(max_norm):
    with pytest.raises(ValueError, match=r"above 0; given: (0\.0|-1\.0|nan)"):
        clip_by_global_norm(parameters_of([(3,)]), max_norm)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_parameters_on_two_devices_have_one_norm():
    here, there = parameters_of([(3,)], seed=1)[0], parameters_of([(3,)], seed=2)[0]
    expected = torch.cat([here.grad, there.grad]).norm().item()
    moved = nn.Parameter(there.detach().cuda())
    moved.grad = there.grad.cuda()
    assert clip_by_global_norm([moved, here], 1.0).item() == pytest.approx(expected, rel=1e-6)
    assert torch.cat([here.grad, moved.grad.cpu()]).norm().item() == pytest.approx(1.0, rel=1e-4)
