import copy

import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models
from torchvision.ops import Permute

from dl_course import data
from dl_course.explain import gradcam, gradcam_classes, pointing_game
from dl_course.models import model_card, trained
from dl_course.runtime import preserved_rng

LAYERS = {
    "resnet18": ("bn1", "layer2.0.conv1", "layer4"),
    "vgg11": ("0.0", "0.11", "0.18"),
    "densenet121": ("features.norm0", "features.denseblock2", "features.norm5"),
    "mobilenet_v3_small": ("features.0.1", "features.4", "features.12"),
    "efficientnet_b0": ("features.0", "features.3.0", "features.8"),
    "squeezenet1_1": ("features.0", "features.6.expand3x3", "features.12"),
}


class Cam(nn.Module):
    """A convolution, the mean of its maps, a linear layer: Grad-CAM is then CAM, weights times maps."""

    def __init__(self, channels=4, classes=3):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.relu, self.unused = nn.ReLU(inplace=True), nn.Conv2d(3, channels, 1)
        self.lstm, self.fc = nn.LSTM(channels, channels, batch_first=True), nn.Linear(channels, classes)

    def forward(self, x):
        aside = self.unused(x)
        x = self.relu(self.norm(self.conv(x)))
        self.lstm(x.flatten(2).transpose(1, 2))
        return self.fc(x.mean((2, 3))) + 0 * aside.detach().sum()


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((1, 2))


def made(build, seed=0):
    with preserved_rng(seed):
        return build()


def vgg11():
    features = models.vgg.make_layers(models.vgg.cfgs["A"])
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(2048, 20))


def network(name):
    return made(vgg11 if name == "vgg11" else lambda: models.get_model(name, num_classes=20)).eval()


def small_vit():
    return models.VisionTransformer(64, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=5)


def pictures(count, height=64, width=64, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def captums(model, x, layer, target):
    return LayerGradCam(model, model.get_submodule(layer)).attribute(x, target)[:, 0].detach()


@pytest.mark.parametrize("name", LAYERS)
def test_the_signed_map_equals_captums(name):
    model = network(name)
    for layer in LAYERS[name]:
        for batch, height, width in [(1, 65, 97), (3, 48, 32), (16, 32, 40)]:
            x, target = pictures(batch, height, width), torch.arange(batch)
            ours = gradcam(model, x, layer, target, normalize=False)
            assert (ours - captums(model, x, layer, target)).abs().max() <= 1e-6, (layer, batch)


@pytest.mark.parametrize("layer", ["layer2", "layer4"])
def test_the_map_equals_pytorch_grad_cams_after_min_max(layer):
    theirs = pytest.importorskip(
        "pytorch_grad_cam", reason="comes with the extra 'bench'", exc_type=ImportError
    )
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = network("resnet18"), pictures(3, 64, 96)
    ours = gradcam(model, x, layer, [1, 2, 3])
    other = copy.deepcopy(model)
    with theirs.GradCAM(other, [getattr(other, layer)]) as cam:
        reference = torch.from_numpy(cam(x, [ClassifierOutputTarget(c) for c in (1, 2, 3)]))
    low = ours.amin((1, 2), keepdim=True)
    torch.testing.assert_close((ours - low) / (1 - low), reference, atol=1e-5, rtol=0)


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_on_a_network_with_a_mean_it_is_cam(batch, height, width, seed):
    model, x = made(Cam, seed).eval(), pictures(batch, height, width, seed)
    maps = model.norm(model.conv(x)).relu()  # (N, 4, H, W)
    cam = torch.einsum("nkhw,nk->nhw", maps, model.fc.weight[model(x).argmax(1)]) / (height * width)
    torch.testing.assert_close(gradcam(model, x, "relu", normalize=False), cam.detach(), atol=1e-6, rtol=1e-4)


def test_a_normalized_map_is_the_positive_part_enlarged_without_aligned_corners_with_peak_1():
    model, x = network("resnet18"), pictures(4, 96, 70)
    raw = gradcam(model, x, "layer3", normalize=False)
    large = F.interpolate(raw.relu()[:, None], (96, 70), mode="bilinear", align_corners=False)[:, 0]
    assert raw.shape == (4, 6, 5) and (raw < 0).any()
    torch.testing.assert_close(gradcam(model, x, "layer3"), large / large.amax((1, 2), keepdim=True))


def test_where_nothing_speaks_for_the_class_the_map_is_zero_and_a_warning_says_which():
    model, x = made(Cam).eval(), pictures(3, 8, 8)
    nn.init.constant_(model.fc.weight[1], -1)
    with torch.no_grad():
        model.fc.weight[0], model.fc.weight[1] = 1, -1
    with pytest.warns(UserWarning, match=r"Grad-CAM at 'relu': nothing speaks .* maps \[0, 2\]") as said:
        maps = gradcam(model, x, "relu", [1, 0, 1])
    assert said[0].filename == __file__
    assert maps[[0, 2]].eq(0).all() and maps[1].max() == 1


def test_the_target_is_one_class_one_a_picture_or_the_predicted():
    model, x = network("resnet18"), pictures(3)
    predicted = model(x).argmax(1)
    default = gradcam(model, x, "layer4")
    for target in (predicted, predicted.tolist(), predicted.int()):
        assert torch.equal(gradcam(model, x, "layer4", target), default)
    assert torch.equal(gradcam(model, x, "layer4", 7), gradcam(model, x, "layer4", [7, 7, 7]))
    assert not torch.equal(gradcam(model, x, "layer4", 7), gradcam(model, x, "layer4", 8))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([1, 2], "one for each of 3 pictures; given"),
        ([[1, 2, 3]], "one for each of 3 pictures"),
        ([0.5, 1, 2], "target must be one class"),
        (20, "classes 0 to 19; given 20"),
        ([0, -1, 2], "classes 0 to 19"),
    ],
)
def test_targets_that_are_no_classes_are_refused(target, message):
    with pytest.raises(ValueError, match=message):
        gradcam(network("resnet18"), pictures(3), "layer4", target)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.cam = made(Cam)

    def forward(self, x):
        return {"logits": self.cam(x), "probabilities": self.cam(x).softmax(1)}


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (models.resnet18, "layer4.1.relu", r"puts out 2 tensors in one run: try the block around it"),
        (models.resnet18, "fc", r"'fc' has no spatial output \(N, C, h, w\) but \(1, 1000\): give"),
        (models.resnet18, "layer4.1.conv", r"unknown layer .*did you mean 'layer4.1.conv[12]'"),
        (Cam, "lstm", "'lstm' puts out 3 tensors"),
        (Cam, "unused", "scores do not depend on layer 'unused'"),
        (Two, "cam.conv", "'cam.conv' puts out 2 tensors"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2)), "0", r"one tensor of scores.*, 3844\)"),
        (small_vit, "encoder.layers", r"no spatial output.*\(1, 17, 8\)"),
        (small_vit, "encoder.layers.encoder_layer_0.self_attention.out_proj", "not called when Vision"),
        (models.swin_t, "features.7", r"no spatial output.*\(1, 2, 2, 768\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_refused_by_name(model, layer, message):
    with pytest.raises(ValueError, match=message):
        gradcam(made(model), pictures(1), layer)


def test_tokens_and_channels_last_are_taken_with_a_reshape():
    vit = made(small_vit).eval()
    nn.init.normal_(vit.heads.head.weight, generator=torch.Generator().manual_seed(0))
    x, layer = pictures(2), "encoder.layers.encoder_layer_0"
    ours = gradcam(
        vit, x, layer, 3, normalize=False, reshape=lambda y: y[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    )
    tokens = vit.encoder.layers[0](torch.cat([vit.class_token.expand(2, -1, -1), vit._process_input(x)], 1)
                                   + vit.encoder.pos_embedding).detach().requires_grad_()  # fmt: skip
    score = vit.heads(vit.encoder.ln(vit.encoder.layers[1](tokens))[:, 0])[:, 3].sum()
    gradient = torch.autograd.grad(score, tokens)[0][:, 1:].mean(1, keepdim=True)
    expected = (gradient * tokens[:, 1:]).sum(2).view(2, 4, 4).detach()
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-4)
    swin = network("swin_t")
    maps = gradcam(swin, x, "features.7", normalize=False, reshape=lambda y: y.permute(0, 3, 1, 2))
    assert maps.shape == (2, 2, 2)


@pytest.mark.parametrize("shape", [(48, 48), (60, 36), (36, 60)])
def test_channels_last_are_not_taken_for_places(shape):
    conv, fc = nn.Conv2d(3, 12, 3, stride=3), nn.Linear(12, 4)
    last = nn.Sequential(conv, Permute([0, 2, 3, 1]), nn.ReLU(), Mean(), fc)
    first = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), fc)
    x = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"'2' has its channels last, .*reshape=lambda y: y.permute"):
        gradcam(last, x, "2", 1)
    as_asked = gradcam(last, x, "2", 1, normalize=False, reshape=lambda y: y.permute(0, 3, 1, 2))
    torch.testing.assert_close(as_asked, gradcam(first, x, "1", 1, normalize=False))


def test_where_channels_may_come_first_they_do():
    conv, x = nn.Conv2d(3, 16, 3, stride=3), torch.rand(1, 3, 48, 48)
    net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    expected = torch.relu(conv(x)) * net[4].weight[1, :, None, None] / 16**2
    torch.testing.assert_close(gradcam(net, x, "1", 1, normalize=False), expected.sum(1).detach())


def test_a_network_with_two_outputs_that_could_be_the_scores_is_refused():
    class Twice(Cam):
        def forward(self, x):
            scores = super().forward(x)
            return scores, scores[:, :2]

    with pytest.raises(ValueError, match=r"one tensor of scores.*\(1, 3\), \(1, 2\)"):
        gradcam(made(Twice), pictures(1), "relu")


def test_a_network_that_puts_out_a_dict_is_taken():
    class InDict(Two):
        def forward(self, x):
            return {"logits": self.cam(x), "loss": torch.tensor(0.0)}

    model, x = InDict().eval(), pictures(2)
    assert torch.equal(gradcam(model, x, "cam.relu", 1), gradcam(model.cam, x, "relu", 1))


def test_a_batch_gives_the_maps_of_its_pictures_alone_also_in_train_mode():
    model, x = network("resnet18").train(), pictures(3)
    alone = torch.cat([gradcam(model, picture[None], "layer3", 5, normalize=False) for picture in x])
    torch.testing.assert_close(gradcam(model, x, "layer3", 5, normalize=False), alone, atol=1e-6, rtol=1e-4)


def test_classes_of_one_picture_equal_as_many_single_runs():
    model, x = network("mobilenet_v3_small"), pictures(1, 64, 96)
    ours = gradcam_classes(model, x[0], "features.4", range(10))
    single = gradcam(model, x.expand(10, -1, -1, -1), "features.4", range(10))
    torch.testing.assert_close(ours, single, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="classes 0 to 19"):
        gradcam_classes(model, x[0], "features.4", [3, 20])


@pytest.mark.parametrize("fails", [False, True])
def test_gradcam_leaves_the_network_as_it_was(fails):
    model, x = network("resnet18").train(), pictures(2)
    model.layer1.eval()
    model.fc.weight.requires_grad_(False)
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    before = [(p.requires_grad, p.grad) for p in model.parameters()]
    training, random_state = [m.training for m in model.modules()], torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError):
            gradcam(model, x[:, :2], "layer4")
    gradcam(model, x, "layer4")
    assert [m.training for m in model.modules()] == training
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == before and model.conv1.weight.grad.eq(
        1
    ).all()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state) and torch.is_grad_enabled()
    assert sum(len(m._forward_hooks) for m in model.modules()) == 0


def test_frozen_compiled_and_without_autograd_the_map_is_the_same():
    model, x = made(Cam).eval(), pictures(2, 9, 7)
    usual = gradcam(model, x, "relu", 1)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(gradcam(model, pictures(2, 9, 7), "relu", 1), usual)
            assert not torch.is_grad_enabled()
            first = nn.Sequential(nn.Identity(), model)
            assert gradcam(first, pictures(2, 9, 7), "0", 1).shape == (2, 9, 7)
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    assert torch.equal(gradcam(compiled, x, "_orig_mod.relu", 1), usual)
    assert torch.equal(gradcam(model.requires_grad_(False), x, "relu", 1), usual)
    assert not usual.requires_grad and not x.requires_grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.03)])
def test_other_types_of_numbers(dtype, tolerance):
    model, x = made(Cam).eval().to(dtype), pictures(2, 9, 7).to(dtype)
    ours = gradcam(model, x, "relu", [1, 2], normalize=False)
    reference = captums(model.double(), x.double(), "relu", [1, 2])
    assert ours.dtype == torch.promote_types(dtype, torch.float32)
    assert (ours - reference).abs().max() <= tolerance * reference.abs().max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_the_gpu_the_map_is_the_same():
    model, x = network("resnet18"), pictures(2)
    usual = gradcam(model, x, "layer4", 3)
    torch.testing.assert_close(gradcam(model.cuda(), x, "layer4", 3).cpu(), usual, atol=1e-3, rtol=1e-3)


def test_an_empty_batch_gives_no_maps():
    assert gradcam(made(Cam), pictures(0, 8, 8), "relu").shape == (0, 8, 8)


def looked_at(name, dataset, split, count):
    mean, std = model_card(name)["normalize"].values()
    shown = data.load(dataset, split, transform=data.TRANSFORMS.build("normalize", mean=mean, std=std))
    x = torch.stack([shown[i][0] for i in range(count)])
    return gradcam(trained(name), x, "stage3"), shown.subset(slice(count))


def test_on_shapes_the_map_points_at_the_shape_where_the_centre_does_not():
    maps, shown = looked_at("tinyresnet-shapes", "shapes", "test", 400)
    game = pointing_game(maps, shown.masks)
    assert game.score >= 0.85 and game.centre <= 0.35


@pytest.mark.parametrize("split", ["val", "test"])
def test_on_the_shortcut_the_map_gives_the_patch_away(split):
    maps, shown = looked_at("tinyresnet-shapes-shortcut", "shapes-shortcut", split, 200)
    assert pointing_game(maps, shown.patches).score >= 0.8 > pointing_game(maps, shown.masks).score
