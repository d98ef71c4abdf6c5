import pytest
import torch
from captum import attr
from torch import nn

from dl_course.explain import saliency, smoothgrad
from dl_course.models import TinyResNet
from dl_course.runtime import preserved_rng


@pytest.fixture(scope="module")
def network():
    with preserved_rng(0):
        return TinyResNet(width=4).eval(), torch.randn(2, 3, 16, 16)


def test_without_noise_it_is_saliency(network):
    model, x = network
    found = smoothgrad(model, x, 1, noise=0, samples=2, normalize=False)
    torch.testing.assert_close(found, saliency(model, x, 1, normalize=False))


def test_it_is_captums_noise_tunnel_of_saliency_for_the_same_noise(network, monkeypatch):
    model, x = network
    spread = (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))[0].item()
    dice = torch.Generator().manual_seed(3)
    drawn = torch.stack([torch.randn(1, 3, 16, 16, generator=dice) for _ in range(6)], 1).flatten(0, 1)
    monkeypatch.setattr(torch, "normal", lambda mean, std: mean + std * drawn)
    tunnel = attr.NoiseTunnel(attr.Saliency(model))
    theirs = tunnel.attribute(x[:1], target=2, nt_samples=6, stdevs=0.2 * spread)
    monkeypatch.undo()
    ours = smoothgrad(model, x[:1], 2, noise=0.2, samples=6, seed=3, normalize=False)
    torch.testing.assert_close(ours, theirs.amax(1), rtol=1e-4, atol=1e-7)


def test_a_map_repeats_with_its_seed_and_leaves_model_and_random_state_alone(network):
    model, x = network
    state, world = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    model.train()
    one, again, other = (smoothgrad(model, x, seed=seed, samples=3) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == (2, 16, 16) and one.amax((1, 2)).tolist() == [1, 1]
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert torch.equal(world, torch.get_rng_state())
    model.eval()


def test_the_noise_is_a_share_of_each_pictures_own_range():
    class Kept(nn.Module):
        def forward(self, x):
            seen.append(x.detach().clone())
            return x.flatten(1)[:, :2]

    seen, x = [], torch.stack([torch.linspace(0, 1, 300), torch.linspace(0, 100, 300)]).view(2, 3, 10, 10)
    smoothgrad(Kept(), x, 0, noise=0.1, samples=20)
    noise = torch.stack(seen[1:]) - x
    assert noise[:, 0].std().item() == pytest.approx(0.1, rel=0.05)
    assert noise[:, 1].std().item() == pytest.approx(10, rel=0.05)
