"""The layer explorer without a kernel: every choice, what it draws, and what it refuses."""

import asyncio
import base64
import io
import threading
from datetime import datetime

import ipywidgets as widgets
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from PIL import Image
from torch import nn
from torchvision.ops import Permute

from dl_course import data, models
from dl_course.runtime import preserved_rng
from dl_course.widgets import LayerExplorer
from dl_course.widgets.views import VIEWS

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CLASSES = ["cat", "dog", "cow", "hen"]


class Net(nn.Module):
    """An in-place ReLU called twice, a layer that is never called, and one that puts out a pair."""

    def __init__(self):
        super().__init__()
        self.first, self.relu = nn.Conv2d(3, 10, 3, padding=1), nn.ReLU(inplace=True)
        self.second, self.norm = nn.Conv2d(10, 6, 1), nn.BatchNorm2d(6)
        self.unused, self.pair = nn.Conv2d(3, 3, 3), nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.relu(self.first(x))
        x = self.relu(self.norm(self.second(x)))
        self.pair(x.flatten(2).transpose(1, 2))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def net():
    with preserved_rng(0):
        return Net()


@pytest.fixture
def images():
    return torch.rand(3, 3, 20, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def explorer(net, images):
    return LayerExplorer(net.eval(), images, CLASSES, transform={"mean": MEAN, "std": STD})


def wanted(images):
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def tiles(figure):
    """The picture that a grid of tiles was drawn as."""
    return figure.axes[0].images[0].get_array()


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


CHOICES = [
    ({"layer": "relu"}, {"layer": "relu"}),
    ({"pictures": 2}, {"picture": 2}),
    *(({"view": view}, {"view": view}) for view in VIEWS),
    ({"view": "gradcam", "target": "hen"}, {"view": "gradcam", "target": "hen"}),
    ({"view": "gradcam", "target": "3"}, {"view": "gradcam", "target": 3}),
    ({"view": "gradcam", "strength": 0.9}, {"view": "gradcam", "strength": 0.9}),
    ({"kind": "Linear"}, {"layer": "head"}),
    ({"search": "norm"}, {"layer": "norm"}),
    ({"kind": "Linear", "search": "norm"}, {"layer": "norm"}),
]  # fmt: skip


@pytest.mark.parametrize("chosen, meant", CHOICES)
def test_what_is_chosen_is_shown_as_python_draws_it(explorer, chosen, meant):
    before = explorer.image.value
    for name, value in chosen.items():
        getattr(explorer, name).value = value
    assert explorer.image.value == explorer.show(**{"layer": "first"} | meant)._repr_png_()
    assert explorer.image.value != before or meant == {"view": "features"}
    assert explorer.image.layout.display is None
    assert explorer.status.value.startswith(
        f"{meant.get('layer', 'first')}, picture {meant.get('picture', 0)}: "
    )


def test_class_and_overlay_are_offered_with_grad_cam_alone(explorer):
    offered = {}
    for view in VIEWS:
        explorer.view.value = view
        offered[view] = explorer.gradcam.layout.display != "none"
    assert offered == dict.fromkeys(VIEWS, False) | {"gradcam": True}


def test_layers_are_grouped_by_kind_in_their_order(explorer):
    assert [label for label, _ in explorer.kind.options] == [
        "all (7)", "Conv2d (3)", "ReLU (1)", "BatchNorm2d (1)", "LSTM (1)", "Linear (1)",
    ]  # fmt: skip
    explorer.kind.value = "Conv2d"
    assert explorer.layer.options == ("first", "second", "unused")
    explorer.search.value = "head"
    assert (explorer.kind.value, explorer.layer.value, explorer.search.value) == ("", "head", "")


def test_feature_maps_are_the_layers_output_before_what_works_on_it_in_place(explorer, net, images):
    drawn = tiles(explorer.show("first", picture=1))
    with torch.no_grad():
        maps = net.first(wanted(images[1:2]))[0].numpy()
    assert maps.min() < 0
    for index in (0, 7, 9):
        top, left = (drawn.shape[0] // 2) * (index // 8), (drawn.shape[1] // 8) * (index % 8)
        tile = drawn[top : top + drawn.shape[0] // 2, left : left + drawn.shape[1] // 8]
        np.testing.assert_allclose(
            np.ma.compressed(np.ma.masked_invalid(tile)), maps[index].ravel(), rtol=1e-5
        )


def test_of_a_layer_called_twice_the_last_output_is_drawn(explorer):
    assert "relu (ReLU)\nputs out 6 × 20 × 28" in explorer.show("relu").get_suptitle()


def test_channels_that_come_last_are_drawn_as_the_maps_they_are():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, stride=2)
    explorer = LayerExplorer(nn.Sequential(conv, Permute([0, 2, 3, 1])), torch.rand(1, 3, 33, 25))
    first, last = (explorer.show(layer).axes[0] for layer in ("0", "1"))
    assert first.get_title() == last.get_title() == "4 of 4 channels"
    np.testing.assert_array_equal(*(ax.images[0].get_array() for ax in (first, last)))


def test_units_and_tokens_are_drawn_as_matrices(explorer, net, images):
    with torch.no_grad():
        scores = net(wanted(images[:1])).numpy()
    np.testing.assert_allclose(tiles(explorer.show("head")), scores, rtol=1e-5)
    assert tiles(explorer.show("pair")).shape == (20 * 28, 5)


def test_kernels_are_the_weights(explorer, net):
    colours = tiles(explorer.show("first", view="kernels"))[-3:, :3]  # the second row begins with kernel 8
    weight = net.first.weight.detach()
    np.testing.assert_allclose(
        colours, 0.5 + weight[8].permute(1, 2, 0) / (2 * weight.abs().max()), rtol=1e-6
    )
    np.testing.assert_array_equal(
        tiles(explorer.show("second", view="kernels")), net.second.weight.detach()[:, :, 0, 0]
    )
    np.testing.assert_array_equal(tiles(explorer.show("head", view="kernels")), net.head.weight.detach())


@pytest.mark.parametrize("target, number", [("cow", 2), (3, 3), (None, None)])
def test_grad_cam_is_captums_laid_over_the_picture_that_was_given(explorer, net, images, target, number):
    figure = explorer.show("first", view="gradcam", picture=1, target=target, strength=0.25)
    inputs = wanted(images[1:2])
    number = net(inputs).argmax().item() if number is None else number
    heat = LayerGradCam(net, net.first).attribute(inputs, number, relu_attributions=True)[0, 0].detach()
    heat = heat / heat.max().clamp(min=1e-12)  # the layer has the picture's size
    colours = torch.from_numpy(matplotlib.colormaps["viridis"](heat.numpy())[..., :3])
    laid = 0.75 * images[1].permute(1, 2, 0) + 0.25 * colours
    left, right = tiles(figure)[-20:, :28], tiles(figure)[-20:, -30:-2]
    np.testing.assert_allclose(left, images[1].permute(1, 2, 0), atol=1e-6)
    np.testing.assert_allclose(right, laid, atol=0.01)
    assert f"'{CLASSES[number]}'" in figure.get_suptitle()
    assert ("as predicted" in figure.get_suptitle()) == (target is None)


@pytest.mark.parametrize("view", ["histogram", "statistics"])
def test_the_figures_in_words_are_those_of_the_output(explorer, net, images, view):
    with torch.no_grad():
        y = F.relu(net.first(wanted(images[:1])))
    words = explorer.show("relu", view=view).get_suptitle()
    assert f"mean {y.mean():.3g} · std {y.std(correction=0):.3g} · min 0 · max {y.max():.3g}" in words
    assert f"{(y == 0).double().mean():.0%} zero" in words


@pytest.mark.parametrize("view", ["histogram", "statistics", "features"])
def test_a_network_in_training_is_looked_at_as_it_will_be_used(explorer, net, view):
    at_rest = explorer.show("norm", view=view)._repr_png_()
    net.train()
    assert explorer.show("norm", view=view)._repr_png_() == at_rest


def test_a_histogram_fills_its_axes_or_has_a_row_for_each_call(explorer):
    def names(layer):
        labels = explorer.show(layer, view="histogram").axes[0].get_yticklabels()
        return [label.get_text() for label in labels]

    assert names("first") == [] and names("relu") == ["relu", "relu #2"]


def test_statistics_stand_beside_layers_of_the_kind_with_the_chosen_one_in_bold(explorer, net, images):
    labels = explorer.show("second", view="statistics").axes[0].get_yticklabels()
    assert [(label.get_text(), label.get_fontweight()) for label in labels] == [
        ("first", "normal"),
        ("second", "bold"),
    ]


def test_of_a_deep_network_5_layers_of_the_kind_fit(images):
    deep = nn.Sequential(*(nn.ReLU() for _ in range(40)))
    labels = LayerExplorer(deep, images).show("30", view="statistics").axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [str(place) for place in range(28, 33)]


REFUSED = [
    ("relu", "kernels", "relu (ReLU) has no kernels of its own; take a convolution or a linear layer"),
    ("unused", "features", "unused (Conv2d) put out (0,) for this picture"),
    ("unused", "statistics", "unused (Conv2d) put out no numbers for this picture"),
    ("unused", "gradcam", "layer 'unused' is not called"),
    ("head", "gradcam", "layer 'head' has no spatial output"),
]


@pytest.mark.parametrize("layer, view, why", REFUSED)
def test_a_layer_that_cannot_give_a_view_says_why_in_the_widget_and_raises_in_python(
    explorer, layer, view, why
):
    with pytest.raises(ValueError, match="(?s)" + why.replace("(", r"\(").replace(")", r"\)")):
        explorer.show(layer, view=view)
    explorer.layer.value, explorer.view.value = layer, view
    assert why in explorer.status.value
    assert (explorer.image.value, explorer.image.layout.display) == (b"", "none")
    assert "image/png" not in explorer._repr_mimebundle_()
    explorer.layer.value, explorer.view.value = "first", "features"
    assert explorer.image.value == explorer.show("first")._repr_png_()


def test_of_a_block_a_layer_inside_is_suggested_that_has_kernels(images):
    explorer = LayerExplorer(nn.Sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 3))), images)
    with pytest.raises(ValueError, match=r"0 \(Sequential\) has no kernels of its own; take '0\.1' in it"):
        explorer.show("0", view="kernels")


@pytest.mark.parametrize(
    "wrong, why",
    [
        ({"layer": "frist"}, "unknown layer 'frist'; did you mean 'first'"),
        ({"layer": "first", "view": "grad-cam"}, "unknown view 'grad-cam'; did you mean 'gradcam'"),
        ({"layer": "first", "picture": 3}, "pictures 0 to 2; given 3"),
        ({"layer": "first", "picture": -1}, "pictures 0 to 2; given -1"),
        ({"layer": "first", "view": "gradcam", "target": "hat"}, "unknown class 'hat'; did you mean 'cat'"),
        ({"layer": "first", "view": "gradcam", "target": 4}, "classes 0 to 3; given 4"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_by_name(explorer, wrong, why):
    with pytest.raises(ValueError, match=why):
        explorer.show(**wrong)


def test_a_name_that_is_not_found_and_a_class_that_is_none_are_answered_in_the_widget(explorer):
    shown = explorer.image.value
    explorer.search.value = "frist"
    assert "did you mean 'first'" in explorer.status.value and explorer.image.value == shown
    explorer.view.value, explorer.target.value = "gradcam", "hat"
    assert "did you mean 'cat'" in explorer.status.value


def test_an_error_of_the_model_is_said_in_short_and_without_a_traceback(images):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("flood " * 500)

    explorer = LayerExplorer(nn.Sequential(Broken()), images)
    assert "flood" in explorer.status.value and len(explorer.status.value) <= 300


def test_a_map_that_is_nowhere_positive_says_so_beside_the_picture(images):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 20 * 28, 2))
    nn.init.constant_(model[0].weight, 1.0)
    nn.init.zeros_(model[0].bias)  # else by chance all maps are negative
    nn.init.constant_(model[2].weight, -1.0)
    explorer = LayerExplorer(model, images)
    explorer.view.value = "gradcam"
    assert explorer.image.value and "nothing speaks for the class" in explorer.status.value


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind_in_the_model_the_random_state_or_pyplot(net, images, training):
    net.train(training)
    net.relu.train(not training)
    net.head.weight.requires_grad_(False)
    net.first.weight.grad = torch.ones_like(net.first.weight)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flags, random = [module.training for module in net.modules()], torch.random.get_rng_state()
    figures = plt.get_fignums()
    explorer = LayerExplorer(net, images, CLASSES)
    for layer in explorer.kinds:
        explorer.layer.value = layer
        for view in ("kernels", "gradcam", "statistics", "features"):
            explorer.view.value = view
    assert all(tensor.equal(before[name]) for name, tensor in net.state_dict().items())
    assert [module.training for module in net.modules()] == flags
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["first.weight"]
    assert (net.first.weight.grad == 1).all() and not net.head.weight.requires_grad
    assert torch.random.get_rng_state().equal(random)
    assert plt.get_fignums() == figures and torch.is_grad_enabled()


def test_choices_made_while_the_kernel_is_busy_are_drawn_once_the_last_of_them(net, images):
    drawn = []

    async def session():
        explorer = LayerExplorer(net.eval(), images, CLASSES)
        explorer.show = lambda *args, **how: (
            drawn.append((threading.current_thread(), args)) or LayerExplorer.show(explorer, *args, **how)
        )
        subshell = threading.Thread(
            target=lambda: [setattr(explorer.layer, "value", name) for name in explorer.kinds]
        )
        subshell.start()
        subshell.join()  # as a cell that runs: the loop is not free
        explorer.layer.value = "norm"
        assert explorer.status.value == "drawing …" and drawn == []
        await asyncio.sleep(0.1)
        explorer.view.value = "statistics"
        await asyncio.sleep(0.1)
        return explorer

    explorer = asyncio.run(session())
    assert drawn == [(threading.main_thread(), ("norm", view)) for view in ("features", "statistics")]
    assert explorer.image.value == LayerExplorer.show(explorer, "norm", "statistics")._repr_png_()


def test_a_notebook_keeps_a_picture_beside_the_widget(explorer):
    bundle = explorer._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == explorer.image.value
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert (
        bundle["text/plain"]
        == repr(explorer)
        == "LayerExplorer: Net, 7 layers, 3 pictures; show(layer, view)"
    )


def test_a_figure_shows_itself_and_its_labels_lie_within(explorer):
    for layer, view in [
        ("first", "statistics"),
        ("first", "histogram"),
        ("head", "features"),
        ("head", "kernels"),
    ]:
        figure = explorer.show(layer, view=view)
        pixels = decoded(figure._repr_png_())
        assert (pixels[:, [0, -1]] == 255).all() and (pixels[[0, -1]] == 255).all(), (layer, view)


def test_a_name_longer_than_the_figure_does_no_harm(images):
    model = nn.Sequential()
    model.add_module("x" * 200, nn.ReLU())
    assert LayerExplorer(model, images).show("x" * 200, view="statistics")._repr_png_()


def descendants(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def test_no_chooser_is_a_dropdown_whose_arrow_keys_jupyterlab_eats(explorer):
    assert not any(isinstance(widget, widgets.Dropdown) for widget in descendants(explorer))


def test_every_chooser_can_be_found_by_its_class(explorer):
    found = {name for widget in descendants(explorer) for name in widget._dom_classes}
    names = "pictures upload kind layer search view target strength status image"
    assert found >= {f"explorer-{name}" for name in names.split()}


def uploaded(explorer, picture, kind="PNG", name="mine"):
    file = io.BytesIO()
    picture.save(file, kind) if isinstance(picture, Image.Image) else file.write(picture)
    upload = {
        "name": name,
        "type": "",
        "size": 1,
        "last_modified": datetime(2026, 1, 1),
        "content": memoryview(file.getvalue()),
    }
    explorer.upload.value = (upload,)


def test_an_uploaded_picture_is_fitted_and_shown(explorer):
    picture = Image.new("RGBA", (280, 400), (255, 0, 0, 255))
    picture.paste((0, 0, 255, 255), (0, 100, 280, 300))  # the part in the middle that has the others' shape
    uploaded(explorer, picture)
    assert explorer.pictures.value == 3 and explorer.images[3].shape == (3, 20, 28)
    torch.testing.assert_close(
        explorer.images[3], torch.tensor([0.0, 0, 1])[:, None, None].expand(3, 20, 28), atol=0.1, rtol=0
    )
    assert explorer.image.value == explorer.show("first", picture=3)._repr_png_()
    assert explorer.sheet.value.count("data:image/png") == 4


def test_an_uploaded_picture_becomes_gray_where_the_others_are(images):
    explorer = LayerExplorer(nn.Sequential(nn.Conv2d(1, 2, 3)), images[:, :1])
    uploaded(explorer, Image.new("RGB", (28, 20), (255, 255, 255)), "JPEG")
    torch.testing.assert_close(explorer.images[3], torch.ones(1, 20, 28), atol=1e-3, rtol=0)


def test_an_uploaded_file_that_is_no_picture_is_refused_in_the_widget(explorer):
    uploaded(explorer, b"not a picture", name="notes.txt")
    assert explorer.status.value.startswith(
        "notes.txt: this can't be read as a picture: its format is unknown"
    )
    assert len(explorer.images) == 3 and explorer.pictures.value == 0


def test_thumbnails_are_the_pictures_middles(explorer, images):
    for number, encoded in enumerate(explorer.sheet.value.split("base64,")[1:]):
        small = torch.from_numpy(decoded(base64.b64decode(encoded.partition(")")[0]))).permute(2, 0, 1) / 255
        assert small.shape == (3, 48, 48)
        distances = F.interpolate(small[None], (20, 20), mode="area") - images[..., 4:24]
        assert distances.abs().mean((1, 2, 3)).argmin() == number


def test_a_data_set_brings_its_pictures_and_classes(net):
    digits = data.load("digits").subset(slice(0, 2))
    explorer = LayerExplorer(nn.Sequential(nn.Conv2d(1, 2, 3)), digits)
    assert explorer.names == [str(name) for name in digits.classes] and explorer.target.options == tuple(
        explorer.names
    )
    torch.testing.assert_close(torch.stack(explorer.images), digits.tensors()[0])


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 2, 8, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.full((1, 3, 8, 8), 1.5), torch.full((1, 3, 8, 8), torch.nan), torch.zeros(1, 3, 0, 8),
        torch.zeros(0, 3, 8, 8), [],
    ],
)  # fmt: skip
def test_images_that_are_none_are_refused(net, images):
    with pytest.raises(ValueError, match="no images|images are .* given: .*torch"):
        LayerExplorer(net, images)


def test_pictures_may_differ_in_size(net):
    explorer = LayerExplorer(
        net, [torch.rand(3, 8, 8), torch.rand(3, 12, 9).half().float()], transform=lambda x: 1 - x
    )
    assert "10 × 12 × 9" in explorer.show("first", picture=1).get_suptitle()


@pytest.mark.parametrize("view", VIEWS)
def test_a_model_may_be_one_layer_a_double_or_a_block_with_dict_output(images, view):
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return {"scores": self.body(x).mean((2, 3))}

    lone = LayerExplorer(nn.Conv2d(3, 2, 3), images)
    assert lone.layer.value == "" and (lone.show("", view) if view != "gradcam" else True)
    double = LayerExplorer(Scores().double(), images, transform=lambda x: x.double())
    assert double.show("body", view)._repr_png_()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("view", VIEWS)
def test_a_model_stays_on_its_device(net, images, view):
    explorer = LayerExplorer(net.cuda(), images, CLASSES)
    explorer.view.value = view
    assert explorer.image.value and net.first.weight.is_cuda


@pytest.mark.parametrize("view", VIEWS)
def test_the_courses_own_network_gives_every_view_of_its_last_stage(view):
    explorer = LayerExplorer(models.trained("tinyresnet-shapes"), torch.rand(1, 3, 64, 64))
    explorer.layer.value, explorer.view.value = "stage3.conv1", view
    assert explorer.image.value


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision_can_be_looked_into(net, images, dtype, view):
    explorer = LayerExplorer(net.eval().to(dtype), images, CLASSES)
    assert explorer.show("second", view)._repr_png_()
