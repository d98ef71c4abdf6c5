"""Surgery: layers put in so that forward really uses them, new heads, frozen parts; a test of the patient."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dl_course.hooks import resolve
from dl_course.runtime import fitted_to, preserved_rng

ACTIVATIONS = (  # Hardtanh includes ReLU6; sigmoids are left out: they are gates, or outputs
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Hardtanh, nn.Tanh, nn.Softplus, nn.Softsign,
)  # fmt: skip


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
        _replace(model, layer, nn.Sequential(layer, addition).train(layer.training))
    held = {id(tensor) for tensor in before.values()}
    after = [key for key, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in held]
    return dict(zip(before, after, strict=True))


def _replace(model: nn.Module, layer: nn.Module, other: nn.Module) -> None:
    for parent in list(model.modules()):
        for key, child in parent._modules.items():  # every place, should the layer have several
            if child is layer:
                parent._modules[key] = other


def new_head(model: nn.Module, classes: int | Sequence[str]) -> str:
    """Put a fresh linear layer in the place of the last one, in place; return its name.

    classes: how many, or their names, which ``Predictor.of`` then uses; outputs and names fit each other.
    Raises ValueError for fewer than two classes, a name given twice, and a network without a linear layer.
    """
    names = [str(each) for each in range(classes)] if isinstance(classes, int) else list(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"a head needs two classes or more, each with its own name; given: {classes!r}")
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"a {type(model).__name__} has no linear layer to replace")
    old = model.get_submodule(linear[-1])
    assert isinstance(old, nn.Linear)
    head = nn.Linear(old.in_features, len(names), bias=old.bias is not None)
    _replace(model, old, head.to(old.weight).train(old.training))
    vars(model)["classes"] = tuple(names)
    if isinstance(built := vars(model).get("architecture"), dict):
        vars(model)["architecture"] = built | {"num_classes": len(names)}
    return linear[-1]


class StillBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that keeps normalizing with the statistics it was given, in training too."""

    def train(self, mode: bool = True) -> StillBatchNorm2d:
        """Stay in eval mode."""
        return super().train(False)


def freeze(model: nn.Module, *prefixes: str) -> list[str]:
    """Keep the layers under these names as they are, in place, and return their parameters' names.

    Their weights get no gradient, and their BatchNorm2d keep their statistics, which ``model.train()`` alone
    would let move: a network with frozen weights and moving statistics is another network after every batch.
    Make the optimizer afterwards, of what still learns. Raises ValueError for a name that isn't there.
    """
    return _set_frozen(model, prefixes, True)


def unfreeze(model: nn.Module, *prefixes: str) -> list[str]:
    """Let the layers under these names learn again, in place; return their parameters' names."""
    return _set_frozen(model, prefixes, False)


def _set_frozen(model: nn.Module, prefixes: Sequence[str], frozen: bool) -> list[str]:
    before, after = (nn.BatchNorm2d, StillBatchNorm2d) if frozen else (StillBatchNorm2d, nn.BatchNorm2d)
    held = {id(p) for prefix in prefixes for p in resolve(model, prefix).parameters()}
    for norm in [m for prefix in prefixes for m in resolve(model, prefix).modules() if type(m) is before]:
        norm.__class__ = after  # hooks, buffers and optimizers go on knowing it
        norm.train(model.training)
    named = [(name, p) for name, p in model.named_parameters() if id(p) in held]
    for _, parameter in named:
        parameter.requires_grad_(not frozen)
    return [name for name, _ in named]


def moving_statistics(model: nn.Module) -> list[str]:
    """Return the norms whose weights are frozen but whose running statistics ``model.train()`` lets move."""
    norms = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return [
        name
        for name, norm in norms
        if norm.track_running_stats and norm.affine and not norm.weight.requires_grad
        and not isinstance(norm, StillBatchNorm2d)
    ]  # fmt: skip


def rates_by_depth(model: nn.Module, learning_rate: float, factor: float = 0.4) -> list[dict[str, Any]]:
    """Return an optimizer's groups of parameters: the head learns at the rate, each stage before it slower.

    factor: from a stage to the one before it. A stage is a child of the model; one that holds most of the
    parameters is taken apart into its own children. Frozen parameters are left out. "Discriminative
    fine-tuning": Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018.
    Raises ValueError for a factor outside of (0, 1], and where nothing is left to train.
    """
    if not 0 < factor <= 1:
        raise ValueError(f"a factor lies above 0 and at most at 1; given: {factor}")
    left = {id(p): p for p in model.parameters() if p.requires_grad}
    stages = [
        (name, [left.pop(id(p)) for p in m.parameters() if id(p) in left]) for name, m in _stages(model)
    ]
    learning = [("", list(left.values())), *stages]  # first, what the model holds itself: a class token
    groups = [{"name": name, "params": parameters} for name, parameters in learning if parameters]
    if not groups:
        raise ValueError("every parameter is frozen: nothing is left to train")
    for distance, group in enumerate(reversed(groups)):
        group["lr"] = learning_rate * factor**distance
    return groups


def _stages(model: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    found = []
    whole = sum(p.numel() for p in model.parameters())
    for name, child in model.named_children():
        size = sum(p.numel() for p in child.parameters())
        opened = 2 * size > whole and any(True for _ in child.children())
        found += _stages(child, f"{prefix}{name}.") if opened else [(prefix + name, child)]
    return found


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
