"""Checkpoints: a training that was stopped, killed or copied goes on as if nothing had happened."""

import os
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
from torch.utils.data import DataLoader

from dl_course import data
from dl_course.files import atomic
from dl_course.training import Checkpoint, EarlyStopping, load, save, schedules
from tests.training.small import IMAGES, LABELS, dataset, net, same, trainer

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

    def fit_start(self, trainer):
        if self.moment == "validation":
            trainer.model.register_forward_pre_hook(
                lambda module, args: self.press(trainer, not module.training)
            )

    def step_end(self, trainer):
        self.press(trainer, self.moment == "step")

    def press(self, trainer, due):
        if due and trainer.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


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
        def step_end(self, trainer):
            if trainer.step == 3:
                os.kill(os.getpid(), signal.SIGINT), time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT), time.sleep(0.01)

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
        return build(tmp_path, extra=[EarlyStopping(1, "learning_rate")])

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
    assert not recwarn
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


def test_a_run_killed_at_any_of_five_moments_resumes_to_the_same_end():
    kills = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"
    done = subprocess.run(
        [sys.executable, kills, "5"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 and "5 of 5 resumed" in done.stdout, done.stdout + done.stderr
