"""Vision transformer: a picture as a sentence of patches. Takes torchvision's state dicts.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.hooks import evaluating, watching
from dl_course.models.catalog import MODELS


class SelfAttention(nn.Module):
    """Every token gathers from all tokens what it asks for: (N, T, dim) → (N, T, dim).

    ``nn.MultiheadAttention(dim, heads, batch_first=True)`` in the open, with its parameters: the attention,
    (N, heads, T, T), is the output of ``softmax``. Vaswani et al., NeurIPS 2017, equation 1.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * dim, dim)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.softmax = nn.Softmax(dim=-1)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return for each token a mixture of all tokens' values."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (N, heads, T, dim / heads)
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        attention = self.softmax(scores)  # (N, heads, T, T): row, who asks; column, who answers
        return self.out_proj((attention @ value).transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Attention, then an MLP on every token by itself, each with a norm before and a shortcut around it."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim, eps=1e-6)
        self.self_attention = SelfAttention(dim, heads)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(dim, eps=1e-6)
        up, down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.mlp = nn.Sequential(up, nn.GELU(), nn.Dropout(dropout), down, nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens, (N, T, dim), changed."""
        x = x + self.dropout(self.self_attention(self.ln_1(x)))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Tokens learn their places, then pass all blocks: (N, T, dim) → (N, T, dim)."""

    def __init__(self, tokens: int, depth: int, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, dim).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential()
        for index in range(depth):
            self.layers.add_module(f"encoder_layer_{index}", EncoderBlock(dim, heads, dropout))
        self.ln = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the encoded tokens."""
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


@MODELS.register("vit")
class VisionTransformer(nn.Module):
    """Patches and a class token, as T tokens, through an encoder: (N, C, side, side) → (N, classes)."""

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 64, patch_size: int = 8,
        depth: int = 4, dim: int = 64, heads: int = 4, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_size = image_size
        self.conv_proj = nn.Conv2d(in_channels, dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.encoder = Encoder((image_size // patch_size) ** 2 + 1, depth, dim, heads, dropout)
        self.heads = nn.Sequential()
        self.heads.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (N, num_classes)."""
        if x.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(f"pictures must have the side {self.image_size}; given {tuple(x.shape)}")
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)  # (N, T - 1, dim)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1)  # (N, T, dim)
        return self.heads(self.encoder(tokens)[:, 0])

    @torch.no_grad()
    def attention(self, x: Tensor) -> list[Tensor]:
        """Return what each block attends to, one (N, heads, T, T) a block; rows sum to one."""
        outputs: dict[str, Tensor] = {}
        with evaluating(self), watching(self, lambda name, *call: outputs.update({name: call[-1]})):
            self(x)
        return [output for name, output in outputs.items() if name.endswith("softmax")]


_B16 = {"num_classes": 1000, "image_size": 224, "patch_size": 16, "depth": 12, "dim": 768, "heads": 12}
vit_b_16 = MODELS.register("vit_b_16")(partial(VisionTransformer, **_B16))
