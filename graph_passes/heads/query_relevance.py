"""What a decoder's queries took from the tokens that they read, by its layers' attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.emitter import Emitter


def read_by_queries(
    emit: Emitter, read: Any, decoder: Sequence[tuple[bool, Any]], encoder: Sequence[Any]
) -> Any:
    """The rows `read` of R_qi (Chefer, Gur, Wolf 2021, equations 5 to 10), [N, 1, tokens].

    From the first layer to the last R_ii <- R_ii + A R_ii in the encoder; in the decoder
    R_qi <- R_qi + D R_qi and R_qq <- R_qq + D R_qq for attention among queries, and
    R_qi <- R_qi + R'_qq^T C R'_ii for cross attention, where R' is `_normal`. R_qi begins at 0, the
    others at I. What is kept of the latter is E = R - I, so that small numbers do not drown in
    ones. Of R_ii only products with one row or column are made, as it may be large.

    Args:
        emit: emits.
        read: [N, 1, queries], what the score reads of each.
        decoder: in their order whether a layer is cross attention, and what it passes on.
        encoder: what its layers pass on, in their order.
    """
    added, normal = None, []
    for crosses, passed in decoder:
        if crosses:
            normal.append(added)
        else:
            added = passed if added is None else added + passed + passed @ added
    asked = None
    for crosses, passed in reversed(decoder):
        if not crosses:
            read = read + read @ passed
            continue
        from_queries = _normal_turned(emit, read, normal.pop()) @ passed
        asked = from_queries if asked is None else asked + from_queries
    return _normal(emit, asked, encoder)


def _normal_turned(emit: Emitter, row: Any, added: Any) -> Any:
    """row R'^T, where R' = E with rows that sum to 1, plus I (equations 8, 9)."""
    if added is None:
        return row
    turned = emit.Transpose(row, perm=[0, 2, 1])
    shares = _shares(emit, added @ turned, emit.ReduceSum(added, [2], keepdims=1))
    return row + emit.Transpose(shares, perm=[0, 2, 1])


def _normal(emit: Emitter, row: Any, encoder: Sequence[Any]) -> Any:
    """row R', where R = (I + A_n) ... (I + A_1) is not made."""
    if not encoder:
        return row
    sums = None
    for passed in encoder:
        own = emit.ReduceSum(passed, [2], keepdims=1)
        sums = own if sums is None else sums + own + passed @ sums
    part = _shares(emit, row, emit.Transpose(sums, perm=[0, 2, 1]))
    moved = None
    for passed in reversed(encoder):
        whole = part if moved is None else part + moved
        through = whole @ passed
        moved = through if moved is None else moved + through
    return row + moved


def _shares(emit: Emitter, part: Any, total: Any) -> Any:
    """part / total; 0 where nothing was added, so that 0 / 0 leaves the row of I."""
    none = emit.cast_like(emit.Equal(total, 0.0), total)
    return part / (total + none)
