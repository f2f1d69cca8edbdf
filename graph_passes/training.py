"""Operators that do at inference what belongs to training."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxplain import UnsupportedModelError
from onnxplain.graph_passes.decompositions.normalization import BATCH_STATISTICS
from onnxplain.graph_passes.emit import is_constant, optional_input
from onnxplain.graph_passes.names import is_marked


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
            name = node.name.split("/", 2)[2]
            raise UnsupportedModelError(
                f"BatchNormalization (node {name!r}) is in training mode, where each row's answer "
                "depends on the whole batch: export the model for inference (model.eval() in "
                "PyTorch)"
            )
