"""Batches on a Ray cluster: `onnxplain.ray.explain` and `onnxplain batch --ray`.

Ray's own readers and writers move the data; between them stand actors that hold the model.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data.datasource import FilenameProvider
from ray.exceptions import RayError

from .... import InvalidInputError, OnnxplainError, UnsupportedModelError
from ....graph_passes.methods import methods as known_methods
from ....models.load import load
from ....models.plain_card import Card
from ...files.writing import sweep, writable_folder
from ...model import Model
from ...records.manifest import agree, locked
from ...running.settings import asked_methods, for_methods
from ..asked import Options, options_from
from .batch import Report
from .finding import find_source
from .items import TABLES, Item, Source
from .question import Form, Question, question_for
from .shards import failures_in, parquet_options, schema_of, table_of
from .tables import cells, column_of, field_of, too_large
from .work import Explaining, decode

__all__ = ["explain"]

# Images that an actor takes at once. Rows are 200 kB each with a map of 224 x 224.
_AT_ONCE = 8
# What stands in the object store in one piece; Ray's 128 MiB are for rows of a few bytes.
_BLOCK = 2**24
# Seconds until an address counts as nobody's.
_PATIENCE = 5.0
# Columns that Ray's readers make: of files' bytes, of decoded images, and of where they lie.
_CONTENTS, _PATH = ("bytes", "image"), "path"
# Fields of structs of an image; types of columns that are read cell by cell; and tensors, which are
# the only types of Ray's own that are read: objects of Python are pickles.
_OF_STRUCTS = ("bytes", "path")
_CELLS = (pa.binary(), pa.large_binary(), pa.string(), pa.large_string())
_TENSORS = {
    "arrow.fixed_shape_tensor",
    "ray.data.arrow_tensor",
    "ray.data.arrow_tensor_v2",
    "ray.data.arrow_variable_shaped_tensor",
}


def explain(
    dataset: ray.data.Dataset,
    model: str | os.PathLike[str],
    method: str | Sequence[str] = "grad-cam",
    target: str | int | Sequence[str | int] = "top1",
    *,
    column: str | None = None,
    grid: tuple[int, int] | None = None,
    dtype: str = "float32",
    attributions: bool = True,
    card: str | Card | None = None,
    labels: str | None = None,
    provider: str = "cpu",
    actors: int | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
    batch_size: int = _AT_ONCE,
    **options: Any,
) -> ray.data.Dataset:
    """Explain the images of a Ray Dataset: a Dataset with a row for each image, method and target.

    The columns are those of `onnxplain batch`. An actor loads the model once, from a copy in Ray's
    object store; which rows it gets changes none of them. A failed image is a row with its `error`.

    Args:
        dataset: of `read_binary_files(..., include_paths=True)`, `read_images` (where Ray decodes,
            which turns no photo upright) or `read_parquet`.
        model: path of the model, on this machine.
        method: one or several; a name of `onnxplain.methods()`.
        target: one or several: class index, label, "top5", "rank2" ..., or "1,20,30".
        column: what holds the images: files' bytes, structs with such a field, paths that every
            node can read, or uint8 arrays [H, W] or [H, W, 3 or 4]. None: `bytes`, `image` or
            `path`. `path`, where it is another, names the rows; else the SHA-256 of the bytes does.
        grid: (height, width) to pool attributions to, by their mean.
        dtype: "float32" or "float16", as attributions are stored.
        attributions: False: none.
        card: as in `onnxplain.Explainer`, or a JSON file.
        labels: text file of class labels.
        provider: "cpu", "cuda" or "auto"; where `num_gpus` is not 0, "cuda".
        actors: at most; None: as many as the cluster has room for.
        num_cpus: of an actor; so many threads does ONNX Runtime take.
        num_gpus: of an actor.
        batch_size: images that an actor takes at once.
        options: further ones of the methods, such as `steps`.

    Raises:
        UnsupportedModelError, InvalidInputError: as `onnxplain.Explainer`, at once.
    """
    asked = _asked(method, target, options)
    asked |= {"card": card, "labels": labels, "threads": max(1, math.floor(num_cpus))}
    asked["provider"] = "cuda" if num_gpus else provider
    form = Form(dtype, grid, attributions)
    question, _ = question_for(os.fspath(model), options_from(asked), form)
    cost = {"num_cpus": num_cpus, "num_gpus": num_gpus, "batch_size": batch_size}
    return _mapped(dataset, question, schema_of(question, question.facts), column, actors, cost)


def _asked(
    method: str | Sequence[str], target: str | int | Sequence[str | int], options: dict[str, Any]
) -> dict[str, Any]:
    names = (method,) if isinstance(method, str) else tuple(method)
    targets = (target,) if isinstance(target, str | int) else tuple(target)
    for_methods(asked_methods(names)[0], options)
    for name in options:
        if not any(one.takes(name) for one in known_methods().values()):
            raise InvalidInputError(f"explain has no option {name!r}")
    return {"methods": names, "targets": tuple(map(str, targets)), **options}


def _mapped(
    dataset: ray.data.Dataset,
    question: Question,
    schema: pa.Schema,
    column: str | None,
    actors: int | None,
    cost: Mapping[str, Any],
    root: tuple[str, str] = ("", ""),
) -> ray.data.Dataset:
    model = ray.put(_whole(question.model))
    most = _room(cost) if actors is None else actors
    return dataset.map_batches(
        _Actor,  # pyright: ignore[reportArgumentType]
        fn_constructor_args=(model, question, schema, column, root),
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, most)),
        **cost,
    )


def _whole(model: str) -> bytes:
    """A model with its weights, wherever they lie, as other machines get it."""
    try:
        return load(model).SerializeToString()
    except ValueError as error:
        raise UnsupportedModelError(f"model {model}: too large to be sent, {error}") from error


def _room(cost: Mapping[str, Any]) -> int:
    """How many actors the cluster has room for."""
    there = ray.cluster_resources()
    kinds = (("CPU", "num_cpus"), ("GPU", "num_gpus"))
    return min(int(there.get(kind, 0) // cost[name]) for kind, name in kinds if cost[name])


class _Actor:
    """Holds a model, and makes rows of batches of images."""

    def __init__(
        self,
        model: Any,
        question: Question,
        schema: pa.Schema,
        column: str | None,
        root: tuple[str, str],
    ):
        self._question, self._schema = question, schema
        self._column, self._root = column, root
        self._explaining = Explaining(question, file=Model(ray.get(model)))

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = []
        for item in _items(batch, self._column, self._root):
            rows += self._explaining(decode(item, self._question)).rows
        return table_of(rows, self._schema)


def _items(batch: pa.Table, column: str | None, root: tuple[str, str]) -> list[Item]:
    """The images of a batch of a Dataset."""
    there = batch.column_names
    known = [name for name in (*_CONTENTS, _PATH) if name in there]
    wanted = column or (known[0] if known else None)
    if wanted not in there:
        expected = "bytes, image or path" if column is None else repr(column)
        raise InvalidInputError(f"dataset: no column {expected}, but {', '.join(there)}")
    names: Sequence[Any] = [None] * batch.num_rows
    if _PATH in there:
        names = _values(batch.column(_PATH))
    values = _values(batch.column(wanted))
    return [
        _item(k, value, name, root)
        for k, (value, name) in enumerate(zip(values, names, strict=True))
    ]


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column's values: arrays of a Dataset's own tensors, (bytes, path), or cells.

    Raises:
        InvalidInputError: of another extension type, whose values may be pickles.
    """
    kind: Any = column.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name not in _TENSORS:
            raise InvalidInputError(
                f"dataset: expected images' bytes, paths or arrays, got {kind.extension_name}"
            )
        return [array for chunk in column.chunks for array in _arrays(chunk)]
    if pa.types.is_struct(kind):
        parts = [[_field(chunk, name) for name in _OF_STRUCTS] for chunk in column.chunks]
        return [pair for one in parts for pair in zip(*one, strict=True)]
    if kind in _CELLS:
        return [cell for chunk in column.chunks for cell in cells(chunk)]
    raise InvalidInputError(f"dataset: expected images' bytes, paths or arrays, got {kind}")


def _arrays(chunk: Any) -> Any:
    """The arrays of a chunk of tensors: Arrow's own have another method for that than Ray's."""
    if isinstance(chunk, pa.FixedShapeTensorArray):
        return chunk.to_numpy_ndarray()
    return chunk.to_numpy(zero_copy_only=False)


def _field(chunk: pa.StructArray, name: str) -> list[Any]:
    there = chunk.type.get_field_index(name) >= 0
    return list(cells(field_of(chunk, name))) if there else [None] * len(chunk)


def _item(number: int, value: Any, name: Any, root: tuple[str, str]) -> Item:
    """An image: what it is called, and its content."""
    if isinstance(value, tuple):
        value, own = value
        name = own or name
    if not isinstance(name, str):
        name = value if isinstance(value, str) else None
    if isinstance(value, int):
        return Item(number, name or f"row {number}", None, too_large(value))
    if name is None:
        content = b"" if value is None else np.ascontiguousarray(value).tobytes()
        if isinstance(value, bytes):
            content = value
        name = f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
    full, short = root
    return Item(
        number, short + name[len(full) :] if full and name.startswith(full) else name, value
    )


class _Parts(FilenameProvider):
    """Names that a repeated task gives again, so that it writes over what the first one wrote."""

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        """The name of a task's file."""
        return f"part-{task_index:05}-{write_uuid}.parquet"


def explain_on_cluster(
    model: str,
    source: str,
    folder: str,
    options: Options,
    form: Form,
    address: str,
    column: str | None = None,
    actors: int | None = None,
    cpus: int = 1,
) -> Report:
    """What `onnxplain batch --ray` does: read by Ray, explain by actors, write by Ray.

    Args:
        model: path of the model, on this machine.
        source: as `find_source` takes it; every node must be able to read it.
        folder: where Ray writes; every node must be able to.
        options: as `explain_batch` takes them.
        form: how attributions are stored.
        address: of the cluster; "": that of RAY_ADDRESS, or a new one on this machine.
        column: of a table.
        actors: at most; None: as many as there is room for.
        cpus: of an actor.

    Raises:
        OnnxplainError: no such cluster, or what `explain_batch` raises.
    """
    found = find_source(source, column, folder)
    question, notes = question_for(model, options, form)
    gpus = 1 if question.options.provider == "cuda" else 0
    directory = writable_folder(folder)
    lock = locked(directory)
    facts = {**question.facts, "source_sha256": found.digest, "images": found.count}
    try:
        agree(directory, facts, resume=False)
        sweep(directory)
        _join(address)
        cost = {"num_cpus": cpus, "num_gpus": gpus, "batch_size": _AT_ONCE}
        schema = schema_of(question, facts)
        rows = _mapped(*_read(found, source, column, question, schema), actors, cost, _root(source))
        packing = parquet_options(schema)
        _run(lambda: rows.write_parquet(folder, filename_provider=_Parts(), **packing))
        return _reported(found, directory, notes)
    finally:
        lock.release()


def _reported(source: Source, folder: Path, notes: list[str]) -> Report:
    written = sorted(folder.glob("part-*.parquet"))
    failed = sum(map(failures_in, written))
    shards = (len(written), len(written))
    return Report(source.count, 0, source.count, failed, shards=shards, notes=notes)


def _join(address: str) -> None:
    """Join a cluster; what signals do stays as it was."""
    _check_reachable(address)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if not ray.is_initialized():
        try:
            # "local", or Ray would wait for a cluster that once was on this machine.
            where = address or os.environ.get("RAY_ADDRESS") or "local"
            ray.init(where, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InvalidInputError(f"Ray cluster {address!r}: {_first_line(error)}") from error
    for number, handler in before.items():
        signal.signal(number, handler)
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = _BLOCK
    context.enable_progress_bars = os.isatty(2)


def _check_reachable(address: str) -> None:
    """Refuse an address that nobody answers, where Ray itself would wait without end."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), _PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise InvalidInputError(f"Ray cluster {address}: {error}") from error


def _read(
    source: Source, given: str, column: str | None, question: Question, schema: pa.Schema
) -> tuple[ray.data.Dataset, Question, pa.Schema, str | None]:
    """The source as a Dataset of Ray's, with what is asked of it."""
    if source.roots[0].lower().endswith(TABLES):
        if not source.roots[0].lower().endswith(".parquet"):
            raise InvalidInputError(f"source {given}: Ray reads Parquet tables only")
        name = column_of(source.roots[0], column)
        return ray.data.read_parquet(list(source.roots), columns=[name]), question, schema, name
    paths = [os.path.abspath(str(item.content)) for item in source.read(0)]
    return ray.data.read_binary_files(paths, include_paths=True), question, schema, None


def _root(given: str) -> tuple[str, str]:
    """What Ray's full paths begin with, and what the rows of one machine begin with instead."""
    if os.path.isdir(given):
        return os.path.join(os.path.abspath(given), ""), os.path.join(given, "")
    return ("", "") if os.path.isabs(given) else (os.path.join(os.getcwd(), ""), "")


def _run(work: Callable[[], object]) -> None:
    try:
        work()
    except RayError as error:
        cause = getattr(error, "cause", None)
        raise OnnxplainError(f"Ray: {_first_line(cause or error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
