"""How good a map is: a metric in each file, known everywhere by its METRIC.

Examples:
    >>> explained = onnxplain.Explainer("digits.onnx", "deeplift")
    >>> onnxplain.metrics.deletion(explained, x, explained(x)).shape
    (1,)
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module

from ... import InvalidInputError
from ...graph_passes.methods.method import nearest
from .deletion import deletion
from .infidelity import infidelity
from .insertion import insertion
from .mass_inside import mass_inside
from .max_sensitivity import max_sensitivity
from .metric import Metric
from .pointing_game import pointing_game
from .randomised_weights import randomised_weights
from .road import road
from .sensitivity_n import sensitivity_n
from .srg import srg

__all__ = [
    "Metric",
    "deletion",
    "infidelity",
    "insertion",
    "mass_inside",
    "max_sensitivity",
    "metrics",
    "pointing_game",
    "randomised_weights",
    "road",
    "sensitivity_n",
    "srg",
]
# The headline comes first.
_FIRST = ("srg", "deletion", "insertion", "road", "sensitivity-n", "infidelity")


@cache
def _registry() -> dict[str, Metric]:
    modules = [import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    found = [module.METRIC for module in modules if hasattr(module, "METRIC")]
    places = {name: place for place, name in enumerate(_FIRST)}
    found.sort(key=lambda metric: (places.get(metric.name, len(places)), metric.name))
    return {metric.name: metric for metric in found}


def metrics() -> dict[str, Metric]:
    """Every metric by its name, the headline first."""
    return dict(_registry())


def find_metrics(names: Sequence[str] | None) -> list[Metric]:
    """The metrics of these names, each once; None, or none: all.

    Raises:
        InvalidInputError: there is none of a name; the message names the nearest.
    """
    known = _registry()
    if isinstance(names, str):
        names = [names]
    found = []
    for name in dict.fromkeys(names or known):
        if name not in known:
            close = nearest(name, known) if isinstance(name, str) else ""
            raise InvalidInputError(
                f"metric must be one of {', '.join(known)}; got {name!r}{close}"
            )
        found.append(known[name])
    return found
