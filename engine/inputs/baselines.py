"""Baselines by name, number or file: what a kind of input calls them, as arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from ... import InvalidInputError
from . import Input, kind_of_model, kinds
from .kind import InputKind, ModelInput, one_input
from .stored import read_numbers

Choice = str | Sequence[str] | None


def is_of_each(choice: Choice) -> bool:
    """Whether a baseline, or one of several, is made of the thing that is explained."""
    names = {name for kind in kinds().values() for name, b in kind.baselines.items() if b.of_thing}
    return any(one in names for one in listed(choice))


def is_file(choice: str) -> bool:
    """Whether a baseline is a file's path: no kind's name for one, and no number."""
    return _number(choice) is None and not any(choice in k.baselines for k in kinds().values())


def baseline_arrays(
    choice: str | Sequence[str], into: ModelInput, of: Input | None = None
) -> np.ndarray | list[np.ndarray]:
    """Make a baseline, or of several choices a set of them: float32, broadcastable to the input.

    Args:
        choice: a name that the kind of the model's input has, a number, a file of that kind, or a
            `.npy` array.
        into: what the model takes.
        of: what is explained; needed where `is_of_each`.

    Raises:
        InvalidInputError: no such name or file, or an array that does not fit.
    """
    made = [_one(one, into, of) for one in listed(choice)]
    return made[0] if isinstance(choice, str) else made


def default_baseline(into: ModelInput) -> np.ndarray:
    """The first that the kind of the model's input has a name for: black of images, else zeros."""
    return next(iter(kind_of_model(into).baselines.values())).make(into, None)


def listed(choice: Choice) -> Sequence[str]:
    """The choices, one by one."""
    return [] if choice is None else [choice] if isinstance(choice, str) else choice


def _one(choice: str, into: ModelInput, of: Input | None) -> np.ndarray:
    kind = own = kind_of_model(into)
    if choice not in own.baselines:
        others = (k for k in kinds().values() if k.takes(into) and choice in k.baselines)
        kind = next(others, own)
    named, number = kind.baselines.get(choice), _number(choice)
    if named is not None:
        if not named.of_thing:
            return named.make(into, None)
        own_name = None if of is None else of.kind.baselines.get(choice)
        if of is None or own_name is None or not own_name.of_thing:
            what = "nothing" if of is None else of.kind.title
            raise InvalidInputError(f"baseline {choice!r} is made of {kind.title}, got {what}")
        return own_name.make(into, of.thing)
    if number is not None:
        return np.array(number, np.float32)
    if choice.lower().endswith(".npy"):
        return read_numbers(choice, one_input(into))
    if own.baseline_file is not None and os.path.exists(choice):
        return own.baseline_file(choice, into)
    raise InvalidInputError(f"baseline: expected {_expected(own)}, got {choice!r}{_why(choice)}")


def _expected(kind: InputKind) -> str:
    if kind.baseline_file is not None:
        return f"{', '.join(kind.baselines)} or a file"
    return f"{', '.join(kind.baselines)}, a number or a .npy file"


def _why(choice: str) -> str:
    """That a name is another kind's."""
    for kind in kinds().values():
        if choice in kind.baselines:
            return f", which is for {kind.title}: the model's input is another, or has no card"
    return ""


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
