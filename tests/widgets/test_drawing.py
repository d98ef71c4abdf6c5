"""The drawing pad without a kernel: what ink becomes, what is answered, what is refused."""

import asyncio
import base64
import io
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy.ndimage import center_of_mass
from torch import nn
from torchvision.transforms import v2

from dl_course import data, models
from dl_course.evaluation import Predictor
from dl_course.explain import gradcam
from dl_course.files import DataUnavailable
from dl_course.widgets import DrawingPad, as_mnist

NAME = "simplecnn-digits"
NORMALIZE = {"name": "normalize", **models.model_card(NAME)["normalize"]}
SEVEN = [(80, 60), (200, 60), (120, 230)]


@pytest.fixture(scope="module")
def predictor():
    return Predictor(models.trained(NAME), NORMALIZE, models.model_card(NAME)["classes"], shape=(1, 28, 28))


@pytest.fixture
def pad(predictor):
    return DrawingPad(predictor)


def paper(places=SEVEN, size=(280, 280), pen=24):
    picture = Image.new("L", size)
    ImageDraw.Draw(picture).line(places, 255, pen, "curve")
    return picture


def canvas(picture):
    """What the front end sends: RGBA, as browsers write PNGs."""
    file = io.BytesIO()
    picture.convert("RGBA").save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def sent(pad, ink, **more):
    pad.set_state({"ink": ink, "stroke": pad.stroke + 1} | more)
    return pad.answer


def decoded(url):
    kind, _, text = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) / 255


def edges(picture):
    rows, columns = np.nonzero(np.asarray(picture))
    return np.array([rows.min(), rows.max(), columns.min(), columns.max()])


def box(picture):
    top, bottom, left, right = edges(picture)
    return bottom - top + 1, right - left + 1


strokes = st.lists(st.tuples(*[st.integers(20, 280)] * 2), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(strokes, st.integers(1, 30), st.sampled_from([(300, 300), (300, 400), (420, 310)]))
def test_ink_is_centred_by_its_mass_in_a_box_of_20_and_none_falls_off(places, pen, size):
    picture = paper(places, size, pen)
    small = as_mnist(picture)
    assert small.shape == (28, 28) and small.dtype == torch.float32
    assert small.min() >= 0 and small.max() <= 1

    drawn = np.asarray(picture) / 255
    top, bottom, left, right = edges(drawn)
    drawn = drawn[top : bottom + 1, left : right + 1]
    assert np.abs(np.array(box(small)) - np.array(drawn.shape) * 20 / max(drawn.shape)).max() <= 1
    # Ink is as dense as before. Its sum may change: 2.5 pixels become 2.
    assert float(small.sum()) == pytest.approx(drawn.mean() * np.prod(box(small)), rel=0.2, abs=6)

    ends = edges(small)
    for axis, centre in enumerate(center_of_mass(small.numpy())):
        touches = ends[2 * axis] == 0 or ends[2 * axis + 1] == 27
        assert 13.49 <= centre <= 14.51 or touches  # MNIST's own lie from 13.5 to 14.5


def test_a_lopsided_drawing_stops_at_the_edge():
    ink = np.zeros((200, 200))
    ink[:160, :40], ink[150:160, :160] = 0, 1  # a long bar …
    ink[:160, 150:160] = 1  # … with a heavy corner at its end
    assert box(as_mnist(ink)) == (20, 20)


@pytest.mark.parametrize("enlarged", [1, 3, 6])
@pytest.mark.parametrize("shift", [(0, 0), (5, 0), (13, 40)])
def test_real_digits_come_back_wherever_and_however_large_they_are_drawn(enlarged, shift):
    for digit in data.load("digits", "test").images[:20] / 255:
        small = as_mnist(digit)
        large = F.interpolate(small[None, None], scale_factor=enlarged, mode="nearest")[0, 0]
        moved = F.pad(large, (shift[1], 60, shift[0], 7))
        back = as_mnist(moved)
        assert np.abs(edges(back) - edges(small)).max() <= 1
        near = [back.roll((y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]  # a centre may lie between
        assert min((each - small).abs().mean() for each in near) < 0.01
        distance = np.subtract(center_of_mass(back.numpy()), center_of_mass(small.numpy()))
        assert np.abs(distance).max() <= 1


def test_mnists_own_digits_stay_exactly_as_they_are():
    try:
        images = data.load("mnist", "test", download=False).images[:500] / 255
    except DataUnavailable:
        pytest.skip("MNIST isn't here")
    same = [as_mnist(image).equal(image[0]) for image in images]
    assert np.mean(same) > 0.99
    for image in images[:50]:
        large = F.pad(F.interpolate(image[None], scale_factor=6, mode="nearest"), (70, 42, 9, 103))
        assert np.abs(edges(as_mnist(large[0])) - edges(image[0])).max() <= 1


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (280, 3), (0, 5)])
def test_without_ink_nothing_is_there(shape):
    assert as_mnist(np.zeros(shape)).equal(torch.zeros(28, 28))


def test_one_dot_fills_the_box_in_the_middle():
    for place in [(0, 0), (279, 279), (100, 7)]:
        ink = torch.zeros(280, 280)
        ink[place] = 1.0
        assert as_mnist(ink).equal(F.pad(torch.ones(20, 20), (4, 4, 4, 4)))


def test_a_stroke_as_thin_as_a_pixel_stays_visible():
    ink = torch.zeros(280, 280)
    ink[20:260, 33] = 1
    assert box(as_mnist(ink)) == (20, 1)


def test_ink_of_every_type_gives_one_picture():
    picture = paper()
    ink = np.asarray(picture)
    dresses = [
        ink,
        ink / 255,
        (ink / 255).astype(np.float16),
        ink > 127,
        torch.tensor(ink),
        picture.convert("RGB"),
    ]
    for dress in dresses:
        torch.testing.assert_close(as_mnist(dress), as_mnist(picture), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    "ink", [np.full((9, 9), 2.0), np.full((9, 9), np.nan), np.zeros(9), "nowhere.png", None]
)
def test_what_is_no_picture_of_ink_is_refused(ink):
    with pytest.raises(ValueError, match="picture"):
        as_mnist(ink)


def test_a_reading_is_what_predictor_hook_and_grad_cam_say(pad, predictor):
    picture = as_mnist(paper())
    reading = pad.predict(picture)
    inputs = v2.Normalize(NORMALIZE["mean"], NORMALIZE["std"])(picture[None, None])
    with torch.no_grad():
        expected = predictor.model.eval()(inputs).softmax(1)[0]
        layers = [predictor.model.stage1, predictor.model.stage2, predictor.model.stage3[:3]]
        maps = nn.Sequential(*layers)(inputs)[0]
    np.testing.assert_allclose(reading.probabilities, expected, atol=1e-6)
    assert list(reading.probabilities.index) == list("0123456789")
    assert reading.layer == "stage3.2" and reading.picture.equal(picture[None])
    torch.testing.assert_close(reading.maps, maps)
    heat = gradcam(predictor.model, inputs, "stage3.2", int(expected.argmax()))[0]
    torch.testing.assert_close(reading.heat, heat)
    assert repr(reading).startswith(f"7 ({expected[7]:.0%}), ")
    assert pad.predict(picture, "stage1").maps.shape == (24, 14, 14)


def test_any_picture_that_the_predictor_reads_is_read_and_not_centred(pad, predictor, tmp_path):
    paper().save(tmp_path / "seven.png")
    for picture in (tmp_path / "seven.png", paper(), data.load("digits", "test").images[3]):
        expected = predictor.probabilities(picture)[0]
        np.testing.assert_allclose(pad.predict(picture).probabilities, expected, atol=1e-5)
    with pytest.raises(ValueError, match="one picture at a time; given: 2"):
        pad.predict(torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match=r"nowhere\.png can't be read"):
        pad.predict("nowhere.png")


def test_a_layer_without_maps_is_refused_by_name(pad, predictor):
    for layer, what in [("stage3.22", "did you mean 'stage3.2'"), ("fc", "layer 'fc' gives no maps")]:
        with pytest.raises(ValueError, match=what):
            pad.predict(paper(), layer)
        with pytest.raises(ValueError, match=what):
            DrawingPad(predictor, layer)


def test_what_is_drawn_is_answered_with_what_predict_says(pad):
    assert pad.reading is None
    answer = sent(pad, canvas(paper()))
    reading = pad.predict(as_mnist(paper()))
    assert answer["stroke"] == 1 and answer["status"] == repr(reading) == repr(pad.reading)
    np.testing.assert_allclose(answer["probabilities"], reading.probabilities)
    assert abs(decoded(answer["seen"]) - as_mnist(paper()).numpy()).max() <= 1 / 255
    assert decoded(answer["heat"]).shape == (28, 28, 3)
    grid = decoded(answer["maps"])
    assert grid.shape == (8 * 8 + 1, 8 * 8 + 1, 3) and (grid[0] == 127 / 255).all()
    brightest = int(reading.maps[:64].amax((1, 2)).argmax())
    tiles = grid[1:, 1:].reshape(8, 8, 8, 8, 3).swapaxes(1, 2).reshape(64, 8, 8, 3)[:, :7, :7]
    assert (
        tiles.sum(-1).max((1, 2)).argmax() == brightest
        or tiles[brightest].sum(-1).max() == tiles.sum(-1).max()
    )


def test_another_layer_is_shown_from_the_front_end_and_from_python(pad):
    first = sent(pad, canvas(paper()))
    second = sent(pad, pad.ink, layer="stage1")
    assert pad.reading.layer == "stage1" and second["maps"] != first["maps"]
    pad.layer = "stage3.2"
    assert pad.answer["maps"] == first["maps"]


def test_a_cleared_pad_is_answered_with_nothing(pad):
    sent(pad, canvas(paper()))
    assert sent(pad, "") == {"stroke": 2, "status": ""} and pad.reading is None


def test_what_goes_wrong_is_said_and_the_next_stroke_is_read(pad):
    broken = sent(pad, "data:image/png;base64,bm8gcGljdHVyZQ==")
    assert set(broken) == {"stroke", "status"} and "can't be read as a picture" in broken["status"]
    assert "did you mean 'stage1'" in sent(pad, canvas(paper()), layer="stag1")["status"]
    assert sent(pad, canvas(paper()), layer="stage1")["status"].startswith("7 (")


def test_a_heat_map_that_is_nowhere_positive_says_so():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 26 * 26, 2))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[3].weight.fill_(-1.0)
    with warnings.catch_warnings(action="error"):  # nothing is said of the example, which nobody drew
        pad = DrawingPad(Predictor(model))
        assert pad._repr_mimebundle_()[0]["image/png"]
    answer = sent(pad, canvas(paper()))
    assert "nothing speaks for the class" in answer["status"] and "heat" in answer


def test_a_network_without_maps_is_read_all_the_same():
    pad = DrawingPad(Predictor(models.MODELS.build("simplenet")))
    assert pad.layers == [] and pad.layer == "" and pad.classes == [str(digit) for digit in range(10)]
    assert set(sent(pad, canvas(paper()))) == {"stroke", "status", "probabilities", "seen"}
    assert pad._repr_mimebundle_()[0]["image/png"]


def test_layers_called_twice_are_not_offered_and_the_last_with_maps_of_5_is_chosen():
    relu = nn.ReLU()
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), relu, nn.Conv2d(4, 4, 3, stride=3), relu, nn.Conv2d(4, 4, 2),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    pad = DrawingPad(Predictor(model, classes=["a", "b", "c"], shape=(3, 32, 32)))
    assert (pad.layers, pad.layer) == (["0", "2", "4"], "2")
    assert sent(pad, canvas(paper()))["probabilities"] == pytest.approx(list(pad.reading.probabilities))
    assert pad.reading.picture.shape == (3, 32, 32) and pad.reading.heat.shape == (32, 32)


def test_nothing_is_left_behind_in_the_model(predictor):
    model = models.trained(NAME)
    model.train()
    model.stage2.eval()
    before, flags = (
        {k: v.clone() for k, v in model.state_dict().items()},
        [m.training for m in model.modules()],
    )
    random = torch.random.get_rng_state()
    sent(DrawingPad(Predictor(model, NORMALIZE)), canvas(paper()))
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == flags
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.random.get_rng_state().equal(random)


def test_a_stroke_waits_for_the_cell_that_runs_and_is_read_on_its_thread(predictor):
    threads = []

    async def session():
        pad = DrawingPad(predictor)
        pad.predict = lambda *args: (
            threads.append(threading.current_thread()) or DrawingPad.predict(pad, *args)
        )
        subshell = threading.Thread(target=lambda: sent(pad, canvas(paper())))
        subshell.start()
        subshell.join()  # as in a cell: the loop is not free
        assert threads == [] and pad.answer == {}
        await asyncio.sleep(0.5)
        return pad

    pad = asyncio.run(session())
    assert threads == [threading.main_thread()] and pad.answer["stroke"] == 1


def test_a_notebook_keeps_a_picture_of_the_drawing_or_of_an_example(pad):
    bundle, metadata = pad._repr_mimebundle_()
    example = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert example.size == (900, 320) and metadata == {}
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == repr(pad) == "DrawingPad: SimpleCNN; predict(image)"
    sent(pad, canvas(paper([(140, 40), (140, 240)])))
    drawn = base64.b64decode(pad._repr_mimebundle_()[0]["image/png"])
    assert drawn == pad.reading._repr_png_() != base64.b64decode(bundle["image/png"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_a_network_stays_on_its_device(predictor):
    model = models.trained(NAME).cuda()
    reading = DrawingPad(Predictor(model, NORMALIZE)).predict(as_mnist(paper()))
    torch.testing.assert_close(
        reading.heat, DrawingPad(predictor).predict(as_mnist(paper())).heat, atol=1e-3, rtol=0
    )
    assert next(model.parameters()).is_cuda
