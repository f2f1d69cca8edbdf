"""The adjoint of a convolution, and how it is lowered.

Lengths along one axis: input H, output O, kernel k, stride s, dilation d, pads p (begin) and q
(end). y[o] = sum_j w[j] x[s o + d j - p], so x's gradient is dx[i] = sum_j w[j] dy[(i + p - d j) /
s] over the j that divide. The last input elements that no window reaches (the residue) get 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ... import UnsupportedModelError
from ..graph.dims import is_static
from ..graph.emitter import Emitter
from ..graph.lowering import for_gpu
from ..graph.tensors import Node, is_constant
from ..graph.terms import Term

# Channels that ONNX Runtime's blocked layout puts together, at the least.
_BLOCK = 8


class Window(NamedTuple):
    """A sliding window; pads as ONNX lists them, all begins before all ends."""

    kernel: list[int]
    strides: list[int]
    pads: list[int]
    dilations: list[int]
    group: int = 1
    output_padding: tuple[int, ...] = ()


def convolution_window(node: Node) -> Window:
    """The window of a Conv or ConvTranspose node with explicit pads, as `prepare` leaves them."""
    kernel = list(node.attrs.get("kernel_shape") or node.inputs[1].shape[2:])
    if not is_static(kernel):
        raise UnsupportedModelError(
            f"{node.op} (node {node.name!r}): its kernel's size is not known before it runs"
        )
    axes = len(kernel)
    attributes = node.attrs
    return Window(
        kernel,
        list(attributes.get("strides") or [1] * axes),
        list(attributes.get("pads") or [0] * (2 * axes)),
        list(attributes.get("dilations") or [1] * axes),
        attributes.get("group", 1),
        tuple(attributes.get("output_padding") or [0] * axes),
    )


def input_gradient(op: Emitter, dy: Term, weight: Term, x: Term, window: Window) -> Term:
    """dx of y = Conv(x, weight), by the lowering that suits the layer.

    On a GPU a ConvTranspose where the stride is over 1: one kernel, cuDNN's own, where the phases
    are a dozen operators (not measured yet).
    """
    strided = any(s > 1 for s in window.strides)
    if is_constant(weight) and not (strided and for_gpu()):
        if _fits_flipped_convolution(window):
            return _by_flipped_convolution(op, dy, weight.values, window)
        if all(d == 1 for d in window.dilations) and len(window.kernel) == 2:
            if _fits_merged_phases(weight.values, window):
                return _by_merged_phases(op, dy, weight.values, x, window)
            return _by_phases(op, dy, weight.values, x, window)
    return by_transposed_convolution(op, dy, weight, x, window)


def _fits_flipped_convolution(window: Window) -> bool:
    """Stride 1, and no pad wider than the window reaches."""
    reach = [(k - 1) * d for k, d in zip(window.kernel, window.dilations, strict=True)]
    return all(s == 1 for s in window.strides) and all(
        p <= r for p, r in zip(window.pads, reach * 2, strict=True)
    )


def _flipped(weight: np.ndarray, group: int) -> np.ndarray:
    """[M, C/g, k...] -> [C, M/g, k... reversed]."""
    outs, ins_per_group = weight.shape[:2]
    spatial = weight.shape[2:]
    grouped = weight.reshape(group, outs // group, ins_per_group, *spatial).swapaxes(1, 2)
    grouped = grouped.reshape(group * ins_per_group, outs // group, *spatial)
    return np.flip(grouped, tuple(range(2, grouped.ndim)))


def _by_flipped_convolution(op: Emitter, dy, weight: np.ndarray, window: Window):
    """Stride 1: a Conv of dy with the flipped weights.

    On 2 CPU cores as fast as ConvTranspose on dense layers and 5-10x faster on depthwise ones,
    since ONNX Runtime has no blocked-layout ConvTranspose.
    """
    reach = [(k - 1) * d for k, d in zip(window.kernel, window.dilations, strict=True)]
    return op.Conv(
        dy,
        op.constant(_flipped(weight, window.group)),
        pads=[r - p for r, p in zip(reach * 2, window.pads, strict=True)],
        strides=[1] * len(window.kernel),
        dilations=window.dilations,
        group=window.group,
        kernel_shape=window.kernel,
    )


def by_transposed_convolution(op: Emitter, dy, weight, x, window: Window):
    """Any window: ConvTranspose without pads covers x padded, then Pad crops or extends it to x.

    The transposed output has length (O - 1) s + d (k - 1) + 1 and starts p before x.
    """
    axes = len(window.kernel)
    exact = all(s == 1 for s in window.strides)
    dx = op.ConvTranspose(
        dy,
        weight,
        strides=window.strides,
        dilations=window.dilations,
        group=window.group,
        kernel_shape=window.kernel,
        pads=window.pads if exact else [0] * (2 * axes),
    )
    if exact:
        return dx
    reach = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    length = (op.dims(dy, 2) - [1] * axes) * window.strides + reach
    begin = window.pads[:axes]
    end = op.dims(x, 2) - length + list(begin)
    return pad_spatial(op, dx, [-b for b in begin], end)


def pad_spatial(op: Emitter, value: Term, begin: list[int], end: Term) -> Term:
    """Zero-fill (or crop, where negative) the spatial axes at their begins and ends."""
    axes = list(range(2, 2 + len(begin)))
    amounts = op.Concat(begin, end, axis=0)
    if is_constant(amounts) and not amounts.values.any():
        return value
    return op.pad(value, amounts, axes, 2 + len(begin))


def _by_phases(op: Emitter, dy, weight: np.ndarray, x, window: Window):
    """Strides over 1, two spatial axes: one small Conv for each phase of the input, interleaved.

    The input elements i = s q + r of one phase r see only the kernel taps j with j = (r + p) mod s,
    so each phase is a stride-1 convolution of dy with a part of the kernel. Against ConvTranspose
    on 2 CPU cores: 0.89 s against 0.91-1.1 s (ResNet-50, batch 8).
    """
    size = _phase_size(op, x, window)
    phases = [
        _phase(op, dy, weight, window, (row, column), size)
        for row in range(window.strides[0])
        for column in range(window.strides[1])
    ]
    return _from_phases(op, phases, size, window, weight.shape[1] * window.group, x)


def _phase_size(op: Emitter, x: Term, window: Window) -> Term:
    """The lengths of one phase of x, int64 [2]: those of x over the strides, rounded up."""
    strides = list(window.strides)
    return (op.dims(x, 2) + [s - 1 for s in strides]) / strides


def _from_phases(
    op: Emitter, phases: Sequence[Term | None], size: Term, window: Window, channels, x
) -> Term:
    """Phases [N, C, Q], row by row (None: zeros), interleaved, and cut to x's lengths.

    By Concat and Reshape in a third of DepthToSpace's time (0.7 ms against 2.2 ms for
    [1, 96, 112, 112], 0.16 ms against 0.56 ms for [1, 3, 224, 224]).
    """
    across = window.strides[1]
    starts = range(0, len(phases), across)
    rows = [_interleaved(op, phases[start : start + across], size) for start in starts]
    template = next((row for row in rows if row is not None), None)
    if template is None:
        return op.filled_like(x, 0.0)
    filled = [op.filled_like(template, 0.0) if row is None else row for row in rows]
    dx = op.Concat(*filled, axis=3)
    whole, lengths = size * list(window.strides), op.dims(x, 2)
    # In Reshape zero stands for an axis that stays as it is.
    dx = op.Reshape(dx, op.Concat([0, channels], whole, axis=0))
    if is_constant(whole) and is_constant(lengths) and (whole.values == lengths.values).all():
        return dx
    return op.Slice(dx, [0, 0], lengths, [2, 3])


def _fits_merged_phases(weight: np.ndarray, window: Window) -> bool:
    """Images and the like: fewer channels than one block of ONNX Runtime's blocked layout."""
    rows, columns = window.strides
    return window.group == 1 and rows == columns and weight.shape[1] < _BLOCK


def _by_merged_phases(op: Emitter, dy, weight: np.ndarray, x, window: Window):
    """The phases of few channels as the channels of one Conv.

    Its kernel is as wide as all phases' taps together, with zeros where a phase has none. Three
    channels fill less than half a block of the layout, twelve fill one and a half: forward and back
    through ResNet's 7 x 7 stem take 8.8 ms instead of 17.6 (two images, 2 CPU cores), an 11 x 11
    one of stride 4 5.6 ms instead of 10.2; 3 x 3 ones take the same.
    """
    stride, channels = window.strides[0], weight.shape[1]
    phases = [[phase_taps(window, axis, r) for r in range(stride)] for axis in (0, 1)]
    before = [max(taps.before for taps in axis) for axis in phases]
    after = [max(taps.after for taps in axis) for axis in phases]
    kernel = [b + a + 1 for b, a in zip(before, after, strict=True)]
    merged = np.zeros((stride, stride, channels, weight.shape[0], *kernel), weight.dtype)
    for row, down in enumerate(phases[0]):
        for column, across in enumerate(phases[1]):
            part = _flipped(weight[:, :, down.taps, across.taps], 1)
            top, left = before[0] - down.before, before[1] - across.before
            height, width = part.shape[2:]
            merged[row, column, :, :, top : top + height, left : left + width] = part
    size = _phase_size(op, x, window)
    dx = _over_window(op, dy, merged.reshape(-1, *merged.shape[3:]), before, after, size)
    parts = op.many("Split", stride * stride, dx, axis=1, num_outputs=stride * stride)
    return _from_phases(op, parts, size, window, channels, x)


def _interleaved(op: Emitter, phases: Sequence[Term | None], size: Term):
    """[N, C, Q] phases of one row as [N, C, Qh, Qw * count], element by element in turn."""
    template = next((phase for phase in phases if phase is not None), None)
    if template is None:
        return None
    if len(phases) == 1:
        return template
    columns = [op.filled_like(template, 0.0) if p is None else p for p in phases]
    stacked = op.Concat(*(op.Unsqueeze(c, [-1]) for c in columns), axis=-1)
    height = op.Slice(size, [0], [1], [0])
    width = op.Slice(size, [1], [2], [0]) * [len(phases)]
    return op.Reshape(stacked, op.Concat([0, 0], height, width, axis=0))


def _phase(op: Emitter, dy, weight, window: Window, phase, size):
    """dx at the elements s q + r of one phase, q = 0 .. size - 1; None where no tap reaches it."""
    found = [phase_taps(window, axis, r) for axis, r in enumerate(phase)]
    part = weight[:, :, found[0].taps, found[1].taps]
    if 0 in part.shape:
        return None
    before, after = [taps.before for taps in found], [taps.after for taps in found]
    filters = _flipped(part, window.group)
    return _over_window(op, dy, filters, before, after, size, window.group)


class PhaseTaps(NamedTuple):
    """What the elements s q + r of one phase see along an axis.

    Attributes:
        taps: of the kernel; q sees dy[q + after] through the first of them, and one earlier through
            each next.
        before: the last tap is that of dy[q - before].
        after: the first tap is that of dy[q + after].
    """

    taps: slice
    before: int
    after: int


def phase_taps(window: Window, axis: int, r: int) -> PhaseTaps:
    """The taps j of phase r: those with j = (r + p) mod s, which may be none."""
    s, k, p = window.strides[axis], window.kernel[axis], window.pads[axis]
    first = (r + p) % s
    after = (r + p - first) // s
    return PhaseTaps(slice(first, k, s), len(range(first, k, s)) - 1 - after, after)


def _over_window(op: Emitter, dy, filters: np.ndarray, before, after, size, group: int = 1):
    """A stride-1 Conv whose output q, of `size` in all, covers dy[q - before .. q + after]."""
    end = size + after - op.dims(dy, 2)
    pads = [0, 0, 0, 0]
    if is_constant(end) and min(before) >= 0 and end.values.min() >= 0:
        pads = [*before, *(int(e) for e in end.values)]
    else:
        dy = pad_spatial(op, dy, before, end)
    return op.Conv(
        dy,
        op.constant(filters),
        pads=pads,
        strides=[1, 1],
        group=group,
        kernel_shape=list(filters.shape[2:]),
    )


def weight_gradient(op: Emitter, dy: Term, x: Term, weight: Term, window: Window) -> Term:
    """dW of y = Conv(x, W), as a convolution of x by dy with batch and channels exchanged.

    dW[m, c, j] = sum over n, o of x[n, c, s o + d j - p] dy[n, m, o]: a Conv whose kernel is dy,
    whose stride is d and whose dilation is s. Each group is one such Conv.
    """
    spatial = len(window.kernel)
    rest = list(range(2, 2 + spatial))
    group = window.group
    parts = []
    pairs = zip(_channel_groups(op, x, group), _channel_groups(op, dy, group), strict=True)
    for x_part, dy_part in pairs:
        swapped_x = op.Transpose(x_part, perm=[1, 0, *rest])
        swapped_dy = op.Transpose(dy_part, perm=[1, 0, *rest])
        dw = op.Conv(
            swapped_x,
            swapped_dy,
            strides=window.dilations,
            dilations=window.strides,
            pads=window.pads,
        )
        dw = op.Slice(dw, [0] * spatial, window.kernel, rest)
        parts.append(op.Transpose(dw, perm=[1, 0, *rest]))
    return parts[0] if group == 1 else op.Concat(*parts, axis=0)


def _channel_groups(op: Emitter, value: Term, group: int) -> list[Term]:
    """The tensor cut into `group` equal parts along its channels."""
    if group == 1:
        return [value]
    return op.many("Split", group, value, axis=1, num_outputs=group)
