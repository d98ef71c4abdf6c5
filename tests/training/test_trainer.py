"""The Trainer against loops by hand: the same numbers, in every precision, schedule and kind of loader."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from dl_course.training import Trainer, schedules
from tests.training.small import PICTURES, dataset, loader, net, same, trainer


def by_hand(model, batches, epochs, accumulate=1, clip=None, **sgd):
    """The loop of chapter 04, without any of ours."""
    optimizer, losses, norms = torch.optim.SGD(model.parameters(), **sgd), [], []
    for _ in range(epochs):
        rest = list(batches)
        while rest:
            group, rest = rest[:accumulate], rest[accumulate:]
            samples = sum(len(y) for _, y in group)
            optimizer.zero_grad()
            for x, y in group:
                loss = F.cross_entropy(model(x), y, reduction="sum") / samples
                loss.backward()
                losses.append(loss.item() * samples / len(y))
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip or math.inf).item())
            optimizer.step()
    return losses, norms


@settings(max_examples=15)
@given(
    st.integers(1, 20), st.integers(1, 8), st.integers(1, 3), st.sampled_from([None, 0.3]), st.integers(1, 3)
)
def test_a_fit_is_the_loop_by_hand(samples, size, accumulate, clip, epochs):
    torch.manual_seed(0)
    pairs = TensorDataset(torch.randn(samples, 5), torch.randint(0, 3, (samples,)))
    batches, model = DataLoader(pairs, size), nn.Linear(5, 3)
    other = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    run = Trainer(
        model, batches, loss_fn=nn.CrossEntropyLoss(), optimizer=optimizer, accumulate=accumulate,
        max_grad_norm=clip, device="cpu",
    )  # fmt: skip
    history = run.fit(epochs)
    _, norms = by_hand(other, list(batches), epochs, accumulate, clip, lr=0.1, momentum=0.9)
    torch.testing.assert_close(model.weight, other.weight)
    np.testing.assert_allclose(history.steps.gradient_norm, norms, rtol=1e-4, atol=1e-6)


def test_accumulating_equals_a_big_batch_also_in_the_last_incomplete_group():
    big, small = net(norm=False), net(norm=False)
    for model, size, accumulate in ((big, 12, 1), (small, 4, 3)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer(model, loader(batch=size), optimizer=optimizer, accumulate=accumulate).fit(2)
    torch.testing.assert_close(big.state_dict(), small.state_dict())


def test_the_epochs_row_is_made_of_its_samples_not_of_its_batches():
    run = trainer(net(), loader(10, batch=4), val=loader(7, batch=3))
    row = run.fit(1).epochs.iloc[0]
    steps = run.history.steps
    assert row.train_loss == pytest.approx((steps.loss * steps.samples).sum() / 10)
    x, y = dataset(7)[:]
    with torch.no_grad():
        logits = run.model.eval()(x)
    assert row.val_loss == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-5)
    assert row.val_accuracy == pytest.approx((logits.argmax(1) == y).double().mean().item())
    assert row.samples_per_second == pytest.approx(10 / steps.seconds.sum())


def test_evaluating_changes_nothing_of_the_model():
    run = trainer(net())
    run.model[0].eval()
    before = copy.deepcopy(run.model.state_dict())
    found = run.evaluate(run.train_loader)
    assert set(found) == {"loss", "accuracy"} and same(before, run.model.state_dict())
    assert run.model.training and not run.model[0].training
    assert all(p.grad is None for p in run.model.parameters())


def test_a_model_left_in_eval_mode_is_trained_in_train_mode():
    run = trainer(net().eval())
    run.fit(1)
    assert all(module.training for module in run.model.modules())


def test_a_frozen_batch_norm_of_a_model_in_train_mode_stays_frozen():
    model = net()
    model[1].eval()
    before = model[1].running_mean.clone()
    trainer(model).fit(1)
    assert torch.equal(model[1].running_mean, before)


def test_gradients_left_over_from_before_do_not_count():
    one, other = net(), net()
    F.cross_entropy(other(PICTURES[0]), PICTURES[1]).backward()
    other.load_state_dict(one.state_dict())
    for model in (one, other):
        trainer(model).fit(1)
    assert same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("kind", ["torch's", "ours"])
def test_a_schedule_is_stepped_where_its_interval_says(kind):
    def rates(make):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = make(optimizer)
        run = trainer(model, loader(8, batch=4), optimizer=optimizer, scheduler=scheduler)
        return run.fit(3).steps.learning_rate.round(6).tolist()

    schedule = torch.optim.lr_scheduler
    build = lambda name, **options: lambda o: schedules.build(name, o, epochs=3, steps_per_epoch=2, **options)  # noqa: E731
    staircase = (
        build("step", step_size=1, gamma=0.5) if kind == "ours" else lambda o: schedule.StepLR(o, 1, 0.5)
    )
    assert rates(staircase) == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    cycle = build("one-cycle") if kind == "ours" else lambda o: schedule.OneCycleLR(o, 0.1, 6)
    peak = schedule.OneCycleLR(optimizer := torch.optim.SGD([torch.zeros(1)], 0.1), 0.1, 6)
    expected = []
    for _ in range(6):
        expected.append(round(optimizer.param_groups[0]["lr"], 6))
        optimizer.step(), peak.step()
    assert rates(cycle) == expected
    flat = build("plateau", patience=0) if kind == "ours" else lambda o: Flat(o, patience=0)
    assert rates(flat)[-1] == 0.1  # the loss falls


Flat = torch.optim.lr_scheduler.ReduceLROnPlateau


def test_a_plateau_schedule_follows_the_validation_loss():
    model = net(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-30)  # at which the loss never falls
    run = trainer(model, val=loader(8), optimizer=optimizer, scheduler=Flat(optimizer, patience=1, eps=0))
    assert run.fit(5).epochs.learning_rate.iloc[-1] < 1e-30


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_nearly_the_same_with_weights_in_float32(precision):
    exact, mixed = net(), net()
    seen = []
    mixed[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    losses = [
        trainer(model, precision=kind).fit(3).epochs.train_loss.iloc[-1]
        for model, kind in ((exact, "fp32"), (mixed, precision))
    ]
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}


def test_fp16_leaves_out_a_step_whose_gradients_overflow_and_its_schedule():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = schedules.build("cosine", optimizer, epochs=1, steps_per_epoch=2)
    run = trainer(model, loader(8, batch=4), optimizer=optimizer, scheduler=schedule, precision="fp16")
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = copy.deepcopy(dict(model.named_parameters()))
    steps = run.fit(1).steps
    assert same(before, dict(model.named_parameters())) and not np.isfinite(steps.gradient_norm).any()
    assert steps.learning_rate.tolist() == [0.1, 0.1] and run.scaler.get_scale() == 2.0**38


def test_a_regression_has_its_own_metrics_or_none():
    pairs = DataLoader(TensorDataset(torch.randn(9, 4), torch.randn(9, 2)), 4)
    for metrics, columns in ({}, set()), ({"error": F.l1_loss}, {"train_error", "val_error"}):
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        run = Trainer(
            model, pairs, pairs, loss_fn=nn.MSELoss(), optimizer=optimizer, metrics=metrics, device="cpu"
        )
        table = run.fit(2).epochs
        assert {name for name in table if name.endswith(("error", "accuracy"))} == columns
    assert table.val_error.iloc[-1] == pytest.approx(
        F.l1_loss(model(pairs.dataset[:][0]), pairs.dataset[:][1]).item()
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu_model_loss_weights_and_batches_meet_and_learn_the_same(precision):
    losses = []
    for device in ("cpu", "cuda"):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss_fn = nn.CrossEntropyLoss(weight=torch.ones(3))
        run = Trainer(
            model,
            loader(),
            loader(),
            loss_fn=loss_fn,
            optimizer=optimizer,
            device=device,
            precision=precision,
        )
        losses.append(run.fit(3).epochs.train_loss.iloc[-1])
    assert losses[0] == pytest.approx(losses[1], rel=0.03) and loss_fn.weight.is_cuda


def test_every_epoch_counts_those_before_and_a_finished_fit_does_nothing():
    run = trainer(net())
    run.fit(1)
    assert run.fit(3).epochs.epoch.tolist() == [1, 2, 3]
    before = copy.deepcopy(run.model.state_dict())
    assert len(run.fit(3)) == 3 and same(before, run.model.state_dict())


def test_a_checkup_before_the_first_step_logs_what_it_finds_and_changes_nothing(caplog):
    bytes_as_they_are = [(255 * x, y) for x, y in loader()]
    one, other = net(), net()
    trainer(one, bytes_as_they_are).fit(1)
    trainer(other, bytes_as_they_are, checkup=True).fit(1)
    assert "input-not-normalised" in caplog.text and same(one.state_dict(), other.state_dict())


def test_a_strict_checkup_stops_at_an_error_and_a_resumed_training_is_not_looked_at(monkeypatch):
    report = [SimpleNamespace(fault="output-width", severity="error")]
    looked = []
    checkup = lambda model, batches, loss_fn, **parts: looked.append(sorted(parts)) or report  # noqa: E731
    monkeypatch.setattr("dl_course.diagnostics.checkup", checkup)
    with pytest.raises(ValueError, match="the check-up found errors: output-width"):
        trainer(net(), checkup="strict").fit(1)
    assert looked == [["optimizer", "scheduler", "val_loader"]]
    run = trainer(net(), checkup=True)
    run.fit(1)
    run.fit(2)
    assert len(looked) == 2
    with pytest.raises(ValueError, match="checkup= is for a loss_fn"):
        trainer(net(), loss_fn=None, step=lambda model, batch: None, checkup=True).fit(1)
