"""Where loaders stand: every generator in them is found, and used batches are not loaded for nothing."""

import gc
import logging
import signal
import time
import weakref

import psutil
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    WeightedRandomSampler,
)

from dl_course import data
from dl_course.training.mixing import mixup
from tests.training.small import PICTURES, dataset, loader, net, same, trainer


def generator():
    return torch.Generator().manual_seed(5)


class Wrapper:
    """A loader around a loader, as learners write them."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __iter__(self):
        yield from self.inner


class Drawing(Dataset):
    """A data set that augments by a generator of its own."""

    def __init__(self):
        self.own = generator()

    def __len__(self):
        return 20

    def __getitem__(self, index):
        x, y = dataset()[index]
        return x + torch.rand(1, generator=self.own), y


LOADERS = {
    "in the sampler": lambda: DataLoader(
        dataset(), 6, sampler=RandomSampler(dataset(), generator=generator())
    ),
    "drawn by weights": lambda: DataLoader(
        dataset(), 6, sampler=WeightedRandomSampler(torch.ones(20), 20, generator=generator())
    ),
    "behind a wrapper": lambda: Wrapper(DataLoader(dataset(), 6, shuffle=True, generator=generator())),
    "mixed": lambda: mixup(DataLoader(dataset(), 6, shuffle=True, generator=generator()), 3),
    "in the data set": lambda: DataLoader(Drawing(), 6, shuffle=True, generator=generator()),
    "by the epoch": lambda: DataLoader(dataset(), 6, sampler=DistributedSampler(dataset(), 1, 0)),
}


class StopAt:
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("step", [2, 6])
def test_a_generator_is_resumed_to_the_bit_wherever_it_lies(tmp_path, kind, step):
    def run(folder, *callbacks):
        torch.manual_seed(1)
        made = trainer(net(), LOADERS[kind](), output_dir=folder, callbacks=callbacks)
        made.resume()
        made.fit(3)
        return made.model.state_dict()

    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", StopAt(step))
    torch.rand(3)
    assert same(run(tmp_path / "parts"), whole)


@pytest.mark.parametrize("kind", ["ours", "ours, one by one", "torch's"])
def test_used_batches_are_not_loaded_once_more(tmp_path, kind):
    read = []

    class Counted(Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, index):
            read.append(index)
            return dataset()[index]

    def build():
        if kind == "torch's":
            return DataLoader(Counted(), 6, shuffle=True)
        return data.loader(Counted() if "one by one" in kind else pictures(), 6, shuffle=True)

    def pictures():
        found = data.Pictures("few", (255 * PICTURES[0][:20]).byte(), PICTURES[1][:20], "abc", (0.5,), (0.3,))
        tensors = found.tensors
        found.tensors = lambda indices: read.extend(indices.tolist()) or tensors(indices)
        return found

    run = trainer(net(), build(), output_dir=tmp_path, callbacks=[StopAt(3)])
    run.fit(1)
    first = list(read)
    read.clear()
    resumed = trainer(net(), build(), output_dir=tmp_path)
    resumed.resume()
    resumed.fit(1)
    assert sorted(first[:18] + read) == list(range(20)) and len(read) == 2


def test_workers_that_persist_are_named_where_a_checkpoint_is_kept(tmp_path, caplog):
    kept = DataLoader(dataset(), 6, num_workers=1, persistent_workers=True)
    for train, folder, warned in [
        (kept, tmp_path, True), (Wrapper(kept), tmp_path, True), (kept, None, False),
        (DataLoader(dataset(), 6), tmp_path, False),
        (data.loader(dataset(), 6, num_workers=1), tmp_path, False),
    ]:  # fmt: skip
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            trainer(net(), train, output_dir=folder).fit(0)
        assert ("persistent_workers=False or data.loader" in caplog.text) is warned


def test_samplers_are_told_which_epoch_it_is():
    told = []

    class Told(DistributedSampler):
        def set_epoch(self, epoch):
            super().set_epoch(epoch)
            told.append(epoch)

    run = trainer(net(), DataLoader(dataset(), 6, sampler=Told(dataset(), 1, 0)))
    run.fit(2)
    run.fit(3)
    assert told == [0, 1, 2]


class Stream(IterableDataset):
    def __iter__(self):
        yield from (dataset()[index] for index in range(20))


@pytest.mark.parametrize("make", [lambda: DataLoader(Stream(), 6), lambda: data.loader(Stream(), 6)])
def test_a_stream_of_unknown_length_trains_and_evaluates_like_its_list(make):
    models = net(), net()
    tables = []
    for model, batches in zip(models, (loader(), make()), strict=True):
        tables.append(trainer(model, batches, batches).fit(2).epochs)
    assert same(models[0].state_dict(), models[1].state_dict())
    assert tables[0].val_loss.tolist() == tables[1].val_loss.tolist()
    with pytest.raises(ValueError, match="no batch"):
        trainer(net(), DataLoader(Empty(), 6)).fit(1)


class Empty(IterableDataset):
    def __iter__(self):
        return iter(())


class PressedForAll:
    """The Stop button as a notebook presses it: every process of the group gets the signal."""

    def on_step_end(self, trainer):
        if trainer.step == 2:
            for _ in range(2):  # the second would end a worker that has only the Trainer's handler
                for child in psutil.Process().children():
                    child.send_signal(signal.SIGINT)
                time.sleep(0.2)
            signal.raise_signal(signal.SIGINT)


@pytest.mark.posix
@pytest.mark.parametrize("kind", ["torch's", "persistent", "ours"])
def test_the_stop_button_leaves_workers_alone(tmp_path, kind):
    make = {
        "torch's": lambda: DataLoader(dataset(), 4, num_workers=1),
        "persistent": lambda: DataLoader(dataset(), 4, num_workers=1, persistent_workers=True),
        "ours": lambda: data.loader(dataset(), 4, num_workers=1),
    }[kind]
    whole, stopped = net(), net()
    trainer(whole, loader(20, 4)).fit(2)
    pressed = PressedForAll()
    run = trainer(stopped, make(), callbacks=[pressed])
    run.fit(2)
    assert run.stopped == "interrupted" and run.step == 2
    run.callbacks.remove(pressed)
    run.fit(2)
    assert same(stopped.state_dict(), whole.state_dict())


def test_a_loader_that_nobody_holds_ends_its_workers_at_once_and_waits_for_no_collector():
    batches = data.loader(dataset(), 4, num_workers=1)
    next(iter(batches))
    ended = weakref.ref(batches._torch)
    gc.disable()
    try:
        del batches
        assert ended() is None  # a cycle would keep it until the collector comes, and then stall it for 5 s
    finally:
        gc.enable()
