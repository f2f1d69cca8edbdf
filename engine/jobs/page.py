"""Writing a model file's page: a file for each method, and what shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import UnsupportedModelError
from ...graph_passes.methods import default_methods
from ...models.variants import Shapes
from ..checking.checks import tell_of_others
from ..explaining.explainer import Explainer
from ..files.model_files import refuse_own_files
from ..model import Model, opened
from ..page.runtime import runtime_files
from ..page.writing_page import check_for_page, write_page
from ..running.settings import asked_methods, for_methods
from .asked import FACTS
from .export import card_of, check_embedded, check_one_baseline, taken

logger = logging.getLogger("onnxplain")


def page_of_model(
    model: str,
    folder: str,
    *,
    methods: Sequence[str] = (),
    baseline: str | list[str] | None = None,
    card: str | None = None,
    shapes: Shapes | None = None,
    output: str | None = None,
    labels: str | None = None,
    preset: str | None = None,
    runtime: str | None = None,
    tell: Callable[[str, float], None] = lambda text, done: None,
    **options: Any,
) -> list[str]:
    """Write the page of a model file into a folder; returns the methods that it has.

    Args:
        model: path of the model.
        folder: where to.
        methods: their names, with options of their own as in "lrp:rule=epsilon"; none: the default
            ones that the model supports.
        baseline: to embed, where a method compares with one; see `export_file`.
        card: see `export_file`, as are shapes, output, labels and preset.
        shapes: of inputs.
        output: the output to explain.
        labels: the classes' names.
        preset: in place of the card's normalisation.
        runtime: where onnxruntime-web is; see `runtime_files`.
        tell: called with a text and the part of the work that is done.
        options: of the methods, and the card's facts by their keys; None: the default.

    Raises:
        InvalidInputError: a wrong option, or files that cannot be fetched or written.
        UnsupportedModelError: the model cannot be explained so, or is no classifier of photos.
    """
    names, own = asked_methods(methods)
    facts = {key: options.pop(key) for key in FACTS if key in options}
    chosen = names or tuple(default_methods())
    given = {"baseline": baseline, **for_methods(chosen, options, left_alone=())}
    check_one_baseline(chosen, baseline is not None, False)
    tell("reading the model", 0.0)
    once = opened(model, shapes)
    known = card_of(once, card, preset, facts, labels)
    check_embedded(baseline, known)
    said = output or (known.output if known is not None else None)
    tell("building the explanations", 0.1)
    options = {name: taken(name, chosen, given, own) for name in chosen}
    explainers = _explainers(once, options, not names, output=said, card=known)
    check_for_page(explainers[0])
    tell("looking for onnxruntime-web", 0.6)
    files = runtime_files(runtime, logger.warning)
    tell(f"writing {folder}", 0.7)

    def keep(path: Path) -> None:
        refuse_own_files(path, model, [card] if card else [])

    write_page(folder, explainers, Path(model).name, files, keep)
    return [one.method for one in explainers]


def _explainers(
    model: Model, options: Mapping[str, Mapping[str, Any]], lenient: bool, **how: Any
) -> list[Explainer]:
    """The explainers of methods with their options; `lenient`: of those that suit the model."""
    found = []
    for method, own in options.items():
        try:
            found.append(Explainer(model, method, **how, **own))
        except UnsupportedModelError as error:
            if not lenient:
                raise
            logger.warning(f"{method} is left out: {error}")
    if not found:
        names = ", ".join(options)
        raise UnsupportedModelError(f"none of {names} explains the model; see onnxplain inspect")
    tell_of_others(found[0].subject)
    return found
