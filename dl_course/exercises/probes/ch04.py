"""Calling the answers of chapter 04."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from dl_course.exercises.probes import Case, Outputs, probe
from dl_course.exercises.probes.tools import filled, plain


class _Noted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, spy: Any) -> Tensor:
        ctx.spy = spy
        ctx.samples = len(x) * ctx.needs_input_grad[0]
        spy.kept += ctx.samples
        spy.most = max(spy.most, spy.kept)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ctx.spy.kept -= ctx.samples
        return grad, None


class _Spy(nn.Module):
    """Hands on what it is given; counts the samples whose graph is kept, now and at most."""

    kept = most = 0

    def forward(self, x: Tensor) -> Tensor:
        return _Noted.apply(x, self)


def _network(case: Case, norm: type[nn.Module]) -> tuple[nn.Module, torch.optim.Optimizer, _Spy]:
    n_in, hidden, classes = case["sizes"]
    spy = _Spy()
    layers = nn.Linear(n_in, hidden), norm(hidden), nn.ReLU(), spy, nn.Linear(hidden, classes)
    model = filled(nn.Sequential(*layers).double(), case["seed"]).train(case.get("training", True))
    if case.get("frozen"):
        next(each for each in model.modules() if isinstance(each, norm)).eval()
    for parameter in model.parameters() if case.get("stale") else ():
        parameter.grad = torch.full_like(parameter, 0.5)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), spy


def _batches(case: Case) -> list[tuple[Tensor, Tensor]]:
    return [(torch.from_numpy(x), torch.from_numpy(labels)) for x, labels in case["batches"]]


def _saved(files: list[Path], pictures: Any) -> None:
    for file, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture).save(file)


@probe
def PictureFiles(answer: Any, case: Case) -> Outputs:  # noqa: N802
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.png") for number in range(len(case["labels"]))]
        _saved(files, case["early"])
        dataset = answer(files, list(case["labels"]))
        _saved(files, case["late"])  # which a data set that reads at once has missed
        items = [dataset[number] for number in range(len(files))]
        pictures, labels = zip(*items, strict=True)
        found = {"length": len(dataset), "pictures": plain(list(pictures)), "labels": plain(list(labels))}
    return found


@probe
def train_step(answer: Any, case: Case) -> Outputs:
    model, optimizer, _ = _network(case, nn.BatchNorm1d)
    losses = [answer(model, optimizer, *batch) for batch in _batches(case)]
    state = {"losses": plain(losses), "model afterwards": plain(list(model.state_dict().values()))}
    return state | {"losses with a graph": sum(getattr(each, "requires_grad", False) for each in losses)}


@probe
def evaluate(answer: Any, case: Case) -> Outputs:
    model, _, spy = _network(case, nn.BatchNorm1d)
    outputs = {"returned": plain(answer(model, _batches(case))), "graphs kept, in samples": spy.most}
    mode = "training" if model.training else "eval"
    modes = ["training" if module.training else "eval" for module in model.modules()]
    state = {"mode afterwards": mode, "its layers' modes": modes}
    return outputs | state | {"buffers": plain(list(model.buffers()))}


@probe
def warmup_cosine(answer: Any, case: Case) -> Outputs:
    steps = range(case["total"] + 3)
    return {"factors": [plain(answer(step, case["warmup"], case["total"])) for step in steps]}


@probe
def accumulated_step(answer: Any, case: Case) -> Outputs:
    model, optimizer, spy = _network(case, nn.LayerNorm)
    loss = answer(model, optimizer, _batches(case))
    outputs = {"loss": plain(loss), "parameters": plain(list(model.parameters()))}
    return outputs | {"graphs kept at once, in samples": spy.most}


@probe
def clip_by_global_norm(answer: Any, case: Case) -> Outputs:
    gradients = [torch.from_numpy(each) for each in case["gradients"]]
    return {"returned": plain(answer(gradients, case["max_norm"])), "gradients": plain(gradients)}


@probe
def EarlyStopping(answer: Any, case: Case) -> Outputs:  # noqa: N802
    stopping = answer(case["patience"], case["min_delta"])
    stops = []
    bests = []
    for loss in case["losses"].tolist():
        stops.append(int(stopping.update(loss)))
        bests.append(plain(stopping.best))
        if stops[-1]:
            break
    return {"best": bests, "stop": stops}


@probe
def focal_loss(answer: Any, case: Case) -> Outputs:
    logits = torch.from_numpy(case["logits"]).requires_grad_()
    loss = answer(logits, torch.from_numpy(case["labels"]), case["gamma"])
    if getattr(loss, "requires_grad", False):
        loss.sum().backward()
    return {"loss": plain(loss), "gradient": plain(logits.grad)}
