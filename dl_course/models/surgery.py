"""Surgery: put a layer into a network so that its forward really uses it; and a quick test of the patient."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dl_course.hooks import resolve
from dl_course.runtime import fitted_to, preserved_rng

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh)


def add_dropout(model: nn.Module, p: float = 0.5, layers: Iterable[str] = ()) -> dict[str, str]:
    """Put dropout behind the named layers, in place; without names behind every activation, never the logits.

    Returns old → new state-dict keys: all the same behind activations, which hold nothing.
    """
    names = list(layers) or [name for name, m in model.named_modules() if isinstance(m, ACTIVATIONS)]
    if not names:
        raise ValueError("no activation modules to put dropout behind (F.relu is none): name the layers")
    return _append(model, {name: nn.Dropout(p) for name in names})


def add_batch_norm(model: nn.Module, layers: Iterable[str]) -> dict[str, str]:
    """Put batch norm behind the named Conv2d and Linear layers, in place; their biases lose their effect.

    Returns old → new state-dict keys ("conv1.weight" → "conv1.0.weight"): an old checkpoint still fits by
    ``model.load_state_dict({keys[k]: v for k, v in old.items()}, strict=False)``.
    """
    norms: dict[str, nn.Module] = {}
    for name in layers:
        layer = resolve(model, name)
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            raise ValueError(f"batch norm goes behind Conv2d or Linear; '{name}' is a {type(layer).__name__}")
        norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
        norms[name] = norm(len(layer.weight)).to(layer.weight)
    return _append(model, norms)


def _append(model: nn.Module, additions: Mapping[str, nn.Module]) -> dict[str, str]:
    before = model.state_dict(keep_vars=True)
    for layer, addition in [(resolve(model, name), addition) for name, addition in additions.items()]:
        followed = nn.Sequential(layer, addition).train(layer.training)
        for parent in list(model.modules()):
            for key, child in parent._modules.items():  # every place, should the layer have several
                if child is layer:
                    parent._modules[key] = followed
    held = {id(tensor) for tensor in before.values()}
    after = [key for key, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in held]
    return dict(zip(before, after, strict=True))


def quick_test(model: nn.Module, input_size: Sequence[int]) -> dict[str, Any]:
    """Return what a training step on four random samples shows: output shape, loss, parameters left alone.

    input_size: without the batch. The model, of which a copy is trained, must put out logits (N, classes, …).
    Parameters "without_gradient" take no part; "unchanged" ones have one near zero: a bias before batch norm.
    """
    patient = copy.deepcopy(model).train()
    with preserved_rng(seed=0):
        logits = patient(fitted_to(model, torch.randn(4, *input_size)))
        labels = torch.randint(logits.shape[1], (4, *logits.shape[2:]), device=logits.device)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    torch.optim.SGD(patient.parameters(), lr=0.1).step()
    stepped = {name: p for name, p in patient.named_parameters() if p.requires_grad}
    without = [k for k, p in stepped.items() if p.grad is None]
    same = [k for k, p in stepped.items() if p.grad is not None and torch.equal(p, model.get_parameter(k))]
    return dict(output=tuple(logits.shape), loss=loss.item(), without_gradient=without, unchanged=same)
