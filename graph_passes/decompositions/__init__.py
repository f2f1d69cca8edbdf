"""Composite operators as simple ones, by their specification; importing registers them."""

from onnxplain.graph_passes.decompositions import (  # noqa: F401
    basic,
    normalization,
    recurrent,
    sampling,
    softplus,
    spectral,
)
from onnxplain.graph_passes.decompositions.registry import ALWAYS, FOR_DEEPLIFT, decompose

__all__ = ["ALWAYS", "FOR_DEEPLIFT", "decompose"]
