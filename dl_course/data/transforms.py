"""Augmentation policies by name: torchvision v2 transforms of float pictures (C, H, W) in [0, 1] of any size.

Is it reasonable? A person must still give every picture that a policy makes the same label: a flipped shoe is
a shoe, a flipped 3 is no digit.
"""

from typing import Any

from torchvision.transforms import v2

from dl_course.registry import Registry

TRANSFORMS = Registry("transform")
TRANSFORMS.register("none")(v2.Identity)
TRANSFORMS.register("normalize")(v2.Normalize)  # takes mean and std, per channel
TRANSFORMS.register("center-crop")(v2.CenterCrop)  # takes size
TRANSFORMS.register("erase")(v2.RandomErasing)  # a rectangle goes blank: no single part suffices
TRANSFORMS.register("trivial")(v2.TrivialAugmentWide)  # Müller and Hutter, "TrivialAugment", ICCV 2021


@TRANSFORMS.register("resize")
def resize(size: int | list[int], interpolation: str = "bilinear", **how: Any) -> v2.Transform:
    """Return torchvision's Resize; the interpolation by its name, which older Resizes don't take."""
    return v2.Resize(size, v2.InterpolationMode(interpolation), **how)


@TRANSFORMS.register("wobble")
def wobble(degrees: float = 10, shift: float = 0.1, scale: float = 0.1) -> v2.Transform:
    """Return the policy for digits and letters: turn, shift and scale a little."""
    smooth = v2.InterpolationMode.BILINEAR
    return v2.RandomAffine(degrees, (shift, shift), (1 - scale, 1 + scale), interpolation=smooth)


@TRANSFORMS.register("flip-shift")
def flip_shift(shift: float = 0.125) -> v2.Transform:
    """Return the classic for photographs such as CIFAR's: mirror every second picture, and shift."""
    return v2.Compose([v2.RandomHorizontalFlip(), v2.RandomAffine(0, (shift, shift))])


@TRANSFORMS.register("color")
def color(strength: float = 0.3) -> v2.Transform:
    """Return the policy for where colour is not the answer: vary brightness, contrast, saturation and hue."""
    return v2.ColorJitter(strength, strength, strength, strength / 5)
