import numpy as np
import pytest
import torch

from dl_course.scratch import SGD, Adam, Linear

PAIRS = {
    "plain": (lambda m: SGD(m, 0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (lambda m: SGD(m, 0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "adam": (lambda m: Adam(m), lambda p: torch.optim.Adam(p)),
    "adam's betas": (
        lambda m: Adam(m, 0.01, 0.8, 0.95),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.95)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_twenty_steps_equal_torchs(name):
    ours, theirs = PAIRS[name]
    rng, model = np.random.default_rng(0), Linear(4, 3, 0, np.float64)
    twins = [torch.tensor(p, requires_grad=True) for p in model.params.values()]
    optimizer, reference = ours(model), theirs(twins)
    for size in np.geomspace(10, 1e-7, 20):
        for name, twin in zip(model.params, twins, strict=True):
            model.grads[name] = size * rng.normal(size=twin.shape)
            twin.grad = torch.tensor(model.grads[name])
        optimizer.step()
        reference.step()
    for p, twin in zip(model.params.values(), twins, strict=True):
        np.testing.assert_allclose(p, twin.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_in_place_keep_float32_and_leave_the_gradients(name):
    model = Linear(4, 3, 0)
    optimizer, w, before = PAIRS[name][0](model), model.params["w"], model.params["w"].copy()
    model.grads["w"] = gradient = np.ones((4, 3), np.float32)
    optimizer.step()
    assert model.params["w"] is w and w.dtype == np.float32 and (w != before).all()
    np.testing.assert_array_equal(gradient, 1)
