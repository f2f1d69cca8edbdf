"""The torch modules behind `networks.NETWORKS`: narrow and shallow, but structurally faithful.

Each keeps what makes its family hard to differentiate or to lower: overlapping max pooling,
depthwise convolutions, gates, permuted LayerNorms, attention, transposed convolutions, residues.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

CLASSES = 10


def randomise(module: nn.Module, images: torch.Tensor) -> None:
    """Give every normalisation and bias random values, and scale the weights to lively signals.

    Each layer with weights is rescaled, in order of execution, so that over `images` its outputs
    have a standard deviation near one, around the random bias: no activation dies, no gate
    saturates, the logits are O(1), and they differ from image to image.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.7, 1.3)
            nn.init.normal_(part.bias, std=0.2)
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            nn.init.normal_(part.running_mean, std=0.2)
            nn.init.uniform_(part.running_var, 0.7, 1.4)
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and part.bias is not None:
            nn.init.normal_(part.bias, std=0.2)

    def rescale(part: nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
        assert isinstance(part.weight, nn.Parameter)
        spread = output.std(dim=0).mean().clamp(min=1e-3)
        part.weight.data /= spread
        if not isinstance(part.bias, nn.Parameter):
            return output / spread
        channels = output.ndim - 1 if isinstance(part, nn.Linear) else 1
        others = [axis for axis in range(output.ndim) if axis != channels]
        wanted = part.bias.data.clone()
        part.bias.data = wanted - (output.mean(others) - wanted) / spread
        shape = [-1 if axis == channels else 1 for axis in range(output.ndim)]
        return (output - output.mean(others, keepdim=True)) / spread + wanted.reshape(shape)

    weighted = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [p.register_forward_hook(rescale) for p in module.modules() if isinstance(p, weighted)]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A bias-free convolution, padded to keep its size, and the BatchNorm after it."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def classifier(channels: int) -> nn.Sequential:
    """Global average pooling and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Residual(nn.Module):
    """activation(body(x) + shortcut(x))."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module):
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x) + self.shortcut(x))


class ResNet(nn.Sequential):
    """7x7/2 stem, overlapping 3x3/2 max pooling, basic blocks and a strided bottleneck."""

    def __init__(self):
        basic = nn.Sequential(conv_norm(8, 8, 3), nn.ReLU(), conv_norm(8, 8, 3))
        strided = nn.Sequential(conv_norm(8, 16, 3, 2), nn.ReLU(), conv_norm(16, 16, 3))
        bottleneck = nn.Sequential(
            conv_norm(16, 8, 1), nn.ReLU(), conv_norm(8, 8, 3, 2), nn.ReLU(), conv_norm(8, 32, 1)
        )
        super().__init__(
            conv_norm(3, 8, 7, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),
            Residual(basic, nn.Identity(), nn.ReLU()),
            Residual(strided, conv_norm(8, 16, 1, 2), nn.ReLU()),
            Residual(bottleneck, conv_norm(16, 32, 1, 2), nn.ReLU()),
            classifier(32),
        )


class SqueezeExcite(nn.Module):
    """x * gate(expand(activation(reduce(mean(x)))))."""

    def __init__(self, channels: int, activation: nn.Module, gate: nn.Module):
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 2, 1)
        self.expand = nn.Conv2d(channels // 2, channels, 1)
        self.activation, self.gate = activation, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.activation(self.reduce(squeezed))))


def inverted_residual(
    inputs: int,
    outputs: int,
    stride: int,
    activation: type[nn.Module],
    kernel: int = 3,
    excite: nn.Module | None = None,
) -> nn.Module:
    """Expand, depthwise, (squeeze and excite,) project; the shortcut where the shapes allow it."""
    hidden = inputs * 2
    body = nn.Sequential(
        conv_norm(inputs, hidden, 1),
        activation(),
        conv_norm(hidden, hidden, kernel, stride, groups=hidden),
        activation(),
        excite or nn.Identity(),
        conv_norm(hidden, outputs, 1),
    )
    same_shape = inputs == outputs and stride == 1
    return Residual(body, nn.Identity(), nn.Identity()) if same_shape else body


class MobileNetV2(nn.Sequential):
    def __init__(self):
        super().__init__(
            conv_norm(3, 8, 3, 2),
            nn.ReLU6(),
            inverted_residual(8, 8, 1, nn.ReLU6),
            inverted_residual(8, 16, 2, nn.ReLU6),
            inverted_residual(16, 16, 1, nn.ReLU6),
            conv_norm(16, 32, 1),
            nn.ReLU6(),
            classifier(32),
        )


class MobileNetV3(nn.Sequential):
    def __init__(self):
        def excite(channels: int) -> SqueezeExcite:
            return SqueezeExcite(channels, nn.ReLU(), nn.Hardsigmoid())

        super().__init__(
            conv_norm(3, 8, 3, 2),
            nn.Hardswish(),
            inverted_residual(8, 8, 1, nn.ReLU, 3, excite(16)),
            inverted_residual(8, 16, 2, nn.Hardswish, 5),
            inverted_residual(16, 16, 1, nn.Hardswish, 5, excite(32)),
            conv_norm(16, 32, 1),
            nn.Hardswish(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 24),
            nn.Hardswish(),
            nn.Linear(24, CLASSES),
        )


class EfficientNet(nn.Sequential):
    def __init__(self):
        def excite(channels: int) -> SqueezeExcite:
            return SqueezeExcite(channels, nn.SiLU(), nn.Sigmoid())

        super().__init__(
            conv_norm(3, 8, 3, 2),
            nn.SiLU(),
            inverted_residual(8, 8, 1, nn.SiLU, 3, excite(16)),
            inverted_residual(8, 16, 2, nn.SiLU, 5, excite(16)),
            inverted_residual(16, 16, 1, nn.SiLU, 3, excite(32)),
            conv_norm(16, 32, 1),
            nn.SiLU(),
            classifier(32),
        )


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of [N, C, H, W], by way of [N, H, W, C]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(2 * channels, channels)
        self.scale = nn.Parameter(torch.rand(channels) + 0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.project(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 4, 4),
            ChannelLayerNorm(8, eps=1e-6),
            ConvNeXtBlock(8),
            ChannelLayerNorm(8, eps=1e-6),
            nn.Conv2d(8, 16, 2, 2),
            ConvNeXtBlock(16),
            nn.AdaptiveAvgPool2d(1),
            ChannelLayerNorm(16, eps=1e-6),
            nn.Flatten(),
            nn.Linear(16, CLASSES),
        )


class UNet(nn.Module):
    """Two levels: the deeper is upsampled by ConvTranspose, the other by bilinear interpolation."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Sequential(conv_norm(3, 8, 3), nn.ReLU())
        self.middle = nn.Sequential(nn.MaxPool2d(2), conv_norm(8, 12, 3), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), conv_norm(12, 16, 3), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 12, 2, 2)
        self.merge_middle = nn.Sequential(conv_norm(24, 12, 3), nn.ReLU())
        self.merge_top = nn.Sequential(conv_norm(20, 8, 3), nn.ReLU())
        self.head = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top = self.enter(x)
        middle = self.middle(top)
        bottom = self.bottom(middle)
        middle = self.merge_middle(torch.cat([middle, self.up(bottom)], 1))
        upsampled = F.interpolate(middle, size=top.shape[2:], mode="bilinear")
        return self.head(self.merge_top(torch.cat([top, upsampled], 1)))


class SelfAttention(nn.Module):
    """Multi-head self-attention from MatMul and Softmax, as most exported files have it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        split = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)).softmax(-1)
        return self.project((weights @ value).transpose(1, 2).reshape(batch, tokens, width))


class VisionTransformer(nn.Module):
    """Patches of 8x8 of a 32x24 image, a class token, two blocks, the class token's logits."""

    def __init__(self, width: int = 24, heads: int = 3):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(0.5 * torch.randn(1, 13, width))
        self.blocks = nn.Sequential(*(self.block(width, heads) for _ in range(2)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    @staticmethod
    def block(width: int, heads: int) -> nn.Sequential:
        mlp = (nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        attention = nn.Sequential(nn.LayerNorm(width), SelfAttention(width, heads))
        return nn.Sequential(
            Residual(attention, nn.Identity(), nn.Identity()),
            Residual(nn.Sequential(nn.LayerNorm(width), *mlp), nn.Identity(), nn.Identity()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(x.shape[0], -1, -1)
        tokens = self.blocks(torch.cat([token, tokens], 1) + self.position)
        return self.head(self.norm(tokens)[:, 0])


class ConvHead(nn.Sequential):
    """Its last two Convs are 1x1 and stand after global pooling: no feature maps for Grad-CAM."""

    def __init__(self):
        super().__init__(
            conv_norm(3, 8, 3, 2),
            nn.LeakyReLU(0.1),
            conv_norm(8, 16, 3, 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(16, 24, 1),
            nn.ReLU(),
            nn.Conv2d(24, CLASSES, 1),
            nn.Flatten(),
        )


class DenseNet(nn.Sequential):
    """Pre-activation layers, so that no exporter can fold the BatchNorms, and concatenations."""

    class Layer(nn.Module):
        def __init__(self, inputs: int, growth: int):
            super().__init__()
            convolution = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)
            self.body = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), convolution)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, self.body(x)], 1)

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, padding=1, bias=False),
            self.Layer(8, 6),
            self.Layer(14, 6),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.Conv2d(20, 12, 1, bias=False),
            nn.AvgPool2d(2, 2),
            self.Layer(12, 6),
            nn.BatchNorm2d(18),
            nn.ReLU(),
            classifier(18),
        )


class OddShapes(nn.Sequential):
    """Asymmetric padding, strides with a residue, dilation, groups, odd kernels and pooling."""

    def __init__(self):
        super().__init__(
            nn.ZeroPad2d((2, 1, 0, 3)),
            nn.Conv2d(4, 8, (5, 3), stride=2, padding=(2, 0), groups=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
            nn.Conv2d(8, 12, 3, padding=(2, 1), dilation=(2, 1), groups=4),
            nn.ELU(),
            nn.AvgPool2d(3, 1, padding=1, count_include_pad=True),
            nn.Conv2d(12, 12, (2, 4), stride=(2, 3), padding=(1, 2)),
            nn.PReLU(12),
            nn.AvgPool2d((2, 3), (1, 2), padding=(1, 1), count_include_pad=False),
            nn.Conv2d(12, 16, 3, padding=1),
            nn.Softplus(),
            classifier(16),
        )


def captum_relu() -> nn.Module:
    """What Captum's DeepLIFT handles right: each ReLU and pooling is a module, used once."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 8 * 10, 24),
        nn.ReLU(),
        nn.Linear(24, CLASSES),
    )


def captum_smooth() -> nn.Module:
    """The same with every elementwise smooth activation for which Captum has a rule."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 12, 3, 2, bias=False),
        nn.Sigmoid(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 3 * 4, 24),
        nn.Softplus(),
        nn.Linear(24, CLASSES),
    )


def captum_dense() -> nn.Module:
    """No images at all: a table row of twelve columns."""
    return nn.Sequential(
        nn.Linear(12, 16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.Tanh(),
        nn.Linear(16, CLASSES),
    )
