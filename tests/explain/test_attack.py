import pytest
import torch
from captum.robust import FGSM
from torch import nn
from torchvision.transforms import v2

from dl_course.explain import fgsm
from dl_course.models import TinyResNet
from dl_course.runtime import preserved_rng


@pytest.fixture(scope="module")
def network():
    with preserved_rng(0):
        model, x = TinyResNet(width=4).eval(), torch.rand(3, 3, 16, 16)
        return model.double(), x.double()  # near 0, a sign in float32 is chance


def test_it_is_captums_fgsm(network):
    model, x = network
    loss = nn.CrossEntropyLoss(reduction="none")
    attack = FGSM(model, loss_func=loss, lower_bound=0, upper_bound=1)
    attack.zero_thresh = 0
    theirs = attack.perturb(x, 0.03, torch.tensor([1, 2, 3]))
    torch.testing.assert_close(fgsm(model, x, torch.tensor([1, 2, 3]), epsilon=0.03), theirs)


def test_no_number_moves_further_than_epsilon_nor_leaves_the_bounds_and_the_loss_rises(network):
    model, x = network
    target = model(x).argmax(1)
    moved = fgsm(model, x)
    assert (moved - x).abs().max() <= 2 / 255 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    before, after = (nn.functional.cross_entropy(model(y), target) for y in (x, moved))
    assert after > before


def test_the_change_of_a_picture_does_not_depend_on_its_company(network):
    model, x = network
    torch.testing.assert_close(fgsm(model, x, 0)[1:2], fgsm(model, x[1:2], 0))


def test_nothing_is_left_on_the_model(network):
    model, x = network
    model.train()
    with torch.no_grad():
        fgsm(model, x, 0)
    assert model.training and all(p.grad is None for p in model.parameters())
    model.eval()


def test_normalized_pictures_are_refused_with_the_way_out(network):
    model, x = network
    normalize = v2.Normalize([0.5] * 3, [0.2] * 3)
    with pytest.raises(ValueError, match=r"given -2.* nn.Sequential\(normalize, model\)"):
        fgsm(model, normalize(x), 0)
    assert fgsm(nn.Sequential(normalize, model), x, 0).min() >= 0
    assert fgsm(model, normalize(x), 0, bounds=(-3, 3)).min() < 0
