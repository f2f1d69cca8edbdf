"""Records: what was asked of an input and what came out, with its JSON, its row and its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ..running.answers import Top
from ..targets.recorded import TargetRecord, target_of_json
from .keys import failure_key, key_of, question_of
from .row import NUMBERS, Row

# A record as results.json and the journal have it.
Json: TypeAlias = dict[str, Any]


class Evidence(NamedTuple):
    """What hiding a map's strongest places did to its target.

    Attributes:
        part: of the input that was hidden.
        of: what `before` and `after` are: "probability" or "score".
        what: was hidden, in a word.
    """

    part: float
    of: str
    before: float | None
    after: float
    what: str = "photo"

    def to_json(self) -> Json:
        """As a record has it: `what` where it is no photo."""
        found = self._asdict()
        what = found.pop("what")
        return found if what == "photo" else {"what": what, **found}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out for one input, method and target: all that is said beside a picture.

    Attributes:
        method: its name.
        target: what was explained.
        score: the explained number; None, here and below, where it is none that JSON knows.
        probability, probability_from, close_call, top: as `outcomes.Answered` has them.
        baseline_score, delta, relative_delta, map_error: as `Explanation` has them.
        steps: passes that it took; None: the method has none.
        feature_map: that the method weighs; None: it has none.
        doubt: why the map may lie elsewhere than it is drawn; None: it does not.
        damage: what is wrong with the file, which was read as far as it goes; None: nothing.
        evidence: what hiding the strongest places did; None: it was not tried.
        strongest: the parts of the input that count most, words or columns, with their numbers.
    """

    method: str
    target: TargetRecord
    score: float | None = None
    probability: float | None = None
    probability_from: str | None = None
    close_call: bool = False
    top: tuple[Top, ...] = ()
    baseline_score: float | None = None
    delta: float | None = None
    relative_delta: float | None = None
    map_error: float | None = None
    steps: int | None = None
    feature_map: str | None = None
    doubt: str | None = None
    damage: str | None = None
    evidence: Evidence | None = None
    strongest: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record(Outcome):
    """An outcome, with what it is of and how it was made.

    Attributes:
        image: as it was given, such as a path.
        model: path of the model.
        model_sha256: of the model.
        options: what shaped the method's numbers, by name.
        provider: that ran the graphs.
        seconds: that it took.
        files: names in its folder, which a journal that gives a name away changes in place.
    """

    image: str
    model: str
    model_sha256: str
    options: Mapping[str, Any]
    provider: str
    seconds: float
    files: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What tells it from all others."""
        asked = self.image, self.model_sha256, self.method, self.target.output, self.options
        return key_of(question_of(*asked), self.target.key)

    def to_json(self) -> Json:
        """Its entry in results.json, which shares the list of files."""
        said = {"doubt": self.doubt} if self.doubt is not None else {}
        damage = {"damage": self.damage} if self.damage is not None else {}
        return {
            "image": self.image,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "method": self.method,
            "options": self.options,
            "target": self.target.to_json(),
            "score": self.score,
            "probability": self.probability,
            "probability_from": self.probability_from,
            "close_call": self.close_call,
            "top": [one._asdict() for one in self.top],
            "baseline_score": self.baseline_score,
            "delta": self.delta,
            "relative_delta": self.relative_delta,
            "map_error": self.map_error,
            "steps": self.steps,
            "feature_map": self.feature_map,
            **said,
            "provider": self.provider,
            "seconds": self.seconds,
            "files": self.files,
            **damage,
            **({"strongest": [list(one) for one in self.strongest]} if self.strongest else {}),
            "evidence": None if self.evidence is None else self.evidence.to_json(),
        }

    def row(self, tuples: bool = False) -> Row:
        """Its row in a table, without the attribution.

        Args:
            tuples: whether every target's index is a list.
        """
        index = self.target.index
        return Row(
            image=self.image,
            method=self.method,
            target_index=[index] if tuples and isinstance(index, int) else _listed(index),
            target_label=self.target.label,
            score=self.score,
            probability=self.probability,
            baseline_score=self.baseline_score,
            delta=self.delta,
            relative_delta=self.relative_delta,
            map_error=self.map_error,
            steps=self.steps,
            box=None if self.target.box is None else [*map(float, self.target.box)],
        )


@dataclass(frozen=True)
class Failure:
    """An image that could not be explained.

    Attributes:
        image: as it was given.
        model: path of the model.
        error: what is wrong, on one line.
    """

    image: str
    model: str
    error: str

    def to_json(self) -> Json:
        """Its entry in results.json."""
        return {"image": self.image, "model": self.model, "error": self.error}

    def key(self, model_sha256: str) -> str:
        """What tells it from all others."""
        return failure_key(self.image, model_sha256)

    @property
    def line(self) -> str:
        """For people to read."""
        return self.error if self.image in self.error else f"{self.image}: {self.error}"


def outcome_of_json(data: Mapping[str, Any]) -> Outcome:
    """What came out, of a record of this version or an earlier one; what lacks is not known.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no record.
    """
    return Outcome(**_outcome(data))


def record_of_json(data: Mapping[str, Any]) -> Record | None:
    """A record of results.json, of this version or an earlier one; None: it is none."""
    try:
        return Record(
            **_outcome(data),
            image=data["image"],
            model=data["model"],
            model_sha256=data["model_sha256"],
            options=data["options"],
            provider=data["provider"],
            seconds=data["seconds"],
            files=_texts(data["files"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


_SAID = "probability_from", "steps", "feature_map", "doubt", "damage"


def _outcome(data: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: data.get(name) for name in (*NUMBERS, *_SAID)}
    top, evidence = data.get("top") or [], data.get("evidence")
    return {
        "method": data["method"],
        "target": target_of_json(data["target"]),
        **known,
        "close_call": bool(data.get("close_call")),
        "top": tuple(Top(**one) for one in top),
        "evidence": Evidence(**evidence) if evidence else None,
        "strongest": tuple((str(name), float(v)) for name, v in data.get("strongest") or ()),
    }


def _texts(value: Any) -> list[str]:
    """The same list, of texts alone."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"expected names, got {value!r}")
    return value


def _listed(index: int | Sequence[int]) -> int | list[int]:
    return index if isinstance(index, int) else list(index)
