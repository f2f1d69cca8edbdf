"""The answer of an evaluation in a few sentences, and how good each of its numbers is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...graph_passes.methods import methods
from ...models.text import counted, few, listed
from ..metrics import metrics
from ..metrics.intervals import interval
from ..metrics.references import EDGES, RANDOM

GOOD, FAIR, POOR = "good", "fair", "poor"
_REFERENCES = {RANDOM: "a random map", EDGES: "an edge detector"}

Values = Mapping[str, Mapping[str, np.ndarray]]


class _Read(NamedTuple):
    """One metric: its name, which way it is read, and the numbers of each image by method."""

    name: str
    higher: bool
    values: Mapping[str, np.ndarray]

    def mean(self, method: str) -> float:
        known = self.values[method][np.isfinite(self.values[method])]
        return float(known.mean()) if len(known) else float("nan")

    def ahead(self, a: str, b: str) -> bool:
        """Whether a is better than b: the 95 % interval of the mean gain lies above 0.

        The gain is taken image by image; the interval is a paired bootstrap's, and of one image
        that image's gain.
        """
        gap = self.values[a] - self.values[b]
        gap = gap[np.isfinite(gap)] * (1 if self.higher else -1)
        return bool(len(gap)) and interval(gap, 0)[0] > 0

    @property
    def ranked(self) -> list[str]:
        """The methods that were measured, the best first; no references."""
        own = {m: self.mean(m) for m in self.values if m not in _REFERENCES}
        known = [m for m, mean in own.items() if np.isfinite(mean)]
        return sorted(known, key=lambda m: -own[m] if self.higher else own[m])

    @property
    def images(self) -> int:
        """On how many images it was measured."""
        return max((int(np.isfinite(v).sum()) for v in self.values.values()), default=0)


def verdict_of(records: Sequence[Mapping[str, Any]], values: Values) -> str:
    """Which method to use and which not, on the headline metric; how far to trust that.

    The headline is the first metric that compares with a map that knows nothing of the model.
    """
    read = _reads(records, values)
    fit = [one for one in read if is_faithful(one.name) and RANDOM in one.values and one.ranked]
    if not fit:
        return _without_headline(read)
    first = fit[0]
    levels = {method: level_of(first, method) for method in first.ranked}
    said = _leader(first, levels) if GOOD in levels.values() or FAIR in levels.values() else []
    said = said or [_none_is_better(first)]
    more = _agreeing(fit[1:], first.ranked[0]) if len(first.ranked) > 1 else ""
    thin = few(first.images) or _undecided(first)
    return " ".join(filter(None, [*said, more, thin]))


def _reads(records: Sequence[Mapping[str, Any]], values: Values) -> list[_Read]:
    higher = {r["metric"]: bool(r["higher_is_better"]) for r in records}
    return [_Read(name, up, values[name]) for name, up in higher.items() if name in values]


def is_faithful(name: str) -> bool:
    """Whether a map that knows nothing of the model must do badly by a metric."""
    metric = metrics().get(name)
    return metric is None or metric.faithful


def level_of(read: _Read, method: str) -> str:
    """GOOD: better than all references; FAIR: than a random map alone; POOR: not even that."""
    known = [name for name in _REFERENCES if name in read.values]
    if not read.ahead(method, RANDOM):
        return POOR
    return GOOD if all(read.ahead(method, name) for name in known) else FAIR


def levels_of(records: Sequence[Mapping[str, Any]], values: Values) -> dict[tuple[str, str], str]:
    """(method, metric) -> its level, for metrics that compare with references."""
    return {
        (method, read.name): level_of(read, method)
        for read in _reads(records, values)
        if is_faithful(read.name) and RANDOM in read.values
        for method in read.ranked
    }


def _leader(read: _Read, levels: Mapping[str, str]) -> list[str]:
    """The best method, and what is to be said of the others, in a sentence."""
    best = next(m for m in read.ranked if levels[m] != POOR)
    peers = [m for m in read.ranked if m != best and not read.ahead(best, m) and levels[m] != POOR]
    lead = listed([titled(best), *map(titled, peers)])
    verb = "lead, and cannot be told apart," if peers else "is the most faithful"
    if len(read.ranked) == 1:
        verb = f"is better than {_beaten(levels[best], read)}"
    own = ", ".join(_number(read.mean(m)) for m in [best, *peers])
    theirs = ", ".join(
        f"{words} {_number(read.mean(name))}"
        for name, words in _REFERENCES.items()
        if name in read.values
    )
    parts = [f"On {_these(read.images)} {lead} {verb} ({_short(read.name)} {own}; {theirs})"]
    if levels[best] == FAIR:
        parts.append("but an edge detector, which knows nothing of the model, does as well")
    rest = {level: [m for m in read.ranked if levels[m] == level] for level in (GOOD, FAIR, POOR)}
    behind = [m for m in rest[GOOD] if m != best and m not in peers]
    if behind:
        parts.append(f"{_named(behind, 'follows', 'follow')}")
    fair = [m for m in rest[FAIR] if m != best and m not in peers]
    if fair:
        parts.append(f"{_named(fair, 'beats', 'beat')} a random map, but no edge detector")
    if rest[POOR]:
        parts.append(f"{_named(rest[POOR], 'is', 'are')} no better than a random map")
    return ["; ".join(parts) + "."]


def _beaten(level: str, read: _Read) -> str:
    known = [words for name, words in _REFERENCES.items() if name in read.values]
    return listed(known) if level == GOOD else _REFERENCES[RANDOM]


def _named(own: Sequence[str], one: str, several: str) -> str:
    return f"{listed([titled(m) for m in own])} {one if len(own) == 1 else several}"


def _none_is_better(read: _Read) -> str:
    numbers = ", ".join(f"{titled(m)} {_number(read.mean(m))}" for m in read.ranked)
    who = "no method is" if len(read.ranked) > 1 else f"{titled(read.ranked[0])} is not"
    return (
        f"On {_these(read.images)} {who} better than a random map ({_short(read.name)}: "
        f"{numbers}; a random map {_number(read.mean(RANDOM))})."
    )


def _without_headline(read: Sequence[_Read]) -> str:
    """Where nothing was measured that a map must know the model for."""
    known = [one for one in read if one.ranked]
    if not known:
        return "Nothing could be measured."
    first = known[0]
    numbers = ", ".join(f"{titled(m)} {_number(first.mean(m))}" for m in first.ranked)
    better = "higher" if first.higher else "lower"
    said = (
        f"How faithful the maps are was not measured. By {_short(first.name)} ({better} is better) "
        f"{_these(first.images)} {'gives' if first.images == 1 else 'give'}: {numbers}."
    )
    return f"{said} {few(first.images)}".strip()


def _agreeing(others: Sequence[_Read], best: str) -> str:
    """How many other metrics have the same method first."""
    able = [one for one in others if best in one.ranked]
    if not able:
        return ""
    agree = sum(one.ranked[0] == best for one in able)
    if len(able) == 1:
        return f"{_short(able[0].name)} {'agrees' if agree else 'does not agree'}."
    return (
        f"{agree} of the {len(able)} other metrics of faithfulness put {titled(best)} first, too."
    )


def _undecided(read: _Read) -> str:
    """Said where the intervals are wider than the lead, though there are images enough."""
    ranked = read.ranked
    if len(ranked) > 1 and not read.ahead(ranked[0], ranked[1]):
        return (
            f"The lead of {titled(ranked[0])} over {titled(ranked[1])} is smaller than its "
            "uncertainty: more images may tell."
        )
    return ""


def titled(method: str) -> str:
    """A method's title; of another map its name."""
    found = methods().get(method)
    return found.title if found else method


def _these(count: int) -> str:
    return "this image" if count == 1 else f"these {counted(count)}"


def _short(name: str) -> str:
    """A metric as people say it."""
    return {"srg": "SRG", "road": "ROAD"}.get(name, name.replace("-", " "))


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"
