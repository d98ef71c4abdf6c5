"""Rules on model, loss, optimizer and trial, each on both sides of its limit."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import VisionTransformer, mobilenet_v2, resnet18

from dl_course.diagnostics.rules import loss, model, optimizer, trial
from dl_course.diagnostics.rules.evidence import Evidence, mean_answer, spread
from dl_course.diagnostics.rules.finding import Skip

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise


def samples(classes=4):
    dice = torch.Generator().manual_seed(0)
    y = torch.randint(0, classes, (256,), generator=dice)
    centres = torch.randn(classes, 12, generator=dice)
    return (centres[y] + 0.7 * torch.randn(256, 12, generator=dice)) / 1.2, y


def evidence(network, loss_fn=None, made=None, x=None, y=None, batch=32, **given):
    if x is None:
        x, y = samples()
    names = ("scheduler", "val_loader", "train_step", "eval_step")
    given = dict.fromkeys(names) | {"optimizer": made and made(network.parameters()), "seed": 0} | given
    return Evidence(
        network, DataLoader(TensorDataset(x, y), batch), loss_fn or nn.CrossEntropyLoss(), **given
    )


def mlp(*between, outputs=4, act=nn.ReLU, width=24):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, width), act(), nn.Linear(width, outputs), *between)


def deep(depth, act=nn.ReLU, gain=1.0):
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(24, 24), act())]
    made = nn.Sequential(nn.Linear(12, 24), act(), *layers, nn.Linear(24, 4))
    for module in made:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight).data.mul_(gain)
    return made


@pytest.mark.parametrize("outputs, ill", [(4, False), (3, True), (5, True), (20, True)])
def test_there_are_as_many_outputs_as_classes(outputs, ill):
    assert bool(model.output_width(evidence(mlp(outputs=outputs)))) == ill


def test_outputs_of_a_hundred_classes_are_not_missed_in_a_small_sample():
    x, y = samples(classes=100)
    assert model.output_width(evidence(mlp(outputs=120), x=x, y=y)) is None


def test_stray_labels_make_no_wrong_width():
    x, y = samples()
    y[:3] = 4
    assert model.output_width(evidence(mlp(), x=x, y=y)) is None


class OneHot(nn.BCEWithLogitsLoss):
    def forward(self, outputs, labels):
        return super().forward(outputs, F.one_hot(labels, 4).float())


@pytest.mark.parametrize(
    "end, loss_fn, ill",
    [
        ([], F.cross_entropy, False),
        ([nn.Softmax(1)], nn.CrossEntropyLoss(), True),
        ([nn.Softmax(1)], lambda o, y: F.cross_entropy(o, y), True),
        ([nn.Sigmoid()], nn.CrossEntropyLoss(label_smoothing=0.1), True),
        ([nn.ReLU()], nn.CrossEntropyLoss(), True),
        ([nn.LogSoftmax(1)], nn.CrossEntropyLoss(), False),  # superfluous, and harmless
        ([nn.LogSoftmax(1)], nn.NLLLoss(), False),
        ([], nn.NLLLoss(), True),
        ([nn.Sigmoid()], OneHot(), True),
        ([], OneHot(), False),
        ([nn.Sigmoid()], lambda o, y: F.mse_loss(o, F.one_hot(y, 4).float()), False),
        ([nn.Softmax(1)], lambda o, y: F.nll_loss(o.log(), y), False),
    ],
)
def test_logits_go_bare_into_a_loss_that_applies_softmax_itself(end, loss_fn, ill):
    assert bool(model.output_activation(evidence(mlp(*end), loss_fn))) == ill


def test_units_with_the_same_weights_are_found_and_a_head_of_zeros_is_fine():
    alike, head = mlp(), mlp()
    nn.init.constant_(alike[0].weight, 0.1)
    nn.init.zeros_(head[2].weight)
    assert model.bad_initialisation(evidence(alike)).where == "0"
    assert model.bad_initialisation(evidence(head)) is None


@pytest.mark.parametrize("shape", [(2, 3), (50, 4, 5, 5), (7,), (3, 1)])
def test_the_spread_of_samples_is_the_root_mean_square_of_their_stds(shape):
    x = 3 + torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert spread(x) == pytest.approx(x.std(0).square().mean().sqrt().item(), rel=1e-5)
    assert spread(x[:1]) == spread(torch.full((50, 3), 0.1)) == 0  # one sample; all alike, not even rounded


@pytest.mark.parametrize("gain, ill", [(1e-3, True), (0.5, False), (1, False), (2**0.5, False), (5, True)])
def test_layers_keep_the_signal(gain, ill):
    assert bool(model.bad_initialisation(evidence(deep(4, gain=gain)))) == ill


def test_what_normalisation_mends_is_no_bad_initialisation():
    normed = nn.Sequential(
        *(nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), nn.ReLU()) for _ in range(4))
    )
    network = nn.Sequential(normed, nn.Linear(12, 4))
    for block in normed:
        nn.init.normal_(block[0].weight, std=1e-3)
    assert model.bad_initialisation(evidence(network)) is None


@pytest.mark.parametrize(
    "act", [nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU, nn.LeakyReLU, nn.PReLU, nn.Hardswish, nn.Mish]
)
def test_any_activation_bends(act):
    assert model.missing_nonlinearity(evidence(mlp(act=act))) is None


@pytest.mark.parametrize("act", [nn.Identity, nn.Dropout, nn.Flatten, lambda: nn.BatchNorm1d(24)])
def test_without_one_layers_collapse(act):
    assert model.missing_nonlinearity(evidence(mlp(act=act))) is not None


class Functional(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.conv, self.out, self.bend = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(16, 4), bend

    def forward(self, x):
        return self.out(F.max_pool2d(self.bend(self.conv(x)), 4).flatten(1))


class Mine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@pytest.mark.parametrize("bend, ill", [(F.relu, False), (Mine.apply, False), (lambda x: x, True)])
def test_activations_called_as_functions_count_and_pooling_does_not(bend, ill):
    x, y = torch.randn(64, 1, 8, 8), torch.randint(0, 4, (64,))
    assert bool(model.missing_nonlinearity(evidence(Functional(bend), x=x, y=y))) == ill


def test_a_linear_model_of_one_layer_is_what_it_is():
    assert model.missing_nonlinearity(evidence(nn.Linear(12, 4))) is None


@pytest.mark.parametrize("dead, ill", [(0, False), (12, False), (21, True), (24, True)])
def test_more_dead_units_than_chance_makes_are_found(dead, ill):
    network = mlp()
    nn.init.zeros_(network[0].bias)
    network[0].bias.data[:dead] = -99
    assert bool(model.dead_units(evidence(network))) == ill


@pytest.mark.parametrize("units, dead, ill", [(8, 6, True), (64, 49, False), (64, 56, True)])
def test_a_layer_may_live_with_few_of_its_units_where_they_are_more_than_the_outputs(units, dead, ill):
    network = mlp(width=units)
    nn.init.zeros_(network[0].bias)
    network[0].bias.data[:dead] = -99
    assert bool(model.dead_units(evidence(network))) == ill


def samples_learnt(network):
    """Train only the last layer, so that the units before it stay as they are."""
    x, y = samples()
    optimizer = torch.optim.LBFGS(network[2].parameters(), max_iter=200)

    def loss():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(network(x), y)
        value.backward()
        return value

    optimizer.step(loss)


@pytest.mark.parametrize("act, name", [(nn.Tanh, "tanh"), (nn.Sigmoid, "sigmoid")])
def test_saturated_units_are_found_but_not_in_what_the_model_says_at_its_end(act, name):
    network = mlp(act=act)
    assert model.saturated_units(evidence(network)) is None
    network[0].weight.data.mul_(200)
    assert model.saturated_units(evidence(network)).where == name
    samples_learnt(network)
    assert model.saturated_units(evidence(network)) is None
    sure = mlp(nn.Sigmoid())
    sure[2].bias.data.fill_(99)
    assert model.saturated_units(evidence(sure)) is None


@pytest.mark.parametrize("batch, ill", [(1, True), (2, True), (3, False), (32, False)])
def test_batchnorm_needs_more_than_two_samples(batch, ill):
    normed = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    assert bool(model.small_batches(evidence(normed, batch=batch))) == ill
    assert model.small_batches(evidence(mlp(), batch=batch)) is None


def modal():
    return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 4))


def test_batchnorm_frozen_before_its_first_batch_is_found_and_a_trained_one_is_fine():
    network = modal()
    assert model.wrong_mode(evidence(network)) is None
    network[1].eval()
    assert model.wrong_mode(evidence(network)).where == "1"
    network[1].num_batches_tracked += 1
    assert model.wrong_mode(evidence(network)) is None
    network[1].momentum = 0.0
    assert model.wrong_mode(evidence(network)) is not None


def update(network, batch, optimizer, train=True, zero=True, step=True):
    network.train(train)
    if zero:
        optimizer.zero_grad()
    F.cross_entropy(network(batch[0]), batch[1]).backward()
    if step:
        optimizer.step()


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.1)


def with_step(network=None, **how):
    def train_step(network, batch, optimizer):
        update(network, batch, optimizer, **how)

    return evidence(
        network or modal(), made=sgd, train_step=train_step, eval_step=lambda network, batch: None
    )


def test_a_training_step_in_eval_mode_is_found_where_there_are_two_modes():
    assert model.wrong_mode_in_steps(with_step(train=False)) is not None
    assert model.wrong_mode_in_steps(with_step()) is None
    assert model.wrong_mode_in_steps(with_step(mlp(), train=False)) is None


def test_an_evaluation_in_train_mode_is_found():
    bad = evidence(modal(), eval_step=lambda network, batch: network(batch[0]))
    good = evidence(modal(), eval_step=lambda network, batch: network.eval()(batch[0]))
    assert model.wrong_mode_in_steps(bad) is not None
    assert model.wrong_mode_in_steps(good) is None


@pytest.mark.parametrize("bias, ill", [(0, False), (1.5, False), (8, True), (30, True)])
def test_the_first_loss_is_near_that_of_knowing_nothing(bias, ill):
    network = mlp()
    network[2].bias.data[0] += bias
    assert bool(loss.initial_loss(evidence(network))) == ill


@pytest.mark.parametrize("size, ill", [(4, False), (60, True)])
def test_the_first_logits_may_have_a_standard_deviation_of_4_but_not_of_60(size, ill):
    network, case = mlp(), evidence(mlp())
    network[2].weight.data *= size / network(case.x[:64]).std()
    assert bool(loss.initial_loss(evidence(network))) == ill


def test_a_loss_that_is_summed_has_a_limit_that_is():
    assert loss.initial_loss(evidence(mlp(), nn.CrossEntropyLoss(reduction="sum"))) is None


class Then(nn.Module):
    def __init__(self, first, then):
        super().__init__()
        self.first, self.then = first, then

    def forward(self, x):
        return self.then(self.first(x))


def test_a_loss_that_is_no_number_is_named_with_the_layer():
    assert loss.nonfinite_loss(evidence(mlp())) is None
    network = mlp()
    network[2].weight.data[0, 0] = torch.nan
    assert loss.nonfinite_loss(evidence(network)).where == "2"
    assert loss.nonfinite_loss(evidence(mlp(), lambda o, y: F.cross_entropy(o, y) / 0)).where == "loss_fn"


def test_a_slope_without_end_is_found_though_the_loss_is_finite():
    root = Then(mlp(), lambda o: o + (o * 0).square().sum(1, keepdim=True).sqrt())
    assert loss.nonfinite_gradients(evidence(root)).where == "first.2.bias"
    assert loss.nonfinite_gradients(evidence(mlp())) is None


def test_what_gets_no_gradient_is_named_and_counted():
    cut = nn.Sequential(Then(mlp(), torch.Tensor.detach), nn.Linear(4, 4))
    found = loss.no_gradient(evidence(cut))
    assert found.where == "0.first.0.weight" and "4 of 6" in found.evidence
    assert loss.no_gradient(evidence(mlp())) is None


@pytest.mark.parametrize("depth, act, gain, vanishes, explodes", [
    (1, nn.Sigmoid, 1, False, False), (8, nn.Sigmoid, 0.5, True, False), (8, nn.ReLU, 1, False, False),
    (8, nn.ReLU, 4, False, True), (2, nn.ReLU, 1, False, False),
])  # fmt: skip
def test_gradients_neither_vanish_nor_explode_with_depth(depth, act, gain, vanishes, explodes):
    case = evidence(deep(depth, act, gain))
    assert (bool(loss.vanishing(case)), bool(loss.exploding(case))) == (vanishes, explodes)


def test_the_optimizer_has_all_that_learns():
    network = mlp()
    assert optimizer.out_of_reach(evidence(network, made=sgd)) is None
    found = optimizer.out_of_reach(evidence(network, optimizer=sgd(list(network.parameters())[2:])))
    assert found.where == "0.weight" and "2 of 4" in found.evidence
    assert optimizer.out_of_reach(evidence(mlp().requires_grad_(False), optimizer=sgd(network.parameters())))


def test_a_frozen_backbone_is_worth_a_word_no_warning():
    network = mlp(width=200)
    network[0].requires_grad_(False)
    found = optimizer.frozen(evidence(network))
    assert found.severity == "info" and "2,600 of 3,404" in found.evidence
    assert optimizer.frozen(evidence(mlp())) is None


def test_gradients_that_add_up_are_found_also_with_dropout():
    assert "2 times" in optimizer.no_zero_grad(with_step(zero=False)).evidence
    assert optimizer.no_zero_grad(with_step()) is None
    with pytest.raises(Skip, match="step"):
        optimizer.no_zero_grad(with_step(step=False))


def test_accumulated_batches_are_no_forgotten_zero_grad():
    count = []

    def train_step(network, batch, optimizer):
        F.cross_entropy(network(batch[0]), batch[1]).backward()
        count.append(1)
        if len(count) % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()

    assert optimizer.no_zero_grad(evidence(mlp(), made=sgd, train_step=train_step)) is None


def test_an_update_moves_weights():
    assert optimizer.no_update(with_step(step=False)) is not None
    assert optimizer.no_update(with_step()) is None
    assert optimizer.no_update(evidence(mlp(), made=sgd)) is None
    assert optimizer.no_update(evidence(mlp(), made=lambda p: torch.optim.SGD(p, 0.0))) is not None


@pytest.mark.parametrize("made, low, high", [
    (lambda p: torch.optim.SGD(p, 0.1), False, False), (lambda p: torch.optim.SGD(p, 500), False, True),
    (lambda p: torch.optim.SGD(p, 1e-7), True, False), (lambda p: torch.optim.AdamW(p, 3e-4), False, False),
    (lambda p: torch.optim.Adam(p, 3.0), False, True), (lambda p: torch.optim.Adam(p, 1e-7), True, False),
])  # fmt: skip
def test_the_learning_rate_is_neither_too_high_nor_too_low(made, low, high):
    case = evidence(mlp(), made=made)
    assert (bool(trial.too_low(case)), bool(trial.too_high(case))) == (low, high)


@pytest.mark.parametrize("alike, ill", [(1.4, False), (0.3, True)])
def test_of_a_small_loss_a_jump_counts_where_one_answer_for_all_would_cost_less(alike, ill):
    runs = {1.0: ([0.29, 1.27] + [0.2] * 38, 0.29, 0.2, 0.05)}
    case = SimpleNamespace(alike=alike, trial=lambda rate: runs.get(rate, ([0.2] * 3, 0.29, 0.13, 0.05)))
    assert bool(trial.too_high(case)) == ill


@pytest.mark.parametrize("alike, ill", [(2.27, False), (1.99, True), (1.6, True)])
def test_what_has_learnt_may_lose_it_down_to_one_answer_for_all(alike, ill):
    runs = {1.0: ([1.5, 2.6] + [2.2] * 38, 1.55, 2.24, 0.05)}
    case = SimpleNamespace(alike=alike, trial=lambda rate, _=40: runs.get(rate, ([1.3], 1.55, 1.06, 0.05)))
    assert bool(trial.too_high(case)) == ill


@pytest.mark.parametrize("moved, ill", [(1e-6, True), (5e-4, False)])
def test_a_rate_that_moves_the_weights_is_not_too_low_though_the_loss_waits(moved, ill):
    runs = {1.0: ([2.37] * 40, 2.366, 2.3665, 40 * moved)}
    case = SimpleNamespace(trial=lambda rate: runs.get(rate, ([2.3] * 40, 2.366, 2.346, 0.5)))
    assert bool(trial.too_low(case)) == ill


def test_where_no_rate_helps_the_rate_is_not_to_blame():
    mixed = Then(mlp(), lambda o: o[torch.randperm(len(o))])
    case = evidence(mixed, made=sgd)
    assert trial.too_low(case) is None and trial.too_high(case) is None
    assert trial.cannot_overfit(case) is not None


@pytest.mark.parametrize("classes", [4, 10])
def test_labels_that_are_mixed_up_inside_the_loss_cannot_be_learnt_by_heart(classes):
    x, y = samples(classes)
    case = evidence(
        mlp(outputs=classes), lambda o, y: F.cross_entropy(o, y[torch.randperm(len(y))]), x=x, y=y
    )
    assert trial.cannot_overfit(case) is not None


@pytest.mark.parametrize("loss_fn", [
    nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.2), OneHot(),
    lambda o, y: F.mse_loss(o, F.one_hot(y, 4).float()),
])  # fmt: skip
def test_sixteen_samples_are_learnt_by_heart_whatever_the_floor_of_the_loss(loss_fn):
    assert trial.cannot_overfit(evidence(mlp(), loss_fn)) is None


def test_the_least_loss_is_the_loss_functions_own():
    outputs, y = torch.randn(16, 4), torch.arange(16) % 4
    q = torch.tensor([0.925, 0.025, 0.025, 0.025])
    smooth = trial._least(nn.CrossEntropyLoss(label_smoothing=0.1), outputs, y)
    assert smooth == pytest.approx(-(q * q.log()).sum().item(), abs=0.01)
    assert trial._least(nn.CrossEntropyLoss(), outputs, y) == pytest.approx(0, abs=0.01)


def test_the_least_loss_of_one_answer_for_all_is_the_entropy_of_the_labels():
    outputs, y = torch.randn(16, 4), torch.tensor([0] * 8 + [1] * 4 + [2] * 4)
    least = trial._least(nn.CrossEntropyLoss(), outputs, y, mean_answer)
    assert least == pytest.approx(1.5 * math.log(2), abs=0.01)


def test_what_samples_have_in_common_is_left_out_of_gradients_and_of_nothing_else():
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.randn(6, 3)
    seen = trial._apart(outputs, 0.97)
    (seen * weights).sum().backward()
    assert seen.equal(outputs) and torch.allclose(outputs.grad, weights - 0.97 * weights.mean(0), atol=1e-6)
    assert trial._apart(torch.arange(3), 0.97).equal(torch.arange(3))


@pytest.mark.parametrize("depth, width, scale, loss_fn, drop", [
    (3, 64, 0.0, OneHot(), 0.0), (3, 64, 0.0, OneHot(), 0.5), (4, 16, 1.0, nn.CrossEntropyLoss(), 0.0),
])  # fmt: skip
def test_a_slow_learner_is_not_taken_for_one_that_cannot_learn(depth, width, scale, loss_fn, drop):
    torch.manual_seed(0)
    sigmoids = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.Sigmoid())]
    slow = nn.Sequential(nn.Linear(12, width), nn.Sigmoid(), *sigmoids, nn.Dropout(drop), nn.Linear(width, 4))
    for parameter in slow[-1].parameters():
        parameter.data.mul_(scale)
    assert trial.cannot_overfit(evidence(slow, loss_fn)) is None


@pytest.mark.parametrize("end", [
    lambda o: o.mean(0, keepdim=True).expand_as(o), lambda o: 0.01 * o.tanh(),
    lambda o: F.dropout(o, 0.98),
])  # fmt: skip
def test_what_loses_the_inputs_on_its_way_learns_nothing_by_heart(end):
    assert trial.cannot_overfit(evidence(Then(mlp(), end))) is not None


@pytest.mark.parametrize("steps, rate, mixed, ill", [
    (60, 1e-3, True, True), (30, 1e-3, True, None), (60, 1e-3, False, None), (60, 2e-2, False, False),
])  # fmt: skip
def test_where_time_ends_first_what_is_on_its_way_gets_no_verdict(monkeypatch, steps, rate, mixed, ill):
    calls = iter(range(10**6))
    monkeypatch.setattr(trial, "thread_time", lambda: next(calls))  # a second a step
    monkeypatch.setattr(trial, "SECONDS", steps)
    monkeypatch.setattr(trial, "ATTEMPTS", [(rate, True)])
    case = evidence(Then(mlp(), lambda o: o[torch.randperm(len(o))] if mixed else o))
    if ill is None:
        with pytest.raises(Skip, match="more steps"):
            trial.cannot_overfit(case)
    else:
        assert bool(trial.cannot_overfit(case)) == ill


@pytest.mark.parametrize("between, ill", [((), False), ((nn.Sigmoid(), nn.Threshold(2, 0.5)), True)])
def test_probabilities_are_learnt_by_heart_too(between, ill):
    x, y = samples()
    case = evidence(mlp(*between, nn.Sigmoid(), outputs=1), nn.BCELoss(), x=x, y=(y[:, None] > 1).float())
    assert bool(trial.cannot_overfit(case)) == ill
    soft = torch.rand(16, 1, generator=torch.Generator().manual_seed(0))
    entropy = -(soft * soft.log() + (1 - soft) * (1 - soft).log()).mean().item()
    assert trial._least(nn.BCELoss(), torch.full((16, 1), 0.5), soft) == pytest.approx(entropy, abs=0.01)


def test_an_integer_beside_the_outputs_is_no_hindrance():
    pair = Then(mlp(), lambda o: (o, o.argmax(1)))
    case = evidence(pair, lambda o, y: F.cross_entropy(o[0], y), made=sgd)
    assert case.alike == pytest.approx(evidence(mlp()).alike) and trial.cannot_overfit(case) is None
    assert trial.too_high(case) is None and trial.too_low(case) is None


@pytest.mark.parametrize("build", [resnet18, mobilenet_v2])
def test_torchvisions_networks_are_built_well(build):
    torch.manual_seed(0)
    x, y = torch.randn(8, 3, 64, 64), torch.arange(8)
    case = evidence(build(num_classes=8), x=x, y=y, batch=8)
    rules = (model.bad_initialisation, model.missing_nonlinearity, model.dead_units, model.saturated_units)
    rules += (model.output_activation, model.wrong_mode, loss.initial_loss, loss.vanishing, loss.exploding)
    assert [rule(case) for rule in rules] == [None] * len(rules)


def test_a_vision_transformer_without_gelu_lacks_its_activation():
    torch.manual_seed(0)
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    network = VisionTransformer(32, 16, 2, 2, 32, 64, num_classes=4)
    assert model.missing_nonlinearity(evidence(network, x=x, y=y)) is None
    for block in network.encoder.layers:
        block.mlp[1] = nn.Identity()
    assert model.missing_nonlinearity(evidence(network, x=x, y=y)) is not None
