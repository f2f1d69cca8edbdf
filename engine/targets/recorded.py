"""A target as it stands in a record: what it is called, and how it is asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .target import Again, Index, Target, asked_again, key_of_target


@dataclass(frozen=True, kw_only=True)
class TargetRecord:
    """What is kept of a target.

    Attributes:
        index: a class, or an index tuple.
        label: its name; None: not known.
        output: name of the output that its scores are of.
        minus, against, name, versus: as `Target` has them.
        box: x0, y0, x1, y1 of what it is the score of, in the photo's own pixels; None: of no box.
        box_in_view: the same as parts of the model's input.
        own: the target itself, which a record that was read has no more.
    """

    index: Index
    label: str | None = None
    output: str = ""
    minus: Index | None = None
    against: bool = False
    name: str | None = None
    versus: str | None = None
    box: tuple[float, ...] | None = None
    box_in_view: tuple[float, ...] | None = None
    own: Target | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        """What tells it from all others, as files are named after it; see `Target.key`."""
        return key_of_target(self.index, self.minus, self.against, self.name)

    @property
    def again(self) -> Again:
        """What an explainer is asked for the same: a class, an index tuple, a text or itself.

        What has a name of its own is more than its index says: all characters of a text, say.
        """
        if self.name is not None and self.own is not None:
            return self.own
        return asked_again(self.index, self.minus, self.against)

    @property
    def words(self) -> str:
        """Its label, or its index."""
        if isinstance(self.index, tuple) and not self.label:
            return f"{self.output}{list(self.index)}"
        return self.label or self.index_words

    @property
    def index_words(self) -> str:
        """Its index, in words."""
        return f"class {_listed(self.index)}"

    def to_json(self) -> dict[str, Any]:
        """As results.json has it: what there is."""
        found = {"index": _listed(self.index), "label": self.label}
        if self.minus is not None:
            found["minus"] = _listed(self.minus)
        if self.against:
            found["against"] = True
        if self.name is not None:
            found["name"] = self.name
        if self.versus is not None:
            found["versus"] = self.versus
        if self.box is not None:
            found["box"] = list(self.box)
        if self.box_in_view is not None:
            found["box_in_view"] = list(self.box_in_view)
        return {**found, "output": self.output}


def target_of_json(data: Mapping[str, Any]) -> TargetRecord:
    """What a record of results.json says of its target; what is not there is not known."""

    def known(name: str) -> Any:
        value = data.get(name)
        return tuple(value) if isinstance(value, list) else value

    names = "index", "label", "minus", "name", "versus", "box", "box_in_view"
    against, output = bool(data.get("against")), str(data.get("output"))
    return TargetRecord(**{name: known(name) for name in names}, against=against, output=output)


def _listed(index: Index) -> int | list[int]:
    return list(index) if isinstance(index, tuple) else index
