"""`onnxplain.compare`: methods side by side, or files of one model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, overload

from ... import InvalidInputError
from ..comparing.comparison import Comparison
from ..comparing.drift import Drift
from .asked import Options, options_from
from .compare import compare_files
from .drift import drift_files

Progress = Callable[[str, float], None]
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@overload
def compare(
    model: str | os.PathLike[str],
    images: Paths,
    methods: Sequence[str] | str | None = ...,
    *,
    against: None = ...,
    target: int | str = ...,
    baselines: Sequence[str] = ...,
    recursive: bool = ...,
    progress: Progress | None = ...,
    **options: Any,
) -> Comparison: ...


@overload
def compare(
    model: str | os.PathLike[str],
    images: Paths,
    methods: Sequence[str] | str | None = ...,
    *,
    against: Paths,
    target: int | str = ...,
    baselines: Sequence[str] = ...,
    recursive: bool = ...,
    progress: Progress | None = ...,
    **options: Any,
) -> Drift: ...


def compare(
    model: str | os.PathLike[str],
    images: Paths,
    methods: Sequence[str] | str | None = None,
    *,
    against: Paths | None = None,
    target: int | str = "top1",
    baselines: Sequence[str] = (),
    recursive: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Comparison | Drift:
    """Methods side by side on one model; or, with `against`, files of one model side by side.

    The first measures on the model at hand what the literature says of its methods: whether they
    discriminate between classes, the axioms, what a baseline does, time. The second measures what
    changed between files: scores, top classes, maps.

    Args:
        model: path of a model that takes images.
        images: image files, folders or patterns: one or several paths.
        methods: names of `onnxplain.methods()`; None: those that run by default.
        against: another file of the model, or several.
        target: a class, a label, or "rank2", the second best class
        baselines: "black", "white", "mean", "blur" or files; the first is what all maps are
            against, the others tell how much that matters. None given: those four; with `against`
            only the first counts.
        recursive: take folders in folders.
        progress: called with a text and the part of the work that is done.
        options: card, labels, provider, layer, and what methods take.

    Returns:
        A `Comparison`, or with `against` a `Drift`; both have `table()` and `save(folder)`.

    Raises:
        UnsupportedModelError: a model cannot be read or explained.
        InvalidInputError: a wrong argument, or not one image could be read.

    Examples:
        >>> found = onnxplain.compare("digits.onnx", ["seven.png"], ["grad-cam", "deeplift"])
        >>> drift = onnxplain.compare("digits.onnx", ["seven.png"], against="other.onnx")
        >>> drift.flips
        []
    """
    known = {one.name for one in fields(Options)} - {"methods", "targets", "more", "lenient"}
    own = {name: options.pop(name) for name in list(options) if name in known}
    names = (methods,) if isinstance(methods, str) else tuple(methods or ())
    asked = Options(methods=names, targets=(str(target),), more=options, **own)
    how: dict[str, Any] = {"recursive": recursive, "progress": progress}
    if against is None:
        return compare_files(model, _listed(images), asked, baselines=baselines, **how)
    if baselines:
        asked = replace(asked, baseline=baselines[0])
    return drift_files(model, _listed(against), _listed(images), asked, **how)


def _listed(given: Paths) -> list[str]:
    several: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
    for one in several:
        if not isinstance(one, str | os.PathLike):
            raise InvalidInputError(f"expected paths, got {type(one).__name__}")
    return [os.fspath(one) for one in several]


def compare_as_asked(
    model: str, images: Sequence[str], chosen: dict[str, Any], progress: Progress | None = None
) -> Comparison | Drift:
    """What the command line asked for.

    Args:
        model: as for `compare`.
        images: as for `compare`.
        chosen: against, baselines, recursive, target, and what `Options` and methods take.
        progress: as for `compare`.
    """
    own = dict(chosen)
    against, baselines = own.pop("against"), own.pop("baselines")
    how: dict[str, Any] = {"recursive": own.pop("recursive"), "progress": progress}
    own["targets"] = (own.pop("target"),)
    asked = options_from(own)
    if not against:
        return compare_files(model, images, asked, baselines=baselines, **how)
    if baselines:
        asked = replace(asked, baseline=baselines[0])
    return drift_files(model, against, images, asked, **how)
