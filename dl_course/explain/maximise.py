"""Activation maximisation: a picture that a channel answers to as strongly as it can.

Olah, Mordvintsev, Schubert: "Feature Visualization", Distill 2017, whose priors these are.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.explain.maps import at_rest
from dl_course.models.features import averaged_outputs

# How the colours of natural photographs vary together (ImageNet, from lucid): red and green go along.
COLOURS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])


def maximise(
    model: nn.Module, layer: str, channel: int, *, size: int = 64, steps: int = 128, rate: float = 0.05,
    priors: bool = True, seed: int = 0,
) -> Tensor:  # fmt: skip
    """Return a picture (3, size, size) in [0, 1] that drives up a channel's mean, by gradient ascent.

    layer: one with an output (N, C) or (N, C, h, w); the layer of the scores gives a picture of a class ·
    model: takes pictures in [0, 1]; ``nn.Sequential(normalize, model)`` does, and calls a layer "1.name" ·
    priors: False climbs from noise, pixel by pixel; True uses Distill's: a spectrum that falls as
    1/frequency, the colours of photographs, and a picture shifted, turned and scaled anew at each step.
    Raises ValueError for an unknown layer or channel.
    """
    dice = torch.Generator().manual_seed(seed)
    shape = (size, size // 2 + 1, 2) if priors else (size, size)
    numbers = (0.01 * torch.randn(3, *shape, generator=dice)).requires_grad_()
    optimizer = torch.optim.Adam([numbers], lr=rate, maximize=True)
    with at_rest(model, numbers):
        for _ in range(steps):
            picture = _moved(_from_spectrum(numbers, size), dice) if priors else numbers.sigmoid()
            numbers.grad = torch.autograd.grad(_activation(model, layer, channel, picture), numbers)[0]
            optimizer.step()
    return (_from_spectrum(numbers, size) if priors else numbers.sigmoid()).detach()


def _activation(model: nn.Module, layer: str, channel: int, picture: Tensor) -> Tensor:
    given = averaged_outputs(model, picture[None], [layer])[layer]
    if not 0 <= channel < given.shape[1]:
        raise ValueError(f"layer '{layer}' has the channels 0 to {given.shape[1] - 1}; given {channel}")
    return given[0, channel]


def _from_spectrum(numbers: Tensor, size: int) -> Tensor:
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size))
    scaled = torch.view_as_complex(numbers) * (size / frequency.clamp(min=1 / size))
    decorrelated = torch.fft.irfft2(scaled, s=(size, size)) / 4
    return torch.einsum("rc,chw->rhw", COLOURS / COLOURS.norm(dim=0).max(), decorrelated).sigmoid()


def _moved(picture: Tensor, dice: torch.Generator) -> Tensor:
    turn, zoom, right, down = (2 * torch.rand(4, generator=dice) - 1).tolist()
    angle = math.radians(10 * turn)
    zoom = 1 + 0.1 * zoom
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    motion = torch.tensor([[[cosine, -sine, right / 8], [sine, cosine, down / 8]]])
    grid = F.affine_grid(motion, [1, *picture.shape], align_corners=False)
    return F.grid_sample(picture[None], grid, padding_mode="reflection", align_corners=False)[0]
