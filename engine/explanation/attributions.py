"""What a method's runs returned for N inputs, or for one input and N targets: numbers alone."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np

from ..targets.target import Target, indices_of
from .origin import Origin

# What has a row for each target of an input.
_ROWED = ("attribution", "target", "score", "baseline_score", "residual", "points", "map_error")
# What no comparison looks at: it is there for what is drawn and written.
_APART = ("origin", "targets", "points")
# What `in_short` shows of a value.
_MOST_SHOWN, _LONGEST = 8, 120
Own = TypeVar("Own", bound="Attributions")


@dataclass(frozen=True, eq=False, repr=False)
class Attributions:
    """The numbers of N explanations; see `Explanation`, which says what each of them is."""

    method: str
    attribution: Any
    target: np.ndarray | tuple[int, ...]
    score: np.ndarray
    baseline_score: np.ndarray | None = None
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    feature_map: str | None = None
    steps: int | None = None
    residual: np.ndarray | None = None
    points: np.ndarray | None = None
    map_error: np.ndarray | None = None
    provider: str = ""
    origin: Origin | None = None
    targets: tuple[Target, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Attributions):
            return NotImplemented
        names = (f.name for f in fields(self) if f.name not in _APART)
        return all(same_values(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        names = [f.name for f in fields(self) if f.name not in _APART]
        shown = {name: in_short(getattr(self, name)) for name in names}
        if self.relative_delta is not None:
            shown["relative_delta"] = in_short(self.relative_delta)
        return (
            f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in shown.items())})"
        )

    def __len__(self) -> int:
        """How many explanations it holds: of N inputs, or of one input for N targets."""
        return len(self.score)

    def __getitem__(self: Own, row: int) -> Own:
        """One of them, with the arrays' first axis kept: `e[0].attribution` is [1, ...]."""
        row = operator.index(row)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row}: there are {len(self)}")
        return one_of(self, row % len(self))

    @property
    def against(self) -> bool:
        """Whether all scores are times -1: what speaks against the targets.

        Examples:
            >>> explainer(x, "not seven").against
            True
        """
        return bool(self.targets) and all(target.against for target in self.targets)

    @property
    def image(self) -> str | None:
        """Path of the image file that it is of; None: an array was given.

        Examples:
            >>> explainer.explain("seven.png").image
            'seven.png'
        """
        return None if self.origin is None else self.origin.image

    @property
    def delta(self) -> np.ndarray | None:
        """sum(attribution) - (score - baseline_score), float64 [N].

        What completeness leaves over.

        Examples:
            >>> d = onnxplain.Explainer("digits.onnx", "deeplift")(x)
            >>> abs(d.delta[0]) < 1e-3
            True
        """
        if self.baseline_score is None:
            return None
        parts = self.attribution
        total = sum(
            part.reshape(len(self.score), -1).sum(axis=1, dtype=np.float64)
            for part in (parts.values() if isinstance(parts, dict) else [parts])
        )
        return total - (self.score - self.baseline_score)

    @property
    def relative_delta(self) -> np.ndarray | None:
        """|delta| / |score - baseline_score|, float64 [N].

        Examples:
            >>> d = onnxplain.Explainer("digits.onnx", "deeplift")(x)
            >>> d.relative_delta[0] < 1e-3
            True
        """
        delta = self.delta
        if delta is None or self.baseline_score is None:
            return None
        gap = np.abs(self.score - self.baseline_score)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(delta == 0, 0.0, np.abs(delta) / gap)


def same_values(a: Any, b: Any) -> bool:
    """Whether two values are equal, arrays by type, shape and elements, NaN being itself."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        alike = isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype
        return alike and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(
            same_values(value, b[name]) for name, value in a.items()
        )
    return type(a) is type(b) and a == b


def in_short(value: Any) -> str:
    """A value on one line: a few numbers as they are, of more their type, shape and range."""
    if isinstance(value, dict):
        shown = [f"{name!r}: {in_short(part)}" for name, part in list(value.items())[:_MOST_SHOWN]]
        more = [f"... {len(value)} in all"] if len(value) > _MOST_SHOWN else []
        return f"{{{', '.join([*shown, *more])}}}"
    if not isinstance(value, np.ndarray):
        text = repr(value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    if value.size <= _MOST_SHOWN and value.ndim < 2 and value.dtype.kind in "fiub":
        return np.array2string(value, separator=", ", precision=6, max_line_width=1000)
    head = f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    known = value[np.isfinite(value)] if value.dtype.kind in "fiu" else value[:0]
    if not known.size:
        return head
    strange = "" if known.size == value.size else f", {value.size - known.size} not finite"
    return f"{head} from {known.min():.4g} to {known.max():.4g}{strange}"


def one_of(explanation: Own, k: int) -> Own:
    """The k-th of N explanations as one: of N inputs that input's, of one input that target's."""
    count, origin = len(explanation), explanation.origin
    apart = origin is not None and origin.count == count > 1

    def own(values: Any) -> Any:
        if isinstance(values, dict):
            return {name: own(value) for name, value in values.items()}
        rowed = isinstance(values, np.ndarray) and values.shape[:1] == (count,)
        return values[k : k + 1] if rowed else values

    found = {name: own(getattr(explanation, name)) for name in _ROWED}
    targets = explanation.targets[k : k + 1]
    found |= {"targets": targets, **({"target": indices_of(targets)} if targets else {})}
    if apart and origin is not None:
        origin = replace(origin, inputs=own(origin.inputs), count=1)
        found |= {"outputs": own(explanation.outputs), "origin": origin}
    return replace(explanation, **found)


def each(explanation: Own) -> list[Own]:
    """N explanations as N of one; see `one_of`."""
    return [one_of(explanation, k) for k in range(len(explanation))]
