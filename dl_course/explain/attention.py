"""Attention, read from a network as it runs: who looks at whom, and which channels and places count."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from dl_course.explain.maps import at_rest
from dl_course.hooks import capture, watching
from dl_course.models import CBAM, SEBlock, SelfAttention

GATES: dict[type, list[str]] = {SEBlock: ["scale"], CBAM: ["channel_scale", "spatial_scale"]}
GATES |= {SqueezeExcitation: ["scale_activation"]}


def attention_maps(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return what each block attends to, (N, heads, T, T): row, who asks; column, who answers.

    A ViT's token 0 is the class, the others are patches, row by row. Reads SelfAttention, the course's, and
    nn.MultiheadAttention, as in torchvision's ViTs; ValueError for a network with neither.
    """
    maps: list[Tensor] = []
    ours = {module.softmax for module in model.modules() if isinstance(module, SelfAttention)}

    def leave(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if module in ours:
            maps.append(output)
        elif isinstance(module, nn.MultiheadAttention):  # whose caller wanted no weights: ask again
            call = inspect.signature(module.forward).bind(*args, **kwargs)
            call.arguments |= {"need_weights": True, "average_attn_weights": False}
            maps.append(module.forward(*call.args, **call.kwargs)[1])  # type: ignore[arg-type]

    with at_rest(model, images) as images, torch.no_grad(), watching(model, leave):
        model(images)
    if not maps:
        raise ValueError(f"{type(model).__name__} runs neither SelfAttention nor nn.MultiheadAttention")
    return maps


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Return how much of each token before, column, is in each token at the end, row: (N, T, T).

    attentions: (N, heads, T, T) of each block; a shortcut counts as much as all heads. The class token's
    picture: ``rollout(maps)[:, 0, 1:].unflatten(1, (h, w))``. Abnar and Zuidema, ACL 2020.
    """
    flow = identity = torch.eye(attentions[0].shape[-1]).to(attentions[0])
    for attention in attentions:
        flow = (attention.mean(1) + identity) / 2 @ flow
    return flow


def gates(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the weights that SE and CBAM blocks give, by layer: to channels (N, C), to places (N, H, W).

    Reads SEBlock and CBAM, the course's, and torchvision's SqueezeExcitation; ValueError without any.
    """
    names = [f"{n}.{gate}" for n, m in model.named_modules() for gate in GATES.get(type(m), [])]
    if not names:
        raise ValueError(f"{type(model).__name__} has no SEBlock, CBAM or SqueezeExcitation")
    with at_rest(model, images) as images, torch.no_grad(), capture(model, names) as seen:
        model(images)
    weights = {name: calls[-1].activation for name, calls in seen.items() if calls}
    return {name: y[:, 0] if name.endswith("spatial_scale") else y.flatten(1) for name, y in weights.items()}
