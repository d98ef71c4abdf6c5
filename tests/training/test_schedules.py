"""Schedules, stepped as they say, beside torch's own and beside closed forms."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler as theirs

from dl_course.training import schedules

NAMES = ["cosine", "warmup-cosine", "step", "one-cycle", "plateau"]


def sgd(*rates, **options):
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates or (0.5,)]
    return torch.optim.SGD(groups, lr=1.0, **options)


def rates(scheduler, epochs, steps, losses=None):
    """Return the first group's rate of every optimizer step, with the schedule stepped where it says."""
    seen = []
    for epoch in range(epochs):
        for _ in range(steps):
            seen.append(scheduler.optimizer.param_groups[0]["lr"])
            scheduler.optimizer.step()
            if scheduler.interval == "step":
                scheduler.step()
        if scheduler.interval == "epoch":
            scheduler.step()
        if scheduler.interval == "metric":
            scheduler.step(losses[epoch])
    return seen


def build(name, optimizer, epochs=4, steps=5, **options):
    return schedules.build(name, optimizer, epochs=epochs, steps_per_epoch=steps, **options)


def test_each_says_when_to_be_stepped():
    intervals = {name: build(name, sgd(momentum=0.9)).interval for name in NAMES}
    assert intervals == dict.fromkeys(NAMES, "step") | {"step": "epoch", "plateau": "metric"}
    assert sorted(schedules.SCHEDULES) == sorted(NAMES)


@given(st.integers(1, 9), st.integers(1, 9))
def test_cosine_is_torchs_stepped_every_step(epochs, steps):
    optimizer = sgd()
    optimizer_of_theirs = sgd()
    reference = theirs.CosineAnnealingLR(optimizer_of_theirs, epochs * steps)
    reference.interval = "step"
    ours = rates(build("cosine", optimizer, epochs, steps), epochs, steps)
    assert ours == pytest.approx(rates(reference, epochs, steps), abs=1e-9)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


@given(st.integers(1, 9), st.integers(2, 9), st.floats(0.0, 0.9))
def test_warmup_cosine_is_torchs_line_and_cosine_one_after_the_other(epochs, steps, warmup):
    rising, optimizer = round(warmup * epochs * steps), sgd()
    parts = [theirs.CosineAnnealingLR(optimizer, max(1, epochs * steps - rising))]
    if rising:
        parts.insert(0, theirs.LinearLR(optimizer, 1 / (rising + 1), total_iters=rising))
    reference = theirs.SequentialLR(optimizer, parts, [rising][: len(parts) - 1])
    reference.interval = "step"
    ours = rates(build("warmup-cosine", sgd(), epochs, steps, warmup=warmup), epochs, steps)
    assert ours == pytest.approx(rates(reference, epochs, steps), abs=1e-9)


def test_a_warmup_rises_to_the_given_rate_and_nowhere_beyond():
    seen = rates(build("warmup-cosine", sgd(), 10, 10), 10, 10)
    assert seen[:6] == pytest.approx([0.5 * share / 6 for share in range(1, 7)])
    assert max(seen) == seen[5] == 0.5 and seen[5:] == sorted(seen[5:], reverse=True)


def test_a_cosine_stays_at_the_bottom_when_training_goes_on():
    scheduler = build("cosine", sgd(), 2, 3)
    assert rates(scheduler, 4, 3)[6:] == [0.0] * 6  # torch's own would climb again


@pytest.mark.parametrize(("epochs", "every"), [(9, 3), (1, 1), (2, 1), (10, 3)])
def test_step_falls_tenfold_after_each_third_of_the_epochs(epochs, every):
    seen = rates(build("step", sgd(), epochs, 2), epochs, 2)
    assert seen == pytest.approx([0.5 * 0.1 ** (epoch // every) for epoch in range(epochs) for _ in range(2)])


def test_step_falls_as_it_is_told():
    seen = rates(build("step", sgd(), 4, 1, step_size=2, gamma=0.5), 4, 1)
    assert seen == [0.5, 0.5, 0.25, 0.25]


def test_one_cycle_is_torchs_with_the_given_rates_as_peaks():
    ours, reference = sgd(0.5, 0.1, momentum=0.9), sgd(0.5, 0.1, momentum=0.9)
    mine = build("one-cycle", ours, 4, 25, pct_start=0.4)
    other = theirs.OneCycleLR(reference, [0.5, 0.1], total_steps=100, pct_start=0.4)
    for _ in range(99):
        ours.step(), reference.step(), mine.step(), other.step()
        for group, expected in zip(ours.param_groups, reference.param_groups, strict=True):
            assert (group["lr"], group["momentum"]) == (expected["lr"], expected["momentum"])


@pytest.mark.parametrize(
    ("make", "key"),
    [(torch.optim.SGD, "momentum"), (torch.optim.RMSprop, "momentum"), (torch.optim.Adadelta, "rho")],
)
def test_one_cycle_gives_no_momentum_to_an_optimizer_without(make, key):
    optimizer = make([nn.Parameter(torch.ones(2))], lr=0.1)
    before = optimizer.param_groups[0][key]
    rates(build("one-cycle", optimizer), 4, 5)
    assert optimizer.param_groups[0][key] == before


def test_one_cycle_lasts_for_all_steps_of_training():
    seen = rates(build("one-cycle", sgd(momentum=0.9), 3, 7), 3, 7)
    assert max(seen) == pytest.approx(0.5, rel=0.02) and seen[-1] < 1e-3 and len(seen) == 21


def test_plateau_falls_when_the_loss_has_not_for_longer_than_patience():
    seen = rates(build("plateau", sgd(), 6, 1, patience=1, factor=0.5), 6, 1, losses=[3, 2, 2, 2, 2, 2])
    assert seen == [0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_saved_as_plain_numbers_goes_on_to_the_bit(name):
    losses, whole = [1.0] * 12, build(name, sgd(momentum=0.9), 12, 3)
    expected = rates(whole, 12, 3, losses)
    first = build(name, sgd(momentum=0.9), 12, 3)
    seen = rates(first, 6, 3, losses)
    file = io.BytesIO()
    torch.save([first.state_dict(), first.optimizer.state_dict()], file)
    schedule, optimizer = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    second = build(name, sgd(momentum=0.9), 12, 3)
    second.load_state_dict(schedule), second.optimizer.load_state_dict(optimizer)
    assert seen + rates(second, 6, 3, losses) == expected
    assert second.interval == whole.interval


def test_groups_keep_their_proportion():
    optimizer = sgd(0.5, 0.05)
    scheduler = build("cosine", optimizer, 2, 5)
    for _ in range(5):
        optimizer.step(), scheduler.step()
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first == pytest.approx(0.25) and math.isclose(first, 10 * second)


def test_an_unknown_name_or_option_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        build("cosin", sgd())
    with pytest.raises(ValueError, match="takes no 'warmpu'; did you mean 'warmup'"):
        build("warmup-cosine", sgd(), warmpu=0.1)


@pytest.mark.parametrize("bad", [(0, 5), (5, 0), (-1, 5)])
def test_no_epochs_or_steps_are_refused(bad):
    with pytest.raises(ValueError, match=f"epochs={bad[0]}, steps_per_epoch={bad[1]}"):
        build("cosine", sgd(), *bad)


@pytest.mark.parametrize(("epochs", "patience"), [(3, 0), (10, 2), (100, 10)])
def test_plateaus_patience_fits_into_the_training(epochs, patience):
    assert build("plateau", sgd(), epochs).patience == patience
