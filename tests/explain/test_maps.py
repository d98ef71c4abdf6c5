import matplotlib
import numpy as np
import pytest
import torch

from dl_course.explain import overlay


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_an_overlay_mixes_the_picture_with_matplotlibs_colours(channels, strength):
    images, maps = torch.rand(2, channels, 5, 7), torch.rand(2, 5, 7)
    laid = overlay(images, maps, strength)
    colours = matplotlib.colormaps["viridis"](maps.mul(255).round().numpy().astype(int))[..., :3]
    expected = (1 - strength) * images.numpy() + strength * np.moveaxis(colours, -1, 1)
    np.testing.assert_allclose(laid, np.broadcast_to(expected, (2, 3, 5, 7)), atol=1e-6)


@pytest.mark.parametrize(
    ("images", "maps"),
    [
        (torch.rand(2, 3, 5, 7), torch.rand(2, 7, 5)),
        (torch.rand(2, 3, 5, 7), torch.rand(1, 5, 7)),
        (torch.rand(2, 3, 5, 7) * 2 - 1, torch.rand(2, 5, 7)),
        (torch.rand(2, 3, 5, 7), torch.rand(2, 5, 7) * 255),
    ],
)
def test_other_shapes_and_normalized_pictures_are_refused_with_what_was_given(images, maps):
    with pytest.raises(ValueError, match=r"both in \[0, 1\]; \(2, (3, )?5, 7\) from -?\d"):
        overlay(images, maps)


def test_an_overlay_of_nothing_is_nothing():
    assert overlay(torch.rand(0, 3, 5, 7), torch.rand(0, 5, 7)).shape == (0, 3, 5, 7)
