"""Which builds of ONNX Runtime are installed: two of them lie over each other, in one folder."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple

# The packages that bring the folder `onnxruntime`.
_BUILDS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-migraphx",
    "onnxruntime-rocm",
    "onnxruntime-qnn",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)
_WITH_CUDA = ("onnxruntime-gpu", "onnxruntime-training", "ort-nightly-gpu")
# Larger files are told apart by their size alone.
_MOST_HASHED = 2**20


class Build(NamedTuple):
    """One installed package.

    Attributes:
        name: as pip knows it.
        version: its version.
        files: what it put there: path -> whether that is what lies there now, and a mark of its
            content.
    """

    name: str
    version: str
    files: dict[str, tuple[bool, str]]


def builds(path: Sequence[str] | None = None) -> list[Build]:
    """The builds of ONNX Runtime that are installed.

    Args:
        path: the folders to look in; None: those that modules are imported from.
    """
    where: dict[str, Any] = {} if path is None else {"path": list(path)}
    found = {name: next(iter(metadata.distributions(name=name, **where)), None) for name in _BUILDS}
    known = {name: one for name, one in found.items() if one is not None}
    # Of one alone nobody asks what became of its files.
    several = len(known) > 1
    return [Build(n, d.version, _files_of(d) if several else {}) for n, d in known.items()]


def in_place(found: Sequence[Build]) -> Build | None:
    """The build whose files lie there; None: none, or some of each."""
    if len(found) < 2:
        return next(iter(found), None)
    marks: dict[str, set[str]] = {}
    for build in found:
        for name, (_, mark) in build.files.items():
            marks.setdefault(name, set()).add(mark)
    shared = {name for name in marks if all(name in build.files for build in found)}
    telling = [name for name in shared if len(marks[name]) > 1]
    whole = [build for build in found if all(build.files[name][0] for name in telling)]
    return whole[0] if telling and len(whole) == 1 else None


def overlap(found: Sequence[Build]) -> str | None:
    """What is wrong where several builds are installed, and what mends it; None: nothing."""
    if len(found) < 2:
        return None
    winner = in_place(found)
    whose = "some of each are" if winner is None else f"those of {winner.name} are"
    names = " ".join(build.name for build in found)
    return (
        f"{' and '.join(f'{build.name} {build.version}' for build in found)} are both installed, "
        f"and their files lie over each other ({whose} in place): pip uninstall -y {names}, then "
        "pip install one of them (onnxruntime-gpu for CUDA, onnxruntime for the CPU alone)"
    )


def without_cuda(found: Sequence[Build]) -> str:
    """Why ONNX Runtime has no CUDA provider, and what to do about it."""
    lies = overlap(found)
    if lies is not None:
        return f"this ONNX Runtime has no CUDA provider: {lies}"
    build = next(iter(found), None)
    if build is not None and build.name in _WITH_CUDA:
        return (
            f"this ONNX Runtime has no CUDA provider, though {build.name} {build.version} is "
            "installed: it has none for this platform, or its files are damaged "
            f"(pip install --force-reinstall --no-deps {build.name})"
        )
    first = f"pip uninstall -y {build.name}, then " if build is not None else ""
    return f"this ONNX Runtime has no CUDA provider ({first}pip install onnxruntime-gpu)"


def _files_of(one: metadata.Distribution) -> dict[str, tuple[bool, str]]:
    return {
        str(file): (_is_there(file), f"{file.size} {file.hash.value if file.hash else ''}")
        for file in one.files or ()
        if file.parts[0] == "onnxruntime" and file.suffix != ".pyc"
    }


def _is_there(file: metadata.PackagePath) -> bool:
    """Whether a file is as the package brought it."""
    path = file.locate()
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as opened:
            content = opened.read(_MOST_HASHED)
    except OSError:
        return False
    if file.size is not None and file.size != size:
        return False
    if file.hash is None or size > _MOST_HASHED:
        return True
    digest = hashlib.new(file.hash.mode, content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value
