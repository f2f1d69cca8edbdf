"""Arrays in files: `.npy`, and `.npz` with one of them; nothing in them is ever run."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import InvalidInputError
from ...models.files import check_regular

SUFFIXES = frozenset({".npy", ".npz"})
BEGINS = b"\x93NUMPY", b"PK\x03\x04"


def read_array(given: str | os.PathLike[str] | bytes, name: str, what: str = "array") -> np.ndarray:
    """The array in a file, or in a file's bytes.

    Args:
        given: a path, or bytes.
        name: what messages call it.
        what: it is, in messages.

    Raises:
        InvalidInputError: it cannot be read, is no such file, or holds several arrays.
    """
    if not isinstance(given, bytes) and check_regular(given, what) == 0:
        raise InvalidInputError(f"{what} {name}: expected a .npy array, got an empty file")
    try:
        array = _loaded(given)
    except Exception as error:
        # What a header says is read as Python's own, which raises nearly anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"{what} {name}: expected a .npy array, {reason}") from None
    return array


def _loaded(given: str | os.PathLike[str] | bytes) -> np.ndarray:
    # Mapped: what the file says that it holds is compared with its size, and not allocated.
    if isinstance(given, bytes):
        beginning = given[:8]
    else:
        with open(given, "rb") as file:
            beginning = file.read(8)
    source: Any = io.BytesIO(given) if isinstance(given, bytes) else given
    mapped = None if isinstance(given, bytes) else "r"
    if not beginning.startswith(BEGINS):
        raise ValueError("got something else")
    found = np.load(source, mmap_mode=mapped, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return np.array(found)
    with found:
        if len(found.files) != 1:
            raise ValueError(
                f"got an archive of {', '.join(found.files) or 'nothing'}: one array was expected"
            )
        return found[found.files[0]]


def read_numbers(path: str, shape: Sequence[int | None]) -> np.ndarray:
    """A baseline in a `.npy` file: float32, broadcastable to a shape.

    shape: None is a length that is not known.

    Raises:
        InvalidInputError: it cannot be read, does not fit, or holds NaN or infinity.
    """
    array = read_array(path, path, "baseline")
    pairs = zip(reversed(array.shape), reversed(shape), strict=False)
    fits = array.ndim <= len(shape) and all(n == 1 or d in (None, n) for n, d in pairs)
    if not fits or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        wanted = [("?" if d is None else d) for d in shape]
        raise InvalidInputError(
            f"baseline {path}: expected finite numbers broadcastable to "
            f"[{', '.join(map(str, wanted))}], got {array.dtype} {list(array.shape)}"
        )
    return np.array(array, np.float32)
