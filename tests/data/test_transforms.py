"""Every policy gives a picture back that a network can take, and does what its name says."""

import pytest
import torch
from torchvision.transforms import v2

from dl_course.data import TRANSFORMS

RANDOM = sorted(set(TRANSFORMS) - {"none", "normalize", "resize", "center-crop"})


def picture(channels=3, height=17, width=20):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", RANDOM)
def test_a_policy_changes_the_picture_but_not_its_kind(name, channels):
    x, policy = picture(channels), TRANSFORMS.build(name)
    torch.manual_seed(0)
    seen = torch.stack([policy(x) for _ in range(20)])
    assert seen.shape[1:] == x.shape and seen.dtype == x.dtype
    assert seen.min() >= 0 and seen.max() <= 1 and torch.isfinite(seen).all()
    assert any(not torch.equal(one, x) for one in seen)


def test_none_and_normalize_are_what_they_say():
    x = picture()
    assert torch.equal(TRANSFORMS.build("none")(x), x)
    ours = TRANSFORMS.build({"name": "normalize", "mean": [0.1, 0.2, 0.3], "std": [0.5, 1, 2]})(x)
    torch.testing.assert_close(ours, v2.functional.normalize(x, [0.1, 0.2, 0.3], [0.5, 1, 2]))


def test_flip_shift_mirrors_every_second_picture():
    policy, x = TRANSFORMS.build({"name": "flip-shift", "shift": 0}), picture()
    torch.manual_seed(0)
    mirrored = [torch.equal(policy(x), x.flip(2)) for _ in range(400)]
    assert 150 < sum(mirrored) < 250


def test_wobble_never_mirrors_and_keeps_a_dot_near_its_place():
    x = torch.zeros(1, 41, 41)
    x[:, 20:23, 27:30] = 1
    torch.manual_seed(0)
    for _ in range(50):
        y = TRANSFORMS.build("wobble")(x)[0]
        row, column = divmod(int(y.argmax()), 41)
        assert 13 <= row <= 29 and 20 <= column <= 36
