import pytest
import torch
from torch import nn

from dl_course.explain import maximise
from dl_course.explain.maximise import _from_spectrum
from dl_course.models import TinyResNet, trained
from dl_course.runtime import preserved_rng


class Colours(nn.Module):
    """Its scores are the means of red, green and blue."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(3, 3, bias=False)
        self.scores.weight.data = torch.eye(3)

    def forward(self, x):
        return self.scores(x.mean((2, 3)))


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_pixel_by_pixel_the_picture_takes_the_colour_that_is_asked_for(channel):
    picture = maximise(Colours(), "scores", channel, size=8, steps=100, rate=0.2, priors=False)
    means = picture.mean((1, 2))
    assert picture.shape == (3, 8, 8) and means[channel] > 0.99
    others = [means[other].item() for other in range(3) if other != channel]
    assert others == pytest.approx([0.5, 0.5], abs=0.02)


@pytest.mark.parametrize("priors", [False, True])
def test_the_activation_rises_far_above_that_of_noise_and_repeats_with_its_seed(priors):
    model, options = trained("tinyresnet-shapes"), {"size": 32, "steps": 40, "priors": priors}
    picture = maximise(model, "fc", 1, **options)
    noise = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model(picture[None])[0, 1] > 3 + model(noise)[:, 1].max()
    assert picture.min() >= 0 and picture.max() <= 1
    assert torch.equal(picture, maximise(model, "fc", 1, **options))
    assert not torch.equal(picture, maximise(model, "fc", 1, **options, seed=1))


def test_with_priors_neighbours_are_more_alike_than_without():
    with preserved_rng(0):
        model = TinyResNet(width=4).eval()
    naive, smooth = (maximise(model, "fc", 1, size=32, steps=20, priors=p) for p in (False, True))

    def roughness(picture):
        return ((picture[:, 1:] - picture[:, :-1]).std() / picture.std()).item()

    assert roughness(smooth) < 0.7 * roughness(naive)


def test_the_spectrum_of_a_picture_falls_as_one_over_the_frequency():
    dice = torch.Generator().manual_seed(0)
    numbers = 0.01 * torch.randn(3, 64, 33, 2, generator=dice)
    gray = _from_spectrum(numbers, 64).logit().mean(0)
    power, fine = (
        torch.fft.rfft2(gray).abs(),
        torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)),
    )
    low, high = (power[(fine > a) & (fine < b)].mean() for a, b in ((0.05, 0.07), (0.2, 0.28)))
    assert (low / high).item() == pytest.approx(4, rel=0.25)


def test_the_model_stays_as_it_was_and_an_unknown_channel_is_named():
    with preserved_rng(0):
        model = TinyResNet(width=4).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        maximise(model, "stem", 0, size=16, steps=2)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match="layer 'stem' has the channels 0 to 3; given 4"):
        maximise(model, "stem", 4, size=16, steps=1)
