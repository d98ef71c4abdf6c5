"""FGSM: the small change of a picture that hurts an answer most, to first order.

Goodfellow, Shlens, Szegedy: "Explaining and Harnessing Adversarial Examples", ICLR 2015.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.explain.maps import Target, at_rest, classes, scores_of


def fgsm(
    model: nn.Module, images: Tensor, target: Target = None, *, epsilon: float = 2 / 255,
    bounds: tuple[float, float] = (0, 1),
) -> Tensor:  # fmt: skip
    """Return the images, each number moved by epsilon in the direction that raises the target's loss.

    images: (N, C, H, W) within bounds, which the result keeps to; for pictures in [0, 1] and a network that
    wants them normalized, give ``nn.Sequential(normalize, model)`` · target: the true classes; None for the
    predicted ones. Raises ValueError for images outside of bounds and targets that are no classes.
    """
    low, high = images.min().item(), images.max().item()
    if low < bounds[0] or high > bounds[1]:
        raise ValueError(
            f"images must lie within bounds={bounds}; given {low:.3g} to {high:.3g}. "
            "If they are normalized, give the plain pictures and nn.Sequential(normalize, model)"
        )
    with at_rest(model, images) as x:
        x = x.clone().requires_grad_()
        scores = scores_of(model(x), len(x))
        slope = torch.autograd.grad(F.cross_entropy(scores, classes(target, scores), reduction="sum"), x)[0]
    return (x.detach() + epsilon * slope.sign()).clamp(*bounds)
