"""The output `picture` of an exported file: a map over what the model saw, drawn by the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ..graph.emitter import Emitter
from ..graph.names import RESERVED
from ..graph.tensors import onnx_type, rank_of
from . import free_names, look
from .preprocessing import Framing, done
from .resampling import FLOAT, INT64, counted, weights
from .smoothing import between_cells, end_of_scale, regions
from .views import Shown, taps_between, view_of_input, view_of_photo

PICTURE, VIEW = "picture", "view"
# Pillow's gray of a colour.
_GRAY = (19595.0, 38470.0, 7471.0)


class Colours(NamedTuple):
    """What a level from the lowest to the highest is painted with.

    Attributes:
        covered: colour times density and a half, float32 [levels, 3].
        rest: 1 - density, float32 [levels].
    """

    covered: np.ndarray
    rest: np.ndarray


class Drawing(NamedTuple):
    """How a method's maps are drawn.

    Attributes:
        per_location: whether there is a number for a location, not for an element.
        signed: whether colours run around zero; None: where there are negative numbers.
        colours: by whether they do.
        channel_axis: of the attribution where it has channels; None: nobody knows.
        of_photo: whether the graph's input is a photo.
    """

    per_location: bool
    signed: bool | None
    colours: Mapping[bool, Colours]
    channel_axis: int | None
    of_photo: bool


def with_picture(
    model: onnx.ModelProto,
    name: str,
    attribution: str,
    framing: Framing,
    drawing: Drawing,
    ground: bool = False,
) -> onnx.ModelProto:
    """The model with a further output `picture`, uint8 [N, h, w, 3].

    Args:
        model: an explaining model, whole.
        name: of the explained input: a photo, or the array that the model takes.
        attribution: the output that is drawn.
        framing: how a photo becomes the input.
        drawing: how maps become pictures.
        ground: whether `view`, in colour what the map is laid over, is an output, too.

    Raises:
        UnsupportedModelError: the model itself has an input or output of that name.
    """
    graph = gs.import_onnx(model)
    free_names(graph, [PICTURE, VIEW] if ground else [PICTURE])
    emit = Emitter(graph, "picture")
    tensors = graph.tensors()
    given, values = emit.term(tensors[name]), emit.term(tensors[attribution])
    maps = _summed(emit, values, drawing.channel_axis)
    view = view_of_photo if drawing.of_photo else view_of_input
    shown = view(emit, given, framing)
    _return_pixels(emit, PICTURE, _painted(emit, maps, shown, drawing))
    if ground:
        _return_pixels(emit, VIEW, shown.pixels)
    return done(graph, model)


def _return_pixels(emit: Emitter, name: str, levels: Any) -> None:
    """Grey levels [N, 3, h, w] as an output, uint8 [N, h, w, 3]."""
    pixels = emit.Transpose(emit.Cast(levels, to=onnx_type(np.uint8)), perm=[0, 2, 3, 1])
    shape: list[Any] = [f"{RESERVED}{axis}" for axis in ("pictures", "rows", "columns")]
    output = gs.Variable(name, dtype=np.dtype(np.uint8), shape=[*shape, 3])
    emit.graph.nodes.append(gs.Node("Identity", name, {}, [pixels], [output]))
    emit.graph.outputs.append(output)


def _summed(emit: Emitter, values: Any, channel_axis: int | None) -> Any:
    """The map [N, H, W] of an attribution, its channels summed; 0 where it is not finite."""
    maps = values
    if rank_of(values) == 4 and channel_axis is not None:
        maps = emit.ReduceSum(values, [channel_axis], keepdims=0)
    odd = emit.Or(emit.IsNaN(maps), emit.IsInf(maps))
    return emit.term(emit.Where(odd, emit.constant(0.0), maps))


def _painted(emit: Emitter, maps: Any, view: Shown, drawing: Drawing) -> Any:
    """Maps [N, H, W] over their ground, whole grey levels [N, 3, h, w]."""
    if drawing.per_location:
        kept = maps if drawing.signed else emit.term(emit.Max(maps, emit.constant(0.0)))
        values, part = between_cells(emit, kept), None
    else:
        values, part = regions(emit, maps)
    level = _stretched(emit, values / end_of_scale(emit, values, part), view)
    ground = emit.term(view.pixels)
    signed = drawing.signed
    painted: dict[bool, Any] = {}
    if signed is not True:
        painted[False] = _under_one_hue(emit, level, ground, drawing.colours[False])
    if signed is not False:
        painted[True] = _under_two_hues(emit, level, ground, drawing.colours[True])
    if signed is None:
        least = emit.ReduceMin(maps, [1, 2], keepdims=1)
        below = emit.Unsqueeze(emit.Less(least, 0.0), [3])
        return emit.Where(below, painted[True], painted[False])
    return painted[signed]


def _stretched(emit: Emitter, level: Any, view: Shown) -> Any:
    """Levels [N, H, W] in the picture's size, between their values linear."""
    lengths = [emit.dims(level, axis, axis + 1) for axis in (1, 2)]
    down, across = (
        emit.Cast(weights(emit, "bilinear", taps_between(emit, length, size)), to=FLOAT)
        for length, size in zip(lengths, (view.height, view.width), strict=True)
    )
    rows = emit.term(level) @ emit.Transpose(across, perm=[1, 0])
    return emit.term(down) @ rows


def _covered(emit: Emitter, position: Any, ground: Any, colours: Colours) -> Any:
    """floor(colour density + (1 - density) ground + 1/2): [N, 3, h, w].

    position: of each pixel in the table of colours, [N, h, w]; ground: [N, 3 or 1, h, w].
    """
    top = emit.constant(float(len(colours.rest) - 1))
    place = emit.Cast(emit.Clip(position + 0.5, emit.constant(0.0), top), to=INT64)
    rest = emit.term(emit.Unsqueeze(emit.Gather(colours.rest, place, axis=0), [1]))
    colour = emit.Gather(np.ascontiguousarray(colours.covered.T), place, axis=1)
    return emit.term(emit.Floor(rest * ground + emit.Transpose(colour, perm=[1, 0, 2, 3])))


def _under_two_hues(emit: Emitter, level: Any, ground: Any, colours: Colours) -> Any:
    """Levels from -1 to 1 over a pale gray ground, those below 0 striped."""
    parts = emit.constant(np.asarray(_GRAY, np.float32).reshape(1, 3, 1, 1))
    sums = emit.term(emit.ReduceSum(ground * parts, [1], keepdims=1))
    pale = emit.term(emit.Floor(sums / 65536.0 + 0.5)) * look.OF_GRAY + float(look.GROUND)
    half = (len(colours.rest) - 1) / 2
    return _covered(emit, (_striped(emit, level) + 1.0) * half, pale, colours)


def _striped(emit: Emitter, level: Any) -> Any:
    """Levels whose negative side is paler in diagonal stripes: (i + j) mod 6 < 3."""
    rows, columns = (counted(emit, emit.Shape(level, start=k, end=k + 1)) for k in (1, 2))
    diagonal = emit.term(emit.Unsqueeze(rows, [1])) + emit.Unsqueeze(columns, [0])
    stripe = emit.Less(emit.Mod(diagonal, np.int64(look.STRIPES)), np.int64(look.STRIPES // 2))
    pale = emit.And(emit.Unsqueeze(stripe, [0]), emit.Less(level, -look.STRIPED))
    held = emit.term(emit.Max(level, emit.constant(-1.0))) * look.PALE
    return emit.term(emit.Where(pale, held, level))


def _under_one_hue(emit: Emitter, level: Any, ground: Any, colours: Colours) -> Any:
    """Levels from 0 to 1 over the photo's own colours, with the contour of half of the evidence."""
    painted = _covered(emit, level * float(len(colours.rest) - 1), ground, colours)
    inside, outside = _contour(emit, level)
    kept = 1.0 - (inside + outside) * look.LINE
    return emit.Floor(painted * kept + inside * (255.0 * look.LINE))


def _contour(emit: Emitter, level: Any) -> tuple[Any, Any]:
    """1 on the line around the strong levels inside, and outside, else 0: [N, 1, h, w] each.

    A strong pixel with one beside it that is not, and the other way round; none where they are
    so many that the line is a scribble.
    """
    strong = emit.term(emit.Cast(emit.GreaterOrEqual(level, look.CONTOUR), to=FLOAT))
    strong = emit.term(emit.Unsqueeze(strong, [1]))
    weak = 1.0 - strong
    inside, outside = strong * _spread(emit, weak), weak * _spread(emit, strong)
    share = emit.ReduceMean(inside, [1, 2, 3], keepdims=1)
    drawn = emit.term(emit.Cast(emit.LessOrEqual(share, look.SCRIBBLE), to=FLOAT))
    return inside * drawn, outside * drawn


def _spread(emit: Emitter, flags: Any) -> Any:
    """The largest of each place and the four beside it, [N, 1, h, w]."""
    down = emit.MaxPool(flags, kernel_shape=[3, 1], pads=[1, 0, 1, 0])
    across = emit.MaxPool(flags, kernel_shape=[1, 3], pads=[0, 1, 0, 1])
    return emit.Max(down, across)
