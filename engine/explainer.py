"""Explainer: builds the explaining graph once, then feeds it and collects what it returns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxplain import InvalidInputError, OnnxplainError
from onnxplain.engine.arrays import (
    check_baseline,
    check_baseline_values,
    check_inputs,
    check_target,
    check_tolerance,
    if_out_of_range,
)
from onnxplain.engine.explanation import Explanation
from onnxplain.engine.paths import AdaptivePath, follow, warn_of_cap
from onnxplain.engine.prepared import prepared_graph
from onnxplain.engine.session import CPU, Session, open_session
from onnxplain.graph_passes import finish
from onnxplain.graph_passes.deeplift import RULES, deeplift
from onnxplain.graph_passes.feature_map import find_feature_map
from onnxplain.graph_passes.grad_cam import grad_cam
from onnxplain.graph_passes.integrated_gradients import (
    chunks_of,
    endpoints,
    gradient_chunk,
    integrated_gradients,
    path_gradients,
)
from onnxplain.graph_passes.quadrature import ADAPTIVE, quadrature_rule
from onnxplain.graph_passes.subject import select
from onnxplain.models.card import ModelCard, black_image, find_card
from onnxplain.models.load import load

METHODS = ("grad-cam", "integrated-gradients", "deeplift")
# Points of the path in one gradient pass: on a CPU 1 to 4 are as fast for each point as 25, in a
# fraction of the memory; a GPU wants more to do at once.
_CHUNK = {"cpu": 4, "other": 32}
# Inputs that go through a graph at once, so that memory stays bounded for any number of them, and
# on a CPU so that its caches hold what one operator hands to the next: DeepLIFT, which carries two
# activations, took 1.1 to 1.3 times as long for each of 2 to 16 inputs at once as for one.
_MOST_AT_ONCE = {
    "cpu": {"grad-cam": 4, "integrated-gradients": 4, "deeplift": 1},
    "other": dict.fromkeys(METHODS, 8),
}

# Beside the graph's outputs: what each path took, and what it misses in all its intervals.
_PASSES, _RESIDUAL = "onnxplain/passes", "onnxplain/residual"

Progress = Callable[[int, int], None]


class Explainer:
    """Explains one output of one model by one method.

    Args:
        model: path, bytes or onnx.ModelProto.
        method: "grad-cam", "integrated-gradients" or "deeplift".
        layer: Grad-CAM's feature map, by tensor or node name; None finds it.
        baseline: what IG and DeepLIFT start from: an array that broadcasts to the input; None takes
            the model card's black image, or zeros without a card.
        steps: gradient passes of Integrated Gradients for each input; with "adaptive" at most.
        tolerance: Integrated Gradients stops when |delta| is at most this part of the difference of
            the scores (0.01 is 1%), or after `steps` passes, with a warning; None: no such end.
        quadrature: "gauss-legendre", "trapezoid", "left", "right", "middle", or "adaptive", which
            bisects the intervals of each input's path that miss most. None is "adaptive" where a
            tolerance is given and "gauss-legendre" elsewhere. An exported file cannot choose points
            on the way: with "adaptive" it has `steps` points of "gauss-legendre".
        rule: DeepLIFT's rule for nonlinearities: "rescale" or "reveal-cancel".
        output: name of the output to explain; None takes the card's, or finds it.
        input: name of the input to attribute to; None finds it.
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
        steps: int = 50,
        tolerance: float | None = None,
        quadrature: str | None = None,
        rule: str = "rescale",
        output: str | None = None,
        input: str | None = None,
        score: str = "logit",
        providers: str | Sequence[str] | None = None,
        threads: int | None = None,
    ):
        if method not in METHODS:
            raise InvalidInputError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
        if rule not in RULES:
            raise InvalidInputError(f"rule must be one of {', '.join(RULES)}; got {rule!r}")
        self._tolerance = check_tolerance(tolerance, method, quadrature)
        self.method = method
        self.card = find_card_of(model)
        self._layer, self._rule = layer, rule
        self._providers, self._threads = providers, threads
        if quadrature is None:
            quadrature = "gauss-legendre" if tolerance is None else ADAPTIVE
        self._adaptive = quadrature == ADAPTIVE
        self._points, self._weights = quadrature_rule(quadrature, steps)
        # What an exported file does: see `quadrature` above.
        self._fixed_quadrature = "gauss-legendre" if self._adaptive else quadrature
        graph = prepared_graph(model)
        wanted = output if output is not None else (self.card.output if self.card else None)
        self.subject = select(graph, input, wanted, score)
        self.feature_map = None
        if method == "grad-cam":
            self.feature_map = find_feature_map(self.subject, layer).tensor.name
        self._baseline = check_baseline_values(self.subject, self._default_baseline(baseline))
        self._models: dict[int | None, tuple[onnx.ModelProto, ...]] = {}
        self._sessions: dict[tuple[int, int | None], Session] = {}
        self._graphs(self._default_width)

    @property
    def steps(self) -> int | None:
        """Gradient passes of Integrated Gradients, at most; None for the other methods."""
        return len(self._points) if self.method == "integrated-gradients" else None

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The explaining model: the model's inputs, `target` and `baseline`.

        Its outputs, `attribution` and `delta`.
        """
        return self._contract_model(self._default_width)

    def __call__(
        self, x: Any, target: Any = None, *, baseline: Any = None, progress: Progress | None = None
    ) -> Explanation:
        """Explain N inputs.

        Args:
            x: array [N, ...] as the model takes it, or {input name: array}.
            target: None (each input's own top class), a class, N classes, or an index tuple after
                the batch axis.
            baseline: another baseline for this call.
            progress: called with (passes done, passes in all) as work goes on.

        Raises:
            InvalidInputError: what was handed in does not fit the model.
        """
        feeds = check_inputs(self.subject, x)
        source = feeds[self.subject.input.name]
        count = len(source) if source.ndim else 1
        targets = check_target(self.subject, target, count)
        start = self._baseline if baseline is None else baseline
        start = check_baseline(self.subject, start, source)
        size = self._batch_size(count)
        parts = []
        for first in range(0, count, size):
            rows = slice(first, first + size)
            part = {n: v[rows] if len(v) == count else v for n, v in feeds.items()}
            part["target"] = targets[rows]
            part["baseline"] = start[rows] if len(start) == count else start
            try:
                parts.append(self._explain(part, _Share(progress, first, size, count)))
            except OnnxplainError as error:
                raise if_out_of_range(self.subject, target, error) from error
        results = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        return self._explanation(results, target)

    def export(
        self, path: str | os.PathLike[str], *, baseline_input: bool = False
    ) -> onnx.ModelProto:
        """Write the explaining graph as one file that any ONNX Runtime runs.

        Its inputs are the model's and `target` (int64 [N]; -1 = top1); the baseline is embedded
        unless `baseline_input`. Its outputs are the model's, `attribution` and, but for Grad-CAM,
        `delta`.

        Raises:
            OSError: the file cannot be written.
        """
        model = self.model
        if self.method != "grad-cam" and not baseline_input:
            model = finish.embed_baseline(model, self._baseline)
        facts: dict[str, Any] = {"method": self.method, "output": self.subject.output.name}
        if self.feature_map:
            facts["feature_map"] = self.feature_map
        if self.steps:
            facts |= {"steps": self.steps, "quadrature": self._fixed_quadrature}
        onnx.helper.set_model_props(model, {"onnxplain": json.dumps(facts)})
        onnx.checker.check_model(model)
        Path(path).write_bytes(model.SerializeToString())
        return model

    @property
    def _default_width(self) -> int | None:
        """The length of index tuples where only they can name a score; None for classes."""
        return len(self.subject.logits.shape) - 1 if self.subject.needs_index else None

    def _default_baseline(self, baseline: Any) -> Any:
        if baseline is not None:
            return baseline
        if self.card is not None and len(self.subject.start.shape) == 4:
            return black_image(self.card)
        return 0.0

    def _graphs(self, width: int | None) -> tuple[onnx.ModelProto, ...]:
        """The graphs that the engine runs for targets of this width."""
        if width not in self._models:
            if self.method == "grad-cam":
                self._models[width] = (grad_cam(self.subject, self._layer, width),)
            elif self.method == "deeplift":
                self._models[width] = (deeplift(self.subject, width, self._rule),)
            else:
                path = path_gradients if self._adaptive else gradient_chunk
                self._models[width] = (endpoints(self.subject, width), path(self.subject))
        return self._models[width]

    def _contract_model(self, width: int | None) -> onnx.ModelProto:
        graphs = self._graphs(width)
        model = graphs[0]
        extra = ["attribution"]
        if self.method == "integrated-gradients":
            alphas, weights = chunks_of(self._points, self._weights, self._chunk_size(1))
            chunk = gradient_chunk(self.subject) if self._adaptive else graphs[1]
            model = integrated_gradients(model, chunk, self.subject.input.name, alphas, weights)
        if self.method != "grad-cam":
            extra.append("delta")
        own = [tensor.name for tensor in self.subject.graph.outputs]
        return finish.only_outputs(model, [*own, *extra])

    def _fixed_batch(self) -> int | None:
        batch = self.subject.batch
        return batch if isinstance(batch, int) else None

    def _batch_size(self, count: int) -> int:
        """How many inputs go through the graph at once."""
        fixed = self._fixed_batch()
        if fixed is not None:
            if count % fixed:
                raise InvalidInputError(
                    f"the model takes exactly {fixed} inputs at a time, got {count}"
                )
            return fixed
        # Inputs with points of their own share no pass, unless the file demands it.
        if self._follows_paths:
            return 1
        kind = "cpu" if self._session(0).provider == CPU else "other"
        return min(count, _MOST_AT_ONCE[kind][self.method])

    @property
    def _follows_paths(self) -> bool:
        return self._adaptive and self.method == "integrated-gradients"

    def _chunk_size(self, inputs: int) -> int:
        """Points of the path in one gradient pass."""
        if self._fixed_batch() is not None or len(self.subject.graph.inputs) > 1:
            return 1
        most = _CHUNK["cpu" if self._session(0).provider == CPU else "other"]
        return max(1, min(most // inputs, len(self._points)))

    def _session(self, index: int, width: int | None = None) -> Session:
        key = index, width if width is not None else self._default_width
        if key not in self._sessions:
            # Kept here too: the shared cache must hash a whole model to find its session.
            graph = self._graphs(key[1])[index]
            self._sessions[key] = open_session(graph, self._providers, self._threads)
        return self._sessions[key]

    def _explain(self, feeds: dict[str, np.ndarray], progress: _Share) -> dict[str, np.ndarray]:
        """Run the graphs on one batch."""
        targets = feeds["target"]
        width = targets.shape[1] if targets.ndim == 2 else None
        session = self._session(0, width)
        results = session.run(feeds)
        if self.method != "integrated-gradients":
            progress(1, 1)
            return results
        feeds = feeds | {finish.SEED: results.pop(finish.SEED)}
        inputs = len(targets)
        session = self._session(1, width)
        if self._follows_paths:
            paths = [AdaptivePath(len(self._points), self._tolerance) for _ in range(inputs)]
            size = self._chunk_size(1)
            finished = follow(session, feeds, paths, size, progress, len(self._points))
            if self._tolerance is not None:
                warn_of_cap(paths, self._tolerance)
            results["attribution"] = np.stack([f.attribution for f in finished], dtype=np.float32)
            results[_PASSES] = np.array([f.passes for f in finished])
            results[_RESIDUAL] = np.array([f.residual for f in finished])
            return results
        rows = chunks_of(self._points, self._weights, self._chunk_size(inputs))
        total = np.zeros((), np.float64)
        for done, (alphas, weights) in enumerate(zip(*rows, strict=True), start=1):
            path = {"onnxplain/alphas": alphas, "onnxplain/weights": weights}
            total = total + session.run(feeds | path)["attribution"]
            progress(done, len(rows[0]))
        results["attribution"] = total.astype(np.float32)
        return results

    def _explanation(self, results: dict[str, np.ndarray], target: Any) -> Explanation:
        own = [tensor.name for tensor in self.subject.graph.outputs]
        baseline_score = results.get(finish.BASELINE_SCORE)
        return Explanation(
            method=self.method,
            attribution=results["attribution"].astype(np.float32, copy=False),
            target=target if isinstance(target, tuple) else results[finish.RESOLVED_TARGET],
            score=results[finish.SCORE].astype(np.float64),
            baseline_score=None if baseline_score is None else baseline_score.astype(np.float64),
            outputs={name: results[name] for name in own},
            feature_map=self.feature_map,
            steps=int(results[_PASSES].max()) if _PASSES in results else self.steps,
            residual=results.get(_RESIDUAL),
            provider=self._session(0).provider,
        )


class _Share:
    """Progress of one batch, told as part of the whole."""

    def __init__(self, report: Progress | None, first: int, size: int, count: int):
        self._report = report
        self._batch = first // size
        self._batches = -(-count // size)

    def __call__(self, done: int, of: int) -> None:
        if self._report is not None:
            self._report(self._batch * of + done, self._batches * of)


def find_card_of(model: str | os.PathLike[str] | bytes | onnx.ModelProto) -> ModelCard | None:
    """The model's card, beside the file or in its metadata."""
    path = model if isinstance(model, str | os.PathLike) else None
    return find_card(load(model), path)
