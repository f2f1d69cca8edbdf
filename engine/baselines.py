"""What Integrated Gradients and DeepLIFT start from, for each explained input."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import InvalidInputError
from ..graph_passes.methods.method import Method
from ..graph_passes.select.subject import Source, Subject
from ..models.card import ModelCard, black_image
from .assumed import tell_assumed
from .checks import check_baseline, check_baseline_values
from .inputs.image import baseline_arrays, is_of_the_image

_NAMES = (str, os.PathLike)
# Where a baseline comes from that nobody asked for.
ZEROS, BLACK, GIVEN = "zeros", "the model card's black", "given"
NO_CARD = (
    "no model card: the baseline is zeros in the model's own numbers "
    "(--baseline black|white|FILE or --card, in Python baseline=, says otherwise)"
)


def default_of(card: ModelCard | None, subject: Subject) -> str:
    """Where the baseline of a model comes from where none is asked for: ZEROS or BLACK.

    What was merely assumed of a model's input is no reason to compare with it.
    """
    return BLACK if any(_is_picture(card, source) for source in subject.sources) else ZEROS


def _is_picture(card: ModelCard | None, source: Source) -> bool:
    return card is not None and not card.assumed and len(source.start.shape) == 4


def black_of(card: ModelCard | None) -> np.ndarray | None:
    """The card's black image; None, for which zeros stand, without a card or of an assumed one."""
    return None if card is None or card.assumed else black_image(card)


def tell_of_zeros() -> None:
    """Say in one line that the baseline had to be assumed."""
    tell_assumed(NO_CARD)


def in_arrays(baseline: Any, card: ModelCard | None, image: Any = None) -> Any:
    """A baseline, of which names ("white", a file) have become arrays as the card makes them.

    Args:
        baseline: anything that `Explainer` takes.
        card: how a picture becomes the input.
        image: the photo (PIL) that "mean" and "blur" are of; None: there is none.

    Raises:
        InvalidInputError: a name without a card, one that needs a photo, or no such file.
    """
    if isinstance(baseline, Mapping):
        return {name: in_arrays(one, card, image) for name, one in baseline.items()}
    if isinstance(baseline, _NAMES):
        named: Any = os.fspath(baseline)
    elif isinstance(baseline, list | tuple) and any(isinstance(one, _NAMES) for one in baseline):
        if not all(isinstance(one, _NAMES) for one in baseline):
            raise InvalidInputError("baseline: expected names or arrays, got some of each")
        named = [os.fspath(one) for one in baseline]
    else:
        return baseline
    if card is None:
        raise InvalidInputError(
            f"baseline {named!r} needs a model card, which says what a picture is in the model's "
            "numbers: give card= (and no preprocess=), or the baseline as an array"
        )
    if image is None and is_of_the_image(named):
        raise InvalidInputError(
            f"baseline {named!r} is made of a photo: use explainer.explain(photo), or give an array"
        )
    return baseline_arrays(named, card, image)


def is_of_photos(baseline: Any) -> bool:
    """Whether a baseline, or one of several, is made of each photo: "mean" or "blur"."""
    parts = baseline if isinstance(baseline, list | tuple) else [baseline]
    return any(isinstance(one, str) and is_of_the_image(one) for one in parts)


def is_set(method: Method, baseline: Any) -> bool:
    """Whether what was given is a set of baselines: a list of arrays, say."""
    if method.baselines != "maybe":
        return method.baselines == "always"
    if isinstance(baseline, Mapping):
        return any(is_set(method, one) for one in baseline.values())
    arrays = isinstance(baseline, list | tuple) and len(baseline) > 0
    return arrays and all(isinstance(one, np.ndarray) and one.ndim > 0 for one in baseline)


def checked_baselines(
    subject: Subject,
    card: ModelCard | None,
    names: Mapping[str, str],
    baseline: Any,
    several: bool = False,
) -> dict[str, np.ndarray]:
    """A baseline for each explained input, by its name in the graphs, in the input's rank.

    Of a set its baselines lie along the first axis.

    Args:
        subject: what is explained.
        card: the model's, whose black image is the default of a picture.
        names: of the baselines in the graphs -> of the inputs; none where the method has none.
        baseline: an array or number for all, one for each input by its name, or None.
        several: whether it is a set.

    Raises:
        InvalidInputError: other names, or no numbers of that rank.
    """
    check = _checked_set if several else check_baseline_values
    if not names:
        return {}
    given = baseline if isinstance(baseline, Mapping) else dict.fromkeys(names.values(), baseline)
    if set(given) != set(names.values()):
        raise InvalidInputError(
            f"baseline must name the explained inputs {', '.join(names.values())}; "
            f"got {', '.join(map(str, given))}"
        )
    found = {
        name: check(source, _or_default(card, given[source.input.name], source))
        for name, source in zip(names, subject.sources, strict=True)
    }
    sizes = {len(values) for values in found.values()}
    if several and len(sizes) > 1:
        raise InvalidInputError(f"sets of baselines of one size were expected; got {sizes}")
    return found


def _checked_set(source: Source, baseline: Any) -> np.ndarray:
    """A set of baselines, [B, ...]: of a list each one, of an array its rows."""
    parts = baseline if isinstance(baseline, list | tuple) else [baseline]
    rows = [check_baseline_values(source, part) for part in parts]
    try:
        shape = np.broadcast_shapes(*(row.shape[1:] for row in rows))
    except ValueError as error:
        shapes = ", ".join(str(list(row.shape)) for row in rows)
        raise InvalidInputError(f"baselines of shapes {shapes} make no set") from error
    return np.concatenate([np.broadcast_to(row, (len(row), *shape)) for row in rows])


def whole_baselines(
    subject: Subject,
    chosen: Mapping[str, np.ndarray],
    feeds: Mapping[str, np.ndarray],
    several: bool,
) -> dict[str, np.ndarray]:
    """The baselines of one call, by their names in the graphs: in their inputs' shapes, or sets.

    Raises:
        InvalidInputError: a shape that does not broadcast.
    """
    found = {}
    for name, source in zip(chosen, subject.sources, strict=bool(chosen)):
        x = feeds[source.input.name]
        if several:
            check_baseline(source, chosen[name][:1], x)
        found[name] = chosen[name] if several else check_baseline(source, chosen[name], x)
    return found


def _or_default(card: ModelCard | None, baseline: Any, source: Source) -> Any:
    if baseline is not None:
        return baseline
    black = black_of(card) if _is_picture(card, source) else None
    return 0.0 if black is None else black
