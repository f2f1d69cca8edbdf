"""What a kind of input is: how a thing becomes the model's array, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ... import InvalidInputError
from ...graph_passes.graph.dims import describe
from ...graph_passes.graph.tensors import numpy_type
from ...graph_passes.methods.method import nearest
from ...graph_passes.select.features import Features
from ...graph_passes.select.subject import Source
from ...models.card import ModelCard
from ...models.plain_card import Card

if TYPE_CHECKING:
    from ..pictures.heatmap import Heatmap, Picture

Shape = tuple[int | str | None, ...]
# x0, y0, x1, y1.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ModelInput:
    """What a model takes, as far as a kind must know it; it may be sent to other processes.

    Attributes:
        name: of the explained input.
        shape: as the file declares it, the batch first; None: the file does not say.
        dtype: of its elements, as numpy names it.
        features: where its channels and positions lie.
        card: the model's; None: it has none.
        folder: where the model lies; None: it was given as bytes.
    """

    name: str
    shape: Shape | None
    dtype: str
    features: Features
    card: Card | None = None
    folder: str | None = None


def model_input(source: Source, card: Card | None, folder: str | None = None) -> ModelInput:
    """What a model takes at one of its inputs."""
    shape = None if source.input.shape is None else tuple(source.input.shape)
    dtype = str(numpy_type(source.input.dtype))
    return ModelInput(source.input.name, shape, dtype, source.features, card, folder)


def described(into: ModelInput) -> str:
    """What a model takes, for messages: "float32 [N, 3, 224, 224]"."""
    shape = "of any shape" if into.shape is None else describe(into.shape)
    return f"{into.dtype} {shape}"


def check_keys(settings: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Refuse a card's key that a kind does not know.

    Raises:
        InvalidInputError: naming it, and the nearest that there is.
    """
    for key in settings:
        if key not in keys:
            close = nearest(str(key), keys) or f": expected {', '.join(keys)}"
            raise InvalidInputError(f"unknown key {key!r}{close}")


def one_input(into: ModelInput) -> list[int | None]:
    """The shape of one input, [1, ...], as an image's card or the file has it; None: left open."""
    if isinstance(into.card, ModelCard) and into.features.rank == 4:
        return list(into.card.tensor_shape)
    rows = [d if isinstance(d, int) and d > 0 else None for d in (into.shape or ())[1:]]
    return [1, *rows]


class Named(NamedTuple):
    """A baseline that a kind has a name for.

    Attributes:
        make: (what the model takes, the thing that is explained) -> float32, which broadcasts to
            the input; the thing is None where the baseline is not of it.
        of_thing: whether each thing has its own.
    """

    make: Callable[[ModelInput, Any], np.ndarray]
    of_thing: bool = False


class Reading(NamedTuple):
    """How something is read.

    Attributes:
        name: what messages call it.
        strict: whether what is damaged is refused.
        fast: whether it may be decoded smaller than it is, if that covers the model's input.
    """

    name: str
    strict: bool = False
    fast: bool = False


def _refuse(into: ModelInput) -> None:
    raise InvalidInputError(f"the model's input {into.name!r} is of another kind")


def _as_it_is(box: Box, thing: Any, into: ModelInput) -> Box:
    del thing, into
    return box


def _undamaged(thing: Any) -> str | None:
    del thing
    return None


@dataclass(frozen=True)
class InputKind:
    """A kind of input. What it reads, a *thing*, nobody else looks into.

    All functions are a module's own, so that a kind may be sent to other processes.

    Attributes:
        name: as a card's `kind` has it.
        title: what it is, in messages: "an image".
        suffixes: () -> how its files' names end, with the dot and in lower case.
        begins: (a file's first bytes) -> whether they are of this kind; None: nothing tells.
        takes: whether a model's input can be of this kind.
        read: (path, bytes, array or what else Python code has, how, what the model takes) -> thing.
        fit: what of a thing the model needs, of no more bytes than that.
        tensor: what `fit` gave as the model takes it, [1, ...].
        features: (card of this kind, declared shape) -> where channels and positions lie, as the
            card says; None: it does not say. Raises where the card's own settings are wrong.
        view: the ground that maps are drawn over, made of a thing.
        draw: (map of one row, what the model takes, method, further arguments of `heatmap_of`) ->
            the map in the view's geometry, with its scale.
        baselines: by name.
        baseline_file: a baseline in a file that is no `.npy`, as `baselines` make them; None: there
            are no such files.
        box_in_thing: (corners in the model's input, thing, what the model takes) -> in the thing's
            own pixels; as they are where it has no other.
        box_in_input: the other way round.
        damage: what is wrong with a thing's file, of which something could be read; or None.
        default_baseline: (what the model takes) -> the name of the baseline where none is asked
            for; None: black of a picture, else zeros.
        filled: (what the model takes, another input's name, this input [N, ...]) -> what follows
            for the other, [N, ...]; None: nothing.
        named: (thing, a map of it with a number for each part) -> parts by name with their
            numbers; None: parts have no names.
        members: (path) -> a path for each of the things in a file that may hold several, as
            `files.members` has them; None: a file is one thing.
        refuse: raises what there is to say of an input that it does not take.
        place: kinds are asked in this order.
    """

    name: str
    title: str
    suffixes: Callable[[], frozenset[str]]
    takes: Callable[[ModelInput], bool]
    read: Callable[[Any, Reading, ModelInput], Any]
    fit: Callable[[Any, ModelInput], Any]
    tensor: Callable[[Any, ModelInput], np.ndarray]
    features: Callable[[Card, Shape], Features | None]
    view: Callable[[Any, ModelInput], Picture]
    draw: Callable[..., Heatmap]
    baselines: Mapping[str, Named] = field(default_factory=dict)
    baseline_file: Callable[[str, ModelInput], np.ndarray] | None = None
    begins: Callable[[bytes], bool] | None = None
    damage: Callable[[Any], str | None] = _undamaged
    box_in_thing: Callable[[Box, Any, ModelInput], Box] = _as_it_is
    box_in_input: Callable[[Box, Any, ModelInput], Box] = _as_it_is
    default_baseline: Callable[[ModelInput], str | None] | None = None
    filled: Callable[[ModelInput, str, np.ndarray], np.ndarray | None] | None = None
    named: Callable[[Any, np.ndarray], Sequence[tuple[str, float]]] | None = None
    members: Callable[[str], Sequence[str]] | None = None
    refuse: Callable[[ModelInput], None] = _refuse
    place: int = 50
