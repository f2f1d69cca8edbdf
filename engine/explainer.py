"""Explainer: builds the explaining graph once, then feeds it and collects what it returns."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import onnx

from onnxplain import InvalidInputError, OnnxplainError, UnsupportedModelError
from onnxplain.engine.arrays import (
    check_baseline,
    check_inputs,
    check_target,
    check_tolerance,
    if_out_of_range,
)
from onnxplain.engine.baselines import checked_baselines
from onnxplain.engine.batching import (
    all_alike,
    check_apart,
    check_rows,
    joined,
    may_be_shared,
    rows_of,
    share_of,
    size_of_coupled,
    with_rows,
)
from onnxplain.engine.explanation import Explanation
from onnxplain.engine.inspection import quantised_operators
from onnxplain.engine.model_files import write_model
from onnxplain.engine.paths import Progress
from onnxplain.engine.plan import PASSES, RESIDUAL, Plan, Settings
from onnxplain.engine.prepared import prepared_graph
from onnxplain.engine.session import Session, open_session
from onnxplain.engine.soundness import (
    Verification,
    not_finite,
    outputs_error,
    precision_of,
    raise_not_finite,
    warn_of_delta,
    warn_of_empty_maps,
)
from onnxplain.engine.stopwatch import phase
from onnxplain.engine.verification import gradient_error
from onnxplain.graph_passes import finish
from onnxplain.graph_passes.deeplift import RULES
from onnxplain.graph_passes.feature_map import find_feature_map
from onnxplain.graph_passes.quadrature import ADAPTIVE, quadrature_rule
from onnxplain.graph_passes.subject import select
from onnxplain.models.card import ModelCard, find_card
from onnxplain.models.load import load

logger = logging.getLogger("onnxplain")

METHODS = ("grad-cam", "integrated-gradients", "deeplift")
# Integrated Gradients, unless asked otherwise: to 1 % of the score's difference, in at most so many
# passes; and the passes of a fixed rule.
TOLERANCE, MOST_STEPS, FIXED_STEPS = 0.01, 200, 50
# Inputs that go through a graph at once, so that memory stays bounded for any number of them, and
# on a CPU so that its caches hold what one operator hands to the next: DeepLIFT, which carries two
# activations, took 1.1 to 1.3 times as long for each of 2 to 16 inputs at once as for one.
_MOST_AT_ONCE = {
    "cpu": {"grad-cam": 4, "integrated-gradients": 2, "deeplift": 1},
    "other": dict.fromkeys(METHODS, 8),
}


class Explainer:
    """Explains one output of one model by one method.

    Args:
        model: path, bytes or onnx.ModelProto.
        method: "grad-cam", "integrated-gradients" or "deeplift".
        layer: Grad-CAM's feature map, by tensor or node name; None finds it.
        baseline: what IG and DeepLIFT start from: an array that broadcasts to the input; None takes
            the model card's black image, or zeros without a card.
        steps: gradient passes of Integrated Gradients for each input, all of them taken; with a
            tolerance, or "adaptive", at most. None: as many as a tolerance of 1 % asks for, at most
            200 (50 for another `quadrature`, and in an exported file).
        tolerance: Integrated Gradients stops when |delta| is at most this part of the difference of
            the scores (0.01 is 1%), or after `steps` passes, with a warning. None: 0.01 where
            `steps` is None, too; else no such end.
        quadrature: "gauss-legendre", "trapezoid", "left", "right", "middle", or "adaptive", which
            bisects the intervals of each input's path that miss most. None is "adaptive" where
            there is a tolerance and "gauss-legendre" elsewhere. An exported file cannot choose
            points on the way: with "adaptive" it has points of "gauss-legendre".
        rule: DeepLIFT's rule for nonlinearities: "rescale" or "reveal-cancel".
        output: name of the output to explain; None takes the card's, or finds it.
        input: name of the input to attribute to, or several names: IG and DeepLIFT then share the
            difference of the scores out over all of them, and `attribution` and `baseline` are
            dicts by name. None finds one.
        score: "logit" (before a final Softmax, LogSoftmax or Sigmoid) or "output".
        providers: "auto" (None), "cpu", "cuda" or ONNX Runtime's provider names.
        threads: threads inside one operator; None lets ONNX Runtime choose.

    Raises:
        UnsupportedModelError: the model is unreadable, or cannot be explained by this method.
        InvalidInputError: a wrong argument.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | onnx.ModelProto,
        method: str = "grad-cam",
        *,
        layer: str | None = None,
        baseline: Any = None,
        steps: int | None = None,
        tolerance: float | None = None,
        quadrature: str | None = None,
        rule: str = "rescale",
        output: str | None = None,
        input: str | Sequence[str] | None = None,
        score: str = "logit",
        providers: str | Sequence[str] | None = None,
        threads: int | None = None,
    ):
        if method not in METHODS:
            raise InvalidInputError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
        if rule not in RULES:
            raise InvalidInputError(f"rule must be one of {', '.join(RULES)}; got {rule!r}")
        tolerance = check_tolerance(tolerance, method, quadrature)
        self.method = method
        with phase("load"):
            loaded = load(model)
        self._given = model
        self._precision = precision_of(loaded, bool(quantised_operators(loaded)))
        self.card = find_card_of(model, loaded)
        default = method == "integrated-gradients" and quadrature in (None, ADAPTIVE)
        if default and tolerance is None and steps is None:
            tolerance = TOLERANCE
        if quadrature is None:
            quadrature = "gauss-legendre" if tolerance is None else ADAPTIVE
        adaptive = quadrature == ADAPTIVE
        most = (MOST_STEPS if adaptive else FIXED_STEPS) if steps is None else steps
        points, weights = quadrature_rule(quadrature, most)
        # What an exported file does: see `quadrature` above.
        self._fixed_quadrature = "gauss-legendre" if adaptive else quadrature
        fixed = quadrature_rule(self._fixed_quadrature, FIXED_STEPS if steps is None else steps)
        self._settings = Settings(
            method, layer, rule, points, weights, adaptive, tolerance, fixed, providers, threads
        )
        graph = prepared_graph(model, loaded)
        wanted = output if output is not None else (self.card.output if self.card else None)
        self.subject = select(graph, input, wanted, score)
        self.feature_map = None
        if method == "grad-cam":
            if len(self.subject.sources) > 1:
                raise InvalidInputError("grad-cam explains one input at a time; name one")
            found = find_feature_map(self.subject, layer)
            self.feature_map = found.tensor.name
            if found.warning is not None:
                logger.warning(found.warning)
        self._plans: dict[int | None, Plan] = {}
        self._default_plan = self._plan(self._default_width)
        self._baselines = self._checked_baselines(baseline)

    @property
    def steps(self) -> int | None:
        """Gradient passes of Integrated Gradients, at most; None for the other methods."""
        return len(self._settings.points) if self.method == "integrated-gradients" else None

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The explaining model, of the model's inputs, `target` and `baseline`.

        It returns the model's outputs, `attribution` and `delta`.
        """
        return self._default_plan.contract_model()

    def __call__(
        self, x: Any, target: Any = None, *, baseline: Any = None, progress: Progress | None = None
    ) -> Explanation:
        """Explain N inputs, or one input for each of K targets.

        Args:
            x: array [N, ...] as the model takes it, or {input name: array}.
            target: None (each input's own top class), a class, N classes, or an index tuple after
                the batch axis. K classes for one input give K explanations, which share the
                forward pass.
            baseline: another baseline for this call.
            progress: called with (passes done, passes in all) as work goes on.

        Raises:
            InvalidInputError: what was handed in does not fit the model.
        """
        feeds = check_inputs(self.subject, x)
        source = feeds[self.subject.input.name]
        count = len(source) if source.ndim else 1
        check_rows(self.subject, feeds, count)
        targets = check_target(self.subject, target, count)
        plan = self._plan(targets.shape[1] if targets.ndim == 2 else None)
        feeds |= self._whole_baselines(feeds, baseline)
        run, size = plan.run, self._batch_size(count)
        rowed, sure = with_rows(self.subject, feeds, count)
        if not sure and not isinstance(self.subject.batch, int):
            size = count
        size = size_of_coupled(self.subject, count, size)
        free = may_be_shared(self.subject) and sure and count > 1
        alike = free and all_alike([feeds[name] for name in rowed])
        whole = dict(feeds)
        if alike or len(targets) > count:
            feeds = rows_of(feeds, rowed, slice(1))
            run, size, rowed = plan.run_shared, len(targets), set()
        batches = [slice(first, first + size) for first in range(0, len(targets), size)]
        given = [rows_of(feeds, rowed, rows) | {"target": targets[rows]} for rows in batches]
        done = []
        for index, batch in enumerate(given):
            try:
                done.append(run(batch, share_of(progress, index, len(batches))))
            except OnnxplainError as error:
                raise if_out_of_range(self.subject, target, error) from error
        join = partial(joined, self.subject, whole=whole, file=self._run_file)
        results = {k: join(k, [part[k] for part in done]) for k in done[0]}
        if len(results[finish.SCORE]) != len(targets):
            raise UnsupportedModelError(
                f"{len(targets)} rows of {self.subject.input.name!r} gave "
                f"{len(results[finish.SCORE])} scores: its first axis is not the batch"
            )
        if alike:
            own = [tensor.name for tensor in self.subject.graph.outputs]
            results |= {k: join(k, [results[k]] * count) for k in own}
        if len(done) > 1:
            check_apart(self.subject, results, whole, self._run_file)
        e = self._explanation(plan, results, target)
        found = not_finite(e)
        if found is not None:
            what, row = found
            raise_not_finite(what, plan.stages(given[row // size]), [plan.provider])
        warn_of_delta(e, self._settings.tolerance)
        warn_of_empty_maps(e)
        return e

    def verify(self, x: Any, target: Any = None) -> Verification:
        """Compare with the file itself, run by ONNX Runtime, for one input.

        The outputs of the explaining graph with the file's own; the score's gradient with the
        score's change along it, by differences in float32; and how much of the score's difference
        the attributions leave out.

        Args:
            x: one input [1, ...], or {input name: array}.
            target: as in calling the explainer.

        Returns:
            How close they are.

        Raises:
            UnsupportedModelError: something is further off than rounding and, for 8-bit files, a
                quantiser's steps explain.
            InvalidInputError: what was handed in does not fit the model.
        """
        e = self(x, target)
        feeds = check_inputs(self.subject, x)
        if len(e.score) != 1:
            raise InvalidInputError(f"verify takes one input and one target, got {len(e.score)}")
        outputs = self.check_outputs(feeds, e)
        gradient = None
        if self._precision != "quantised":
            gradient = gradient_error(self.subject, feeds, e.target, self._settings)
        delta = None if e.relative_delta is None else float(e.relative_delta.max())
        return Verification(outputs, gradient, delta)

    def check_outputs(self, x: Any, e: Explanation) -> float:
        """How far an explanation's outputs are from what ONNX Runtime makes of the file itself.

        Returns:
            The largest difference, as a part of the largest number of that output.

        Raises:
            UnsupportedModelError: more than rounding and, for 8-bit files, a quantiser's steps.
        """
        file = self._run_file(check_inputs(self.subject, x))
        return outputs_error(e.outputs, file, self._precision)

    def export(
        self, path: str | os.PathLike[str], *, baseline_input: bool = False
    ) -> onnx.ModelProto:
        """Write the explaining graph as one whole file that any ONNX Runtime runs.

        Its inputs are the model's and `target` (int64 [N]; -1 = top1); the baseline is embedded
        unless `baseline_input`. Its outputs are the model's, `attribution` and, but for Grad-CAM,
        `delta`.

        Raises:
            OSError, InvalidInputError: it cannot be written, or is the model's own file.
        """
        model = self.model
        if self.method != "grad-cam" and not baseline_input:
            model = finish.embed_baselines(model, self._baselines)
        facts: dict[str, Any] = {"method": self.method, "output": self.subject.output.name}
        if self.feature_map:
            facts["feature_map"] = self.feature_map
        if self.method == "integrated-gradients":
            steps = len(self._settings.fixed[0])
            facts |= {"steps": steps, "quadrature": self._fixed_quadrature}
        onnx.helper.set_model_props(model, {"onnxplain": json.dumps(facts)})
        onnx.checker.check_model(model)
        write_model(model, path, self._given)
        return model

    @property
    def _default_width(self) -> int | None:
        """The length of index tuples where only they can name a score; None for classes."""
        return len(self.subject.logits.shape) - 1 if self.subject.needs_index else None

    def _plan(self, width: int | None) -> Plan:
        if width not in self._plans:
            self._plans[width] = Plan(self.subject, self._settings, width)
        return self._plans[width]

    def _checked_baselines(self, baseline: Any) -> dict[str, np.ndarray]:
        names = self._default_plan.baseline_names
        return checked_baselines(self.subject, self.card, names, baseline)

    def _whole_baselines(
        self, feeds: Mapping[str, np.ndarray], baseline: Any
    ) -> dict[str, np.ndarray]:
        """The baselines of one call, by their names in the graphs, in their inputs' shapes."""
        if self.method == "grad-cam":
            return {}
        chosen = self._baselines if baseline is None else self._checked_baselines(baseline)
        return {
            name: check_baseline(source, chosen[name], feeds[source.input.name])
            for name, source in zip(chosen, self.subject.sources, strict=True)
        }

    def _run_file(
        self, feeds: Mapping[str, np.ndarray], names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        return self._file.run(feeds, names)

    @cached_property
    def _file(self) -> Session:
        """The model as it was given."""
        return open_file(self._given, self._settings.providers, self._settings.threads)

    def _batch_size(self, count: int) -> int:
        """How many inputs go through the graph at once."""
        fixed = self.subject.batch
        if isinstance(fixed, int):
            if count % fixed:
                raise InvalidInputError(
                    f"the model takes exactly {fixed} inputs at a time, got {count}"
                )
            return fixed
        # Inputs with points of their own share no pass, unless the file demands it.
        if self._settings.adaptive and self.method == "integrated-gradients":
            return 1
        return min(count, _MOST_AT_ONCE[self._default_plan.kind][self.method])

    def _explanation(self, plan: Plan, results: dict[str, np.ndarray], target: Any) -> Explanation:
        own = [tensor.name for tensor in self.subject.graph.outputs]
        baseline_score = results.get(finish.BASELINE_SCORE)
        attributions = {
            name: results[key].astype(np.float32, copy=False)
            for key, name in plan.attributions.items()
        }
        return Explanation(
            method=self.method,
            attribution=attributions
            if len(attributions) > 1
            else next(iter(attributions.values())),
            target=target if isinstance(target, tuple) else results[finish.RESOLVED_TARGET],
            score=results[finish.SCORE].astype(np.float64),
            baseline_score=None if baseline_score is None else baseline_score.astype(np.float64),
            outputs={name: results[name] for name in own},
            feature_map=self.feature_map,
            steps=int(results[PASSES].max()) if PASSES in results else self.steps,
            residual=results.get(RESIDUAL),
            provider=plan.provider,
        )


def open_file(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    providers: str | Sequence[str] | None = None,
    threads: int | None = None,
) -> Session:
    """A session of a model as it was given; see `open_session`."""
    own = load(model)
    # A newer number than ONNX Runtime knows, whatever the file uses of it, would be refused.
    own.ir_version = min(own.ir_version, finish.IR_VERSION)
    return open_session(own, providers, threads)


def find_card_of(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto, loaded: onnx.ModelProto | None = None
) -> ModelCard | None:
    """The model's card, beside the file or in its metadata."""
    path = model if isinstance(model, str | os.PathLike) else None
    return find_card(load(model) if loaded is None else loaded, path)
