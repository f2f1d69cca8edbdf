"""What an evaluation's numbers say, in sentences that are made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ...models.text import listed
from ..metrics.intervals import interval
from ..metrics.references import EDGES, RANDOM
from .verdict import is_faithful, titled

_REFERENCES = {RANDOM: "a random map", EDGES: "an edge detector"}
# Images under which nothing is said of what differs.
_FEW = 5

Values = Mapping[str, Mapping[str, np.ndarray]]


def found_in(records: Sequence[Mapping[str, Any]], values: Values) -> list[str]:
    """Sentences: who leads, who beats no reference, and where metrics disagree."""
    higher = {r["metric"]: r["higher_is_better"] for r in records}
    means = {
        name: {r["method"]: r["mean"] for r in records if r["metric"] == name} for name in higher
    }
    known = {
        name: {k: v for k, v in of.items() if v is not None and np.isfinite(v)}
        for name, of in means.items()
    }
    said = []
    for name in list(known)[:1]:
        said += _leader(name, known[name], higher[name])
    for name in filter(is_faithful, known):
        said += _no_better(name, known[name], higher[name], values[name])
    return said + _disagreements(known, higher, values)


def _ranked(of: Mapping[str, float], higher: bool) -> list[str]:
    """The methods, best first, without references."""
    own = [method for method in of if method not in _REFERENCES]
    return sorted(own, key=lambda method: -of[method] if higher else of[method])


def _leader(name: str, of: Mapping[str, float], higher: bool) -> list[str]:
    ranked = _ranked(of, higher)
    if len(ranked) < 2:
        return []
    order = ", ".join(f"{titled(method)} ({of[method]:.2g})" for method in ranked)
    return [f"{name} ({'higher' if higher else 'lower'} is better) orders them {order}."]


def _gain(a: np.ndarray, b: np.ndarray, higher: bool) -> np.ndarray:
    """By how much a is better than b, image by image, where both are known."""
    gap = a - b if higher else b - a
    return gap[np.isfinite(gap)]


def _clearly_better(a: np.ndarray, b: np.ndarray, higher: bool) -> bool:
    """Whether a paired bootstrap's 95 % interval of the mean gain lies above 0."""
    gap = _gain(a, b, higher)
    return len(gap) >= _FEW and interval(gap, 0)[0] > 0


def _no_better(
    name: str, of: Mapping[str, float], higher: bool, values: Mapping[str, np.ndarray]
) -> list[str]:
    """Methods that a reference equals or beats."""
    beaten: dict[str, list[str]] = {}
    for reference, words in _REFERENCES.items():
        if reference not in of:
            continue
        worse = []
        for method in _ranked(of, higher):
            gap = _gain(values[method], values[reference], higher)
            # Of a few images no interval says much; then the mean itself decides.
            least = interval(gap, 0)[0] if len(gap) >= _FEW else gap.mean() if len(gap) else np.inf
            if least <= 0:
                worse.append(f"{titled(method)} ({of[method]:.2g})")
        if worse:
            verb = "is" if len(worse) == 1 else "are"
            theirs = beaten.setdefault(f"{listed(worse)} {verb}", [])
            theirs.append(f"{words} ({of[reference]:.2g})")
    return [f"By {name}, {own} no better than {' or '.join(of)}." for own, of in beaten.items()]


def _disagreements(
    known: Mapping[str, Mapping[str, float]], higher: Mapping[str, bool], values: Values
) -> list[str]:
    """Pairs of methods that metrics put in opposite orders."""
    methods = list(dict.fromkeys(m for of in known.values() for m in of if m not in _REFERENCES))
    said = []
    for a, b in combinations(methods, 2):
        votes: dict[str, list[str]] = {a: [], b: []}
        clear: dict[str, list[str]] = {a: [], b: []}
        for name, of in known.items():
            if a not in of or b not in of or of[a] == of[b]:
                continue
            first = a if (of[a] > of[b]) == higher[name] else b
            second = b if first == a else a
            votes[first].append(name)
            if _clearly_better(values[name][first], values[name][second], higher[name]):
                clear[first].append(name)
        if votes[a] and votes[b]:
            said.append(_disagreement(a, b, votes, clear))
    return said or (
        ["The metrics agree about the order of the methods."] if len(methods) > 1 else []
    )


def _disagreement(
    a: str, b: str, votes: Mapping[str, list[str]], clear: Mapping[str, list[str]]
) -> str:
    parts = []
    for method in (a, b):
        sure = f" (clearly: {', '.join(clear[method])})" if clear[method] else " (none clearly)"
        parts.append(f"{titled(method)} is ahead by {', '.join(votes[method])}{sure}")
    return f"The metrics disagree about {titled(a)} and {titled(b)}: {parts[0]}; {parts[1]}."
