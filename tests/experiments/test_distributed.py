"""Several processes end with the weights of one; left alone, a process says so."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import torch.distributed as dist

from dl_course.experiments import DataConfig, build_pictures, changed, find_runs, save_config, train
from dl_course.experiments.distributed import DistributedTrainer, Share, explained, processes
from dl_course.training import load
from tests.experiments.several import CONFIG, ENDLESS, LIMIT, SPLIT, WITH_NORM

pytestmark = pytest.mark.timeout(600)  # it starts programs or trains: more than a test has otherwise

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(2 * LIMIT)  # two processes import torch on a busy machine


@contextmanager
def torchrun(*command):
    """Begin two processes, by loopback alone; leave none of them behind."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    # torch for Windows lacks libuv, for which torchrun asks all the same (pytorch issue 148283)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "USE_LIBUV": str(int(sys.platform != "win32"))}
    if loopback := {"linux": "lo", "darwin": "lo0"}.get(sys.platform):
        environment["GLOO_SOCKET_IFNAME"] = loopback
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([*launch, *map(str, command)], env=environment, cwd=ROOT, **pipes) as process:
        try:
            yield process
        finally:
            for each in children(process) if process.poll() is None else ():
                each.kill()
            process.kill()


def children(process):
    return psutil.Process(process.pid).children(recursive=True)


def wait_for(condition, process):
    """Wait until it holds; where the processes end before, or take too long, say what they said."""
    end = time.monotonic() + LIMIT
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            for each in children(process) if process.poll() is None else ():
                each.kill()
            pytest.fail(process.communicate(timeout=60)[0])
        time.sleep(0.1)


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Two processes that have done all of several.py but its endless training, in which they are."""
    folder = tmp_path_factory.mktemp("group")
    with torchrun("tests.experiments.several", folder) as process:
        wait_for((folder / "ready").exists, process)
        yield SimpleNamespace(folder=folder, process=process)


def weights(run):
    return load(run.folder / "latest.pt")["model"]


def test_several_processes_end_with_the_weights_of_one(group, tmp_path):
    alone = train(CONFIG, tmp_path, progress=False)
    assert alone.about["data"]["pictures"][0] % 25 == 1  # in the last batch there is one picture for all
    (run,) = find_runs(group.folder / "plain")  # process 0 alone has made one
    assert run.about["environment"]["processes"] == 2
    for key, tensor in weights(alone).items():
        torch.testing.assert_close(weights(run)[key], tensor, rtol=0, atol=1e-5)
    assert run.metrics == pytest.approx(alone.metrics, abs=1e-5)
    names = [sorted(path.name for path in each.folder.iterdir()) for each in (run, alone)]
    assert names[0] == names[1] and len(list((run.folder / "tensorboard").iterdir())) == 1


def test_the_running_means_of_batch_norm_are_those_of_all_processes_pictures(group, tmp_path):
    one = train(WITH_NORM, tmp_path, progress=False)
    (two,) = find_runs(group.folder / "norm")
    means = [key for key in weights(one) if key.startswith("stage1") and key.endswith("running_mean")]
    assert means
    for key in means:
        torch.testing.assert_close(weights(two)[key], weights(one)[key], rtol=0, atol=1e-5)


def test_processes_that_each_keep_a_part_of_the_network_end_with_the_weights_of_one(group, tmp_path):
    alone = train(changed(SPLIT, {"training.parallel": "ddp"}), tmp_path, progress=False)
    for folder in ("fsdp", "fsdp 1"):  # the second was resumed after an epoch
        (run,) = find_runs(group.folder / folder)
        assert run.metrics == pytest.approx(alone.metrics, abs=1e-5)
        states = [load(each.folder / "latest.pt") for each in (run, alone)]
        for key, tensor in states[1]["model"].items():
            torch.testing.assert_close(states[0]["model"][key], tensor, rtol=0, atol=1e-5)
        ours, theirs = (state["optimizers"][0]["state"] for state in states)
        assert {i: each["momentum_buffer"].shape for i, each in ours.items()} == {
            i: each["momentum_buffer"].shape for i, each in theirs.items()
        }


def test_all_processes_begin_with_the_weights_of_the_first(group):
    one, other = (torch.load(group.folder / f"{rank}.pt") for rank in (0, 1))
    torch.manual_seed(0)
    for key, tensor in torch.nn.Linear(3, 2).state_dict().items():
        assert torch.equal(one[key], tensor) and torch.equal(other[key], tensor)


def two_processes(monkeypatch, model, **options):
    """The Trainer of one of two processes, as far as it gets without the other."""
    pictures = build_pictures(DataConfig(), "val").subset(torch.arange(6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = DistributedTrainer(model, Share(pictures, 4), optimizer=optimizer, device="cpu", **options)
    monkeypatch.setattr("dl_course.experiments.distributed.size", lambda: 2)
    return made


class Idle(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used = torch.nn.Linear(28 * 28, 10)
        self.head = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x.flatten(1))


def test_a_parameter_that_a_process_does_not_use_is_named_before_the_others_wait_for_it(monkeypatch):
    run = two_processes(monkeypatch, Idle(), loss_fn=torch.nn.functional.cross_entropy)
    with pytest.raises(ValueError, match=r"process 0: 'head\.weight' and 1 more took no part.*freeze"):
        run.fit(1)


def test_class_weights_are_refused_where_shares_are_weighed_by_pictures(monkeypatch):
    monkeypatch.setattr("dl_course.experiments.distributed.size", lambda: 2)
    with pytest.raises(ValueError, match="several processes weigh by pictures"):
        two_processes(monkeypatch, Idle(), loss_fn=torch.nn.CrossEntropyLoss(weight=torch.ones(10)))


def test_accumulated_shares_of_all_processes_add_up_to_one(monkeypatch):
    shares = []
    run = two_processes(monkeypatch, Idle(), loss_fn=torch.nn.functional.cross_entropy)
    for rank in (0, 1):
        monkeypatch.setattr("dl_course.experiments.distributed.rank", lambda rank=rank: rank)
        shares.append(run._shares([None, None]))  # of four and of two pictures
    assert torch.tensor(shares).mean(0).tolist() == pytest.approx([4 / 6, 2 / 6])


def test_a_killed_process_ends_the_run_in_words_and_one_process_goes_on_with_the_run(group):
    folder = group.folder / "endless"
    wait_for(lambda: list(folder.glob("*/latest.pt")), group.process)
    ranks = {child.environ().get("RANK"): child for child in children(group.process)}
    ranks["1"].kill()
    said, _ = group.process.communicate(timeout=LIMIT)
    assert group.process.returncode != 0
    assert "process of this run has ended" in said, said
    assert "--resume goes on from the last checkpoint" in said
    (run,) = find_runs(folder)
    done = load(run.folder / "latest.pt")["epoch"]
    assert run.metrics == {} and run.about["environment"]["processes"] == 2
    longer = changed(ENDLESS, {"training.epochs": done + 1})
    on = train(longer, resume=run, progress=False)  # in one process
    assert on.history["epoch"].tolist() == list(range(1, done + 2)) and on.metrics["epoch"] == done + 1


def test_a_process_waits_for_the_others_as_long_as_it_is_told(monkeypatch):
    asked = {}
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(dist, "init_process_group", lambda backend, timeout: asked.update({backend: timeout}))
    monkeypatch.setattr(dist, "destroy_process_group", asked.clear)
    with processes(2.5, "cpu") as device:
        assert device == "cpu" and asked == {"gloo": timedelta(seconds=2.5)}
    assert asked == {}


@pytest.mark.parametrize("error", [dist.DistBackendError("lost"), RuntimeError("[gloo/pair.cc] Timed out")])
def test_a_silent_process_ends_the_others_in_words(monkeypatch, error):
    monkeypatch.setattr("dl_course.experiments.distributed.size", lambda: 2)
    silent = pytest.raises(
        RuntimeError, match="was silent for longer than training.timeout; --resume goes on"
    )
    with silent, explained():
        raise error
    with pytest.raises(RuntimeError, match="^size of tensor$"), explained():
        raise RuntimeError("size of tensor")


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 4, 7, 8, 20])
def test_shares_are_each_batch_once_and_nobody_is_left_without(monkeypatch, world, count):
    from dl_course.data import Loader

    pictures = build_pictures(DataConfig(), "val").subset(torch.arange(count))
    whole = list(Loader(pictures, 8, shuffle=True, seed=1))
    shares = []
    for rank in range(world):
        monkeypatch.setattr("dl_course.experiments.distributed.rank", lambda rank=rank: rank)
        monkeypatch.setattr("dl_course.experiments.distributed.size", lambda: world)
        share = Share(pictures, 8, shuffle=True, seed=1)
        batches = list(share)
        assert len(batches) == len(whole) and all(len(labels) for _, labels in batches)
        shares.append([(labels, share.samples(index)) for index, (_, labels) in enumerate(batches)])
    for index, (_, labels) in enumerate(whole):
        parts = [each[index][0][: each[index][1]] for each in shares]
        assert sorted(torch.cat(parts).tolist()) == sorted(labels.tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_two_processes_train_on_two_gpus_or_say_that_there_is_one(tmp_path):
    save_config(changed(CONFIG, {"training.device": "cuda"}), tmp_path / "two.yaml")
    options = ["--config", tmp_path / "two.yaml", "--runs", tmp_path]
    with torchrun("dl_course.experiments.train", *options) as process:
        said, _ = process.communicate(timeout=LIMIT)
    if torch.cuda.device_count() < 2:
        assert "a process needs a GPU of its own; there are 1" in said
    else:
        alone = train(CONFIG, tmp_path / "alone", progress=False)
        assert find_runs(tmp_path)[0].metrics == pytest.approx(alone.metrics, abs=1e-3)
