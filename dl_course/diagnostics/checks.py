"""What goes in and what comes out: facts, which rules can judge."""

from itertools import islice
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dl_course.diagnostics.table import Table, batches, table
from dl_course.hooks import tensors_in


def check_loader(loader: Any, limit: int = 100) -> Table:
    """Return facts, in the column "value", on a loader's first batches: (inputs (N, C, …), labels (N,)).

    Entropies are of class labels, in nats: far lower within batches than over all where they come sorted.
    Constant inputs have one value throughout; repeated ones equal an earlier one in every number.
    """
    pieces = list[Any]()
    labels = list[Tensor]()
    shapes = dict[str, int]()
    hashes = list[int]()
    for inputs, targets in islice(batches(loader), limit):
        x = next(tensors_in(inputs))
        each = x.double().reshape(len(x), x.shape[1] if x.dim() > 2 else 1, -1)  # (N, C, values)
        flat = each.flatten(1)
        finite = each.isfinite().flatten(1).all(1)
        pieces.append((each.mean(2), each.square().mean(2), flat.amin(1), flat.amax(1), finite))
        labels += tensors_in(targets)
        shapes[_kind(x[0])] = 1
        hashes += [hash(one.numpy().tobytes()) for one in flat]
    if not pieces:
        raise ValueError("the loader gave no batch: is its data set empty, or an iterator used up?")
    mean, square, low, high, finite = (torch.cat(column) for column in zip(*pieces, strict=True))
    std = (square.mean(0) - mean.mean(0).square()).clamp(0).sqrt()
    facts = {
        "batches": len(pieces), "inputs": len(mean), "last batch": len(flat), "shapes": ", ".join(shapes),
        "min": low.min().item(), "max": high.max().item(), "mean by channel": mean.mean(0).tolist(),
        "std by channel": std.tolist(), "not finite": (~finite).sum().item(),
        "constant": (low == high).sum().item(), "repeated": len(hashes) - len(set(hashes)),
    }  # fmt: skip
    facts |= _label_facts(torch.cat(labels)) if labels else {}
    if "classes" in facts:
        facts["entropy"] = _entropy(torch.cat(labels))
        facts["entropy within batches"] = sum(map(_entropy, labels)) / len(labels)
    return _facts(facts)


def check_outputs(outputs: Tensor, labels: Tensor | None = None) -> Table:
    """Return facts, in the column "value", on outputs (N, C): range, sums of rows, how inputs differ in them.

    With class labels (N,), facts on these, and the cross-entropy beside ln C, that of knowing nothing.
    """
    if outputs.dim() != 2 or not len(outputs):
        raise ValueError(f"outputs are (N, C), for N inputs and C classes; given: {tuple(outputs.shape)}")
    x = outputs.detach().double().cpu()
    facts: dict[str, Any] = {
        "outputs": _kind(outputs), "not finite": (~x.isfinite()).sum().item(),
        "min": x.min().item(), "max": x.max().item(), "least row sum": x.sum(1).min().item(),
        "greatest row sum": x.sum(1).max().item(), "std over inputs": x.std(0, correction=0).mean().item(),
        "classes predicted": len(x.argmax(1).unique()),
    }  # fmt: skip
    if labels is not None:
        facts |= _label_facts(labels.cpu())
        if facts["least label"] >= 0 and facts["greatest label"] < x.shape[1]:
            facts |= {
                "cross-entropy": F.cross_entropy(x, labels.long().cpu()).item(),
                "ln C": log(x.shape[1]),
            }
    return _facts(facts)


def _label_facts(labels: Tensor) -> dict[str, Any]:
    facts = {
        "labels": _kind(labels),
        "least label": labels.min().item(),
        "greatest label": labels.max().item(),
    }
    if labels.dim() == 1 and not labels.is_floating_point():
        counts = labels.unique(return_counts=True)[1].tolist()
        facts |= {"classes": len(counts), "rarest": min(counts), "most frequent": max(counts)}
    return facts


def _facts(facts: dict[str, Any]) -> Table:
    return table({name: {"value": value} for name, value in facts.items()})


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")


def _entropy(labels: Tensor) -> float:
    counts = labels.unique(return_counts=True)[1].double()
    return torch.distributions.Categorical(counts).entropy().item()
