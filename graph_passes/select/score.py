"""From a target to the one number that is explained, inside the graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.dims import same_shape
from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.tensors import is_constant, producer_of
from .ending import ending_of
from .subject import Subject

# No axis is that long.
_FAR = 2**40


class Seed(NamedTuple):
    """d score / d logits, which also picks the score out of the logits; and its target."""

    weights: gs.Tensor
    target: gs.Tensor


def add_target_input(graph: gs.Graph, width: int | None = None) -> gs.Variable:
    """The graph input `target`: int64 [N] (a class; -1 = top1), or [N, width] (an index tuple)."""
    batch = f"{RESERVED}targets"
    shape = [batch] if width is None else [batch, width]
    target = gs.Variable("target", dtype=np.dtype(np.int64), shape=shape)
    graph.inputs.append(target)
    return target


def make_seed(emit: Emitter, subject: Subject, target: gs.Tensor) -> Seed:
    """The seed of a target tensor of shape [N] or [N, rank - 1]; see the three kinds below."""
    if target.shape is not None and len(target.shape) == 2:
        return _index_seed(emit, subject.logits, target)
    if subject.is_map:
        return _map_seed(emit, subject, target)
    return _class_seed(emit, subject, target)


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
    """The tensor that a backward pass begins at: a last layer's features, or the logits."""
    layer = last_layer(subject)
    return subject.logits if layer is None else layer.features


def first_cotangent(emit: Emitter, subject: Subject, seed: Seed) -> gs.Tensor:
    """d score / d `where_to_begin`.

    Behind a last layer it is one column of W, which is looked up: the layer's adjoint, a product
    with all of W, is 0.2 ms of EfficientNet-Lite0's 6.
    """
    layer = last_layer(subject)
    if layer is None:
        return seed.weights
    if len(seed.target.shape or [0, 0]) == 1:
        picked = emit.Gather(layer.weights, seed.target, axis=0 if layer.transposed else 1)
        picked = picked if layer.transposed else emit.Transpose(picked, perm=[1, 0])
    else:
        picked = emit.Gemm(seed.weights, layer.weights, transB=int(not layer.transposed))
    picked.shape = layer.features.shape
    return picked


def _resolve(emit: Emitter, target: gs.Tensor, best: gs.Tensor) -> gs.Tensor:
    """The target, with -1 replaced by the best class; below, what is out of any range."""
    resolved = emit.Where(emit.Equal(target, -1), best, _none_below(emit, target))
    resolved.shape = target.shape
    return resolved


def _none_below(emit: Emitter, target: gs.Tensor) -> gs.Tensor:
    """Negative numbers replaced by one that is out of range: they would count from the end."""
    far = emit.constant(np.asarray(_FAR, np.int64))
    return emit.Where(emit.Less(target, 0), far, target)


def _decided(emit: Emitter, subject: Subject) -> gs.Tensor:
    """The tensor whose greatest element names the class, in a type that ArgMax takes."""
    decided = subject.decided
    return (
        decided
        if decided.dtype == subject.logits.dtype
        else emit.cast_like(decided, subject.logits)
    )


def _class_seed(emit: Emitter, subject: Subject, target: gs.Tensor) -> Seed:
    """One hot: seed[n, c] = [c = target[n]], in the logits' shape.

    Scattered, since ScatterElements fails on a class that is out of range where OneHot is silent.
    """
    logits = subject.logits
    flat = emit.Flatten(logits, axis=1)
    decided = _decided(emit, subject)
    rows = flat if decided is logits else emit.Flatten(decided, axis=1)
    best = emit.ArgMax(rows, axis=1, keepdims=0)
    resolved = _resolve(emit, target, best)
    places = emit.Unsqueeze(resolved, [1])
    one = gs.Constant(emit.name("one"), np.ones(1, logits.dtype))
    ones = emit.ConstantOfShape(emit.Shape(places), value=one)
    hot = emit.ScatterElements(emit.filled_like(flat, 0.0), places, ones, axis=1)
    return Seed(emit.reshape_like(hot, logits), resolved)


def _map_seed(emit: Emitter, subject: Subject, target: gs.Tensor) -> Seed:
    """seed[n, c, h, w] = [c = target[n]] [the model predicts c at (h, w)].

    Top1: the class of most pixels. With one class: seed[n, 0, h, w] = [the model predicts it].
    """
    if subject.classes == 1:
        return _foreground_seed(emit, subject, target)
    logits, axis = subject.logits, subject.class_axis
    pixels = [a for a in (1, 2, 3) if a != axis]
    predicted = emit.ArgMax(_decided(emit, subject), axis=axis, keepdims=0)
    classes = emit.dims(logits, axis, axis + 1)
    values = emit.constant(np.array([0, 1], logits.dtype))
    hot = emit.OneHot(predicted, classes, values, axis=axis)
    best = emit.ArgMax(emit.ReduceSum(hot, pixels, keepdims=0), axis=1, keepdims=0)
    resolved = _resolve(emit, target, best)
    # Scattered: OneHot is silent about a class that is out of range.
    places = emit.Unsqueeze(resolved, [1])
    none = emit.filled(emit.Concat(emit.Shape(resolved), classes, axis=0), 0.0, logits.dtype)
    ones = emit.filled(emit.Shape(places), 1.0, logits.dtype)
    wanted = emit.Unsqueeze(emit.ScatterElements(none, places, ones, axis=1), pixels)
    weights = hot * wanted
    weights.shape = logits.shape
    return Seed(weights, resolved)


def _foreground_seed(emit: Emitter, subject: Subject, target: gs.Tensor) -> Seed:
    """seed[n, 0, h, w] = [score > 0], or [score > 1/2] of a Sigmoid's own value."""
    logits = subject.logits
    found = _decided(emit, subject)
    value = 0.5 if is_probability(found) else 0.0
    weights = emit.cast_like(emit.Greater(found, value), logits)
    weights.shape = logits.shape
    resolved = emit.Max(target, emit.constant(np.zeros(1, np.int64)))
    resolved.shape = target.shape
    return Seed(weights, resolved)


def is_probability(tensor: gs.Tensor) -> bool:
    """Whether numbers are what a final Sigmoid returns."""
    ending = ending_of(tensor).activation if isinstance(tensor, gs.Variable) else None
    return ending is not None and ending.op == "Sigmoid"


def _index_seed(emit: Emitter, logits: gs.Tensor, target: gs.Tensor) -> Seed:
    """seed[n, i...] = [i = target[n]]."""
    count = emit.Squeeze(emit.Shape(target, start=0, end=1), [0])
    rows = emit.Unsqueeze(emit.Range(np.int64(0), count, np.int64(1)), [1])
    positions = emit.Concat(rows, _none_below(emit, target), axis=1)
    one = gs.Constant(emit.name("one"), np.ones(1, logits.dtype))
    ones = emit.ConstantOfShape(emit.Shape(target, start=0, end=1), value=one)
    weights = emit.ScatterND(emit.filled_like(logits, 0.0), positions, ones)
    weights.shape = logits.shape
    return Seed(weights, target)
