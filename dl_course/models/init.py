"""The numbers a network starts from: drawn at random, or trained for the course before."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from dl_course.models.catalog import MODELS
from dl_course.registry import nearest

TRAINED = Path(__file__).parent / "trained"


def kaiming_init(model: nn.Module) -> None:
    """Draw convolution and linear weights from N(0, 2 / inputs), in place: ReLU then keeps the signal's size.

    Biases: zero. Create the layer of the logits afterwards, which PyTorch draws smaller. He et al., 2015.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def model_card(name: str) -> dict[str, Any]:
    """Return what is recorded with a trained network of the course: configuration, data, seed and figures."""
    cards = {path.stem: path for path in TRAINED.glob("*.json")}
    if name not in cards:
        raise ValueError(f"no trained network '{name}'{nearest(name, cards)}")
    return json.loads(cards[name].read_text(encoding="utf-8"))


def trained(name: str) -> nn.Module:
    """Return a trained network of the course, in eval mode on the CPU; ValueError for an unknown name."""
    model = MODELS.build(model_card(name)["model"])
    model.load_state_dict(load_file(TRAINED / f"{name}.safetensors"))
    return model.eval()
