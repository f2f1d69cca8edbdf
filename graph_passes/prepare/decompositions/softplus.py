"""PyTorch's Softplus, which its newer exporter guards by a selection."""

from __future__ import annotations

import numpy as np

from ...graph.emitter import Emitter
from ...graph.tensors import is_constant, producer_of
from ...graph.terms import NodeView, Term
from .registry import decomposition

# Beyond it softplus(z) and z are the same float32 number: e^-17 < 2^-24.
_SAME_BEYOND = 17


@decomposition("Where")
def selected_softplus(emit: Emitter, node: NodeView) -> Term | None:
    """`z > 20 ? x : softplus(z) / beta` with z = beta x becomes its last part.

    It is the same function; only DeepLIFT minds, which cannot pass a condition that varies.
    """
    condition, direct, smooth = node.node.inputs
    guard, last = producer_of(condition), producer_of(smooth)
    if guard is None or guard.op != "Greater" or last is None:
        return None
    scaled, threshold = guard.inputs
    softplus = last if last.op == "Softplus" else producer_of(last.inputs[0])
    if softplus is None or softplus.op != "Softplus" or softplus.inputs[0] is not scaled:
        return None
    if not is_constant(threshold) or np.min(threshold.values) < _SAME_BEYOND:
        return None
    if softplus is last:
        return smooth if direct is scaled else None
    scaling = producer_of(scaled)
    if scaling is None or scaling.op != "Mul" or last.op != "Div":
        return None
    factors = scaling.inputs[1], last.inputs[1]
    same = all(is_constant(t) for t in factors) and np.array_equal(*(t.values for t in factors))
    return smooth if same and scaling.inputs[0] is direct else None
