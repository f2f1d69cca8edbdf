"""The vector-Jacobian product of a model given by path, bytes or proto."""

from __future__ import annotations

import os

import onnx

from ..graph_passes.backward import vjp as passes
from ..graph_passes.graph.limits import Limits, within
from .model import opened
from .running.given import blamed_on_file


def vjp(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    inputs: list[str] | None = None,
    outputs: list[str] | None = None,
    *,
    limits: Limits | None = None,
) -> onnx.ModelProto:
    """A model that returns the model's outputs and their vector-Jacobian products.

    Args:
        model: path, bytes or onnx.ModelProto.
        inputs: names of the inputs to differentiate by; None: every float input.
        outputs: names of the outputs to differentiate; None: every float output.
        limits: what the model may cost; None: the defaults.

    Returns:
        Inputs: the model's, then `cotangent_<output>` for each output (its shape). Outputs: the
            model's, then `grad_<input>` for each input (its shape).

    Raises:
        UnsupportedModelError: unreadable, above a limit, or operators without a gradient rule, all
            named.
        InvalidInputError: a name that the model does not have.

    Examples:
        >>> model = onnxplain.vjp("digits.onnx")
        >>> [value.name for value in model.graph.input]
        [..., 'cotangent_...']
    """
    with within(limits), blamed_on_file(model):
        return passes.vjp(opened(model).graph(), inputs, outputs)
