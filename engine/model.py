"""A model opened once: read, hashed, checked and prepared for all that is then asked of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from .. import InvalidInputError
from ..graph_passes import finish
from ..graph_passes.prepare.decompositions.quantisation import QUANTISED
from ..graph_passes.select.labels_inside import scores_of_labels
from ..models.load import load, load_with_sha256
from ..models.plain_card import Card
from ..models.sources.gathering import known_of
from ..models.variants import (
    Shapes,
    all_known,
    with_output,
    with_output_first,
    with_shapes,
    without_zipmaps,
)
from .running.given import problem_in_runtime
from .running.once import Once
from .running.prepared import prepared
from .running.process import BUILDING
from .running.session import Session, open_session
from .running.stopwatch import phase

Given: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"


class Model:
    """A model that was read once.

    Args:
        given: path, bytes or onnx.ModelProto.
        shapes: of inputs, instead of those that the file gives them.
        output: a tensor of the graph that is an output, too.

    Attributes:
        given: path, bytes or onnx.ModelProto.
        path: where it was read from, or None.
        sha256: of the file with all of its weights, in hex.
        metadata: the file's own.
        labelled: the scores that all outputs are the labels of, which became an output, too; None:
            there are none.
        quantised: names of its quantised operators.
        precision: of its numbers, see `precision_of`.

    Raises:
        UnsupportedModelError: it cannot be read, or is no model.
        InvalidInputError: shapes or an output that do not fit it.
    """

    def __init__(self, given: Given, shapes: Shapes | None = None, output: str | None = None):
        self.given = given
        self._shapes, self._output = dict(shapes or {}), output
        self.path = given if isinstance(given, str | os.PathLike) else None
        with phase("load"):
            proto, self.sha256 = load_with_sha256(given)
            self._change(proto)
        self._check_shapes(proto)
        self._outputs = {output.name for output in proto.graph.output}
        self._variants: dict[str, Model] = {}
        self._proto: onnx.ModelProto | None = proto
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        names = {f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in proto.graph.node}
        self.quantised = sorted(names & set(QUANTISED))
        self.precision = precision_of(proto, bool(self.quantised))
        self._sessions: dict[tuple[str, int | None], Session] = {}
        self._once: Once | None = None

    @cached_property
    def card(self) -> Card | None:
        """What its metadata, its neighbours and its graph say, without assumptions, or None.

        Raises:
            InvalidInputError: somebody wrote a card for it, and it is wrong.
        """
        return known_of(self.proto, self.path).stated

    @property
    def proto(self) -> onnx.ModelProto:
        """The model itself, which nobody changes; read again where it was let go."""
        proto = self._proto
        if proto is None:
            self._change(proto := load(self.given))
        return proto

    def _change(self, proto: onnx.ModelProto) -> None:
        """What is read otherwise than the file has it, in place."""
        without_zipmaps(proto)
        self.labelled = scores_of_labels(proto)
        if self.labelled is not None:
            with_output_first(proto, self.labelled.scores)
        if self._shapes:
            with_shapes(proto, self._shapes)
        if self._output is not None:
            with_output(proto, self._output)

    def _check_shapes(self, proto: onnx.ModelProto) -> None:
        """Try lengths that were given by running the file, where there are no open ones left."""
        if not self._shapes or not all_known(proto):
            return
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        problem = problem_in_runtime(copy)
        if problem is not None:
            given = ", ".join(f"{name} {list(shape)}" for name, shape in self._shapes.items())
            raise InvalidInputError(f"the model does not run with {given}: {problem}")

    @property
    def folder(self) -> str | None:
        """Where it lies; None: it was not read from a file."""
        return None if self.path is None else os.path.dirname(os.path.abspath(self.path))

    @property
    def readable(self) -> Given:
        """What stands for the model where it is read again: as given, or as it was changed."""
        return self.given if not self._shapes and self._output is None else self.proto

    def with_output(self, name: str | None) -> Model:
        """The model with one more tensor among its outputs; itself where it is one of them."""
        if name is None or name in self._outputs:
            return self
        with BUILDING:
            if name not in self._variants:
                self._variants[name] = Model(self.given, self._shapes, name)
            return self._variants[name]

    def meant(self, output: str | None) -> str | None:
        """The output that is explained where one is named: of labels the scores behind them."""
        found = self.labelled
        return found.scores if found is not None and output in found.outputs else output

    def let_go(self) -> None:
        """Keep the weights no longer, which sessions and prepared graphs have of their own."""
        self._proto = None
        if self._once is not None:
            self._once = Once()
        for variant in self._variants.values():
            variant.let_go()

    def graph(self) -> gs.Graph:
        """In the canonical dialect, within the limits in force; the caller may change it."""
        key = self.sha256
        if self._shapes or self._output is not None:
            key = repr((key, sorted(self._shapes.items()), self._output))
        return prepared(self.readable, lambda: self.proto, key)

    def session(
        self, providers: str | Sequence[str] | None = None, threads: int | None = None
    ) -> Session:
        """The file as it was given, run by ONNX Runtime; see `open_session`."""
        key = repr(providers), threads
        with BUILDING:
            found = self._sessions.get(key)
            if found is None or found.lost:
                found = self._sessions[key] = open_session(self.runnable(), providers, threads)
            return found

    def runner(
        self, providers: str | Sequence[str] | None = None, threads: int | None = None
    ) -> Callable[..., dict[str, np.ndarray]]:
        """What runs the file as it was given: called with feeds and, if any, names of outputs."""

        def run(
            feeds: Mapping[str, np.ndarray], names: Sequence[str] | None = None
        ) -> dict[str, np.ndarray]:
            if self._once is None:
                return self.session(providers, threads).run(feeds, names)
            key = repr(providers), threads
            return self._once.run(key, self.session(providers, threads).run, feeds, names)

        return run

    def remember(self) -> None:
        """From now on, run the file once for all that is asked of one input after the other.

        Only for callers whose arrays nobody changes in place.
        """
        self._once = self._once or Once()

    def runnable(self) -> onnx.ModelProto:
        """The model, of a version that ONNX Runtime knows, whatever it uses of a newer one."""
        proto = self.proto
        if proto.ir_version <= finish.IR_VERSION:
            return proto
        older = onnx.ModelProto()
        older.CopyFrom(proto)
        older.ir_version = finish.IR_VERSION
        return older


def opened(model: Given | Model, shapes: Shapes | None = None) -> Model:
    """The model, opened unless it is already."""
    if not isinstance(model, Model):
        return Model(model, shapes)
    return Model(model.given, shapes) if shapes else model


def precision_of(model: onnx.ModelProto, quantised: bool) -> str:
    """How exact the file's own numbers are: "float", "half" or "quantised"."""
    if quantised:
        return "quantised"
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    kinds = {v.type.tensor_type.elem_type for v in values}
    kinds |= {tensor.data_type for tensor in model.graph.initializer}
    casts = {a.i for n in model.graph.node if n.op_type == "Cast" for a in n.attribute}
    return "half" if (kinds | casts) & set(half) else "float"
