"""A photo as the model's input: resized, cropped or padded, and normalised inside the graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.ordering import prune, sort_nodes
from . import exported
from .resampling import (
    FLOAT,
    INT64,
    Sides,
    Taps,
    counted,
    doubled,
    in_parts,
    is_tall,
    nearest,
    resampled,
    steps,
    weights,
)

# Pillow's gray, in parts of 65536: floor((19595 R + 38470 G + 7471 B) / 65536 + 1/2).
_GRAY, _PARTS = (19595.0, 38470.0, 7471.0), 65536.0


class Framing(NamedTuple):
    """How a photo becomes the input, as a model card says it.

    Attributes:
        size: (height, width) of the input.
        resize: "crop", "stretch" or "pad".
        covered: (height, width) that a photo is scaled to cover before the centre is cut out.
        down: whether a scaled side is rounded down to whole pixels, not to the nearest.
        centred: whether padding lies around the photo, and not right of it and below.
        fill: red, green and blue of the padding, 0 to 255.
        interpolation: "nearest", or one of `resampling.FILTERS`.
        tall_first: whether columns of a tall photo come first, as Pillow has it from 13 on.
        most: "crop" does not make more pixels than this: it resizes the part that is cut out.
        order: the channels of the input by their places in red, green, blue; None: gray.
        channel_axis: of the input, 1 or 3.
        table: the input's number for each grey level, [channels, 256], in its type.
        factor, shift: a grey level is the input's number times one, plus the other: [channels].
        longest: of a padded photo's view the longest side.
    """

    size: tuple[int, int]
    resize: str
    covered: tuple[int, int]
    down: bool
    centred: bool
    fill: tuple[float, ...]
    interpolation: str
    tall_first: bool
    most: int
    order: tuple[int, ...] | None
    channel_axis: int
    table: np.ndarray
    factor: np.ndarray
    shift: np.ndarray
    longest: int


class Side(NamedTuple):
    """Where a photo's height, or its width, comes to lie; all are doubles [1] but the counts.

    Attributes:
        length: of the photo, int64 [1].
        resized: what it is scaled to.
        ahead: pixels of padding ahead of it; those that are cut off count negatively.
        count: of the input's pixels, int64 [1].
    """

    length: Any
    resized: Any
    ahead: Any
    count: Any


def photo_input(emit: Emitter, name: str) -> Any:
    """The graph's input uint8 [H, W, 3] in place of the one of this name.

    Returns it, and the tensor that the model reads, whose name is another now.
    """
    graph = emit.graph
    place = next(k for k, tensor in enumerate(graph.inputs) if tensor.name == name)
    read = graph.inputs[place]
    read.name = emit.name("as_the_model_takes_it")
    shape = [f"{RESERVED}height", f"{RESERVED}width", 3]
    photo = gs.Variable(name, dtype=np.dtype(np.uint8), shape=shape)
    graph.inputs[place] = photo
    return emit.term(photo), read


def with_preprocessing(model: onnx.ModelProto, name: str, framing: Framing) -> onnx.ModelProto:
    """The model with a photo, uint8 [H, W, 3] of any size, in place of one of its inputs.

    Args:
        model: an explaining model, whole.
        name: of the input, which the photo has from now on.
        framing: how it becomes what the model takes.
    """
    graph = gs.import_onnx(model)
    emit = Emitter(graph, "photo")
    photo, read = photo_input(emit, name)
    made = as_input(emit, photo, framing)
    graph.nodes.append(gs.Node("Identity", read.name, {}, [made], [read]))
    read.shape = made.shape
    return done(graph, model)


def done(graph: gs.Graph, model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph with further nodes as the model that it was made of."""
    sort_nodes(graph)
    prune(graph)
    return exported(graph, model)


def as_input(emit: Emitter, photo: Any, framing: Framing) -> Any:
    """What the model takes of a photo, uint8 [H, W, 3]: [1, C, h, w], or [1, h, w, C]."""
    sides = placed(emit, photo, framing)
    pixels = _resized(emit, photo, framing, sides)
    if framing.resize == "pad":
        pixels = _padded(emit, pixels, framing, sides)
    if framing.order is None:
        parts = emit.constant(np.asarray(_GRAY, np.float32).reshape(3, 1, 1))
        sums = emit.ReduceSum(pixels * parts, [0], keepdims=1)
        pixels = emit.Floor(sums / _PARTS + 0.5)
    elif framing.order != (0, 1, 2):
        pixels = emit.Gather(pixels, [*framing.order], axis=0)
    return _looked_up(emit, pixels, framing)


def _looked_up(emit: Emitter, pixels: Any, framing: Framing) -> Any:
    """Grey levels [C, h, w] as the model's numbers: table[c, level].

    Of 256 levels each has its number, which is Python's own to the last bit, whatever its type.
    """
    count, (height, width) = len(framing.table), framing.size
    if framing.channel_axis == 3:
        pixels = emit.Transpose(pixels, perm=[1, 2, 0])
        shape, offsets = [1, height, width, count], np.arange(count)
    else:
        shape, offsets = [1, count, height, width], np.arange(count).reshape(-1, 1, 1)
    places = emit.Cast(emit.term(pixels) + (256.0 * offsets).astype(np.float32), to=INT64)
    found = emit.Reshape(emit.Gather(framing.table.reshape(-1), places, axis=0), shape)
    found.shape = shape
    return found


def placed(emit: Emitter, photo: Any, framing: Framing) -> tuple[Side, Side]:
    """Where a photo's (height, width) come to lie in the input.

    "crop": the one ratio that covers, of whole pixels, and half of what is too much cut off;
    "pad": the one that fits, and half of what is missing ahead; "stretch": each side its own.
    """
    sizes = [emit.Shape(photo, start=axis, end=axis + 1) for axis in (0, 1)]
    counts = [emit.constant(np.asarray([side], np.int64)) for side in framing.size]
    wanted = [np.asarray([side], np.float64) for side in framing.size]
    height, width = (doubled(emit, size) for size in sizes)
    if framing.resize == "crop":
        resized = _covering(emit, height, width, framing)
        ahead = [-emit.Round((r - w) * 0.5) for r, w in zip(resized, wanted, strict=True)]
    elif framing.resize == "pad":
        scale = emit.Min(*(w / s for w, s in zip(wanted, (height, width), strict=True)))
        least = emit.constant(1.0, np.float64)
        resized = [
            emit.Min(emit.Max(_rounded(emit, s * scale, framing), least), w)
            for s, w in zip((height, width), wanted, strict=True)
        ]
        half = 0.5 if framing.centred else 0.0
        ahead = [emit.Floor((w - r) * half) for r, w in zip(resized, wanted, strict=True)]
    else:
        resized = [emit.term(emit.constant(w)) for w in wanted]
        ahead = [emit.term(emit.constant(np.zeros(1)))] * 2
    down, across = (Side(*of) for of in zip(sizes, resized, ahead, counts, strict=True))
    return down, across


def _covering(emit: Emitter, height: Any, width: Any, framing: Framing) -> list[Any]:
    """(h, w) of the resized photo: one side is the covered one, the other in proportion."""
    h, w = map(float, framing.covered)
    tall = emit.GreaterOrEqual(h * width, w * height)
    down = emit.Where(tall, np.asarray([h]), _rounded(emit, w * height / width, framing))
    across = emit.Where(tall, _rounded(emit, h * width / height, framing), np.asarray([w]))
    return [emit.term(down), emit.term(across)]


def _rounded(emit: Emitter, value: Any, framing: Framing) -> Any:
    return emit.Floor(value) if framing.down else emit.Round(value)


def _taps(emit: Emitter, side: Side) -> Taps:
    """Each pixel of the input in the photo's own: its centre is (i + 1/2 - ahead) length / resized.

    So are those of the padding, which are junk.
    """
    step = doubled(emit, side.length) / side.resized
    return Taps((0.5 - side.ahead) * step, step, side.count, side.length)


def _resized(emit: Emitter, photo: Any, framing: Framing, sides: tuple[Side, Side]) -> Any:
    """The photo's grey levels in the input's place, float32 [3, h, w]."""
    if framing.interpolation == "nearest":
        down, across = (_nearest(emit, side, framing, sides) for side in sides)
        found = emit.Gather(emit.Gather(photo, across, axis=1), down, axis=0)
        return emit.Cast(emit.Transpose(found, perm=[2, 0, 1]), to=FLOAT)
    kernel = framing.interpolation
    down, across = (in_parts(emit, weights(emit, kernel, _taps(emit, side))) for side in sides)
    tall = _is_tall(emit, framing, sides) if framing.tall_first else None
    return resampled(emit, photo, down, across, tall)


def _is_tall(emit: Emitter, framing: Framing, sides: tuple[Side, Side]) -> Any:
    """Whether columns come first; of a very long photo only what is left of it is made."""
    new = [side.resized for side in sides]
    if framing.resize == "crop":
        long = _is_long(emit, framing, sides)
        made = zip(sides, new, strict=True)
        new = [emit.term(emit.Where(long, doubled(emit, s.count), r)) for s, r in made]
    return is_tall(emit, Sides(*(doubled(emit, side.length) for side in sides), *new))


def _is_long(emit: Emitter, framing: Framing, sides: tuple[Side, Side]) -> Any:
    """Whether "crop" does not resize all of the photo, but the part that is cut out: bool [1]."""
    return emit.Greater(sides[0].resized * sides[1].resized, float(framing.most))


def _nearest(emit: Emitter, side: Side, framing: Framing, sides: tuple[Side, Side]) -> Any:
    """The photo's pixels for one side of the input, int64 [count].

    Of a very long photo "crop" resizes the part that is cut out, and counts from its edge.
    """
    step = doubled(emit, side.length) / side.resized
    if framing.resize != "crop":
        ahead = emit.Cast(side.ahead, to=INT64)
        none = emit.constant(np.zeros(1, np.int64))
        own = nearest(emit, Taps(step * 0.5, step, side.count, side.length), none)
        last = side.count - [1]
        shifted = emit.Max(emit.term(counted(emit, side.count)) - ahead, np.int64(0))
        return emit.Gather(own, emit.Min(shifted, last), axis=0)
    long = _is_long(emit, framing, sides)
    start, end = -side.ahead * step, (doubled(emit, side.count) - side.ahead) * step
    part = (emit.Min(end, doubled(emit, side.length)) - start) / doubled(emit, side.count)
    own = emit.term(emit.Where(long, part, step))
    first = emit.term(emit.Where(long, start, np.zeros(1))) + own * 0.5
    skipped = emit.Where(long, np.zeros(1, np.int64), emit.Cast(-side.ahead, to=INT64))
    return nearest(emit, Taps(first, own, side.count, side.length), emit.term(skipped))


def _padded(emit: Emitter, pixels: Any, framing: Framing, sides: tuple[Side, Side]) -> Any:
    """Pixels [3, h, w] within the photo's place, and the padding's colour around it."""
    rows, columns = (_inside(emit, side) for side in sides)
    inside = emit.And(emit.Unsqueeze(rows, [1]), emit.Unsqueeze(columns, [0]))
    return emit.Where(inside, pixels, np.asarray(framing.fill, np.float32).reshape(3, 1, 1))


def _inside(emit: Emitter, side: Side) -> Any:
    """Which of the input's pixels lie in the photo, bool [count]."""
    own = steps(emit, side.count) - side.ahead
    return emit.And(emit.GreaterOrEqual(own, 0.0), emit.Less(own, side.resized))
