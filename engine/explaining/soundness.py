"""Built-in checks: what is checked while it runs, so that no wrong number passes silently."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from ... import OnnxplainError, UnsupportedModelError
from ...graph_passes.graph.names import baseline_twin_of, is_own, rule_of
from ...graph_passes.methods import find_method
from ...graph_passes.select.subject import Subject
from ...models.text import counted
from ..explanation.explanation import Explanation
from ..running.plan import Plan
from ..running.session import Session
from ..running.settings import DOUBTFUL
from .other_baselines import other_baselines

logger = logging.getLogger("onnxplain")
# What float32 leaves over of sums of this size is no miss.
NOISE = 1e-5
# How far the explaining graph's outputs may be from the file's own, by what the file computes in.
_CLOSE = {"float": 1e-3, "half": 3e-2, "quantised": 6e-2}


class Verification(NamedTuple):
    """What `Explainer.verify` compared, and how close it was.

    Attributes:
        outputs: the largest difference of the explaining graph's outputs from the file's own, as a
            part of the largest number in that output. Of an output that rounding alone moves by
            more than the tolerance (tiny values of a Sigmoid, say) what rounding does not explain.
        gradient: the error of the score's gradient against differences along itself, relative; None
            where that cannot be measured (token ids, quantisers, a gradient of 0).
        delta: |delta| / |score - baseline score|; None for methods that owe no sum.
    """

    outputs: float
    gradient: float | None
    delta: float | None


def tolerance_of(precision: str) -> float:
    """How far outputs may be from the file's own, as a part of their largest number."""
    return _CLOSE[precision]


def outputs_error(
    found: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    precision: str,
    doubt: Callable[[str, np.ndarray, np.ndarray], float] | None = None,
) -> float:
    """The largest difference of outputs, relative to each one's largest number.

    Args:
        found: by the explaining graph.
        expected: the file's own.
        precision: from `model.precision_of`.
        doubt: a second look at an output that differs by more than the tolerance: what of that
            rounding does not explain; see `conditioning`.

    Raises:
        UnsupportedModelError: more than rounding.
    """
    worst, name = 0.0, ""
    for key, right in expected.items():
        if not isinstance(right, np.ndarray) or right.dtype.kind not in "fiu" or not right.size:
            continue
        error = _difference(np.asarray(found[key]), right)
        if error > _CLOSE[precision] and doubt is not None:
            beyond = doubt(key, np.asarray(found[key]), right)
            error = beyond if beyond <= _CLOSE[precision] else error
        if error > worst:
            worst, name = error, key
    if worst > _CLOSE[precision]:
        raise UnsupportedModelError(
            f"the explaining graph's output {name!r} differs from the file's own by {worst:.2g} of "
            "its largest number, so its explanations cannot be trusted: this is a mistake of "
            "onnxplain, please report it with the model"
        )
    return worst


def _difference(found: np.ndarray, right: np.ndarray) -> float:
    if found.shape != right.shape:
        return np.inf
    if right.dtype.kind != "f":
        return float((found != right).mean() > 0.01)
    same = (found == right) | (np.isnan(found) & np.isnan(right))
    finite = np.isfinite(right)
    if (~same & ~finite).any():
        return np.inf
    if same.all():
        return 0.0
    wide = np.abs(np.where(same, 0, found.astype(np.float64) - right.astype(np.float64)))
    size = np.abs(right[finite].astype(np.float64)).max(initial=0)
    return float(np.nanmax(wide) / max(size, 1e-6))


# A path of which so much is missing after so many passes jumps.
_MOST_OF_IT, _MANY_STEPS = 0.5, 100


def warn_of_misses(subject: Subject, e: Explanation, options: Mapping[str, Any]) -> None:
    """A line for each thing that an explanation falls short of."""
    warn_of_delta(e, options.get("tolerance"))
    warn_of_map_error(e, options.get("map_tolerance"))
    warn_of_empty_maps(e)
    warn_of_nothing_predicted(subject, e)


def warn_of_map_error(e: Explanation, tolerance: float | None) -> None:
    """One line where the map's estimated error is above what was asked for."""
    if tolerance is None or e.map_error is None:
        return
    worst = float(e.map_error.max())
    if worst > tolerance:
        logger.warning(
            f"{find_method(e.method).title}: {_passes_leave(e)} the map an estimated "
            f"error of {worst:.2%}, more than the map tolerance of {tolerance:.2%}; take more steps"
        )


def warn_of_delta(e: Explanation, tolerance: float | None) -> None:
    """One line where the attributions' sum misses the score's difference by much."""
    limit = DOUBTFUL if tolerance is None else tolerance
    method, relative = find_method(e.method), missed(e, limit)
    if relative is None or not method.owes:
        return
    if e.steps is None:
        logger.warning(
            f"{e.method}: the attributions' sum misses {relative:.2%} of the score's difference"
        )
        return
    what = f"{limit:.2%}" if tolerance is None else f"the tolerance of {limit:.2%}"
    logger.warning(
        f"{method.title}: {_passes_leave(e)} {relative:.2%} of the score's "
        f"difference, more than {what}; {_what_helps(e, relative)}"
    )


def _what_helps(e: Explanation, missed: float) -> str:
    """More steps, or, where so many found hardly any of the change, another baseline.

    Then the score jumps, mostly right beside the baseline: a network without biases that divides by
    a deviation answers to 0.0001 of a photo on black as to all of it.
    """
    if missed < _MOST_OF_IT or (e.steps or 0) < _MANY_STEPS:
        return "take more steps"
    return (
        "the score jumps where no step can be, as a rule right beside the baseline: take another "
        "baseline (--baseline blur, in Python baseline=)"
    )


def _passes_leave(e: Explanation) -> str:
    return f"{counted(e.steps or 0, 'gradient pass')} {'leaves' if e.steps == 1 else 'leave'}"


def missed(e: Explanation, tolerance: float) -> float | None:
    """The largest relative delta above the tolerance and above rounding, if there is one."""
    delta, relative = e.delta, e.relative_delta
    if delta is None or relative is None:
        return None
    parts = e.attribution.values() if isinstance(e.attribution, dict) else [e.attribution]
    size = sum(np.array([np.abs(row).sum(dtype=np.float64) for row in part]) for part in parts)
    much = (relative > tolerance) & (np.abs(delta) > NOISE * (size + np.abs(e.score)))
    return float(relative[much].max()) if much.any() else None


def warn_of_empty_maps(e: Explanation) -> None:
    """One line where a map of evidence has nothing to show."""
    method = find_method(e.method)
    if method.signed or not method.per_location:
        return
    empty = [k for k, row in enumerate(e.attribution) if not row.any()]
    if empty:
        rows = "" if len(e.attribution) == 1 else f" of row {', '.join(map(str, empty))}"
        target = e.targets[empty[0]]
        plain = target.is_class or target.versus is not None
        what = "class" if target.versus is None else "similarity"
        hint = f"; 'not {target.index}' asks for what speaks against it" if target.is_class else ""
        logger.warning(
            f"{e.method}: the map{rows} is empty: at {e.feature_map!r} nothing speaks for the "
            f"{what if plain else 'target'} (all weighted sums are negative or 0){hint}"
        )


def warn_of_nothing_predicted(subject: Subject, e: Explanation) -> None:
    """One line where a class of pixels was asked for, and none is predicted to be of it."""
    parts = e.attribution.values() if isinstance(e.attribution, dict) else [e.attribution]
    for row, target in enumerate(e.targets):
        if not len(target.places) and not any(part[row].any() for part in parts):
            what = "foreground" if subject.classes == 1 else f"class {target.index}"
            rows = "" if len(e.score) == 1 else f" of row {row}"
            logger.warning(f"{e.method}: no pixel{rows} is predicted as {what}: the map is empty")


def not_finite(e: Explanation) -> tuple[str, int] | None:
    """What of an explanation is NaN or infinite, in words, and in which row, if anything."""
    named: list[tuple[str, Any]] = [("score", e.score), ("baseline score", e.baseline_score)]
    parts = e.attribution if isinstance(e.attribution, dict) else {"": e.attribution}
    named += [(f"attribution {name!r}" if name else "attribution", v) for name, v in parts.items()]
    for name, values in named:
        if values is not None and not np.isfinite(values).all():
            bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            kind = "NaN" if np.isnan(values).any() else "infinite"
            return f"the {name} is {kind}", int(np.argmax(bad))
    return None


def raise_not_finite(what: str, plan: Plan, feeds: Mapping[str, np.ndarray]) -> None:
    """Run once more, with every tensor in sight, and name the first that is no finite number.

    Args:
        what: from `not_finite`.
        plan: what ran.
        feeds: what it was given.

    Raises:
        UnsupportedModelError: always; it names a baseline that helps, where one does.
    """
    nan = what.endswith("NaN")
    where = None
    for model, given in plan.stages(feeds):
        where = _first_bad(model, given, [plan.provider], nan)
        if where:
            break
    raise UnsupportedModelError(
        f"{what} for this input{where or ''}; no explanation can be made of it"
        f"{other_baselines(plan, feeds)}"
    )


def _first_bad(
    model: onnx.ModelProto, feeds: Mapping[str, Any], providers: Sequence[str], nan: bool
) -> str | None:
    """Where the first NaN (or else infinity) arises, in words."""
    traced = onnx.ModelProto()
    traced.CopyFrom(model)
    del traced.graph.output[:]
    names = [name for node in traced.graph.node for name in node.output if name]
    traced.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        results = Session(traced, providers, None).run(feeds)
    except OnnxplainError:
        return None
    infinite = None
    for node in model.graph.node:
        for name in node.output:
            values = results.get(name)
            if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
                continue
            if nan and np.isnan(values).any():
                if infinite is None:
                    return _place(node, name, "NaN")
                # What is made of the scores turns infinity into NaN: then that is what arose.
                twin, rule = baseline_twin_of(node.name), rule_of(node.name)
                if is_own(name) and twin is None and rule is None:
                    return infinite
                return f"{_place(node, name, 'NaN')}, behind{infinite.removeprefix(':')}"
            if infinite is None and np.isinf(values).any():
                infinite = _place(node, name, "infinite")
                # Infinity below 0 is how masks are written.
                if not nan and (values > 0).any():
                    return infinite
    return infinite


def _place(node: onnx.NodeProto, tensor: str, kind: str) -> str:
    """A tensor in words: the model's own, its value at the baseline, or a gradient."""
    rule, own = rule_of(node.name), baseline_twin_of(node.name)
    if rule is not None:
        return f": {kind} first in the gradient at {rule!r}"
    if not is_own(tensor):
        return f": {kind} first in {tensor!r} (made by {node.op_type})"
    if own is not None:
        return f": {kind} at the baseline first in {own!r} ({node.op_type})"
    return f": {kind} first in what {node.op_type} makes of {', '.join(map(repr, node.input))}"
