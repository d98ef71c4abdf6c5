"""Features: what a forward pass gives, computed once, kept by content, and taken up again after a stop."""

import pytest
import torch
from torch import nn

from dl_course.models import TinyResNet, features

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TinyResNet(num_classes=4, width=4).eval()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(3, 3, 16, 16, generator=generator), torch.tensor([i, 1, 2])) for i in range(4)]


class Counting(nn.Module):
    """A network that counts its calls, and stops after some."""

    def __init__(self, stop=100):
        super().__init__()
        self.conv, self.calls, self.stop = nn.Conv2d(3, 5, 3), 0, stop
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        self.calls += 1
        if self.calls > self.stop:
            raise KeyboardInterrupt
        return self.conv(x)


@torch.no_grad()
def test_maps_are_averaged_over_positions_and_labels_come_along(model, batches, tmp_path):
    found, labels = features(model, batches, "pool", folder=tmp_path)
    assert labels.tolist() == [0, 1, 2, 1, 1, 2, 2, 1, 2, 3, 1, 2]
    several, _ = features(model, batches, ["stem", "fc"], folder=tmp_path)
    x = torch.cat([x for x, _ in batches])
    torch.testing.assert_close(several["fc"], model(x))
    torch.testing.assert_close(several["stem"], model.stem(x).mean((2, 3)))
    torch.testing.assert_close(model.fc(found), model(x))


def test_tokens_are_averaged_and_other_outputs_are_refused_by_name(batches, tmp_path):
    class Tokens(nn.Identity):
        def forward(self, x):
            return x.flatten(2).transpose(1, 2)

    class Pair(nn.Identity):
        def forward(self, x):
            return x, x

    found, _ = features(nn.Sequential(Tokens()), batches, "0", folder=tmp_path)
    torch.testing.assert_close(found, torch.cat([x for x, _ in batches]).mean((2, 3)))
    with pytest.raises(ValueError, match="layer '0' gives tuple"):
        features(nn.Sequential(Pair()), batches, "0", folder=tmp_path)


def test_what_is_kept_is_not_computed_again_also_after_a_stop(batches, tmp_path):
    stopped = Counting(stop=2)
    with pytest.raises(KeyboardInterrupt):
        features(stopped, batches, "conv", folder=tmp_path)
    again = Counting()
    found, _ = features(again, batches, "conv", folder=tmp_path)
    assert again.calls == 2
    fresh, _ = features(Counting(), batches, "conv", folder=tmp_path / "other")
    assert torch.equal(found, fresh)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_other_pictures_other_weights_and_other_layers_are_other_features(batches, tmp_path):
    model = Counting()
    first, _ = features(model, batches, "conv", folder=tmp_path)
    with torch.no_grad():
        model.conv.weight.mul_(2)
    assert torch.equal(features(model, batches, "conv", folder=tmp_path)[0], 2 * first)
    halved = [(x / 2, y) for x, y in batches]
    torch.testing.assert_close(features(model, halved, "conv", folder=tmp_path)[0], first)
    torch.testing.assert_close(features(model, batches, "conv", lambda x: x / 2, tmp_path)[0], first)
    assert model.calls == 4 + 4 + 4  # the third asked for the same content as the second


def test_of_several_layers_only_those_are_computed_that_are_not_kept_yet(batches, tmp_path):
    model = nn.Sequential(Counting(), nn.ReLU(), nn.Flatten())
    both, _ = features(model, batches, ["0", "1"], folder=tmp_path)
    one, _ = features(model, batches, "1", folder=tmp_path)
    assert model[0].calls == 4 and torch.equal(one, both["1"])
    more, _ = features(model, batches, ["0", "2"], folder=tmp_path)
    assert model[0].calls == 4 + 4 and torch.equal(more["0"], both["0"])
    torch.testing.assert_close(more["2"].unflatten(1, (5, -1)).mean(2), both["1"])


def test_a_damaged_file_is_computed_again_and_a_read_only_folder_is_left_alone(batches, tmp_path):
    first, _ = features(Counting(), batches, "conv", folder=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"half")
    assert torch.equal(features(Counting(), batches, "conv", folder=tmp_path)[0], first)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    assert torch.equal(features(Counting(), batches, "conv", folder=closed)[0], first)
    assert list(closed.iterdir()) == []


def test_modes_and_hooks_are_put_back(model, batches, tmp_path):
    model.train()
    features(model, batches, "pool", folder=tmp_path)
    assert model.training and not any(m._forward_hooks for m in model.modules())
    with pytest.raises(ValueError, match="unknown layer 'pol'; did you mean 'pool'"):
        features(model, batches, "pol", folder=tmp_path)
    with pytest.raises(ValueError, match="gave no pictures"):
        features(model, [], "pool", folder=tmp_path)


def test_a_layer_that_forward_passes_over_is_named(batches, tmp_path):
    model = Counting()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="'unused' is never called"):
        features(model, batches, "unused", folder=tmp_path)
