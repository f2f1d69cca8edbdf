"""Loading: from a file, bytes or proto to a checked model that holds all of its weights."""

import hashlib
import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from .. import UnsupportedModelError
from .checking import check, tensors_of
from .files import beside, check_regular

ModelSource = str | os.PathLike[str] | bytes | bytearray | memoryview | onnx.ModelProto
MOST_BYTES = 2**31 - 1
"""Protobuf's limit on a model with its weights, in bytes."""

_MAGIC = (
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x89HDF\r\n", "an HDF5 file (Keras)"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "an ONNX Runtime (.ort) model, made from an .onnx file"),
    (0, b"GGUF", "a GGUF file"),
    (8, b'{"', "a safetensors file"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"version https://git-lfs", "a Git LFS pointer, whose file has not been fetched"),
    *((0, bytes([0x80, protocol]), "a Python pickle (PyTorch?)") for protocol in range(2, 6)),
)


def load(model: ModelSource) -> onnx.ModelProto:
    """Read and check a model; the result is the caller's own, with all weights inside.

    model: a path, the bytes of an `.onnx` file, or a ModelProto, which is copied and left alone.
    External data is read from beside the file. What ONNX Runtime lets pass though the specification
    does not (a graph without a name, value infos without a type, an initializer twice, a domain
    without its version) is put right.

    Raises UnsupportedModelError, in one line, when the model cannot be read, is no ONNX model, is
    truncated, has no graph, nodes, outputs or opset, is structurally broken, needs a newer onnx
    package, or exceeds `MOST_BYTES` with its external data.
    """
    return load_with_sha256(model)[0]


def load_with_sha256(model: ModelSource) -> tuple[onnx.ModelProto, str]:
    """What `load` and `sha256` return, of one reading of the file.

    Raises UnsupportedModelError as `load` does.
    """
    if isinstance(model, onnx.ModelProto):
        source = "model"
        loaded = onnx.ModelProto()
        loaded.CopyFrom(model)
        _check_size(loaded.ByteSize(), source)
        digest = sha256(loaded)
        _reject_external(loaded, source)
    elif isinstance(model, bytes | bytearray | memoryview):
        source, digest = "model", sha256(model)
        loaded = _parse(bytes(model), source)
        _reject_external(loaded, source)
    elif isinstance(model, str | os.PathLike):
        source = f"model {os.fspath(model)}"
        content = _read(Path(model), source)
        loaded, hashed = _parse(content, source), hashlib.sha256(content)
        _load_external(loaded, Path(model), source, hashed)
        _check_size(loaded.ByteSize(), source)
        digest = hashed.hexdigest()
    else:
        raise UnsupportedModelError(
            f"model: expected a path, bytes or an onnx.ModelProto, got {type(model).__name__}"
        )
    check(loaded, source)
    return loaded, digest


def sha256(model: ModelSource) -> str:
    """Return the SHA-256, in hex, of the model with all of its weights.

    Without external data that of the file or bytes as given. With external data the file's bytes
    come first, then each tensor's, in the order of the file.

    Raises UnsupportedModelError when the file, or its external data, cannot be read.
    """
    if isinstance(model, onnx.ModelProto):
        return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    if isinstance(model, bytes | bytearray | memoryview):
        return hashlib.sha256(model).hexdigest()
    path, source = Path(model), f"model {os.fspath(model)}"
    content = _read(path, source)
    digest = hashlib.sha256(content)
    if b"location" in content:  # The key that every external tensor has.
        proto = _parse(content, source)
        for part in _external_parts(proto, path, source, len(content)):
            digest.update(_bytes_of(part, source))
    return digest.hexdigest()


def _read(path: Path, source: str) -> bytes:
    name = source.removesuffix(f" {os.fspath(path)}")
    _check_size(check_regular(path, name, error=UnsupportedModelError), source)
    try:
        return path.read_bytes()
    except MemoryError:
        raise _too_large(source) from None
    except OSError as error:
        raise UnsupportedModelError(
            f"{source}: cannot be read, {error.strerror or error}"
        ) from None


def _too_large(source: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{source}: its weights take more memory than there is")


def _check_size(size: int, source: str) -> None:
    if size > MOST_BYTES:
        raise UnsupportedModelError(
            f"{source}: expected at most {MOST_BYTES:,} bytes with its external data "
            f"(protobuf's limit), got {size:,}"
        )


def _parse(content: bytes, source: str) -> onnx.ModelProto:
    """Decode the bytes of an `.onnx` file."""
    if not content:
        raise UnsupportedModelError(f"{source}: expected an ONNX model, got an empty file")
    _check_size(len(content), source)
    looks_like = _recognise(content)
    if looks_like:
        raise UnsupportedModelError(
            f"{source}: expected an ONNX model, but it looks like {looks_like}"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except MemoryError:
        raise _too_large(source) from None
    except DecodeError:
        if _is_text(content):
            reason = "it looks like a text file"
        elif content[0] == 0x08:  # The tag of ir_version, with which every exporter begins.
            reason = "it is truncated or damaged"
        else:
            reason = "it looks like another format, or is damaged"
        raise UnsupportedModelError(f"{source}: expected an ONNX model, but {reason}") from None
    return model


def _recognise(content: bytes) -> str | None:
    """Name a well-known format that is not ONNX."""
    for offset, magic, name in _MAGIC:
        if content[offset : offset + len(magic)] == magic:
            return name
    if content[:4] != b"PK\x03\x04":
        return None
    try:
        names = zipfile.ZipFile(BytesIO(content)).namelist()
    except zipfile.BadZipFile:
        return "a zip archive, cut short"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint (export it with torch.onnx.export)"
    inner = next((name for name in names if name.endswith(".onnx")), None)
    return f"a zip archive that holds {inner}" if inner else "a zip archive"


def _is_text(content: bytes) -> bool:
    try:
        # A cut at a fixed length may split the last character.
        text = content[:1024].decode("utf-8", errors="strict" if len(content) <= 1024 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _external(model: onnx.ModelProto) -> list[tuple[onnx.TensorProto, dict[str, str]]]:
    """List the tensors whose data lies in other files, each with its location, offset, length."""
    return [
        (tensor, {entry.key: entry.value for entry in tensor.external_data})
        for tensor in tensors_of(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]


def _reject_external(model: onnx.ModelProto, source: str) -> None:
    external = _external(model)
    if external:
        tensor, entry = external[0]
        raise UnsupportedModelError(
            f"{source}: expected all weights inside, but {len(external)} are external data (such "
            f"as {tensor.name!r} in {entry.get('location', '')!r}); give the path of the .onnx file"
        )


class _Part(NamedTuple):
    """Where the data of an external tensor lies."""

    tensor: onnx.TensorProto
    file: Path
    offset: int
    length: int


def _load_external(model: onnx.ModelProto, path: Path, source: str, hashed: Any) -> None:
    """Read external data into the model, and into what is hashed."""
    for part in _external_parts(model, path, source, path.stat().st_size):
        part.tensor.raw_data = _bytes_of(part, source)
        hashed.update(part.tensor.raw_data)
        part.tensor.data_location = onnx.TensorProto.DEFAULT
        del part.tensor.external_data[:]


def _bytes_of(part: _Part, source: str) -> bytes:
    try:
        with open(part.file, "rb") as data:
            data.seek(part.offset)
            return data.read(part.length)
    except MemoryError:
        raise _too_large(source) from None
    except OSError as error:
        reason = error.strerror or error
        raise UnsupportedModelError(
            f"{source}: its external data file {part.file} cannot be read, {reason}"
        ) from None


def _size_of(file: Path, name: str, source: str) -> int:
    if not os.path.exists(file) and not os.path.islink(file):
        what = f"{source}: its external data file {file} is missing ({name!r} is in it)"
        raise UnsupportedModelError(what)
    return check_regular(file, f"{source}: its external data file", error=UnsupportedModelError)


def _external_parts(model: onnx.ModelProto, path: Path, source: str, total: int) -> list[_Part]:
    """Find the data of every external tensor; `total` bytes are there without it.

    Raises UnsupportedModelError where a location leads out of the model's folder, by itself or by a
    link (those of a model hub's cache are followed), or names no regular file.
    """
    parts = []
    for tensor, entry in _external(model):
        location = entry.get("location", "")
        file = beside(path.parent, location)
        if file is None:
            raise UnsupportedModelError(
                f"{source}: expected external data beside the file, but {tensor.name!r} is in "
                f"{location!r}, which leads out of its folder"
            )
        size = _size_of(file, tensor.name, source)
        try:
            offset = int(entry.get("offset", 0))
            length = int(entry.get("length", size - offset))
        except ValueError:
            offset = length = -1
        if offset < 0 or length < 0:
            raise UnsupportedModelError(
                f"{source}: expected {tensor.name!r} at some offset and length in {file}, got "
                f"{entry.get('offset')!r} and {entry.get('length')!r}"
            )
        if offset + length > size:
            raise UnsupportedModelError(
                f"{source}: its external data file {file} is truncated: {tensor.name!r} needs "
                f"bytes {offset:,} to {offset + length:,} of {size:,}"
            )
        total += length
        parts.append(_Part(tensor, file, offset, length))
    _check_size(total, source)
    return parts
