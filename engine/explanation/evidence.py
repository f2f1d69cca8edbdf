"""A map put to the test on the spot: what the target loses without its strongest evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.features import Features
from ..inputs import kind_of_model
from ..inputs.kind import ModelInput
from ..pictures.heatmap import heatmap_of, smoothed
from ..records.record import Evidence, Outcome
from ..targets.target import Again
from .attributions import Attributions
from .origin import Shared
from .outcomes import known_origin, recorded
from .scored import Scores, Scoring

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
    explainer: Scoring,
    x: np.ndarray,
    attribution: np.ndarray,
    features: Features,
    record: Outcome,
    shared: Shared | None = None,
    what: str = PHOTO,
) -> Evidence | None:
    """What hiding a map's strongest places does to its target; one more pass of the model.

    The places are those of the map as it is drawn. They are hidden by a blur, which leaves no edges
    and no colour that the photo has not.

    Args:
        explainer: that made the map.
        x: the model's input, [1, ...].
        attribution: [1, H, W], or x's shape.
        features: where its channels and positions lie.
        record: what came out: its method, target, score and probability.
        shared: what all maps of x have in common; gains the blurred x, of which each takes 21 ms.
        what: x is, in words.

    Returns:
        None where nothing speaks for the target, what speaks against it was asked for, or the input
        has no neighbours to blur a place with.
    """
    if not features.spatial_axes:
        return None
    strength = np.maximum(strength_of(attribution[0], record.method, features), 0.0)
    if not strength.any() or record.target.against:
        return None
    hidden = strongest(strength)
    found = scores_without(explainer, x, hidden, features, record.target.again, shared)
    chance = None if record.probability is None else found.probability
    part = round(float(hidden.mean()), 4)
    if chance is None:
        return Evidence(part, "score", record.score, float(found.score[0]), what)
    return Evidence(part, "probability", record.probability, float(chance[0]), what)


def scores_without(
    explainer: Scoring,
    x: np.ndarray,
    hidden: np.ndarray,
    features: Features,
    target: Again,
    shared: Shared | None = None,
) -> Scores:
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
    shared = Shared() if shared is None else shared
    if shared.blurred is None:
        sigma = max(rows.shape[1:]) / _BLUR
        sigma = sigma if features.is_picture else min(sigma, _MOST_BLUR)
        sigmas = tuple(sigma if a in features.spatial_axes else 0.0 for a in features.axes)
        shared.blurred = np.stack([smoothed(channel, sigmas) for channel in rows])
    changed = np.where(hidden, shared.blurred, rows)
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


def evidence_of(e: Attributions, row: int = 0) -> Evidence | None:
    """See `Explanation.evidence`: the test of one row, made once."""
    origin, record = known_origin(e), recorded(e, row)
    key = record.target.key
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
        part = e.attribution[row : row + 1]
        how = into.features, record, origin.shared, what_is(into)
        origin.tested[key] = checked_by_hiding(origin.explainer, x, part, *how)
    return origin.tested[key]


def tested(e: Attributions, row: int) -> Outcome:
    """What came out for a row, with what the test of its map has found, where there was one."""
    record = recorded(e, row)
    return replace(record, evidence=known_origin(e).tested.get(record.target.key))


def strongest(strength: np.ndarray) -> np.ndarray:
    """The places that hold half of a map's evidence, bool; see `_LEAST` and `_MOST`."""
    order = np.argsort(-strength.reshape(-1), kind="stable")
    held = np.cumsum(strength.reshape(-1)[order])
    count = int(np.searchsorted(held, _EVIDENCE * held[-1])) + 1
    least, most = (max(int(part * strength.size), 1) for part in (_LEAST, _MOST))
    chosen = np.zeros(strength.size, bool)
    chosen[order[: min(max(count, least), most)]] = True
    return chosen.reshape(strength.shape)


def _as_type(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    return (np.rint(values) if kind.kind in "iu" else values).astype(kind)
