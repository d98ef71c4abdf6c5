"""Activation checkpointing: keep less for the backward pass, and compute it a second time there."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from dl_course.hooks import preserved, resolve


@contextmanager
def checkpointed(model: nn.Module, layers: str | Iterable[str]) -> Iterator[None]:
    """Keep only the inputs of these layers, and run each again for its gradient, which stays the same.

    Dropout draws the same again, BatchNorm counts once. Chen et al., "Sublinear Memory Cost", 2016.
    """
    with ExitStack() as stack:
        for module in {resolve(model, name) for name in ([layers] if isinstance(layers, str) else layers)}:
            if isinstance(module, nn.ModuleList | nn.ModuleDict):
                raise ValueError(f"a {type(module).__name__} is never called; name the layers in it")
            stack.callback(vars(module).update, {k: v for k, v in vars(module).items() if k == "forward"})
            stack.callback(vars(module).pop, "forward")
            module.forward = _run_again_for_its_gradient(module)
        yield


def _run_again_for_its_gradient(module: nn.Module) -> Callable[..., Any]:
    forward = module.forward

    def checkpointed_forward(*args: Any, **kwargs: Any) -> Any:
        before = _buffers(module)
        runs = count()

        def run(*args: Any, **kwargs: Any) -> Any:
            if next(runs) == 0:
                return forward(*args, **kwargs)
            with ExitStack() as stack:  # with copies of the buffers that the first run found
                for buffers, values in before:
                    stack.callback(buffers.update, dict(buffers))
                    buffers.update({name: value.clone() for name, value in values.items()})
                return forward(*args, **kwargs)

        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    return checkpointed_forward


def _buffers(module: nn.Module) -> list[Any]:
    each = [m._buffers for m in module.modules()]
    return [(own, {name: b.clone() for name, b in own.items() if b is not None}) for own in each]


def saved_bytes(model: nn.Module, *inputs: Tensor) -> int:
    """Return the bytes that a forward keeps for the backward pass, parameters aside; changes nothing."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # by address, which none takes again while it is held

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with preserved(model), saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*inputs)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)
