"""SmoothGrad: saliency averaged over noisy copies of a picture.

Smilkov et al., "SmoothGrad: removing noise by adding noise", ICML workshop 2017.
"""

import torch
from torch import Tensor, nn

from dl_course.explain.maps import Target, at_rest, classes, ready, scores_of


def smoothgrad(
    model: nn.Module, images: Tensor, target: Target = None, *, normalize: bool = True, samples: int = 20,
    noise: float = 0.1, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Return the mean of |∂score/∂pixel| over noisy copies, the largest of the channels: maps (N, H, W).

    Signs are dropped before the mean, as in captum's NoiseTunnel of Saliency; the paper leaves that open.
    noise: the standard deviation, as a share of the range of each picture's values · samples: noisy copies.
    Raises ValueError for targets that are no classes.
    """
    dice = torch.Generator().manual_seed(seed)
    with at_rest(model, images) as x:
        with torch.no_grad():
            chosen = classes(target, scores_of(model(x), len(x)))[:, None]
        spread = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        total = torch.zeros_like(x)
        for _ in range(samples):
            shaken = (x + spread * torch.randn(x.shape, generator=dice).to(x)).requires_grad_()
            scores = scores_of(model(shaken), len(x)).gather(1, chosen)
            total += torch.autograd.grad(scores.sum(), shaken)[0].abs()
    return ready((total / samples).amax(1), images, normalize, "SmoothGrad")
