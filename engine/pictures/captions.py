"""What is written beside a picture: class, score, and how exactly a method sums."""

from __future__ import annotations

from typing import Any

from ...graph_passes.methods import find_method
from ..running.settings import DOUBTFUL
from .lettering import drawable

# A space at which no line is broken.
_HELD = "\N{NO-BREAK SPACE}"


def target_name(record: dict[str, Any]) -> str:
    """The target in words: its label, or its index."""
    target = record["target"]
    if isinstance(target["index"], list):
        return f"{target['output']}{target['index']}"
    return target["label"] or f"class {target['index']}"


def drawn_target(record: dict[str, Any]) -> str:
    """The target in words that a picture can show: its index where no font has its label."""
    name = target_name(record)
    return name if drawable(name) else f"class {record['target']['index']}"


def drawn_score(record: dict[str, Any]) -> str:
    """The score, and where it is known the probability, as they stand behind a picture's title."""
    texts = score_texts(record, ".2f")
    return " ".join(f"· {text}".replace(" ", _HELD) for text in texts)


def score_texts(record: dict[str, Any], form: str) -> list[str]:
    """The score in words, and where it is known the probability."""
    texts = [f"score {number_text(record['score'], form)}"]
    if record.get("probability") is not None:
        texts.append(f"probability {record['probability']:.3g}")
    return texts


def subtitle_of(record: dict[str, Any], empty: bool = False) -> str:
    """The method and how exactly it sums, as a picture's subtitle says them.

    Args:
        record: of results.json.
        empty: whether the attribution is 0 everywhere.
    """
    return " · ".join([find_method(record["method"]).title, *exactness(record, empty)])


def exactness(record: dict[str, Any], empty: bool = False) -> list[str]:
    """What there is to say of how a map was made and how exactly it sums; as `subtitle_of`."""
    method = find_method(record["method"])
    parts = []
    if empty:
        parts.append("empty map: nothing speaks for this class")
    if record["feature_map"] is not None:
        parts.append(f"feature map {record['feature_map']}")
    if record.get("damage"):
        parts.append(record["damage"])
    if record.get("doubt"):
        parts.append(record["doubt"])
    if record["steps"] is not None:
        parts.append(f"{record['steps']} steps")
    if method.takes("baseline") and method.sums_to is not None:
        parts.append(f"baseline score {number_text(record['baseline_score'], '.2f')}")
    exact = delta_text(record)
    return [*parts, exact] if exact else parts


def delta_text(record: dict[str, Any]) -> str:
    """Delta, and in percent of what was to be explained, where the method owes a sum.

    Where the map's error is known: "complete to 0.9 %, map good to 8 %".
    """
    method = find_method(record["method"])
    error = record.get("map_error")
    good = "" if error is None else f"map good to {100 * error:.2g} %"
    if method.sums_to is None:
        return good
    relative = record["relative_delta"]
    percent = "" if relative is None else f" ({100 * relative:.2g} %)"
    much = method.owes and relative is not None and relative > DOUBTFUL
    if good and relative is not None and not much:
        return f"complete to {100 * relative:.2g} %, {good}"
    delta = f"delta {number_text(record['delta'], '.2g')}{percent}"
    return ", ".join([delta, *(["much is missing"] if much else []), *([good] if good else [])])


def number_text(value: float | None, form: str) -> str:
    """The number as a text; JSON's stand-in for NaN and infinity is said in words."""
    return "not finite" if value is None else format(value, form)
