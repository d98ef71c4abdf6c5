"""Clipping: one scale for all gradients, so that the step gets shorter and keeps its direction."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.linalg import vector_norm


@torch.no_grad()
def clip_by_global_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients in place to a joint L2 norm of at most max_norm; return the norm before, 0-dim.

    Where that is not finite, nothing is changed. Does not wait for the device. Pascanu et al., 2013.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0; given: {max_norm}")
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    gradients = [p.grad for p in parameters if p.grad is not None]
    values = [g.coalesce().values() if g.is_sparse else g for g in gradients] or [torch.zeros(1)]
    norms = [vector_norm(v, dtype=torch.promote_types(v.dtype, torch.float32)) for v in values]
    norm = vector_norm(torch.stack([n.to(norms[0].device) for n in norms]))
    if max_norm == math.inf:
        return norm
    scale = torch.where(norm.isfinite(), (max_norm / (norm + 1e-6)).clamp(max=1.0), 1.0)
    for gradient in gradients:
        gradient.mul_(scale.to(gradient.device))
    return norm
