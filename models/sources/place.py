"""A model and what lies around it, read within bounds: texts, JSON, YAML, Python literals."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from onnx import TensorProto

from ... import InvalidInputError
from ..files import beside, parse_json, read_text

Facts = dict[str, Any]

# Characters of YAML and of a Python literal, and how deep they may be nested.
_MOST_YAML = 2 * 2**20
_MOST_LITERAL = 2**20
_DEEPEST = 20
_SIGNS = re.compile(r"(?:[-+~]\s*){3}")


class Tensor(NamedTuple):
    """An input or output as the file declares it; None stands for a length that is left open."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: int


@dataclass(frozen=True)
class Place:
    """A model and where it lies.

    Attributes:
        graph: the model's own.
        metadata: the file's, by key.
        folder: where it lies, or None.
        inputs: without those that are weights.
        outputs: all of them.
    """

    graph: onnx.GraphProto
    metadata: Mapping[str, str]
    folder: Path | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def file(self, name: str, above: bool = False) -> Path | None:
        """A neighbour of that name; with `above` also one folder up from `onnx/`."""
        if self.folder is None:
            return None
        folders = [self.folder]
        if above and self.folder.resolve().name == "onnx":
            folders.append(self.folder.resolve().parent)
        for folder in folders:
            found = beside(folder, name)
            if found is not None and found.is_file():
                return found
        return None

    def text(self, name: str, above: bool = False) -> str | None:
        """The text of a neighbour, or None where there is none."""
        path = self.file(name, above)
        return None if path is None else read_text(path, "file")

    def json(self, name: str, above: bool = False) -> dict[str, Any]:
        """The JSON object in a neighbour; {} where there is none."""
        text = self.text(name, above)
        return {} if text is None else object_in(text, name)

    def yaml(self, name: str) -> dict[str, Any]:
        """The YAML mapping in a neighbour; {} where there is none."""
        text = self.text(name)
        return {} if text is None else mapping(parse_yaml(text, name))

    @property
    def image(self) -> Tensor | None:
        """The input that may be an image: of four axes, the first of these."""
        return next((one for one in self.inputs if len(one.shape or ()) == 4), None)

    @property
    def sides(self) -> tuple[int | None, int | None]:
        """Height and width of the image as the file declares them."""
        shape = (self.image.shape if self.image is not None else None) or (None,) * 4
        last = shape[3] in (1, 3) and shape[1] not in (1, 3)
        return (shape[1], shape[2]) if last else (shape[2], shape[3])


def place_of(model: onnx.ModelProto, folder: Path | None) -> Place:
    """A model and the folder in which it lies, if it does in any."""
    weights = {one.name for one in model.graph.initializer}
    return Place(
        model.graph,
        {entry.key: entry.value for entry in model.metadata_props},
        folder,
        tuple(_tensor(one) for one in model.graph.input if one.name not in weights),
        tuple(map(_tensor, model.graph.output)),
    )


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    own = value.type.tensor_type
    if not own.HasField("shape"):
        return Tensor(value.name, None, own.elem_type)
    lengths = [dim.dim_value if dim.dim_value > 0 else None for dim in own.shape.dim]
    return Tensor(value.name, tuple(lengths), own.elem_type or TensorProto.FLOAT)


def object_in(text: str, what: str) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        InvalidInputError: it is none.
    """
    found = parse_json(text, what)
    if not isinstance(found, dict):
        raise InvalidInputError(f"{what}: expected a JSON object, got {type(found).__name__}")
    return found


def mapping(value: Any) -> dict[str, Any]:
    """A dictionary as it is, and {} of anything else."""
    return value if isinstance(value, dict) else {}


def steps_in(value: Any) -> list[dict[str, Any]]:
    """The dictionaries in a list; [] of anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def one_keyed(value: Any) -> dict[str, dict[str, Any]]:
    """[{"Resize": {...}}, {"ToCHW": None}] as one dictionary of dictionaries."""
    return {str(key): mapping(own) for one in steps_in(value) for key, own in one.items()}


def literal(text: str, what: str) -> Any:
    """What a Python literal stands for, as exporters write `str(value)`; nothing is evaluated.

    Raises:
        InvalidInputError: it is none, too long, or nested too deep.
    """
    if len(text) > _MOST_LITERAL:
        raise InvalidInputError(
            f"{what}: expected at most {_MOST_LITERAL:,} characters, got {len(text):,}"
        )
    if _depth(text) > _DEEPEST or _SIGNS.search(text):
        raise InvalidInputError(f"{what}: expected a Python literal that is nested less deep")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InvalidInputError(f"{what}: expected a Python literal, got {text[:40]!r}") from None


def _depth(text: str) -> int:
    """How deep brackets are nested, whatever stands in texts: at most too deep."""
    deepest = depth = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth = max(depth - 1, 0)
    return deepest


def parse_yaml(text: str, what: str) -> Any:
    """What a YAML text says.

    Aliases are refused: a few lines of them stand for more than fits into memory.

    Raises:
        InvalidInputError: it is none, too long, nested too deep, or has aliases.
    """
    import yaml

    if len(text) > _MOST_YAML:
        raise InvalidInputError(
            f"{what}: expected at most {_MOST_YAML:,} characters, got {len(text):,}"
        )
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml.parse(text, Loader=loader), what)
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:120]
        raise InvalidInputError(f"{what}: expected YAML, but {reason}") from None
    except (ValueError, RecursionError, MemoryError):
        raise InvalidInputError(f"{what}: expected YAML that can be read") from None


def _check_events(events: Iterable[Any], what: str) -> None:
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if kind == "AliasEvent":
            raise InvalidInputError(f"{what}: expected YAML without aliases")
        if depth > _DEEPEST:
            raise InvalidInputError(f"{what}: expected YAML that is nested less deep")


def numbers_in(value: Any, what: str) -> tuple[float, ...]:
    """Numbers in a list, in one number, or in a text with commas or spaces between, or 1/255.

    Raises:
        InvalidInputError: there are other things, or none.
    """
    parts = value
    if isinstance(value, str):
        parts = value.strip().strip("[]()").replace(",", " ").split()
    parts = parts if isinstance(parts, list | tuple) else [parts]
    found = [_number(part) for part in parts[:4]]
    if not found or len(parts) > 4 or None in found:
        raise InvalidInputError(f"{what}: expected numbers, got {str(value)[:40]!r}")
    return tuple(number for number in found if number is not None)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        top, _, bottom = value.partition("/")
        try:
            return float(top) / (float(bottom) if bottom else 1.0)
        except (ValueError, ZeroDivisionError):
            return None
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None


def side(value: Any) -> int | None:
    """A whole number of pixels that a picture may have along a side; None of anything else."""
    if isinstance(value, str) and len(value) < 8 and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1:
        return None
    return int(value) if 0 < value < 2**15 else None


def pair(value: Any) -> tuple[int, int] | None:
    """(height, width) of {"height", "width"}, [height, width] or one number; None of others."""
    if isinstance(value, dict):
        value = [value.get("height"), value.get("width")]
    values = value if isinstance(value, list | tuple) else [value, value]
    sides = [side(one) for one in values]
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        return None
    return sides[0], sides[1]
