"""Checkpoints: a training that was stopped, killed or copied goes on as if nothing had happened."""

import copy
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from dl_course import data
from dl_course.files import atomic
from dl_course.training import EMA, Checkpoint, EarlyStopping, load, save, schedules
from tests.training.small import IMAGES, LABELS, dataset, loader, net, same, trainer

pytestmark = pytest.mark.timeout(600)  # it starts programs or trains: more than a test has otherwise

TIMES = ["seconds", "samples_per_second"]


def sliced(transform=None):
    pictures = data.Pictures("few", IMAGES[:20], LABELS[:20], "abc", (0.5,), (0.3,), transform=transform)
    return data.loader(pictures, 6, shuffle=True, seed=3)


def noisy(picture):
    """Random in the ways that a learner's transform may be."""
    return picture + 0.1 * torch.rand(1) + 0.1 * random.random() + 0.1 * np.random.rand()


class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        x, y = dataset()[index]
        return noisy(x), y


LOADERS = {
    "ours": sliced,
    "ours, augmented": lambda: sliced(noisy),
    "torch's, shuffled by the world's random numbers": lambda: DataLoader(Noisy(), 6, shuffle=True),
    "torch's, with a generator": lambda: DataLoader(
        Noisy(), 6, shuffle=True, generator=torch.Generator().manual_seed(5)
    ),
    "torch's, with workers": lambda: DataLoader(Noisy(), 6, shuffle=True, num_workers=1),
}


def build(folder, kind="ours", extra=(), precision="fp32", schedule="cosine", epochs=4, **options):
    """A training with all that has a state: dropout, batch norm, moments, schedule, scaler, patience."""
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    model = net(dropout=0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = schedules.build(schedule, optimizer, epochs=epochs, steps_per_epoch=4)
    return trainer(
        model, LOADERS[kind](), LOADERS[kind](), optimizer=optimizer, scheduler=scheduler,
        precision=precision, output_dir=folder, callbacks=[EarlyStopping(3), *extra], **options,
    )  # fmt: skip


def outcome(run):
    """All that must be equal to the bit, without what a clock measures."""
    state = run.state_dict()
    for table in state["history"].values():
        for name in TIMES:
            table.pop(name, None)
    return state


class StopAt:
    """Presses the Stop button within a step, while a batch is loaded, or in the validation."""

    def __init__(self, step, moment="step"):
        self.step, self.moment = step, moment

    def on_fit_start(self, trainer):
        if self.moment == "validation":
            trainer.model.register_forward_pre_hook(
                lambda module, args: self.press(trainer, not module.training)
            )

    def on_step_end(self, trainer):
        self.press(trainer, self.moment == "step")

    def press(self, trainer, due):
        if due and trainer.step == self.step:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("step", [6, 8])
def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(tmp_path, kind, step):
    whole = build(tmp_path / "whole", kind)
    whole.fit(4)
    stopped = build(tmp_path / "run", kind, [StopAt(step)])
    assert len(stopped.fit(4)) == (step - 1) // 4 or step % 4 == 0
    assert stopped.stopped == "interrupted" and stopped.step == step
    resumed = build(tmp_path / "run", kind)
    torch.rand(3), random.random(), np.random.rand()  # whatever came before in the new process
    assert resumed.resume()
    resumed.fit(4)
    assert same(outcome(whole), outcome(resumed))


@pytest.mark.parametrize("kind", ["ours, augmented", "torch's, shuffled by the world's random numbers"])
def test_stopped_in_the_validation_and_gone_on_with_in_the_same_process(tmp_path, kind):
    whole = build(tmp_path / "whole", kind)
    whole.fit(4)
    stopped = build(tmp_path / "run", kind, [StopAt(8, "validation")])
    assert len(stopped.fit(4)) == 1 and stopped.step == 8
    torch.rand(3), random.random(), np.random.rand()  # a learner looks around
    stopped.callbacks = [each for each in stopped.callbacks if not isinstance(each, StopAt)]
    stopped.model._forward_pre_hooks.clear()
    stopped.fit(4)
    assert same(outcome(whole), outcome(stopped))


def test_stop_pressed_twice_ends_at_once_and_saves_nothing(tmp_path):
    class Twice:
        def on_step_end(self, trainer):
            if trainer.step == 3:
                signal.raise_signal(signal.SIGINT), time.sleep(0.01)
                signal.raise_signal(signal.SIGINT), time.sleep(0.01)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="twice"):
        build(tmp_path, extra=[Twice()]).fit(1)
    assert not (tmp_path / "latest.pt").exists() and signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("schedule", ["step", "one-cycle", "warmup-cosine", "plateau"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_schedule_and_the_scaler_resume_at_an_epochs_end(tmp_path, schedule, precision):
    whole = build(tmp_path / "a", schedule=schedule, precision=precision)
    whole.fit(4)
    build(tmp_path / "b", schedule=schedule, precision=precision).fit(2)
    resumed = build(tmp_path / "b", schedule=schedule, precision=precision)
    resumed.resume(tmp_path / "b" / "latest.pt")
    resumed.fit(4)
    assert same(outcome(whole), outcome(resumed))


def test_a_training_that_stopped_early_stays_stopped_when_resumed(tmp_path):
    def stale():
        return build(tmp_path, extra=[EarlyStopping(1, "learning_rate", mode="max")])

    assert len(stale().fit(4)) == 2
    resumed = stale()
    resumed.resume()
    assert len(resumed.fit(4)) == 2 and "learning_rate" in resumed.stopped


def test_resuming_where_there_is_nothing_yet_starts_afresh(tmp_path):
    assert build(tmp_path).resume() is False
    with pytest.raises(FileNotFoundError):
        build(tmp_path).resume(tmp_path / "latst.pt")
    with pytest.raises(ValueError, match="output_dir"):
        trainer(net()).resume()


def test_a_folder_of_another_run_is_not_replaced_without_a_word(tmp_path, recwarn):
    build(tmp_path).fit(1)
    gone_on = build(tmp_path)
    gone_on.resume()
    gone_on.fit(2)
    gone_on.fit(3)
    assert not [each for each in recwarn if each.category is not DeprecationWarning]  # tqdm's own
    with pytest.warns(UserWarning, match=r"holds an earlier run.*resume\('latest'\)"):
        build(tmp_path).fit(1)


def test_resuming_another_training_is_refused_by_the_name_of_what_is_missing(tmp_path):
    build(tmp_path).fit(1)
    save(tmp_path / "weights.pt", {"model": net().state_dict()})
    with pytest.raises(ValueError, match="no .*optimizer"):
        build(tmp_path).resume(tmp_path / "weights.pt")
    (tmp_path / "broken.pt").write_bytes((tmp_path / "latest.pt").read_bytes()[:500])
    with pytest.raises(ValueError, match="broken.pt"):
        build(tmp_path).resume(tmp_path / "broken.pt")


def test_the_newest_of_every_few_the_latest_and_the_best_are_kept(tmp_path):
    build(None, extra=[Checkpoint(tmp_path, every=2, keep=2, monitor="train_loss")], epochs=9).fit(9)
    assert {path.name for path in tmp_path.iterdir()} == {
        "latest.pt",
        "best.pt",
        "epoch-0006.pt",
        "epoch-0008.pt",
    }
    assert load(tmp_path / "epoch-0006.pt")["epoch"] == 6 and load(tmp_path / "latest.pt")["epoch"] == 9


def test_best_is_the_epoch_with_the_best_figure_also_across_a_resume(tmp_path):
    def best(monitor):
        return Checkpoint(tmp_path / monitor, monitor=monitor)

    for epochs in (3, 8):
        run = build(tmp_path, extra=[best("val_loss"), best("val_accuracy")], epochs=8)
        run.callbacks.remove(run.callbacks[0])  # the patience
        run.resume()
        table = run.fit(epochs).epochs
    assert load(tmp_path / "val_loss" / "best.pt")["epoch"] == table.epoch[table.val_loss.idxmin()]
    assert load(tmp_path / "val_accuracy" / "best.pt")["epoch"] == table.epoch[table.val_accuracy.idxmax()]


def test_a_checkpoint_holds_only_what_loads_without_trust(tmp_path):
    save(tmp_path / "good.pt", {"a": torch.ones(2), "b": [1, "two", None, {"c": 0.5}]})
    assert load(tmp_path / "good.pt")["b"] == [1, "two", None, {"c": 0.5}]
    for bad in (np.float64(1.0), tmp_path, nn.Linear(1, 1)):
        with pytest.raises(TypeError, match="bad.pt"):
            save(tmp_path / "bad.pt", {"value": bad})
    assert [path.name for path in tmp_path.iterdir()] == ["good.pt"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    with atomic(tmp_path / "latest.pt") as part:
        part.write_bytes(b"half")
        build(tmp_path).fit(1)
        assert not part.exists()
        part.write_bytes(b"")


def test_weights_of_a_checkpoint_load_into_a_plain_model(tmp_path):
    run = build(tmp_path)
    run.fit(1)
    model = net()
    model.load_state_dict(load(tmp_path / "latest.pt")["model"])
    assert same(model.state_dict(), run.model.state_dict())


@pytest.mark.posix
@pytest.mark.timeout(300)
def test_a_run_killed_at_any_of_five_moments_resumes_to_the_same_end():
    kills = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"
    done = subprocess.run(
        [sys.executable, kills, "5", "10"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 and "5 of 5 resumed" in done.stdout, done.stdout + done.stderr


class Rising:
    """Metrics whose values are known: an error that falls and rises, at epochs 1, 2, 3, 4."""

    values = (3.0, 1.0, 2.0, 4.0)

    def __init__(self):
        self.calls = 0

    def update(self, outputs, labels):
        pass

    def compute(self):
        self.calls += 1
        return self.values[(self.calls - 1) % 4]

    def reset(self):
        pass

    def __deepcopy__(self, memo):
        return self


def rising(folder=None, **options):
    """Four epochs with one pass each of the metric in training and in validation."""
    return trainer(net(), metrics={"mae": Rising(), "quality": Rising()}, output_dir=folder, **options)


@pytest.mark.parametrize(
    ("monitor", "mode", "best"),
    [
        ("train_mae", None, 2), ("train_mae", "max", 4), ("train_quality", "min", 2),
        ("train_quality", "max", 4),
    ],
)  # fmt: skip
def test_the_best_epoch_is_that_of_the_smallest_error_or_of_the_given_mode(tmp_path, monitor, mode, best):
    rising(callbacks=[Checkpoint(tmp_path, monitor=monitor, mode=mode)]).fit(4)
    assert load(tmp_path / "best.pt")["epoch"] == best


def test_early_stopping_waits_while_an_error_falls():
    run = trainer(net(), val=loader(8), metrics={"mae": lambda o, y: F.l1_loss(o, F.one_hot(y, 3).float())})
    stopping = EarlyStopping(1, "val_mae")
    for value in (3.0, 2.0, 1.0):
        assert not stopping.update(value)
    assert stopping.update(1.0) and run.stopped == ""


@pytest.mark.parametrize("make", [Checkpoint, lambda folder, **how: EarlyStopping(**how)])
def test_what_is_watched_must_be_there_and_have_a_direction(tmp_path, make):
    with pytest.raises(ValueError, match="'val_quality' needs mode='min' or mode='max'"):
        make(tmp_path, monitor="val_quality")
    with pytest.raises(KeyError, match="no 'val_mae' to watch.*there is: epoch, train_loss"):
        trainer(net(), callbacks=[make(tmp_path, monitor="val_mae")]).fit(1)


def test_fit_ends_with_the_weights_of_the_best_epoch_also_across_a_resume(tmp_path):
    def run(folder, epochs):
        keeper = EarlyStopping(9, "train_mae", restore_best=True)
        made = rising(folder, callbacks=[keeper])
        made.metrics.objects["mae"].calls = 2 if made.resume() else 0
        made.fit(epochs)
        return made

    whole = run(tmp_path / "whole", 4)
    second = load(tmp_path / "whole" / "latest.pt")["callbacks"]["EarlyStopping 0"]["weights"]
    assert same(dict(whole.model.state_dict()), second)
    run(tmp_path / "parts", 2)
    assert same(run(tmp_path / "parts", 4).model.state_dict(), whole.model.state_dict())


def test_the_average_of_the_weights_is_torchs_by_hand_and_survives_a_resume(tmp_path):
    whole = net()
    ema = EMA(0.9)
    by_hand = {}

    class ByHand:
        def on_step_end(self, trainer):
            for name, p in trainer.model.named_parameters():
                old = by_hand.get(name, p.detach())
                by_hand[name] = 0.9 * old + 0.1 * p.detach()

    run = trainer(whole, val=loader(8), callbacks=[ema, ByHand()])
    run.fit(2)
    averaged = dict(ema.model.module.named_parameters())
    for name, p in by_hand.items():
        torch.testing.assert_close(averaged[name], p)
    assert run.evaluate(loader(8), ema.model) != run.evaluate(loader(8))
    trainer(net(), val=loader(8), callbacks=[EMA(0.9)], output_dir=tmp_path).fit(1)
    parts = trainer(net(), val=loader(8), callbacks=[again := EMA(0.9)], output_dir=tmp_path)
    parts.resume()
    parts.fit(2)
    assert same(again.model.state_dict(), ema.model.state_dict())


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda model: inner_compiled(model)])
def test_wrapped_models_are_saved_by_the_names_of_the_bare_one(tmp_path, wrap):
    wrapped = wrap(net())
    run = trainer(wrapped, output_dir=tmp_path)
    save(tmp_path / "wrapped.pt", run.state_dict())
    state = load(tmp_path / "wrapped.pt")["model"]
    bare = net(seed=1)
    assert list(state) == list(bare.state_dict())
    bare.load_state_dict(state)
    other = trainer(wrap(net(seed=2)))
    other.resume(tmp_path / "wrapped.pt")
    assert same(list(other.model.state_dict().values()), list(bare.state_dict().values()))


def inner_compiled(model):
    model[0] = torch.compile(model[0])
    return nn.DataParallel(model)


def test_a_checkpoint_of_another_network_is_refused_before_anything_changes(tmp_path):
    trainer(net(), output_dir=tmp_path).fit(1)
    wider = nn.Sequential(*net()[:-1], nn.Linear(64, 4))
    run = trainer(wider)
    before = copy.deepcopy(run.state_dict())
    with pytest.raises(
        ValueError, match=r"another network: 2 differ, as '5.weight' \(\(4, 64\) here, \(3, 64\)"
    ):
        run.resume(tmp_path / "latest.pt")
    assert same(before, run.state_dict())
    model = net()
    groups = torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1)
    with pytest.raises(ValueError, match="other groups of parameters"):
        trainer(model, optimizer=groups).resume(tmp_path / "latest.pt")
