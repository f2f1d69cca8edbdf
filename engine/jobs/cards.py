"""A model's card: each fact with its source, and a photo under each plausible preprocessing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.select.subject import Subject
from ...models.card import ModelCard, card_to_json, locate_card, read_card
from ...models.plain_card import Card
from ...models.sources.gathering import ASSUMED
from ...models.text import counted
from ..checking.assumed import tell_assumed
from ..files.writing import write_whole
from ..inputs.image import read_image, to_photo
from ..inputs.stdin import STDIN
from ..inspection import known_card
from ..model import Model, opened
from ..running.answers import percent
from ..targets.boxes import CONFIDENCE
from .asked import Options, card_for
from .sources import Found
from .trying import Trial, Trying, class_of, doubts, how, is_far_better, tried

Tell = Callable[[str, float], None]
# So many classes or boxes of a trial are shown.
_SHOWN = 3
_NAMES = 4


class Shown(NamedTuple):
    """What is known of a model, for people and for programs.

    Attributes:
        rows: names and texts.
        record: the same as JSON.
        card: what was found or asked for; None: nothing is known.
    """

    rows: list[tuple[str, str]]
    record: dict[str, Any]
    card: Card | None


def card_of_model(
    model: str | os.PathLike[str],
    options: Options,
    photo: str | None = None,
    label: str | None = None,
    tell: Tell = lambda text, done: None,
) -> Shown:
    """A model's card with the source of each fact; with a photo, what it answers under others.

    Args:
        model: its path.
        options: a card, a preset, facts and labels stand in place of what is found.
        photo: path of a photo, or None.
        label: the class that the photo shows, by name or number: then its probability counts.
        tell: called with a text and the part of the work that is done.

    Raises:
        UnsupportedModelError: the model cannot be read.
        InvalidInputError: a wrong card, fact or label, no such photo, or nothing to compare.
    """
    tell("reading the model", 0.0)
    file = opened(model, options.shapes)
    sources, reason = _sources(file, options)
    card = card_for(file, options)
    given = [key for key, value in options.facts.items() if value is not None]
    sources |= dict.fromkeys(("scale", "mean", "std") if options.preset else (), "--preset")
    sources |= {key: f"--{key}" for key in given}
    sources |= {"labels": "--labels"} if options.labels is not None else {}
    facts = json.loads(card_to_json(card)) if sources else {}
    if facts.get("resize") != "crop":
        facts.pop("crop_fraction", None)
    rows = [(key, f"{_text(key, value)}  ({_from(key, sources)})") for key, value in facts.items()]
    record: dict[str, Any] = {
        "facts": {k: {"value": v, "from": _from(k, sources)} for k, v in facts.items()},
        "assumed": list(card.assumed),
    }
    if not rows:
        rows = [("card", f"none: {reason or 'nothing is known of the model'}")]
    if photo is not None:
        if not isinstance(card, ModelCard):
            raise InvalidInputError(f"--try: for images, but {reason or 'the model takes arrays'}")
        trying, image = Trying(file, card), read_image(photo)
        wanted = None if label is None else class_of(trying, label)
        trials = tried(trying, image, wanted, tell)
        own = next(one for one in trials if one.card is card)
        rows += [("", ""), *_trial_rows(trials, own, image.size, wanted)]
        record["tried"] = [_trial_record(one, own, image.size, wanted) for one in trials]
        record["notes"] = conclusions(trials, own)
        rows += [("note", note) for note in record["notes"]]
    return Shown(rows, record, card if sources else None)


def _sources(file: Model, options: Options) -> tuple[dict[str, str], str | None]:
    """Where each fact comes from, and why nothing is assumed of the input."""
    card = options.card
    if card is not None and not isinstance(card, Card):
        card = read_card(card)
    known = known_card(file, None if card is None else (card, "--card"))
    return dict(known.sources), known.reason


def _from(key: str, sources: Mapping[str, str]) -> str:
    return sources.get(key, sources.get("scale", ASSUMED) if key in ("mean", "std") else ASSUMED)


def _text(key: str, value: Any) -> str:
    if key == "labels":
        names = ", ".join(map(str, value[:_NAMES]))
        more = ", ..." if len(value) > _NAMES else ""
        return f"{counted(len(value), 'label')}: {names}{more}"
    if key == "size":
        return f"{value[0]} x {value[1]} (height x width)"
    values = value if isinstance(value, list) else [value]
    texts = [f"{one:.6g}" if isinstance(one, int | float) else str(one) for one in values]
    return ", ".join(texts)


def write_card(card: Card | None, path: str) -> None:
    """Write a card as JSON.

    Raises:
        InvalidInputError: there is none.
        OSError: it cannot be written.
    """
    if card is None:
        raise InvalidInputError("nothing is known of the model: there is no card to write")
    write_whole(path, lambda file: file.write(card_to_json(card).encode()))


def conclusions(trials: Sequence[Trial], own: Trial) -> list[str]:
    """What speaks against the card that the model has."""
    lines = []
    if own.collapsed:
        lines.append(
            "under the card the model answers alike to the photo, to gray and to noise: the card "
            "is wrong, whatever it was taken from, or the model knows nothing of such photos"
        )
    best = trials[0]
    if best is not own and not best.collapsed and (own.collapsed or is_far_better(best, own)):
        lines.append(f"far more confident than under the card: {how(best.card)}")
    return lines


def _trial_rows(
    trials: Sequence[Trial], own: Trial, size: tuple[int, int], wanted: int | None
) -> list[tuple[str, str]]:
    rows = []
    for one in trials:
        found = [_answer_text(answer) for answer in _answers(one, size)]
        if one.chances is None:
            strong = [box for box in one.boxes if box.chance >= CONFIDENCE]
            found = found[: len(strong)] or [f"no box above {percent(CONFIDENCE)}"]
        if wanted is not None:
            found.insert(0, f"the label {percent(one.confidence)}")
        if one.collapsed:
            found.append("alike for gray and noise")
        mark = " (the card)" if one is own else ""
        rows.append((how(one.card) + mark, ", ".join(found)))
    return rows


def _answer_text(answer: Mapping[str, Any]) -> str:
    said = f"{percent(answer['probability'])} {answer['label']}"
    return said + (f" at {', '.join(f'{x:.0f}' for x in answer['box'])}" if "box" in answer else "")


def _answers(one: Trial, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The best classes or boxes, boxes in the photo's pixels."""
    names = one.card.labels or ()

    def name(number: int) -> str:
        return names[number] if 0 <= number < len(names) else f"class {number}"

    if one.chances is None:
        return [
            {
                **{"class": box.label, "label": name(box.label), "probability": box.chance},
                "box": list(to_photo(box.corners, one.card, size)),
            }
            for box in one.boxes[:_SHOWN]
        ]
    best = np.argsort(-one.chances, kind="stable")[:_SHOWN]
    return [
        {"class": int(k), "label": name(int(k)), "probability": float(one.chances[k])} for k in best
    ]


def _trial_record(
    one: Trial, own: Trial, size: tuple[int, int], wanted: int | None
) -> dict[str, Any]:
    content = json.loads(card_to_json(one.card))
    keys = ("resize", "crop_fraction", "pad_color", "pad_position", "channels")
    said = {key: content[key] for key in (*keys, "scale", "mean", "std") if key in content}
    more = {} if wanted is None else {"label": wanted}
    return {
        **{"preprocessing": said, "is_the_card": one is own, "confidence": one.confidence, **more},
        **{"collapsed": one.collapsed, "answers": _answers(one, size)},
    }


def tell_of_doubts(
    file: Model, card: Card, subject: Subject, options: Options, files: Sequence[Found]
) -> None:
    """Say what the first photo tells against a card that nobody wrote."""
    given = options.card is not None or options.preset is not None
    first = next((one.path for one in files if one.problem is None), None)
    if given or first is None or first == STDIN or not isinstance(card, ModelCard):
        return
    if locate_card(file.proto, file.path) is None:
        for line in doubts(file, card, subject, first):
            tell_assumed(line)
