"""The learning-rate finder: a case with a closed form, torch-lr-finder, and everything put back."""

import math
import random
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from dl_course import data
from dl_course.diagnostics.lr_finder import LRCurve, find_learning_rate
from dl_course.training.mixing import mixup


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(216, 4),
    )


def pictures(size=100):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (size,), generator=generator)
    images = (torch.rand(size, 1, 8, 8, generator=generator) * 100).byte() + 40 * labels.view(
        -1, 1, 1, 1
    ).byte()
    return data.Pictures("four", images, labels, "abcd", [0.0], [1.0])


def loader(**options):
    return data.loader(pictures(), 16, shuffle=True, **options)


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, **options)


class Bowl(nn.Module):
    """Half of curvature · w², whose descent has a closed form."""

    def __init__(self, curvature=4.0):
        super().__init__()
        self.w, self.curvature = nn.Parameter(torch.tensor(3.0, dtype=torch.float64)), curvature

    def forward(self, x):
        return self.curvature / 2 * self.w**2


ONE_BATCH = [(torch.zeros(1), torch.zeros(1))]


def bowl(loss_fn=lambda output, _: output, **options):
    model = Bowl()
    options = {"start": 1e-4, "end": 10.0, "seeds": 1, "smoothing": 0.0} | options
    return find_learning_rate(
        model, ONE_BATCH, loss_fn, torch.optim.SGD(model.parameters(), lr=1.0), **options
    )


def test_descent_into_a_bowl_is_the_closed_form():
    curve = bowl()
    assert curve.rates.tolist() == pytest.approx(np.geomspace(1e-4, 10, 100).tolist())
    w = 3.0 * np.cumprod(1 - 4 * np.r_[0, curve.rates[:-1]])
    there = curve.losses[0].isfinite()
    assert curve.losses[0][there].tolist() == pytest.approx((2 * w**2)[there.numpy()].tolist(), rel=1e-9)
    assert torch.equal(curve.smoothed.nan_to_num(), curve.losses.nan_to_num())


def test_the_bowls_loss_is_least_where_a_step_no_longer_shrinks_it():
    curve = bowl()
    assert curve.losses[0].nan_to_num(torch.inf).argmin().item() == (curve.rates < 2 / 4).sum().item()


def test_suggested_is_the_steepest_fall_over_the_logarithm():
    curve = bowl()
    lowest = curve.losses[0].nan_to_num(torch.inf).argmin().item()
    slope = np.gradient(curve.losses[0, : lowest + 1].numpy(), np.log(curve.rates[: lowest + 1].numpy()))
    assert curve.suggestion == curve.rates[slope.argmin()].item()
    assert curve.band == (curve.suggestion, curve.suggestion)
    # Nearly 18·exp(-8·sum of the rates), a sum of r / growth: steepest over ln r where 8·r / growth is 1.
    assert curve.suggestion == pytest.approx(math.log(1e5) / 99 / 8, rel=0.3)


@pytest.mark.parametrize("shift", [-1000.0, -18.0, 1000.0])
def test_losses_may_be_negative(shift):
    plain, moved = bowl(), bowl(lambda output, _: output + shift)
    shorter = min(plain.losses.isfinite().sum(), moved.losses.isfinite().sum())
    torch.testing.assert_close(
        moved.losses[0, :shorter] - shift, plain.losses[0, :shorter], atol=1e-9, rtol=1e-9
    )
    assert moved.suggestion == plain.suggestion


@pytest.mark.parametrize("smoothing", [0.5, 0.9, 0.98])
def test_smoothing_is_corrected_for_its_beginning_as_pandas_does_it(smoothing):
    curve = find_learning_rate(
        network(), loader(), F.cross_entropy, sgd(network()), steps=30, seeds=2, smoothing=smoothing, end=0.1
    )
    for losses, smoothed in zip(curve.losses, curve.smoothed, strict=True):
        expected = pd.Series(losses).ewm(alpha=1 - smoothing).mean()
        np.testing.assert_allclose(smoothed, expected, rtol=1e-9)


def test_losses_and_suggestion_are_torch_lr_finders():
    theirs = pytest.importorskip("torch_lr_finder", reason="a reference that only developers need")
    model, twin = network(), network()
    for m in (model, twin):
        m[4].p = 0.0  # whose random numbers would differ
    dataset, settings = pictures(), {"end_lr": 1.0, "num_iter": 40, "smooth_f": 0, "diverge_th": 1e9}
    finder = theirs.LRFinder(twin, torch.optim.SGD(twin.parameters(), lr=1e-4), nn.CrossEntropyLoss())
    finder.range_test(DataLoader(TensorDataset(*dataset.tensors()), 16), **settings)
    curve = find_learning_rate(
        model, data.loader(dataset, 16), nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=7.0),
        start=1e-4, end=1.0, steps=40, seeds=1, smoothing=0.0,
    )  # fmt: skip
    there = curve.losses[0].isfinite()
    assert there.sum() > 20
    assert curve.rates.tolist() == pytest.approx(finder.history["lr"])
    assert curve.losses[0][there].tolist() == pytest.approx(np.array(finder.history["loss"])[there], rel=1e-4)
    upto = curve.losses[0].nan_to_num(torch.inf).argmin() + 1
    finder.history = {key: values[:upto] for key, values in finder.history.items()}
    _, axes = plt.subplots()
    assert curve.suggestion == pytest.approx(finder.plot(0, 0, ax=axes)[1])
    plt.close("all")


def state_of(model, optimizer, batches):
    """Return all that a search could disturb, as bytes and numbers."""
    frozen = [(p.data_ptr(), p.detach().numpy().tobytes()) for p in model.parameters()]
    frozen += [
        None if p.grad is None else (p.grad.data_ptr(), p.grad.numpy().tobytes()) for p in model.parameters()
    ]
    frozen += [(b.data_ptr(), b.numpy().tobytes()) for b in model.buffers()]
    frozen += [m.training for m in model.modules()]
    frozen += [
        {key: value.tolist() if isinstance(value, torch.Tensor) else value for key, value in kept.items()}
        for kept in optimizer.state.values()
    ]
    frozen += [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
    frozen += [len(optimizer.state), [id(p) for g in optimizer.param_groups for p in g["params"]]]
    frozen += [getattr(batches, "epoch", None), random.getstate(), np.random.get_state()[1].tolist()]
    return frozen + [torch.get_rng_state().tolist()]


def started(make=torch.optim.AdamW):
    """Return a training under way: a state in the optimizer, gradients, one norm in eval mode."""
    model, batches = network(), loader()
    optimizer = make(model.parameters(), lr=0.01)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model[1].eval()
    model[5].bias.grad = None
    return model, batches, optimizer


class Trouble:
    """A loss that after some calls raises, is not a number, or is infinite."""

    def __init__(self, what, after=12):
        self.what, self.calls, self.after = what, 0, after

    def __call__(self, outputs, labels):
        self.calls += 1
        if self.calls > self.after and isinstance(self.what, type):
            raise self.what
        return F.cross_entropy(outputs, labels) * (self.what if self.calls > self.after else 1.0)


@pytest.mark.parametrize("what", [1.0, torch.nan, torch.inf, -torch.inf, KeyboardInterrupt, KeyError])
def test_everything_is_put_back_whatever_ends_the_search(what):
    model, batches, optimizer = started()
    random.seed(0), np.random.seed(0)
    before = state_of(model, optimizer, batches)
    try:
        find_learning_rate(model, batches, Trouble(what), optimizer, steps=20, seeds=1)
    except (KeyboardInterrupt, KeyError) as error:
        assert type(error) is what
    else:
        assert isinstance(what, float)
    assert state_of(model, optimizer, batches) == before


@pytest.mark.parametrize(
    "make", [torch.optim.AdamW, partial(torch.optim.SGD, momentum=0.9), torch.optim.Adagrad]
)
def test_training_goes_on_as_if_there_had_been_no_search(make):
    results = []
    for searching in (False, True):
        model, batches, optimizer = started(make)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        torch.manual_seed(7)
        for number, (x, y) in enumerate(batches):
            if searching and number in (1, 4):
                find_learning_rate(model, batches, F.cross_entropy, optimizer, steps=12, seeds=2)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step(), schedule.step()
        results.append(torch.cat([t.flatten() for t in model.state_dict().values()]))
    assert torch.equal(*results)


def own_generator():
    return DataLoader(
        TensorDataset(*pictures().tensors()), 16, True, generator=torch.Generator().manual_seed(3)
    )


def sampler_with_generator():
    dataset = TensorDataset(*pictures().tensors())
    return DataLoader(dataset, 16, sampler=RandomSampler(dataset, generator=torch.Generator().manual_seed(3)))


def worlds_generator():
    return DataLoader(TensorDataset(*pictures().tensors()), 16, True)


LOADERS = [loader, own_generator, sampler_with_generator, worlds_generator, lambda: mixup(loader(), 4)]


@pytest.mark.parametrize("make", LOADERS)
def test_a_search_can_be_repeated_whatever_was_drawn_between(make):
    model, batches = network(), make()
    model[4].p = 0.0
    optimizer = sgd(model)
    first, second = (
        [torch.rand(3), find_learning_rate(model, batches, F.cross_entropy, optimizer, steps=15, seeds=2)][1]
        for _ in range(2)
    )
    for name in ("rates", "losses", "smoothed", "band"):
        torch.testing.assert_close(
            getattr(first, name), getattr(second, name), rtol=0, atol=0, equal_nan=True
        )
    assert first.losses[0, 0] != first.losses[1, 0]  # another seed, another order


@pytest.mark.parametrize("make", LOADERS)
def test_the_loader_goes_on_where_it_stood(make):
    def orders(searching):
        torch.manual_seed(5)
        batches = make()
        list(batches)
        if searching:
            find_learning_rate(model := network(), batches, F.cross_entropy, sgd(model), steps=12)
            torch.manual_seed(6)
        torch.manual_seed(6)
        return torch.cat([y for _, y in batches])

    assert torch.equal(orders(False), orders(True))


def test_without_order_or_dropout_to_decide_all_seeds_agree():
    model = network().eval()
    model[4] = nn.Identity()
    curve = find_learning_rate(
        model, data.loader(pictures(), 16), F.cross_entropy, sgd(model), steps=15, seeds=3
    )
    torch.testing.assert_close(curve.losses, curve.losses[:1].expand(3, -1), rtol=0, atol=0, equal_nan=True)


def test_the_band_holds_the_suggestions_and_the_suggestion_is_their_median():
    curve = find_learning_rate(model := network(), loader(), F.cross_entropy, sgd(model), seeds=5, steps=60)
    alone = []
    for losses in curve.smoothed:
        falling = losses[: losses.nan_to_num(torch.inf).argmin() + 1].numpy()
        alone.append(curve.rates[np.gradient(falling).argmin()].item())
    assert curve.band == (min(alone), max(alone)) and len(set(alone)) > 1
    assert curve.suggestion == np.median(alone)
    assert repr(curve) == "learning rate {:.2g} ({:.2g} to {:.2g} over 5 seeds)".format(
        curve.suggestion, *curve.band
    )


def test_a_loss_that_is_not_finite_ends_the_run_at_once():
    trouble = Trouble(torch.nan, after=7)
    curve = find_learning_rate(model := network(), loader(), trouble, sgd(model), seeds=1, steps=50)
    assert trouble.calls == 8 and curve.losses.isfinite().sum() == 7


def test_an_explosion_ends_the_run_before_it_costs_time():
    calls = Trouble(1.0)
    model = Bowl()
    curve = find_learning_rate(
        model, ONE_BATCH, lambda *pair: calls(torch.zeros(1, 2), torch.zeros(1).long()) * 0 + pair[0],
        torch.optim.SGD(model.parameters(), lr=1.0), seeds=1, smoothing=0.0, end=1e6,
    )  # fmt: skip
    assert curve.losses.isfinite().sum() == calls.calls < 70
    assert curve.losses.nan_to_num(-torch.inf).max() > 18


def test_noise_at_rates_too_small_to_matter_does_not_end_the_run():
    generator = torch.Generator().manual_seed(0)
    noisy = lambda output, _: output * 0 + torch.randn((), generator=generator)  # noqa: E731
    curve = bowl(noisy, smoothing=0.9, steps=200)
    assert curve.losses.isfinite().all()


def test_a_first_loss_that_is_not_finite_is_said_not_to_be_the_rates_fault():
    model, batches, optimizer = started()
    before = state_of(model, optimizer, batches)
    with pytest.raises(ValueError, match="the first loss is nan, whatever the rate"):
        find_learning_rate(model, batches, Trouble(torch.nan, after=0), optimizer)
    assert state_of(model, optimizer, batches) == before


def test_a_loss_that_never_falls_gives_no_suggestion():
    rising = iter(range(1000))
    curve = bowl(lambda output, _: output * 0 + next(rising))
    assert math.isnan(curve.suggestion) and "nan" in repr(curve)
    plt.close(curve.plot().figure)


def test_a_loss_that_knows_the_model_and_one_with_weights_of_its_own_are_put_back_too():
    model, centre = network(), nn.Linear(4, 4)
    optimizer = torch.optim.SGD([*model.parameters(), *centre.parameters()], lr=0.1)
    both = nn.Sequential(model, centre)
    before = state_of(both, optimizer, None)

    def decayed(outputs, labels):
        return F.cross_entropy(centre(outputs), labels) + sum(p.square().sum() for p in model.parameters())

    curve = find_learning_rate(model, loader(), decayed, optimizer, steps=20, seeds=1)
    assert curve.losses[0, 15] < curve.losses[0, 0]
    assert state_of(both, optimizer, None) == before


def test_layers_that_the_optimizer_does_not_train_stay_without_a_trace_too():
    model, batches, _ = started()
    optimizer = torch.optim.SGD(model[5].parameters(), lr=0.1)
    before = state_of(model, optimizer, batches)
    find_learning_rate(model, batches, F.cross_entropy, optimizer, steps=10, seeds=1)
    assert state_of(model, optimizer, batches) == before


def test_the_search_goes_on_with_the_momentum_that_the_optimizer_has():
    model = Bowl()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    optimizer.state[model.w]["momentum_buffer"] = torch.tensor(8.0, dtype=torch.float64)
    curve = find_learning_rate(model, ONE_BATCH, lambda output, _: output, optimizer, start=0.01, seeds=1)
    assert curve.losses[0, 1].item() == pytest.approx(2 * (3 - 0.01 * (4 * 3 + 0.5 * 8)) ** 2)
    assert optimizer.state[model.w]["momentum_buffer"] == 8


def test_a_model_in_train_mode_keeps_the_frozen_norm_and_one_in_eval_mode_is_trained():
    model, batches, optimizer = started()
    seen = []
    model.register_forward_hook(lambda m, *_: seen.append((m.training, m[1].training)))
    find_learning_rate(model, batches, F.cross_entropy, optimizer, steps=3, seeds=1)
    model.eval()
    find_learning_rate(model, batches, F.cross_entropy, optimizer, steps=3, seeds=1)
    assert seen == [(True, False)] * 3 + [(True, True)] * 3 and not model.training


def test_the_plot_shows_mean_suggestion_and_band():
    rates = torch.logspace(-3, 0, 4)
    losses = torch.tensor([[3.0, 2, 1, 4], [3.0, 1, 1, torch.nan]])
    curve = LRCurve(rates, losses, losses + 1, 0.015, (0.01, 0.02))
    axes = curve.plot()
    batches, smoothed, suggestion = axes.lines
    np.testing.assert_allclose(batches.get_ydata(), [3, 1.5, 1, np.nan])
    np.testing.assert_allclose(smoothed.get_ydata(), [4, 2.5, 2, np.nan])
    assert suggestion.get_xdata()[0] == pytest.approx(0.015) and axes.get_xscale() == "log"
    assert axes.patches and curve.plot(axes) is axes
    plt.close(axes.figure)


@pytest.mark.parametrize(
    "bad", [{"start": 0.0}, {"start": 2.0, "end": 1.0}, {"steps": 2}, {"seeds": 0}, {"smoothing": 1.0}]
)
def test_settings_that_mean_nothing_are_refused(bad):
    with pytest.raises(ValueError, match=".*".join(f"{name}={value}" for name, value in bad.items())):
        bowl(**bad)


def test_a_loader_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="0 batches"):
        find_learning_rate(Bowl(), [], lambda output, _: output, torch.optim.SGD(Bowl().parameters(), lr=1.0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_curve_is_the_cpus_and_all_is_put_back():
    curves = []
    for device in ("cpu", "cuda"):
        model = network()
        model[4].p = 0.0
        optimizer = sgd(model.to(device))
        before = {key: value.clone() for key, value in model.state_dict().items()}
        curves.append(find_learning_rate(model, loader(), F.cross_entropy, optimizer, steps=20, end=0.1))
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        assert not optimizer.state
    torch.testing.assert_close(curves[0].losses, curves[1].losses, rtol=1e-3, atol=1e-3)
