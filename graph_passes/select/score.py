"""From a target to the one number that is explained, inside the graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import same_shape
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.tensors import is_constant, producer_of
from .subject import Subject

# How many places there are.
_MANY = f"{RESERVED}places"
# What a target is, as inputs of the graph: places among the scores, and a weight for each.
PLACES, PLACE_WEIGHTS = f"{RESERVED}places", f"{RESERVED}place_weights"
# In a place's class: the best class of its row.
BEST = -1


class Seed(NamedTuple):
    """d score / d logits, which also picks the score out of the logits.

    Attributes:
        weights: in the logits' shape.
        places: int64 [R, axes], every weight's place, the row first; `BEST` is resolved.
        of_places: [R], their weights.
    """

    weights: gs.Tensor
    places: gs.Tensor
    of_places: gs.Tensor


def rank_of_places(subject: Subject) -> int:
    """How many numbers a place has, the row first.

    One for each axis of the logits; where these have fewer than two, or nobody knows how many, the
    row and the class.
    """
    shape = subject.logits.shape
    return 2 if shape is None else max(len(shape), 2)


def make_seed(emit: Emitter, subject: Subject) -> Seed:
    """seed[place_r] = weight_r, for places and weights that are inputs of the graph.

    Each place comes once. Scattered, since ScatterND fails on a place that is out of range.
    """
    logits, rank = subject.logits, rank_of_places(subject)
    places = emit.input(PLACES, np.dtype(np.int64), [_MANY, rank])
    weights = emit.input(PLACE_WEIGHTS, logits.dtype, [_MANY])
    places = _resolved(emit, subject, places)
    flat = logits.shape is None or len(logits.shape) < 2
    whole = emit.Flatten(logits, axis=1) if flat else logits
    seed = emit.ScatterND(emit.filled_like(whole, 0.0), places, weights)
    if flat:
        seed = emit.reshape_like(seed, logits)
    seed.shape = logits.shape
    return Seed(seed, places, weights)


def _resolved(emit: Emitter, subject: Subject, places: gs.Tensor) -> gs.Tensor:
    """The places, with `BEST` replaced by the best class of their row."""
    if not subject.per_class:
        return places
    rows = emit.Flatten(_decided(emit, subject), axis=1)
    best = emit.ArgMax(rows, axis=1, keepdims=0)
    own = emit.Gather(best, emit.Gather(places, np.int64(0), axis=1), axis=0)
    resolved = emit.Where(emit.Equal(places, BEST), emit.Unsqueeze(own, [1]), places)
    resolved.shape = places.shape
    return resolved


def score_of(emit: Emitter, logits: gs.Tensor, seed: gs.Tensor) -> gs.Tensor:
    """score[n] = sum of seed[n] * logits[n]; float [N]."""
    flat = emit.Flatten(emit.term(logits) * seed, axis=1)
    return emit.ReduceSum(flat, [1], keepdims=0)


class LastLayer(NamedTuple):
    """logits = features W + b.

    Attributes:
        features: [N, K].
        weights: W, constant: [K, classes], or [classes, K] if `transposed`.
        transposed: whether it is.
    """

    features: gs.Tensor
    weights: gs.Constant
    transposed: bool


def last_layer(subject: Subject) -> LastLayer | None:
    """The linear layer that makes the logits, if that is what makes them."""
    if subject.head is not None:
        return None
    product = subject.logits
    node = producer_of(product)
    if node is not None and node.op == "Add" and any(map(is_constant, node.inputs)):
        product = next(t for t in node.inputs if not is_constant(t))
        node = producer_of(product) if same_shape(product.shape, subject.logits.shape) else None
    if node is None or node.op not in ("Gemm", "MatMul") or not is_constant(node.inputs[1]):
        return None
    features, weights = node.inputs[:2]
    plain = node.attrs.get("alpha", 1.0) == 1.0 and not node.attrs.get("transA", 0)
    constant = all(map(is_constant, node.inputs[1:]))
    ranks = [t.shape is not None and len(t.shape) for t in (features, weights, subject.logits)]
    known = any(features is start for start in subject.starts) or is_constant(features)
    if not plain or not constant or known or ranks != [2, 2, 2]:
        return None
    return LastLayer(features, weights, bool(node.attrs.get("transB", 0)))


def where_to_begin(subject: Subject) -> gs.Tensor:
    """The tensor that a backward pass begins at: a last layer's features, or what is weighed."""
    layer = last_layer(subject)
    return subject.weighed if layer is None else layer.features


def first_cotangent(emit: Emitter, subject: Subject, seed: Seed) -> gs.Tensor:
    """d score / d `where_to_begin`.

    Behind a last layer it is one column of W, which is looked up: the layer's adjoint, a product
    with all of W, is 0.2 ms of EfficientNet-Lite0's 6.
    """
    layer = last_layer(subject)
    if layer is None:
        return seed.weights
    weights, axis = layer.weights, 0 if layer.transposed else 1
    classes = emit.Gather(seed.places, np.int64(1), axis=1)
    picked = emit.Gather(weights, classes, axis=axis)
    picked = picked if layer.transposed else emit.Transpose(picked, perm=[1, 0])
    # Which row each place is in, [N, R]: of several in a row the sum. Rows are counted in the seed,
    # which depends on the targets: where several of one input go through what lies behind it
    # together, what does not is that of one.
    count = emit.Squeeze(emit.Shape(seed.weights, start=0, end=1), [0])
    rows = emit.Unsqueeze(emit.Range(np.int64(0), count, np.int64(1)), [1])
    own = emit.Equal(rows, emit.Gather(seed.places, np.int64(0), axis=1))
    picked = (emit.cast_like(own, weights) * seed.of_places) @ picked
    picked.shape = layer.features.shape
    return picked


def _decided(emit: Emitter, subject: Subject) -> gs.Tensor:
    """The tensor whose greatest element names the class, in a type that ArgMax takes."""
    decided = subject.decided
    return (
        decided
        if decided.dtype == subject.logits.dtype
        else emit.cast_like(decided, subject.logits)
    )
