"""Composite operators written as simple ones: always, or only where DeepLIFT needs it."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ...graph.rewriting import Formula, Rewrite, of_terms, rewrite_nodes

# Operators that no method has a direct rule for.
ALWAYS: dict[str, Rewrite] = {}
# Operators with a gradient rule, which DeepLIFT takes apart into its own families.
FOR_DEEPLIFT: dict[str, Rewrite] = {}


def decomposition(*ops: str, table: dict[str, Rewrite] = ALWAYS):
    """Register a rewrite for the operators named (other domains' as `domain.Name`).

    Raises:
        ValueError: the operator has one already.
    """

    def register(formula: Formula) -> Formula:
        for op in ops:
            if op in table:
                raise ValueError(f"a second decomposition of {op}")
            table[op] = of_terms(formula)
        return formula

    return register


def decompose_other_domains(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite other domains' operators, whose shapes ONNX's inference cannot tell."""
    return rewrite_nodes(graph, {op: rewrite for op, rewrite in ALWAYS.items() if "." in op})


def decompose(graph: gs.Graph) -> gs.Graph | None:
    """Rewrite every operator that no method has a direct rule for."""
    return rewrite_nodes(graph, ALWAYS)
