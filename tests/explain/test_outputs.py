"""Every method takes a layer or its name, captum's options, and outputs of many kinds."""

from dataclasses import dataclass

import pytest
import torch
from captum import attr
from torch import Tensor, nn

from dl_course.explain import (
    gradcam,
    gradcam_classes,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency,
)
from dl_course.runtime import preserved_rng

METHODS = [saliency, integrated_gradients, occlusion, guided_backprop]
X = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@dataclass
class Answer:
    logits: Tensor
    loss: Tensor | None = None


class Net(nn.Module):
    """A small network whose logits are handed out as the test wants them."""

    def __init__(self, dress=lambda logits: logits, classes=3):
        super().__init__()
        with preserved_rng(0):
            self.conv = nn.Conv2d(1, 6, 3, padding=1)
            self.head = nn.Linear(6, classes)
        self.relu = nn.ReLU()
        self.dress = dress

    def forward(self, x):
        return self.dress(self.head(self.relu(self.conv(x)).mean((2, 3))))


class Pixels(nn.Sequential):
    """A segmentation network: (N, 3, H, W)."""

    def __init__(self):
        with preserved_rng(1):
            super().__init__(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 1))


DRESSES = {
    "dict": lambda logits: {"logits": logits},
    "tuple": lambda logits: (logits, logits.new_zeros(1, 2, 3)),
    "dataclass": Answer,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dress", DRESSES)
def test_dicts_tuples_and_dataclasses_are_explained_as_the_logits_in_them(method, dress):
    for target in (None, 1, [0, 2]):
        expected = method(Net(), X, target, normalize=False)
        torch.testing.assert_close(method(Net(DRESSES[dress]), X, target, normalize=False), expected)


def test_options_of_captum_are_handed_on():
    net = Net().eval()
    expected = attr.Saliency(net).attribute(X.clone().requires_grad_(), target=1, abs=False).amax(1)
    torch.testing.assert_close(saliency(net, X, 1, normalize=False, abs=False), expected)
    baseline = torch.full_like(X, 0.5)
    expected = attr.IntegratedGradients(net).attribute(X, baseline, target=1, n_steps=8).sum(1)
    found = integrated_gradients(net, X, 1, normalize=False, baselines=baseline, n_steps=8)
    torch.testing.assert_close(found, expected)
    square = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4)}
    expected = attr.Occlusion(net).attribute(X, target=1, **square).mean(1)
    torch.testing.assert_close(occlusion(net, X, 1, normalize=False, **square), expected)


def test_the_layer_itself_is_as_good_as_its_name():
    net = Net()
    torch.testing.assert_close(gradcam(net, X, net.conv, 1), gradcam(net, X, "conv", 1))
    by_module = gradcam_classes(net, X[0], net.relu, [0, 2])
    torch.testing.assert_close(by_module, gradcam_classes(net, X[0], "relu", [0, 2]))
    with pytest.raises(ValueError, match="this Conv2d is no layer of the Net"):
        gradcam(net, X, nn.Conv2d(1, 1, 1))


def test_maps_of_several_classes_take_reshape_too():
    class Last(Net):
        def forward(self, x):
            return self.head(self.mark(self.relu(self.conv(x)).permute(0, 2, 3, 1)).mean((1, 2)))

    net = Last()
    net.mark = nn.Identity()
    reshape = lambda y: y.permute(0, 3, 1, 2)  # noqa: E731
    expected = gradcam_classes(Net(), X[0], "relu", [0, 1, 2])
    torch.testing.assert_close(gradcam_classes(net, X[0], "mark", [0, 1, 2], reshape=reshape), expected)


@pytest.mark.parametrize("dress", [lambda logit: logit, lambda logit: logit[:, 0]], ids=["(N, 1)", "(N,)"])
def test_a_single_logit_speaks_for_class_one_and_its_negative_for_class_zero(dress):
    net = Net(dress, classes=1)
    for_one = gradcam(net, X, "conv", 1, normalize=False)
    torch.testing.assert_close(gradcam(net, X, "conv", 0, normalize=False), -for_one)
    net.head.bias.data.fill_(9.0)  # now class 1 is predicted
    torch.testing.assert_close(gradcam(net, X, "conv", normalize=False), for_one)
    assert saliency(net, X, 0).shape == (2, 12, 12)


@pytest.mark.parametrize(
    "dress", [lambda y: y, lambda y: {"out": y, "aux": y * 0}], ids=["tensor", "torchvision"]
)
def test_a_segmentations_class_is_explained_over_the_pixels_it_is_predicted_for(dress):
    class Net(Pixels):
        def forward(self, x):
            return dress(super().forward(x))

    net = Pixels().eval()
    logits = net(x := X[:1].clone().requires_grad_())
    chosen = int(logits.argmax(1).flatten().mode().values)
    mask = logits.argmax(1) == chosen
    expected = torch.autograd.grad(logits[:, chosen][mask].mean(), x)[0].abs().amax(1)
    torch.testing.assert_close(saliency(Net(), X[:1], chosen, normalize=False), expected)
    assert gradcam(Net(), X, "1", chosen).shape == (2, 12, 12)
