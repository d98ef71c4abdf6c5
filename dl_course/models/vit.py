"""Vision transformer: a picture as a sentence of patches. Takes torchvision's state dicts.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dl_course.models.catalog import MODELS


class SelfAttention(nn.Module):
    """Every token gathers from all tokens what it asks for: (N, T, embed_dim) → (N, T, embed_dim).

    ``nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)`` in the open, with its parameters: the
    attention, (N, heads, T, T), is the output of ``softmax``. Raises ValueError unless num_heads divides
    embed_dim. Vaswani et al., NeurIPS 2017, equation 1.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} can't be shared out evenly among {num_heads} heads")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * embed_dim, embed_dim)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.softmax = nn.Softmax(dim=-1)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return for each token a mixture of all tokens' values."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)  # each (N, heads, T, embed_dim / heads)
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        attention = self.softmax(scores)  # (N, heads, T, T): row, who asks; column, who answers
        return self.out_proj((attention @ value).transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Attention, then an MLP on every token by itself, each with a norm before and a shortcut around it."""

    def __init__(self, embed_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.self_attention = SelfAttention(embed_dim, num_heads)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(embed_dim, eps=1e-6)
        up = nn.Linear(embed_dim, 4 * embed_dim)
        down = nn.Linear(4 * embed_dim, embed_dim)
        self.mlp = nn.Sequential(up, nn.GELU(), nn.Dropout(dropout), down, nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens, (N, T, embed_dim), changed."""
        x = x + self.dropout(self.self_attention(self.ln_1(x)))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Tokens learn their places, then pass all blocks: (N, T, embed_dim) → (N, T, embed_dim)."""

    def __init__(self, tokens: int, depth: int, embed_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, embed_dim).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential()
        for index in range(depth):
            self.layers.add_module(f"encoder_layer_{index}", EncoderBlock(embed_dim, num_heads, dropout))
        self.ln = nn.LayerNorm(embed_dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the encoded tokens."""
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


@MODELS.register("vit")
class VisionTransformer(nn.Module):
    """Patches and a class token, as T tokens, through an encoder: (N, C, side, side) → (N, classes).

    image_size, patch_size: in pixels; the names are torchvision's and, for depth and embed_dim, timm's. What
    each block attends to: ``explain.attention_maps(model, x)``. Raises ValueError where patches don't fill
    the picture, on a picture of another size, and unless num_heads divides embed_dim.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 64, patch_size: int = 8,
        depth: int = 4, embed_dim: int = 64, num_heads: int = 4, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"patches of {patch_size} don't fill a side of {image_size} pixels")
        self.image_size = image_size
        self.conv_proj = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        tokens = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(tokens, depth, embed_dim, num_heads, dropout)
        self.heads = nn.Sequential()
        self.heads.head = nn.Linear(embed_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (N, num_classes)."""
        if x.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(f"pictures must have the side {self.image_size}; given {tuple(x.shape)}")
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)  # (N, T - 1, embed_dim)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1)  # (N, T, embed_dim)
        return self.heads(self.encoder(tokens)[:, 0])


_B16 = {
    "num_classes": 1000,
    "image_size": 224,
    "patch_size": 16,
    "depth": 12,
    "embed_dim": 768,
    "num_heads": 12,
}
vit_b_16 = MODELS.register("vit_b_16")(partial(VisionTransformer, **_B16))
