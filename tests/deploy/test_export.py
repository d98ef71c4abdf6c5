"""Export: one file that computes what PyTorch computes, at any batch; and what integers save and cost."""

import json
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.data import chelsea
from torch import nn
from torchvision.transforms import v2

from dl_course import data
from dl_course.deploy import benchmark, load_onnx, quantize, serving, to_onnx
from dl_course.deploy.export import predictions_of
from dl_course.evaluation import Predictor, predict
from dl_course.models import SimpleCNN, model_card, pretrained, trained

pytestmark = pytest.mark.timeout(180)  # it starts programs or trains: more than a test has otherwise

CLASSES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def predictor():
    record = model_card("simplecnn-digits")
    how = {"shape": (1, 28, 28), "architecture": record["model"]}
    return Predictor(trained("simplecnn-digits"), {"name": "normalize"} | record["normalize"], CLASSES, **how)


@pytest.fixture(scope="module")
def exported(predictor, tmp_path_factory):
    return to_onnx(predictor, tmp_path_factory.mktemp("onnx") / "digits.onnx")


@pytest.fixture(scope="module")
def reader(exported):
    return load_onnx(exported.path)


class Scores(nn.Module):
    """The cheapest network to export: ten sums of a 2×2 picture."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))


def small(model=None, transform=None):
    return Predictor(model or Scores(), transform, CLASSES, shape=(1, 2, 2))


@pytest.mark.parametrize("size", [1, 2, 7, 64, 33])
def test_the_file_gives_pytorchs_logits_at_every_batch(exported, predictor, size):
    pictures = torch.rand(size, 1, 28, 28, generator=torch.Generator().manual_seed(size))
    session = onnxruntime.InferenceSession(exported.path)
    logits = session.run(["logits"], {"pictures": pictures.numpy()})[0]
    with torch.no_grad():
        normalized = v2.functional.normalize(pictures, *model_card("simplecnn-digits")["normalize"].values())
        expected = predictor.model(normalized)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_the_report_says_what_was_written(exported):
    assert exported.bytes == exported.path.stat().st_size
    assert [each.version for each in onnx.load(exported.path).opset_import if not each.domain] == [18]
    assert exported.opset == 18 and list(exported.differences) == [1, 2, 7, 64]
    assert max(exported.differences.values()) <= 1e-5
    assert repr(exported).startswith(
        f"digits.onnx: {exported.bytes:,} bytes, opset 18; at batches of 1, 2, 7, 64"
    )


def test_one_valid_file_is_written_that_names_its_classes_and_no_folder_of_this_machine(exported):
    assert [path.name for path in exported.path.parent.iterdir()] == ["digits.onnx"]
    proto = onnx.load(exported.path)
    onnx.checker.check_model(proto, full_check=True)
    about = json.loads({each.key: each.value for each in proto.metadata_props}["dl_course"])
    assert about == {"classes": CLASSES, "shape": [1, 28, 28], "crop": None}
    assert str(Path(torch.__file__).parent).encode() not in exported.path.read_bytes()


def test_the_file_reads_whatever_the_predictor_reads_and_says_the_same(predictor, reader):
    test = data.load("digits", "test")
    mixed = [test.images[0, 0].numpy(), test.images[1], torch.rand(3, 40, 20)]
    assert reader.classes == predictor.classes and reader.shape == predictor.shape
    assert list(reader(mixed)["class"]) == list(predictor(mixed)["class"])
    theirs = predict(predictor.model, [(predictor.transform(test.tensors()[0]), test.labels)])
    assert predictions_of(reader, test).accuracy == theirs.accuracy > 0.9
    assert predictions_of(reader, test).loss == pytest.approx(theirs.loss, rel=1e-4)


def test_exporting_leaves_the_network_as_it_was_and_draws_no_random_number(tmp_path):
    model = Scores().double().train()
    state, before = torch.get_rng_state(), model.fc.weight.clone()
    to_onnx(small(model), tmp_path / "a.onnx")
    assert model.training and model.fc.weight.equal(before) and torch.get_rng_state().equal(state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_network_on_the_gpu_is_exported_and_stays_there(tmp_path):
    model = Scores().cuda()
    to_onnx(small(model), tmp_path / "a.onnx")
    assert model.fc.weight.is_cuda


def test_a_random_preparation_is_found_out_and_no_file_is_left(tmp_path):
    class Shaken(Scores):
        def forward(self, x):
            return super().forward(x + torch.rand_like(x))

    with pytest.raises(ValueError, match="at a batch of 1 the logits are .* away from PyTorch's"):
        to_onnx(small(Shaken()), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_does_not_replace_the_one_that_is_there(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("the old one")
    with pytest.raises(ValueError, match="away from PyTorch's"):
        to_onnx(small(), path, tolerance=-1)
    assert path.read_text() == "the old one"


def test_a_batch_that_became_a_plain_number_is_refused_by_name(tmp_path):
    class Counting(Scores):
        def forward(self, x):
            return self.fc(x.reshape(len(x), 4))

    with pytest.raises(ValueError, match=r"Counting would be written for batches of 2 alone.*x\.shape\[0\]"):
        to_onnx(small(Counting()), tmp_path / "a.onnx")


def test_without_a_shape_the_predictor_is_told_to_have_one(tmp_path):
    with pytest.raises(ValueError, match="shape="):
        to_onnx(Predictor(Scores()), tmp_path / "a.onnx")


def test_an_opset_that_pytorch_does_not_write_is_refused(tmp_path):
    with pytest.raises(ValueError, match="opset 9 was asked for, but PyTorch has written opset 18"):
        to_onnx(small(), tmp_path / "a.onnx", opset=9)


def test_files_of_others_are_refused(tmp_path, exported):
    stranger = tmp_path / "stranger.onnx"
    proto = onnx.load(exported.path)
    del proto.metadata_props[:]
    onnx.save(proto, stranger)
    (tmp_path / "text.onnx").write_text("no network")
    (tmp_path / "half.onnx").write_bytes(exported.path.read_bytes()[:1000])
    for name in ("stranger", "text", "half"):
        with pytest.raises(ValueError, match=f"{name}.onnx was not written by to_onnx"):
            load_onnx(tmp_path / f"{name}.onnx")
    with pytest.raises(FileNotFoundError, match="write one with to_onnx"):
        load_onnx(tmp_path / "none.onnx")


@pytest.fixture(scope="module")
def integers(exported):
    calibration = data.load("digits", "val").tensors()[0]
    folder = exported.path.parent.with_name("integers")
    static = quantize(exported.path, folder / "static.onnx", calibration)
    return static, quantize(exported.path, folder / "dynamic.onnx")


def test_integers_are_a_third_of_the_bytes_and_read_as_well(exported, predictor, integers, tmp_path):
    predictor.save(tmp_path / "digits.safetensors")
    test = data.load("digits", "test")
    table = benchmark([tmp_path / "digits.safetensors", exported.path, *integers], test, batch_sizes=(1, 3))
    assert list(table["integer layers"]) == ["", "0 of 4", "4 of 4", "4 of 4"]
    assert (
        table["bytes"]
        == [Path(f).stat().st_size for f in (tmp_path / "digits.safetensors", exported.path, *integers)]
    ).all()
    assert (table["bytes"].iloc[2:] < table["bytes"].iloc[1] / 3 + 500).all()
    assert (
        table["accuracy"].iloc[0]
        == table["accuracy"].iloc[1]
        == pytest.approx(model_card("simplecnn-digits")["figures"]["test"]["accuracy"])
    )
    assert (table["accuracy"].iloc[2:] > table["accuracy"].iloc[1] - 0.01).all()
    assert (table[["ms at 1", "ms at 3"]] > 0).all(axis=None)


def test_integers_are_close_to_the_file_they_were_made_from_and_not_equal(reader, integers):
    pictures = data.load("digits", "test").tensors()[0][:64]
    for path in integers:
        gap = (load_onnx(path).probabilities(pictures) - reader.probabilities(pictures)).abs().mean()
        assert 0 < gap < 0.01


def test_quantizing_refuses_what_is_no_file_of_ours(tmp_path):
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ValueError, match="was not written by to_onnx"):
        quantize(tmp_path / "text.onnx", tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["text.onnx"]


def test_a_network_of_convolutions_alone_is_quantized_whole(tmp_path):
    path = to_onnx(Predictor(SimpleCNN(width=4), shape=(1, 9, 11)), tmp_path / "a.onnx").path
    calibration = torch.rand(3, 1, 9, 11)
    table = benchmark(
        [path, quantize(path, tmp_path / "b.onnx", calibration)],
        data.load("digits", "val").subset(slice(0, 5)),
        (1,),
    )
    assert list(table["integer layers"]) == ["0 of 4", "4 of 4"]


class Pair(Scores):
    def forward(self, x):
        return super().forward(x), x


def test_outputs_that_are_no_logits_are_refused_in_words_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"must give logits \(1, C\); it gave: tuple"):
        to_onnx(Predictor(Pair(), shape=(1, 2, 2)), tmp_path / "pair.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("calibration", [torch.zeros(0, 1, 2, 2), torch.zeros(3, 1, 5, 5)])
def test_calibration_without_a_picture_or_of_another_shape_is_refused(calibration, tmp_path):
    path = to_onnx(small(), tmp_path / "small.onnx").path
    with pytest.raises(ValueError, match=r"calibration needs pictures \(N, \*\(1, 2, 2\)\)"):
        quantize(path, tmp_path / "int8.onnx", calibration)
    assert not (tmp_path / "int8.onnx").exists()


def test_a_photograph_is_cut_and_read_over_http_as_pytorch_reads_it(tmp_path):
    model = pretrained("efficientnet_lite0")
    vars(model)["preparation"] = model.preparation.at(96, 0.875)  # at 224 it takes five times as long
    predictor = Predictor.of(model)
    exported = to_onnx(predictor, tmp_path / "photographs.onnx")
    Image.fromarray(chelsea()).save(file := BytesIO(), "PNG")
    body = file.getvalue()
    expected = predictor.probabilities(body)
    with serving(exported.path) as address:
        files = {"pictures": ("cat.png", body, "image/png")}
        (said,) = httpx.post(f"{address}/predict", files=files, trust_env=False).json()["predictions"]
    assert said["class"] == predictor(body)["class"][0]  # at 224, two kinds of cat are 0.01 apart
    shares = pd.Series(expected[0].tolist(), predictor.classes).groupby(level=0).sum()  # two are cranes
    assert said["probabilities"] == pytest.approx(shares.to_dict(), abs=1e-4)
    torch.testing.assert_close(load_onnx(exported.path).probabilities(body), expected, atol=1e-4, rtol=0)
