"""JAX models, exported by jax2onnx, against JAX's own gradients.

`pip install -e '.[test,exporters]'` brings what they need; without it they skip.
"""

# The exporters are an optional group.
# pyright: reportMissingImports=false
from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from support.exported import CHECKS, REASON, TOLERANCE, Exported

jax = pytest.importorskip("jax", reason=REASON)
jax2onnx = pytest.importorskip("jax2onnx", reason=REASON)
nnx = pytest.importorskip("flax.nnx", reason=REASON)
numpy = jax.numpy


def flax_parts():
    """A Flax network of two residual stages: batch and group normalisation, GELU, SAME pooling."""
    keys = nnx.Rngs(0)
    random = np.random.default_rng(0)
    stem = nnx.Conv(3, 8, (3, 3), strides=2, padding="SAME", rngs=keys)
    norm = nnx.BatchNorm(8, use_running_average=True, rngs=keys)
    norm.mean[...] = random.uniform(-0.3, 0.3, 8)
    norm.var[...] = random.uniform(0.5, 1.5, 8)
    depthwise = nnx.Conv(8, 8, (3, 3), padding="SAME", feature_group_count=8, rngs=keys)
    groups = nnx.GroupNorm(8, num_groups=4, rngs=keys)
    last = nnx.Conv(8, 12, (3, 3), kernel_dilation=2, padding="VALID", rngs=keys)
    hidden, logits = nnx.Linear(12, 16, rngs=keys), nnx.Linear(16, 5, rngs=keys)

    def trunk(x):
        x = nnx.gelu(norm(stem(x)))
        x = x + groups(nnx.silu(depthwise(x)))
        x = nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="SAME")
        return nnx.relu(last(x))

    def head(values):
        return logits(nnx.tanh(hidden(numpy.mean(values, axis=(1, 2)))))

    return trunk, head


def plain_parts():
    """Plain JAX: convolutions by lax in NHWC, uneven padding, an einsum for the dense layer."""
    random = np.random.default_rng(0)
    first = random.standard_normal((3, 3, 3, 8)).astype(np.float32) / 3
    second = random.standard_normal((3, 2, 8, 10)).astype(np.float32) / 5
    # Small: the gradient of a saturated softmax is rounding, in JAX as here.
    dense = random.standard_normal((10, 5)).astype(np.float32) / 5
    layout = ("NHWC", "HWIO", "NHWC")

    def trunk(x):
        x = x / 127.5 - 1
        x = jax.lax.conv_general_dilated(
            x, first, (2, 2), ((0, 1), (1, 2)), dimension_numbers=layout
        )
        x = numpy.clip(x, 0, 6)
        x = jax.lax.conv_general_dilated(x, second, (1, 1), "VALID", dimension_numbers=layout)
        return jax.nn.softplus(x)

    def head(values):
        return numpy.einsum("nc,ck->nk", values.mean((1, 2)) + values.max((1, 2)), dense)

    return trunk, head


def call(function, x: np.ndarray) -> np.ndarray:
    return np.asarray(function(numpy.asarray(x)))


def pull(function, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    """jax.vjp, the engine of jax.grad."""
    _, back = jax.vjp(function, numpy.asarray(x))
    return np.asarray(back(numpy.asarray(cotangent))[0])


@cache
def jax_case(parts, size: float) -> Exported:
    """A network beside its file, with two images."""
    trunk, head = parts()
    x = np.random.default_rng(1).uniform(0, size, (2, 22, 19, 3)).astype(np.float32)
    model = jax2onnx.to_onnx(
        lambda images: jax.nn.softmax(head(trunk(images))), inputs=[("B", *x.shape[1:])]
    )
    return Exported(model, x, trunk, head, jax.nn.softmax, call, pull)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("parts", "size"), [(flax_parts, 2), (plain_parts, 255)])
def test_jax(parts, size: float, check) -> None:
    assert check(jax_case(parts, size)) < TOLERANCE
