"""The two figures in motion without a front end: what they compute, what they show, what they refuse."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from traitlets import TraitError

from dl_course.plots.style import COLORS
from dl_course.widgets import ConvolutionStepper, DescentPlayground

ORANGE = 255 * np.array(to_rgb(COLORS[1]))


def picture_of(widget):
    shown, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    return np.asarray(Image.open(io.BytesIO(widget._repr_png_())).convert("RGB"), dtype=int)


def orange(picture):
    return (abs(picture - ORANGE) < 8).all(-1)


def test_the_stepper_computes_what_a_loop_computes():
    rng = np.random.default_rng(0)
    picture, kernel = rng.normal(size=(7, 9)), rng.normal(size=(3, 3))
    output = ConvolutionStepper(picture.tolist(), kernel.tolist(), stride=2, padding=1).output()
    padded = np.pad(picture, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))[::2, ::2]
    assert np.allclose(output, (windows * kernel).sum((2, 3)))
    assert output.shape == (4, 5)


def test_the_stepper_shows_its_window_where_it_stands():
    first, last = (orange(picture_of(ConvolutionStepper(place=place))) for place in (0, 15))
    assert first.any() and last.any()
    columns = [np.nonzero(seen[:, : seen.shape[1] // 3].any(0))[0].mean() for seen in (first, last)]
    assert columns[1] > columns[0] + 20
    assert (orange(picture_of(ConvolutionStepper(place=999))) == last).all()  # the last place there is


def test_the_stepper_refuses_a_kernel_without_a_place_and_what_is_no_table():
    with pytest.raises(ValueError, match="a kernel of 3 has no place; a larger padding"):
        ConvolutionStepper([[1.0, 2.0], [3.0, 4.0]])
    assert ConvolutionStepper([[1.0, 2.0], [3.0, 4.0]], padding=1).output().shape == (2, 2)
    with pytest.raises(ValueError, match=r"given: \(2,\) and \(3, 3\)"):
        ConvolutionStepper([1.0, 2.0])
    with pytest.raises(ValueError, match=r"given: \(6, 6\) and \(1, 2\)"):
        ConvolutionStepper(kernel=[[1.0, 2.0]])


def test_the_path_of_plain_descent_is_the_formula():
    walk = DescentPlayground(surface="bowl", rate=0.1, start=[2.0, 1.0]).path(5)
    steps = np.arange(6)
    assert np.allclose(walk, np.stack([2 * 0.9**steps, 0.8**steps], 1))


def test_the_playground_shows_as_many_steps_as_were_taken_else_thirty():
    few, many = (orange(picture_of(DescentPlayground(steps=steps))).sum() for steps in (1, 30))
    assert many > 1.2 * few > 0
    assert (picture_of(DescentPlayground()) == picture_of(DescentPlayground(steps=30))).all()


def test_the_playground_refuses_what_it_does_not_know():
    for wrong in ({"surface": "moon"}, {"method": "lion"}, {"rate": -1.0}, {"start": [1.0]}):
        with pytest.raises(TraitError):
            DescentPlayground(**wrong)


def test_the_start_of_a_path_is_the_start_and_costs_no_gradient():
    path = DescentPlayground(start=[1.0, 2.0]).path(0)
    assert path.tolist() == [[1.0, 2.0]] and not path.requires_grad
    assert path.dtype == torch.float64
