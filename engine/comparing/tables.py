"""What was measured of methods, in rows and lines: the literature's table, and each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...models.text import counted, part_text
from .axioms import Kept
from .claims import ALIKE, DIFFERENT
from .facts import Measured, MethodFacts
from .verdict import much

# What each row of the table says of a method.
ROWS: dict[str, Callable[[MethodFacts], str]] = {
    "Applies to this model": lambda one: "yes" if one.applies else f"no: {one.reason}",
    "Reference required": lambda one: one.reference or "no",
    "Class-discriminative": lambda one: _discriminative(one),
    "Completeness (largest relative delta)": lambda one: _percent(
        one.relative_delta, "no sum owed"
    ),
    "The map's own error (largest estimate)": lambda one: _percent(one.map_error, "unknown"),
    "Lost by hiding the strongest tenth of the photo (mean)": lambda one: _hiding(one),
    "Sensitivity (pixels that count, of those that move the score)": lambda one: _kept(
        one.sensitivity
    ),
    "Dummy (attributed to pixels the model never sees)": lambda one: _percent(one.dummy, "unknown"),
    "Implementation invariance (change of the map)": lambda one: _invariance(one),
    "Operating area": lambda one: one.area,
    "Attribution": lambda one: _sign(one),
    "Gradient passes an image": lambda one: _number(one.passes, ".3g", "-"),
    "Cost in forward passes": lambda one: _passes(one.forwards),
    "Seconds for an image": lambda one: _number(one.seconds, ".2g", "-"),
    "Correlation with the map against another baseline": lambda one: _baselines(one),
}


def literature(found: Measured) -> tuple[list[str], list[list[str]]]:
    """The literature's table with what was measured: heads, and a row for each question."""
    heads = ["", *(one.title for one in found.facts)]
    rows = [
        [name, *(say(one) if one.applies or k == 0 else "-" for one in found.facts)]
        for k, (name, say) in enumerate(ROWS.items())
    ]
    return heads, rows


def measured_lines(found: Measured) -> list[str]:
    """A line for each method, for people to read."""
    width = max(len(one.method) for one in found.facts)
    lines = []
    for one in found.facts:
        if one.applies:
            parts = [f"hiding takes {_hiding(one)}" if one.hiding else "not tested by hiding"]
            parts.append(f"class-discriminative: {_discriminative(one)}")
            parts.append(f"{one.seconds:.2g} s ({_forwards(one)})")
            parts.append(f"delta {_percent(one.relative_delta, 'not owed')}")
            if one.map_error is not None:
                parts.append(f"map good to {_percent(one.map_error, '')}")
            lines.append(f"{one.method:{width}}  {', '.join(parts)}")
    return lines


def failures(failed: Sequence[Mapping[str, str]]) -> list[str]:
    """A line for each image that failed."""
    lines = []
    for one in failed:
        path, error = one["image"], one["error"]
        lines.append(error if path in error else f"{path}: {error}")
    return lines


def agreement(found: Measured, values: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """A matrix [M, M] of how alike the methods are: heads and rows."""
    titles = titles_of(found)
    rows = [
        [title, *(_number(float(v), ".2f", "-") for v in line)]
        for title, line in zip(titles, values, strict=True)
    ]
    return ["", *titles], rows


def titles_of(found: Measured) -> list[str]:
    """Of the methods that apply, in the order of the matrices."""
    titles = {one.method: one.title for one in found.facts}
    return [titles[name] for name in found.agreement.methods]


def _number(value: float | None, form: str, none: str) -> str:
    return none if value is None or np.isnan(value) else format(value, form)


def _percent(value: float | None, none: str) -> str:
    return none if value is None or np.isnan(value) else part_text(value)


def _discriminative(one: MethodFacts) -> str:
    rank = one.between_classes
    if rank is None or np.isnan(rank):
        return "not measured: one class"
    word = "yes" if rank <= DIFFERENT else "no" if rank >= ALIKE else "in part"
    top = _percent(one.top_between_classes, "-")
    return f"{word} (correlation of two classes' maps {rank:.2f}, overlap {top})"


def _passes(value: float | None) -> str:
    return _number(value, ".2g" if value is None or value < 100 else ".0f", "-")


def _forwards(one: MethodFacts) -> str:
    number = _passes(one.forwards)
    return counted(number, "forward pass")


def _hiding(one: MethodFacts) -> str:
    if one.hiding is None or not one.hiding.lost:
        return "not tested"
    lost, chance = (float(np.nanmean(v)) for v in (one.hiding.lost, one.hiding.chance))
    return f"{much(one, lost)} (at random {much(one, chance)})"


def _kept(found: Kept | None) -> str:
    if found is None or not found.tried:
        return "not measured: no pixel moves the score"
    return f"{found.held} of {found.tried}"


def _invariance(one: MethodFacts) -> str:
    parts = []
    for name, found in one.invariance.items():
        parts.append(f"{name} {found.problem or part_text(found.difference)}")
    return ", ".join(parts)


def _sign(one: MethodFacts) -> str:
    if one.negative is None:
        return "-"
    return (
        f"signed ({part_text(one.negative)} of it negative)" if one.negative else "never negative"
    )


def _baselines(one: MethodFacts) -> str:
    known = [f"{name} {rank:.2f}" for name, rank in one.baselines.items() if not np.isnan(rank)]
    return ", ".join(known) or ("-" if one.reference else "no baseline")
