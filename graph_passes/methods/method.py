"""What a method is: a record that says how it is built, run, named and drawn."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx

from ... import InvalidInputError
from ..backward.walk import Refusal
from ..heads.halves import Halves
from ..select.feature_map import FeatureMap
from ..select.subject import Subject

# What the sign of a gradient says, which is of a change, not of what is there.
OF_A_CHANGE = ("darker would raise the score", "brighter would raise the score")
# Points of a path, from 0 to 1, and their weights: float64 [n] each.
Points = tuple[np.ndarray, np.ndarray]
# A method's options by name, checked and with their defaults.
Chosen = Mapping[str, Any]


class Option(NamedTuple):
    """Something that a method can be asked for.

    Attributes:
        name: as in Python; on the command line with dashes.
        help: one or two sentences.
        check: makes a value of what was given, or raises InvalidInputError.
        default: the value where nothing was asked for.
        choices: all values, where they are names.
        kind: int, float, bool or str: what the command line reads.
        command_line: whether it is offered there.
        metavar: what stands for its value in a help text.
        several: whether the command line takes it several times, for a list.
    """

    name: str
    help: str
    check: Callable[[Any], Any]
    default: Any = None
    choices: tuple[str, ...] = ()
    kind: type = str
    command_line: bool = True
    metavar: str | None = None
    several: bool = False


class Repeated(NamedTuple):
    """A graph that runs again and again, each time adding to what it returned before.

    Attributes:
        model: takes, beside what all runs are fed, a total for each of its outputs (see
            `heads.total_input`) and one row of each of `rows`.
        rows: (how many at once, what the model and its baselines are fed) -> for each such input
            an array [runs, at once, ...].
        passes: in all, of one input; None: that depends on what is fed.
        halves: (how many at once, `rows`' arrays) -> what tells the sum's error, where something
            does.
    """

    model: onnx.ModelProto
    rows: Callable[[int, Mapping[str, Any]], Mapping[str, np.ndarray]]
    passes: int | None
    halves: Callable[[int, Mapping[str, np.ndarray]], Halves | None] | None = None


class Adaptive(NamedTuple):
    """A graph that runs at points that are chosen by what the ones before have measured.

    Attributes:
        model: of `path_gradients`.
        at: its input that says where on the path each point is.
        passes: at most.
        tolerance: where it stops; None: at `passes`.
        map_tolerance: the same for the estimated error of the map; None: it is not asked.
    """

    model: onnx.ModelProto
    at: str
    passes: int
    tolerance: float | None
    map_tolerance: float | None = None


class File(NamedTuple):
    """What `Method.whole` is told of a file, beside the method's options.

    Attributes:
        at_once: points, samples or windows that go through the graph together.
        points: of a path whose points would be chosen on the way: these and their weights.
    """

    at_once: int = 2
    points: Points | None = None


class Stages(NamedTuple):
    """The graphs that a method's run consists of.

    Attributes:
        explain: takes places and weights of targets; runs for each input and target.
        baseline: what depends on the baseline alone, before it; runs once for each.
        along: what runs several times for each target, behind it.
    """

    explain: onnx.ModelProto
    baseline: onnx.ModelProto | None = None
    along: Repeated | Adaptive | None = None


def _facts(options: Chosen) -> dict[str, Any]:
    """All of them, but for what a file says in another way."""
    return {name: v for name, v in options.items() if name not in ("baseline", "layer")}


@dataclass(frozen=True, eq=False)
class Method:
    """How a model's score can be explained.

    Attributes:
        name: what users call it by.
        title: as it is printed.
        cite: authors and year.
        summary: one sentence.
        options: what it takes, beside target, input, output and score.
        stages: (subject, options) -> the graphs that run.
        whole: (subject, options) -> one graph that does all of it, for a file; None: where
            there is but one stage, that one. The options are then also those of `File`.
        unsupported: (subject, options) -> every reason why it cannot run; emits no backward pass.
        place: where it stands among the others; those of one place by name.
        default: whether it is one of those that run where nobody chose.
        of_places: the default method that it stands for where a score is that of one place.
        signed: whether its numbers may be negative.
        per_location: whether there is one number for a location, and not for an element.
        sums_to: what its numbers sum to, in words; None: nothing.
        owes: whether what they leave of that is an error.
        feature_maps: (subject, options) -> the tensors whose locations are explained.
        at_once: inputs that go through its graphs together on a CPU.
        baselines: whether it takes a set of baselines: "never", "maybe" (it has stages for one and
            for several; the option `several` says which are wanted, and to `whole` `set_size` how
            many a file has) or "always".
        settle: checks options against each other, and fills in what follows from others.
        facts: (options) -> what an exported file says of them.
        aliases: short names that people use for it, too.
        sign: what negative and positive numbers say.
        of: of a composition, the method that it is of, as the option `of` says; else its default.
        compositions: the same of other methods, each a record of its own.
    """

    name: str
    title: str
    cite: str
    summary: str
    options: tuple[Option, ...]
    stages: Callable[[Subject, Chosen], Stages]
    unsupported: Callable[[Subject, Chosen], Sequence[Refusal]]
    whole: Callable[[Subject, Chosen], onnx.ModelProto] | None = None
    place: int = 100
    default: bool = False
    of_places: str | None = None
    signed: bool = True
    per_location: bool = False
    sums_to: str | None = None
    owes: bool = True
    feature_maps: Callable[[Subject, Chosen], Sequence[FeatureMap]] | None = None
    at_once: int = 2
    baselines: str = "never"
    settle: Callable[[dict[str, Any]], dict[str, Any]] = dict
    facts: Callable[[Chosen], dict[str, Any]] = _facts
    aliases: tuple[str, ...] = ()
    sign: tuple[str, str] = ("speaks against it", "speaks for it")
    of: str | None = None
    compositions: tuple[Method, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether it has an option of that name."""
        return any(option.name == name for option in self.options)

    def composed(self, given: Mapping[str, Any]) -> tuple[Method, dict[str, Any]]:
        """The record that the option `of` asks for, and the other options.

        Raises:
            InvalidInputError: a method that it cannot be of.
        """
        rest = {name: value for name, value in given.items() if name != "of"}
        if self.of is None or given.get("of") in (None, self.of):
            return (self, dict(given)) if self.of is None else (self, rest)
        for one in self.compositions:
            if one.of == given["of"]:
                return one, rest
        known = [self.of, *(str(one.of) for one in self.compositions)]
        raise InvalidInputError(f"of must be one of {', '.join(known)}; got {given['of']!r}")

    def chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Its options: those given, checked, and the others' defaults; None counts as not given.

        Raises:
            InvalidInputError: a wrong value, or a name that it does not take.
        """
        names = [option.name for option in self.options]
        for name in given:
            if name not in names:
                takes = ", ".join(names) or "none"
                raise InvalidInputError(
                    f"{self.name} has no option {name!r}{nearest(name, names)} (it takes {takes})"
                )
        values = {}
        for option in self.options:
            value = given.get(option.name)
            values[option.name] = option.default if value is None else option.check(value)
        return self.settle(values)


def nearest(name: str, names: Collection[str]) -> str:
    """The names that are most like one, in words; empty where none is."""
    close = difflib.get_close_matches(name.lower(), names, cutoff=0.5)
    return f": did you mean {' or '.join(map(repr, close))}?" if close else ""
