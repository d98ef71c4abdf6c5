"""Activation checkpointing: the same training to the bit, for less memory."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from dl_course.models import SimpleCNN, resnet18
from dl_course.training.memory import checkpointed, saved_bytes


def block(width=8):
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Dropout(0.5)
    )


def network(blocks=4, width=8):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3), *(block(width) for _ in range(blocks)), nn.Flatten(), nn.LazyLinear(5)
    )


X = torch.randn(4, 3, 10, 10, generator=torch.Generator().manual_seed(1))


def step(model, x=X, layers=(), seed=2):
    """Return all that a forward and a backward leave: output, gradients, buffers and the random state."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    torch.manual_seed(seed)
    with checkpointed(model, layers):
        output = model(x)
        output.square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    return [output.detach(), x.grad, *gradients, *model.buffers(), torch.get_rng_state()]


def assert_same(some, others):
    for a, b in zip(some, others, strict=True):
        assert torch.equal(a, b)


def pair(model, x=X):
    model(x)
    return model, copy.deepcopy(model)


@pytest.mark.parametrize("layers", ["1", ["1", "3"], ["1", "2", "3", "4"], ["2.1", "3.3", "6"], [""]])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_buffers_and_random_state_are_those_of_the_plain_run(layers, training):
    plain, ours = pair(network())
    plain.train(training), ours.train(training)
    for _ in range(2):
        assert_same(step(ours, layers=layers), step(plain))


def test_batch_norm_counts_a_batch_once_also_without_a_momentum():
    model = nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Conv2d(3, 2, 3))
    step(model, layers=["0"])
    assert model[0].num_batches_tracked == 1
    torch.testing.assert_close(model[0].running_mean, X.mean((0, 2, 3)))


def test_dropout_drops_the_same_units_in_both_runs():
    model = nn.Sequential(nn.Linear(10, 500), nn.Dropout(0.5))
    x = torch.ones(1, 10)
    with checkpointed(model, "1"):
        output = model(x)
        (gradient,) = torch.autograd.grad(output.sum(), model[0].bias)
    torch.testing.assert_close(gradient, (output[0] != 0) * 2.0)


def test_a_layer_whose_buffers_decide_its_output_is_run_again_with_those_it_had():
    plain, ours = pair(nn.Sequential(spectral_norm(nn.Linear(10, 6)), nn.Flatten(), nn.LazyLinear(2)))
    assert_same(step(ours, layers=["0"]), step(plain))


def test_two_forwards_before_one_backward_are_kept_apart():
    plain, ours = pair(network())
    results = []
    for model, layers in ((plain, ()), (ours, ["1", "2"])):
        torch.manual_seed(0)
        with checkpointed(model, layers):
            (model(X) * model(2 * X)).sum().backward()
        results.append([p.grad for p in model.parameters()] + list(model.buffers()))
    assert_same(*results)


def test_backward_may_come_later_and_twice():
    plain, ours = pair(nn.Sequential(network(), spectral_norm(nn.Linear(5, 5)), nn.Linear(5, 2)))
    results = []
    for model, layers in ((plain, ()), (ours, ["0.1", "0.2", "1"])):
        torch.manual_seed(0)
        with checkpointed(model, layers):
            loss = model(X).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        results.append([p.grad for p in model.parameters()] + list(model.buffers()))
    assert_same(*results)


def test_the_courses_resnet_trains_the_same_by_stages_and_by_blocks():
    torch.manual_seed(0)
    plain, ours = pair(resnet18(num_classes=4), x := torch.randn(2, 3, 40, 33))
    stages = [name for name, _ in ours.named_children() if "layer" in name]
    assert len(stages) == 4
    for layers in (stages, [f"{stage}.{index}" for stage in stages for index in (0, 1)]):
        assert_same(step(ours, x, layers), step(plain, x))


def test_keyword_arguments_several_outputs_and_frozen_layers_pass():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.LSTM(10, 4, batch_first=True)
            self.frozen = nn.Linear(10, 10).requires_grad_(False)

        def forward(self, x):
            output, (hidden, _) = self.inner(input=self.frozen(x[:, 0]))
            return output.sum() + hidden

    plain, ours = pair(Two())
    assert_same(step(ours, layers=["inner", "frozen"]), step(plain))


@pytest.mark.parametrize("model", [network(6), SimpleCNN(in_channels=3)])
def test_less_is_kept_for_the_backward_pass(model):
    model(X := torch.randn(4, 3, 32, 32))
    layers = [name for name, child in model.named_children() if isinstance(child, nn.Sequential)]
    plain = saved_bytes(model, X)
    with checkpointed(model, layers):
        assert saved_bytes(model, X) < 0.6 * plain


def test_saved_bytes_counts_each_tensor_once_and_no_parameters():
    x = torch.randn(4, 10)
    linear, sigmoid = nn.Linear(10, 20), nn.Sequential(nn.Linear(10, 20), nn.Sigmoid(), nn.Sigmoid())
    assert saved_bytes(linear, x) == x.nbytes
    assert saved_bytes(sigmoid, x) == x.nbytes + 2 * 4 * 20 * 4
    assert saved_bytes(nn.Sequential(linear, nn.Flatten(), nn.Identity()), x) == x.nbytes


def test_saved_bytes_counts_no_weights_and_an_input_of_two_layers_once():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.last = nn.Linear(10, 20), nn.Linear(10, 20), nn.Linear(20, 3)

        def forward(self, x):
            return self.last(self.left(x) + self.right(x))

    x = torch.randn(4, 10)
    assert saved_bytes(Fork(), x) == x.nbytes + 4 * 20 * 4


def test_saved_bytes_leaves_the_model_as_it_was():
    model = network()
    model(X)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert saved_bytes(model, X) > 0
    assert_same([*before.values(), state], [*model.state_dict().values(), torch.get_rng_state()])


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_nothing_of_it_stays_behind(error):
    model = network()
    model[2].forward = (own := lambda x: x)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    try:
        with checkpointed(model, ["1", "2", "2", "3.0"]):
            assert "forward" in vars(model[1]) and model[2].forward is not own
            if error:
                raise error
    except (KeyError, KeyboardInterrupt):
        pass
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before


def test_an_unknown_layer_and_one_that_is_never_called_are_refused_and_nothing_stays():
    model = nn.ModuleDict({"stages": nn.ModuleList([nn.Linear(1, 1)]), "head": nn.Linear(1, 1)})
    for layers, message in [
        (["head", "heat"], "did you mean 'head'"),
        (["head", "stages"], "a ModuleList is never"),
    ]:
        with pytest.raises(ValueError, match=message), checkpointed(model, layers):
            pass
        assert "forward" not in vars(model["head"])


def test_a_run_without_gradients_is_a_plain_run():
    model = network().eval()
    with torch.no_grad(), checkpointed(model, ["1"]):
        assert torch.equal(model(X), model[1:](model[0](X)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_gradients_are_the_same_and_the_peak_is_lower():
    torch.backends.cudnn.deterministic = True
    plain, ours = pair(network(8).cuda(), x := torch.randn(16, 3, 64, 64, device="cuda"))
    layers = [str(index) for index in range(1, 9)]
    peaks, results = [], []
    for model, chosen in ((plain, ()), (ours, layers)):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        results.append(step(model, x, chosen))
        peaks.append(torch.cuda.max_memory_allocated() - start)
    assert_same(*results)
    assert peaks[1] < 0.6 * peaks[0]
