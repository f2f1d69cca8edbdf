"""Grad-CAM and its family: where a feature map speaks for the class.

All weigh the feature map A by something of its gradient g = d score / d A, sum over the channels,
keep what is positive, and stretch it to the input; they differ in the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ... import InvalidInputError, UnsupportedModelError
from ..backward.walk import Refusal
from ..finish import ATTRIBUTION, working_copy
from ..graph.dims import Shape, is_static, same_dim
from ..graph.emitter import Emitter
from ..graph.tensors import Value, producer_of
from ..graph.terms import Term
from ..heads.asking import Asked, ask, gradient_refusals, walk_back
from ..select.feature_map import FeatureMap, find_feature_map
from ..select.map_layout import Layout
from ..select.subject import Subject
from .method import Chosen, Method, Stages
from .options import LAYER

# Rows or columns of a feature map up to which two products of matrices are faster than Resize.
_SMALL = 32


class Weights(NamedTuple):
    """How a method weighs a feature map.

    Attributes:
        name: the method's title.
        of: (emit, values, slope, layout) -> weights that broadcast to the values.
        by_channel: whether there is but one for each channel.
    """

    name: str
    of: Callable[[Emitter, Value, Any, Layout], Any]
    by_channel: bool


def cam(
    subject: Subject,
    layer: str | Sequence[str] | None,
    weights: Weights,
) -> onnx.ModelProto:
    """L = ReLU(sum_k w_k A^k), brought to the input's spatial size, bilinear, half-pixel.

    Of several layers the sum, each divided by its maximum.

    Args:
        subject: what is explained.
        layer: the feature map's tensor or node name, or several; None finds it.
        weights: the method's.

    Returns:
        A model with the outputs `attribution` [N, H, W] and the score.

    Raises:
        InvalidInputError: a bad `layer`.
        UnsupportedModelError: no feature map, or an operator without a rule behind it.
    """
    found = found_maps(subject, layer)
    subject = working_copy(subject)
    found = [one.moved_to(subject.graph) for one in found]
    asked = ask(subject)
    return asked.finished({ATTRIBUTION: cam_of(asked, found, weights)})


def cam_of(asked: Asked, found: Sequence[FeatureMap], weights: Weights) -> Any:
    """The map of some layers in a graph where a target is asked for, [N, H, W]."""
    emit, subject = asked.emit, asked.subject
    slopes = walk_back(asked, [one.tensor for one in found], weights.name)
    maps = []
    for one, slope in zip(found, slopes, strict=True):
        if slope is None:
            raise UnsupportedModelError(
                f"{weights.name}: no gradient comes from the score to {one.tensor.name!r}: every "
                "way between them leads through a step function"
            )
        activation = _class_activation(emit, one, slope, weights)
        maps.append(_to_input_size(emit, subject, one, activation))
    if len(maps) == 1:
        return maps[0]
    return emit.sum([_of_its_maximum(emit, one) for one in maps])


def found_maps(subject: Subject, layer: str | Sequence[str] | None) -> list[FeatureMap]:
    """The feature maps that are named, or the one that is found; of a detector one a scale."""
    if layer is None and subject.detector is not None and subject.detector.maps:
        layer = subject.detector.maps
    if layer is None or isinstance(layer, str):
        return [find_feature_map(subject, layer)]
    if not isinstance(layer, list | tuple) or not layer:
        raise InvalidInputError(f"layer must be a name or several, got {layer!r}")
    found = [find_feature_map(subject, name) for name in dict.fromkeys(layer)]
    if len(found) > 1 and any(one.picture is None for one in found):
        raise InvalidInputError("several layers need an input whose spatial axes are known")
    return found


def _of_its_maximum(emit: Emitter, image: gs.Tensor) -> gs.Tensor:
    """Each row [H, W] as parts of its maximum; 0 where that is 0."""
    most = emit.ReduceMax(image, [1, 2], keepdims=1)
    return image / (most + emit.cast_like(emit.Equal(most, 0.0), most))


def _class_activation(
    emit: Emitter, found: FeatureMap, slope: gs.Tensor, weights: Weights
) -> gs.Tensor:
    """ReLU(sum_k w_k A^k) as [N, 1, spatial...].

    Where the channels come first and have a weight each it is a product of matrices, [N, 1, C] by
    [N, C, pixels]: 5 us for [1, 1280, 7, 7], where a product of all elements and their sum take
    100 us.
    """
    layout, values = found.layout, found.tensor
    if layout.tokens is not None:
        values, slope = (_patches(emit, found, tensor) for tensor in (values, slope))
    order = [layout.batch, layout.channels, *layout.spatial]
    alpha = weights.of(emit, values, slope, layout)
    in_order = order == list(range(len(found.tensor.shape))) and layout.tokens is None
    if in_order and weights.by_channel:
        row = emit.term(emit.Unsqueeze(emit.Flatten(alpha, axis=1), [1]))
        total = row @ emit.Reshape(values, _flat_in_space(values.shape))
        shape = emit.Concat([0, 1], emit.dims(values, 2), axis=0)
        return emit.Relu(emit.Reshape(total, shape))
    weighted = emit.term(values) * alpha
    total = emit.Relu(emit.ReduceSum(weighted, [layout.channels], keepdims=1))
    order += [axis for axis in range(len(found.tensor.shape)) if axis not in order]
    if layout.tokens is None:
        turned, kept = emit.Transpose(total, perm=order), len(layout.spatial) + 2
        return emit.Squeeze(turned, list(range(kept, len(order)))) if order[kept:] else turned
    return _in_a_grid(emit, found, emit.Transpose(total, perm=order))


def _flat_in_space(shape: Shape) -> list[int]:
    """What Reshape needs to make [N, C, pixels] of [N, C, spatial...], for N = 0 where it can."""
    inner = [dim for dim in (shape or [])[1:] if isinstance(dim, int)]
    if shape is None or len(inner) + 1 < len(shape):
        return [0, 0, -1]
    return [-1, inner[0], math.prod(inner[1:])]


def _in_a_grid(emit: Emitter, found: FeatureMap, tokens: Value) -> Any:
    """[N, 1, places] as [N, 1, rows, columns]."""
    sizes = [*found.layout.sizes]
    if found.sized_by is not None:
        tensor, axes = found.sized_by
        sizes = emit.Concat(*(emit.dims(tensor, a, a + 1) for a in axes), axis=0)
    return emit.Reshape(tokens, emit.Concat([0, 1], sizes, axis=0))


def of_tokens(emit: Emitter, subject: Subject, found: FeatureMap, values: Value) -> Any:
    """One number for each token, [N, T], at the input's size: of those that stand for places."""
    along = found._replace(layout=found.layout._replace(spatial=(1,)))
    places = emit.Unsqueeze(_patches(emit, along, values), [1])
    return _to_input_size(emit, subject, found, _in_a_grid(emit, found, places))


def _patches(emit: Emitter, found: FeatureMap, tensor: Value) -> Any:
    """The tokens that stand for places, in their order."""
    tokens, axis = found.layout.tokens, found.layout.spatial[0]
    assert tokens is not None
    if (np.diff(tokens) != 1).any():
        return emit.Gather(tensor, tokens, axis=axis)
    if not found.others:
        return tensor
    first = int(tokens[0])
    behind = found.others - first
    return emit.Slice(tensor, [first], [-behind or np.iinfo(np.int64).max], [axis])


def _mean_over(emit: Emitter, slope: Value, layout: Layout) -> Any:
    """The mean over space; numbers that were only repeated along it are their own mean.

    That is what a global average pooling hands back: Expand and mean were a third of the time that
    each further target takes.
    """
    axes, channels = list(layout.spatial), layout.channels
    producer = producer_of(slope)
    if producer is not None and producer.op == "Expand":
        value = producer.inputs[0]
        same_rank = None not in (value.shape, slope.shape) and len(value.shape) == len(slope.shape)
        as_many = same_rank and same_dim(value.shape[channels], slope.shape[channels])
        if as_many and all(value.shape[axis] == 1 for axis in axes):
            return value
    return emit.ReduceMean(slope, axes, keepdims=1)


def _gradient_weights(emit: Emitter, values: Value, slope: Term, layout: Layout):
    """w_k = mean over space of g (Grad-CAM, equation 1)."""
    del values
    return _mean_over(emit, slope, layout)


def _plus_plus_weights(emit: Emitter, values: Value, slope: Term, layout: Layout):
    """w_k = sum over space of relu(g) g^2 / (2 g^2 + g^3 sum over space of A).

    Grad-CAM++, equations 10 and 19, of a score's exponential; 0 where g or the denominator is 0.
    """
    axes = list(layout.spatial)
    square = slope * slope
    total = emit.ReduceSum(values, axes, keepdims=1)
    below = square * 2.0 + square * slope * total
    none = emit.cast_like(emit.Equal(below, 0.0), below)
    share = square / (below + none)
    return emit.ReduceSum(emit.Relu(slope) * share, axes, keepdims=1)


def _axiom_weights(emit: Emitter, values: Value, slope: Term, layout: Layout):
    """w_k = sum over space of g A / sum over space of A (XGrad-CAM, equation 8); 0 for 0 / 0."""
    axes = list(layout.spatial)
    owed = emit.ReduceSum(slope * values, axes, keepdims=1)
    total = emit.ReduceSum(values, axes, keepdims=1)
    none = emit.cast_like(emit.Equal(total, 0.0), total)
    return owed / (total + none)


def _each_weight(emit: Emitter, values: Value, slope: Term, layout: Layout):
    """w = g, for each element (HiResCAM, equation 5)."""
    del emit, values, layout
    return slope


def _each_positive_weight(emit: Emitter, values: Value, slope: Term, layout: Layout):
    """w = relu(g), for each element (LayerCAM, equation 5)."""
    del values, layout
    return emit.Relu(slope)


GRAD_CAM = Weights("Grad-CAM", _gradient_weights, True)


def _to_input_size(emit: Emitter, subject: Subject, found: FeatureMap, activation: Value) -> Any:
    """[N, 1, h, w] resized to the input's [N, H, W]; [N, h, w] where no picture came in."""
    layout, picture = found.layout, found.picture
    if picture is None or len(picture) != len(layout.sizes):
        return emit.Squeeze(activation, [1])
    if found.placed is not None:
        return _placed(emit, emit.Squeeze(activation, [1]), found.placed)
    if any(found.turned):
        activation = _mirrored(emit, activation, found.turned)
    small = layout.sizes if found.fixed else ()
    large = [subject.start.shape[axis] for axis in picture]
    if len(picture) == len(small) == 2 and is_static([*small, *large]) and max(small) <= _SMALL:
        return _stretched(emit, emit.Squeeze(activation, [1]), small, large)
    parts = [emit.dims(subject.start, axis, axis + 1) for axis in picture]
    batch_and_one = emit.Shape(activation, start=0, end=2)
    sizes = emit.Concat(batch_and_one, *parts, axis=0)
    resized = emit.Resize(
        activation,
        None,
        None,
        sizes,
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    return emit.Squeeze(resized, [1])


def _placed(emit: Emitter, image: Value, matrices: Sequence[np.ndarray]) -> Any:
    """[N, h, w] -> [N, H, W], each axis by its matrix: where the graph moved the picture."""
    rank = len(matrices) + 1
    for axis, matrix in enumerate(matrices, start=1):
        perm = [a for a in range(rank) if a != axis] + [axis]
        turned = emit.Transpose(image, perm=perm)
        wide = turned @ emit.constant(matrix.T, image.dtype)
        image = emit.Transpose(wide, perm=[perm.index(a) for a in range(rank)])
    return image


def _mirrored(emit: Emitter, image: Value, turned: Sequence[bool]) -> Any:
    """[N, 1, h, w] with some of its places' axes the other way round."""
    axes = [2 + k for k, one in enumerate(turned) if one]
    ones = [-1] * len(axes)
    return emit.Slice(image, ones, [-(2**31)] * len(axes), axes, ones)


def _stretched(emit: Emitter, image: Term, small: Sequence[int], large: Sequence[int]) -> Term:
    """[N, h, w] -> [N, H, W] as Resize does it, by two matrices of known sizes.

    A fifth of Resize's time: 20 us against 100 us from 7 x 7 to 224 x 224.
    """
    rows, columns = (
        half_pixel_weights(length, wanted) for length, wanted in zip(small, large, strict=True)
    )
    wide = image @ emit.constant(columns.T, image.dtype)
    # One for each of N: ONNX Runtime stretches no operand to N = 0.
    each = emit.Concat(emit.dims(image, 0, 1), [1, 1], axis=0)
    return emit.term(emit.Expand(emit.constant(rows[None], image.dtype), each)) @ wide


def half_pixel_weights(length: int, wanted: int) -> np.ndarray:
    """[wanted, length]: linear interpolation between pixels that are one wide, float64.

    Pixel i of `wanted` has its middle at (i + 1/2) length / wanted; before the first middle and
    behind the last one there is nothing to interpolate.
    """
    middles = np.clip((np.arange(wanted) + 0.5) * length / wanted - 0.5, 0, length - 1)
    return np.maximum(1 - np.abs(middles[:, None] - np.arange(length)), 0)


def feature_maps(subject: Subject, options: Chosen) -> list[FeatureMap]:
    """The tensors whose places are explained."""
    if len(subject.sources) > 1:
        raise InvalidInputError("grad-cam explains one input at a time; name one")
    return found_maps(subject, options["layer"])


def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
    """What lies behind the feature map without a rule."""
    return gradient_refusals(subject, [found.tensor for found in feature_maps(subject, options)])


def _method(name: str, weights: Weights, cite: str, summary: str, **more: Any) -> Method:
    def stages(subject: Subject, options: Chosen) -> Stages:
        return Stages(cam(subject, options["layer"], weights))

    return Method(
        name=name,
        title=weights.name,
        cite=cite,
        summary=summary,
        options=(LAYER,),
        stages=stages,
        unsupported=unsupported,
        signed=False,
        per_location=True,
        feature_maps=feature_maps,
        at_once=4,
        **more,
    )


METHODS = (
    _method(
        "grad-cam",
        GRAD_CAM,
        "Selvaraju et al. 2017",
        "Where the feature map speaks for the class.",
        place=1,
        default=True,
    ),
    _method(
        "grad-cam++",
        Weights("Grad-CAM++", _plus_plus_weights, True),
        "Chattopadhay et al. 2018",
        "Grad-CAM with more weight on places that are few.",
        place=20,
    ),
    _method(
        "hirescam",
        Weights("HiResCAM", _each_weight, False),
        "Draelos, Carin 2020",
        "The feature map times its gradient, place by place.",
        place=20,
    ),
    _method(
        "layercam",
        Weights("LayerCAM", _each_positive_weight, False),
        "Jiang et al. 2021",
        "The feature map times its positive gradient, which also serves early layers.",
        place=20,
        of_places="grad-cam",
    ),
    _method(
        "xgrad-cam",
        Weights("XGrad-CAM", _axiom_weights, True),
        "Fu et al. 2020",
        "Grad-CAM with each place's gradient weighed by its share of the activation.",
        place=20,
    ),
)
