"""One map of one input that is put to the test, and what all tests of it share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ... import InvalidInputError
from ...graph_passes.select.features import Features, with_channels
from ...models.text import counted
from ..checking.checks import broadcasts, check_inputs
from ..explaining.baselines import black_of
from ..explaining.explainer import Explainer
from ..explaining.scores import Scores
from ..explanation.explanation import Explanation
from ..targets.target import asked_of_all

T = TypeVar("T")
VALUES = ("probability", "score")


@dataclass(eq=False)
class Trial:
    """One input, one map of it, and the explainer whose score both are about.

    A *feature* is what is taken away at once: a location with all of its channels where the input
    has a channel axis, else an element. Its relevance is the map's number there, or the signed sum
    over channels.

    Attributes:
        explainer: scores inputs, and explains others.
        feeds: the model's inputs by name, of one row.
        name: of the explained input.
        target: the explained class [1], or an index tuple.
        attribution: the map, [1, ...], float64.
        features: where channels and positions lie in the input.
        baseline: what stands for a missing feature; broadcasts to the input.
        seed: of all that is drawn.
        region: where the object is, bool in `lengths`; None: not told.
        how: what more the explainer is called with.
        explain: (x [1, ...]) -> the map of another input; None: by the explainer.
        unlearnt: () -> the map of this input whatever the model's weights; None: by an explainer.
        of_input: what is known of the input whatever the map; shared by all maps of an input.
        of_map: what is known of this map.
    """

    explainer: Explainer
    feeds: dict[str, np.ndarray]
    name: str
    target: Any
    attribution: np.ndarray
    features: Features
    baseline: np.ndarray
    seed: int = 0
    region: np.ndarray | None = None
    how: dict[str, Any] = field(default_factory=dict)
    explain: Callable[[np.ndarray], np.ndarray] | None = None
    unlearnt: Callable[[], np.ndarray] | None = None
    of_input: dict[Hashable, Any] = field(default_factory=dict)
    of_map: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def x(self) -> np.ndarray:
        """The explained input, [1, ...]."""
        return self.feeds[self.name]

    @property
    def channel_axis(self) -> int | None:
        """Of the input; None where a feature is an element."""
        return self.features.channel_axis

    @property
    def lengths(self) -> tuple[int, ...]:
        """How the features lie: [H, W] of a picture, else the input's axes behind the batch."""
        return self.features.lengths(self.x.shape)

    @property
    def count(self) -> int:
        """How many features there are."""
        return int(np.prod(self.lengths))

    @property
    def is_picture(self) -> bool:
        """Whether the input has channels and two spatial axes."""
        return self.features.is_picture

    @property
    def relevance(self) -> np.ndarray:
        """One number for each feature, float64 [features]."""
        found = self.attribution
        if found.ndim == self.x.ndim and self.channel_axis is not None:
            found = found.sum(axis=self.channel_axis)
        return found.reshape(-1)

    def order(self) -> np.ndarray:
        """The features, most relevant first; what is equally relevant in a seeded random order."""
        shuffled = self.once_of_input(
            ("shuffled", self.seed),
            lambda: np.random.default_rng(self.seed).permutation(self.count),
        )
        relevance = self.relevance[shuffled]
        return shuffled[np.argsort(-relevance, kind="stable")]

    def replaced(self, features: np.ndarray, source: ArrayLike, into: ArrayLike) -> np.ndarray:
        """Inputs [K, ...] that are `into` at some features and `source` elsewhere.

        Args:
            features: bool [K, features].
            source: an array that broadcasts to the input.
            into: another one.
        """
        places = features.reshape(-1, *self.lengths)
        if self.channel_axis is not None:
            places = np.expand_dims(places, self.channel_axis)
        kind = self.x.dtype
        return np.where(places, np.asarray(into, kind), np.asarray(source, kind))

    def scores(self, inputs: np.ndarray) -> Scores:
        """What is explained, of inputs [K, ...]."""
        target = self.target
        if not isinstance(target, tuple):
            target = np.repeat(target, len(inputs))
        return self.explainer.scores(self._fed(inputs), target)

    def top_classes(self, inputs: np.ndarray) -> np.ndarray:
        """The top class of each of inputs [K, ...], int64 [K]."""
        return self.explainer.scores(self._fed(inputs)).target

    def _fed(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs [K, ...] with the model's other inputs, whose one row is repeated."""
        count = len(inputs)
        others = {k: v for k, v in self.feeds.items() if k != self.name}
        others = {
            k: np.repeat(v, count, axis=0) if v.ndim and len(v) == 1 else v
            for k, v in others.items()
        }
        return {**others, self.name: inputs}

    def values(self, inputs: np.ndarray, value: str) -> np.ndarray:
        """Probability or score of inputs [K, ...]; the score where there is no probability.

        Raises:
            InvalidInputError: `value` is neither.
        """
        if value not in VALUES:
            raise InvalidInputError(f"value must be {' or '.join(VALUES)}; got {value!r}")
        found = self.scores(inputs)
        chance = found.probability if value == "probability" else None
        return found.score if chance is None else chance

    def explained(self, x: np.ndarray) -> np.ndarray:
        """The map of another input [1, ...], as this one's was made."""
        if self.explain is not None:
            return np.asarray(self.explain(x), np.float64)
        found = self.explainer(self.feeds | {self.name: x}, self.target, **self.how)
        return np.asarray(found.attribution, np.float64)

    def with_map(self, attribution: np.ndarray, **more: Any) -> Trial:
        """Another map of the same input; `more`: further attributes."""
        return replace(self, attribution=attribution, of_map={}, **more)

    def once_of_input(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for another map of this input, or is made now."""
        if key not in self.of_input:
            self.of_input[key] = make()
        return self.of_input[key]

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What another metric made of this map, or is made now."""
        if key not in self.of_map:
            self.of_map[key] = make()
        return self.of_map[key]


def features_of(features: Features, shape: tuple[int, ...], of_map: tuple[int, ...]) -> Features:
    """The explained input's features, where a map that has no channels may say which axis they are.

    Args:
        features: as the explainer has them.
        shape: of the input.
        of_map: of the map.

    Raises:
        InvalidInputError: several axes may be those that the map lacks.
    """
    if features.channel_axis is not None or len(of_map) != len(shape) - 1:
        return features
    lacking = [
        axis for axis in range(1, len(shape)) if (*shape[:axis], *shape[axis + 1 :]) == of_map
    ]
    if len(lacking) > 1:
        which = " or ".join(map(str, lacking))
        raise InvalidInputError(
            f"explanation: the map {list(of_map)} may lack axis {which} of the input "
            f"{list(shape)}; say which holds the channels: "
            "card={'kind': 'array', 'channel_axis': N}"
        )
    return with_channels(len(shape), lacking[0]) if lacking else features


def trial_of(
    explainer: Explainer,
    x: Any,
    attribution: Any,
    target: Any,
    baseline: Any = None,
    **more: Any,
) -> Trial:
    """The trial of one row.

    Args:
        explainer: whose score it is about.
        x: array [1, ...], or {input name: array}.
        attribution: array [1, ...] of the input's shape, or without its channels.
        target: class [1] or index tuple.
        baseline: broadcasts to the input; None: the card's black for pictures, else zeros.
        more: further attributes of `Trial`.

    Raises:
        InvalidInputError: several inputs are explained, or a map of another shape, or NaN.
    """
    subject = explainer.subject
    if len(subject.sources) > 1 or isinstance(attribution, Mapping):
        raise InvalidInputError("metrics take explanations of one input, not of several")
    name = subject.input.name
    feeds = check_inputs(subject, x)
    array = np.asarray(attribution, np.float64)
    shape = feeds[name].shape
    features = features_of(explainer.into.features, shape, array.shape)
    axis = features.channel_axis
    less = shape if axis is None else (*shape[:axis], *shape[axis + 1 :])
    if array.shape not in (shape, less):
        wanted = " or ".join(str(list(s)) for s in dict.fromkeys((shape, less)))
        raise InvalidInputError(f"explanation: expected a map of {wanted}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InvalidInputError("explanation: expected finite numbers, got NaN or infinity")
    if baseline is None:
        black = black_of(explainer.card) if features.is_picture else None
        baseline = 0.0 if black is None else black
    base = np.asarray(baseline, np.float64)
    if not broadcasts(base.shape, shape):
        raise InvalidInputError(
            f"baseline of shape {list(base.shape)} does not broadcast to {list(shape)}"
        )
    return Trial(explainer, feeds, name, target, array, features, base, **more)


def over_rows(
    measure: Callable[..., float],
    explainer: Explainer,
    x: Any,
    explanation: Any,
    settings: Mapping[str, Any],
    **how: Any,
) -> np.ndarray:
    """A metric of each of N maps, float64 [N]: `measure(trial, settings)`; else as `trials_of`."""
    trials = trials_of(explainer, x, explanation, **how)
    return np.array([measure(trial, **settings) for trial in trials], np.float64)


def trials_of(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    seed: int = 0,
    regions: Any = None,
    explain: Callable[[Any], Any] | None = None,
) -> list[Trial]:
    """A trial of each of N maps.

    Args:
        explainer: whose score it is about.
        x: array [N, ...], or {input name: array}.
        explanation: an Explanation or an array of N maps.
        target: of plain arrays; None: each input's top class.
        baseline: see `trial_of`.
        seed: of all that is drawn; each row has numbers of its own.
        regions: bool [N, H, W], or one for all.
        explain: (x [1, ...]) -> map; for plain arrays, where a metric explains other inputs.

    Raises:
        InvalidInputError: what was handed in does not fit.
    """
    whole = isinstance(explanation, Explanation)
    maps = explanation.attribution if whole else explanation
    if isinstance(maps, Mapping):
        raise InvalidInputError("metrics take explanations of one input, not of several")
    maps, feeds = np.asarray(maps), check_inputs(explainer.subject, x)
    count = len(feeds[explainer.subject.input.name])
    if maps.ndim < 1 or len(maps) != count:
        raise InvalidInputError(
            f"explanation: expected {counted(count, 'map')}, got {list(maps.shape)}"
        )
    targets = explanation.targets if whole else explainer.scores(feeds, target).targets
    target = asked_of_all(targets)
    if regions is not None:
        regions = np.asarray(regions)
        regions = np.broadcast_to(regions, (count, *regions.shape[-2:]))
    found = []
    for row in range(count):
        own = {k: v[row : row + 1] if v.shape[:1] == (count,) else v for k, v in feeds.items()}
        more = {"seed": seed + row, "explain": explain if whole or explain else _unknown}
        more["region"] = None if regions is None else regions[row]
        asked = target if isinstance(target, tuple) else target[row : row + 1]
        found.append(trial_of(explainer, own, maps[row : row + 1], asked, baseline, **more))
    return found


_silent: ContextVar[bool] = ContextVar("silent", default=False)
logging.getLogger("onnxplain").addFilter(lambda record: not _silent.get())


@contextmanager
def quiet() -> Iterator[None]:
    """Leave warnings of what is explained for a metric's sake alone unsaid, in this thread."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)


def _unknown(x: np.ndarray) -> np.ndarray:
    del x
    raise InvalidInputError(
        "this metric explains other inputs, too: of a plain array it must be told how "
        "(explain=: of an input [1, ...] its map)"
    )


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """A setting that counts something.

    Raises:
        InvalidInputError: no whole number, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidInputError(
            f"{name}: expected a whole number of at least {least}, got {value!r}"
        )
    return int(value)
