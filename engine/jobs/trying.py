"""One photo under each plausible preprocessing: which of them the model is confident of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError, OnnxplainError
from ...graph_passes.finish import DECIDED
from ...graph_passes.select.subject import Subject, select
from ...models.card import ModelCard
from ...models.labels import find_label
from ...models.own_card import PRESETS
from ..checking.checks import check_inputs
from ..explaining.scores import answering
from ..inputs import decided
from ..inputs.image import read_image
from ..inputs.pixels import model_pixels, pixels_to_tensor
from ..inputs.probes import nothings, views_of
from ..model import Model
from ..running.answers import percent, probabilities, reading_of, rows_of
from ..running.session import Session, open_session, run_small
from ..targets.boxes import Found, boxes_in
from ..targets.target import About, Answers

_NUMBERS = ("imagenet", "unit", "half", "raw")
_CUTS: tuple[dict[str, Any], ...] = (
    {"resize": "crop", "crop_fraction": 0.875},
    {"resize": "stretch"},
    {"resize": "pad", "pad_color": 114.0, "pad_position": "center"},
)
# Answers of which no probability differs by more are the same.
_SAME = 0.05
# What is far more confident: at least so much, and so much more than the other.
_SURE, _MORE = 0.5, 0.3


class Trial(NamedTuple):
    """What a model answered under one preprocessing.

    Attributes:
        card: the preprocessing.
        chances: of each class, of the photo; None: of a detector.
        boxes: what a detector found, the strongest first.
        confidence: see `Trying.of`.
        collapsed: whether the answer to pictures of nothing is the same; None: not looked at.
    """

    card: ModelCard
    chances: np.ndarray | None
    boxes: list[Found]
    confidence: float
    collapsed: bool | None = None


class Trying:
    """A model that is asked about photos under several cards.

    Raises:
        InvalidInputError: it gives neither probabilities of classes nor boxes.
    """

    def __init__(self, file: Model, card: ModelCard, subject: Subject | None = None):
        self.file = file.with_output(card.output)
        graph = self.file.graph
        self.subject = subject or decided(select(graph(), output=card.output), card)
        self.card = card
        self.about = About(self.subject, card.labels)
        self._reading = reading_of(self.subject, card)

    @cached_property
    def _session(self) -> Session:
        return open_session(answering(self.subject), "cpu")

    def of(self, photo: Any, card: ModelCard, views: Sequence[Any], label: int | None) -> Trial:
        """What the model answers under a card, and how steadily.

        confidence = the mean over the views (the photo, its mirror image, the photo without its
        rim) of the probability of the class that is best on average, or of `label`; of a detector
        the mean of the strongest box's, or of the strongest of class `label`.
        """
        if self.subject.detector is not None:
            found = [self._boxes(view, card) for view in views]
            own = [[box for box in boxes if label in (None, box.label)] for boxes in found]
            chance = np.mean([boxes[0].chance if boxes else 0.0 for boxes in own])
            return Trial(card, None, found[0], float(chance))
        rows = np.stack([self._chances(view, card) for view in views])
        mean = rows.mean(axis=0)
        return Trial(card, rows[0], [], float(mean[mean.argmax() if label is None else label]))

    def collapses(self, trial: Trial) -> bool | None:
        """Whether no class's probability differs between the photo, gray and noise; else None."""
        if trial.chances is None:
            return None
        others = [self._chances(nothing, trial.card) for nothing in nothings()]
        return all(float(np.abs(other - trial.chances).max()) < _SAME for other in others)

    def _answer(self, image: Any, card: ModelCard) -> tuple[dict[str, np.ndarray], np.ndarray]:
        x = pixels_to_tensor(model_pixels(image, card), card)
        feeds = check_inputs(self.subject, x)
        names = [*(t.name for t in self.subject.graph.outputs), DECIDED]
        return self._session.run(feeds, names), x

    def _chances(self, image: Any, card: ModelCard) -> np.ndarray:
        outputs, _ = self._answer(image, card)
        rows = rows_of(self._reading, outputs[self._reading.output])
        found = None if rows is None else probabilities(self._reading, rows)[0]
        if found is None or len(found) != 1:
            raise InvalidInputError(
                f"{self._reading.output!r} gives neither probabilities of classes nor boxes, and "
                "nothing else tells one preprocessing from another"
            )
        return np.nan_to_num(found[0])

    def _boxes(self, image: Any, card: ModelCard) -> list[Found]:
        outputs, x = self._answer(image, card)
        answers = Answers(outputs[DECIDED], outputs, x.shape[1:], run_small)
        return boxes_in(self.about, answers.of(0))


def plausible(card: ModelCard) -> Iterator[ModelCard]:
    """The card, and those that differ in how pixels become numbers, in colours and in the cut."""
    colors = ("GRAY",) if card.channels == "GRAY" else ("RGB", "BGR")
    seen = []
    others = (
        with_numbers(card, name, channels, cut)
        for cut in _CUTS
        for channels in colors
        for name in _NUMBERS
    )
    for one in (card, *others):
        if one is not None and (key := how(one)) not in seen:
            seen.append(key)
            yield one


def with_numbers(
    card: ModelCard, preset: str, channels: str | None = None, cut: dict[str, Any] | None = None
) -> ModelCard | None:
    """The card with a preset's numbers, in the order of its channels; None: they do not fit it."""
    channels = channels or card.channels
    numbers = {key: PRESETS[preset][key] for key in ("scale", "mean", "std")}
    if channels == "GRAY" and preset == "imagenet":
        return None
    if channels == "BGR":
        numbers = {k: v[::-1] if isinstance(v, tuple) else v for k, v in numbers.items()}
    cut = {} if cut is None or cut["resize"] == card.resize else cut
    try:
        return replace(card, **numbers, **cut, channels=channels)
    except InvalidInputError:
        return None


def how(card: ModelCard) -> str:
    """How a card makes numbers of pixels, in a few words."""
    numbers = [np.ravel(value) for value in (card.scale, card.mean, card.std)]
    known = (name for name in PRESETS if _is(card, name))
    name = next(known, None)
    texts = ["/".join(f"{one:.4g}" for one in values) for values in numbers]
    said = name or f"(pixel * {texts[0]} - {texts[1]}) / {texts[2]}"
    cut = {"crop": f"crop {card.crop_fraction:.3g}", "pad": f"letterbox {card.pad_position}"}
    return f"{card.channels}, {said}, {cut.get(card.resize, card.resize)}"


def _is(card: ModelCard, preset: str) -> bool:
    """Whether the numbers are a preset's."""
    other = with_numbers(card, preset) if "channels" not in PRESETS[preset] else None
    own = [np.ravel(value) for value in (card.scale, card.mean, card.std)]
    if other is None:
        return False
    their = [np.ravel(value) for value in (other.scale, other.mean, other.std)]
    return all(
        np.allclose(np.broadcast_to(a, 3), np.broadcast_to(b, 3), rtol=1e-3)
        for a, b in zip(own, their, strict=True)
    )


def tried(
    trying: Trying,
    photo: Any,
    label: int | None = None,
    tell: Callable[[str, float], None] = lambda text, done: None,
) -> list[Trial]:
    """A photo under each plausible preprocessing, the most confident first, collapsed ones last.

    Args:
        trying: the model.
        photo: as `read_image` gives it.
        label: the class that it shows; see `class_of`.
        tell: called with a text and the part of the work that is done.

    Raises:
        InvalidInputError: there is nothing to compare.
    """
    views = views_of(photo)
    cards = list(plausible(trying.card))
    found = []
    for place, card in enumerate(cards):
        tell(f"trying {how(card)}", place / len(cards))
        trial = trying.of(photo, card, views, label)
        found.append(trial._replace(collapsed=trying.collapses(trial)))
    return sorted(found, key=lambda one: (bool(one.collapsed), -one.confidence))


def class_of(trying: Trying, label: str) -> int:
    """The number of a class, by its name or its number.

    Raises:
        InvalidInputError: there is no such class.
    """
    classes = trying.subject.classes
    if label.isdecimal():
        number = int(label[:9])
        if trying.subject.detector is None and isinstance(classes, int) and number >= classes:
            raise InvalidInputError(f"label {label}: expected a class below {classes}")
        return number
    return find_label(trying.card.labels, label)


def doubts(file: Model, card: ModelCard, subject: Subject, path: str) -> list[str]:
    """What speaks against a card that nobody wrote, by one photo: a line each; cheaply.

    The photo goes through the presets once each, if the card's numbers are assumed; the best of
    them is then looked at as closely as the card's own.
    """
    try:
        trying = Trying(file, card, subject)
        photo = read_image(path)
        own = trying.of(photo, card, [photo], None)
        lines = []
        if trying.collapses(own):
            lines.append(
                f"{how(card)}: the model answers alike to {path}, to gray and to noise; check how "
                f"pixels become numbers ({_ADVICE})"
            )
        guessed = any(text.startswith("pixels ") for text in card.assumed)
        return lines + (_better(trying, photo, own, path) if guessed else [])
    except OnnxplainError:
        # What cannot be tried is told of where it is explained.
        return []


_ADVICE = "onnxplain card MODEL --try PHOTO compares"


def _better(trying: Trying, photo: Any, own: Trial, path: str) -> list[str]:
    others = [with_numbers(trying.card, name) for name in _NUMBERS]
    cards = [one for one in others if one is not None and how(one) != how(trying.card)]
    once = [trying.of(photo, one, [photo], None) for one in cards]
    for one in sorted(once, key=lambda one: -one.confidence):
        if not is_far_better(one, own):
            break
        if trying.collapses(one):
            continue
        views = views_of(photo)
        closer, mine = (trying.of(photo, each.card, views, None) for each in (one, own))
        if is_far_better(closer, mine):
            return [
                f"{how(closer.card)} makes the model far more confident of {path} than what is "
                f"assumed: {percent(closer.confidence)} instead of {percent(mine.confidence)} "
                f"({_ADVICE})"
            ]
    return []


def is_far_better(one: Trial, other: Trial) -> bool:
    """Whether a trial is sure, and by far more than another."""
    return one.confidence >= max(_SURE, other.confidence + _MORE)
