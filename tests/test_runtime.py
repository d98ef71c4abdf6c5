"""Devices through one door; seeds that repeat; random state that comes back."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dl_course.runtime import device_of, fitted_to, pick_device, preserved_rng, set_seed


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def available(monkeypatch, kind, count=1):
    device = kind and torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: device)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count if kind else 0)


@pytest.mark.parametrize(
    ("accelerator", "best"), [("cuda", "cuda"), ("mps", "mps"), ("xpu", "xpu"), (None, "cpu")]
)
def test_torchs_accelerator_comes_first(monkeypatch, accelerator, best):
    available(monkeypatch, accelerator)
    assert pick_device() == torch.device(best)
    assert pick_device("cpu") == torch.device("cpu")


def test_a_preferred_device_is_taken_with_its_index(monkeypatch):
    available(monkeypatch, "cuda", count=2)
    with pytest.raises(ValueError, match="no device 'cuda:2' here"):
        pick_device("cuda:2")
    assert pick_device("cuda:1") == pick_device(torch.device("cuda", 1)) == torch.device("cuda:1")


@pytest.mark.parametrize("missing", ["cuda", "mps", "xpu", torch.device("cuda:0")])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(monkeypatch, missing):
    available(monkeypatch, None)
    with pytest.raises(ValueError, match=f"no device '{missing}' here; there is: cpu$"):
        pick_device(missing)


def test_a_modules_device_is_that_of_its_first_parameter_or_buffer():
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")
    only_buffers = nn.BatchNorm2d(3, affine=False).to("meta")
    assert device_of(only_buffers) == torch.device("meta")


@given(st.integers(0, 2**40))
@settings(max_examples=30)
def test_a_seed_repeats_all_three_generators(seed):
    with preserved_rng():
        set_seed(seed)
        first = draws()
        set_seed(seed)
        assert draws() == first
        set_seed(seed + 1)
        assert all(one != other for one, other in zip(draws(), first, strict=True))


def test_a_seed_is_each_generators_own():
    with preserved_rng():
        set_seed(5)
        expected = (
            random.Random(5).random(),
            np.random.RandomState(5).rand(),
            float(torch.rand((), generator=torch.Generator().manual_seed(5))),
        )
        assert draws() == expected


@pytest.mark.parametrize("seed", [None, 3])
def test_random_state_comes_back_also_after_an_error(seed):
    with preserved_rng():
        set_seed(0)
        undisturbed = draws()
        set_seed(0)
        with pytest.raises(KeyboardInterrupt), preserved_rng(seed):
            draws()
            raise KeyboardInterrupt
        assert draws() == undisturbed


def test_inside_a_seed_holds_and_without_one_the_state_goes_on():
    with preserved_rng(3):
        first = draws()
    with preserved_rng(3):
        assert draws() == first
    with preserved_rng():
        set_seed(3)
        with preserved_rng():
            assert draws() == first


@pytest.mark.parametrize(
    ("prefer", "what"),
    [("gpu", "no device is called 'gpu'; there is: .*cpu"), ("cuda:99", "no device 'cuda:99' here")],
)
def test_a_device_that_is_none_or_not_here_is_a_value_error(prefer, what):
    with pytest.raises(ValueError, match=what):
        pick_device(prefer)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_a_seed_may_be_any_integer(seed):
    numbers = []
    for each in (3, seed):
        set_seed(each)
        numbers.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert numbers[0] == numbers[1]


def test_a_tensor_takes_the_models_precision_where_it_holds_floats():
    model = nn.Linear(2, 2).to(torch.bfloat16)
    assert fitted_to(model, torch.zeros(1, 2)).dtype == torch.bfloat16
    assert fitted_to(model, torch.zeros(1, 2, dtype=torch.long)).dtype == torch.long
    assert fitted_to(nn.ReLU(), torch.zeros(1, 2, dtype=torch.float64)).dtype == torch.float64
