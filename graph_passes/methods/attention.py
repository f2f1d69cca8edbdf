"""What attention carried from the tokens to the score: rollout, and weighed by its gradient.

Both follow the rows that the score reads back through the layers: r = e, then for each layer from
the last to the first r <- r M_l, where M_l says what layer l passes on from token to token. So a
row vector is enough, where the papers multiply whole matrices. Of an encoder and a decoder, see
`read_by_queries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx

from ... import InvalidInputError, UnsupportedModelError
from ..backward.walk import Refusal
from ..finish import ATTRIBUTION, working_copy
from ..graph.emitter import Emitter
from ..heads.asking import ask, gradient_refusals, walk_back
from ..heads.query_relevance import read_by_queries
from ..select.attention import find_attentions
from ..select.attention_layer import Attention, Role
from ..select.feature_map import FeatureMap, find_tokens
from ..select.subject import Subject
from .grad_cam import of_tokens
from .method import Chosen, Method, Stages

# (emit, weights [N, heads, queries, keys], their gradient) -> [N, queries, keys]
Passed = Callable[[Emitter, Any, Any], Any]


def of_attention(
    subject: Subject, title: str, passed: Passed, kept: float, crosses: bool
) -> onnx.ModelProto:
    """r <- kept (r + r passed(A_l)), from the last layer to the first, starting at what is read.

    Args:
        subject: what is explained.
        title: the method's.
        passed: what a layer's attention passes on.
        kept: 1, or 1/2 where rows are brought back to a sum of 1.
        crosses: whether the method is defined for cross attention, too.

    Returns:
        A model with the outputs `attribution`, [N, H, W] of a picture or [N, T] of token ids, and
        the score.

    Raises:
        InvalidInputError: several inputs are explained at once.
        UnsupportedModelError: no attention over tokens that stay the same, tokens without places,
            or an operator without a gradient.
    """
    layers, tokens = _found(subject, crosses)
    subject = working_copy(subject)
    layers = [one.moved_to(subject.graph) for one in layers]
    asked = ask(subject)
    emit = asked.emit
    wrt = [*(one.weights for one in layers), layers[-1].mixed]
    slopes = walk_back(asked, wrt, title)
    read = slopes.pop()
    if read is None:
        raise UnsupportedModelError("no gradient reaches the last attention")
    relevance = _rows_read(emit, subject, layers[-1], read)
    carried = []
    for one, slope in zip(layers, slopes, strict=True):
        slope = emit.filled_like(one.weights, 0.0) if slope is None else slope
        weights, slope = (_by_head(emit, subject, one, t) for t in (one.weights, slope))
        carried.append((one, passed(emit, weights, slope)))
    if layers[-1].role is Role.SELF:
        relevance = _read_by_tokens(relevance, carried, kept)
    else:
        decoder = [(one.role is Role.CROSS, m) for one, m in carried if one.role is not Role.SELF]
        encoder = [m for one, m in carried if one.role is Role.SELF]
        relevance = read_by_queries(emit, relevance, decoder, encoder)
    relevance = emit.Squeeze(relevance, [1])
    if tokens is not None:
        relevance = of_tokens(emit, subject, tokens.moved_to(subject.graph), relevance)
    return asked.finished({ATTRIBUTION: relevance})


def _read_by_tokens(row: Any, carried: Sequence[tuple[Attention, Any]], kept: float) -> Any:
    """row <- kept (row + row M_l) from the last layer to the first, [N, 1, tokens]."""
    for one, passed in reversed(carried):
        through = row @ passed
        # A pooling's query is no token, and keeps nothing of its own.
        row = (row + through) * kept if one.queries == one.keys else through
    return row


def _found(subject: Subject, crosses: bool) -> tuple[list[Attention], FeatureMap | None]:
    """The layers, and where their tokens lie in the picture; None: the tokens are the input's.

    Without `crosses` cross attention is refused.
    """
    source = subject.sources[0]
    if len(subject.sources) > 1:
        raise InvalidInputError("attention is followed from one input at a time; name one")
    layers = find_attentions(subject)
    crossing = [one.weights.name for one in layers if one.role is Role.CROSS]
    if crossing and not crosses:
        raise UnsupportedModelError(
            f"attention rollout is defined for tokens that read one another, and {crossing[0]!r} "
            "is cross attention, where a decoder's queries read them; chefer follows it"
        )
    if source.embedded:
        return layers, None
    first = next(one for one in layers if one.role is not Role.QUERIES)
    found = find_tokens(subject, first.values.name, first.keys)
    if found is None:
        raise UnsupportedModelError(
            f"attention is over tokens (number: {first.keys}), and which of them are patches of "
            "the picture cannot be told"
        )
    return layers, found


def _by_head(emit: Emitter, subject: Subject, one: Attention, tensor: Any) -> Any:
    """[N, heads, queries, keys], or with channels in place of keys."""
    if one.heads_first:
        return emit.Transpose(tensor, perm=[1, 0, 2, 3])
    if one.apart:
        return tensor
    rows = emit.dims(subject.start, 0, 1)
    last = emit.dims(tensor, 1, 3)
    return emit.Reshape(tensor, emit.Concat(rows, [-1], last, axis=0))


def _rows_read(emit: Emitter, subject: Subject, last: Attention, slope: Any) -> Any:
    """[N, 1, queries]: equal parts of those queries of the last attention that the score reads.

    Those are the ones with a gradient: the class token alone, or all that are pooled.
    """
    slope = _by_head(emit, subject, last, slope)
    moved = emit.ReduceMax(abs(emit.term(slope)), [1, 3], keepdims=0)
    read = emit.cast_like(emit.Greater(moved, 0.0), moved)
    number = emit.ReduceSum(read, [1], keepdims=1)
    none = emit.cast_like(emit.Equal(number, 0.0), number)
    return emit.Unsqueeze(read / (number + none), [1])


def rolled(emit: Emitter, weights: Any, slope: Any) -> Any:
    """The mean over heads of A (Abnar, Zuidema 2020, section 3.2)."""
    del slope
    return emit.ReduceMean(weights, [1], keepdims=0)


def weighed(emit: Emitter, weights: Any, slope: Any) -> Any:
    """The mean over heads of relu(dA * A) (Chefer, Gur, Wolf 2021, equation 5)."""
    return emit.ReduceMean(emit.Relu(slope * weights), [1], keepdims=0)


def _method(
    name: str, title: str, passed: Passed, kept: float, crosses: bool, **more: Any
) -> Method:
    def stages(subject: Subject, options: Chosen) -> Stages:
        return Stages(of_attention(subject, title, passed, kept, crosses))

    def unsupported(subject: Subject, options: Chosen) -> list[Refusal]:
        """Operators between the attention and the score without a gradient."""
        layers, _ = _found(subject, crosses)
        return gradient_refusals(subject, [one.weights for one in layers])

    return Method(
        name=name,
        title=title,
        options=(),
        stages=stages,
        unsupported=unsupported,
        signed=False,
        per_location=True,
        at_once=4,
        place=22,
        **more,
    )


METHODS = (
    _method(
        "attention-rollout",
        "Attention rollout",
        rolled,
        0.5,
        False,
        cite="Abnar, Zuidema 2020",
        summary="Which tokens attention carried to the score, whatever the class.",
        aliases=("rollout",),
    ),
    _method(
        "chefer",
        "Chefer relevance",
        weighed,
        1.0,
        True,
        cite="Chefer, Gur, Wolf 2021",
        summary="Attention times its positive gradient, followed through the layers.",
        aliases=("generic attention", "transformer-explainability"),
    ),
)
