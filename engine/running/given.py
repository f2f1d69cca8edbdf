"""The model as it was given: what ONNX Runtime says of it, and how a pickle holds it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import onnx

from ... import OnnxplainError, UnsupportedModelError
from ...graph_passes import finish
from ...models.load import load, sha256
from .session import CPU, Session

Model: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"


@contextmanager
def blamed_on_file(model: Model | Callable[[], Model]) -> Iterator[None]:
    """Refuse a file that ONNX Runtime itself cannot load or run, whatever was raised about it here.

    Attributes of a wrong length, types that do not exist, sizes that do not fit: a rule or pass
    that meets one fails in a way of its own. Where ONNX Runtime runs the file, the error is ours,
    and stays as it is.

    Raises:
        UnsupportedModelError: with ONNX Runtime's reason.
    """
    try:
        yield
    except (OnnxplainError, OSError):
        raise
    except MemoryError as error:
        raise OnnxplainError(
            "the model, or what was asked of it, takes more memory than there is"
        ) from error
    except RecursionError as error:
        raise UnsupportedModelError(
            "the model's operators follow one another further than can be looked through"
        ) from error
    except Exception as error:
        problem = problem_in_runtime(load(model() if callable(model) else model))
        if problem is None:
            raise
        raise UnsupportedModelError(f"the model is not valid: {problem}") from error


def problem_in_runtime(model: onnx.ModelProto) -> str | None:
    """Why ONNX Runtime cannot run a model on zeros of the declared sizes, in one line; or None."""
    model.ir_version = min(model.ir_version, finish.IR_VERSION)
    # Nothing is computed beforehand: of a broken file nobody knows how large its constants are.
    try:
        session = Session(model, [CPU], 1, optimised=False)
        session.run(session.zeros())
    except OnnxplainError as error:
        return str(error)
    return None


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
