"""Maps and methods in sentences."""

from __future__ import annotations

import numpy as np

from ...graph_passes.methods import find_method
from ..pictures.heatmap import Heatmap

# The nine parts of a picture, row by row.
_PLACES = (
    *("upper left", "top middle", "upper right"),
    *("left", "centre", "right"),
    *("lower left", "bottom middle", "lower right"),
)
_CENTRE = 4


def title_of(method: str) -> str:
    """A method's title."""
    return find_method(method).title


def cite_of(method: str) -> str:
    """Who it is by, and when."""
    return find_method(method).cite


def how_to_read(method: str) -> str:
    """What a method's maps mean, in two sentences that are made from its record."""
    found = find_method(method)
    unit = "place" if found.per_location else "pixel"
    channels = "" if found.per_location else ", summed over its channels"
    if found.signed:
        low, high = found.sign
        numbers = f"Each {unit} has a number{channels}: red {high}, blue {low}"
    else:
        much = "evidence" if found.per_location else "influence"
        numbers = f"Each {unit} has a number{channels}, never negative: bright is most {much}"
    sums = "they sum to nothing in particular"
    if found.sums_to is not None:
        sums = f"together they sum to {found.sums_to}"
    return f"{found.summary.rstrip('.')}. {numbers}; {sums}."


def found_in_map(heatmap: Heatmap, method: str, difference: bool = False) -> str:
    """Where a map has most, and how much of it, in words.

    The picture is parted into nine equal parts; numbers are parts of the sum of what is positive.
    """
    if not np.abs(heatmap.values).any():
        return "no evidence, the map is zero everywhere"
    if difference:
        word = "gained"
    elif heatmap.signed:
        word = "evidence for it"
    else:
        word = "evidence" if find_method(method).per_location else "influence"
    positive = np.maximum(heatmap.values, 0.0)
    parts = [f"most {word} {_where(positive)}" if positive.any() else f"nothing {word}"]
    negative = np.maximum(-heatmap.values, 0.0)
    if heatmap.signed and negative.any():
        share = negative.sum() / np.abs(heatmap.values).sum()
        against = "lost" if difference else "evidence against it"
        parts.append(f"{_percent(share)} of all is {against}, most {_where(negative)}")
    return "; ".join(parts)


def _where(values: np.ndarray) -> str:
    shares = shares_of_parts(values)
    place = int(np.argmax(shares))
    found = f"in the {_PLACES[place]} ninth ({_percent(shares[place])} of it)"
    return found if place == _CENTRE else f"{found}, {_percent(shares[_CENTRE])} in the centre"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def shares_of_parts(values: np.ndarray) -> np.ndarray:
    """Of a map [H, W] that is never negative, the part that lies in each ninth, row by row: [9].

    Lines that no third has for itself belong to the earlier one, as `numpy.array_split` has it.
    """
    sums = [
        part.sum()
        for rows in np.array_split(values, 3, axis=0)
        for part in np.array_split(rows, 3, axis=1)
    ]
    return np.array(sums) / sum(sums)
