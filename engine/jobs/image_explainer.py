"""One model, ready to explain image files by one or several methods."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ... import InvalidInputError, UnsupportedModelError
from ...graph_passes.methods import default_methods, find_method
from ...graph_passes.select.embedding import COSINE
from ...graph_passes.select.subject import select
from ...models.plain_card import Card
from ..checking.assumed import tell_of_card
from ..checking.checks import check_label_count, check_one_at_a_time, tell_of_others
from ..explaining.baselines import black_of, tell_of_zeros
from ..explaining.explainer import Explainer
from ..explanation.attributions import each
from ..explanation.evidence import checked_by_hiding, what_is
from ..explanation.explanation import Explanation
from ..explanation.origin import Shared
from ..explanation.outcomes import recorded, region_of
from ..inputs import Input, check_kinds, default_name, input_of_path
from ..inputs.baselines import baseline_arrays, is_of_each
from ..inputs.kind import Box
from ..model import Model, opened
from ..records.keys import question_of
from ..records.record import Evidence, Failure, Outcome, Record
from ..running.session import CPU, resolve_providers
from ..running.settings import for_methods
from ..running.stopwatch import phase
from ..targets.asking import all_wanted, moved, of_places, usual
from ..targets.target import About, Wanted
from .asked import Options, card_for, given_inputs, references, tell_of_embedding
from .cards import tell_of_doubts
from .provenance import common_baseline, image_stat, options_of_all
from .results import Result
from .sources import Found

logger = logging.getLogger("onnxplain")
# Whether a target of a question is done already: (image, question, target as asked).
IsDone = Callable[[str, str, str], bool]


class Explained(NamedTuple):
    """One target of one input.

    Attributes:
        record: as in results.json, without files.
        attribution: [1, H, W] or the tensor's shape.
        asked: the targets that led to it, as they were asked for; see `journal.Entry`.
        region: bool [H, W], the places that the target is summed over, where it is; see `framed`.
    """

    record: Record
    attribution: np.ndarray
    asked: tuple[str, ...]
    region: np.ndarray | None = None


class ImageExplainer:
    """One model, ready to explain image files by one or several methods.

    Attributes:
        skipped: method -> why it was left out, where the caller asked for no method in particular.
        options: for each method what shapes its numbers, as `provenance.options_of` gives it.
        targets: what is explained of each image, as it was asked for.

    Raises:
        UnsupportedModelError: the model cannot be read, or not be explained by a method that was
            asked for.
        InvalidInputError: a wrong option, a model that takes none of `files`, or labels that are
            not as many as the classes.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        options: Options,
        tell: Callable[[str], None] = lambda text: None,
        file: Model | None = None,
        files: Sequence[Found] = (),
    ):
        tell("reading the model")
        self._asked = options
        self.model = os.fspath(model)
        self.file = file or opened(self.model, options.shapes)
        self.card = card_for(self.file, options)
        self.card = replace(self.card, output=self.file.meant(self.card.output))
        self.file = self.file.with_output(self.card.output)
        self._given = given_inputs(self.file, options.inputs, self.card)
        # The check of every method's outputs takes one run of the file.
        self.file.remember()
        self.skipped: dict[str, str] = {}
        self.explainers: dict[str, Explainer] = {}
        self._checked: dict[str, UnsupportedModelError | None] = {}
        self._chosen = chosen = list(dict.fromkeys(options.methods or self._usual_methods()))
        for_methods(chosen, options.more)
        for method in chosen:
            one = find_method(method).baselines == "never" and find_method(method).takes("baseline")
            if one and not isinstance(options.baseline, str | None):
                raise InvalidInputError(f"{method} compares with one baseline; got several")
        for method in chosen:
            tell(f"building {method}")
            self._add(method)
        if not self.explainers:
            raise UnsupportedModelError("; ".join(dict.fromkeys(self.skipped.values())))
        first = next(iter(self.explainers.values()))
        self._subject, self.into = first.subject, first.into
        compares = any(find_method(name).takes("baseline") for name in self.explainers)
        check_kinds([one.path for one in files if one.problem is None], self.into)
        own = default_name(self._subject, self.into) if compares else None
        if options.baseline is None and own is not None:
            self._asked = options = replace(options, baseline=own)
        self._baseline: Any = common_baseline(options.baseline, self.card, self.into)
        # Who hands a card in has heard of it.
        if not isinstance(options.card, Card):
            tell_of_card(self.card)
            tell_of_doubts(self.file, self.card, self._subject, options, files)
        if options.baseline is None and black_of(self.card) is None and compares:
            tell_of_zeros(self.into)
        asked = {name: options.of_method(name, chosen) for name in self.explainers}
        shapes = {name: list(shape) for name, shape in (options.shapes or {}).items()}
        more = {"shapes": shapes, "score": options.score, "inputs": dict(self._given.said)}
        self.options = options_of_all(asked, self.card, more)
        tell_of_others(self._subject)
        tell_of_embedding(self._subject, self.card, options)
        check_one_at_a_time(self.card, self._subject)
        if options.versus:
            self.targets = references(first, options.versus, options.targets, options.strict)
        else:
            self.ask(options.targets or usual(self.about))

    def ask(self, targets: Sequence[str]) -> None:
        """Explain these targets from now on, as the command line names them."""
        self.targets = all_wanted(targets, self.about)

    def _usual_methods(self) -> list[str]:
        """The methods where nobody chose: of what has places those that suit one place's score."""
        outputs = self.file.proto.graph.output
        ranks = [len(value.type.tensor_type.shape.dim) for value in outputs]
        if (len(ranks) == 1 and ranks[0] not in (3, 4)) or self._asked.versus:
            return default_methods()
        subject = select(self.file.graph(), self._given.explained, self.card.output)
        about = About(subject, self.card.labels)
        return default_methods(of_places=of_places(about))

    @property
    def about(self) -> About:
        """What targets are of."""
        return About(self._subject, self.card.labels)

    def _add(self, method: str) -> None:
        asked = self._asked
        options = asked.of_method(method, self._chosen)
        # Each image has its own.
        options.pop("baseline", None)
        try:
            how: dict[str, Any] = {"providers": asked.provider, "threads": asked.threads}
            how |= {"input": self._given.explained, "fixed": self._given.arrays}
            how["score"] = COSINE if asked.versus else asked.score or "logit"
            self.explainers[method] = Explainer(
                self.file, method, output=self.card.output, card=self.card, **how, **options
            )
        except UnsupportedModelError as error:
            if asked.methods and not asked.lenient:
                raise
            self.skipped[method] = str(error)

    def open_targets(self, path: str, is_done: IsDone) -> dict[str, list[Wanted]]:
        """For each method the targets of an image that are still to be explained; may be empty."""
        found = {}
        for method in self.explainers:
            left = [
                t for t in self.targets if not is_done(path, self._question(path, method), t.text)
            ]
            if left:
                found[method] = left
        return found

    def explain(
        self,
        path: str,
        progress: Callable[[float], None] = lambda done: None,
        targets: dict[str, list[Wanted]] | None = None,
    ) -> Iterator[Result]:
        """Explain one file by every method and target, each target once.

        Args:
            path: of an image, an array, or a file of another kind of input; "-" is what comes on
                standard input.
            progress: called with the fraction of this image's work that is done.
            targets: for each method to use its targets, of `open_targets`; None: all.

        Raises:
            InvalidInputError: the image does not fit.
        """
        with phase("load"):
            stat = image_stat(path)
            found = self.read(path)
            if found.damage is not None:
                logger.warning(f"image {path}: {found.damage}; explained as far as it goes")
            tensor, view = found.tensor(), found.view()
        own = None
        if self._asked.baseline is not None and is_of_each(self._asked.baseline):
            own = baseline_arrays(self._asked.baseline, self.into, found)
        shared = Shared()
        if targets is None:
            targets = dict.fromkeys(self.explainers, self.targets)
        asked = {
            method: moved(wanted, self.about, found.box_in_input)
            for method, wanted in targets.items()
        }
        place = found.pixel_in_thing()
        for one in self.explained(path, tensor, own, progress, asked, place):
            strongest = found.strongest(one.attribution[0])
            yield Result(
                replace(one.record, damage=found.damage, strongest=strongest),
                view,
                tensor,
                one.attribution,
                found.kind,
                self.into,
                asked=one.asked,
                image_stat=stat,
                shared=shared,
                region=one.region,
            )

    def read(self, path: str) -> Input:
        """A file as its kind reads it, or what comes on standard input.

        Raises:
            InvalidInputError: it cannot be read.
        """
        return input_of_path(path, self.into, self._asked.strict)

    def checked_by_hiding(
        self,
        tensor: np.ndarray,
        attribution: np.ndarray,
        record: Outcome,
        shared: Shared | None = None,
    ) -> Evidence | None:
        """What hiding the strongest places of a map does to its record's target; see `evidence`."""
        # All score alike: one of them does, so that one more session is enough.
        explainer = next(iter(self.explainers.values()))
        features, what = self.into.features, what_is(self.into)
        return checked_by_hiding(explainer, tensor, attribution, features, record, shared, what)

    def explained(
        self,
        name: str,
        tensor: np.ndarray,
        baseline: Any = None,
        progress: Callable[[float], None] = lambda done: None,
        targets: Mapping[str, Any] | None = None,
        in_photo: Box | None = None,
    ) -> Iterator[Explained]:
        """Explain one input by every method and target, each target once.

        Args:
            name: what the records call the image.
            tensor: as the card has it, [1, ...].
            baseline: this image's own, where the options ask for such; see `baseline_arrays`.
            progress: called with the fraction of this image's work that is done.
            targets: for each method to use its targets; None: all.
            in_photo: see `Origin`.

        Raises:
            InvalidInputError: the image does not fit.
        """
        baseline = self._baseline if baseline is None else baseline
        if targets is None:
            targets = dict.fromkeys(self.explainers, self.targets)
        for row, (method, wanted) in enumerate(targets.items()):
            explainer = self.explainers[method]

            def step(passes: int, of: int, row=row) -> None:
                progress((row + passes / of) / len(targets))

            extra = {"baseline": baseline} if find_method(method).takes("baseline") else {}
            ones, seconds = self._explained(explainer, tensor, wanted, progress=step, **extra)
            asked: dict[str, list[str]] = {}
            for one in ones:
                asked.setdefault(one.targets[0].key, []).append(one.targets[0].asked)
            for one in ones:
                # "top1" and the class that it turns out to be are one target.
                names = asked.pop(one.targets[0].key, None)
                if names is not None:
                    origin = one.origin and replace(one.origin, in_photo=in_photo)
                    record = self._record(name, explainer, replace(one, origin=origin), seconds)
                    yield Explained(record, one.attribution, tuple(names), region_of(one, 0))

    def explained_together(
        self, names: Sequence[str], tensor: np.ndarray, targets: dict[str, list[Wanted]]
    ) -> Iterator[tuple[int, Explained]]:
        """Explain N inputs at once, as a device wants it: which of them, and its explanation.

        Args:
            names: what the records call the images.
            tensor: as the card has it, [N, ...].
            targets: for each method to use its targets; each target of an image comes once.

        Raises:
            InvalidInputError: an image does not fit.
        """
        for method, wanted in targets.items():
            explainer, seen = self.explainers[method], set()
            extra: dict[str, Any] = (
                {"baseline": self._baseline} if find_method(method).takes("baseline") else {}
            )
            for target in wanted:
                began = time.perf_counter()
                rows = each(explainer(tensor, target, **extra))
                self._check_first(explainer, tensor[:1], rows[0])
                seconds = (time.perf_counter() - began) / len(rows)
                for place, (name, one) in enumerate(zip(names, rows, strict=True)):
                    record = self._record(name, explainer, one, seconds)
                    key = place, record.target.key
                    if key not in seen:
                        seen.add(key)
                        yield place, Explained(record, one.attribution, (target.text,))

    @property
    def together(self) -> bool:
        """Whether several inputs are explained at once, as a device wants it.

        Where the answer tells how many targets there are, as boxes, each input goes alone.
        """
        alone = self._subject.detector is not None
        return resolve_providers(self._asked.provider)[0] != CPU and not alone

    def targets_of(self, method: str) -> dict[str, list[Wanted]]:
        """All targets, of one method alone, as `explained` takes them."""
        return {method: self.targets}

    def _explained(
        self, explainer: Explainer, tensor: np.ndarray, wanted: list[Wanted], **how: Any
    ) -> tuple[list[Explanation], float]:
        """The checked explanations of one input, one for each target, and the seconds for each."""
        began = time.perf_counter()
        explanation = explainer(tensor, wanted, **how)
        check_label_count(self.card.labels, self._subject, explanation.outputs)
        self._check_first(explainer, tensor, explanation)
        ones = each(explanation)
        return ones, (time.perf_counter() - began) / len(ones)

    def top_class(self, tensor: np.ndarray, method: str) -> str:
        """The top class of one input in words: its label, or its index."""
        target = self.explainers[method].scores(tensor, None).target[0]
        labels = self.card.labels
        if np.ndim(target) or not labels or int(target) >= len(labels):
            return f"class {target}"
        return labels[int(target)]

    def _check_first(self, explainer: Explainer, tensor: np.ndarray, e: Explanation) -> None:
        """Compare the first image's outputs with the file's own; what was off stays refused.

        Raises:
            UnsupportedModelError: they differ.
        """
        if explainer.method not in self._checked:
            try:
                explainer.check_outputs(tensor, e)
                self._checked[explainer.method] = None
            except UnsupportedModelError as error:
                self._checked[explainer.method] = error
        if len(self._checked) == len(self.explainers):
            self.file.let_go()
        error = self._checked[explainer.method]
        if error is not None:
            raise error

    def _question(self, path: str, method: str) -> str:
        output = self.explainers[method].subject.output.name
        return question_of(path, self.file.sha256, method, output, self.options[method])

    def failure(self, path: str, error: str) -> Failure:
        """The record of an image that could not be explained."""
        return Failure(os.fspath(path), self.model, error)

    def _record(self, path: str, explainer: Explainer, e: Explanation, seconds: float) -> Record:
        return Record(
            **vars(recorded(e, 0)),
            image=os.fspath(path),
            model=self.model,
            model_sha256=self.file.sha256,
            options=self.options[e.method],
            provider=e.provider,
            seconds=round(seconds, 4),
        )
