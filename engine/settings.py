"""How an explainer was asked to work, checked and with its defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from onnxplain import InvalidInputError
from onnxplain.engine.arrays import check_tolerance
from onnxplain.graph_passes.deeplift import RULES
from onnxplain.graph_passes.limits import Limits, within
from onnxplain.graph_passes.quadrature import ADAPTIVE, quadrature_rule

METHODS = ("grad-cam", "integrated-gradients", "deeplift")
# Integrated Gradients, unless asked otherwise: to 1 % of the score's difference, in at most so many
# passes; and the passes of a fixed rule.
TOLERANCE, MOST_STEPS, FIXED_STEPS = 0.01, 200, 50


class Settings(NamedTuple):
    """How an explainer was asked to work.

    Attributes:
        method: "grad-cam", "integrated-gradients" or "deeplift".
        layer: Grad-CAM's feature map; None finds it.
        rule: DeepLIFT's rule.
        points: Integrated Gradients' points; with `adaptive` as many as it may take.
        weights: and their weights.
        adaptive: whether each input gets points of its own instead.
        tolerance: where an adaptive path stops.
        quadrature: the rule's name.
        fixed: points and weights of an exported file, which cannot choose any on its way.
        fixed_quadrature: their rule's name.
        providers: see `open_session`.
        threads: see `open_session`.
    """

    method: str
    layer: str | None
    rule: str
    points: np.ndarray
    weights: np.ndarray
    adaptive: bool
    tolerance: float | None
    quadrature: str
    fixed: tuple[np.ndarray, np.ndarray]
    fixed_quadrature: str
    providers: str | Sequence[str] | None
    threads: int | None


def settings_of(
    method: str,
    *,
    layer: str | None,
    steps: int | None,
    tolerance: float | None,
    quadrature: str | None,
    rule: str,
    providers: str | Sequence[str] | None,
    threads: int | None,
) -> Settings:
    """The settings of what `Explainer` was given.

    Raises:
        InvalidInputError: a wrong argument.
    """
    if method not in METHODS:
        raise InvalidInputError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    if rule not in RULES:
        raise InvalidInputError(f"rule must be one of {', '.join(RULES)}; got {rule!r}")
    tolerance = check_tolerance(tolerance, method, quadrature)
    default = method == "integrated-gradients" and quadrature in (None, ADAPTIVE)
    if default and tolerance is None and steps is None:
        tolerance = TOLERANCE
    if quadrature is None:
        quadrature = "gauss-legendre" if tolerance is None else ADAPTIVE
    adaptive = quadrature == ADAPTIVE
    points, weights = quadrature_rule(quadrature, _most(steps, adaptive))
    # What an exported file does, which has no points of its own for each input.
    fixed_quadrature = "gauss-legendre" if adaptive else quadrature
    fixed = quadrature_rule(fixed_quadrature, FIXED_STEPS if steps is None else steps)
    return Settings(
        method,
        layer,
        rule,
        points,
        weights,
        adaptive,
        tolerance,
        quadrature,
        fixed,
        fixed_quadrature,
        providers,
        threads,
    )


def _most(steps: int | None, adaptive: bool) -> int:
    if steps is not None:
        return steps
    return MOST_STEPS if adaptive else FIXED_STEPS


@contextmanager
def raised_limits(given: Sequence[str]) -> Iterator[None]:
    """Hold what is built inside to limits from texts such as "nodes=100000".

    Raises:
        InvalidInputError: an unknown name, or no whole number.
    """
    with within(_parsed(given)):
        yield


def _parsed(given: Sequence[str]) -> Limits:
    names = [field.name for field in dataclasses.fields(Limits)]
    values = {}
    for text in given:
        name, _, number = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in names:
            raise InvalidInputError(f"limit {name!r}: expected one of {', '.join(names)}")
        try:
            values[name] = int(number.replace("_", "").replace(",", ""))
        except ValueError:
            raise InvalidInputError(
                f"limit {name}: expected a whole number, got {number!r}"
            ) from None
    return Limits(**values)
