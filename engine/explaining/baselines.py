"""What Integrated Gradients and DeepLIFT start from, for each explained input."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import InvalidInputError
from ...graph_passes.methods.method import Method
from ...graph_passes.select.subject import Source, Subject
from ...models.assumed_card import assume_card
from ...models.card import ModelCard, black_image
from ...models.plain_card import Card
from ..checking.assumed import tell_assumed
from ..checking.checks import check_baseline, check_baseline_values
from ..inputs import Input, kind_of_model, kinds
from ..inputs.baselines import baseline_arrays, is_of_each, listed
from ..inputs.kind import ModelInput

_NAMES = (str, os.PathLike)
# Where a baseline comes from that nobody asked for.
ZEROS, BLACK, GIVEN = "zeros", "the model card's black", "given"
NO_CARD = (
    "no model card: the baseline is zeros in the model's own numbers "
    "(--baseline black|white|FILE or --card, in Python baseline=, says otherwise)"
)
ZEROS_OF_ARRAYS = (
    "the baseline is zeros in the model's own numbers (--baseline NUMBER|FILE.npy, in Python "
    "baseline=, says otherwise)"
)


def default_of(card: Card | None, subject: Subject) -> str:
    """Where the baseline of a model comes from where none is asked for: ZEROS or BLACK.

    What was merely assumed of a model's input is no reason to compare with it.
    """
    return BLACK if any(_is_picture(card, source) for source in subject.sources) else ZEROS


def _is_picture(card: Card | None, source: Source) -> bool:
    return black_of(card) is not None and source.features.is_picture


def black_of(card: Card | None) -> np.ndarray | None:
    """The card's black image; None, for which zeros stand, without a card or of an assumed one."""
    return black_image(card) if isinstance(card, ModelCard) and not card.assumed else None


def tell_of_zeros(into: ModelInput | None = None) -> None:
    """Say in one line that the baseline had to be assumed; `into`: what the model takes."""
    array = into is not None and kind_of_model(into).baseline_file is None
    tell_assumed(ZEROS_OF_ARRAYS if array and not _may_be_image(into) else NO_CARD)


def _may_be_image(into: ModelInput | None) -> bool:
    """Whether a card could say that the input is an image: no card, an image's shape."""
    if into is None or (into.card is not None and into.card.kind is not None):
        return False
    try:
        assume_card(into.shape, into.dtype)
    except InvalidInputError:
        return False
    return True


def in_arrays(baseline: Any, into: ModelInput, of: Input | None = None) -> Any:
    """A baseline, of which names ("white", a file) have become arrays as their kind makes them.

    Args:
        baseline: anything that `Explainer` takes.
        into: what the model takes.
        of: the photo that "mean" and "blur" are of; None: there is none.

    Raises:
        InvalidInputError: a name without a card, one that needs a photo, or no such file.
    """
    if isinstance(baseline, Mapping):
        return {name: in_arrays(one, into, of) for name, one in baseline.items()}
    if isinstance(baseline, _NAMES):
        named: Any = os.fspath(baseline)
    elif isinstance(baseline, list | tuple) and any(isinstance(one, _NAMES) for one in baseline):
        if not all(isinstance(one, _NAMES) for one in baseline):
            raise InvalidInputError("baseline: expected names or arrays, got some of each")
        named = [os.fspath(one) for one in baseline]
    else:
        return baseline
    if into.card is None and _needs_card(named, into):
        raise InvalidInputError(
            f"baseline {named!r} needs a model card, which says what a picture is in the model's "
            "numbers: give card= (and no preprocess=), or the baseline as an array"
        )
    if of is None and is_of_each(named):
        raise InvalidInputError(
            f"baseline {named!r} is made of a photo: use explainer.explain(photo), or give an array"
        )
    return baseline_arrays(named, into, of)


def _needs_card(named: str | list[str], into: ModelInput) -> bool:
    """Whether a name is one of a kind which only a card tells of."""
    every = {name for kind in kinds().values() for name in kind.baselines}
    own = {name for kind in kinds().values() if kind.takes(into) for name in kind.baselines}
    return any(one in every - own for one in listed(named))


def is_of_photos(baseline: Any) -> bool:
    """Whether a baseline, or one of several, is made of each photo: "mean" or "blur"."""
    parts = baseline if isinstance(baseline, list | tuple) else [baseline]
    return any(isinstance(one, str) and is_of_each(one) for one in parts)


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
    card: Card | None,
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


def _or_default(card: Card | None, baseline: Any, source: Source) -> Any:
    if baseline is not None:
        return baseline
    black = black_of(card) if _is_picture(card, source) else None
    return 0.0 if black is None else black
