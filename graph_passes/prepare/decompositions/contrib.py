"""ONNX Runtime's own operators (com.microsoft) as standard ones; its optimised files have them."""

from __future__ import annotations

import math

import numpy as np

from ...graph.emitter import Emitter
from ...graph.tensors import is_constant, optional_input, rank_of
from ...graph.terms import NodeView, Term
from .normalization import standardised
from .registry import decomposition

DOMAIN = "com.microsoft"


def contrib(*ops: str):
    """Register a decomposition of operators of ONNX Runtime's domain."""
    return decomposition(*(f"{DOMAIN}.{op}" for op in ops))


_PARAMETERS = ("alpha", "beta", "gamma")
# What ONNX Runtime's optimiser fuses into a product, and the parameters that each one has.
_FUSED: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "Softplus": (),
    "Softsign": (),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
_OF_THE_ACTIVATION = ("activation", "activation_params", *(f"activation_{p}" for p in _PARAMETERS))


def _activated(emit: Emitter, node: NodeView, x: Term) -> Term | None:
    """The activation that was fused into a node, by its attributes; None: not known.

    Its parameters are named (`activation_alpha`, of a Gemm) or a list (`activation_params`, of a
    Conv); one that is left out has the value of the operator's own specification.
    """
    name = node.attrs.get("activation", "")
    listed = [float(number) for number in node.attrs.get("activation_params") or []]
    if not name:
        return x
    if name == "Clip" and len(listed) == 2:
        return emit.Clip(x, *listed)
    if name not in _FUSED or len(listed) > len(_FUSED[name]):
        return None
    given = dict(zip(_FUSED[name], listed, strict=False))
    named = {p: node.attrs.get(f"activation_{p}") for p in _PARAMETERS}
    given |= {p: float(number) for p, number in named.items() if number is not None}
    return emit(name, x, **given) if given.keys() <= set(_FUSED[name]) else None


def _plain(node: NodeView) -> dict:
    """A node's attributes without those of its fused activation."""
    return {k: v for k, v in node.attrs.items() if k not in _OF_THE_ACTIVATION}


@contrib("FusedConv")
def fused_conv(emit: Emitter, node: NodeView) -> Term | None:
    """y = activation(W * x + b [+ z])."""
    y = emit.Conv(*node.inputs[:3], **_plain(node))
    if optional_input(node, 3) is not None:
        y = y + node.inputs[3]
    return _activated(emit, node, y)


@contrib("NhwcFusedConv", "NhwcConv")
def nhwc_conv(emit: Emitter, node: NodeView) -> Term | None:
    """The same over images with channels last, in x, y and z."""
    x = emit.Transpose(node.inputs[0], perm=[0, 3, 1, 2])
    y = emit.Conv(x, *node.inputs[1:3], **_plain(node))
    y = emit.Transpose(y, perm=[0, 2, 3, 1])
    if optional_input(node, 3) is not None:
        y = y + node.inputs[3]
    return _activated(emit, node, y)


@contrib("FusedGemm")
def fused_gemm(emit: Emitter, node: NodeView) -> Term | None:
    """y = activation(alpha A B + beta C)."""
    return _activated(emit, node, emit.Gemm(*node.inputs, **_plain(node)))


@contrib("FusedMatMul", "TransposeMatMul")
def fused_matmul(emit: Emitter, node: NodeView) -> Term | None:
    """y = alpha A' B', each transposed in its last two axes where asked for."""
    if node.attrs.get("transBatchA", 0) or node.attrs.get("transBatchB", 0):
        return None
    left, right = (
        emit.Einsum(tensor, equation="...ij->...ji") if node.attrs.get(flag, 0) else tensor
        for tensor, flag in zip(node.inputs, ("transA", "transB"), strict=True)
    )
    return left @ right * float(node.attrs.get("alpha", 1.0))


@contrib("MatMulNBits")
def matmul_of_few_bits(emit: Emitter, node: NodeView) -> Term | None:
    """y = x W' [+ bias], W = scale (q - zero) for each block of a row, q packed low bits first."""
    packed, scales, zeros = node.inputs[1], node.inputs[2], optional_input(node, 3)
    parameters = [packed, scales, *([] if zeros is None else [zeros])]
    if optional_input(node, 4) is not None or not all(map(is_constant, parameters)):
        return None
    bits, rows, columns = node.attrs["bits"], node.attrs["N"], node.attrs["K"]
    q = _unpacked(packed.values, bits).reshape(rows, -1, node.attrs["block_size"])
    blocks = q.shape[1]
    scale = np.asarray(scales.values, np.float32).reshape(rows, blocks, 1)
    if zeros is None:
        zero = np.float32(2 ** (bits - 1))
    else:
        points = np.asarray(zeros.values)
        points = _unpacked(points, bits) if points.dtype == np.uint8 else points.astype(np.float32)
        zero = points.reshape(rows, -1)[:, :blocks, None]
    weight = (scale * (q - zero)).reshape(rows, -1)[:, :columns]
    y = node.inputs[0] @ emit.constant(np.ascontiguousarray(weight.T))
    return y if optional_input(node, 5) is None else y + node.inputs[5]


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """Bytes as float32 numbers of so many bits each, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((packed[..., None] >> shifts) & (2**bits - 1)).astype(np.float32)


@contrib("Gelu")
def gelu(emit: Emitter, node: NodeView) -> Term:
    """y = x Phi(x)."""
    return _gelu(emit, node.inputs[0])


@contrib("BiasGelu")
def bias_gelu(emit: Emitter, node: NodeView) -> Term:
    """y = gelu(x + bias)."""
    return _gelu(emit, node.inputs[0] + node.inputs[1])


def _gelu(emit: Emitter, x: Term) -> Term:
    cdf = (emit.Erf(x * math.sqrt(0.5)) + 1.0) * 0.5
    return x * cdf


@contrib("FastGelu")
def fast_gelu(emit: Emitter, node: NodeView) -> Term:
    """y = v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))) / 2, v = x [+ bias]."""
    x = node.inputs[0]
    if optional_input(node, 1) is not None:
        x = x + node.inputs[1]
    cube = x * x * x
    inner = (x + cube * 0.044715) * math.sqrt(2 / math.pi)
    return x * ((emit.Tanh(inner) + 1.0) * 0.5)


@contrib("QuickGelu")
def quick_gelu(emit: Emitter, node: NodeView) -> Term:
    """y = x sigmoid(alpha x)."""
    x = node.inputs[0]
    return x * emit.Sigmoid(x * float(node.attrs.get("alpha", 1.702)))


@decomposition("SimplifiedLayerNormalization")
def simplified_layer_normalization(emit: Emitter, node: NodeView) -> Term:
    """y = x / sqrt(mean x^2 + epsilon) * scale (in ONNX Runtime's files of the default domain)."""
    rank = rank_of(node.inputs[0])
    axes = list(range(node.attrs.get("axis", -1) % rank, rank))
    x = _root_mean_square(emit, node.inputs[0], axes, node.attrs.get("epsilon", 1e-5))
    return x * node.inputs[1]


def _root_mean_square(emit: Emitter, x: Term, axes: list[int], epsilon: float) -> Term:
    mean = emit.ReduceMean(x * x, axes, keepdims=1)
    return x * emit.Reciprocal(emit.Sqrt(mean + epsilon))


@contrib("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
def skip_layer_normalization(emit: Emitter, node: NodeView) -> list[Term | None]:
    """s = x + skip [+ bias]; y = normalised s, scaled [and shifted]; the fourth output is s."""
    simplified = node.op == "SkipSimplifiedLayerNormalization"
    x, skip, scale = node.inputs[:3]
    beta, bias = (
        (None, optional_input(node, 3))
        if simplified
        else (optional_input(node, 3), optional_input(node, 4))
    )
    total = x + skip
    if bias is not None:
        total = total + bias
    last, epsilon = [-1], node.attrs.get("epsilon", 1e-5)
    normal = _root_mean_square if simplified else standardised
    y = normal(emit, total, last, epsilon) * scale
    if beta is not None:
        y = y + beta
    return [y, None, None, total][: len(node.outputs)]
