"""A subject at one size: the nodes between input and score, and where tensors have places."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from ..graph.reach import Reach, find_reach
from .channels import channels_behind
from .map_layout import Layout, layout_of
from .positions.flow import Flow, follow
from .subject import Subject
from .typical import typical_graph


class Sight(NamedTuple):
    """A subject at one size, and where its tensors stand there.

    `fixed`: its inputs have this size always, but for the batch. `channels`: see `channels_behind`.
    """

    subject: Subject
    start: gs.Variable
    end: gs.Variable
    flow: Flow
    fixed: bool
    channels: int | None

    @property
    def path(self) -> Reach:
        """The nodes between input and score."""
        return self.flow.path

    def layout(self, tensor: gs.Tensor) -> Layout | None:
        """Which of a tensor's axes hold what; None where it has no places, or a single one."""
        places = self.flow.places(tensor)
        if places is None:
            return None
        found = layout_of(self.flow.grids, places, self.start.shape, self.channels)
        return found if found is not None and found.number > 1 else None

    def ranked(self, tensor: gs.Tensor) -> np.ndarray:
        """The ids of a tensor with a layout, in a grid of their own."""
        places = self.flow.places(tensor)
        ids = None if places is None else self.flow.grids.ranked(places.ids)
        assert ids is not None
        return ids


def seen(subject: Subject, batch: int) -> Sight:
    """The subject with so many rows, where a size that is open has a typical one."""
    graph = typical_graph(subject, batch)
    tensors = graph.tensors()
    start, end = tensors[subject.start.name], tensors[subject.logits.name]
    path = find_reach(graph, [start], [end])
    dims = {dim for tensor in subject.graph.inputs for dim in tensor.shape or [None]}
    fixed = all(isinstance(dim, int) or dim == subject.batch for dim in dims)
    channels = subject.sources[0].features.channel_axis
    if channels is None:
        channels = channels_behind(start, products=len(start.shape) == 3)
    return Sight(subject, start, end, follow(path, start, end, batch), fixed, channels)
