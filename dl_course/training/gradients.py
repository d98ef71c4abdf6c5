"""Clipping: one scale for all gradients, so that the step gets shorter and keeps its direction."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


def clip_by_global_norm(parameters: Tensor | Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients in place to a joint L2 norm of at most max_norm; return the norm before, 0-dim.

    Where that is not finite, nothing is changed. Pascanu et al., 2013. ValueError unless max_norm is above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0; given: {max_norm}")
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    moved = [p for p in parameters if p.grad is not None]
    gradients = [g.coalesce().values() if g.is_sparse else g for p in moved if (g := p.grad) is not None]
    # Squares of float16 overflow beyond 256.
    gradients = [g.float() if g.dtype is torch.float16 else g for g in gradients]
    norm = get_total_norm(gradients)
    if hasattr(norm, "full_tensor"):  # of parameters that several processes share out
        norm = norm.full_tensor()
    if max_norm < math.inf and norm.isfinite():
        clip_grads_with_norm_(moved, max_norm, norm)
    return norm
