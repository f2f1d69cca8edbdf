"""A map put to the test on the spot: what the target loses without its strongest evidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import InvalidInputError
from .origin import channel_axis_of, known_origin, recorded
from .pictures.heatmap import heatmap_of, smoothed
from .targets.target import asked_again, key_in

# The strongest places that together hold this part of all that speaks for the target ...
_EVIDENCE = 0.5
# ... but no more and no less of the photo than this.
_LEAST, _MOST = 0.01, 0.25
# What hides a place is the photo blurred: its longer side by the sigma.
_BLUR = 12


def checked_by_hiding(
    explainer: Any,
    x: np.ndarray,
    attribution: np.ndarray,
    channel_axis: int,
    record: dict,
    shared: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """What hiding a map's strongest places does to its target; one more pass of the model.

    The places are those of the map as it is drawn. They are hidden by a blur, which leaves no edges
    and no colour that the photo has not.

    Args:
        explainer: that made the map.
        x: the model's input, [1, ...] with two spatial axes.
        attribution: [1, H, W] or x's shape.
        channel_axis: of x.
        record: of results.json: its method, target, score and probability.
        shared: what all maps of x have in common; gains the blurred x, of which each takes 21 ms.

    Returns:
        `part` (of the photo that was hidden), `of` ("probability" or "score"), `before`, `after`;
        None where nothing speaks for the target, or what speaks against it was asked for.
    """
    axis = channel_axis - 1 if attribution.ndim == x.ndim else None
    strength = np.maximum(heatmap_of(attribution[0], record["method"], axis).values, 0.0)
    if not strength.any() or record["target"].get("against"):
        return None
    hidden = strongest(strength)
    target = asked_again(record["target"])
    found = scores_without(explainer, x, hidden, channel_axis, target, shared)
    before = record["probability"]
    chance = None if before is None else found.probability
    after = found.score if chance is None else chance
    return {
        "part": round(float(hidden.mean()), 4),
        "of": "score" if chance is None else "probability",
        "before": record["score"] if chance is None else before,
        "after": float(after[0]),
    }


def scores_without(
    explainer: Any,
    x: np.ndarray,
    hidden: np.ndarray,
    channel_axis: int,
    target: Any,
    shared: dict[str, Any] | None = None,
) -> Any:
    """What the model says of x with some places blurred: as `Explainer.scores`.

    Args:
        explainer: any of the model's.
        x: the model's input, [1, ...] with two spatial axes.
        hidden: bool [H, W], which places.
        channel_axis: of x.
        target: as an explainer takes it.
        shared: see `checked_by_hiding`.
    """
    picture = np.moveaxis(x[0], channel_axis - 1, 0).astype(np.float64)
    shared = {} if shared is None else shared
    if "blurred" not in shared:
        sigma = max(picture.shape[1:]) / _BLUR
        shared["blurred"] = np.stack([smoothed(channel, (sigma, sigma)) for channel in picture])
    changed = np.where(hidden, shared["blurred"], picture)
    changed = np.moveaxis(changed, 0, channel_axis - 1)[None]
    return explainer.scores(_as_type(changed, x.dtype), target)


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
        axis = channel_axis_of(origin, x[0])
        if axis is None:
            raise InvalidInputError(f"evidence: expected a picture, got an input {list(x.shape)}")
        shared = origin.tested.setdefault("shared", {})
        part = e.attribution[row : row + 1]
        found = checked_by_hiding(origin.explainer, x, part, axis + 1, record, shared)
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
