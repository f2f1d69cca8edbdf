"""The model as it was given: run by ONNX Runtime, and its card."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

import onnx

from onnxplain import UnsupportedModelError
from onnxplain.engine.session import Session, open_session
from onnxplain.graph_passes import finish
from onnxplain.models.card import ModelCard, find_card
from onnxplain.models.load import load, sha256

Model: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"


def open_file(
    model: Model, providers: str | Sequence[str] | None = None, threads: int | None = None
) -> Session:
    """A session of a model as it was given; see `open_session`."""
    own = load(model)
    # A newer number than ONNX Runtime knows, whatever the file uses of it, would be refused.
    own.ir_version = min(own.ir_version, finish.IR_VERSION)
    return open_session(own, providers, threads)


def find_card_of(model: Model, loaded: onnx.ModelProto | None = None) -> ModelCard | None:
    """The model's card, beside the file or in its metadata."""
    path = model if isinstance(model, str | os.PathLike) else None
    return find_card(load(model) if loaded is None else loaded, path)


def sendable(model: Model) -> str | bytes:
    """What stands for a model in a pickle: the absolute path of a file, or all bytes of the rest.

    A path, since a pool of workers pickles an argument for each task, and a model's weights are
    tens or hundreds of megabytes, which may lie in files of their own too.
    """
    if isinstance(model, onnx.ModelProto):
        return model.SerializeToString(deterministic=True)
    if isinstance(model, str | os.PathLike):
        return os.path.abspath(os.fspath(model))
    return bytes(model)


def check_unchanged(model: str | bytes, digest: str) -> None:
    """Refuse a file that is not what it was when an explainer of it was pickled.

    Raises:
        UnsupportedModelError: it is gone, or other than it was.
    """
    if isinstance(model, bytes):
        return
    try:
        found = sha256(model)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(
            f"an Explainer of a file is pickled as the file's path, and here {error} (an Explainer "
            "of bytes takes the model along)"
        ) from error
    if found != digest:
        raise UnsupportedModelError(
            f"model {model}: the file has changed since the Explainer of it was pickled"
        )
