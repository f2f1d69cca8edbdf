"""Randomised weights: whether a map depends on what the model has learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from scipy import stats

from ... import OnnxplainError, UnsupportedModelError
from ...graph_passes.graph.operators import Fact, has
from ...graph_passes.methods import find_method
from ..explaining.explainer import Explainer
from ..running.workers import side_by_side
from .metric import Metric
from .trial import Trial, quiet, trials_of, whole_number

LEVELS = 3
# Points of a path in a changed model.
POINTS = 20
# Operators whose constants are no weights but sizes, limits and places.
_NOT_LAYERS = {"Resize", "Upsample", "Pad", "Clip", "Slice", "Range", "Expand", "Tile", "Where"}
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
_STORED = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def randomised_weights(
    explainer: Explainer,
    x: Any,
    explanation: Any,
    *,
    target: Any = None,
    levels: int = LEVELS,
    absolute: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Mean rank correlation of a map with those of the model with shuffled weights.

    Lower is better: a map that stays does not show what was learnt. The cascading parameter
    randomisation of Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity Checks for Saliency
    Maps", NeurIPS 2018, section 3: the weights of the layers nearest to the output are drawn anew
    first, then more of them, until all are. What is drawn is each tensor's own numbers in another
    order, since the distribution that training began with is not in the file, and normalisations
    need their variances positive. The similarity is Spearman's correlation of the features'
    relevance, absolute unless asked otherwise; that of a constant map is 0. Methods that choose
    points along a path by a tolerance take 20 fixed ones in the changed models.

    Args:
        explainer: explains, for the same target, the changed models.
        x: array [N, ...] as the model takes it, or {input name: array}.
        explanation: of it by this explainer; an Explanation, or an array.
        target: of plain arrays: a class, N classes or an index tuple; None: the top class.
        levels: how many steps the cascade has; the last changes every layer.
        absolute: compare |R|.
        seed: of the shuffling.

    Returns:
        float64 [N].

    Raises:
        InvalidInputError: a map of another shape, or a wrong setting.
        OnnxplainError: a changed model cannot be explained.
    """
    whole_number("levels", levels)
    settings = {"levels": levels, "absolute": absolute, "seed": seed}
    trials = trials_of(explainer, x, explanation, target=target, seed=seed)
    _before(trials, 1, **settings)
    return np.array([_measure(trial, **settings) for trial in trials], np.float64)


def shuffled(model: onnx.ModelProto, part: float, seed: int) -> onnx.ModelProto:
    """The model with the weights of the last `part` of its layers in a random order.

    A layer is a node of the main graph that reads weights: float tensors of more than one number,
    and 8-bit ones behind a DequantizeLinear or in an operator of quantised numbers. Each tensor's
    order depends on the seed and on its place among the weights alone.

    Raises:
        UnsupportedModelError: there are none.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    held = {t.name: t for t in changed.graph.initializer}
    for node in changed.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            held[node.output[0]] = node.attribute[0].t
    layers = weights_by_layer(changed, held)
    if not layers:
        raise UnsupportedModelError("no weights were found in the model's main graph")
    first = len(layers) - round(part * len(layers))
    numbers = {name: k for k, name in enumerate(n for layer in layers for n in layer)}
    for name in (n for layer in layers[first:] for n in layer):
        tensor = held[name]
        values = numpy_helper.to_array(tensor)
        random = np.random.default_rng([seed, numbers[name]])
        again = random.permutation(values.reshape(-1)).reshape(values.shape)
        tensor.CopyFrom(numpy_helper.from_array(again, tensor.name))
    return changed


def weights_by_layer(model: onnx.ModelProto, held: dict[str, onnx.TensorProto]) -> list[list[str]]:
    """The weights of each layer by name, layers in the order of the graph; each weight once."""
    origin = {name: name for name, tensor in held.items() if _may_be_weight(tensor)}
    seen: set[str] = set()
    layers = []
    for node in model.graph.node:
        sources = [origin[name] for name in node.input if name in origin]
        first = next(iter(node.input), "")
        handed_on = has(node.op_type, Fact.COPIES | Fact.PERMUTES)
        if (handed_on or node.op_type == "DequantizeLinear") and first in origin:
            origin[node.output[0]] = origin[first]
            continue
        if node.op_type in (*_NOT_LAYERS, "QuantizeLinear", "Constant"):
            continue
        own = [name for name in dict.fromkeys(sources) if name not in seen]
        seen.update(own)
        if own:
            layers.append(own)
    return layers


def _may_be_weight(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type in (*_FLOATS, *_STORED) and int(np.prod(tensor.dims)) > 1


def similarity(a: np.ndarray, b: np.ndarray, absolute: bool) -> float:
    """Spearman's correlation of two maps' features, 0 where one of them is constant."""
    a, b = (np.abs(a), np.abs(b)) if absolute else (a, b)
    if not np.ptp(a) or not np.ptp(b):
        return 0.0
    return float(np.asarray(stats.spearmanr(a, b))[0])


def _before(trials: Sequence[Trial], at_once: int, levels: int, absolute: bool, seed: int) -> None:
    """The similarities at each level of maps by one explainer, which is changed once for all."""
    if not trials:
        return

    def at_level(level: int) -> list[float]:
        maps = _maps_at(trials, (level + 1) / levels, seed)
        pairs = zip(trials, maps, strict=True)
        return [similarity(trial.relevance, changed, absolute) for trial, changed in pairs]

    # What draws its maps does so in one order.
    at_once = 1 if trials[0].unlearnt is not None else at_once
    jobs = [partial(at_level, level) for level in range(levels)]
    found = np.array([*side_by_side(jobs, at_once)]).reshape(levels, len(trials)).T
    for row, trial in enumerate(trials):
        trial.of_map[_key(levels, absolute, seed)] = found[row]


def _maps_at(trials: Sequence[Trial], part: float, seed: int) -> Iterator[np.ndarray]:
    """Each trial's relevance by the model with this part of its layers shuffled."""
    other = None
    for trial in trials:
        if trial.unlearnt is not None:
            yield trial.with_map(trial.unlearnt()).relevance
            continue
        try:
            if other is None:
                change = partial(shuffled, part=part, seed=seed)
                other = trial.explainer.changed(change, **_cheaper(trial.explainer))
            with quiet():
                found = other(trial.feeds, trial.target, **trial.how)
        except OnnxplainError as error:
            raise OnnxplainError(f"with its weights shuffled, {error}") from error
        yield trial.with_map(np.asarray(found.attribution, np.float64)).relevance


def _cheaper(explainer: Explainer) -> dict[str, Any]:
    """What makes a method cheaper without another map: a fixed rule instead of adaptive points.

    A shuffled network bends wherever one looks: EfficientNet-Lite0's took Integrated Gradients all
    of its 200 passes to miss 13 and 21 % on two photos. This metric took 108 s for two images and
    three methods so, and 52 s for three images by the fixed rule, on 2 busy cores.
    """
    method = find_method(explainer.method)
    return (
        {"tolerance": None, "map_tolerance": None, "steps": POINTS, "quadrature": None}
        if method.takes("tolerance")
        else {}
    )


def _key(levels: int, absolute: bool, seed: int) -> tuple[Any, ...]:
    return "similarities", levels, absolute, seed


def _similarities(trial: Trial, levels: int, absolute: bool, seed: int) -> np.ndarray:
    """The similarity at each level, [levels]."""
    key = _key(levels, absolute, seed)
    if key not in trial.of_map:
        _before([trial], 1, levels, absolute, seed)
    return trial.of_map[key]


def _measure(trial: Trial, levels: int, absolute: bool, seed: int) -> float:
    return float(np.mean(_similarities(trial, levels, absolute, seed)))


def _curves(
    trial: Trial, levels: int, absolute: bool, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    places = np.arange(levels + 1) / levels
    values = np.concatenate([[1.0], _similarities(trial, levels, absolute, seed)])
    return {"randomised weights": (places, values)}


METRIC = Metric(
    name="randomised-weights",
    title="Randomised weights",
    cite="Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018",
    summary="Rank correlation of the map with those of the model with its weights shuffled.",
    measure=_measure,
    function=randomised_weights,
    settings={"levels": LEVELS, "absolute": True, "seed": 0},
    higher_is_better=False,
    faithful=False,
    cost="highest",
    before=_before,
    curves=_curves,
)
