"""A path's fixed points for a static file, chosen by the user's own photos, and their error."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx

from ... import InvalidInputError
from ...graph_passes.graph.limits import within
from ...graph_passes.heads.common_points import common_points
from ...graph_passes.methods.method import Points
from ...models.text import counted
from ..inputs import files_in
from ..running.session import CPU, Session

if TYPE_CHECKING:
    from ..explanation.attributions import Attributions
    from .exportable import Exportable


class Calibration(NamedTuple):
    """What photos were for a path.

    Attributes:
        points: those that serve all of them, and their weights.
        inputs: the model's inputs [1, ...] that were explained.
        explained: what the library says of each.
    """

    points: Points
    inputs: Sequence[np.ndarray]
    explained: Sequence[Attributions]


def calibrated(explainer: Exportable, photos: Any, target: Any) -> Calibration:
    """Explain photos, each with points of its own, and choose points that serve them all.

    Args:
        explainer: of a method that chooses points.
        photos: as `Explainer.explain` takes one, or several; folders of them, or an array [N, ...]
            as the model takes it.
        target: of all of them; None: each one's top class.

    Raises:
        InvalidInputError: an embedding, further inputs, or no photo.
    """
    if explainer.subject.cosine or len(explainer.subject.graph.inputs) > 1:
        what = "versus" if explainer.subject.cosine else "further inputs"
        raise InvalidInputError(
            f"calibrate: photos alone are not all that the model takes (it has {what}); give steps "
            "alone, for a fixed rule"
        )
    inputs = list(_inputs(explainer, photos))
    if not inputs:
        raise InvalidInputError("calibrate: expected at least one photo, got none")
    explained = [explainer(x, target) for x in inputs]
    paths = [row[~np.isnan(row)] for e in explained for row in _points_of(e)]
    most = explainer.steps
    assert most is not None, "what chooses points takes at most so many"
    return Calibration(common_points(paths, most), inputs, explained)


def _points_of(e: Attributions) -> np.ndarray:
    assert e.points is not None, "a path to a tolerance without points"
    return e.points


def _inputs(explainer: Exportable, photos: Any) -> Iterator[np.ndarray]:
    """The model's inputs, a batch as the file fixes it; else one at a time."""
    fixed = explainer.subject.rows_at_least
    for x in _arrays(explainer, photos):
        yield np.repeat(x, fixed // len(x), axis=0) if fixed % len(x) == 0 else x


def _arrays(explainer: Exportable, photos: Any) -> Iterator[np.ndarray]:
    shape = explainer.subject.input.shape
    if isinstance(photos, np.ndarray) and shape is not None and photos.ndim == len(shape):
        fixed = explainer.subject.rows_at_least
        for start in range(0, len(photos), fixed):
            yield photos[start : start + fixed]
        return
    for photo in photos if isinstance(photos, list | tuple) else [photos]:
        if not isinstance(photo, str | os.PathLike):
            yield explainer.preprocess(photo)
            continue
        for path in files_in([os.fspath(photo)]):
            yield explainer.preprocess(path)


def calibrated_facts(
    explainer: Exportable, model: onnx.ModelProto, found: Calibration
) -> dict[str, Any]:
    """What a static file says of its points, and how far it is from the library on their photos.

    Args:
        explainer: whose file it is.
        model: the file, of this method alone, which takes a target and baselines.
        found: from `calibrated`.

    Returns:
        For JSON. Under `calibration` the number of photos and points, and the largest and median
        relative L2 distance of the attributions (`map_error`) and part of the score's difference
        that their sum misses (`relative_delta`).
    """
    with within(explainer._limits):
        session = Session(model, [CPU], explainer._settings.threads)
    maps, deltas = [], []
    for x, e in zip(found.inputs, found.explained, strict=True):
        made = session.run(_feeds(explainer, session, x, e))
        attributions = e.attribution if isinstance(e.attribution, dict) else {None: e.attribution}
        names = [*explainer._default_plan.attributions]
        pairs = list(zip(names, attributions.values(), strict=True))
        apart = [_lengths(made[name] - whole) for name, whole in pairs]
        sizes = [_lengths(whole) for _, whole in pairs]
        maps.extend(_ratio(np.hypot.reduce(apart), np.hypot.reduce(sizes)))
        if e.baseline_score is not None:
            deltas.extend(_ratio(np.abs(made["delta"]), np.abs(e.score - e.baseline_score)))
    told = {"photos": len(found.inputs), "points": len(found.points[0])}
    told |= {"map_error": _summed(maps)}
    told |= {"relative_delta": _summed(deltas)} if deltas else {}
    return {"quadrature": "calibrated", "steps": len(found.points[0]), "calibration": told}


def said_of(facts: Mapping[str, Any]) -> Iterator[str]:
    """What calibrating came to, in a line for each method of a file that has it.

    Args:
        facts: from a file's metadata.
    """
    for one in (facts, *facts.get("methods", {}).values()):
        found = one.get("calibration")
        if found is None:
            continue
        far = found["map_error"]
        text = f"{counted(found['points'], 'point')} for {counted(found['photos'], 'photo')}"
        text += f": the map is {far['largest']:.1%} from the library's at most, {far['median']:.1%}"
        text += " in the median"
        if "relative_delta" in found:
            text += f"; its sum misses {found['relative_delta']['largest']:.1%} of the difference"
            text += " of the scores at most"
        yield text


def _feeds(
    explainer: Exportable, session: Session, x: np.ndarray, e: Attributions
) -> Mapping[str, np.ndarray]:
    given = {explainer.subject.input.name: x, "target": np.asarray(e.target)}
    if isinstance(e.target, tuple):
        given["target"] = np.tile(np.asarray(e.target, np.int64), (len(x), 1))
    names = explainer._default_plan.baseline_names
    for name, own in names.items():
        known = explainer._baselines[name]
        shape = x.shape if own == explainer.subject.input.name else known.shape
        given[name] = np.ascontiguousarray(np.broadcast_to(known, shape))
    return {name: given[name] for name in session.inputs}


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows.reshape(len(rows), -1).astype(np.float64), axis=1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> list[float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return [float(value) for value in np.where(part == 0, 0.0, part / whole)]


def _summed(values: Sequence[float]) -> dict[str, float]:
    return {"largest": round(max(values), 6), "median": round(float(np.median(values)), 6)}
