"""What a batch is of: images in order, wherever they come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .... import OnnxplainError

TABLES = (".parquet", ".arrow", ".feather", ".ipc")


class Item(NamedTuple):
    """One image.

    Attributes:
        number: its place in the source, from 0.
        name: what its rows call it.
        content: a path, an image file's bytes, its pixels as uint8 [H, W] or [H, W, C], or None
            where a table has nothing.
        problem: why there is no content, where something is there.
    """

    number: int
    name: str
    content: str | bytes | np.ndarray | None
    problem: str | None = None

    @property
    def size(self) -> int:
        """How many bytes it takes, about."""
        content = self.content
        if isinstance(content, np.ndarray):
            return content.nbytes
        return len(content) if isinstance(content, bytes) else 0


class SourceLostError(OnnxplainError):
    """The source has gone while it was read."""


@dataclass(frozen=True)
class Source:
    """Images in order.

    Attributes:
        name: as it was given.
        count: how many.
        digest: SHA-256 of their order, in hex.
        roots: what must be there for them to be there.
        read: from the n-th image on.
    """

    name: str
    count: int
    digest: str
    roots: tuple[str, ...]
    read: Callable[[int], Iterator[Item]]

    def check(self) -> None:
        """Raise SourceLostError where it is no longer there."""
        for root in self.roots:
            if not os.path.exists(root):
                raise SourceLostError(f"source {root}: it is gone")


def beside(path: str, folder: str) -> str:
    """The path as it is or, where nothing is there, from the folder of the file that names it."""
    other = os.path.join(folder, path)
    return other if not os.path.exists(path) and os.path.exists(other) else path
