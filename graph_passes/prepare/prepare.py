"""prepare: any exported model becomes one canonical dialect, so that rules stay small.

The dialect: default-domain opset 21 or newer, no local functions, no Constant nodes, constants
folded, float32 compute, explicit pads, BatchNormalization folded away, shapes inferred.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference, version_converter
from onnx_graphsurgeon.logger import G_LOGGER

from ... import UnsupportedModelError
from ..graph.limits import hold
from ..graph.names import own_dim, own_names
from ..graph.tensors import is_constant
from .batch_normalization import fold_batch_normalization
from .ceil_mode import exact_windows
from .census import census, check_activations, check_carried
from .conditionals import resolve_conditionals
from .decompositions import decompose, decompose_other_domains
from .decompositions.quantisation import to_whole_floats
from .decompositions.specification import expand_functions
from .explicit_pads import explicit_pads
from .finite import check_finite
from .float32 import to_float32
from .folding import Budget, fold
from .fuse_softmax import fuse_softmax
from .old_resizing import hide_old_resizing
from .optionals import without_optionals
from .training import refuse_random_dropout
from .unroll import unroll

CANONICAL_OPSET = 21
G_LOGGER.severity = G_LOGGER.CRITICAL

logger = logging.getLogger(__name__)


def prepare(model: onnx.ModelProto) -> gs.Graph:
    """The model in the canonical dialect, with the same inputs, outputs and scores.

    Raises:
        UnsupportedModelError: the model cannot be brought to opset 21, would become larger than the
            limits in force allow, or has weights that are not numbers.
    """
    census(model)
    budget = Budget.of(model)
    model = _with_honest_shapes(model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    check_carried(model.graph)
    check_finite(model)
    own_names(model)
    without_optionals(model)
    model = _constants_to_initializers(expand_functions(_convert_opset(model)))
    graph = gs.import_onnx(_infer(model))
    check_activations(graph, model.ByteSize())
    for rewrite in (to_whole_floats, decompose_other_domains):
        if rewrite(graph):
            graph = infer_shapes(graph)
    while exact_windows(graph):
        graph = infer_shapes(graph)
    refuse_random_dropout(graph)
    fold(graph, budget)
    for canonicalise in (
        unroll,
        to_float32,
        explicit_pads,
        fuse_softmax,
        decompose,
        fold_batch_normalization,
    ):
        canonicalise(graph)
    fold(graph, budget)
    graph = _with_known_shapes(graph, budget)
    # What waited for a constant has it now, where it follows from sizes.
    graph = _with_known_shapes(graph, budget) if decompose(graph) else graph
    hold("nodes", "the model's nodes, loops and decompositions written out", len(graph.nodes))
    check_activations(graph, model.ByteSize())
    return graph


def _with_known_shapes(graph: gs.Graph, budget: Budget) -> gs.Graph:
    """The same graph with every shape that can be told, and no arithmetic on known ones."""
    while True:
        graph = infer_shapes(graph)
        if not _fold_shapes(graph):
            return graph
        fold(graph, budget)
        if not resolve_conditionals(graph):
            return infer_shapes(graph)


def infer_shapes(graph: gs.Graph) -> gs.Graph:
    """The same graph with every shape and type that ONNX's inference can tell."""
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable) and tensor.inputs:
            tensor.shape = None
    return gs.import_onnx(_infer(gs.export_onnx(graph, do_type_check=False)))


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    return shape_inference.infer_shapes(model, data_prop=True)


def _default_opset(model: onnx.ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def _with_honest_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose declared shapes claim nothing that may be false.

    Intermediate and output shapes are dropped (they are inferred again), initializers are no
    inputs, and unknown input dimensions (-1, 0, none, or a name used twice in one shape such as
    '?') get names of their own.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initializers]
    del graph.input[:]
    graph.input.extend(inputs)
    for value in graph.input:
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            names = [dim.dim_param for dim in dims]
            for index, dim in enumerate(dims):
                named = names.count(dim.dim_param) == 1 and dim.dim_param not in ("", "?")
                if not named and not dim.dim_value > 0:
                    dim.dim_param = f"{value.name}?{index}"
                elif named:
                    dim.dim_param = own_dim(dim.dim_param)
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return copy


def _convert_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = _default_opset(model)
    if version >= CANONICAL_OPSET:
        return model
    if version < 9 and any(node.op_type == "Scan" for node in model.graph.node):
        raise UnsupportedModelError("Scan of opset 8 (with a batch axis) is not supported")
    # Below 4 the converter wants initializers among the inputs, where they are no longer.
    model.ir_version = max(model.ir_version, 4)
    hide_old_resizing(model, version)
    try:
        return version_converter.convert_version(model, CANONICAL_OPSET)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UnsupportedModelError(
            f"the model's opset {version} cannot be converted to {CANONICAL_OPSET}: {reason}"
        ) from error


def _constants_to_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constant nodes of the main graph become initializers, in their declared types."""
    graph = model.graph
    kept = []
    for node in graph.node:
        tensor = _constant_tensor(node) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
    if len(kept) != len(graph.node):
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
    return model


def _constant_tensor(node: onnx.NodeProto) -> TensorProto | None:
    if len(node.attribute) != 1:
        return None
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(value)
        return tensor
    types = {"value_float": np.float32, "value_floats": np.float32}
    types |= {"value_int": np.int64, "value_ints": np.int64}
    if attribute.name in types:
        return numpy_helper.from_array(np.asarray(value, types[attribute.name]))
    return None


def _fold_shapes(graph: gs.Graph) -> bool:
    """Replace Shape and Size of known shapes by constants; True when there were any."""
    found = False
    for node in graph.nodes:
        if node.op not in ("Shape", "Size") or is_constant(node.inputs[0]):
            continue
        shape = node.inputs[0].shape
        if shape is None or not all(isinstance(dim, int) for dim in shape):
            continue
        part = list(shape)[node.attrs.get("start", 0) : node.attrs.get("end")]
        value = np.asarray(part if node.op == "Shape" else np.prod(shape), np.int64)
        output = node.outputs[0]
        node.outputs.clear()
        output.to_constant(value)
        found = True
    return found
