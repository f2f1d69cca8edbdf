"""onnxplain: explain what an exported ONNX model looked at, by a graph that explains itself."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .models.text import shown

if TYPE_CHECKING:
    from .engine import metrics
    from .engine.comparing.comparison import Comparison
    from .engine.comparing.drift import Drift
    from .engine.evaluating.evaluation import Evaluation
    from .engine.explaining.explainer import Explainer
    from .engine.explanation.explanation import Explanation
    from .engine.inspection import Inspection, inspect
    from .engine.jobs.batch import ray as ray
    from .engine.jobs.compared import compare
    from .engine.jobs.evaluate import evaluate
    from .engine.vjp import vjp
    from .graph_passes.graph.limits import Limits
    from .graph_passes.methods import methods
    from .models.card import ModelCard

__all__ = [
    "Comparison",
    "Drift",
    "Evaluation",
    "Explainer",
    "Explanation",
    "Inspection",
    "InvalidInputError",
    "Limits",
    "ModelCard",
    "OnnxplainError",
    "UnsupportedModelError",
    "compare",
    "evaluate",
    "inspect",
    "methods",
    "metrics",
    "vjp",
]
__version__ = "0.2.0"


class OnnxplainError(ValueError):
    """Base of every error that onnxplain raises about what it was given.

    The message is one line; control characters of what it quotes stand in it as escapes.

    Examples:
        >>> try:
        ...     onnxplain.Explainer("digits.onnx", "grad-can")
        ... except onnxplain.OnnxplainError as error:
        ...     print(error)
        method must be one of ...; got 'grad-can': did you mean 'grad-cam' ...
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shown(str(message)))


class UnsupportedModelError(OnnxplainError):
    """The model cannot be read, or cannot be explained as asked; the message names every reason.

    Examples:
        >>> try:
        ...     onnxplain.Explainer(b"no model")
        ... except onnxplain.UnsupportedModelError:
        ...     print("refused")
        refused
    """


class InvalidInputError(OnnxplainError):
    """An input (array, image, target, baseline, option) is not what was expected.

    Examples:
        >>> try:
        ...     explainer(x, target=99)
        ... except onnxplain.InvalidInputError:
        ...     print("there are ten classes")
        there are ten classes
    """


# Imported on first use, so that `import onnxplain` stays far under 0.3 s.
_HOMES = {
    "Comparison": ".engine.comparing.comparison",
    "Drift": ".engine.comparing.drift",
    "Evaluation": ".engine.evaluating.evaluation",
    "Explainer": ".engine.explaining.explainer",
    "Explanation": ".engine.explanation.explanation",
    "Inspection": ".engine.inspection",
    "Limits": ".graph_passes.graph.limits",
    "ModelCard": ".models.card",
    "compare": ".engine.jobs.compared",
    "evaluate": ".engine.jobs.evaluate",
    "inspect": ".engine.inspection",
    "methods": ".graph_passes.methods",
    "vjp": ".engine.vjp",
}


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return import_module(".engine.metrics", __name__)
    if name == "ray":
        return _ray()
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module 'onnxplain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__", "ray"]


def _ray() -> Any:
    try:
        return import_module(".engine.jobs.batch.ray", __name__)
    except ModuleNotFoundError as error:
        if error.name not in ("ray", "pyarrow"):
            raise
        raise OnnxplainError(
            "onnxplain.ray needs Ray, which is not installed: pip install 'onnxplain[ray]'"
        ) from error
