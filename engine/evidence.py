"""A map put to the test on the spot: what the target loses without its strongest evidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import InvalidInputError
from ..graph_passes.select.features import Features
from .inputs import kind_of_model
from .inputs.kind import ModelInput
from .origin import known_origin, recorded
from .pictures.heatmap import heatmap_of, smoothed
from .targets.target import asked_again, key_in

# The strongest places that together hold this part of all that speaks for the target ...
_EVIDENCE = 0.5
# ... but no more and no less of the photo than this.
_LEAST, _MOST = 0.01, 0.25
# What hides a place is the photo blurred: its longer side by the sigma, which has an end for what
# is far longer than photos are.
_BLUR, _MOST_BLUR = 12, 256.0
# What is explained, in words.
PHOTO, INPUT = "photo", "input"


def what_is(into: ModelInput) -> str:
    """What a model takes, in words: a photo, or an input of another kind."""
    return INPUT if kind_of_model(into).baseline_file is None else PHOTO


def checked_by_hiding(
    explainer: Any,
    x: np.ndarray,
    attribution: np.ndarray,
    features: Features,
    record: dict,
    shared: dict[str, Any] | None = None,
    what: str = PHOTO,
) -> dict[str, Any] | None:
    """What hiding a map's strongest places does to its target; one more pass of the model.

    The places are those of the map as it is drawn. They are hidden by a blur, which leaves no edges
    and no colour that the photo has not.

    Args:
        explainer: that made the map.
        x: the model's input, [1, ...].
        attribution: [1, H, W], or x's shape.
        features: where its channels and positions lie.
        record: of results.json: its method, target, score and probability.
        shared: what all maps of x have in common; gains the blurred x, of which each takes 21 ms.
        what: x is, in words.

    Returns:
        `part` (that was hidden), `what` (of, where it is no photo), `of` ("probability" or
        "score"), `before`, `after`; None where nothing speaks for the target, what speaks against
        it was asked for, or the input has no neighbours to blur a place with.
    """
    if not features.spatial_axes:
        return None
    strength = np.maximum(strength_of(attribution[0], record["method"], features), 0.0)
    if not strength.any() or record["target"].get("against"):
        return None
    hidden = strongest(strength)
    target = asked_again(record["target"])
    found = scores_without(explainer, x, hidden, features, target, shared)
    before = record["probability"]
    chance = None if before is None else found.probability
    after = found.score if chance is None else chance
    said = {} if what == PHOTO else {"what": what}
    return {
        **said,
        "part": round(float(hidden.mean()), 4),
        "of": "score" if chance is None else "probability",
        "before": record["score"] if chance is None else before,
        "after": float(after[0]),
    }


def scores_without(
    explainer: Any,
    x: np.ndarray,
    hidden: np.ndarray,
    features: Features,
    target: Any,
    shared: dict[str, Any] | None = None,
) -> Any:
    """What the model says of x with some places blurred: as `Explainer.scores`.

    Args:
        explainer: any of the model's.
        x: the model's input, [1, ...].
        hidden: bool [H, W] of a picture, which places.
        features: where its channels and positions lie.
        target: as an explainer takes it.
        shared: see `checked_by_hiding`.
    """
    axis = features.in_row(x.ndim - 1)
    rows = (x[0][None] if axis is None else np.moveaxis(x[0], axis, 0)).astype(np.float64)
    shared = {} if shared is None else shared
    if "blurred" not in shared:
        sigma = max(rows.shape[1:]) / _BLUR
        sigma = sigma if features.is_picture else min(sigma, _MOST_BLUR)
        sigmas = tuple(sigma if a in features.spatial_axes else 0.0 for a in features.axes)
        shared["blurred"] = np.stack([smoothed(channel, sigmas) for channel in rows])
    changed = np.where(hidden, shared["blurred"], rows)
    changed = (changed[0] if axis is None else np.moveaxis(changed, 0, axis))[None]
    return explainer.scores(_as_type(changed, x.dtype), target)


def strength_of(row: np.ndarray, method: str, features: Features) -> np.ndarray:
    """How much a map says of each place: as it is drawn, of a picture; else its own numbers.

    Args:
        row: the map of one input, with channels or without.
        method: its name.
        features: of the input.
    """
    axis = features.in_row(row.ndim)
    if features.is_picture:
        return heatmap_of(row, method, axis).values
    wide = np.asarray(row, np.float64)
    return wide if axis is None else wide.sum(axis=axis)


def evidence_of(e: Any, row: int = 0) -> dict[str, Any] | None:
    """See `Explanation.evidence`: the test of one row, made once."""
    origin, record = known_origin(e), recorded(e, row)
    key = key_in(record["target"])
    if key not in origin.tested:
        if origin.explainer is None:
            raise InvalidInputError(
                "evidence: expected what explainer.explain(photo) returned in this process, got an "
                "explanation of an array, or a pickled one"
            )
        (x,) = origin.inputs.values()
        (into,) = origin.into.values()
        if not into.features.spatial_axes:
            raise InvalidInputError(f"evidence: expected a picture, got an input {list(x.shape)}")
        shared = origin.tested.setdefault("shared", {})
        part = e.attribution[row : row + 1]
        found = checked_by_hiding(
            origin.explainer, x, part, into.features, record, shared, what_is(into)
        )
        origin.tested[key] = found
    return origin.tested[key]


def tested(e: Any, row: int, record: dict[str, Any]) -> dict[str, Any]:
    """A row's record with what the test of its map has found, where there was one."""
    key = key_in(record["target"])
    return {**record, "evidence": known_origin(e).tested.get(key)}


def strongest(strength: np.ndarray) -> np.ndarray:
    """The places that hold half of a map's evidence, bool; see `_LEAST` and `_MOST`."""
    order = np.argsort(-strength.reshape(-1), kind="stable")
    held = np.cumsum(strength.reshape(-1)[order])
    count = int(np.searchsorted(held, _EVIDENCE * held[-1])) + 1
    least, most = (max(int(part * strength.size), 1) for part in (_LEAST, _MOST))
    chosen = np.zeros(strength.size, bool)
    chosen[order[: min(max(count, least), most)]] = True
    return chosen.reshape(strength.shape)


def _as_type(values: np.ndarray, kind: Any) -> np.ndarray:
    return (np.rint(values) if np.dtype(kind).kind in "iu" else values).astype(kind)
