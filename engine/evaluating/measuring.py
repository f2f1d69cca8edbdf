"""All metrics of all maps of all images: what is measured when, and what is shared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import OnnxplainError
from ..explaining.explainer import Explainer
from ..metrics.intervals import interval
from ..metrics.metric import MOST_IMAGES, Metric
from ..metrics.references import EDGES, RANDOM, edge_map, random_map
from ..metrics.trial import Trial, trial_of
from ..running.stopping import check_stopped

logger = logging.getLogger("onnxplain")


@dataclass(frozen=True)
class Item:
    """One input with its maps.

    Attributes:
        name: of the image, or of the array's row.
        place: which of all inputs it is.
        feeds: the model's inputs, of one row.
        target: class [1], or an index tuple.
        maps: method -> map [1, ...].
        region: bool [H, W], where the object is; None: not told.
        baseline: what stands for missing features; None: the default.
        how: method -> what more its explainer was called with.
    """

    name: str
    place: int
    feeds: dict[str, np.ndarray]
    target: Any
    maps: dict[str, np.ndarray]
    region: np.ndarray | None
    baseline: Any
    how: dict[str, dict[str, Any]]


# Its name, the method, the places of its points, its values.
Curve = tuple[str, str, np.ndarray, np.ndarray]


@dataclass
class Measured:
    """What was measured of one input, which nobody else has seen yet.

    Attributes:
        values: of each metric and method a number, NaN where it was not measured.
        curves: what they were read off.
        waiting: for what is done once for all inputs of a method.
        unfit: metrics that do not apply, and why.
    """

    values: list[tuple[str, str, float]] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    waiting: list[tuple[str, str, Trial]] = field(default_factory=list)
    unfit: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Measurements:
    """What was measured so far, and what is still to be.

    Attributes:
        metrics: in their order.
        count: of all inputs, those that will fail among them.
        seed: of all that is drawn.
        full: measure every metric on every image.
        values: metric -> method -> a number for each input that was measured.
        curves: curve -> method -> (places, a list of values).
        left_out: metric -> why it does not apply.
    """

    metrics: Sequence[Metric]
    count: int
    seed: int
    full: bool
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    curves: dict[str, dict[str, tuple[np.ndarray, list[np.ndarray]]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        drawn = np.random.default_rng(self.seed).permutation(self.count)
        self._place = {int(image): place for place, image in enumerate(drawn)}
        # Trials that wait for what is done once for all of a method, with their row.
        self._waiting: dict[str, dict[str, list[tuple[int, Trial]]]] = {}
        self._rows = 0

    def settings_of(self, metric: Metric) -> dict[str, Any]:
        """Its defaults, with the seed where it has one of its own."""
        own = {"seed": self.seed} if "seed" in metric.settings else {}
        return {**metric.settings, **own}

    def wanted(self, metric: Metric, place: int) -> bool:
        """Whether an input is in the seeded sample of those that a metric is measured on."""
        most = MOST_IMAGES[metric.cost]
        return self.full or most is None or self._place[place] < most

    def measured(
        self,
        item: Item,
        explainers: Mapping[str, Explainer],
        progress: Callable[[float], None] = lambda done: None,
    ) -> Measured:
        """Measure one input by every metric that is not done at the end; from any thread.

        Raises:
            OnnxplainError: a metric fails.
        """
        trials = self._trials(item, explainers)
        found = Measured()
        tasks = [(metric, method) for metric in self.metrics for method in trials]
        for number, (metric, method) in enumerate(tasks):
            check_stopped()
            progress(number / len(tasks))
            trial, value = trials[method], np.nan
            reason = metric.unfit(trial)
            if reason is not None:
                found.unfit.append((metric.name, reason))
            elif self.wanted(metric, item.place):
                if metric.before is not None:
                    found.waiting.append((metric.name, method, trial))
                else:
                    value = metric.measure(trial, **self.settings_of(metric))
                    found.curves += self._curves_of(metric, method, trial)
            found.values.append((metric.name, method, value))
        return found

    def keep(self, found: Measured) -> None:
        """Add what was measured of the next input."""
        for name, reason in found.unfit:
            self.left_out.setdefault(name, reason)
        for name, method, value in found.values:
            self.values.setdefault(name, {}).setdefault(method, []).append(value)
        for name, method, trial in found.waiting:
            of = self._waiting.setdefault(name, {})
            of.setdefault(method, []).append((self._rows, trial))
        self._keep(found.curves)
        self._rows += 1

    def finish(
        self, progress: Callable[[float], None] = lambda done: None, at_once: int = 1
    ) -> None:
        """Measure what changes the model: once for all inputs of a method."""
        tasks = [(metric, m) for metric in self.metrics for m in self._waiting.get(metric.name, {})]
        # Each shares its work out by itself.
        results = (self._of_all(metric, method, at_once) for metric, method in tasks)
        for number, ((metric, method), found) in enumerate(zip(tasks, results, strict=True)):
            progress((number + 1) / len(tasks))
            if isinstance(found, str):
                self.left_out[f"{metric.name} of {method}"] = found
                continue
            rows, _ = zip(*self._waiting[metric.name][method], strict=True)
            for row, (value, curves) in zip(rows, found, strict=True):
                self.values[metric.name][method][row] = value
                self._keep(curves)
        self._waiting.clear()
        for metric in self.metrics:
            of = self.values.get(metric.name, {})
            if any(np.isfinite(values).any() for values in of.values()):
                self.left_out.pop(metric.name, None)

    def _of_all(
        self, metric: Metric, method: str, at_once: int
    ) -> list[tuple[float, list[Curve]]] | str:
        """The value and the curves of each input that waits, or why there are none."""
        check_stopped()
        _, trials = zip(*self._waiting[metric.name][method], strict=True)
        settings = self.settings_of(metric)
        assert metric.before is not None
        try:
            metric.before(trials, at_once, **settings)
            return [
                (metric.measure(trial, **settings), self._curves_of(metric, method, trial))
                for trial in trials
            ]
        except OnnxplainError as error:
            return str(error)

    def _curves_of(self, metric: Metric, method: str, trial: Trial) -> list[Curve]:
        if metric.curves is None:
            return []
        made = metric.curves(trial, **self.settings_of(metric))
        return [(name, method, places, values) for name, (places, values) in made.items()]

    def _keep(self, curves: Sequence[Curve]) -> None:
        for name, method, places, values in curves:
            of = self.curves.setdefault(name, {})
            of.setdefault(method, (places, []))[1].append(values)

    def _trials(self, item: Item, explainers: Mapping[str, Explainer]) -> dict[str, Trial]:
        """A trial for each method's map, and for those of the references."""
        shared: dict[Any, Any] = {}
        more = {"seed": self.seed + item.place, "region": item.region, "of_input": shared}
        found = {}
        for method, array in item.maps.items():
            what = explainers[method], item.feeds, array, item.target, item.baseline
            found[method] = trial_of(*what, how=item.how.get(method, {}), **more)
        found |= references(next(iter(found.values())), self.seed + item.place)
        return found

    def records(self) -> list[dict[str, Any]]:
        """For each method and metric the mean over images, with its interval."""
        records = []
        for metric in self.metrics:
            for method, values in self.values.get(metric.name, {}).items():
                known = np.array([value for value in values if np.isfinite(value)])
                if metric.name in self.left_out:
                    continue
                mean = float(known.mean()) if len(known) else None
                low, high = interval(known, self.seed) if len(known) else (None, None)
                record = {"method": method, "metric": metric.name, "mean": mean, "low": low}
                record |= {"high": high, "images": len(known)}
                record["higher_is_better"] = metric.higher_is_better
                records.append({**record, **self._told(metric)})
        return records

    def _told(self, metric: Metric) -> dict[str, Any]:
        settings = self.settings_of(metric)
        return {"seed": self.seed, **{k: v for k, v in settings.items() if v is not None}}


def references(trial: Trial, seed: int) -> dict[str, Trial]:
    """Trials of maps that know nothing of the model, for the same input.

    The random map is another one at each call; the edges follow the input, whatever the weights.
    """
    random = np.random.default_rng([seed, 4])
    shape = (1, *trial.lengths)

    def drawn(x: np.ndarray | None = None) -> np.ndarray:
        del x
        return random_map(shape, random)

    found = {RANDOM: trial.with_map(drawn(), explain=drawn, unlearnt=drawn)}
    axis = trial.channel_axis
    if trial.is_picture and axis is not None:
        edges = edge_map(trial.x, axis)
        found[EDGES] = trial.with_map(
            edges, explain=lambda x: edge_map(x, axis), unlearnt=lambda: edges
        )
    return found
