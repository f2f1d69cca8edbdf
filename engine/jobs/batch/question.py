"""What a batch asks of every image: all that shapes a row, and what a row looks like."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .... import InvalidInputError, __version__
from ....graph_passes.graph.dims import describe
from ....graph_passes.graph.limits import Limits, in_force
from ....graph_passes.methods import find_method
from ....models.plain_card import Card
from ...checking.assumed import assumed_card, tell_of_skipped
from ...inputs.kind import ModelInput, one_input
from ...running.session import cuda_problem
from ..asked import TOP, Options
from ..image_explainer import ImageExplainer

_GRID = re.compile(r"([1-9][0-9]{0,4})\s*[xX×]\s*([1-9][0-9]{0,4})")
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Form:
    """How attributions are stored.

    Attributes:
        dtype: "float32" or "float16".
        grid: (height, width) to pool them to; None: as they are.
        attributions: False: not at all.
        pictures: whether overlays are drawn, too.
        fast_decode: whether JPEG files that are far larger than the input are decoded at 1/2, 1/4
            or 1/8 of their size, which gives other pixels.
    """

    dtype: str = "float32"
    grid: tuple[int, int] | None = None
    attributions: bool = True
    pictures: bool = False
    fast_decode: bool = False


@dataclass(frozen=True)
class Question:
    """What is asked of every image; it is sent to every process.

    Attributes:
        model: path of the model.
        sha256: of the model.
        options: as asked for, with the card that was found, and the provider and threads decided.
        form: how attributions are stored.
        card: of `options`.
        into: what the model takes.
        limits: what the model may cost.
        shapes: method -> shape of a stored attribution; None: each has its own.
        facts: what tells this question from others, as JSON holds it.
        tuples: whether a target's index is a list.
    """

    model: str
    sha256: str
    options: Options
    form: Form
    card: Card
    into: ModelInput
    limits: Limits
    shapes: Mapping[str, tuple[int, ...] | None]
    facts: Mapping[str, Any]
    tuples: bool


def parse_grid(text: str) -> tuple[int, int]:
    """(height, width) of a text such as "14x14".

    Raises:
        InvalidInputError: it is none.
    """
    found = _GRID.fullmatch(text.strip())
    if not found:
        raise InvalidInputError(f"grid: expected HEIGHTxWIDTH such as 14x14, got {text!r}")
    return int(found[1]), int(found[2])


def question_for(model: str, options: Options, form: Form) -> tuple[Question, list[str]]:
    """Read the model, check all that can be checked without an image, and say what is asked.

    Returns:
        The question, and notes for people: methods left out, what was assumed for want of a card.

    Raises:
        UnsupportedModelError, InvalidInputError: as `ImageExplainer`; or a grid that is finer than
            the input.
    """
    provider = options.provider
    if provider == "auto":
        provider = "cpu" if cuda_problem() else "cuda"
    explainer = ImageExplainer(model, replace(options, provider=provider))
    card = explainer.card
    notes = tell_of_skipped(explainer.skipped) + ([assumed_card(card)] if card.assumed else [])
    methods = tuple(explainer.explainers)
    options = replace(options, provider=provider, methods=methods, card=card, labels=None)
    options = replace(options, preset=None, facts={})
    shapes = {method: _shape(method, explainer.into, form) for method in methods}
    subject = next(iter(explainer.explainers.values())).subject
    labels = json.dumps(card.labels).encode()
    facts = {
        "onnxplain": __version__,
        "model_sha256": explainer.file.sha256,
        "methods": explainer.options,
        "targets": [one.text for one in explainer.targets]
        if options.versus
        else list(options.targets or (TOP,)),
        "output": subject.output.name,
        "provider": provider,
        "labels_sha256": hashlib.sha256(labels).hexdigest(),
        "attribution": form.dtype if form.attributions else None,
        "shapes": {method: shape and list(shape) for method, shape in shapes.items()},
        "grid": form.grid and list(form.grid),
        "pictures": form.pictures,
    }
    if form.fast_decode:
        facts["fast_decode"] = True
    if options.strict:
        facts["strict"] = True
    question = Question(
        model,
        explainer.file.sha256,
        options,
        form,
        card,
        explainer.into,
        in_force(),
        shapes,
        facts,
        any("," in text for text in options.targets)
        or subject.detector is not None
        or subject.cosine,
    )
    return question, notes


def _shape(method: str, into: ModelInput, form: Form) -> tuple[int, ...] | None:
    """The shape of a stored attribution; None: the file leaves a length open."""
    features, shape = into.features, one_input(into)
    lengths = [shape[axis] for axis in features.axes]
    if form.grid is not None:
        if len(lengths) != 2:
            raise InvalidInputError(
                f"grid: expected an input with height and width, got {describe(shape)}"
            )
        sides = [length or cells for length, cells in zip(lengths, form.grid, strict=True)]
        if form.grid[0] > sides[0] or form.grid[1] > sides[1]:
            size, got = "x".join(map(str, sides)), "x".join(map(str, form.grid))
            raise InvalidInputError(f"grid: expected at most the input's {size}, got {got}")
        return form.grid
    found = lengths if find_method(method).per_location else shape[1:]
    return None if None in found else tuple(n for n in found if n is not None)
