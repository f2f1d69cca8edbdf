"""What a metric is: a record that says how it is measured, named and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .trial import Trial

# Of how many images an evaluation measures it, at most; None: of all.
MOST_IMAGES: dict[str, int | None] = {"low": None, "middle": 16, "high": 6, "highest": 3}


@dataclass(frozen=True, eq=False)
class Metric:
    """One way to say how good a map is.

    Attributes:
        name: what users call it by; `onnxplain.metrics` has its function under it, dashes as
            underscores.
        title: as it is printed.
        cite: authors and year.
        summary: one sentence.
        measure: (trial, settings by name) -> the number of one map of one input; NaN: undefined.
        function: the same for users, of (explainer, x, explanation).
        settings: what `measure` takes, with defaults.
        higher_is_better: which way it is read.
        faithful: whether a map that knows nothing of the model must do badly; where only the map's
            steadiness or its change is measured, it may do best.
        needs_region: whether it asks where the object is.
        needs_picture: whether it asks for an input with two spatial axes.
        needs_numbers: whether it asks for an input that can change a little: no token ids.
        cost: "low", "middle", "high" or "highest"; see `MOST_IMAGES`.
        before: (trials of one method, jobs at once, settings): does once what all of them share;
            None: nothing.
        curves: (trial, settings) -> curves by name, each (places of its points, its values).
    """

    name: str
    title: str
    cite: str
    summary: str
    measure: Callable[..., float]
    function: Callable[..., Any]
    settings: Mapping[str, Any]
    higher_is_better: bool
    faithful: bool = True
    needs_region: bool = False
    needs_picture: bool = False
    needs_numbers: bool = False
    cost: str = "low"
    before: Callable[..., None] | None = None
    curves: Callable[..., Mapping[str, tuple[Any, Any]]] | None = None

    def unfit(self, trial: Trial) -> str | None:
        """Why it does not apply to a trial; None where it does."""
        if self.needs_picture and not trial.is_picture:
            return f"{self.name} needs pictures, [N, C, H, W] or [N, H, W, C]"
        if self.needs_region and trial.region is None:
            return f"{self.name} needs to be told where the object is (masks or boxes)"
        if self.needs_numbers and trial.explainer.subject.sources[0].embedded:
            return f"{self.name} needs numbers; token ids have no small changes"
        return None
