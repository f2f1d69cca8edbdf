"""onnxplain: explain what an exported ONNX model looked at, by a graph that explains itself."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from onnxplain.models.text import shown

if TYPE_CHECKING:
    from onnxplain.engine.explainer import Explainer
    from onnxplain.engine.explanation import Explanation
    from onnxplain.engine.inspection import Inspection, inspect
    from onnxplain.engine.vjp import vjp
    from onnxplain.graph_passes.limits import Limits
    from onnxplain.graph_passes.methods import methods

__all__ = [
    "Explainer",
    "Explanation",
    "Inspection",
    "InvalidInputError",
    "Limits",
    "OnnxplainError",
    "UnsupportedModelError",
    "inspect",
    "methods",
    "vjp",
]
__version__ = "0.1.0"


class OnnxplainError(ValueError):
    """Base of every error that onnxplain raises about what it was given.

    The message is one line; control characters of what it quotes stand in it as escapes.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shown(str(message)))


class UnsupportedModelError(OnnxplainError):
    """The model cannot be read, or cannot be explained as asked; the message names every reason."""


class InvalidInputError(OnnxplainError):
    """An input (array, image, target, baseline, option) is not what was expected."""


# Imported on first use, so that `import onnxplain` stays far under 0.3 s.
_HOMES = {
    "Explainer": "onnxplain.engine.explainer",
    "Explanation": "onnxplain.engine.explanation",
    "Inspection": "onnxplain.engine.inspection",
    "Limits": "onnxplain.graph_passes.limits",
    "inspect": "onnxplain.engine.inspection",
    "methods": "onnxplain.graph_passes.methods",
    "vjp": "onnxplain.engine.vjp",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'onnxplain' has no attribute {name!r}")
