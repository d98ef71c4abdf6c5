import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18

from dl_course import data
from dl_course.diagnostics import activation_statistics, dead_units
from tests.diagnostics.networks import Functional, Recurrent, Shared, same, state_of
from tests.diagnostics.test_tensor_statistics import reference


def cloned(model, loader):
    """Every leaf's outputs, cloned at once and put together: the slow way, with hooks of torch's own."""
    outputs, calls, handles = {}, {}, []

    def hook(name):
        def keep(module, args, output):
            calls[name] = calls.get(name, 0) + 1
            row = name if calls[name] == 1 else f"{name} #{calls[name]}"
            outputs.setdefault(row, []).append(output.detach().clone())

        return keep

    for name, module in model.named_modules():
        if not any(module.children()):
            handles.append(module.register_forward_hook(hook(name)))
    for x in loader:
        calls.clear()
        model(x)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in outputs.items()}


@pytest.mark.parametrize("build", [resnet18, mobilenet_v3_small])
def test_figures_of_all_layers_are_those_of_kept_activations(build):
    model, loader = build(num_classes=4).eval(), [torch.rand(n, 3, 40, 33) for n in (3, 1)]
    found, kept = activation_statistics(model, loader), cloned(model, loader)
    assert kept.keys() <= set(found.index)
    for name, output in kept.items():
        row = found.loc[name].to_dict()
        assert row == pytest.approx(reference(output), rel=1e-5, abs=1e-5 * max(1, output.abs().max().item()))


def test_a_shared_module_has_a_row_for_each_call_and_every_forward_adds_to_the_same_rows():
    model, loader = Shared(), [torch.randn(4, 6), torch.randn(2, 6)]
    found = activation_statistics(model, loader)
    assert list(found.index) == ["fc", "relu", "fc #2", "relu #2", "fc #3", "relu #3"]
    x = torch.cat(loader)
    for row in ("", " #2", " #3"):
        x = model.fc(x)
        assert found.loc[f"fc{row}"].to_dict() == pytest.approx(reference(x), rel=1e-5, abs=1e-6)
        x = x.relu()
        assert found.loc[f"relu{row}"].to_dict() == pytest.approx(reference(x), rel=1e-5, abs=1e-6)


def test_relus_without_a_module_and_what_a_container_adds_are_seen():
    model, x = Functional(), torch.randn(3, 3, 9, 8)
    found = activation_statistics(model, [x])
    relus = [name for name in found.index if "relu" in name]
    assert list(found.index) == ["conv1", relus[0], "conv2", relus[1], "fc", relus[2], "(model)"]
    assert relus == ["(model): relu", "(model): relu #2", "(model): relu #3"]
    first = model.conv1(x)
    assert found.loc["conv1"].to_dict() == pytest.approx(reference(first), rel=1e-5, abs=1e-6)
    assert found.loc[relus[0]].to_dict() == pytest.approx(reference(first.relu()), rel=1e-5, abs=1e-6)
    assert found.loc["(model)"].to_dict() == pytest.approx(reference(model(x)), rel=1e-5, abs=1e-6)


def test_every_tensor_of_an_lstm_and_of_a_dict_has_its_row():
    model, tokens = Recurrent(), torch.randint(0, 10, (4, 6))
    found = activation_statistics(model, [tokens])
    assert list(found.index) == ["embed", "lstm", "lstm[1]", "lstm[2]", "head", "(model)", "(model)[1]"]
    output, (hidden, cell) = model.lstm(model.embed(tokens))
    for name, tensor in [("lstm", output), ("lstm[1]", hidden), ("lstm[2]", cell), ("(model)[1]", output)]:
        assert found.loc[name].to_dict() == pytest.approx(reference(tensor), rel=1e-5, abs=1e-6)


def test_a_transformer_shows_its_inner_layers_in_spite_of_its_fast_path():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    found = activation_statistics(model, [torch.randn(2, 5, 8)])
    assert {"linear1", "linear2", "norm1", "self_attn", "(model): relu"} <= set(found.index)


def test_only_the_layers_asked_for_containers_too():
    model, x = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Linear(4, 2)), torch.randn(5, 3)
    assert list(activation_statistics(model, [x], ["0", "0.1"]).index) == ["0.1", "0"]
    with pytest.raises(ValueError, match="unknown layer '0.l'; did you mean '0.[01]'"):
        activation_statistics(model, [x], ["0.l"])


def test_batches_may_be_inputs_pairs_or_several_inputs_from_a_generator():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, a, b):
            return self.fc(a + b)

    x, y = torch.randn(4, 3), torch.arange(4)
    model = nn.Sequential(nn.Linear(3, 2))
    found = [activation_statistics(model, batches) for batches in ([x], [(x, y)], [[x, y]], iter([(x, y)]))]
    assert all(each.equals(found[0]) for each in found)
    both = Sum()
    rows = activation_statistics(both, [((x, 2 * x), y)])
    assert rows.loc["fc"].to_dict() == pytest.approx(reference(both.fc(3 * x)), rel=1e-5, abs=1e-6)


def test_a_loader_without_batches_gives_a_table_without_rows():
    assert len(activation_statistics(Shared(), [])) == len(dead_units(Shared(), [])) == 0


def test_it_measures_in_the_mode_the_model_is_in_and_leaves_nothing_behind():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5))
    loader = [5 + torch.randn(6, 3, 7, 7) for _ in range(2)]
    before = state_of(model)
    in_training = activation_statistics(model, loader)
    dead_units(model, loader)
    assert same(state_of(model), before)
    assert in_training.loc["1", "mean"] == pytest.approx(0, abs=1e-5)  # of the batch, not of the running mean
    assert in_training.loc["3", "zero"] > 0.6 > in_training.loc["2", "zero"]
    assert abs(activation_statistics(model.eval(), loader).loc["1", "mean"]) > 0.1


@pytest.mark.parametrize("measure", [activation_statistics, dead_units])
def test_nothing_is_left_behind_when_the_loader_fails_in_the_middle(measure):
    def failing():
        yield torch.randn(6, 3, 7, 7)
        raise OSError("a file is gone")

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    before = state_of(model)
    with pytest.raises(OSError, match="a file is gone"):
        measure(model, failing())
    assert same(state_of(model), before)


def test_the_loader_draws_and_counts_as_if_there_had_been_no_measurement():
    pictures = data.Pictures("few", torch.zeros(8, 1, 4, 4).byte(), torch.arange(8), "01234567", (0,), (1,))
    ours = data.loader(pictures, 4, shuffle=True)
    torchs = torch.utils.data.DataLoader(
        range(64), 8, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 1, 4, 4))
    state = torchs.generator.get_state()
    activation_statistics(model, ours)
    activation_statistics(nn.Identity(), torchs)
    assert ours.epoch == 0 and torch.equal(torchs.generator.get_state(), state)


def test_half_precision_networks_are_measured():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).bfloat16(), torch.randn(5, 3).bfloat16()
    found = activation_statistics(model, [x])
    assert found.loc["1"].to_dict() == pytest.approx(reference(model(x)), rel=1e-5, abs=1e-6)


def test_histograms_count_the_values_of_every_row():
    found = activation_statistics(Shared(), [torch.randn(4, 6), torch.randn(3, 6)])
    assert found.histograms.keys() == set(found.index)
    assert all(counts.sum() == 7 * 6 for counts, _ in found.histograms.values())


# dead units


def with_dead_channels(conv, dead):
    with torch.no_grad():
        conv.bias[dead] = -1e3
    return conv


def test_dead_channels_are_counted_wherever_the_relu_is_written():
    conv = with_dead_channels(nn.Conv2d(3, 8, 3), [1, 5])

    class Written(nn.Module):
        def __init__(self, relu):
            super().__init__()
            self.conv, self.relu = conv, relu

        def forward(self, x):
            return self.relu(self.conv(x))

    x = torch.randn(4, 3, 8, 9)
    for relu in (
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        F.relu,
        torch.relu,
        torch.Tensor.relu_,
        F.relu6,
    ):
        found = dead_units(Written(relu), [x, x[:1]])
        assert len(found) == 1 and found.iloc[0]["units"] == 8 and found.iloc[0]["dead"] == 2
        active = (torch.cat([conv(x), conv(x[:1])]) > 0).float().mean().item()
        assert found.iloc[0]["active"] == pytest.approx(active)


def test_a_unit_that_speaks_once_in_all_batches_is_rare_and_not_dead():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3))
        model[0].bias.zero_()
    loader = [torch.tensor([[1.0, -1.0, -1.0]]).repeat(300, 1) for _ in range(2)]
    assert dead_units(model, loader).loc["1"].to_dict() == pytest.approx(
        {"units": 3, "dead": 2, "rare": 0, "active": 1 / 3}
    )
    loader[1][7, 1] = 0.5
    found = dead_units(model, loader).loc["1"]
    assert (found["dead"], found["rare"]) == (1, 1)


def test_the_units_of_tokens_are_features_and_those_of_a_signal_are_channels():
    tokens = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    with torch.no_grad():
        tokens[0].bias[:] = 1e3
        tokens[0].bias[2] = -1e3
    assert dead_units(tokens, [torch.randn(3, 5, 4)]).loc["1", ["units", "dead"]].tolist() == [6, 1]
    signal = nn.Sequential(with_dead_channels(nn.Conv1d(2, 6, 3), [0]), nn.BatchNorm1d(6), nn.ReLU())
    assert dead_units(signal.eval(), [torch.randn(3, 2, 9)]).loc["2", ["units", "dead"]].tolist() == [6, 1]


def test_each_call_of_a_shared_relu_is_judged_by_itself():
    model = Shared()
    with torch.no_grad():
        model.fc.weight.copy_(-torch.eye(6))
        model.fc.bias.zero_()
    found = dead_units(model, [-torch.rand(9, 6)])
    assert found["dead"].tolist() == [0, 6, 6]


def test_a_network_without_relus_says_that_no_unit_can_die():
    found = dead_units(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), [torch.randn(2, 3)])
    assert len(found) == 0 and "no ReLU was called" in repr(found) and "no ReLU" in found._repr_html_()
