"""Small transformers, each written in another of the ways in which patches become tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, HEADS, CLASSES = 12, 2, 5


class Attention(nn.Module):
    """Self-attention of [N, T, C], its products written as `kind` says."""

    def __init__(self, kind: str = "matmul"):
        super().__init__()
        self.kind = kind
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.project = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, queries: torch.Tensor | None = None) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q = q if queries is None else self.qkv(queries)[..., :WIDTH]
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
        if self.kind == "fused":
            mixed = F.scaled_dot_product_attention(q, k, v)
        elif self.kind == "einsum":
            weights = torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1)
            mixed = torch.einsum("bhqk,bhkd->bhqd", weights, v)
        elif self.kind == "transposed":
            weights = (k @ q.transpose(-2, -1)).softmax(-2)
            mixed = (v.transpose(-2, -1) @ weights).transpose(-2, -1)
        elif self.kind == "channels":
            weights = (q.transpose(-2, -1) @ k).softmax(-1)
            mixed = (weights @ v.transpose(-2, -1)).transpose(-2, -1)
        else:
            mixed = (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v
        return self.project(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block; `mix` takes [N, T, C] and gives [N, T, C]."""

    def __init__(self, mix: nn.Module):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix = mix
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.mix(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ConvPatches(nn.Module):
    """[N, 3, H, W] -> [N, T, C] by a strided convolution."""

    def __init__(self, order: str = "flatten, transpose"):
        super().__init__()
        self.order = order
        self.conv = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.order == "flatten, transpose":
            return x.flatten(2).transpose(1, 2)
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, WIDTH)


class CutPatches(nn.Module):
    """[N, 3, H, W] (or [N, H, W, 3]) cut by Reshape and Transpose, and a matrix."""

    def __init__(self, channels_last: bool = False):
        super().__init__()
        self.channels_last = channels_last
        self.linear = nn.Linear(48, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.channels_last:
            n, h, w, c = x.shape
            x = x.reshape(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5)
        else:
            n, c, h, w = x.shape
            x = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
        return self.linear(x.reshape(n, (h // 4) * (w // 4), 4 * 4 * c))


class Unfolded(nn.Module):
    """Overlapping patches, as T2T-ViT cuts them."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 36, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(F.unfold(x, 6, padding=1, stride=4).transpose(1, 2))


class Transformer(nn.Module):
    """Patches, tokens before and behind, blocks, and what `pool` makes of them."""

    def __init__(
        self,
        patches: nn.Module,
        blocks: list[nn.Module],
        pool: str = "token",
        before: int = 1,
        behind: int = 0,
    ):
        super().__init__()
        self.patches, self.blocks = patches, nn.Sequential(*blocks)
        self.pool, self.before, self.behind = pool, before, behind
        self.first = nn.Parameter(torch.randn(1, before, WIDTH))
        self.last = nn.Parameter(torch.randn(1, behind, WIDTH))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)
        self.query = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.reader = Attention()
        self.decoder = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        x = self.patches(x)
        parts = [self.first.expand(x.shape[0], -1, -1)] if self.before else []
        parts += [x] + ([self.last.expand(x.shape[0], -1, -1)] if self.behind else [])
        x = self.norm(self.blocks(torch.cat(parts, 1) if len(parts) > 1 else x))
        if self.pool == "token":
            return self.head(x[:, 0])
        if self.pool == "two tokens":
            return self.head(x[:, 0]) + self.head(x[:, 1])
        if self.pool == "query":
            return self.head(self.reader(x, self.query.expand(x.shape[0], -1, -1))[:, 0])
        if self.pool == "decoder":
            places = x[:, self.before :].transpose(1, 2).unflatten(2, [side // 4 for side in size])
            return self.head(F.relu(self.decoder(places)).mean((2, 3)))
        return self.head(x[:, self.before : x.shape[1] - self.behind].mean(1))


class Windows(nn.Module):
    """Swin's mixing of [N, h, w, C]: rolled, in windows of 3 x 3, padded where they do not fit."""

    def __init__(self, shift: int):
        super().__init__()
        self.shift, self.attention = shift, Attention()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        down, right = -h % 3, -w % 3
        x = F.pad(x, (0, 0, 0, right, 0, down))
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(n, (h + down) // 3, 3, (w + right) // 3, 3, c).permute(0, 1, 3, 2, 4, 5)
        x = self.attention(x.reshape(-1, 9, c))
        x = x.view(n, (h + down) // 3, (w + right) // 3, 3, 3, c).permute(0, 1, 3, 2, 4, 5)
        x = torch.roll(x.reshape(n, h + down, w + right, c), (self.shift, self.shift), (1, 2))
        return x[:, :h, :w]


class Swin(nn.Module):
    """Windows, rolled windows, patch merging, windows; the mean over all tokens."""

    def __init__(self, merging: str = "slices"):
        super().__init__()
        self.merging = merging
        self.patches = nn.Conv2d(3, WIDTH, 2, 2)
        self.blocks = nn.Sequential(Block(Windows(0)), Block(Windows(1)))
        self.merge_norm, self.merge = nn.LayerNorm(4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.last = Block(Windows(1))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.patches(x).permute(0, 2, 3, 1))
        if self.merging == "slices":
            x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        else:
            n, h, w, c = x.shape
            x = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        x = self.last(self.merge(self.merge_norm(x)))
        return self.head(self.norm(x).flatten(1, 2).mean(1))


class Subsampled(nn.Module):
    """LeViT's attention of a quarter of the tokens, then a block of them."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.grid, self.attention = (height, width), Attention()
        self.patches, self.last = ConvPatches(), Block(Attention())
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x)
        few = x.view(-1, *self.grid, WIDTH)[:, ::2, ::2].flatten(1, 2)
        return self.head(self.last(self.attention(x, few)).mean(1))


class MobileViT(nn.Module):
    """Convolutions around attention between the same places of 2 x 2 patches."""

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, WIDTH, 3, 2, 1), Block(Attention())
        self.fuse = nn.Sequential(nn.Conv2d(2 * WIDTH, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x = self.stem(x).relu()
        n, c, h, w = x.shape
        y = y.reshape(n * c * (h // 2), 2, w // 2, 2).transpose(1, 2)
        y = y.reshape(n, c, (h // 2) * (w // 2), 4).transpose(1, 3).reshape(n * 4, -1, c)
        y = self.block(y).view(n, 4, -1, c).transpose(1, 3)
        y = y.reshape(n * c * (h // 2), w // 2, 2, 2).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.fuse(torch.cat([x, y], 1)).mean((2, 3)))


class ChannelsLast(nn.Module):
    """ConvNeXt's block: depthwise, then LayerNorm and matrices over the last axis."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, WIDTH, 4, 4), nn.Conv2d(WIDTH, WIDTH, 5, 1, 2, 1, WIDTH)
        self.norm, self.mlp = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.mlp(self.norm(self.wide(x).permute(0, 2, 3, 1))).relu()
        return self.head((x.permute(0, 2, 3, 1) + y).mean((1, 2)))


def blocks(kind: str = "matmul", count: int = 2) -> list[nn.Module]:
    return [Block(Attention(kind)) for _ in range(count)]


def built(make: Callable[[], nn.Module]) -> nn.Module:
    """The network in eval mode, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make().eval()
        for name, parameter in module.named_parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, float(name.endswith("weight")), 0.3)
    return module.requires_grad_(False)


class Decoder(nn.Module):
    """A decoder's layer: queries read one another, then the picture's tokens; or the other way."""

    def __init__(self, mix: Callable[[], nn.Module] = Attention, cross_first: bool = False):
        super().__init__()
        self.among, self.cross, self.cross_first = mix(), mix(), cross_first
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(3)])
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor, places: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        if self.cross_first:
            x = self.norms[1](x + self.cross(memory, x + places))
        x = self.norms[0](x + self.among(x + places))
        if not self.cross_first:
            x = self.norms[1](x + self.cross(memory, x + places))
        return self.norms[2](x + self.mlp(x))


class EncoderDecoder(nn.Module):
    """DETR in small: a convolution, an encoder, a decoder's queries, and a score for each of them.

    `how`: "decoder", or what a network may do that the relevance of queries is not defined for.
    """

    def __init__(
        self,
        mix: Callable[[], nn.Module] = Attention,
        encoder: int = 2,
        decoder: int = 2,
        queries: int = 5,
        cross_first: bool = False,
        how: str = "decoder",
    ):
        super().__init__()
        self.how, self.patches = how, ConvPatches()
        self.encoder = nn.ModuleList([Block(mix()) for _ in range(encoder)])
        self.norm, self.places = nn.LayerNorm(WIDTH), nn.Parameter(torch.randn(queries, WIDTH))
        self.decoder = nn.ModuleList([Decoder(mix, cross_first) for _ in range(decoder)])
        self.back, self.head = Attention(), nn.Linear(WIDTH, CLASSES)
        self.boxes = nn.Linear(WIDTH, 4)

    def decoded(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.patches(x)
        early = None
        for block in self.encoder:
            x = block(x)
            early = x if early is None else early
        memory = self.norm(x)
        places = self.places[None]
        if self.how != "one for all rows":
            places = places.expand(x.shape[0], -1, -1)
        y = torch.zeros_like(places)
        for k, layer in enumerate(self.decoder):
            middle = self.how == "middle" and k == 0 and early is not None
            y = layer(y, places, self.norm(early) if middle else memory)
            if self.how == "back":
                memory = memory + self.back(y, memory)
        return y, memory

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, memory = self.decoded(x)
        return self.head(y + memory.mean(1, keepdim=True) if self.how == "beside" else y)


class Boxes(nn.Module):
    """Its scores, less an offset for each query and class, and its boxes."""

    offset: torch.Tensor

    def __init__(self, queries: int = 5):
        super().__init__()
        self.net = EncoderDecoder(queries=queries)
        self.register_buffer("offset", torch.zeros(queries, CLASSES))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, _ = self.net.decoded(x)
        return self.net.head(y) - self.offset, self.net.boxes(y).sigmoid()
