"""What an explainer returns."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import InvalidInputError
from ...graph_passes import finish
from ...graph_passes.select.subject import Subject
from ..running.drivers import MAP_ERROR, PASSES, POINTS, RESIDUAL
from ..running.plan import Plan
from ..targets.target import Target, indices_of
from .attributions import Attributions

if TYPE_CHECKING:
    from ..pictures.heatmap import Picture
    from ..running.answers import Top


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Attributions):
    """The explanation of N inputs, or of one input for N targets.

    Two are equal where all that they hold is: arrays of one type and shape, NaN being itself. Their
    arrays may be changed, so that they have no hash.

    Attributes:
        method: its name.
        attribution: float32; of methods that speak of locations, as Grad-CAM does, [N, H, W] at the
            input's size; of others the input's shape. Where several inputs are explained, a dict by
            their names.
        target: what was explained: int64 [N] classes, or the index tuple; of several tuples, or
            of classes and tuples, an array of objects.
        score: float64 [N], the explained number (before a final Softmax or Sigmoid unless asked
            otherwise).
        baseline_score: float64 [N], the same at the baseline; None without one.
        outputs: the model's own outputs by name.
        feature_map: Grad-CAM's tensor; else None.
        steps: the gradient passes that Integrated Gradients used for one input (the most, where
            each input has points of its own); else None.
        residual: float64 [N], what an adaptive path misses in its intervals, regardless of sign:
            sum |r_i|, which bounds |delta|; else None.
        points: float64 [N, steps at most], where on an adaptive path gradients were taken: from 0,
            the baseline, to 1, NaN behind the last; else None.
        map_error: float64 [N], the estimated relative error of the attributions themselves, L2;
            `delta` is of their sum alone. No further pass is taken for it. Of adaptive paths it was
            within a factor of 2 of the error for 98 % of the maps that were tried; of fixed points
            (at least 8, not "left" and "right") it is that where the gradient has kinks, and an
            upper bound where it is smooth. Of SmoothGrad, VarGrad, expected gradients and RISE, the
            standard error. Else, and of fewer than 100 elements but for adaptive paths, None.
        provider: the ONNX Runtime provider that ran it.
        origin: what it was made of, for pictures; it counts for nothing in a comparison.
        targets: the N targets, each as the weighted sum of scores that it is.

    Examples:
        >>> e = explainer(x)
        >>> e.attribution.shape, e.target.tolist()
        ((1, 8, 8), [7])
    """

    @property
    def label(self) -> str | None:
        """The target's name of one explanation; None where the labels are not known.

        Examples:
            >>> e.label
            'seven'
        """
        from .outcomes import recorded

        return recorded(self._alone("label"), 0).target.label

    @property
    def probability(self) -> float | None:
        """The target's probability of one explanation, 0 to 1.

        The file's own behind a final Softmax, LogSoftmax or Sigmoid, or where its numbers sum to 1;
        else the softmax of its scores, or the sigmoid where the card says so. None where none of
        these is known to be meant: a single raw number, a score for each pixel.

        Examples:
            >>> e.probability > 0.9
            True
        """
        from .outcomes import answer_of

        return answer_of(self._alone("probability"), 0, 1).probability

    def top(self, k: int = 5) -> list[Top]:
        """The model's k best classes for the input of one explanation, the best first.

        Each is (index, label, score, probability); see `probability`. Empty where the output has no
        score for each class.

        Examples:
            >>> explainer(x).top(2)  # doctest: +SKIP
            [Top(index=967, label='espresso', score=11.4, probability=0.9), ...]
        """
        from .outcomes import answer_of

        return list(answer_of(self._alone("top"), 0, k).top)

    def evidence(self, row: int = 0) -> str:
        """What hiding the map's strongest places does to the model's answer, in words.

        The places are hidden by a blur, and the model runs once more; the result is kept, and
        `picture()` shows it from then on. The text is empty where nothing speaks for the target.

        Args:
            row: which of the N explanations.

        Raises:
            InvalidInputError: it is not of a photo that `Explainer.explain` was given, or the
                photo was explained in another process.

        Examples:
            >>> e = onnxplain.Explainer("model.onnx").explain("cat.jpg")  # doctest: +SKIP
            >>> e.evidence()  # doctest: +SKIP
            'Hiding the strongest 12 % of the photo drops tabby from 93 % to 8 %'
        """
        from ..records.captions import evidence_text
        from .evidence import evidence_of, tested

        row = operator.index(row)
        if not -len(self) <= row < len(self):
            raise InvalidInputError(f"row {row}: there are {len(self)}")
        row %= len(self)
        evidence_of(self, row)
        return evidence_text(tested(self, row))

    def _alone(self, what: str) -> Explanation:
        if len(self) != 1:
            raise InvalidInputError(
                f"{what} is of one explanation, and here are {len(self)}: e[0].{what}"
            )
        return self

    def picture(
        self,
        image: Any = None,
        row: int = 0,
        *,
        input: str | None = None,
        smooth: float | None = None,
        detail: str = "regions",
    ) -> Picture:
        """The overlay that the command line draws.

        Args:
            image: the photo: a path, a PIL image, or an array [H, W, 3] of bytes; None: the one
                that it is of, or else the model's own input.
            row: which of the N explanations.
            input: where several inputs are explained, the name of one; None: the first.
            smooth: draw the positive evidence only, blurred by this sigma in the input's pixels.
            detail: where there is a number for each element, the net evidence by "regions", or
                "pixels".

        Raises:
            InvalidInputError: the map is no picture's, or there is no such row or input.

        Examples:
            >>> e.picture(smooth=1.0).save("evidence.png")
        """
        from .drawing import drawn

        return drawn(self, image, row, input, smooth, detail)

    def save(self, path: str | os.PathLike[str], image: Any = None, row: int = 0) -> None:
        """Write the overlay (.png), or `attribution` and `input` as arrays (.npz).

        Args:
            path: ends in .png or .npz.
            image: as for `picture`.
            row: as for `picture`.

        Raises:
            InvalidInputError: another ending, or what `picture` raises.
            OSError: it cannot be written.

        Examples:
            >>> e.save("explained.png")
            >>> e.save("explained.npz")
        """
        from .drawing import saved

        saved(self, path, image, row)

    def _repr_png_(self) -> bytes | None:
        """The first row's overlay for notebooks; None where it is no picture's."""
        from .drawing import as_png

        return as_png(self)


def collected(
    subject: Subject, plan: Plan, results: Mapping[str, np.ndarray], targets: Sequence[Target]
) -> Explanation:
    """What a plan's runs returned, all batches joined; without the feature map's name.

    Args:
        subject: what was explained.
        plan: what ran.
        results: by name.
        targets: what they are of.
    """
    baseline_score, map_error = results.get(finish.BASELINE_SCORE), results.get(MAP_ERROR)
    not_known = map_error is None or bool(np.isnan(map_error).any())
    attributions = {
        name: results[key].astype(np.float32, copy=False) for key, name in plan.attributions.items()
    }
    several = len(attributions) > 1
    return Explanation(
        method=plan.method,
        attribution=attributions if several else next(iter(attributions.values())),
        target=indices_of(targets),
        targets=tuple(targets),
        score=results[finish.SCORE].astype(np.float64),
        baseline_score=None if baseline_score is None else baseline_score.astype(np.float64),
        outputs={tensor.name: results[tensor.name] for tensor in subject.graph.outputs},
        steps=int(results[PASSES].max()) if PASSES in results else None,
        residual=results.get(RESIDUAL),
        points=results.get(POINTS),
        map_error=None if not_known else map_error,
        provider=plan.provider,
    )
