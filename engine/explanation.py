"""What an explainer returns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Explanation:
    """The explanation of N inputs, or of one input for N targets.

    Attributes:
        method: "grad-cam", "integrated-gradients" or "deeplift".
        attribution: float32; Grad-CAM: [N, H, W] at the input's size, never negative; else the
            input's shape. Where several inputs are explained, a dict by their names.
        target: what was explained: int64 [N] classes, or the index tuple.
        score: float64 [N], the explained number (before a final Softmax or Sigmoid unless asked
            otherwise).
        baseline_score: float64 [N], the same at the baseline; None for Grad-CAM.
        outputs: the model's own outputs by name.
        feature_map: Grad-CAM's tensor; else None.
        steps: the gradient passes that Integrated Gradients used for one input (the most, where
            each input has points of its own); else None.
        residual: float64 [N], what an adaptive path misses in its intervals, regardless of sign:
            sum |r_i|, which bounds |delta|; else None.
        provider: the ONNX Runtime provider that ran it.
    """

    method: str
    attribution: Any
    target: np.ndarray | tuple[int, ...]
    score: np.ndarray
    baseline_score: np.ndarray | None = None
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    feature_map: str | None = None
    steps: int | None = None
    residual: np.ndarray | None = None
    provider: str = ""

    @property
    def delta(self) -> np.ndarray | None:
        """sum(attribution) - (score - baseline_score), float64 [N].

        What completeness leaves over.
        """
        if self.baseline_score is None:
            return None
        parts = self.attribution
        total = sum(
            part.reshape(len(part), -1).sum(axis=1, dtype=np.float64)
            for part in (parts.values() if isinstance(parts, dict) else [parts])
        )
        return total - (self.score - self.baseline_score)

    @property
    def relative_delta(self) -> np.ndarray | None:
        """|delta| / |score - baseline_score|, float64 [N]."""
        delta = self.delta
        if delta is None or self.baseline_score is None:
            return None
        gap = np.abs(self.score - self.baseline_score)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(delta == 0, 0.0, np.abs(delta) / gap)


def each_target(explanation: Explanation) -> list[Explanation]:
    """The explanation of one input for K targets as K explanations of one target."""

    def row(values: Any, k: int) -> Any:
        if isinstance(values, dict):
            return {name: value[k : k + 1] for name, value in values.items()}
        return values[k : k + 1] if isinstance(values, np.ndarray) else values

    return [
        replace(
            explanation,
            **{
                name: row(getattr(explanation, name), k)
                for name in ("attribution", "target", "score", "baseline_score", "residual")
            },
        )
        for k in range(len(explanation.score))
    ]
