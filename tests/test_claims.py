"""What public docstrings say about errors is true: each claim is put to the test with wrong arguments."""

import importlib
import inspect
import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset

from dl_course import (
    data,
    deploy,
    evaluation,
    explain,
    hooks,
    images,
    metrics,
    models,
    runtime,
    scratch,
)
from dl_course.data import Pictures
from dl_course.models import TinyResNet, surgery

ROOMS = ("runtime", "images", "files", "metrics", "registry", "hooks", "data", "scratch", "models", "explain")
ROOMS += ("evaluation", "deploy")
ELSEWHERE = {  # what it takes a server, a download or a file of its own to provoke, and where that is tested
    "files.fetch": "test_files",
    "models.pretraining.pretrained": "models/test_pretraining",
    "deploy.export.to_onnx": "deploy/test_export",
    "deploy.export.quantize": "deploy/test_export",
    "deploy.service.serve": "deploy/test_service",
    "scratch.layers.Layer.backward": "scratch/test_scratch_layers",
    "evaluation.predictor.Predictor.of": "models/test_pretraining",
}


def claims():
    """Yield the name and docstring of every public function, class and method that speaks of an error."""
    for room in ROOMS:
        module = importlib.import_module(f"dl_course.{room}")
        for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
            thing = getattr(module, name)
            if not str(getattr(thing, "__module__", "")).startswith("dl_course") or not callable(thing):
                continue
            members = vars(thing).items() if inspect.isclass(thing) else ()
            methods = [member for key, member in members if not key.startswith("_")]
            for each in (thing, *methods):
                where = getattr(each, "__module__", "").removeprefix("dl_course.")
                text = getattr(each, "__doc__", None) or ""
                if re.search(r"\b(Value|Runtime|OS|FileNotFound)Error|DataUnavailable", text):
                    yield f"{where}.{getattr(each, '__qualname__', name)}"


def pictures(count=4, name="set", classes=("a", "b")):
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    return Pictures(name, images, torch.arange(count) % 2, classes, (0.0,), (1.0,))


def predictions(labels=(0, 1), ids=None):
    return evaluation.Predictions(torch.eye(2), torch.tensor(labels), ids=ids)


def captured_without_autograd():
    with torch.no_grad(), hooks.capture(nn.ReLU(), gradients=True):
        nn.ReLU()(torch.zeros(1))


def captured(model, x, **how):
    with hooks.capture(model, **how), torch.no_grad():
        model(x)


NET = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
X = torch.zeros(2, 1, 8, 8)
VALUE, RUNTIME = ValueError, RuntimeError
CASES = {
    "runtime.pick_device": [
        (VALUE, lambda p: runtime.pick_device("gpu")),
        (VALUE, lambda p: runtime.pick_device("xpu")),
    ],
    "images.open_image": [
        (VALUE, lambda p: images.open_image(b"no picture")),
        (VALUE, lambda p: images.open_image(p / "no")),
    ],
    "images.read_image": [
        (VALUE, lambda p: images.read_image(p / "no")),
        (VALUE, lambda p: images.read_image(images.Image.new("F", (2, 2)))),
    ],
    "images.channels_of": [(VALUE, lambda p: images.channels_of(images.Image.new("I", (2, 2))))],
    "metrics.recognised": [(VALUE, lambda p: metrics.recognised(torch.zeros(2, 3), torch.zeros(3)))],
    "metrics.Running.update": [
        (VALUE, lambda p: metrics.Running().update(torch.tensor(0.0), torch.zeros(2, 3), torch.zeros(3))),
    ],
    "registry.Registry.register": [(VALUE, lambda p: models.MODELS.register("resnet18"))],
    "registry.Registry.get": [
        (VALUE, lambda p: models.MODELS.get("resnet")),
        (VALUE, lambda p: models.MODELS.get(None)),
    ],
    "hooks.resolve": [(VALUE, lambda p: hooks.resolve(NET, "7"))],
    "hooks.name_of": [
        (VALUE, lambda p: hooks.name_of(NET, "7")),
        (VALUE, lambda p: hooks.name_of(NET, nn.ReLU())),
    ],
    "hooks.capture": [
        (VALUE, lambda p: captured(NET, X, layers="7")),
        (RUNTIME, lambda p: captured(NET, X, layers="0", gradients=True)),
    ],
    "data.own.CSVImageDataset": [
        (VALUE, lambda p: data.CSVImageDataset(pd.DataFrame({"file": ["a"]}))),
        (VALUE, lambda p: data.CSVImageDataset(pd.DataFrame({"file": [None], "label": [0]}))),
        (VALUE, lambda p: data.CSVImageDataset(pd.DataFrame({"file": ["a"], "label": [0]}), p)),
        (VALUE, lambda p: data.CSVImageDataset(pd.DataFrame({"file": ["a"], "label": [0]}), p, mode="HSV")),
    ],
    "data.own.folder_per_class": [(VALUE, lambda p: data.folder_per_class(p))],
    "data.labels.labels_of": [
        (VALUE, lambda p: data.labels_of(object())),
        (VALUE, lambda p: data.labels_of([])),
    ],
    "data.labels.classes_of": [
        (VALUE, lambda p: data.classes_of(ConcatDataset([pictures(), pictures(classes=("x", "y"))])))
    ],
    "data.description.describe": [
        (VALUE, lambda p: data.describe([1, 2, 3.5])),
        (VALUE, lambda p: data.describe(pictures(classes=("a",)))),
        (VALUE, lambda p: data.describe([0, 1])),
    ],
    "data.loading.Loader": [
        (VALUE, lambda p: data.loader(pictures(), 0)),
        (VALUE, lambda p: data.loader(pictures(), 2, weights=torch.ones(3))),
    ],
    "data.named.load": [
        (VALUE, lambda p: data.load("digit")),
        (VALUE, lambda p: data.load("digits", "trian")),
        (data.named.DataUnavailable, lambda p: data.load("mnist", root=p, download=False)),
    ],
    "data.splits.load_splits": [
        (VALUE, lambda p: data.load_splits(written(p, '{"a": [0], "b": [0]}'), 3)),
        (VALUE, lambda p: data.load_splits(written(p, '{"a": [0], "b": [5]}'), 3)),
    ],
    "data.splits.stratified_split": [
        (VALUE, lambda p: data.stratified_split([0, 0, 1, 1], (0.5, 0.6))),
        (VALUE, lambda p: data.stratified_split([0, 0, 1], (0.5, 0.5))),
    ],
    "scratch.losses.CrossEntropyLoss.forward": [
        (VALUE, lambda p: scratch.CrossEntropyLoss().forward(np.zeros((2, 3)), np.zeros((2, 4))))
    ],
    "scratch.losses.MSELoss.forward": [
        (VALUE, lambda p: scratch.MSELoss().forward(np.zeros((2, 3)), np.zeros(2)))
    ],
    "models.init.trained": [(VALUE, lambda p: models.trained("nothing"))],
    "models.layers.Conv2dAuto": [(VALUE, lambda p: models.Conv2dAuto(1, 1, 4))],
    "models.vit.SelfAttention": [(VALUE, lambda p: models.SelfAttention(10, 4))],
    "models.vit.VisionTransformer": [
        (VALUE, lambda p: models.VisionTransformer(image_size=30, patch_size=8)),
        (VALUE, lambda p: models.VisionTransformer(embed_dim=10, num_heads=4)),
        (VALUE, lambda p: models.VisionTransformer(image_size=16, depth=1)(torch.zeros(1, 3, 8, 8))),
    ],
    "explain.attention.attention_maps": [(VALUE, lambda p: explain.attention_maps(NET, X))],
    "explain.attention.gates": [(VALUE, lambda p: explain.gates(NET, X))],
    "explain.cam.gradcam": [
        (VALUE, lambda p: explain.gradcam(NET, X, "7")),
        (VALUE, lambda p: explain.gradcam(NET, X, "2")),
        (VALUE, lambda p: explain.gradcam(NET, X, "0", 2)),
        (VALUE, lambda p: explain.gradcam(NET, X, "0", [0])),
    ],
    "explain.noise.smoothgrad": [(VALUE, lambda p: explain.smoothgrad(NET, X, 2))],
    "explain.attack.fgsm": [
        (VALUE, lambda p: explain.fgsm(NET, X + 2, 0)),
        (VALUE, lambda p: explain.fgsm(NET, X.clamp(0, 1), 2)),
    ],
    "explain.features.features": [
        (VALUE, lambda p: explain.features(NET, X, ["7"])),
        (VALUE, lambda p: explain.features(nn.Sequential(nn.Unflatten(1, (1, -1, 1))), X, ["0"])),
    ],
    "explain.maximise.maximise": [
        (VALUE, lambda p: explain.maximise(TinyResNet(width=4), "7", 0, size=16, steps=1)),
        (VALUE, lambda p: explain.maximise(TinyResNet(width=4), "fc", 10, size=16, steps=1)),
    ],
    "explain.maps.overlay": [
        (VALUE, lambda p: explain.overlay(X + 2, X[:, 0])),
        (VALUE, lambda p: explain.overlay(X, X)),
    ],
    "explain.methods.guided_backprop": [(VALUE, lambda p: explain.guided_backprop(NET, X))],
    "evaluation.temperature.fit_temperature": [(VALUE, lambda p: evaluation.fit_temperature(predictions()))],
    "evaluation.comparison.compare": [
        (VALUE, lambda p: evaluation.compare(predictions(), predictions((1, 0))))
    ],
    "evaluation.predictions.Predictions": [
        (VALUE, lambda p: evaluation.Predictions(torch.zeros(2, 2), torch.zeros(3).long())),
        (VALUE, lambda p: predictions((0, 2))),
    ],
    "evaluation.predictions.predict": [
        (VALUE, lambda p: evaluation.predict(NET, [X])),
        (VALUE, lambda p: evaluation.predict(nn.Identity(), pictures())),
    ],
    "evaluation.predictions.Predictions.calibration": [(VALUE, lambda p: predictions().calibration(0))],
    "evaluation.predictor.Predictor": [
        (VALUE, lambda p: evaluation.Predictor(NET, classes=["a"], shape=(1, 8, 8))),
        (VALUE, lambda p: evaluation.Predictor(NET, classes=["a"])(X)),
    ],
    "evaluation.predictor.Predictor.tensors": [(VALUE, lambda p: evaluation.Predictor(NET).tensors(3))],
    "evaluation.predictor.Predictor.probabilities": [
        (VALUE, lambda p: evaluation.Predictor(NET).probabilities([]))
    ],
    "evaluation.predictor.Predictor.load": [(VALUE, lambda p: evaluation.Predictor.load(written(p, "{}")))],
    "deploy.export.load_onnx": [(VALUE, lambda p: deploy.load_onnx(written(p, "{}")))],
    "deploy.watch.drift": [(VALUE, lambda p: deploy.drift(pd.DataFrame(), pd.DataFrame()))],
    "deploy.served.ServedModel": [
        (VALUE, lambda p: deploy.ServedModel(written(p, "{}"))),
        (FileNotFoundError, lambda p: deploy.ServedModel(p / "no.onnx")),
    ],
    "deploy.service.create_app": [(VALUE, lambda p: deploy.create_app(written(p, "{}")))],
    "models.features.features": [(VALUE, lambda p: models.features(NET, [(X, torch.zeros(2))], "7"))],
    "models.surgery.freeze": [(VALUE, lambda p: surgery.freeze(NET, "7"))],
    "models.surgery.new_head": [
        (VALUE, lambda p: surgery.new_head(NET, 1)),
        (VALUE, lambda p: surgery.new_head(nn.ReLU(), 3)),
    ],
    "models.surgery.rates_by_depth": [(VALUE, lambda p: surgery.rates_by_depth(NET, 0.1, 2.0))],
}


def written(folder, text):
    (folder / "file").write_text(text)
    return folder / "file"


@pytest.mark.parametrize("claim", CASES)
def test_what_a_docstring_says_is_raised_is_raised_with_words(claim, tmp_path):
    for kind, wrong in CASES[claim]:
        with pytest.raises(kind) as raised:
            wrong(tmp_path)
        assert type(raised.value) is kind and len(str(raised.value)) > 10


def test_every_claim_of_these_rooms_is_tested_here_or_elsewhere():
    assert set(claims()) - CASES.keys() - ELSEWHERE.keys() == set()
