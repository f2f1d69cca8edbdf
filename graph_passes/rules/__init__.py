"""One small function per ONNX operator: how a cotangent goes from its outputs to its inputs."""

from . import (  # noqa: F401  (importing registers the rules)
    arithmetic,
    elementwise,
    linear,
    movement,
    normalization,
    pooling,
    reductions,
    resampling,
    scatter,
    sequences,
    spectral,
)
