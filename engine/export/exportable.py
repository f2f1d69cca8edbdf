"""What of an explainer goes into a file, so that files need not know explainers."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
import onnx

from ...graph_passes.graph.limits import Limits
from ...graph_passes.select.subject import Subject
from ...models.plain_card import Card
from ..explanation.attributions import Attributions
from ..inputs.kind import ModelInput
from ..model import Model
from ..running.plan import Plan
from ..running.settings import Settings
from ..targets.target import About, Answers


class Answering(Protocol):
    """What runs a model without an explanation."""

    def answers(self, x: Any) -> Answers:
        """What the model answers."""
        ...


class Exportable(Protocol):
    """An explainer, as who writes its file sees it; see `Explainer`."""

    method: str
    card: Card | None
    subject: Subject
    _file: Model
    _limits: Limits
    _settings: Settings
    _arguments: dict[str, Any]
    _preprocess: Any
    _several: bool
    _default_plan: Plan
    _baselines: dict[str, np.ndarray]

    @property
    def _scorer(self) -> Answering: ...

    @property
    def steps(self) -> int | None:
        """Passes at most."""
        ...

    def __call__(self, x: Any, target: Any = None) -> Attributions:
        """The explanation of an input."""
        ...

    def preprocess(self, photo: Any) -> np.ndarray:
        """The model's input, of a photo."""
        ...

    @property
    def about(self) -> About:
        """What targets are of."""
        ...

    @cached_property
    def into(self) -> ModelInput:
        """What the model takes at the explained input."""
        ...

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The explaining model."""
        ...

    @property
    def exported(self) -> Exportable:
        """The explainer whose graph is written."""
        ...

    def _default_baselines(self) -> dict[str, np.ndarray]: ...

    def _facts(self, baseline_input: bool) -> dict[str, Any]: ...

    def export(self, *given: Any, **how: Any) -> onnx.ModelProto:
        """Write the explaining graph; see `Exporting.export`."""
        ...
