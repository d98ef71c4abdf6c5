"""captum's methods, called as gradcam is but without a layer: maps (N, H, W), normalized or signed."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from captum import attr
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dl_course.explain.maps import Target, at_rest, classes, ready, scores_of
from dl_course.hooks import watching


def saliency(
    model: nn.Module, images: Tensor, target: Target = None, *, normalize: bool = True, **options: Any
) -> Tensor:
    """Return |∂score/∂pixel|, the largest of its channels. Simonyan et al., ICLR workshop 2014.

    options, here and below: of captum's ``attribute``, such as abs=False, baselines=, n_steps=.
    """
    return _maps(attr.Saliency, Tensor.amax, model, images, target, normalize, options)


def integrated_gradients(
    model: nn.Module, images: Tensor, target: Target = None, *, normalize: bool = True, **options: Any
) -> Tensor:
    """Return what each pixel adds on the way from zeros to it. Sundararajan et al., ICML 2017."""
    options = {"n_steps": 32, "internal_batch_size": 64} | options
    return _maps(attr.IntegratedGradients, Tensor.sum, model, images, target, normalize, options)


def occlusion(
    model: nn.Module, images: Tensor, target: Target = None, *, normalize: bool = True, **options: Any
) -> Tensor:
    """Return what the score loses under squares of zeros, an eighth of the side wide. Zeiler, ECCV 2014."""
    depth = images.shape[1]
    side = max(2, min(images.shape[2:]) // 8)
    squares = {
        "sliding_window_shapes": (depth, side, side),
        "strides": (depth, side // 2, side // 2),
        "perturbations_per_eval": max(1, 16 // max(1, len(images))),  # squares at once, of few pictures
    }
    return _maps(attr.Occlusion, Tensor.mean, model, images, target, normalize, squares | options)


def guided_backprop(
    model: nn.Module, images: Tensor, target: Target = None, *, normalize: bool = True, **options: Any
) -> Tensor:
    """Return the sum of channels' gradients, let through by ReLUs where positive. Springenberg et al., 2015.

    Exact unless a ReLU's input has other uses too. ValueError for F.relu, which captum cannot guide.
    """
    _refuse_functional_relu(model, images[:1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")  # captum removes them
        return _maps(attr.GuidedBackprop, Tensor.sum, model, images, target, normalize, options)


class _Scores(nn.Module):
    """A model that puts out its scores alone, (N, classes), for captum."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return scores_of(self.model(x), len(x))


def _maps(
    method: type, over: Callable[..., Tensor], model: nn.Module, images: Tensor, target: Target,
    normalize: bool, options: Mapping[str, Any],
) -> Tensor:  # fmt: skip
    with at_rest(model, images) as x:
        scores = _Scores(model).eval()
        with torch.no_grad():
            chosen = classes(target, scores(x))
        attributions = method(scores).attribute(x.clone().requires_grad_(), target=chosen, **options)
    return ready(over(attributions.detach(), 1), images, normalize, method.__name__)


class _ReLUs(TorchDispatchMode):  # FlopCounterMode can count them as well, at ten times the cost
    ran = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ran += func.overloadpacket in (torch.ops.aten.relu, torch.ops.aten.relu_)
        return func(*args, **(kwargs or {}))


def _refuse_functional_relu(model: nn.Module, images: Tensor) -> None:
    relus: list[bool] = []
    seen = watching(model, lambda name, module, *call: relus.append(isinstance(module, nn.ReLU)))
    with at_rest(model, images) as images, torch.no_grad(), _ReLUs() as counter, seen:
        model(images)
    if not counter.ran == sum(relus) > 0:
        raise ValueError(
            "guided backprop needs nn.ReLU in place of F.relu; "
            f"here {sum(relus)} of {counter.ran} ReLUs are so"
        )
