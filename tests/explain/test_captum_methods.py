from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from dl_course.explain import guided_backprop, integrated_gradients, occlusion, saliency
from dl_course.models import TinyResNet
from dl_course.runtime import preserved_rng

METHODS = [saliency, integrated_gradients, occlusion, guided_backprop]


@pytest.fixture(scope="module")
def model():
    with preserved_rng(1):
        return TinyResNet(num_classes=5, width=4).train()


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 3, 16, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_share_a_signature_a_shape_and_manners(method, model, x):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        signed = method(model, x, normalize=False)
    scaled = method(model.requires_grad_(False), x, model.eval()(x).argmax(1))
    assert signed.shape == (3, 16, 8) and not torch.equal(
        signed, method(model.train(), x, 4, normalize=False)
    )
    torch.testing.assert_close(scaled, signed.relu() / signed.amax((1, 2), keepdim=True))
    assert all(m.training for m in model.modules()) and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == 0
    assert torch.equal(torch.get_rng_state(), random_state) and not x.requires_grad
    model.requires_grad_(True)


@pytest.mark.parametrize("method", METHODS)
def test_targets_that_are_no_classes_are_refused(method, model, x):
    with pytest.raises(ValueError, match="classes 0 to 4; given 5"):
        method(model, x, 5)


def test_saliency_is_the_largest_size_of_the_gradient(model, x):
    pixels = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.eval()(pixels)[:, 2].sum(), pixels)
    torch.testing.assert_close(saliency(model, x, 2, normalize=False), gradient.abs().amax(1))


def test_integrated_gradients_sum_to_what_the_picture_adds_to_zeros(model, x):
    model.eval()
    added = (model(x) - model(torch.zeros_like(x)))[:, 1]
    total = integrated_gradients(model, x, 1, normalize=False).sum((1, 2))
    torch.testing.assert_close(total, added.detach(), atol=0.02, rtol=0.02)


def test_occlusion_is_the_loss_of_score_under_squares(model, x):
    """Recomputed square by square, 2 pixels wide and one apart; a pixel gets the mean of its squares."""
    model.eval()
    loss, times = torch.zeros(3, 16, 8), torch.zeros(16, 8)
    with torch.no_grad():
        score = model(x)[:, 3]
        for top in range(15):
            for left in range(7):
                covered = x.clone()
                covered[:, :, top : top + 2, left : left + 2] = 0
                loss[:, top : top + 2, left : left + 2] += (score - model(covered)[:, 3])[:, None, None]
                times[top : top + 2, left : left + 2] += 1
    torch.testing.assert_close(occlusion(model, x, 3, normalize=False), loss / times, atol=1e-5, rtol=1e-3)


class Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.relu() * (ctx.saved_tensors[0] > 0)


@pytest.mark.parametrize(
    "build", [lambda: models.resnet18(num_classes=5), lambda: models.squeezenet1_1(num_classes=5), TinyResNet]
)
def test_guided_backprop_guides_also_relus_in_place_and_reused(build):
    with preserved_rng(0):
        model, x = build().eval(), torch.randn(2, 3, 48, 64)
    ours = guided_backprop(model, x, 2, normalize=False)
    pixels = x.clone().requires_grad_()
    with mock.patch.object(nn.ReLU, "forward", lambda self, y: Guided.apply(y)):
        (gradient,) = torch.autograd.grad(model(pixels)[:, 2].sum(), pixels)
    torch.testing.assert_close(ours, gradient.sum(1))
    assert ours.abs().max() > 0


class Functional(TinyResNet):
    def forward(self, x):
        return super().forward(F.relu(x))


class Method(TinyResNet):
    def forward(self, x):
        return super().forward(x.clone().relu_())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Functional, "nn.ReLU in place of F.relu; here 7 of 8"),
        (Method, "here 7 of 8"),
        (lambda: models.VisionTransformer(32, 16, 1, 2, 8, 8), "here 0 of 0"),
        (lambda: models.googlenet(init_weights=False, aux_logits=False), "here 0 of 57"),
    ],
)
def test_guided_backprop_refuses_what_it_cannot_guide(build, message):
    with pytest.raises(ValueError, match=message):
        guided_backprop(build(), torch.randn(1, 3, 32, 32))


def test_a_method_warns_by_its_name_of_maps_that_are_all_zeros():
    blind = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    nn.init.zeros_(blind[2].weight)
    with pytest.warns(UserWarning, match=r"Saliency: nothing speaks for the class in maps \[0, 1\]"):
        assert saliency(blind, torch.rand(2, 3, 4, 4), 0).eq(0).all()
