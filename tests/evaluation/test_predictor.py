"""The predictor: one picture in every dress, one answer; what can't be read is refused; files are inert."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import v2

from dl_course import data
from dl_course.evaluation import Predictor
from dl_course.models import MODELS, model_card, trained

NAME = "simplecnn-digits"
NORMALIZE = {"name": "normalize", **model_card(NAME)["normalize"]}


@pytest.fixture(scope="module")
def reader():
    about = model_card(NAME)
    return Predictor(
        trained(NAME), NORMALIZE, about["classes"], shape=(1, 28, 28), architecture=about["model"]
    )


@pytest.fixture(scope="module")
def digit():
    return data.load("digits", "test").images[3]  # (1, 28, 28) uint8


def test_a_picture_in_every_dress_gives_one_answer(reader, digit, tmp_path):
    pil = Image.fromarray(digit[0].numpy())
    pil.save(tmp_path / "digit.png")
    wide = Image.fromarray(digit[0].numpy().astype(np.uint16) * 257)  # 16 bits a pixel
    wide.save(tmp_path / "wide.png")
    dresses = [
        digit, digit[None], digit[0], digit / 255, digit.numpy()[0], digit.numpy()[0] / 255, pil,
        pil.convert("RGB"), pil.convert("RGBA"), digit.expand(3, -1, -1), np.asarray(pil.convert("RGB")),
        tmp_path / "digit.png", str(tmp_path / "digit.png"), tmp_path / "wide.png", [digit], (pil,),
    ]  # fmt: skip
    expected = trained(NAME)(v2.Normalize(NORMALIZE["mean"], NORMALIZE["std"])(digit[None] / 255)).softmax(1)
    for dress in dresses:
        torch.testing.assert_close(reader.probabilities(dress), expected.detach(), atol=2e-3, rtol=0)
    assert reader.probabilities(dresses).shape == (len(dresses), 10)


def test_white_is_one_in_every_type():
    white = Image.new("L", (2, 2), 255)
    for picture in (
        white,
        np.asarray(white),
        torch.full((1, 2, 2), 255, dtype=torch.uint8),
        torch.ones(1, 2, 2),
    ):
        assert (Predictor(nn.Identity()).tensors(picture) == 1).all()


def test_it_names_digits_as_well_as_its_card_says(reader):
    digits = data.load("digits", "test")
    answers = reader(digits.images)
    right = np.mean([int(name) for name in answers["class"]] == digits.labels.numpy())
    assert right == pytest.approx(model_card(NAME)["figures"]["test"]["accuracy"], abs=0.003)
    assert answers["confidence"].between(0, 1).all()


def test_other_sizes_and_colours_are_brought_to_the_networks_shape():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.new_zeros(len(x), 2)

    Predictor(Spy(), shape=(3, 8, 10))([torch.rand(1, 16, 20), Image.new("L", (5, 4), 255)])
    assert seen[0].shape == (2, 3, 8, 10)
    torch.testing.assert_close(seen[0][1], torch.ones(3, 8, 10))
    assert seen[0][0].std(0).max() == 0  # grey became three equal channels


def test_a_photograph_is_held_as_the_camera_was():
    picture = Image.new("L", (4, 2))
    picture.putpixel((0, 0), 255)
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    file = io.BytesIO()
    picture.save(file, "png", exif=exif)
    tensor = Predictor(nn.Identity()).tensors(Image.open(file))
    assert tensor.shape == (1, 1, 4, 2) and tensor[0, 0, 0, 1] == 1


@pytest.mark.parametrize(
    ("pictures", "what"),
    [
        ("nowhere.png", r"nowhere\.png can't be read as a picture: it is not there"),
        (None, "given: NoneType"),
        (3.5, "given: float"),
        ([], "no picture was given"),
        (np.zeros(4), r"given: ndarray \(4,\)"),
        (np.zeros((3, 8, 8)), r"1 or 3 channels; given: \(8, 3, 8\)"),
        (torch.zeros(4, 8, 8), r"1 or 3 channels; given: \(4, 8, 8\)"),
        (torch.full((1, 8, 8), 7.0), r"lies in \[0, 1\]; given: 7 … 7"),
        (torch.full((1, 8, 8), torch.nan), r"lies in \[0, 1\]"),
        (Image.new("F", (8, 8)), "mode F doesn't say what is white"),
        ([torch.zeros(1, 8, 8), torch.zeros(1, 9, 9)], "several shapes"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(pictures, what):
    with pytest.raises(ValueError, match=what):
        Predictor(nn.Identity()).tensors(pictures)


def test_a_file_that_is_no_picture_is_refused(tmp_path, digit):
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(digit[0].numpy()).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-40])
    for name in ("text.png", "cut.png"):
        with pytest.raises(ValueError, match=f"{name} can't be read"):
            Predictor(nn.Identity()).tensors(tmp_path / name)


def test_the_networks_mode_comes_back(reader, digit):
    reader.model.train()
    reader.model.stage1.eval()
    reader(digit)
    assert reader.model.training and not reader.model.stage1.training
    reader.model.eval()


def test_what_is_saved_is_loaded_in_one_file(reader, digit, tmp_path):
    reader.save(tmp_path / "reader.safetensors")
    loaded = Predictor.load(tmp_path / "reader.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["reader.safetensors"]
    assert loaded.classes == reader.classes and loaded.shape == (1, 28, 28)
    assert loaded.probabilities(digit).equal(reader.probabilities(digit))


def test_the_transform_that_the_registry_built_is_saved_by_its_configuration(tmp_path, digit):
    normalize = data.TRANSFORMS.build(NORMALIZE)
    first = Predictor({"name": "simplecnn", "width": 4}, normalize)
    first.save(tmp_path / "a")
    assert Predictor.load(tmp_path / "a").tensors(digit).equal(first.tensors(digit))


def test_a_learners_own_network_comes_with_its_class(tmp_path, digit):
    class Own(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(784, 10))
            self[1].weight.data[1] = self[1].weight.data[0]

    first = Predictor(Own(), classes="0123456789")
    first.save(tmp_path / "own")
    with pytest.raises(ValueError, match=r"load\(path, model=YourNetwork\(\)\)"):
        Predictor.load(tmp_path / "own")
    assert Predictor.load(tmp_path / "own", Own()).probabilities(digit).equal(first.probabilities(digit))
    with pytest.raises(ValueError, match="are not those of SimpleCNN"):
        Predictor.load(tmp_path / "own", MODELS.build("simplecnn"))


def test_a_transform_that_no_configuration_describes_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="is saved by its configuration"):
        Predictor(nn.Linear(1, 1), lambda x: x).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_refused_and_no_pickle_is_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("owned").touch, ())

    (tmp_path / "pickle").write_bytes(pickle.dumps(Evil()))
    torch.save({"a": torch.zeros(1)}, tmp_path / "torch")
    save_file({"a": torch.zeros(1)}, tmp_path / "bare")
    for name in ("pickle", "torch", "bare"):
        with pytest.raises(ValueError, match=rf"{name} was not written by Predictor\.save"):
            Predictor.load(tmp_path / name)
    assert not (tmp_path / "owned").exists()
    with pytest.raises(FileNotFoundError):
        Predictor.load(tmp_path / "nothing")


def test_names_and_outputs_that_differ_in_number_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="2 names of classes for 10 outputs"):
        Predictor({"name": "simplecnn"}, classes=["a", "b"], shape=(1, 28, 28))
    anywhere = Predictor({"name": "simplecnn"}, classes=["a", "b"])  # without a shape nothing can be run
    with pytest.raises(ValueError, match="2 names of classes for 10 outputs"):
        anywhere(torch.zeros(1, 28, 28))


def test_trying_the_network_at_once_leaves_mode_statistics_and_random_numbers_as_they_were():
    model = MODELS.build("simplecnn").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    Predictor(model, v2.RandomErasing(1.0), classes=tuple("abcdefghij"), shape=(1, 28, 28))
    assert torch.rand(1) == first and model.training
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_outputs_that_are_no_logits_are_refused_by_name():
    with pytest.raises(ValueError, match=r"must give logits \(1, C\); it gave: \(1, 1, 4, 4\)"):
        Predictor(nn.Identity())(torch.zeros(1, 4, 4))


class Mean(nn.Module):
    """Two logits from the mean of each picture; remembers how many came at once."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        return x.mean((1, 2, 3))[:, None] * self.weight


def test_many_pictures_are_predicted_in_batches():
    model, pictures = Mean(), torch.rand(10, 1, 4, 4)
    predictor = Predictor(model, batch_size=4)
    assert predictor.probabilities(pictures).shape == (10, 2) and model.sizes == [4, 4, 2]
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size={size}"):
            Predictor(model, batch_size=size)


def test_arrays_with_channels_last_come_in_batches_too():
    pictures = np.random.default_rng(0).random((5, 6, 7, 3), np.float32)
    tensors = Predictor(nn.Identity()).tensors(pictures)
    np.testing.assert_array_equal(tensors, pictures.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        Predictor(nn.Identity()).tensors(pictures.transpose(0, 3, 1, 2))


def test_bytes_and_open_files_are_pictures(digit):
    Image.fromarray(digit[0].numpy()).save(file := io.BytesIO(), "png")
    tensors = Predictor(nn.Identity()).tensors([file, file.getvalue(), digit])
    assert tensors[0].equal(tensors[1]) and tensors[0].equal(tensors[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision_predicts(dtype, digit):
    model = MODELS.build("simplecnn").eval()
    expected = Predictor(model).probabilities(digit)
    found = Predictor(copy.deepcopy(model).to(dtype)).probabilities(digit)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_what_torchvision_prepares_pictures_with_is_saved_and_read_back(tmp_path):
    from torchvision import transforms as v1

    steps = [v2.Compose([v2.Resize((9, 8)), v1.CenterCrop(8)]), v1.Normalize([0.2], [0.3])]
    first = Predictor({"name": "simplecnn"}, steps)
    first.save(tmp_path / "a.safetensors")
    second = Predictor.load(tmp_path / "a.safetensors")
    pictures = torch.rand(2, 1, 20, 30)
    assert second.tensors(pictures).shape == (2, 1, 8, 8)
    assert second.tensors(pictures).equal(first.tensors(pictures))
    assert second.tensors(pictures).equal(v2.Compose(steps)(pictures))
