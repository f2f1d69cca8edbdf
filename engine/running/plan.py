"""The graphs that explain targets, and how a batch runs through them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import onnx

from ...graph_passes import finish
from ...graph_passes.finish.split import split
from ...graph_passes.finish.target_input import with_target
from ...graph_passes.graph.lowering import lowered_for
from ...graph_passes.graph.operators import Fact, has
from ...graph_passes.heads.along import points_at_once
from ...graph_passes.methods.method import File
from ...graph_passes.select.score import PLACE_WEIGHTS, PLACES
from ...graph_passes.select.subject import Subject
from ..targets.asking import Asked
from ..targets.target import Answers, Target, fed, held_at, with_picks
from .drivers import Driven, Feeds, driver_of, nothing_yet
from .process import BUILDING, Lock, in_child, leave_behind
from .session import CPU, Held, Session, open_session, resolve_providers, run_small
from .settings import Settings
from .stopwatch import phase

# Points of the path in one gradient pass: on a CPU 2 to 4 are as fast for each point as 25, in a
# fraction of the memory (EfficientNet-Lite0's whole process peaks at 440 MiB with 2); a GPU wants
# more to do at once.
_CHUNK = {"cpu": 2, "other": 32}
# Targets of one input that go at once through a graph that has little to do for each: five of
# EfficientNet-Lite0 take 0.2 to 0.3 ms behind the forward pass, and each by itself 0.13 ms beside
# what calling takes.
_TARGETS_AT_ONCE = 8
_ANY_RUNTIME = File()
# What of a graph's inputs depends on targets.
_OF_TARGETS = (PLACES, PLACE_WEIGHTS)
# All there are: what they hold is left behind in a forked child.
_alive: weakref.WeakSet[Plan] = weakref.WeakSet()


class Plan:
    """Graphs and sessions of a method.

    Its stages: `baseline`, once for each baseline; `explain`, which takes targets; and `along`,
    several times behind it. For several targets of one input, and for those that the model's answer
    tells, `explain` is cut into `forward`, which runs once, and `targets`, which runs for each.

    With `several` the baselines are a set.

    Attributes:
        along: what runs several times for each target, or None.
    """

    def __init__(self, subject: Subject, settings: Settings, several: bool = False):
        self._subject, self._settings = subject, settings
        # Of the baseline's activations; nothing is opened or built while it is held.
        self._lock = Lock()
        self._sessions: dict[str, Session] = {}
        # The last baseline and its activations.
        self._reference: tuple[dict[str, np.ndarray], dict[str, Held]] | None = None
        _alive.add(self)
        self._gpu = resolve_providers(settings.providers)[0] != CPU
        with BUILDING, phase("build"), lowered_for(gpu=self._gpu):
            options = {**settings.options, "several": several}
            stages = settings.method.stages(subject, options)
        self.along = stages.along
        named = {"explain": stages.explain, "baseline": stages.baseline}
        named["along"] = None if self.along is None else self.along.model
        self._models = {name: model for name, model in named.items() if model is not None}

    @cached_property
    def attributions(self) -> dict[str, str]:
        """The name of each attribution in the graphs -> the input it is about."""
        return self._names(finish.ATTRIBUTION)

    @cached_property
    def baseline_names(self) -> dict[str, str]:
        """The name of each baseline in the graphs -> the input it is for."""
        return self._names(finish.BASELINE)

    def _names(self, kind: str) -> dict[str, str]:
        subject = self._subject
        return {subject.name_of(kind, source): source.input.name for source in subject.sources}

    @property
    def method(self) -> str:
        """The method's name."""
        return self._settings.method.name

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider that runs it."""
        return self._session("explain").provider

    @property
    def apart(self) -> bool:
        """Whether each input has points of its own."""
        return self.along is not None and driver_of(self.along).apart

    @property
    def kind(self) -> str:
        """`cpu`, or `other` for anything that wants more to do at once."""
        return "cpu" if self.provider == CPU else "other"

    def contract_model(
        self, several: int = 0, scored: bool = False, file: File = _ANY_RUNTIME
    ) -> onnx.ModelProto:
        """One model of (input, target, baseline), as `Explainer.model` promises it.

        Args:
            several: how many baselines its set has, where it takes a set; else 0.
            scored: whether the explained score stays an output, where the method's graph has it.
            file: what its file is for.
        """
        with BUILDING:
            return self._contract_model(several, scored, file)

    def _contract_model(self, several: int, scored: bool, file: File) -> onnx.ModelProto:
        settings, subject = self._settings, self._subject
        method = settings.method
        if method.whole is not None:
            options = {**settings.options, "several": several > 0, "set_size": several}
            options |= file._asdict()
            model = method.whole(subject, options)
        elif self._gpu:
            # A file may run anywhere; what was built for a CPU is written that way already.
            model = method.stages(subject, settings.options).explain
        else:
            model = self._models["explain"]
        extra = [*self.attributions, *([] if method.sums_to is None else ["delta"])]
        extra += [finish.SCORE] if scored else []
        own = [tensor.name for tensor in subject.graph.outputs]
        names = [*own, *extra, finish.MAP_ERROR]
        return finish.only_outputs(with_target(model, subject), names)

    def run(
        self, feeds: Mapping[str, np.ndarray], asked: Asked, progress: Callable[[int, int], None]
    ) -> tuple[dict[str, np.ndarray], list[Target]]:
        """Explain one batch; each input has its own target.

        Args:
            feeds: the model's inputs, and the baselines in their shapes.
            asked: the targets.
            progress: called with (passes done, passes in all).

        Returns:
            The results by name, and the targets that they are of.
        """
        reference = self._of_the_baseline(feeds)
        known: Feeds = {**feeds, **reference}
        if asked.known is not None:
            targets, name = list(asked.known), "explain"
        else:
            held, answers = self._forward(known)
            targets, name = asked.by_row(answers), "targets"
            reference, known = {**reference, **held}, {**known, **held}
        known = {**known, **fed(self._subject, targets)}
        session = self._session(name)
        results = session.run(known, [n for n in session.outputs if n != finish.DECIDED])
        targets = self._held(targets, results, known)
        return self._along(known, self._own(reference) | results, progress), targets

    def run_shared(
        self, feeds: Mapping[str, np.ndarray], asked: Asked, progress: Callable[[int, int], None]
    ) -> tuple[dict[str, np.ndarray], list[Target]]:
        """Explain one input for each of several targets, which share the forward pass."""
        reference = self._of_the_baseline(feeds)
        known: Feeds = {**feeds, **reference}
        held, answers = self._forward(known)
        session = self._session("targets")
        shared = self._own(reference) | self._own(held)
        targets = [*(asked.known or asked.of_one(answers))]
        parts = []
        size = _TARGETS_AT_ONCE if self._takes_rows(held) else 1
        starts = range(0, len(targets), size)
        for index, start in enumerate(starts):
            rows = targets[start : start + size]
            shares: Feeds = _rows_of(held, len(rows)) if size > 1 else held
            one: Feeds = {**known, **shares, **fed(self._subject, rows)}
            results = session.run(one)
            targets[start : start + size] = self._held(rows, results, one)

            def step(done: int, of: int, index=index) -> None:
                progress(index * of + done, len(starts) * of)

            parts.append(self._along(one, results, step))
        return shared | {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}, targets

    def _forward(self, feeds: Feeds) -> tuple[dict[str, Held], Answers]:
        """What does not depend on targets, held; and what the model answered."""
        self._cut()
        held = self._session("forward").hold(feeds)
        shape = np.shape(feeds[self._subject.input.name])[1:]
        scores = held[finish.DECIDED].numpy()
        return held, Answers(scores, self._own(held), shape, run_small)

    def _cut(self) -> None:
        """Cut `explain` into what several targets share and what each has by itself, once."""
        with BUILDING:
            if "targets" not in self._models:
                with phase("build"):
                    forward, behind = split(self._models["explain"], _OF_TARGETS)
                self._models["forward"], self._models["targets"] = forward, behind

    def stages(
        self, feeds: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[onnx.ModelProto, Mapping[str, Any]]]:
        """Every graph that `run` runs, with what it is fed: to look for what went wrong."""
        if "baseline" in self._models:
            yield self._models["baseline"], {name: feeds[name] for name in self.baseline_names}
        known = {**feeds, **{k: v.numpy() for k, v in self._of_the_baseline(feeds).items()}}
        yield self._models["explain"], known
        if self.along is None:
            return
        session = self._session("along")
        known |= self._session("explain").run(known)
        for row in driver_of(self.along).looked_at(self.along, session, known):
            given = {**known, **row, **nothing_yet(session)}
            yield self._models["along"], {k: given[k] for k in session.inputs}

    def _takes_rows(self, held: Mapping[str, Held]) -> bool:
        """Whether several targets may go through `targets` at once, with `held` repeated for each.

        Only where nothing but the batch has a length that the file leaves open: then what has such
        a length on its first axis, and there 1 for one input, is a row for each input. (What
        carries numbers of a shape is not.) And only where rows are no burden.
        """
        model, graph = self._models["targets"], self._subject.graph
        if self.along is not None or self.kind != "cpu" or not _is_light(model):
            return False
        if self._subject.coupled is not None:
            return False
        own = [
            [d if isinstance(d, int) else None for d in t.shape or [None] * 2] for t in graph.inputs
        ]
        shapes = {
            v.name: [_length(d) for d in v.type.tensor_type.shape.dim] for v in model.graph.input
        }
        return (
            all(shape[:1] == [None] and None not in shape[1:] for shape in [*own, *shapes.values()])
            and set(shapes) <= {*held, *_OF_TARGETS}
            and all(value.shape()[0] == 1 for value in held.values())
        )

    def _held(
        self, targets: list[Target], results: dict[str, np.ndarray], beside: Feeds
    ) -> list[Target]:
        """The targets with what the graph says of their head, which the results are relieved of.

        And with what the network picked inside, which may stand among what targets share.
        """
        names = finish.held_names(self._subject)
        picks = [results.pop(name, None) for name in names]
        found = [_array(beside[n]) if p is None else p for n, p in zip(names, picks, strict=True)]
        targets = with_picks(targets, found) if names else targets
        if finish.HEAD_PLACES not in results:
            return targets
        places, weights = (results.pop(n) for n in (finish.HEAD_PLACES, finish.HEAD_WEIGHTS))
        return held_at(targets, places, weights)

    def _own(self, held: Mapping[str, Held]) -> dict[str, np.ndarray]:
        """The model's own outputs among these, constant ones say."""
        own = {tensor.name for tensor in self._subject.graph.outputs}
        return {name: held[name].numpy() for name in own & set(held)}

    def _of_the_baseline(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Held]:
        """The activations at the baseline, where they do not depend on the input."""
        if "baseline" not in self._models:
            return {}
        baselines = {name: feeds[name] for name in self.baseline_names}
        session = self._session("baseline")
        with self._lock:
            if self._reference is None or not _same(self._reference[0], baselines):
                self._reference = None
                held = session.hold(baselines)
                self._reference = {k: v.copy() for k, v in baselines.items()}, held
            return self._reference[1]

    def _along(
        self,
        feeds: Feeds,
        results: dict[str, np.ndarray],
        progress: Callable[[int, int], None],
    ) -> dict[str, np.ndarray]:
        """What is added by the stage that runs several times."""
        if self.along is None:
            progress(1, 1)
            return results
        known = {name: results[name] for name in (finish.SEED, finish.SCORE) if name in results}
        results.pop(finish.SEED, None)
        given = Driven(
            session=self._session("along"),
            feeds={**feeds, **known},
            names=[*self.attributions],
            inputs=len(results[finish.SCORE]),
            at_once=self._at_once,
            progress=progress,
        )
        return results | driver_of(self.along).run(self.along, given)

    def _at_once(self, inputs: int) -> int:
        """Points of each input in one pass."""
        assert self.along is not None
        most = _CHUNK[self.kind]
        return points_at_once(self._subject, most, inputs, self.along.passes or most)

    def _session(self, name: str) -> Session:
        session = self._sessions.get(name)
        if session is not None and not session.lost:
            return session
        with BUILDING:
            # Kept here too: the shared cache must hash a whole model to find its session.
            settings, model = self._settings, self._models[name]
            threads = 1 if name == "targets" and _is_light(model) else settings.threads
            self._sessions[name] = opened = open_session(model, settings.providers, threads)
            return opened

    def lose(self) -> None:
        """In a forked child: nothing that was held before is used, nor let go."""
        if self._reference is not None:
            leave_behind(self._reference)
            self._reference = None


@in_child
def _after_fork() -> None:
    for plan in list(_alive):
        plan.lose()


def _array(value: np.ndarray | Held) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.numpy()


def _is_light(model: onnx.ModelProto) -> bool:
    """Whether a graph has too little to do for several threads.

    Grad-CAM's targets, from the logits to a feature map that no convolution follows, take less in
    one thread than in two, which must be woken for each operator.
    """
    return not any(has(node.op_type, Fact.CONVOLVES) for node in model.graph.node)


def _length(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    """A declared length, or None where the file leaves it open."""
    return dim.dim_value if dim.HasField("dim_value") else None


def _rows_of(held: Mapping[str, Held], count: int) -> dict[str, np.ndarray]:
    """What is held of one input, as if of `count` equal ones."""
    return {name: value.numpy().repeat(count, axis=0) for name, value in held.items()}


def _same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in b)
