"""DigitNet: what it computes, its size, and the pictures it takes."""

import pytest
import torch
import torch.nn.functional as F

from dl_course.models import MODELS, DigitNet


def by_hand(x, state):
    """Compute the network from its numbers alone, in eval mode."""
    for number, pool in ((1, 2), (2, 2), (3, 1)):
        x = F.conv2d(x, state[f"stage{number}.0.weight"])
        x = F.max_pool2d(x, pool)
        mean, var, weight, bias = (
            state[f"stage{number}.2.{name}"].view(-1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)
    x = F.adaptive_avg_pool2d(x, 3)
    return x.flatten(1) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 28, 28), (2, 20, 20), (2, 41, 33)])
def test_it_computes_what_its_page_says_on_any_size(shape):
    torch.manual_seed(0)
    model = DigitNet(num_classes=7, width=6).double()
    for tensor in model.buffers():
        tensor.copy_(torch.rand_like(tensor, dtype=torch.double) + 0.5)
    x = torch.rand(shape[0], 1, *shape[1:], dtype=torch.double)
    assert torch.allclose(model.eval()(x), by_hand(x, model.state_dict()))


def test_it_has_as_many_parameters_as_it_says_and_stands_in_the_catalog():
    model = MODELS.build("digitnet")
    assert isinstance(model, DigitNet)
    assert sum(p.numel() for p in model.parameters()) == 61_426


def test_smaller_pictures_than_it_says_are_refused():
    with pytest.raises(RuntimeError):
        DigitNet().eval()(torch.rand(1, 1, 19, 28))
