"""Two processes average the gradients of 12.6 million parameters: DDP beside one all-reduce by hand.

    python benchmarks/ddp.py [steps of each, by default 15]

Steps come in turns, in the same two processes (gloo, one thread each). The shares of a batch are 13 and 12
pictures; both ways weigh them, and both are compared with one process that has the whole batch.
"""

import json
import os
import subprocess
import sys
from statistics import median
from time import perf_counter

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BATCH = 25


def network() -> nn.Module:
    torch.manual_seed(0)
    hidden = nn.Linear(784, 3000), nn.ReLU(), nn.Linear(3000, 3400), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(3400, 10))


def by_hand(model: nn.Module, x: torch.Tensor, y: torch.Tensor, share: float) -> None:
    """Wait for the whole backward pass, then add up all gradients, flat and weighed, in one all-reduce."""
    F.cross_entropy(model(x), y).backward()
    gradients = [p.grad for p in model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) * share
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def by_ddp(model: nn.Module, x: torch.Tensor, y: torch.Tensor, share: float) -> None:
    """All-reduce takes the mean of processes, so the loss is multiplied by world · n_local / n_total."""
    (F.cross_entropy(model(x), y) * dist.get_world_size() * share).backward()


def process(steps: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    x, y = torch.randn(BATCH, 1, 28, 28), torch.arange(BATCH) % 10
    mine = slice(rank, None, world)
    share = len(y[mine]) / BATCH
    plain, wrapped, alone = network(), DistributedDataParallel(network()), network()
    dist.broadcast(x, 0)
    F.cross_entropy(alone(x), y).backward()
    seconds: dict[str, list[float]] = {"by hand": [], "DDP": []}
    for step in range(steps + 2):
        for name, way, model in (("by hand", by_hand, plain), ("DDP", by_ddp, wrapped)):
            model.zero_grad()
            dist.barrier()
            start = perf_counter()
            way(model, x[mine], y[mine], share)
            if step >= 2:
                seconds[name].append(perf_counter() - start)
    found = {name: {"seconds": median(times)} for name, times in seconds.items()}
    for name, model in (("by hand", plain), ("DDP", wrapped)):
        pairs = zip(model.parameters(), alone.parameters(), strict=True)
        found[name]["difference"] = max((p.grad - q.grad).abs().max().item() for p, q in pairs)
    if rank == 0:
        print(json.dumps(found | {"parameters": sum(p.numel() for p in plain.parameters())}))
    dist.destroy_process_group()


def main() -> int:
    from results import store

    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, __file__, "process", str(steps)],
        capture_output=True, text=True, env=environment, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        print(done.stderr)
        return 1
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{found['parameters']:,} parameters, two processes, median of {steps} steps of each")
    for name in ("by hand", "DDP"):
        row = found[name]
        print(f"{name:<8} {1000 * row['seconds']:6.0f} ms a step, largest difference {row['difference']:.1e}")
    ratio = found["by hand"]["seconds"] / found["DDP"]["seconds"]
    print(f"DDP takes 1 / {ratio:.2f} of the time")
    how = f"{steps} steps, in turns"
    figures = {
        "ratio": {"what": "times as fast as one all-reduce by hand", "value": ratio, "unit": "x", "n": how},
        "difference": {
            "what": "largest difference of a gradient from that of one process",
            "value": found["DDP"]["difference"],
            "unit": "", "n": f"{found['parameters']:,} parameters",
        },
    }  # fmt: skip
    store("ddp", "Several processes", "python benchmarks/ddp.py", figures)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["process"]:
        process(int(sys.argv[2]))
    else:
        sys.exit(main())
