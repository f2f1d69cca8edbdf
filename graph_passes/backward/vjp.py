"""The vector-Jacobian product of a whole model, as a model."""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs

from ... import InvalidInputError, UnsupportedModelError
from ..finish import finish, free_names
from ..graph.tensors import is_float
from ..rules.table import GRADIENT
from .walk import carried_back


def vjp(
    graph: gs.Graph, inputs: list[str] | None = None, outputs: list[str] | None = None
) -> onnx.ModelProto:
    """grad_<input> = sum over outputs of cotangent_<output> . d output / d input.

    Args:
        graph: prepared; changed in place.
        inputs: inputs to differentiate by; None takes every float input.
        outputs: outputs to differentiate; None takes every float output.

    Returns:
        A model of the model's inputs, then `cotangent_<output>` for each output, that returns the
        model's outputs, then `grad_<input>` for each input (zeros where nothing depends on it).

    Raises:
        InvalidInputError: a name that the model does not have, or that is not float.
        UnsupportedModelError: operators without a gradient rule, or no float inputs or outputs.
    """
    sources = chosen(graph.inputs, inputs, "input")
    results = chosen(graph.outputs, outputs, "output")
    own = [f"grad_{source.name}" for source in sources]
    free_names(graph, [*own, *(f"cotangent_{result.name}" for result in results)])
    emit = GRADIENT.emitter(graph)
    seeds = []
    for result in results:
        cotangent = gs.Variable(f"cotangent_{result.name}", dtype=result.dtype, shape=result.shape)
        graph.inputs.append(cotangent)
        seeds.append((result, cotangent))
    gradients = carried_back(emit, GRADIENT, seeds, sources, "the gradient")
    named = {
        f"grad_{source.name}": emit.filled_like(source, 0.0) if gradient is None else gradient
        for source, gradient in zip(sources, gradients, strict=True)
    }
    return finish(graph, named)


def chosen(tensors, names: list[str] | None, kind: str) -> list[gs.Variable]:
    """Inputs or outputs of floating-point numbers: all of them, or those named.

    Raises:
        InvalidInputError: a name that the model does not have, or that is not float.
        UnsupportedModelError: there are none.
    """
    floats = {t.name: t for t in tensors if is_float(t)}
    if names is None:
        if not floats:
            raise UnsupportedModelError(f"the model has no float {kind} to differentiate")
        return list(floats.values())
    for name in names:
        if name not in floats:
            known = ", ".join(repr(n) for n in floats) or "none"
            raise InvalidInputError(f"the model has no float {kind} {name!r}; it has {known}")
    return [floats[name] for name in names]
