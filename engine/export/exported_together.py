"""Several methods' explaining models as one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx

from ... import InvalidInputError
from ...graph_passes import finish
from ...graph_passes.finish.together import together
from ...graph_passes.graph.names import is_own

if TYPE_CHECKING:
    from .exportable import Exportable

# What must be the same for one target to mean the same, by its name in a file's facts.
_QUESTION = {
    "source_sha256": "model",
    "input": "input",
    "output": "output",
    "score": "score",
    "shapes": "shapes",
}


def check_together(explainers: Sequence[Exportable]) -> None:
    """Refuse explainers that do not belong into one file.

    Raises:
        InvalidInputError: two of one method, or of different questions.
    """
    strange = next((one for one in explainers if not hasattr(one, "method")), None)
    if strange is not None:
        raise InvalidInputError(f"also: expected Explainers, got {type(strange).__name__}")
    methods = [one.method for one in explainers]
    twice = next((name for name in methods if methods.count(name) > 1), None)
    if twice is not None:
        raise InvalidInputError(f"also: a file has each method once, got {twice} twice")
    asked = [{**one._facts(True), "shapes": one._arguments["shapes"]} for one in explainers]
    for other in asked[1:]:
        for key, word in _QUESTION.items():
            if other[key] != asked[0][key]:
                raise InvalidInputError(
                    f"also: expected explainers of one {word}, got {asked[0][key]!r} for "
                    f"{methods[0]} and {other[key]!r} for {other['method']}"
                )


def joined(
    explainers: Sequence[Exportable],
    models: Sequence[onnx.ModelProto],
    facts: Sequence[Mapping[str, Any]],
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """One model of all methods, in which each output has its method in its name, and its facts.

    Args:
        explainers: of one question.
        models: of each.
        facts: of each.
    """
    own = {tensor.name for tensor in explainers[0].subject.graph.outputs}
    called = [
        {v.name: names[v.name] for v in model.graph.output if v.name in names.keys() - own}
        for names, model in zip(map(outputs_of, explainers), models, strict=True)
    ]
    same = [name for name in explainers[0].subject.graph.tensors() if not is_own(name)]
    common = {
        name: value
        for name, value in facts[0].items()
        if all(name in other and other[name] == value for other in facts)
    }
    apart = {
        one.method: {name: value for name, value in said.items() if name not in common}
        for one, said in zip(explainers, facts, strict=True)
    }
    return together(models, called, same), {**common, "methods": apart}


def outputs_of(explainer: Exportable) -> dict[str, str]:
    """What a method's outputs are called alone, and beside those of others."""
    subject, method = explainer.subject, explainer.method
    names = {name: output_name(name, method) for name in ("delta", finish.MAP_ERROR, "picture")}
    for source in subject.sources:
        of = source.input.name if len(subject.sources) > 1 else None
        name = subject.name_of(finish.ATTRIBUTION, source)
        names[name] = output_name(finish.ATTRIBUTION, method, of)
    return names


def output_name(kind: str, method: str, of: str | None = None) -> str:
    """What an output is called in a file of several methods.

    The method follows the kind: `attribution_grad_cam`, `delta_deeplift`; of several explained
    inputs `attribution_grad_cam_<input>`. So all of it is an identifier in most languages.
    """
    word = re.sub(r"\W", "_", method.replace("+", "_plus"))
    return f"{kind}_{word}" if of is None else f"{kind}_{word}_{of}"
