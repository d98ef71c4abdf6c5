"""Grad-CAM: where a convolutional network looks when it names a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dl_course.explain.maps import Target, at_rest, channels_last, classes, ready, scores_of
from dl_course.hooks import mapped, name_of, tensors_in, watching

Reshape = Callable[[Tensor], Tensor] | None


def gradcam(
    model: nn.Module, images: Tensor, layer: str | nn.Module, target: Target = None, *,
    normalize: bool = True, reshape: Reshape = None,
) -> Tensor:  # fmt: skip
    """Return a heat map for each picture, (N, H, W), peak 1; zeros where nothing speaks for the class.

    images: (N, C, H, W) on any device · layer: a name of ``model.named_modules()``, or the module itself,
    called once, with an output (N, C, h, w) · target: class index, one for all or one a picture, or None for
    the predicted class · normalize: False gives the layer's signed maps (N, h, w) · reshape: makes
    (N, C, h, w) of another output, ``lambda y: y[:, 1:].transpose(1, 2).unflatten(2, (h, w))`` of a ViT's
    tokens, ``lambda y: y.permute(0, 3, 1, 2)`` of Swin's maps. The model, run in eval mode, stays as is.
    Raises ValueError for an unknown layer, one without height and width, and targets that are no classes.
    """
    name = name_of(model, layer)
    with _from_layer(model, images, name) as (leaf, scores):
        score = scores.gather(1, classes(target, scores)[:, None]).sum()
        maps = _weighted(score, leaf, name, images, reshape)
    return ready(maps, images, normalize, f"Grad-CAM at '{name}'")


def gradcam_classes(
    model: nn.Module,
    image: Tensor,
    layer: str | nn.Module,
    targets: Sequence[int],
    *,
    reshape: Reshape = None,
) -> Tensor:
    """Return a map for each class in targets, (classes, H, W), from one run of one image, (C, H, W).

    layer, reshape, and what is refused: as of ``gradcam``.
    """
    name = name_of(model, layer)
    with _from_layer(model, image[None], name) as (leaf, scores):
        chosen = scores[0, classes(targets, scores.expand(len(targets), -1))]
        maps = torch.cat([_weighted(score, leaf, name, image[None], reshape) for score in chosen])
    return ready(maps, image[None], True, f"Grad-CAM at '{name}'")


@contextmanager
def _from_layer(model: nn.Module, images: Tensor, layer: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the layer's output and the scores, with autograd's graph between them and nowhere else."""
    leaves: list[Tensor] = []

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        leaves.extend(tensor.detach().requires_grad_() for tensor in tensors_in(output))
        if len(leaves) != 1:
            raise ValueError(
                f"layer '{layer}' puts out {len(leaves)} tensors in one run: try the block around it"
            )
        torch.set_grad_enabled(True)
        return mapped(lambda tensor: leaves[0].clone(), output)  # what follows may work in place

    with at_rest(model, images) as images:
        with torch.no_grad(), watching(model, leave, layers=[layer]):
            output = model(images)
        if not leaves:
            raise ValueError(f"layer '{layer}' is not called when {type(model).__name__} runs")
        yield leaves[0], scores_of(output, len(images))


def _weighted(score: Tensor, leaf: Tensor, layer: str, images: Tensor, reshape: Reshape) -> Tensor:
    """Return Σ_k α_k·A_k, (N, h, w), where α_k is the mean of ∂score/∂A_k over places (equation 1)."""
    gradient = torch.autograd.grad(score, leaf, retain_graph=True, allow_unused=True)[0]
    if gradient is None:
        raise ValueError(f"the scores do not depend on layer '{layer}'")
    activation, gradient = (reshape(y) if reshape else y for y in (leaf.detach(), gradient))
    shape = tuple(activation.shape)
    if len(shape) != 4 or shape[2] > images.shape[2] or shape[3] > images.shape[3]:
        raise ValueError(f"layer '{layer}' has no spatial output (N, C, h, w) but {shape}: give reshape")
    if not reshape and channels_last(shape, images):
        way = "reshape=lambda y: y.permute(0, 3, 1, 2)"
        raise ValueError(f"layer '{layer}' has its channels last, {shape}: give {way}")
    precise = torch.promote_types(activation.dtype, torch.float32)
    return torch.einsum("nkhw,nk->nhw", activation.to(precise), gradient.to(precise).mean((2, 3)))
