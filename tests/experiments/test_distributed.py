"""Several processes end with the weights of one; left alone, a process says so."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
import torch

from dl_course.experiments import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    TrainingConfig,
    changed,
    find_runs,
    save_config,
    train,
)
from dl_course.experiments.distributed import Share
from dl_course.training import load

# 126 pictures in batches of 25: 13 and 12 for two processes, and one picture is left for the last batch
CONFIG = ExperimentConfig(
    "two",
    DataConfig(batch_size=25, splits=[0.1, 0.1, 0.8]),
    ModelConfig("simplenet"),
    TrainingConfig(
        epochs=2,
        optimizer="sgd",  # Adam would divide rounding errors by themselves where a gradient is nearly 0
        learning_rate=0.05,
        max_grad_norm=1.0,
        seed=5,
        device="cpu",
    ),
)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def forked(count, config, folder):
    """Train in processes forked off this one, in torchrun's environment; return their exit statuses."""
    children, port = [], free_port()
    for rank in range(count):
        if not (child := os.fork()):
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
            os.environ["TORCHELASTIC_RUN_ID"] = "forked"
            try:
                train(config, folder, progress=False)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


@contextmanager
def torchrun(config, folder):
    """Begin the training in two processes, by loopback alone; leave none of them behind."""
    save_config(config, folder / "two.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", "-m", "dl_course.experiments.train"]
    command += ["--config", str(folder / "two.yaml"), "--runs", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            for each in children(process) if process.poll() is None else ():
                each.kill()
            process.kill()


def children(process):
    return psutil.Process(process.pid).children(recursive=True)


def weights(run):
    return load(run.folder / "latest.pt")["model"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    return train(CONFIG, tmp_path_factory.mktemp("alone"), progress=False)


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_end_with_the_weights_of_one(alone, tmp_path, count):
    assert alone.about["data"]["pictures"][0] % 25 == 1  # in the last batch there is one picture for all
    assert forked(count, CONFIG, tmp_path) == [0] * count
    (run,) = find_runs(tmp_path)  # process 0 alone has made one
    assert run.about["environment"]["processes"] == count
    for key, tensor in weights(alone).items():
        torch.testing.assert_close(weights(run)[key], tensor, rtol=0, atol=1e-5)
    assert run.metrics == pytest.approx(alone.metrics, abs=1e-5)
    names = [sorted(path.name for path in each.folder.iterdir()) for each in (run, alone)]
    assert names[0] == names[1] and len(list((run.folder / "tensorboard").iterdir())) == 1


def test_the_running_means_of_batch_norm_are_those_of_all_processes_pictures(tmp_path):
    config = changed(
        CONFIG, {"model.name": "simplecnn", "training.epochs": 1, "training.learning_rate": 1e-9}
    )
    one = train(config, tmp_path / "one", progress=False)
    assert forked(2, config, tmp_path / "two") == [0, 0]
    (two,) = find_runs(tmp_path / "two")
    means = [key for key in weights(one) if key.startswith("stage1") and key.endswith("running_mean")]
    assert means
    for key in means:
        torch.testing.assert_close(weights(two)[key], weights(one)[key], rtol=0, atol=1e-5)


def test_a_killed_process_ends_the_run_in_words_and_one_process_goes_on_with_the_run(tmp_path):
    config = changed(CONFIG, {"training.epochs": 100_000, "training.scheduler": "none"})
    with torchrun(config, tmp_path) as process:
        while not list(tmp_path.glob("*/latest.pt")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        ranks = {child.environ().get("RANK"): child for child in children(process)}
        start = time.monotonic()
        ranks["1"].kill()
        _, said = process.communicate(timeout=300)
    assert process.returncode != 0 and time.monotonic() - start < CONFIG.training.timeout
    assert "process of this run has ended" in said, said
    assert "--resume goes on from the last checkpoint" in said
    (run,) = find_runs(tmp_path)
    done = load(run.folder / "latest.pt")["epoch"]
    assert run.metrics == {} and run.about["environment"]["processes"] == 2
    on = train(
        changed(run.config, {"training.epochs": done + 1}), resume=run, progress=False
    )  # in one process
    assert on.history["epoch"].tolist() == list(range(1, done + 2)) and on.metrics["epoch"] == done + 1


def test_a_silent_process_ends_the_run_after_the_timeout(tmp_path):
    config = changed(CONFIG, {"training.timeout": 2.0})
    port, (left, right) = free_port(), os.pipe()
    for rank in (0, 1):
        if not os.fork():
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": port}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "TORCHELASTIC_RUN_ID": "x"}
            try:
                train(config, tmp_path, progress=False, callbacks=[Silent()] if rank else [])
            except RuntimeError as error:
                os.write(right, str(error).encode())
            finally:
                os._exit(0)
    said = os.read(left, 10_000).decode()
    assert "was silent for longer than training.timeout; --resume goes on from the last checkpoint" in said
    for _ in (0, 1):
        os.wait()


class Silent:
    """A process that hangs."""

    def step_end(self, trainer):
        if trainer.step == 2:
            time.sleep(6)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 4, 7, 8, 20])
def test_shares_are_each_batch_once_and_nobody_is_left_without(monkeypatch, world, count):
    from dl_course.data import Loader
    from dl_course.experiments import build_pictures

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
def test_two_processes_train_on_two_gpus_or_say_that_there_is_one(alone, tmp_path):
    with torchrun(changed(CONFIG, {"training.device": "cuda"}), tmp_path) as process:
        _, said = process.communicate(timeout=300)
    if torch.cuda.device_count() < 2:
        assert "a process needs a GPU of its own; there are 1" in said
    else:
        assert find_runs(tmp_path)[0].metrics == pytest.approx(alone.metrics, abs=1e-3)
