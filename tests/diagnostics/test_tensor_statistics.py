import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from dl_course.diagnostics.statistics import STATISTICS, Running, tensor_statistics


def reference(tensor, near=1e-3):
    """The figures by NumPy in float64; near zero by the limit as the tensor's own precision has it."""
    x = tensor.detach().double().cpu().numpy().ravel()
    near = near if tensor.dtype is torch.float64 else float(np.float32(near))
    figures = (
        x.mean(),
        x.std(),
        np.linalg.norm(x),
        x.min(),
        x.max(),
        (x == 0).mean(),
        (abs(x) <= near).mean(),
    )
    return dict(zip(STATISTICS, figures, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("shape", [(7, 3, 5, 5), (1,), (), (64, 1)])
def test_figures_are_numpys_for_any_dtype_and_shape(dtype, shape):
    x = (torch.randn(shape) * 3).to(dtype)
    assert tensor_statistics(x) == pytest.approx(reference(x), rel=1e-5, abs=1e-6)


def test_figures_of_transposed_and_channels_last_tensors_are_the_same():
    x = torch.randn(4, 6, 5, 3)
    for other in (x.transpose(1, 2), x.contiguous(memory_format=torch.channels_last), x[:, ::2]):
        assert tensor_statistics(other) == pytest.approx(reference(other), rel=1e-5)


def test_half_precision_does_not_overflow():
    x = torch.full((1000,), 300.0, dtype=torch.float16)
    assert tensor_statistics(x)["norm"] == pytest.approx(300 * 1000**0.5)


def test_a_large_mean_does_not_swallow_the_standard_deviation():
    x = 1000 + torch.randn(10_000)
    assert tensor_statistics(x)["std"] == pytest.approx(x.double().std(correction=0).item(), rel=1e-4)


@pytest.mark.parametrize("size", [1e-25, 1e-18, 1e18, 1e25])
def test_tiny_and_huge_values_keep_their_figures(size):
    x = torch.randn(999) * size
    assert tensor_statistics(x, size / 10) == pytest.approx(reference(x, size / 10), rel=1e-4)


def test_zeros_and_values_near_zero_are_counted_apart():
    found = tensor_statistics(torch.tensor([0.0, -0.0, 1e-3, -5e-4, 0.5]), near=1e-3)
    assert found["zero"] == pytest.approx(0.4) and found["near_zero"] == pytest.approx(0.8)


def test_an_empty_tensor_has_no_mean_but_a_norm():
    found = tensor_statistics(torch.empty(0, 3))
    assert found["norm"] == 0 and all(np.isnan(found[key]) for key in STATISTICS if key != "norm")


def test_what_is_not_finite_shows():
    assert np.isnan(tensor_statistics(torch.tensor([1.0, torch.nan]))["max"])
    assert tensor_statistics(torch.tensor([1.0, torch.inf]))["max"] == np.inf
    assert tensor_statistics(torch.tensor([-5.0, torch.nan, 0.0, 9.0]))["near_zero"] == 0.25


def test_of_a_sparse_gradient_the_repeated_entries_are_summed():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    sparse = torch.sparse_coo_tensor([[1, 1, 3]], values, (9, 2), check_invariants=True)
    assert tensor_statistics(sparse)["norm"] == pytest.approx(sparse.to_dense().norm().item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("near", [1e-3, 0.1, 1 / 3])
def test_a_value_at_the_limit_itself_is_near_zero_and_the_next_one_is_not(dtype, near):
    limit = torch.tensor([near], dtype=dtype if dtype is torch.float64 else torch.float32)
    beyond = torch.nextafter(limit, torch.tensor([1.0], dtype=limit.dtype))
    for sign in (1, -1):
        assert tensor_statistics(sign * limit, near)["near_zero"] == 1
        assert tensor_statistics(sign * beyond, near)["near_zero"] == 0
    values = torch.linspace(-2 * near, 2 * near, 257, dtype=torch.float64).to(dtype)
    assert tensor_statistics(values, near) == pytest.approx(reference(values, near), rel=1e-5, abs=1e-6)


@example([2, 2], 0.0010000000474974513, 0)  # float32's 1e-3: once "near zero" for one and not for the other
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.floats(-50, 50), st.integers(0, 99))
def test_running_figures_are_those_of_all_values_at_once(sizes, shift, seed):
    generator, running = torch.Generator().manual_seed(seed), Running(sample=16)
    parts = [torch.randn(size, generator=generator).relu() + shift * (i % 2) for i, size in enumerate(sizes)]
    for part in parts:
        running.update(part)
    whole = torch.cat(parts)
    if len(whole):
        assert running.found == pytest.approx(reference(whole), rel=1e-4, abs=1e-4)
    assert len(running.sample) <= 16
    assert torch.equal(running.sample, whole[:: running.stride])


def test_a_nan_in_any_batch_stays():
    for batches in ([1.0, torch.nan], [torch.nan, 1.0]):
        running = Running()
        for value in batches:
            running.update(torch.tensor([value]))
        assert all(np.isnan(running.found[key]) for key in ("mean", "min", "max"))


def test_the_histogram_is_that_of_the_sample_and_does_not_favour_a_column():
    x, running = torch.arange(64.0).repeat(1024), Running()  # a stride of 16, 32, … would see few of the 64
    running.update(x)
    counts, edges = running.histogram(bins=64)
    assert len(edges) == 65 and 1024 < counts.sum() <= 2**12
    assert counts.min() > 0.9 * counts.max()


def test_a_histogram_leaves_out_what_is_not_finite_and_takes_nothing_at_all():
    running = Running()
    assert running.histogram()[0].sum() == 0
    running.update(torch.tensor([1.0, torch.inf, torch.nan]))
    assert running.histogram()[0].sum() == 1


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-3, 1.0, -1e20])
def test_values_closer_than_their_precision_share_a_histogram(value):
    for second in (value, value * (1 + 1e-7)):
        running = Running()
        running.update(torch.tensor([value, second, value]))
        counts, edges = running.histogram()
        assert counts.sum() == 3 and (edges[1:] > edges[:-1]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_figures_on_cuda_are_those_on_the_cpu():
    x = torch.randn(1000)
    assert tensor_statistics(x.cuda()) == pytest.approx(tensor_statistics(x), rel=1e-5, abs=1e-6)
