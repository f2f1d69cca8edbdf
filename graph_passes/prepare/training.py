"""Operators that do at inference what belongs to training."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.names import is_marked, unmarked
from ..graph.operators import Fact, has
from ..graph.tensors import is_constant, optional_input, read_by
from .decompositions.normalization import BATCH_STATISTICS


def refuse_random_dropout(graph: gs.Graph) -> None:
    """Refuse a Dropout that may drop.

    Raises:
        UnsupportedModelError: naming it.
    """
    for node in graph.nodes:
        if node.op != "Dropout":
            continue
        ratio, training = optional_input(node, 1), optional_input(node, 2)
        off = training is None or (is_constant(training) and not training.values.any())
        harmless = ratio is not None and is_constant(ratio) and not ratio.values.any()
        if not off and not harmless:
            raise UnsupportedModelError(
                f"Dropout (node {node.name or node.outputs[0].name!r}) is, or may be, in training "
                "mode, where its answer is random: export the model for inference "
                "(model.eval() in PyTorch)"
            )


def refuse_batch_statistics(graph: gs.Graph) -> None:
    """Refuse a BatchNormalization in training mode, which mixes the rows of a batch.

    Raises:
        UnsupportedModelError: naming it.
    """
    for node in graph.nodes:
        if is_marked(node.name, BATCH_STATISTICS):
            name = unmarked(node.name, BATCH_STATISTICS)
            raise UnsupportedModelError(
                f"BatchNormalization (node {name!r}) is in training mode, where each row's answer "
                "depends on the whole batch: export the model for inference (model.eval() in "
                "PyTorch)"
            )


def refuse_randomness(graph: gs.Graph, score: gs.Tensor) -> None:
    """Refuse a score that random numbers have a part in, be it by an index.

    Raises:
        UnsupportedModelError: naming the operator that draws them.
    """
    wanted = {score.name}
    for node in reversed(graph.nodes):
        if wanted.isdisjoint(tensor.name for tensor in node.outputs):
            continue
        if has(node, Fact.RANDOM):
            raise UnsupportedModelError(
                f"the score depends on {node.op} (node {node.name or node.outputs[0].name!r}), "
                "which draws random numbers: no two runs answer alike"
            )
        wanted.update(read_by(node))
