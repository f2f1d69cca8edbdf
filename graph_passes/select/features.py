"""Where an input's channels and positions lie: decided once for a model, and asked by all."""

from __future__ import annotations

from typing import NamedTuple


class Features(NamedTuple):
    """The axes of an input.

    A *feature* is what is hidden, removed or compared at once: a position with all of its channels
    or, where no axis is known to hold channels, an element.

    Attributes:
        rank: how many axes the input has, the batch among them.
        channel_axis: that holds the channels; None: there is none, or nobody knows which.
        spatial_axes: that positions lie along, so that neighbours belong together; () where that is
            not known, or the elements have no order.
    """

    rank: int
    channel_axis: int | None = None
    spatial_axes: tuple[int, ...] = ()

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that features lie along: all but the batch and the channels."""
        return tuple(axis for axis in range(1, self.rank) if axis != self.channel_axis)

    @property
    def is_picture(self) -> bool:
        """Whether the input has channels and two spatial axes."""
        return self.channel_axis is not None and len(self.spatial_axes) == 2

    def lengths(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """How features lie in an input of this shape: [H, W] of a picture."""
        return tuple(shape[axis] for axis in self.axes)

    def in_row(self, ndim: int) -> int | None:
        """The axis of the channels in one row of an input or of a map, of so many axes.

        None where the row has no channels, as a map of positions has none.
        """
        if self.channel_axis is None or ndim < self.rank - 1:
            return None
        return self.channel_axis - 1


def with_channels(rank: int, axis: int) -> Features:
    """The features of an input with channels: all other axes behind the batch are spatial."""
    return Features(rank, axis, tuple(other for other in range(1, rank) if other != axis))


def of_graph(rank: int, channels: int | None) -> Features:
    """What a graph says of its input.

    Args:
        rank: of the input.
        channels: the axis that the first layer takes for channels; None: not known.
    """
    return Features(rank) if channels is None else with_channels(rank, channels)
