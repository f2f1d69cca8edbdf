"""A model's card from all that lies around it; of each fact, where it came from."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import onnx

from ... import InvalidInputError
from ..assumed_card import assume_card
from ..card import ModelCard, locate_card
from ..own_card import is_answered
from ..plain_card import Card
from ..text import counted, shown
from . import hugging_face, in_graph, in_metadata, neighbours, paddle
from .place import Facts, Place, place_of

logger = logging.getLogger("onnxplain")

ASSUMED = "assumed"
FILE = "the input as the file declares it"
# Facts that mean something together only: all of them are one source's.
_GROUPS = (
    ("scale", "mean", "std"),
    ("resize", "crop_fraction", "pad_color", "pad_position", "rounding"),
)
_OF_ALL = ("labels", "task", "probability", "output")
# What a source may stumble over whose file is of another form than it should be.
_OTHER_FORM = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Source(NamedTuple):
    """Something that may say how a model is used.

    Attributes:
        name: where facts of it came from, in words.
        read: (a model and what lies around it) -> facts by a card's keys; {} where it is not there.
    """

    name: str
    read: Callable[[Place], Facts]


# The first that says something is believed.
SOURCES = (
    Source("Ultralytics' metadata", in_metadata.ultralytics),
    Source("YOLOv5's metadata", in_metadata.yolov5),
    Source("LibreYOLO's metadata", in_metadata.libreyolo),
    Source("ModelAPI's metadata (model_info ...)", in_metadata.model_api),
    Source("metadata 'character'", in_metadata.characters),
    Source("metadata 'feature_names'", in_metadata.feature_names),
    Source("metadata Image.*", in_metadata.onnx_image),
    Source("preprocessor_config.json", hugging_face.preprocessor),
    Source("config.json", hugging_face.config),
    Source("config.json (timm)", hugging_face.timm),
    Source("inference.yml", paddle.inference),
    Source("infer_cfg.yml", paddle.detection),
    Source("metadata_properties.json", neighbours.azure),
    Source("environment.json", neighbours.roboflow),
    Source("pipeline.json", neighbours.mmdeploy),
    *(
        Source(name, partial(neighbours.labels_in, name=name))
        for name in ("labels.txt", "class_names.txt", "classes.txt", "synset.txt", "labels.json")
    ),
    Source("the graph: integers", in_graph.integer_input),
    Source("the graph: YOLOX's head", in_graph.yolox),
    Source("the graph: a normalisation at its head", in_graph.head),
)


class Known(NamedTuple):
    """What is known of a model's input and outputs.

    Attributes:
        card: with what was assumed, where nothing said it; None: nothing is known or assumed.
        sources: where each of its facts came from, by key.
        own: where the card is that somebody wrote for the model, or None.
        notes: what was passed over, and why: a line each.
        reason: why nothing could be assumed of its input, or None.
    """

    card: Card | None
    sources: Mapping[str, str]
    own: str | None
    notes: tuple[str, ...]
    reason: str | None = None

    @property
    def stated(self) -> Card | None:
        """The same without what was assumed: labels and the like only, if an image's was."""
        card = self.card
        if not isinstance(card, ModelCard) or not card.assumed:
            return card
        said = {key: getattr(card, key) for key in _OF_ALL if getattr(card, key) is not None}
        return Card(**said) if said else None


def known_of(
    model: onnx.ModelProto,
    path: str | os.PathLike[str] | None,
    shape: Sequence[int | str | None] | None = None,
    dtype: str | None = None,
    given: tuple[Card, str] | None = None,
) -> Known:
    """What is known of a model.

    Args:
        model: as it was read.
        path: where it was read from, or None: then it has no neighbours.
        shape: of the input that is explained; with dtype. None: the file's first image, or input.
        dtype: of its elements, as numpy names it.
        given: a card that stands in place of the one that is found, and where it is from.

    Raises:
        InvalidInputError: somebody wrote a card for it, and it is wrong.
    """
    place = place_of(model, None if path is None else Path(path).parent)
    located = given or locate_card(model, path)
    facts, notes = _gathered(place)
    if dtype is None:
        first = place.image or (place.inputs[0] if place.inputs else None)
        shape = None if first is None else first.shape
        dtype = "float32" if first is None else _dtype_name(first.dtype)
    if located is not None:
        known = _completed(*located, facts)
    else:
        known = _built(facts, shape, dtype, notes)
    for note in notes:
        _tell(note)
    return known._replace(notes=tuple(notes))


def _dtype_name(number: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, TypeError):
        return "float32"


@cache
def _tell(note: str) -> None:
    """Once in each process, since a model's card is asked for several times."""
    logger.warning(note)


def _gathered(place: Place) -> tuple[dict[str, tuple[Any, str]], list[str]]:
    """Each fact with its source, and what was passed over."""
    facts: dict[str, tuple[Any, str]] = {}
    notes: list[str] = []
    for source in SOURCES:
        try:
            found = source.read(place)
        except InvalidInputError as error:
            notes.append(shown(f"passed over: {error}"))
            continue
        except _OTHER_FORM as error:
            reason = f"{type(error).__name__}: {str(error)[:80]}"
            notes.append(shown(f"passed over: {source.name} is of another form ({reason})"))
            continue
        _add(facts, found, source.name, place, notes)
    return facts, list(dict.fromkeys(notes))


def _add(
    facts: dict[str, tuple[Any, str]], found: Facts, name: str, place: Place, notes: list[str]
) -> None:
    """Take what nobody has said before; of facts that belong together all or none."""
    found = dict(found)
    if "labels" in found and (classes := _other_count(len(found["labels"]), place)) is not None:
        own = counted(len(found.pop("labels")), "label")
        notes.append(f"passed over: {name} has {own}, and the model {counted(classes, 'class')}")
    if "channels" in facts and facts["channels"][0] == found.get("channels", "")[::-1]:
        # Numbers in the order of other channels than those that are known.
        for key in _GROUPS[0]:
            found[key] = found[key][::-1] if isinstance(found.get(key), tuple) else found.get(key)
    found = {key: value for key, value in found.items() if value is not None}
    for group in _GROUPS:
        if any(key in facts for key in group):
            found = {key: value for key, value in found.items() if key not in group}
    for key, value in found.items():
        facts.setdefault(key, (value, name))


def _other_count(count: int, place: Place) -> int | None:
    """How many classes a classifier has, if it has not so many; None: it fits, or is not known."""
    shapes = [one.shape for one in place.outputs]
    if not shapes or any(shape is None or len(shape) != 2 for shape in shapes):
        return None
    classes = [shape[1] for shape in shapes if shape is not None]
    return None if None in classes or count in classes else classes[0]


def _completed(card: Card, where: str, facts: Mapping[str, tuple[Any, str]]) -> Known:
    """A card that somebody wrote, with labels and the like that it leaves out."""
    keys = [one.name for one in fields(card) if one.name not in ("assumed", "settings")]
    sources = {key: where for key in keys if getattr(card, key) is not None}
    more = {key: facts[key] for key in _OF_ALL if key in facts and getattr(card, key) is None}
    card = replace(card, **{key: value for key, (value, _) in more.items()})
    return Known(card, sources | {key: name for key, (_, name) in more.items()}, where, ())


def _built(
    facts: Mapping[str, tuple[Any, str]],
    shape: Sequence[int | str | None] | None,
    dtype: str,
    notes: list[str],
) -> Known:
    """The card that the facts and the input's shape make, and what is assumed for the rest."""
    try:
        base = assume_card(_with_channels(shape, facts), dtype)
    except InvalidInputError as error:
        return _of_arrays(facts, str(error))
    said = _fitting(facts, base, shape)
    sources = {one.name: ASSUMED for one in fields(ModelCard) if one.name not in _OF_ALL}
    sources |= {"dtype": FILE, "layout": FILE}
    sources |= {} if any(text.startswith("size ") for text in base.assumed) else {"size": FILE}
    card, given = base, set[str]()
    for keys in (*_GROUPS, *((key,) for key in said if not any(key in g for g in _GROUPS))):
        group = {key: said[key][0] for key in keys if key in said}
        if not group:
            continue
        if keys == _GROUPS[1]:
            group = {**dict.fromkeys(keys), **_DEFAULTS, **group}
        try:
            card = replace(card, **group)
        except InvalidInputError as error:
            notes.append(shown(f"passed over: {said[next(iter(said.keys() & group))][1]}: {error}"))
            continue
        sources |= {key: said[key][1] for key in group if key in said}
        given |= set(group)
    # Channels that are known, in a shape that holds them in one place.
    given |= {"layout"} if "channels" in given else set()
    assumed = tuple(text for text in card.assumed if not is_answered(text, given))
    told = {k: v for k, v in sources.items() if k in said or k in ("dtype", "layout", "size")}
    return Known(replace(card, assumed=assumed), sources | told, None, ())


_DEFAULTS = {"crop_fraction": 1.0, "pad_color": 0.0, "pad_position": "center", "rounding": None}


def _with_channels(
    shape: Sequence[int | str | None] | None, facts: Mapping[str, tuple[Any, str]]
) -> Sequence[int | str | None] | None:
    """A shape with its channels, where the file leaves them open and a source knows them."""
    dims = list(shape or ())
    is_open = len(dims) == 4 and not {1, 3} & {dims[1], dims[3]}
    if not is_open or "channels" not in facts or (isinstance(dims[1], int) and dims[1] > 0):
        return shape
    dims[1] = 1 if facts["channels"][0] == "GRAY" else 3
    return dims


def _fitting(
    facts: Mapping[str, tuple[Any, str]], base: ModelCard, shape: Sequence[int | str | None] | None
) -> dict[str, tuple[Any, str]]:
    """Those facts that are not about another input than the file's."""
    said = {key: pair for key, pair in facts.items() if key in base.__dict__}
    if "channels" in said and (said["channels"][0] == "GRAY") != (base.channels == "GRAY"):
        del said["channels"]
    fixed = not any(text.startswith("size ") for text in base.assumed)
    if "size" in said and fixed:
        del said["size"]
    elif "size" in said:
        dims = list(_with_channels(shape, facts) or ())
        own = [dims[base.layout.index(axis)] for axis in "HW"]
        chosen = [d if isinstance(d, int) and d > 0 else s for d, s in _pairs(own, said)]
        said["size"] = (tuple(chosen), said["size"][1])
    return said


def _pairs(own: list[int | str | None], said: Mapping[str, tuple[Any, str]]):
    return zip(own, said["size"][0], strict=True)


def _of_arrays(facts: Mapping[str, tuple[Any, str]], reason: str) -> Known:
    """What is known of a model that takes no image."""
    said = {key: facts[key] for key in (*_OF_ALL, "names") if key in facts}
    sources = {key: name for key, (_, name) in said.items()}
    values = {key: value for key, (value, _) in said.items() if key != "names"}
    if "names" in said:
        values |= {"kind": "array", "settings": {"names": said["names"][0]}}
    return Known(Card(**values) if values else None, sources, None, (), reason)
