"""Picture files: training, prediction and service read the same numbers; damaged ones are a ValueError."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from dl_course.data import CSVImageDataset
from dl_course.deploy.served import Limits, ServedModel
from dl_course.evaluation import Predictor
from dl_course.images import read_image

RNG = np.random.default_rng(0)
COLOURS = Image.fromarray(RNG.integers(0, 256, (6, 4, 3), np.uint8))
PIXELS = np.asarray(COLOURS).transpose(2, 0, 1) / np.float32(255)
GREYS = COLOURS.convert("L")
SIXTEEN = Image.fromarray(np.linspace(0, 65535, 24).astype(np.uint16).reshape(6, 4))


def filed(picture, kind="PNG", **options):
    picture.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def turned(picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held by its side
    return filed(picture, exif=exif)


def see_through(picture):
    picture = picture.copy()
    picture.putalpha(Image.fromarray(RNG.integers(0, 256, picture.size[::-1], np.uint8)))
    return picture


FILES = {
    "colour": filed(COLOURS),
    "grey": filed(GREYS),
    "black and white": filed(GREYS.convert("1")),
    "16 bits": filed(SIXTEEN),
    "16 bits, turned": turned(SIXTEEN),
    "palette": filed(COLOURS.quantize(8)),
    "palette with a transparent colour": filed(COLOURS.quantize(8), transparency=0),
    "colour with alpha": filed(see_through(COLOURS)),
    "grey with alpha": filed(see_through(GREYS)),
    "CMYK": filed(COLOURS.convert("CMYK"), "JPEG"),
    "turned": turned(COLOURS),
    "animated": filed(COLOURS, save_all=True, append_images=[Image.new("RGB", COLOURS.size)]),
}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", FILES)
def test_training_prediction_and_service_read_the_same_picture(kind, mode, tmp_path):
    file = tmp_path / "picture"
    file.write_bytes(FILES[kind])
    trained, _ = CSVImageDataset(pd.DataFrame({"file": [file], "label": [0]}), mode=mode)[0]
    predicted = Predictor(nn.Identity(), shape=tuple(trained.shape)).tensors(file)[0]
    torch.testing.assert_close(predicted, trained, atol=1e-6, rtol=0)
    service = ServedModel.__new__(ServedModel)
    service.shape = tuple(trained.shape)
    service.crop = None
    served = service.pictures(FILES[kind], "image/png", Limits())[0]
    np.testing.assert_allclose(served, trained, atol=1e-6)


def test_sixteen_bits_reach_from_zero_to_one():
    picture = read_image(FILES["16 bits"])
    np.testing.assert_allclose(picture[0].flatten(), np.linspace(0, 1, 24), atol=2e-5)


@pytest.mark.parametrize("kind", ["turned", "16 bits, turned"])
def test_a_photograph_is_upright_as_the_camera_was_held(kind):
    plain = read_image(FILES["colour" if kind == "turned" else "16 bits"])
    np.testing.assert_array_equal(read_image(FILES[kind]), np.rot90(plain, -1, axes=(1, 2)))


def test_of_an_animation_the_first_frame_is_read():
    np.testing.assert_array_equal(read_image(FILES["animated"]), read_image(FILES["colour"]))


def test_a_picture_is_read_from_a_path_bytes_an_open_file_and_pillow(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(FILES["colour"])
    for source in (file, str(file), FILES["colour"], io.BytesIO(FILES["colour"]), COLOURS):
        np.testing.assert_array_equal(read_image(source), PIXELS)
    assert COLOURS.getpixel((0, 0))  # and Pillow's own stays open


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged TIFF
@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF", "JPEG", "WEBP"])
def test_a_damaged_file_is_refused_by_name_or_read_whatever_its_decoder_raises(kind, tmp_path):
    whole = np.frombuffer(filed(COLOURS, kind), np.uint8)
    rng = np.random.default_rng(1)
    refused = 0
    for number in range(60):
        damaged = whole.copy()
        places = rng.integers(0, min(len(whole), 200), 1 + number % 8)
        damaged[places] = rng.integers(0, 256, len(places))
        file = tmp_path / f"{number}.{kind}"
        file.write_bytes(damaged.tobytes()[: None if number % 3 else len(whole) // 2])
        try:
            pictures = CSVImageDataset(pd.DataFrame({"file": [file], "label": [0]}))
            assert len(pictures[0][0]) == 3
        except ValueError as error:
            refused += 1
            assert f"row 2: {file} can't be read as a picture: " in str(error)
            with pytest.raises(ValueError, match=f"{number}.{kind} can't be read as a picture"):
                Predictor(nn.Identity()).tensors(file)
    assert 5 < refused < 60
