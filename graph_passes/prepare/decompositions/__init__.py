"""Composite operators as simple ones, by their specification; importing registers them."""

from . import (  # noqa: F401
    basic,
    contrib,
    machine_learning,
    normalization,
    recurrent,
    sampling,
    selection,
    sequences,
    softplus,
    spectral,
)
from .registry import (
    ALWAYS,
    FOR_DEEPLIFT,
    decompose,
    decompose_other_domains,
)

__all__ = ["ALWAYS", "FOR_DEEPLIFT", "decompose", "decompose_other_domains"]
