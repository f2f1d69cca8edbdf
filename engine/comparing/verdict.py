"""Which method suits a model, and why, in words made from what was measured on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...models.text import few, listed, part_text
from ..metrics.intervals import interval
from .claims import ALIKE, DIFFERENT
from .facts import SEEN, Measured, MethodFacts, least_like, most_rewritten, pairs_of, these
from .hiding import PART

# A lead by less than this part of the class's probability, or of a score's size, is none.
_LEAST_GAIN = 0.05
# Methods that are named beside the best one.
_MOST_NAMED = 4
# Less than this is nothing.
_NOTHING = 0.005
# A sum that misses no more than this adds up; a map that is off by more than this is rough.
_ADDS_UP, _ROUGH = 0.02, 0.1


class _Test(NamedTuple):
    """How a method came out of hiding: the means of what is lost, and whether chance takes less."""

    lost: float
    chance: float
    surely: bool
    better: bool


def verdict_of(found: Measured) -> str:
    """Two or three sentences: which method suits the model, why, and how far to trust that."""
    applying = [one for one in found.facts if one.applies]
    tests = {one.method: test for one in applying if (test := _test(one)) is not None}
    where = f"On {these(len(found.images))}"
    said = _tested(applying, tests, where) if tests else _untested(applying, where)
    return " ".join([*said, few(len(found.images))]).strip()


def _test(one: MethodFacts) -> _Test | None:
    """Means over images; surely better where an interval of the mean gain lies above 0."""
    if one.hiding is None:
        return None
    lost, chance = _both(one.hiding.lost, one.hiding.chance)
    if not len(lost):
        return None
    gain = lost - chance
    better = bool(gain.mean() > _LEAST_GAIN * one.hiding.size)
    surely = better and interval(gain, 0)[0] > 0
    return _Test(float(lost.mean()), float(chance.mean()), surely, better)


def _both(a: Sequence[float], b: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of numbers where both are known."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    known = np.isfinite(first) & np.isfinite(second)
    return first[known], second[known]


def _tested(applying: Sequence[MethodFacts], tests: dict[str, _Test], where: str) -> list[str]:
    """What hiding says: the method that leads, with those that cannot be told from it."""
    ranked = sorted(
        (one for one in applying if one.method in tests), key=lambda o: -tests[o.method].lost
    )
    chance = f"places at random {much(ranked[0], tests[ranked[0].method].chance)}"
    of = _of(ranked[0])
    good = [one for one in ranked if tests[one.method].better]
    if not good:
        numbers = listed([f"{o.title} {much(o, tests[o.method].lost)}" for o in ranked])
        return [
            f"{where} no method stands out: hiding the {part_text(PART)} of the photo that a map, "
            f"drawn by region, marks strongest takes hardly more {of} than places at random "
            f"({numbers}; {chance})."
        ]
    peers = [one for one in good if _level(good[0], one)]
    best = max(peers, key=lambda one: (_points(one), tests[one.method].lost))
    lead = "suits this model best" if len(ranked) > 1 else "works on this model"
    test = tests[best.method]
    theirs = [f"{o.title} {much(o, tests[o.method].lost)}" for o in ranked if o is not best]
    theirs = [*theirs[:_MOST_NAMED], *(["others less"] if len(theirs) > _MOST_NAMED else [])]
    said = [
        f"{where} {best.title} {lead}: hiding the {part_text(PART)} of the photo that its map, "
        f"drawn by region, marks strongest takes {much(best, test.lost)} {of} "
        f"({', '.join([*theirs, chance])})."
    ]
    said += _doubts(ranked, best, peers, tests)
    beside = _beside(best)
    return [*said, f"{beside[:1].upper()}{beside[1:]}."] if beside else said


def much(one: MethodFacts, lost: float) -> str:
    """What is lost in words: a part of a probability, or the points of a score."""
    if one.hiding is None or lost < _NOTHING * one.hiding.size:
        return "nothing"
    return part_text(lost) if one.hiding.of == "probability" else f"{lost:.2g}"


def _of(one: MethodFacts) -> str:
    chance = one.hiding is not None and one.hiding.of == "probability"
    return "of the class's probability" if chance else "points of the score"


def _level(a: MethodFacts, b: MethodFacts) -> bool:
    """Whether the test cannot tell two methods apart: the interval of their difference holds 0."""
    if a.hiding is None or b.hiding is None:
        return False
    first, second = _both(a.hiding.lost, b.hiding.lost)
    gap = first - second
    least = _LEAST_GAIN * a.hiding.size
    return not len(gap) or bool(abs(gap.mean()) < least or interval(gap, 0)[0] <= 0)


def _doubts(
    ranked: Sequence[MethodFacts],
    best: MethodFacts,
    peers: Sequence[MethodFacts],
    tests: dict[str, _Test],
) -> list[str]:
    """Whom the test cannot tell the best from, and who is no better than chance: a sentence."""
    level = [one for one in peers if one is not best]
    bad = [one for one in ranked if not tests[one.method].better]
    parts = []
    if level:
        why = ", but its other numbers are better"
        why = why if _points(best) > max(map(_points, level)) else ""
        parts.append(f"the test cannot tell it from {listed([o.title for o in level])}{why}")
    if not tests[best.method].surely:
        parts.append(f"{best.title}'s lead over places at random may still be chance")
    if bad:
        verb = "is" if len(bad) == 1 else "are"
        parts.append(f"{listed([o.title for o in bad])} {verb} no better than places at random")
    text = "; ".join(parts)
    return [f"{text[:1].upper()}{text[1:]}."] if text else []


def _untested(applying: Sequence[MethodFacts], where: str) -> list[str]:
    """Where nothing could be hidden: what else was measured, said to be that."""
    best = max(applying, key=lambda one: (_points(one), -(one.seconds or 0.0)))
    why = _beside(best) or "nothing speaks against it"
    lead = "looks best" if len(applying) > 1 else "can be used"
    return [
        f"{where} the maps could not be tested by hiding what they mark; by the rest of what was "
        f"measured {best.title} {lead}: {why}."
    ]


def _points(one: MethodFacts) -> int:
    """What speaks for a method less what speaks against it, beside the test."""
    classes, least = one.between_classes, least_like(one)
    points = int(not one.reference) - int((one.map_error or 0.0) > _ROUGH)
    if classes is not None:
        points += int(classes <= DIFFERENT) - int(classes >= ALIKE)
    if least is not None:
        points += int(least[1] >= ALIKE) - int(least[1] <= DIFFERENT)
    return points


def _beside(one: MethodFacts) -> str:
    """What else there is to know of the method, for and against, behind the test."""
    parts = []
    rank = one.between_classes
    if rank is not None and not np.isnan(rank):
        word = "differ" if rank <= DIFFERENT else "are alike" if rank >= ALIKE else "differ in part"
        parts.append(f"{one.title}'s maps of two classes {word} (correlation {rank:.2f})")
    least = least_like(one)
    if not one.reference:
        parts.append("it needs no baseline" if parts else f"{one.title} needs no baseline")
    elif least is not None:
        rank = least[1]
        word = "hold" if rank >= ALIKE else "change" if rank <= DIFFERENT else "change in part"
        who = "they" if parts else f"{one.title}'s maps"
        parts.append(f"{who} {word} with another baseline (correlation {rank:.2f})")
    if one.map_error is not None and one.map_error > _ROUGH:
        parts.append(f"the maps are only good to {part_text(one.map_error)}")
    if one.seconds is not None:
        who = "it" if parts else one.title
        parts.append(f"{who} takes {one.seconds:.2g} s a map")
    return listed(parts)


def reasons_of(found: Measured) -> list[str]:
    """What the verdict rests on: a sentence for each thing that was measured, all methods in it."""
    applying = [one for one in found.facts if one.applies]
    makers: tuple[Callable[[Measured, Sequence[MethodFacts]], str], ...]
    makers = (_evidence, _classes, _baselines, _sums, _unseen, _rewritten, _time)
    return [sentence for make in makers if (sentence := make(found, applying))]


def _numbers(own: Sequence[MethodFacts], number: Callable[[MethodFacts], str | None]) -> str:
    return ", ".join(f"{one.title} {text}" for one in own if (text := number(one)))


def _evidence(found: Measured, own: Sequence[MethodFacts]) -> str:
    tested = [(one, test) for one in own if (test := _test(one)) is not None]
    if not tested:
        return ""
    numbers = ", ".join(f"{one.title} {much(one, test.lost)}" for one, test in tested)
    first, chance = tested[0][0], tested[0][1].chance
    return (
        f"Tested by hiding: blurring the {part_text(PART)} of the photo that a map marks strongest "
        f"takes, on average, {numbers}, places at random {much(first, chance)} {_of(first)}. "
        "Much is good: the map marks what the model used. Maps are tested as they are drawn, by "
        "region; the command evaluate tests single pixels."
    )


def _classes(found: Measured, own: Sequence[MethodFacts]) -> str:
    numbers = _numbers(own, lambda o: _two(o.between_classes))
    if not numbers:
        return ""
    return (
        "Class-discriminative: the maps of two classes correlate by "
        f"{numbers} (Spearman, by region; low tells classes apart). The classes are "
        f"{pairs_of(found)}; closely related classes rest on the same things."
    )


def _baselines(found: Measured, own: Sequence[MethodFacts]) -> str:
    parts = []
    for one in own:
        if (least := least_like(one)) is not None:
            parts.append(f"{one.title} {least[1]:.2f} ({least[0]})")
    if not parts:
        return ""
    free = [one.title for one in own if not one.reference]
    without = f" {listed(free)} {'needs' if len(free) == 1 else 'need'} none." if free else ""
    first = found.settings.get("baselines", ["the first one"])[0]
    return (
        f"Dependence on the baseline: correlation of the map against {first} with the one that is "
        f"least like it: {', '.join(parts)}.{without}"
    )


def _sums(found: Measured, own: Sequence[MethodFacts]) -> str:
    """Completeness, and how good the map itself is."""

    def said(one: MethodFacts) -> str | None:
        if one.relative_delta is None:
            return None
        good = "" if one.map_error is None else f", its map good to {part_text(one.map_error)}"
        return f"within {part_text(one.relative_delta)}{good}"

    numbers = "; ".join(f"{o.title} {text}" for o in own if (text := said(o)))
    if not numbers:
        return ""
    exact = [o for o in own if o.relative_delta is not None and o.relative_delta <= _ADDS_UP]
    exact = [o for o in exact if o.map_error is None or o.map_error <= _ROUGH]
    quick = min(exact, key=lambda o: o.seconds or 0.0, default=None)
    advice = f" Where numbers must add up to the score, take {quick.title}." if quick else ""
    return f"Completeness (the attributions sum to the score's change): {numbers}.{advice}"


def _unseen(found: Measured, own: Sequence[MethodFacts]) -> str:
    numbers = _numbers(own, lambda o: None if o.dummy is None else part_text(o.dummy))
    return f"Dummy (of the map on a border the model never sees): {numbers}." if numbers else ""


def _rewritten(found: Measured, own: Sequence[MethodFacts]) -> str:
    gaps = {one.title: gap for one in own if (gap := most_rewritten(one)) is not None}
    if not gaps:
        return ""
    changed = [f"{title} by {part_text(gap)}" for title, gap in gaps.items() if gap > SEEN]
    if not changed:
        return (
            "Implementation invariance: no map changes by more than 0.1 % when the file is "
            "rewritten as onnxplain prepares it or as ONNX Runtime optimises it."
        )
    return f"Implementation invariance: rewriting the file changes {', '.join(changed)}."


def _time(found: Measured, own: Sequence[MethodFacts]) -> str:
    numbers = _numbers(own, lambda o: None if o.seconds is None else f"{o.seconds:.2g} s")
    return f"Time for an image: {numbers}." if numbers else ""


def _two(value: float | None) -> str | None:
    return None if value is None or np.isnan(value) else f"{value:.2f}"
