"""Why an operator cannot be passed, where there is more to say than that it has no rule."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from ..graph.dims import is_static
from ..graph.tensors import is_constant, operator_name, producer_of
from ..prepare.decompositions.registry import ALWAYS

# Written out step by step, as the composite operators are.
_LOOPS = {"Scan", "Loop"}
# An axis that may have any length, in an example.
_SOME = 300


def reason_of(node: gs.Node) -> str | None:
    """What is in the way of a derivative, and what to do about it; None: nothing is known."""
    if is_tree(node):
        return (
            "decision trees are steps and have no gradient: occlusion asks for scores only, and "
            "hides one column at a time"
        )
    return open_length(node)


def is_tree(node: gs.Node) -> bool:
    """Whether a node is an ensemble of decision trees."""
    return operator_name(node).startswith("ai.onnx.ml.TreeEnsemble")


def open_length(node: gs.Node) -> str | None:
    """Why a composite operator is still there, where that is for want of a length; in words."""
    if operator_name(node) not in {*ALWAYS, *_LOOPS}:
        return None
    if all(is_static(list(t.shape or [None])[1:]) for t in node.inputs if t.name):
        known = [t for t in node.inputs if t.name and t.shape]
        if all(isinstance(t.shape[0], int) for t in known):
            return None
    source = next((t for t in _graph_inputs(node) if _is_open(t)), None)
    if source is None:
        return None
    shape = list(source.shape or [])
    example = [1 if axis == 0 else _SOME for axis in range(len(shape))]
    example = [d if isinstance(d, int) else e for d, e in zip(shape, example, strict=True)]
    numbers = ",".join(map(str, example))
    return (
        f"the length of {source.name!r} is not known: give it, for example --shape "
        f"{source.name}={numbers}, in Python shapes={{{source.name!r}: {tuple(example)}}}"
    )


def _is_open(tensor: gs.Tensor) -> bool:
    """Whether an input has a length beside the batch that the file leaves open."""
    return tensor.shape is not None and not is_static(list(tensor.shape)[1:])


def _graph_inputs(node: gs.Node) -> list[gs.Tensor]:
    """The graph's inputs that a node depends on, the nearest first."""
    found, seen, waiting = [], set[int](), [node]
    while waiting:
        for tensor in waiting.pop(0).inputs:
            if id(tensor) in seen or not tensor.name or is_constant(tensor):
                continue
            seen.add(id(tensor))
            maker = producer_of(tensor)
            if maker is None:
                found.append(tensor)
            else:
                waiting.append(maker)
    return found
