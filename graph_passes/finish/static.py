"""A finished file with nothing left to decide while it runs: for OpenVINO, TensorRT, NPUs, phones.

Every length is a number and declared, of values inside the graph as well. Loops are written out,
what follows from lengths is computed beforehand, and where a mask's places were looked up the mask
itself is read. No number is a float64, which such runtimes do not have. Indices stay int64: ONNX
wants the operands of Reshape, Slice and the like in that type, and these runtimes narrow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.dims import describe, is_static
from ..graph.emitter import Emitter
from ..graph.inference import inferred
from ..graph.names import is_own
from ..graph.operators import Fact, facts_of, has
from ..graph.ordering import prune, sort_nodes
from ..graph.tensors import is_constant
from ..prepare.folding import fold, spending
from ..prepare.shapes import fold_sizes, infer_shapes
from ..prepare.unroll import unroll
from . import exported

# Constants that grow beyond this many bytes are left to be computed: see `fold`.
GROWN = 2**18
# Bytes that constants may take beyond the limits, on the way: random numbers of 50 photos of 224 by
# 224 are computed in 1.4 GB of integers, and are 30 MB.
SPARE = 2**31
# Sizes that follow from sizes that follow from sizes ...
_MOST_ROUNDS = 100
_BELOW_ALL = 1e-30
_DOUBLE, _FLOAT = np.dtype(np.float64), np.dtype(np.float32)


def static(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The same model for inputs of these shapes alone.

    Args:
        model: a finished file.
        shapes: the shape of each of its inputs.

    Raises:
        UnsupportedModelError: something of it is decided while it runs; or it would take more than
            the limits allow.
    """
    with spending(model, SPARE):
        graph = gs.import_onnx(model)
        for tensor in graph.inputs:
            tensor.shape = list(shapes[tensor.name])
        _read_masks(graph)
        graph = _settled(graph)
        _fill(graph)
        _compare(graph)
        _keep_apart_from_zero(graph)
        _give_own_weights(graph)
        _narrow(graph)
        graph = infer_shapes(sort_nodes(graph))
    _refuse(graph)
    return exported(graph, model)


def _settled(graph: gs.Graph) -> gs.Graph:
    """All that follows from lengths and constants computed, and Loops written out."""
    fold(graph, GROWN)
    for _ in range(_MOST_ROUNDS):
        written = unroll(graph)
        graph = infer_shapes(graph)
        # What was written out may be constant without a size's being computed.
        gone = fold(graph, GROWN) if written is not None else None
        if fold_sizes(graph, GROWN) is None and written is None and gone is None:
            break
    prune(graph)
    return graph


def _source(tensor: gs.Tensor) -> gs.Node | None:
    """The node that makes a tensor, but for those that hand it on."""
    while tensor.inputs and tensor.inputs[0].op == "Identity":
        tensor = tensor.inputs[0].inputs[0]
    return tensor.inputs[0] if tensor.inputs else None


def _read_masks(graph: gs.Graph) -> None:
    """ScatterND(data, places where a mask is set, one number) as Where(mask, number, data)."""
    emit = Emitter(graph, "mask")
    for node in list(graph.nodes):
        if node.op != "ScatterND" or node.attrs.get("reduction", "none") != "none":
            continue
        data, places, updates = node.inputs
        mask, value = _mask_of(_source(places)), _one_number(_source(updates))
        if mask is None or value is None:
            continue
        set_ = emit.Cast(mask, to=onnx.TensorProto.BOOL)
        (made,) = node.outputs
        node.outputs.clear()
        where = gs.Node("Where", node.name, {}, [set_, emit.constant(value), data], [made])
        graph.nodes.append(where)
    prune(graph)


def _mask_of(node: gs.Node | None) -> gs.Tensor | None:
    """The mask whose places a node lists, a row each."""
    if node is None or node.op != "Transpose" or list(node.attrs.get("perm", [1, 0])) != [1, 0]:
        return None
    found = _source(node.inputs[0])
    return found.inputs[0] if found is not None and found.op == "NonZero" else None


def _one_number(node: gs.Node | None) -> np.ndarray | None:
    """The number that a node repeats."""
    if node is None or node.op != "ConstantOfShape" or "value" not in node.attrs:
        return None
    return np.asarray(node.attrs["value"].values).reshape(())


def _fill(graph: gs.Graph) -> None:
    """A tensor that repeats one number as that number, which other operands stretch."""
    emit = Emitter(graph, "filled")
    for node in list(graph.nodes):
        if node.op != "ConstantOfShape" or not is_constant(node.inputs[0]):
            continue
        (made,), sizes = node.outputs, node.inputs[0]
        number = np.zeros(1, _FLOAT) if "value" not in node.attrs else node.attrs["value"].values
        one = emit.constant(np.reshape(number, [1] * len(sizes.values)))
        for reader in list(made.outputs):
            stretched = has(reader, Fact.ALIGNS) and any(
                t is not made and is_static(t.shape) and t.shape == reader.outputs[0].shape
                for t in reader.inputs
            )
            stands = one if stretched else emit.Expand(one, sizes)
            reader.inputs = [stands if t is made else t for t in reader.inputs]
        if any(made is output for output in graph.outputs):
            node.outputs.clear()
            graph.nodes.append(gs.Node("Expand", node.name, {}, [one, sizes], [made]))
    prune(graph)


def _compare(graph: gs.Graph) -> None:
    """Masks as comparisons: their steep HardSigmoid is no number in half precision."""
    emit = Emitter(graph, "compared")
    for node in list(graph.nodes):
        if node.op != "HardSigmoid" or not is_own(node.name):
            continue
        slope, (made,) = node.attrs["alpha"], node.outputs
        bound = emit.constant(-node.attrs["beta"] / slope, _FLOAT)
        compare = emit.Greater if slope > 0 else emit.Less
        inside = compare(node.inputs[0], bound)
        node.outputs.clear()
        cast = {"to": onnx.TensorProto.FLOAT}
        graph.nodes.append(gs.Node("Cast", node.name, cast, [inside], [made]))
    prune(graph)


def _keep_apart_from_zero(graph: gs.Graph) -> None:
    """x + c as c where x is 0, else x, for a c below all that counts: what DeepLIFT divides by.

    OpenVINO adds c to the constant that x is a difference to, where it is rounded away.
    """
    emit = Emitter(graph, "apart")
    for node in list(graph.nodes):
        small = [t for t in node.inputs if node.op == "Add" and _is_below_all(t)]
        if len(small) != 1 or not is_own(node.name):
            continue
        value = next(t for t in node.inputs if t is not small[0])
        nothing = emit.Equal(value, emit.constant(0.0, _FLOAT))
        outputs = list(node.outputs)
        node.outputs.clear()
        inputs = [nothing, small[0], value]
        graph.nodes.append(gs.Node("Where", node.name, {}, inputs, outputs))
    prune(graph)


def _is_below_all(tensor: gs.Tensor) -> bool:
    """Whether these are constants that no float32 sum of numbers above 1e-22 feels."""
    if not is_constant(tensor) or tensor.dtype != _FLOAT:
        return False
    most = np.abs(tensor.values).max(initial=0.0)
    return bool(0 < most <= _BELOW_ALL)


def declared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, in place, with a declared shape for each value that follows from declared ones."""
    graph = model.graph
    known = {v.name for v in (*graph.input, *graph.output, *graph.value_info)}
    graph.value_info.extend(v for v in inferred(model).value_info if v.name not in known)
    return model


def _give_own_weights(graph: gs.Graph) -> None:
    """No weights that both a Conv and a ConvTranspose read: OpenVINO 2026.4 mixes them up."""
    emit = Emitter(graph, "weights")
    for tensor in [t for t in graph.tensors().values() if is_constant(t)]:
        readers = [node for node in tensor.outputs if has(node, Fact.CONVOLVES)]
        turned = [node for node in readers if node.op == "ConvTranspose"]
        if not turned or len(turned) == len(readers):
            continue
        own = emit.constant(tensor.values.copy())
        for node in turned:
            node.inputs = [own if t is tensor else t for t in node.inputs]


def _narrow(graph: gs.Graph) -> None:
    """Compute in float32 what was in float64, unless inputs or outputs are."""
    if any(tensor.dtype == _DOUBLE for tensor in (*graph.inputs, *graph.outputs)):
        return
    for node in graph.nodes:
        if node.op == "Cast" and node.attrs["to"] in (onnx.TensorProto.DOUBLE, _DOUBLE):
            node.attrs["to"] = onnx.TensorProto.FLOAT
    for tensor in graph.tensors().values():
        if tensor.dtype != _DOUBLE:
            continue
        if is_constant(tensor):
            tensor.values = tensor.values.astype(_FLOAT)
        else:
            tensor.dtype = _FLOAT


def _refuse(graph: gs.Graph) -> None:
    """Name each operator that a static file cannot have, and why.

    Raises:
        UnsupportedModelError: there is one.
    """
    found: dict[str, str] = {}
    for node in graph.nodes:
        for reason in _undecided(node):
            found.setdefault(node.op, f"{node.op} (node {node.name or 'unnamed'!r}): {reason}")
    if found:
        raise UnsupportedModelError(f"no static file can be written: {'; '.join(found.values())}")


def _undecided(node: gs.Node) -> Iterator[str]:
    """What of a node only a run decides."""
    if any(isinstance(value, gs.Graph) for value in node.attrs.values()):
        yield "what is inside runs as often as the numbers decide"
    elif has(node, Fact.RANDOM):
        yield "its numbers are drawn anew in each run"
    elif has(node, Fact.BY_VALUES):
        yield "the numbers decide how many results there are"
    else:
        sizes = facts_of(node).sizes
        computed = sizes is not None and sizes < len(node.inputs)
        computed = computed and not is_constant(node.inputs[sizes or 0])
        open_ = [t for t in node.outputs if t.name and not is_static(t.shape)]
        if has(node, Fact.NO_DATA) or computed:
            yield "a length is computed while it runs"
        elif open_:
            yield f"the shape of its result is not known beforehand ({describe(open_[0].shape)})"
