"""An ONNX file as strangers use it: pictures are read as the Predictor reads them, or refused unread."""

import io
import json
import tracemalloc

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from benchmarks import service as bench
from dl_course.deploy.served import Limits, Refused, ServedModel
from dl_course.evaluation import Predictor

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ServedModel(bench.network(tmp_path_factory.mktemp("served") / "handmade.onnx"))


def filed(picture, kind="PNG", **options):
    picture.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def noise(mode, width, height, seed=0):
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), np.uint16))
    return Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8), "RGBA").convert(mode)


def refusal(model, body, kind="image/png", **limits):
    with pytest.raises(Refused) as refused:
        model.pictures(body, kind, Limits(**limits))
    return refused.value.status, str(refused.value)


@settings(max_examples=40)
@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    shape=st.sampled_from([(1, 28, 28), (3, 32, 32), (1, 8, 12), (3, 5, 3)]),
    turned=st.integers(1, 8),
    crop=st.sampled_from([None, 1.0, 0.875, 0.5]),
)
def test_a_picture_is_brought_to_the_network_as_the_predictor_does(
    model, mode, width, height, shape, turned, crop
):  # fmt: skip
    kind, about = "JPEG" if mode == "CMYK" else "PNG", Image.Exif()
    about[0x0112] = turned
    body = filed(noise(mode, width, height), kind, exif=about)
    model = ServedModel.__new__(ServedModel)
    model.shape, model.crop = shape, crop
    expected = Predictor(nn.Identity(), shape=shape, crop=crop).tensors(Image.open(io.BytesIO(body)))
    np.testing.assert_allclose(model.pictures(body, "image/png", Limits()), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_probabilities_are_those_of_the_same_network_in_torch(model, count):
    rng = np.random.default_rng(0)
    w, v = (rng.normal(0, 0.1, shape).astype(np.float32) for shape in [(8, 1, 5, 5), (10, 8 * 12 * 12)])
    pictures = torch.rand(count, 1, 28, 28)
    maps = torch.relu(nn.functional.conv2d(pictures, torch.from_numpy(w), stride=2))
    expected = (maps.flatten(1) @ torch.from_numpy(v).T).softmax(1)
    np.testing.assert_allclose(model.probabilities(pictures.numpy()), expected, atol=1e-6)


def test_the_file_names_the_classes_and_without_names_they_are_numbered(model, tmp_path):
    assert model.classes == tuple("0123456789") and model.shape == (1, 28, 28)
    unnamed = onnx.load(bench.network(tmp_path / "unnamed.onnx"))
    del unnamed.metadata_props[:]
    named = onnx.ModelProto.FromString(unnamed.SerializeToString())
    onnx.helper.set_model_props(named, {"dl_course": json.dumps({"classes": list("abcdefghij")})})
    for proto, classes in [(unnamed, "0123456789"), (named, "abcdefghij")]:
        onnx.save(proto, tmp_path / "model.onnx")
        assert ServedModel(tmp_path / "model.onnx").classes == tuple(classes)


def test_names_and_outputs_that_differ_in_number_are_refused_before_anyone_asks(tmp_path):
    proto = onnx.load(bench.network(tmp_path / "two.onnx"))
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {"dl_course": json.dumps({"classes": ["a", "b"]})})
    onnx.save(proto, tmp_path / "two.onnx")
    with pytest.raises(ValueError, match=r"two\.onnx names 2 classes for 10 outputs"):
        ServedModel(tmp_path / "two.onnx")


def test_what_is_no_network_of_pictures_is_refused_by_name(tmp_path):
    (tmp_path / "rubbish.onnx").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"rubbish\.onnx is no ONNX file"):
        ServedModel(tmp_path / "rubbish.onnx")
    proto = onnx.load(bench.network(tmp_path / "open.onnx"))
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(proto, tmp_path / "open.onnx")
    with pytest.raises(ValueError, match=r"open\.onnx takes .*height.*one input \(N, C, H, W\)"):
        ServedModel(tmp_path / "open.onnx")
    with pytest.raises(FileNotFoundError):
        ServedModel(tmp_path / "nowhere.onnx")


def test_a_saved_predictor_is_served_with_its_own_answers(tmp_path):
    normalize = {"name": "normalize", "mean": [0.3], "std": [0.2]}
    predictor = Predictor({"name": "digitnet"}, normalize, "abcdefghij", shape=(1, 28, 28))
    predictor.save(tmp_path / "predictor.safetensors")
    served, pictures = ServedModel(tmp_path / "predictor.safetensors"), torch.rand(3, 1, 28, 28)
    assert served.classes == predictor.classes
    expected = predictor.probabilities(pictures)
    np.testing.assert_allclose(served.probabilities(pictures.numpy()), expected, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["predictor.safetensors"]


def test_a_form_gives_its_pictures_in_their_order(model):
    files = [filed(noise("L", side, side)) for side in (28, 9, 40)]
    together = model.pictures(bench.form(*files), "multipart/form-data; boundary=x", Limits())
    apart = [model.pictures(file, "image/png", Limits())[0] for file in files]
    np.testing.assert_array_equal(together, np.stack(apart))


def test_a_form_is_refused_with_too_many_pictures_without_an_end_or_without_a_picture(model):
    form, kind = bench.form(*[bench.png()] * 3), "multipart/form-data; boundary=x"
    assert model.pictures(form, kind, Limits(pictures=3)).shape == (3, 1, 28, 28)
    assert refusal(model, form, kind, pictures=2) == (413, "a request has at most 2 pictures")
    assert refusal(model, form[:-5], kind)[0] == 400
    assert refusal(model, b"", kind)[0] == refusal(model, bench.form(), kind)[0] == 400
    assert refusal(model, form, "multipart/form-data")[0] == 400
    assert refusal(model, form, "multipart/form-data; boundary=" + "y" * 300)[0] == 400


def test_a_forms_field_of_text_is_named_and_a_file_is_known_by_its_name_or_type(model):
    kind = "multipart/form-data; boundary=x"
    disposition = b'--x\r\nContent-Disposition: form-data; name="note"'
    text = disposition + b"\r\n\r\nhello\r\n" + bench.form(bench.png())
    assert refusal(model, text, kind) == (400, "the form's field 'note' is text: pictures are sent as files")
    typed = (
        disposition + b"\r\nContent-Type: image/png\r\n\r\n" + bench.png() + b"\r\n" + bench.form(bench.png())
    )
    assert len(model.pictures(typed, kind, Limits())) == 2


def test_pixels_are_counted_over_all_pictures_of_a_request(model):
    form, kind = bench.form(bench.png(20), bench.png(20)), "multipart/form-data; boundary=x"
    assert len(model.pictures(form, kind, Limits(pixels=800))) == 2
    assert refusal(model, form, kind, pixels=799)[0] == 413


@pytest.mark.parametrize("side", [5_000, 12_000, 60_000, 2**31 - 1])
def test_a_bomb_is_refused_before_it_is_unpacked(model, side):
    body = bench.bomb(side, side)
    tracemalloc.start()
    status, reason = refusal(model, body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 413 and "pixels" in reason
    assert peak < 1_000_000


def test_a_jpeg_of_hundreds_of_scans_is_refused_and_an_ordinary_progressive_one_read(model):
    photo = filed(noise("RGB", 64, 64), "JPEG", progressive=True)
    assert model.pictures(photo, "image/jpeg", Limits()).shape == (1, 1, 28, 28)
    scan = photo.rindex(b"\xff\xda")
    assert refusal(model, photo[:-2] + photo[scan:-2] * 100 + photo[-2:])[0] == 413


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "BMP", "EPS"])
def test_other_formats_are_refused_unread(model, kind):
    status, reason = refusal(model, filed(noise("RGB", 28, 28), kind))
    assert (status, reason) == (400, "picture 1 can't be read as PNG or JPEG")


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json", "image/svg+xml", "é; x"])
def test_another_type_of_body_is_refused_by_the_ones_accepted(model, kind):
    status, reason = refusal(model, bench.png(), kind)
    assert status == 415 and "image/png" in reason and "multipart/form-data" in reason


@settings(max_examples=150)
@given(cut=st.integers(0, 2500), at=st.integers(0, 2500), value=st.binary(min_size=1, max_size=8))
def test_a_damaged_picture_is_read_or_refused_and_nothing_else(model, cut, at, value):
    body = bytearray(filed(noise("RGB", 24, 24), "PNG"))
    body[at : at + len(value)] = value
    try:
        pictures = model.pictures(bytes(body[:cut]), "image/png", Limits())
        assert pictures.min() >= 0 and pictures.max() <= 1
    except Refused as error:
        assert error.status in (400, 413)
