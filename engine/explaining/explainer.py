"""Explainer: builds the explaining graph once, then feeds it and collects what it returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import onnx

from ...graph_passes.graph.limits import Limits, in_force, within
from ...models.own_card import card_from
from ...models.plain_card import Card
from ...models.variants import Shapes
from ..checking.checks import check_inputs, if_out_of_range, labels_for, tell_of_others
from ..explanation.explanation import Explanation, collected
from ..explanation.origin import Origin
from ..export.exporting import Exporting
from ..export.facts import described, facts_of
from ..inputs.kind import model_input
from ..model import Model, opened
from ..running.adaptive import Progress
from ..running.answers import reading_of
from ..running.apart import samples_in
from ..running.given import blamed_on_file, sendable
from ..running.plan import Plan
from ..running.process import BUILDING, at_work, given_back_after
from ..running.rows import check_rows, parted, run_parts
from ..running.settings import names_of_maps, settings_of
from ..targets.asking import asked_for
from ..targets.target import About
from .baselines import (
    GIVEN,
    black_of,
    checked_baselines,
    default_of,
    is_set,
    tell_of_zeros,
    whole_baselines,
)
from .embeddings import with_direction
from .photos import Preprocess
from .pickles import restored
from .scores import Scorer, Scores
from .soundness import not_finite, raise_not_finite, warn_of_misses
from .subjects import subject_of
from .verification import Verifying


class Explainer(Verifying, Exporting):
    """Explains one output of one model by one method.

    Args:
        model: path, bytes or onnx.ModelProto.
        method: any name of `onnxplain.methods()`.
        layer: Grad-CAM's feature map, by tensor or node name, or a list of several; None finds it.
        baseline: what IG and DeepLIFT start from: an array that broadcasts to the input; None takes
            the model card's black image, or, with a warning, zeros without a card; or "black",
            "white", an image or .npy file, or, of each photo, "mean" or "blur". A list is a set, of
            which DeepLIFT (DeepSHAP then) and expected gradients average.
        steps: gradient passes of Integrated Gradients for each input, all of them taken; with a
            tolerance, or "adaptive", at most. None: as many as a tolerance of 1 % asks for, at most
            200 (50 for another `quadrature`).
        tolerance: Integrated Gradients stops when |delta| is at most this part of the difference of
            the scores (0.01 is 1%), or after `steps` passes, with a warning. None: 0.01 where
            `steps` is None, too; else no such end.
        quadrature: "gauss-legendre", "trapezoid", "left", "right", "middle", or "adaptive", which
            bisects the intervals of each input's path that miss most. None is "adaptive" where
            there is a tolerance and "gauss-legendre" elsewhere. So it is in an exported file.
        rule: DeepLIFT's rule for nonlinearities: "rescale" (None) or "reveal-cancel".
        output: name of the output to explain, or of any other tensor of the graph; None takes the
            card's, or finds it.
        input: name of the input to attribute to, or several names: IG and DeepLIFT then share the
            difference of the scores out over all of them, and `attribution` and `baseline` are
            dicts by name. None finds one.
        score: "logit" (before a final Softmax, LogSoftmax or Sigmoid, and before the rounding and
            saturation of a last quantiser), "output", or "cosine", the similarity of an embedding
            to a reference, which a target that is a vector asks for by itself; of a detector's box
            also "class" (its logit), "objectness", or "box": the sum of its coordinates. The top
            class is the file's own either way: where an 8-bit output ties, the first.
        providers: "auto" (None), "cpu", "cuda" or ONNX Runtime's provider names.
        threads: threads inside one operator; None lets ONNX Runtime choose.
        card: how a picture becomes the input, or what the axes of an array are: a ModelCard, a
            dictionary of its keys or a JSON file; None finds it, beside the file or in its
            metadata. One that was assumed (`card.assumed`) counts as none for the baseline.
        labels: the classes' names, in place of the card's: a list, a dictionary by index, or a
            file of them.
        preprocess: PIL image (RGB) -> array as the model takes it, in place of the card's way.
        shapes: {input: lengths}, for lengths that the file leaves open (which recurrent layers must
            know) or has wrong; None among them leaves one as the file has it.
        fixed: {input: array} of further inputs, for calls that hand in the explained one alone.
        limits: what the model may cost; None: the defaults.
        options: what else the method takes; see `onnxplain.methods()`. `map_tolerance=0.05` lets
            Integrated Gradients go on until `map_error`, too, is at most that. Of the arguments
            above a method leaves those alone that it has no use for.

    Several threads may call one explainer at once; a forked child opens its sessions again. A
    pickle holds a model that was given by its path as that path and its SHA-256, and else all of
    the model's bytes: a file must lie where it lay, unchanged, where the pickle is read. What is
    read gives the same numbers, bit for bit. Reading a pickle runs what it says, as it does of
    every pickle: read only what you trust. A copy shares everything, which nobody changes.

    Raises:
        UnsupportedModelError: the model is unreadable, above a limit, or cannot be explained by
            this method.
        InvalidInputError: a wrong argument.

    Examples:
        >>> explainer = onnxplain.Explainer("digits.onnx", "deeplift", baseline="white")
        >>> e = explainer.explain("seven.png")
        >>> e.label
        'seven'
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | onnx.ModelProto | Model,
        method: str = "grad-cam",
        *,
        layer: str | None = None,
        baseline: Any = None,
        steps: int | None = None,
        tolerance: float | None = None,
        quadrature: str | None = None,
        rule: str | None = None,
        output: str | None = None,
        input: str | Sequence[str] | None = None,
        score: str = "logit",
        providers: str | Sequence[str] | None = None,
        threads: int | None = None,
        card: Card | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        labels: Any = None,
        preprocess: Preprocess | None = None,
        shapes: Shapes | None = None,
        fixed: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        **options: Any,
    ):
        named: dict[str, Any] = {"layer": layer, "rule": rule, "steps": steps}
        named |= {"tolerance": tolerance, "quadrature": quadrature}
        how: dict[str, Any] = {"providers": providers, "threads": threads}
        what: dict[str, Any] = {"output": output, "input": input, "score": score, "fixed": fixed}
        self._settings = settings_of(method, named, options, **how)
        # What a pickle holds beside the model, its card and the baselines.
        self.method = self._settings.method.name
        own: dict[str, Any] = {"shapes": shapes, "labels": labels, "preprocess": preprocess}
        self._arguments = {"method": self.method, **named, **options, **how, **what, **own}
        self._compares = self._settings.method.takes("baseline")
        file = opened(model, shapes)
        self.card = file.card if card is None else card_from(card)
        self._labels = labels_for(self.card, labels)
        self._preprocess = preprocess
        said = None if self.card is None else self.card.output
        wanted = file.meant(said if output is None else output)
        self._file = file = file.with_output(wanted)
        self._plans: dict[bool, Plan] = {}
        with BUILDING, within(limits), blamed_on_file(file.readable):
            self._limits = in_force()
            self.subject = subject_of(file, wanted, self.card, self._labels, self._arguments)
            baseline, self._named_baseline = self._known_baseline(baseline)
            self._several = is_set(self._settings.method, baseline)
            self.feature_map, self._doubt = names_of_maps(self._settings, self.subject)
            self._default_plan = self._plan(self._several)
        self._baselines = self._baselines_of(baseline, self._several)
        self._started_from = default_of(self.card, self.subject) if baseline is None else GIVEN
        self._reading = reading_of(self.subject, self.card)
        # It does not know this explainer, which is gone once it is let go.
        self._run_file = file.runner(self._settings.providers, self._settings.threads)
        self._scorer = Scorer(self.about, self._settings, self._reading, self._run_file)
        self._untold = baseline is None and self._compares and black_of(self.card) is None
        if not isinstance(model, Model):
            tell_of_others(self.subject)
            file.let_go()
        given_back_after(self)

    @property
    def steps(self) -> int | None:
        """Passes behind the first one, at most, such as Integrated Gradients'; None: none.

        Examples:
            >>> onnxplain.Explainer("digits.onnx", "integrated-gradients", steps=20).steps
            20
        """
        along = self._default_plan.along
        return None if along is None else along.passes

    @property
    def _folder(self) -> str | None:
        return self._file.folder

    def __repr__(self) -> str:
        subject = self.subject
        parts = [f"method={self.method!r}", f"input={[s.input.name for s in subject.sources]}"]
        parts += [f"output={subject.output.name!r}", f"score={self._arguments['score']!r}"]
        if self.feature_map is not None:
            parts.append(f"feature_map={self.feature_map!r}")
        if self._compares:
            parts.append(f"baseline={self._named_baseline or self._started_from!r}")
        parts.append(f"sha256={self._file.sha256[:12]!r}")
        return f"Explainer({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        given = self._file.given
        return restored, (type(self), sendable(given), self._file.sha256, self._given())

    def _given(self) -> dict[str, Any]:
        names, given = self._default_plan.baseline_names, self._baselines
        default = self._started_from != GIVEN or not self._compares
        own = {names[k]: [*np.split(v, len(v))] if self._several else v for k, v in given.items()}
        own = self._named_baseline or (None if default else own)
        more = {"limits": self._limits, "card": self.card, "baseline": own}
        return {**self._arguments, **more}

    def changed(self, change: Callable[[onnx.ModelProto], onnx.ModelProto], **other) -> Explainer:
        """The same question, with other options, asked of a changed copy of the model.

        Examples:
            >>> explainer.changed(lambda model: model, method="deeplift").method
            'deeplift'
        """
        return type(self)(change(self._file.proto), **{**self._given(), **other})

    def __copy__(self) -> Explainer:
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Explainer:
        return self.__copy__()

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The explaining model, of the model's inputs, `target` (`versus`) and `baseline`.

        It returns the outputs that `export` writes.

        Examples:
            >>> [value.name for value in explainer.model.output][-1]
            'attribution'
        """
        if self.exported is not self:
            return self.exported.model
        sizes = [len(values) for values in self._baselines.values()]
        with within(self._limits):
            return self._default_plan.contract_model(sizes[0] if self._several else 0)

    def __call__(
        self, x: Any, target: Any = None, *, baseline: Any = None, progress: Progress | None = None
    ) -> Explanation:
        """Explain N inputs, or one input for each of K targets.

        Args:
            x: array [N, ...] as the model takes it, or {input name: array}.
            target: None (each input's own top class), a class, an index tuple after the batch axis,
                or a text: a label, "rank2" (the second best), "top5" (the five best, for one
                input), "index:1,20,30", "cat - dog" (one score less the other), "not cat" or "-0"
                (what speaks against it: its score times -1). Of an embedding what it is compared
                with: an array of floats [D], or [N, D], one for each input; the score is the cosine
                similarity. A list has one of these for each input; for one input it gives as many
                explanations, which share the forward pass.
            baseline: another baseline for this call.
            progress: called with (passes done, passes in all) as work goes on.

        Raises:
            InvalidInputError: what was handed in does not fit the model.

        Examples:
            >>> explainer(x, "top5").target.tolist()
            [7, ...]
        """
        own, blamed = self.serving(target), blamed_on_file(lambda: self._file.readable)
        with at_work(), within(self._limits), np.errstate(all="ignore"), blamed:
            return with_direction(own.subject, own._explained(x, target, baseline, progress))

    def _explained(
        self, x: Any, target: Any, baseline: Any, progress: Progress | None
    ) -> Explanation:
        feeds = check_inputs(self.subject, x)
        source = feeds[self.subject.input.name]
        rows = len(source) if source.ndim else 1
        check_rows(self.subject, feeds, rows)
        count = samples_in(self.subject, feeds, rows, self._run_file)
        asked = asked_for(target, self.about, count)
        baseline = self._in_arrays(baseline) if self._compares else None
        several = self._several if baseline is None else is_set(self._settings.method, baseline)
        plan = self._plan(several)
        baselines = self._whole_baselines(feeds, baseline, several)
        parts = parted(self.subject, self._settings, plan, feeds, baselines, asked, count, several)
        blame = partial(if_out_of_range, self.subject, target)
        results, targets = run_parts(self.subject, plan, parts, self._run_file, progress, blame)
        e = collected(self.subject, plan, results, targets)
        steps = self.steps if e.steps is None else e.steps
        inputs = {source.input.name: feeds[source.input.name] for source in self.subject.sources}
        into = {s.input.name: model_input(s, self.card) for s in self.subject.sources}
        said = {"doubt": self._doubt, "labels": self._labels}
        origin = Origin(self.card, inputs, self._reading, count, into, **said)
        e = replace(e, feature_map=self.feature_map, steps=steps, origin=origin)
        if (found := not_finite(e)) is not None:
            raise_not_finite(found[0], plan, parts.holding(found[1], targets))
        warn_of_misses(self.subject, e, self._settings.options)
        return e

    @property
    def about(self) -> About:
        """What targets are of."""
        return About(self.subject, self._labels)

    def scores(self, x: Any, target: Any = None) -> Scores:
        """What is explained of N inputs, without an explanation; as in calling the explainer.

        Examples:
            >>> explainer.scores(x, "three").score.shape
            (1,)
        """
        with at_work(), within(self._limits):
            return self.serving(target)._scorer(x, target)

    def _default_baselines(self) -> dict[str, np.ndarray]:
        """The baselines that hold where a call names none, by input; empty without any."""
        if self._compares:
            self._in_arrays(self._named_baseline)
            self._tell_of_zeros()
        return self._baselines

    def _facts(self, baseline_input: bool) -> dict[str, Any]:
        names = self._default_plan.baseline_names
        values = {names[name]: value for name, value in self._baselines.items()}
        baselines = described(None if baseline_input else self._started_from, values)
        more = {"score": self._arguments["score"], "source_sha256": self._file.sha256}
        if self.feature_map is not None:
            more["feature_map"] = self.feature_map
        return facts_of(self.subject, self._settings, self.card, baselines, **more)

    def _tell_of_zeros(self) -> None:
        """One line, once, where a baseline had to be assumed."""
        untold, self._untold = self._untold, False
        if untold:
            tell_of_zeros(self.into)

    def _plan(self, several: bool) -> Plan:
        if several not in self._plans:
            with BUILDING:
                if several not in self._plans:
                    self._plans[several] = Plan(self.subject, self._settings, several)
        return self._plans[several]

    def _baselines_of(self, baseline: Any, several: bool) -> dict[str, np.ndarray]:
        names = self._default_plan.baseline_names if self._compares else {}
        return checked_baselines(self.subject, self.card, names, baseline, several)

    def _whole_baselines(
        self, feeds: Mapping[str, np.ndarray], baseline: Any, several: bool
    ) -> dict[str, np.ndarray]:
        """The baselines of one call; see `whole_baselines`."""
        if baseline is not None:
            chosen = self._baselines_of(baseline, several)
        else:
            chosen = self._default_baselines()
        return whole_baselines(self.subject, chosen, feeds, several)
