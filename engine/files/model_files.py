"""Writing models: never over the files that the model itself was read from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError, Message

from ... import InvalidInputError, UnsupportedModelError
from .writing import reason_of, sweep, write_whole

Path_ = str | os.PathLike[str]


def write_model(model: onnx.ModelProto, file: Path_, source: Any) -> None:
    """Write a model so that the file is whole, or stays as it was; see `writing.write_whole`.

    Args:
        model: what to write.
        file: where to.
        source: what it was made from; a path, or anything else, which no file is kept for.

    Raises:
        InvalidInputError: `file` is one that `source` consists of.
        UnsupportedModelError: it would be too large for protobuf.
        OSError: it cannot be written.
    """
    refuse_own_files(file, source)
    content = serialised(model)
    sweep(Path(os.path.realpath(file)).parent)
    write_whole(file, lambda stream: stream.write(content))


def serialised(model: onnx.ModelProto) -> bytes:
    """The bytes of a model.

    Raises:
        UnsupportedModelError: more than protobuf can write.
    """
    try:
        return model.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise UnsupportedModelError(
            "the graph would have over 2 GiB with its weights (protobuf's limit)"
        ) from error


def refuse_own_files(file: Path_, source: Any, others: Sequence[Path_] = ()) -> None:
    """Refuse to write where a model, its external data or its card is, by whatever link.

    Args:
        file: where something is to be written.
        source: the model's path, or anything else that is no file.
        others: more files to keep, as a card from elsewhere.

    Raises:
        InvalidInputError: it is one of them, or a folder.
    """
    path = os.fspath(file)
    try:
        if os.path.isdir(path):
            raise InvalidInputError(f"cannot write {path}: it is a folder")
        if not os.path.exists(path):
            return
        for what, own in _own_files(source, others):
            if os.path.exists(own) and os.path.samefile(path, own):
                raise InvalidInputError(f"cannot write {path}: it is {what}; give another name")
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {reason_of(error)}") from None


def is_stdout(file: Path_) -> bool:
    """Whether writing to a path is writing to where this process prints."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(1))
    except (OSError, ValueError):
        return False


def _own_files(source: Any, others: Sequence[Path_]) -> Iterator[tuple[str, Path_]]:
    yield from (("the model's card", other) for other in others)
    if not isinstance(source, str | os.PathLike):
        return
    path = Path(source)
    yield "the model itself", path
    yield "the model's card", path.with_suffix(".json")
    # Others say it better what is wrong with it.
    if not path.is_file():
        return
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except (OSError, DecodeError):
        return
    locations = {location for location in _locations(proto) if location}
    yield from (("the model's external data", path.parent / place) for place in locations)


def _locations(message: Message) -> Iterator[str]:
    """Where the data of every external tensor lies, wherever the tensor stands."""
    if isinstance(message, onnx.TensorProto):
        yield from (entry.value for entry in message.external_data if entry.key == "location")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _locations(inner)
