"""From a graph with explaining nodes to a clean ONNX model, and the names that such a model has."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.inference import inferred
from ..graph.lowering import for_gpu
from ..graph.names import RESERVED, free_name, is_own
from ..graph.ordering import prune
from ..graph.tensors import is_float
from ..select.embedding import VERSUS
from ..select.subject import Subject
from .cuda_opset import to_cuda_opset

# Of the contract; with several explained inputs each has its own: `baseline_<input>`.
ATTRIBUTION, BASELINE = "attribution", "baseline"
# Of the contract as well, where a file has an estimate of the attributions' error.
MAP_ERROR = "map_error"
# Outputs beside the contract's `attribution` and `delta`, for the engine; export drops them.
SCORE = f"{RESERVED}score"
BASELINE_SCORE = f"{RESERVED}baseline_score"
# Places with the best class where `BEST` was asked for; and what the top class is read off.
RESOLVED_PLACES, DECIDED = f"{RESERVED}resolved_places", f"{RESERVED}decided"
SEED = f"{RESERVED}seed"
# Of scores that a file picks: their places in what they are picked from, and each one's weight.
HEAD_PLACES, HEAD_WEIGHTS = f"{RESERVED}head_places", f"{RESERVED}head_weights"
# Of what a detector's network picks inside, each by its number; see `Subject.held`.
_HELD = f"{RESERVED}held_"
# What onnx 1.16 and ONNX Runtime 1.18 introduced with opset 21: the oldest that reads these graphs.
IR_VERSION = 10


def working_copy(subject: Subject) -> Subject:
    """A copy to build on, in which no tensor has a name that the contract gives away.

    Raises:
        UnsupportedModelError: the model itself has an input or output of such a name.
    """
    copy = subject.copy()
    own = [copy.name_of(kind, s) for kind in (BASELINE, ATTRIBUTION) for s in copy.sources]
    free_names(copy.graph, [VERSUS if copy.cosine else "target", "delta", *own])
    for tensor in [*copy.graph.inputs, *copy.graph.outputs]:
        if is_own(tensor.name):
            raise _taken(tensor.name)
    return copy


def held_names(subject: Subject) -> list[str]:
    """What `subject.held` is called where it leaves one graph and enters another."""
    return [f"{_HELD}{k}" for k in range(len(subject.held))]


def free_names(graph: gs.Graph, names: Collection[str]) -> None:
    """Give tensors inside the graph that have one of these names another one.

    Raises:
        UnsupportedModelError: an input or output of the model has such a name.
    """
    mine = {tensor.name for tensor in [*graph.inputs, *graph.outputs]}
    tensors = graph.tensors()
    for name in names:
        if name in mine:
            raise _taken(name)
        if name in tensors:
            tensors[name].name = f"{RESERVED}of_the_model/{name}"


def _taken(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the model has an input or output named {name!r}, "
        "which the explaining graph needs itself; rename it"
    )


def finish(
    graph: gs.Graph, outputs: dict[str, gs.Tensor], own_outputs: bool = True
) -> onnx.ModelProto:
    """The graph as a model that returns the model's own outputs and those named.

    Args:
        graph: with everything emitted.
        outputs: name -> the tensor that is returned under it.
        own_outputs: whether the model's own outputs stay.
    """
    kept = list(graph.outputs) if own_outputs else []
    for name, tensor in outputs.items():
        named = gs.Variable(name, dtype=tensor.dtype, shape=tensor.shape)
        graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [named]))
        kept.append(named)
    graph.outputs = kept
    prune(graph)
    if for_gpu():
        to_cuda_opset(graph)
    _forget_shapes(graph, {tensor.name for tensor in kept})
    _name_nodes_apart(graph)
    model = gs.export_onnx(graph, do_type_check=False)
    model.ir_version = IR_VERSION
    model.producer_name = "onnxplain"
    return _with_output_shapes(model)


def _name_nodes_apart(graph: gs.Graph) -> None:
    """No two nodes of one name, which ONNX Runtime may refuse; the model's own come first."""
    taken: set[str] = set()
    for node in graph.nodes:
        if node.name:
            node.name = free_name(node.name, taken)


def _forget_shapes(graph: gs.Graph, outputs: set[str]) -> None:
    """Declare the shapes of outputs and of feature maps only.

    ONNX Runtime keeps products in its blocked layout where it knows that both sides have one shape,
    which it cannot infer for the cotangents by itself.
    """
    for tensor in graph.tensors().values():
        if not isinstance(tensor, gs.Variable) or not tensor.inputs or tensor.name in outputs:
            continue
        shape = tensor.shape
        known = shape is not None and len(shape) == 4 and None not in shape
        if not known or not is_float(tensor) or tensor.dtype is None:
            tensor.shape = None


def _with_output_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Declare every output's shape (the checker wants one), inferred where it was not emitted."""
    missing = [v for v in model.graph.output if not v.type.tensor_type.HasField("shape")]
    if missing:
        shapes = {v.name: v.type.tensor_type.shape for v in inferred(model).output}
        for value in missing:
            value.type.tensor_type.shape.CopyFrom(shapes[value.name])
    return model


def only_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with only these outputs, in this order, and without what only others needed."""
    graph = gs.import_onnx(model)
    known = {tensor.name: tensor for tensor in graph.outputs}
    graph.outputs = [known[name] for name in dict.fromkeys(names) if name in known]
    prune(graph)
    return exported(graph, model)


def exported(graph: gs.Graph, model: onnx.ModelProto) -> onnx.ModelProto:
    """A changed graph of a model as such, with what the model says of itself."""
    made = gs.export_onnx(graph, do_type_check=False)
    made.ir_version = model.ir_version
    made.metadata_props.extend(model.metadata_props)
    return made


def embed_baselines(model: onnx.ModelProto, baselines: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model with its baseline inputs replaced by constants that broadcast to its inputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inputs = [value for value in copy.graph.input if value.name not in baselines]
    del copy.graph.input[:]
    copy.graph.input.extend(inputs)
    for name, values in baselines.items():
        copy.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return copy
