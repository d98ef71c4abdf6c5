"""Rules on faults that people reported, each with programs that have it and healthy ones that look alike."""

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dl_course.diagnostics import checkup, diagnose_history
from dl_course.diagnostics.rules import data, labels, loss, model, optimizer, probes, reading, trial
from dl_course.diagnostics.rules.finding import Skip
from tests.diagnostics.test_rules_model import evidence, mlp, samples

pytestmark = pytest.mark.timeout(180)  # it trains: more than a test has otherwise


class Then(nn.Module):
    """A network, then a function of its outputs and itself."""

    def __init__(self, function, network=None):
        super().__init__()
        self.network, self.function, self.state = network or mlp(), function, None

    def forward(self, *x):
        return self.function(self, *x)


def steps(count=128, length=12, seed=0):
    """Four classes of sequences, each with one marked step."""
    dice = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (count,), generator=dice)
    x = torch.randn(count, length, 6, generator=dice)
    x[torch.arange(count), torch.randint(0, length, (count,), generator=dice), y] += 4
    return x / x.std(), y


class Recurrent(nn.Module):
    def __init__(self, batch_first=True, keep=False):
        super().__init__()
        self.gru, self.out = nn.GRU(6, 16, batch_first=batch_first), nn.Linear(16, 4)
        self.keep, self.state = keep, None

    def forward(self, x):
        states, last = self.gru(x, self.state)
        self.state = last.detach() if self.keep else None
        return self.out(states[:, -1])


def recurrent(**given):
    torch.manual_seed(0)
    x, y = steps()
    return evidence(Recurrent(**given), x=x, y=y)


def number(end=None, change=lambda t: t, loss_fn=None, column=True):
    """A regression: standard normal labels, changed."""
    x = samples()[0]
    t = change((x[:, 0] - x[:, 1] - (x[:, 0] - x[:, 1]).mean()) / (x[:, 0] - x[:, 1]).std())
    network = mlp(*[end] * (end is not None), outputs=1)
    return evidence(network, loss_fn or nn.MSELoss(), x=x, y=t[:, None] if column else t)


def test_a_batch_taken_for_time_mixes_samples():
    assert "others' outputs move" in probes.samples_mixed(recurrent(batch_first=False)).evidence
    assert probes.samples_mixed(recurrent()) is None


@pytest.mark.parametrize("function, ill", [
    (lambda net, x: F.softmax(net.network(x), 0), True),
    (lambda net, x: net.network(x) - net.network(x).mean(0), True),
    (lambda net, x: net.network(x).T.reshape(len(x), 4), True),
    (lambda net, x: F.softmax(net.network(x), 1), False),
    (lambda net, x: F.normalize(net.network(x)) @ F.normalize(net.network(x)).T, False),  # similarities
    (lambda net, x: F.dropout(net.network(x), 0.3), False),  # random, not mixed
])  # fmt: skip
def test_samples_are_mixed_by_the_model_whatever_it_is_written_like(function, ill):
    assert bool(probes.samples_mixed(evidence(Then(function)))) == ill


@pytest.mark.parametrize("function, ill", [
    (lambda net, x: F.dropout(net.network(x), 0.3), True),
    (lambda net, x: nn.Dropout(0.3)(net.network(x)), True),
    (lambda net, x: net.network(x) + 0.1 * torch.randn(len(x), 4), True),
    (lambda net, x: F.dropout(net.network(x), 0.3, net.training), False),
    (lambda net, x: (net.network(x) * torch.randn(len(x), 4), net.network(x)), False),  # an autoencoder's
])  # fmt: skip
def test_evaluation_draws_no_random_numbers(function, ill):
    loss_fn = lambda o, y: F.cross_entropy(o[0] if isinstance(o, tuple) else o, y)  # noqa: E731
    assert bool(probes.random_in_eval(evidence(Then(function), loss_fn))) == ill


def test_a_state_kept_from_batch_to_batch_is_found():
    assert probes.stateful(recurrent(keep=True)) is not None
    assert probes.stateful(recurrent()) is None


class Words(nn.Module):
    def __init__(self, both=False, flat=False):
        super().__init__()
        self.embed, self.flat = nn.Embedding(9, 8), flat
        self.gru, self.out = (
            nn.GRU(8, 8, batch_first=True, bidirectional=both),
            nn.Linear(16 if both else 8, 9),
        )

    def forward(self, x):
        scores = self.out(self.gru(self.embed(x))[0])
        return scores.flatten(0, 1) if self.flat else scores


@pytest.mark.parametrize("flat", [True, False])
def test_a_model_of_language_sees_no_later_word(flat):
    words = torch.randint(0, 9, (64, 13), generator=torch.Generator().manual_seed(0))
    loss_fn = lambda o, y: F.cross_entropy(o.reshape(-1, 9), y.flatten())  # noqa: E731
    for both in (False, True):
        torch.manual_seed(0)
        case = evidence(Words(both, flat), loss_fn, x=words[:, :-1], y=words[:, 1:])
        assert bool(probes.future_leak(case)) == both
        assert flat or labels.labels_out_of_range(case) is None  # its classes are along the last axis
    with pytest.raises(Skip):
        probes.future_leak(evidence(Words(True), x=words[:, :-1], y=words[:, 0]))


@pytest.mark.parametrize("p, ill", [(0.5, False), (0.8, True)])
def test_dropout_of_eighty_percent_is_keep_for_drop(p, ill):
    assert bool(probes.strong_dropout(evidence(nn.Sequential(mlp(), nn.Dropout(p))))) == ill
    dropping = Then(lambda net, x: F.dropout(net.network(x), p, net.training))
    assert bool(probes.strong_dropout(evidence(dropping))) == ill


@pytest.mark.parametrize("initial", [lambda w: w, nn.init.kaiming_normal_, nn.init.xavier_uniform_])
def test_a_frozen_part_that_never_learnt_is_named(initial):
    network = nn.Sequential(mlp(outputs=24, width=96), nn.ReLU(), nn.Linear(24, 4))
    for layer in (network[0][0], network[0][2]):
        initial(layer.weight)
        nn.init.zeros_(layer.bias)
    assert probes.untrained_frozen(evidence(network)) is None
    network[0].requires_grad_(False)
    assert probes.untrained_frozen(evidence(network)).where == "0.0"
    with torch.no_grad():  # a step of learning
        for parameter in network[0].parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    assert probes.untrained_frozen(evidence(network)) is None


@pytest.mark.parametrize("loss_fn, ill", [
    (nn.MSELoss(), True), (lambda o, y: (o - y).abs().mean(), True),
    (lambda o, y: F.mse_loss(o.squeeze(1), y), False), (lambda o, y: o.square().mean(), False),
])  # fmt: skip
def test_every_output_is_compared_with_its_own_label_alone(loss_fn, ill):
    assert bool(loss.loss_broadcast(number(loss_fn=loss_fn, column=False))) == ill
    assert loss.loss_broadcast(number(loss_fn=loss_fn if not ill else nn.MSELoss())) is None


def test_a_loss_of_all_pairs_in_a_batch_is_no_broadcast():
    pairs = lambda z, y: F.cross_entropy(z @ z.T, (y[:, None] == y).float())  # noqa: E731
    assert loss.loss_broadcast(evidence(mlp(), pairs)) is None


def test_a_sum_is_worth_a_word():
    assert loss.sum_of_losses(evidence(mlp(), nn.CrossEntropyLoss(reduction="sum"))).severity == "info"
    assert loss.sum_of_losses(evidence(mlp())) is None


class Listed(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layers, self.out = kind([nn.Linear(12, 24), nn.Linear(24, 24)]), nn.Linear(24, 4)

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.out(x)


def test_layers_in_a_list_are_no_parameters():
    assert "4 tensors" in loss.unregistered(evidence(Listed(list))).evidence
    assert loss.unregistered(evidence(Listed(nn.ModuleList))) is None
    made = Then(lambda net, x: net.network(x.detach().requires_grad_()))
    assert loss.unregistered(evidence(made)) is None  # what forward makes anew is no parameter


def test_a_softmax_of_one_number_passes_no_gradient():
    one = Then(lambda net, x: net.network(x) * F.softmax(net.network(x)[:, :1], 1))
    assert loss.zero_gradient(evidence(one)) is None
    assert (
        loss.zero_gradient(evidence(mlp(nn.Softmax(1), outputs=1), lambda o, y: o.mean())).where == "0.weight"
    )
    zeros = torch.zeros(256, dtype=torch.long)
    assert "always" in loss.zero_gradient(evidence(mlp(outputs=1), x=samples()[0], y=zeros)).evidence


def test_a_head_of_zeros_and_a_margin_that_is_kept_are_no_zero_gradient():
    head = mlp()
    nn.init.zeros_(head[2].weight)
    assert loss.zero_gradient(evidence(head)) is None
    assert loss.zero_gradient(evidence(mlp(), lambda o, y: F.relu(o.square().mean() - 9))) is None


@pytest.mark.parametrize("loss_fn, ill", [
    (lambda o, y: F.mse_loss(o, y) + F.mse_loss(o.detach(), y.roll(1)) * o.detach().std(), True),
    (lambda o, y: 0.1 * F.mse_loss(o, y) + F.l1_loss(o, y).item(), True),
    (nn.MSELoss(), False), (nn.L1Loss(), False),
])  # fmt: skip
def test_all_of_the_loss_has_a_gradient(loss_fn, ill):
    assert bool(loss.gradient_mismatch(number(loss_fn=loss_fn))) == ill


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_gradient_made_up_on_purpose_is_left_alone():
    with pytest.raises(Skip, match="own"):
        loss.gradient_mismatch(evidence(Then(lambda net, x: Straight.apply(net.network(x)))))


@pytest.mark.parametrize("change, loss_fn, ill", [
    (lambda y: y * 0, nn.CrossEntropyLoss(), True), (lambda y: y, nn.CrossEntropyLoss(), False),
    (lambda y: y * 0, lambda o, y: o.square().mean(), False),  # which the loss does not see
])  # fmt: skip
def test_labels_differ(change, loss_fn, ill):
    x, y = samples()
    assert bool(labels.constant_labels(evidence(mlp(), loss_fn, x=x, y=change(y)))) == ill


def test_a_mask_divided_by_255_is_constant_for_a_binary_loss_alone():
    mask = (samples()[0][:, :4] > 0).float() / 255
    case = evidence(mlp(), nn.BCEWithLogitsLoss(), x=samples()[0], y=mask)
    assert labels.constant_labels(case) is not None
    assert labels.constant_labels(evidence(mlp(), nn.MSELoss(), x=samples()[0], y=mask)) is None


@pytest.mark.parametrize("change, ill", [
    (lambda y: y + 1, True), (lambda y: 2 * y - 1, True), (lambda y: y, False), (lambda y: 0.9 * y, False),
])  # fmt: skip
def test_labels_of_a_binary_loss_are_from_0_to_1(change, ill):
    x = samples()[0]
    case = evidence(mlp(outputs=1), nn.BCEWithLogitsLoss(), x=x, y=change((x[:, :1] > 0).float()))
    assert bool(labels.binary_labels_out_of_range(case)) == ill
    critic = lambda o, y: -(o * y).mean()  # noqa: E731
    assert labels.binary_labels_out_of_range(number(loss_fn=critic)) is None


@pytest.mark.parametrize("size, ill", [(1, False), (30, False), (3000, True)])
def test_labels_have_a_size_that_outputs_can_reach(size, ill):
    assert bool(labels.scale_of_labels(number(change=lambda t: size * (t + 2)))) == ill
    scaled = number(change=lambda t: size * t, loss_fn=lambda o, y: F.mse_loss(o, y / size))
    assert labels.scale_of_labels(scaled) is None


@pytest.mark.parametrize("end, change, ill", [
    (nn.ReLU(), lambda t: t, True), (nn.Sigmoid(), lambda t: 9 + t, True), (nn.Tanh(), lambda t: 4 * t, True),
    (nn.ReLU(), lambda t: t.exp(), False), (nn.Sigmoid(), lambda t: t.sigmoid(), False),
    (nn.Tanh(), lambda t: t.tanh(), False), (None, lambda t: t, False), (nn.LeakyReLU(), lambda t: t, False),
])  # fmt: skip
def test_the_last_activation_can_reach_the_labels(end, change, ill):
    assert bool(labels.output_range(number(end, change))) == ill


def test_rows_that_sum_to_one_are_for_labels_that_do():
    x, y = samples()
    many, one = (x[:, :4] > 0).float(), F.one_hot(y, 4).float()
    for target, ill in ((many, True), (one, False)):
        assert bool(labels.output_range(evidence(mlp(nn.Softmax(1)), nn.BCELoss(), x=x, y=target))) == ill


def test_copies_of_a_picture_in_a_row_are_no_sorted_classes():
    y = samples()[1].repeat_interleave(3)
    case = evidence(mlp(), x=samples()[0].repeat_interleave(3, 0), y=y)
    assert labels.unshuffled(case) is None
    assert labels.unshuffled(evidence(mlp(), x=samples()[0], y=samples()[1].sort().values))


def test_a_sign_that_moves_about_in_a_sequence_and_a_large_majority_are_no_noise():
    x, y = steps(600, 30)
    torch.manual_seed(0)
    assert data.label_noise(evidence(Recurrent(), x=x, y=y)) is None
    assert data.label_noise(evidence(Recurrent(), x=x, y=y.roll(1))) is not None


def stepped_by(step):
    network = mlp()
    made = torch.optim.SGD(network.parameters(), 0.1)
    return evidence(network, optimizer=made, train_step=step(made), batch=8)


def plain(network, batch, made, clip=None, scale=1.0):
    made.zero_grad()
    (scale * F.cross_entropy(network(batch[0]), batch[1])).backward()
    if clip:
        nn.utils.clip_grad_norm_(network.parameters(), clip)
    made.step()


def scheduled(schedule):
    def form(made):
        plan = schedule(made)

        def step(network, batch, given):
            plain(network, batch, given)
            plan.step()

        return step

    return form


@pytest.mark.parametrize("schedule, ill", [
    (lambda o: torch.optim.lr_scheduler.StepLR(o, 4), True),
    (lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.7), True),
    (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 32), False),  # one epoch has 32 steps
    (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10), True),  # epochs, where steps are meant
    (lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 32), False),
    (lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, 32), False),
    (lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: min(1, i / 500)), False),
])  # fmt: skip
def test_the_rate_lasts_for_an_epoch(schedule, ill):
    assert bool(optimizer.schedule_too_fast(stepped_by(scheduled(schedule)))) == ill


def average_copied(share):
    def form(made):
        means = []

        def step(network, batch, given):
            means[:] = means or [p.detach().clone() for p in network.parameters()]
            plain(network, batch, given)
            with torch.no_grad():
                for mean, p in zip(means, network.parameters(), strict=True):
                    p.copy_(mean.lerp_(p, 0.001) if share else p)

        return step

    return form


@pytest.mark.parametrize("share, ill", [(True, True), (False, False)])
def test_what_a_step_copies_back_over_the_weights_counts(share, ill):
    assert bool(optimizer.step_too_small(stepped_by(average_copied(share)))) == ill


def summed(divided):
    def form(made):
        calls = []

        def step(network, batch, given):
            if len(calls) % 4 == 0:
                given.zero_grad()
            (F.cross_entropy(network(batch[0]), batch[1]) / divided).backward()
            calls.append(batch)
            if len(calls) % 4 == 0:
                given.step()

        return step

    return form


@pytest.mark.parametrize("form, ill", [(summed(1), True), (summed(4), False), (lambda made: plain, False)])
def test_gradients_of_micro_batches_are_averaged(form, ill):
    found = optimizer.summed_gradients(stepped_by(form))
    assert bool(found) == ill
    assert not ill or (found.severity, found.fault) == ("info", "loss-is-a-sum")


@pytest.mark.parametrize("clip, ill", [(1e-4, True), (1.0, False), (0.05, False)])
def test_a_step_is_not_clipped_away(clip, ill):
    step = lambda made: lambda network, batch, given: plain(network, batch, given, clip)  # noqa: E731
    assert bool(optimizer.step_too_small(stepped_by(step))) == ill


def micro(made, late=True, inner=False):
    calls = []

    def step(network, batch, given):
        calls.append(1)
        parts = zip(batch[0].chunk(4), batch[1].chunk(4), strict=True) if inner else [batch]
        for x, y in parts:
            if not late or len(calls) % 4 == 1:
                given.zero_grad()
            F.cross_entropy(network(x), y).backward()
        if inner or len(calls) % 4 == 0:
            given.step()

    return step


@pytest.mark.parametrize(
    "late, inner, ill", [(True, False, False), (False, False, True), (False, True, True)]
)
def test_all_micro_batches_count(late, inner, ill):
    assert bool(optimizer.accumulation_lost(stepped_by(lambda made: micro(made, late, inner)))) == ill


def test_a_plain_step_and_one_on_adversarial_inputs_lose_nothing():
    def adversarial(network, batch, made):
        x = batch[0].clone().requires_grad_()
        F.cross_entropy(network(x), batch[1]).backward()
        plain(network, (batch[0] + 0.1 * x.grad.sign(), batch[1]), made)

    assert optimizer.accumulation_lost(stepped_by(lambda made: plain)) is None
    assert optimizer.accumulation_lost(stepped_by(lambda made: adversarial)) is None


class Rows(Dataset):
    def __init__(self, change, rng=None):
        (self.x, self.y), self.change, self.rng = samples(), change, rng

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.change(self, index), self.y[index]


def reading_of(rows, workers=0):
    case = evidence(mlp())
    case.train_loader = DataLoader(rows, 32, num_workers=workers)
    return case


@pytest.mark.parametrize("change, ill", [
    (lambda rows, i: rows.x[i].mul_(1.1).clone(), True),
    (lambda rows, i: rows.x[i] * 1.1, False),
    (lambda rows, i: rows.x[i] + torch.randn(12), False),
    (lambda rows, i: rows.x[i] + float(rows.rng.normal()), False),
])  # fmt: skip
def test_a_sample_read_again_is_the_same(change, ill):
    assert bool(reading.data_changes(reading_of(Rows(change, np.random.default_rng(0))))) == ill


class Stream(IterableDataset):
    def __iter__(self):
        return zip(*samples(), strict=True)


def copied(rows, index):
    return rows.x[index] + rows.rng.normal(size=12).astype("float32")


def drawn(rows, index):
    return rows.x[index] + torch.randn(12)


def copied_now_and_then(rows, index):
    return rows.x[index] + float(rows.rng.random() < 0.7)


def flipped(rows, index):
    return rows.x[index] * (1 - 2 * torch.randint(0, 2, ()))


@pytest.mark.parametrize("change, ill", [
    (copied, True), (copied_now_and_then, True), (drawn, False), (flipped, False),
])  # fmt: skip
def test_workers_draw_random_numbers_of_their_own(change, ill):
    case = reading_of(Rows(change, np.random.default_rng(0)), workers=2)
    assert bool(reading.workers_alike(case)) == ill
    with pytest.raises(Skip):
        reading.workers_alike(reading_of(Rows(change)))


def test_workers_that_all_read_the_whole_stream_are_alike():
    case = reading_of(Stream(), workers=2)
    case.train = [*case.train[:1], *case.train[:1]]
    assert "the same in every number" in reading.workers_alike(case).evidence


def test_a_picture_torn_apart_by_view_is_found():
    low = torch.randn(64, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    x = F.interpolate(low, 24, mode="bilinear")
    torn = x.permute(0, 2, 3, 1).reshape(64, 3, 24, 24)
    network = nn.Sequential(nn.Flatten(), nn.Linear(1728, 4))
    for pictures, ill in ((x, False), (torn, True), (torch.randn_like(x), False)):
        assert bool(reading.scrambled(evidence(network, x=pictures, y=torch.arange(64) % 4))) == ill


def test_six_of_eight_units_are_dead():
    network = mlp(width=8)
    with torch.no_grad():
        network[0].bias[:6] = -30
    assert "6 of 8" in model.dead_units(evidence(network)).evidence
    assert model.dead_units(evidence(mlp(width=8))) is None


def test_outputs_of_a_linear_layer_may_sum_to_one():
    network = mlp()
    nn.init.zeros_(network[2].weight)
    nn.init.constant_(network[2].bias, 0.25)
    assert model.output_activation(evidence(network)) is None


def test_a_rate_too_low_for_labels_far_away_is_named_and_the_right_one_is_not():
    for rate, ill in ((1e-3, True), (0.1, False)):
        torch.manual_seed(0)
        x = torch.randn(256, 1)
        network = nn.Linear(1, 1)
        made = torch.optim.RMSprop(network.parameters(), rate)
        case = evidence(network, nn.MSELoss(), optimizer=made, x=x, y=30 * x + 50)
        assert bool(trial.too_low(case)) == ill
        assert loss.exploding(case) is None and trial.cannot_overfit(case) is None


def test_one_noisy_late_epoch_is_no_overfitting_and_too_few_epochs_are_said_to_be_few():
    down = [1 / (1 + epoch) for epoch in range(10)]
    noisy = {"epoch": range(10), "train_loss": down, "val_loss": [*down[:-1], 0.9]}
    assert "overfitting" not in diagnose_history(noisy).faults
    slow = {"epoch": range(8), "train_loss": [2.3 - 0.1 * e for e in range(8)]}
    (found,) = [each for each in diagnose_history(slow) if each.fault == "underfitting"]
    assert "still falling" in found.evidence


def test_a_sum_is_the_cause_of_a_rate_too_high():
    network = mlp()
    made = torch.optim.SGD(network.parameters(), 0.5)
    x, y = samples()
    batches = [(x[i : i + 64] * 1.0, y[i : i + 64]) for i in range(0, 256, 64)]
    report = checkup(network, batches, nn.CrossEntropyLoss(reduction="sum"), optimizer=made)
    assert {f.fault: f.because for f in report}["lr-too-high"] == "loss-is-a-sum"


def test_weights_that_a_parametrization_makes_can_learn():
    normed = nn.utils.parametrizations.weight_norm
    network = nn.Sequential(normed(nn.Linear(12, 96)), nn.ReLU(), normed(nn.Linear(96, 96)), nn.Linear(96, 4))
    made = torch.optim.SGD(network.parameters(), 0.1)
    assert probes.untrained_frozen(evidence(network, optimizer=made)) is None
    network[:3].requires_grad_(False)
    assert "2 frozen layers" in probes.untrained_frozen(evidence(network, optimizer=made)).evidence


def test_a_gate_of_float32_without_a_gradient_is_told_from_one_that_has_one():
    for made, ill in ((lambda g: torch.tensor(g.tolist()), True), (lambda g: g.float(), False)):
        network = Then(lambda net, x, made=made: (h := net.network(x)) * made((4 * h).sigmoid()))
        assert bool(loss.gradient_mismatch(evidence(network))) == ill


def test_where_the_loss_can_be_negative_there_is_no_first_loss_to_expect():
    network = mlp()
    with torch.no_grad():
        network[2].bias[0] = 40
    assert loss.initial_loss(evidence(network)) is not None
    gain = torch.where(samples()[1] == 0, 1.0, -0.5)[:64]
    policy = lambda o, y: (F.cross_entropy(o, y, reduction="none") * gain[: len(y)]).mean()  # noqa: E731
    assert loss.initial_loss(evidence(network, policy)) is None


@pytest.mark.parametrize("factor, ill", [(1, False), (5, True)])
def test_weights_drawn_by_the_number_of_outputs_may_cost_more(factor, ill):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 600), nn.BatchNorm1d(600), nn.ReLU(), nn.Linear(600, 4))
    nn.init.kaiming_uniform_(network[3].weight, mode="fan_out").data.mul_(factor)
    assert bool(loss.initial_loss(evidence(network))) == ill


class Waves(nn.Module):
    """As SIREN, with weights 100 times smaller and a factor of 100: Sitzmann et al., NeurIPS 2020."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 3)
        for layer, edge in ((self.a, 0.5), (self.b, 0.003), (self.c, 0.003)):
            nn.init.uniform_(layer.weight, -edge, edge)

    def forward(self, x):
        return self.c((100 * self.b((100 * self.a(x)).sin())).sin())


def test_small_weights_with_a_factor_behind_them_make_no_gradient_vanish():
    torch.manual_seed(0)
    case = evidence(Waves(), nn.MSELoss(), x=2 * torch.rand(256, 2) - 1, y=torch.rand(256, 3))
    assert loss._growth(case)[1] < -math.log(1000)
    assert loss.vanishing(case) is None


@pytest.mark.parametrize("end, lower, ill", [(0.5, 0.6, False), (2.0, 0.6, True), (0.5, 0.1, True)])
def test_a_loss_that_rises_first_is_judged_by_where_it_ends(end, lower, ill):
    rising = [1.0, *[9.0] * 20, *[4.0] * 19]
    runs = {(1.0, 40): (rising, 1.0, 4.0, 0.5), (1.0, 300): ([*rising, *[4.0] * 260], 1.0, end, 0.9)}
    trial_of = lambda rate, count=40: runs.get((rate, count), ([1.0, lower], 1.0, lower, 0.1))  # noqa: E731
    assert bool(trial.too_high(SimpleNamespace(trial=trial_of, alike=1.0))) == ill


@pytest.mark.parametrize("late, skipped", [(3.0, True), (6.0, False)])
def test_a_loss_that_comes_down_still_when_time_is_over_gets_no_verdict(late, skipped):
    rising = [1.0, *[9.0] * 20, *[4.0] * 19]
    runs = {
        (1.0, 40): (rising, 1.0, 4.0, 0.5),
        (1.0, 300): ([1.0, *[6.0] * 39, *[late] * 20], 1.0, late, 0.5),
    }
    trial_of = lambda rate, count=40: runs.get((rate, count), ([1.0, 0.6], 1.0, 0.6, 0.1))  # noqa: E731
    case = SimpleNamespace(trial=trial_of, alike=1.0)
    if skipped:
        with pytest.raises(Skip, match="more steps"):
            trial.too_high(case)
    else:
        assert trial.too_high(case)


@pytest.mark.parametrize("lower, ill", [(1.1, False), (0.2, True)])
def test_a_peak_on_the_way_to_the_lower_end_is_no_sign_of_a_high_rate(lower, ill):
    peak = [2.0, *[8.0] * 5, *[1.0] * 34]
    trial_of = lambda rate: (peak, 2.0, 0.5, 0.5) if rate == 1 else ([1.0, lower], 2.0, lower, 0.1)  # noqa: E731
    assert bool(trial.too_high(SimpleNamespace(trial=trial_of, alike=1.0))) == ill


def test_a_network_too_slow_for_ten_steps_is_given_none():
    case = evidence(mlp())
    assert case.outputs is not None and case.seconds > 0
    case.seconds = 1.0
    with pytest.raises(Skip, match="more steps"):
        trial.cannot_overfit(case)


def test_a_loss_below_zero_that_falls_is_no_sign_of_a_high_rate():
    runs = SimpleNamespace(trial=lambda rate: ([-1.0] * 20 + [-1.5] * 20, -1.0, -1.5, 0.1), alike=-1.0)
    assert trial.too_high(runs) is None


class Tagger(nn.Module):
    """Classes along the first axis or the last, by letters and neighbours; then what ``end`` makes of it."""

    def __init__(self, last, end=lambda o: o):
        super().__init__()
        self.letters, self.last, self.end = nn.Embedding(9, 8), last, end
        self.conv = nn.Conv1d(8, 5, 3, padding=1)

    def forward(self, x):
        o = self.conv(self.letters(x).transpose(1, 2))
        return self.end(o.transpose(1, 2) if self.last else o)


def tagging(last, loss_fn, end=lambda o: o):
    torch.manual_seed(0)
    words = torch.randint(0, 9, (64, 13), generator=torch.Generator().manual_seed(0))
    return evidence(Tagger(last, end), loss_fn, x=words, y=words % 5)


def rows(o, y):
    return F.cross_entropy(o.reshape(-1, 5), y.reshape(-1))


@pytest.mark.parametrize("last, loss_fn, ill", [
    (False, rows, True), (True, rows, False), (False, nn.CrossEntropyLoss(), False),
    (False, nn.CrossEntropyLoss(label_smoothing=0.2), False),
    (False, lambda o, y: F.cross_entropy(o / 50, y), False),
    (False, lambda o, y: -F.cross_entropy(o, y), True), (False, lambda o, y: F.cross_entropy(-o, y), False),
    (True, lambda o, y: F.cross_entropy(o[:, :-1].reshape(-1, 5), y[:, 1:].reshape(-1)), False),
])  # fmt: skip
def test_outputs_that_say_the_labels_are_paid_for_it(last, loss_fn, ill):
    assert bool(labels.wrong_answers(tagging(last, loss_fn))) == ill


@pytest.mark.parametrize("axis, ill", [(1, False), (2, True)])
def test_log_probabilities_of_sequences_sum_over_classes(axis, ill):
    case = tagging(False, nn.NLLLoss(), lambda o: o.log_softmax(axis))
    assert bool(model.output_activation(case)) == ill


def dice_of(o, y):
    return 1 - (2 * (o[:, 0] * y).sum() + 1) / (o.sum() + y.sum() + 1)


@pytest.mark.parametrize("ends, loss_fn, ill", [
    ([], dice_of, True), ([nn.Sigmoid()], dice_of, False), ([], lambda o, y: dice_of(o.sigmoid(), y), False),
    ([], lambda o, y: F.mse_loss(o[:, 0], y), False),
    ([], lambda o, y: (o[:, 0] * (1 - 2 * y)).mean(), False),  # a critic's
    ([], lambda o, y: F.binary_cross_entropy_with_logits(o[:, 0], y), False),
])  # fmt: skip
def test_a_loss_of_probabilities_gets_them(ends, loss_fn, ill):
    x, y = samples()
    case = evidence(mlp(*ends, outputs=1), loss_fn, x=x, y=(y == 0).float())
    assert bool(model.probabilities_wanted(case)) == ill


@pytest.mark.parametrize("first, blank, ill", [(0, 0, True), (1, 0, False), (0, 5, False)])
def test_a_blank_is_no_letter(first, blank, ill):
    letters = first + torch.randint(0, 5, (64, 3), generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.LogSoftmax(1))
    count = lambda o, n: torch.full((len(o),), n)  # noqa: E731
    loss_fn = lambda o, y: F.ctc_loss(o.permute(2, 0, 1), y, count(o, 12), count(o, 3), blank)  # noqa: E731
    case = evidence(network, loss_fn, x=torch.randn(64, 4, 12), y=letters)
    assert bool(labels.blanks(case)) == ill


@pytest.mark.parametrize("gate, ill", [
    (lambda h: (h > 0).float() + h.sigmoid() - h.sigmoid().detach(), True),  # another one's value
    (lambda h: (s := h.sigmoid()) + ((h > 0).float() - s).detach(), False),
    (lambda h: (h > 0).float() + ((s := h.sigmoid()) - s.detach()), False),
    (lambda h: (h > 0).float() - (s := h.sigmoid()).detach() + s, False),
    (lambda h: h + h.sigmoid().detach(), True),
])  # fmt: skip
def test_a_gradient_made_up_on_purpose_is_no_mismatch(gate, ill):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(12, 24), nn.Linear(24, 4)

        def forward(self, x):
            return self.b(gate(self.a(x)))

    torch.manual_seed(0)
    with contextlib.suppress(Skip):
        assert bool(loss.gradient_mismatch(evidence(Gated()))) == ill


class Edged(nn.Module):
    """A network with a ReLU whose edge stands ``far`` along the way that slopes are measured on."""

    def __init__(self, far):
        super().__init__()
        self.scale, self.net, self.far = nn.Parameter(torch.ones(())), mlp(), far
        self.pace = torch.randn((), generator=torch.Generator().manual_seed(0))  # the scale's, it comes first

    def forward(self, x):
        return self.net(x) * (1 + 20 * ((self.scale - 1) / self.pace - self.far).relu())


@pytest.mark.parametrize("edge", [1.0003e-3, 1.003e-3, 1.012e-3, 1.03e-3, 1.1e-3])
def test_an_edge_near_where_slopes_are_measured_is_no_mismatch(edge):
    case = evidence(Edged(edge))
    assert loss.gradient_mismatch(case) is None


def test_words_need_not_all_be_learnt_by_heart_but_some():
    words = torch.randint(0, 9, (64, 13), generator=torch.Generator().manual_seed(0))
    mixed = lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()[torch.randperm(y.numel())])  # noqa: E731
    plain = lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten())  # noqa: E731
    for loss_fn, ill in ((plain, False), (mixed, True)):
        torch.manual_seed(0)
        case = evidence(Words(), loss_fn, x=words[:, :-1], y=words[:, 1:])
        assert bool(trial.cannot_overfit(case)) == ill


@pytest.mark.parametrize("momentum, ill", [(0.1, False), (None, False), (1.0, True), (0.0, True)])
def test_running_statistics_follow_more_than_the_last_batch(momentum, ill):
    network = nn.Sequential(mlp(), nn.BatchNorm1d(4, momentum=momentum))
    assert bool(model.wrong_mode(evidence(network))) == ill


@pytest.mark.parametrize("end, ill", [(nn.LogSoftmax(1), False), (nn.Softmax(1), True)])
def test_a_divergence_takes_log_probabilities(end, ill):
    x, y = samples()
    case = evidence(
        mlp(end), nn.KLDivLoss(reduction="batchmean"), x=x, y=0.9 * F.one_hot(y, 4).float() + 0.025
    )
    assert bool(model.output_activation(case)) == ill


@pytest.mark.parametrize("outputs, ill", [(4, False), (1, True)])
def test_a_norm_of_one_number_passes_no_gradient(outputs, ill):
    x, y = samples()
    case = evidence(
        mlp(nn.LayerNorm(outputs), outputs=outputs), nn.MSELoss(), x=x, y=1 + torch.randn(256, outputs)
    )
    assert bool(loss.zero_gradient(case)) == ill


class Masked(nn.Module):
    def __init__(self, cut=False):
        super().__init__()
        torch.manual_seed(0)
        self.cut, self.embed, self.out = cut, nn.Embedding(9, 16), nn.Linear(16, 9)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        states = self.block(self.embed(x), src_mask=mask)
        return self.out(states.detach() + 0.5 * states if self.cut else states)


@pytest.mark.parametrize("cut, ill", [(False, False), (True, True)])
def test_a_mask_of_floats_in_attention_is_no_mismatch(cut, ill):
    words = torch.randint(0, 9, (64, 13), generator=torch.Generator().manual_seed(0))
    loss_fn = lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten())  # noqa: E731
    case = evidence(Masked(cut), loss_fn, x=words[:, :-1], y=words[:, 1:])
    assert bool(loss.gradient_mismatch(case)) == ill


def test_random_numbers_that_shift_with_a_sample_are_the_cause_of_samples_that_move():
    network = Then(lambda net, x: F.rrelu(net.network(x), training=True))
    report = checkup(network, evidence(network).train_loader, nn.CrossEntropyLoss())
    found = {each.fault: each.because for each in report}
    assert found["random-in-eval"] is None and found["samples-mixed"] == "random-in-eval"


@pytest.mark.parametrize("rise, ill", [(0.0, False), (0.2, True)])
def test_a_noisy_validation_has_not_risen(rise, ill):
    t = np.arange(30)
    noise = np.exp(0.03 * np.random.default_rng(190).standard_normal(30))
    val = (0.65 + 0.5 * np.exp(-t)) * noise + rise * (t / 30)
    history = {"epoch": t, "train_loss": 0.55 + 1.5 * np.exp(-t / 2), "val_loss": val}
    assert ("overfitting" in diagnose_history(history).faults) == ill


@pytest.mark.parametrize("end, ill", [([], False), ([nn.Softmax(1)], True), ([nn.LogSoftmax(1)], False)])
def test_logits_of_a_segmentation_go_bare_into_the_loss(end, ill):
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1), *end)
    case = evidence(network, nn.CrossEntropyLoss(), x=x, y=(x[:, 0] > 0).long())
    assert bool(model.output_activation(case)) == ill


@pytest.mark.parametrize("moved, ill", [(0.0, True), (math.nan, False), (0.1, False)])
def test_weights_that_are_no_numbers_any_more_have_moved(moved, ill):
    case = SimpleNamespace(given={"train_step": None}, plain=moved, flow=pd.DataFrame({"gradient": [1.0]}))
    assert bool(optimizer.no_update(case)) == ill
