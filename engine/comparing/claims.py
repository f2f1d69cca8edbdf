"""What the literature says of methods, confirmed or contradicted by what was measured, in words."""

from __future__ import annotations

import numpy as np

from ...graph_passes.methods import literature
from .facts import SEEN, Measured, MethodFacts, least_like, most_rewritten, pairs_of, these

# Correlations of ranks from which on maps are called alike, and down to which they differ.
ALIKE, DIFFERENT = 0.8, 0.5


def verdict(holds: bool | None) -> str:
    """Of a claim: None says that the numbers lie between."""
    return {True: "Confirmed", False: "Contradicted", None: "In part"}[holds]


def likeness_in_words(rank: float) -> str:
    """What a correlation of ranks says of two maps."""
    if np.isnan(rank):
        return "cannot be compared"
    if rank >= ALIKE:
        return "very similar"
    return "somewhat similar" if rank > DIFFERENT else "different"


def claims_of(found: Measured) -> list[str]:
    """The sentences, each about what applies to this model."""
    makers = (_similar, _efficient, _discriminative, _baselines, _implementation)
    return [sentence for make in makers if (sentence := make(found))]


def _similar(found: Measured) -> str:
    names, pair = found.agreement.methods, literature.SIMILAR
    if not {pair.method, pair.other} <= set(names):
        return ""
    place = names.index(pair.method), names.index(pair.other)
    rank, pixels = (float(m[place]) for m in (found.agreement.rank, found.agreement.pixels))
    if np.isnan(rank):
        return ""
    holds = rank >= ALIKE or (None if rank > DIFFERENT else False)
    return (
        f'{verdict(holds)}: "{pair.claim}". On '
        f"{these(len(found.images))} their maps correlate by {rank:.2f} (Spearman, by region; by "
        f"pixel {pixels:.2f}): they are {likeness_in_words(rank)}."
    )


def _efficient(found: Measured) -> str:
    pair = literature.EFFICIENT
    lift, ig = found.of(pair.method), found.of(pair.other)
    if lift is None or ig is None or not lift.seconds or not ig.seconds:
        return ""
    ratio = ig.seconds / lift.seconds
    holds = ratio >= 2 or (None if ratio > 1 else False)
    delta = ""
    if lift.relative_delta is not None and ig.relative_delta is not None:
        delta = (
            f" They leave {lift.relative_delta:.1%} and {ig.relative_delta:.1%} of the score's "
            "difference unexplained, at the most."
        )
    return (
        f'{verdict(holds)}: "{pair.claim}". {lift.title} took '
        f"{lift.seconds:.2g} s an image, {ig.title} {ig.seconds:.2g} s, {ratio:.1f} "
        f"times as long.{delta}"
    )


def _discriminative(found: Measured) -> str:
    """Maps of two classes that differ discriminate between them."""
    known = [one for one in found.facts if one.between_classes is not None]
    if not known:
        return ""
    cam = next((one for one in known if one.method == literature.DISCRIMINATIVE), None)
    others = [one for one in known if one.method in literature.LESS_DISCRIMINATIVE]
    numbers = ", ".join(f"{one.title} {_rank(one):.2f}" for one in known)
    measured = (
        f"The maps of the first and the second class correlate by: {numbers} (Spearman, by region; "
        f"low is discriminative). The classes are {pairs_of(found)}: closely "
        "related classes rest on the same things."
    )
    if cam is None or not others:
        return measured
    best = min(_rank(one) for one in others)
    holds: bool | None = None
    if _rank(cam) <= DIFFERENT and best >= ALIKE:
        holds = True
    elif _rank(cam) >= best:
        holds = False
    return f'{verdict(holds)}: "{literature.DISCRIMINATES}". {measured}'


def _rank(one: MethodFacts) -> float:
    return one.between_classes if one.between_classes is not None else float("nan")


def _baselines(found: Measured) -> str:
    """What another baseline does to the maps."""
    parts = []
    for one in found.facts:
        if (least := least_like(one)) is not None:
            parts.append(f"{one.title} least with {least[0]} ({least[1]:.2f})")
    if not parts:
        return ""
    first = found.settings.get("baselines", ["the first baseline"])[0]
    return f"The baseline matters: maps agree with those against {first}: {'; '.join(parts)}."


def _implementation(found: Measured) -> str:
    """Which maps change when the same function is written otherwise."""
    changed = []
    for one in found.facts:
        gap = most_rewritten(one)
        if gap is not None and gap > SEEN:
            changed.append(f"{one.title} by {gap:.1%}")
    known = any(one.invariance for one in found.facts)
    if not known:
        return ""
    if not changed:
        return (
            "Implementation invariance: no map changes by more than 0.1 % when the model is "
            "written as onnxplain prepares it or as ONNX Runtime optimises it."
        )
    return (
        "Implementation invariance does not hold for "
        f"{', '.join(changed)}: the same function, written otherwise, has another map."
    )
