"""A model opened once: read, hashed, checked and prepared for all that is then asked of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import TypeAlias

import onnx
import onnx_graphsurgeon as gs

from ..graph_passes import finish
from ..graph_passes.prepare.decompositions.quantisation import QUANTISED
from ..models.card import ModelCard, find_card
from ..models.load import load, load_with_sha256
from .running.locks import BUILDING
from .running.prepared import prepared
from .running.session import Session, open_session
from .running.stopwatch import phase
from .soundness import precision_of

Given: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"


class Model:
    """A model that was read once.

    Attributes:
        given: path, bytes or onnx.ModelProto.
        path: where it was read from, or None.
        sha256: of the file with all of its weights, in hex.
        metadata: the file's own.
        quantised: names of its quantised operators.
        precision: of its numbers, see `precision_of`.

    Raises:
        UnsupportedModelError: it cannot be read, or is no model.
    """

    def __init__(self, given: Given):
        self.given = given
        self.path = given if isinstance(given, str | os.PathLike) else None
        with phase("load"):
            proto, self.sha256 = load_with_sha256(given)
        self._proto: onnx.ModelProto | None = proto
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        names = {f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in proto.graph.node}
        self.quantised = sorted(names & set(QUANTISED))
        self.precision = precision_of(proto, bool(self.quantised))
        self._sessions: dict[tuple[str, int | None], Session] = {}

    @cached_property
    def card(self) -> ModelCard | None:
        """Beside the file or in its metadata, or None.

        Raises:
            InvalidInputError: there is one, and it is wrong.
        """
        return find_card(self.proto, self.path)

    @property
    def proto(self) -> onnx.ModelProto:
        """The model itself, which nobody changes; read again where it was let go."""
        proto = self._proto
        return load(self.given) if proto is None else proto

    def let_go(self) -> None:
        """Keep the weights no longer, which sessions and prepared graphs have of their own."""
        self._proto = None

    def graph(self) -> gs.Graph:
        """In the canonical dialect, within the limits in force; the caller may change it."""
        return prepared(self.given, lambda: self.proto, self.sha256)

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

    def runnable(self) -> onnx.ModelProto:
        """The model, of a version that ONNX Runtime knows, whatever it uses of a newer one."""
        proto = self.proto
        if proto.ir_version <= finish.IR_VERSION:
            return proto
        older = onnx.ModelProto()
        older.CopyFrom(proto)
        older.ir_version = finish.IR_VERSION
        return older


def opened(model: Given | Model) -> Model:
    """The model, opened unless it is already."""
    return model if isinstance(model, Model) else Model(model)
