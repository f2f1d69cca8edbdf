"""Whose tokens an attention is over: the input's, or those of queries that a decoder asks with.

Tokens are followed by position. A layer of attention hands on its queries' tokens, whatever its
keys are; everything else hands on those of its operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs

from ... import UnsupportedModelError
from ..graph.reach import Reach, find_reach
from .attention_layer import Attention, Role, Sizes, attention_of, repeated, rows_made
from .rows.follow import follow_rows
from .subject import Subject
from .typical import typical_graph


class _Followed(NamedTuple):
    """What depends on what.

    Attributes:
        tokens: names of the tensors whose tokens are the explained input's.
        behind: a tensor's name -> the layers that it depends on, a bit for each.
    """

    tokens: set[str]
    behind: dict[str, int]


def with_roles(
    subject: Subject, path: Reach, layers: Sequence[Attention], batches: Sequence[int]
) -> list[Attention]:
    """The layers with their roles: first the tokens' own, then a decoder's in their order.

    To these belong those among queries ahead of the first cross attention, which do not depend on
    the input: the explained score depends on them all the same.

    Args:
        subject: what is explained.
        path: from the explained input to the score.
        layers: every attention on it, in its order.
        batches: typical numbers of rows.

    Raises:
        UnsupportedModelError: the layers are no encoder whose tokens a decoder's queries read one
            layer after the other.
    """
    followed = _follow(path, subject.starts, layers)
    found = [one._replace(role=_role(one, followed.tokens)) for one in layers]
    crossing = [one for one in found if one.role is Role.CROSS]
    if not crossing:
        among = [one for one in found if one.role is Role.QUERIES]
        if among:
            raise _refused(among[0], "is among queries that no attention read the input with")
        return found
    first = _given(subject, path, crossing[0], batches)
    decoder = [*first, *(one for one in found if one.role is not Role.SELF)]
    pooled = len(decoder) == 1 and found[-1] is crossing[0] and subject.detector is None
    if pooled:
        return [*found[:-1], found[-1]._replace(role=Role.SELF)]
    _check_decoder(subject, found, followed)
    _check_whole(decoder)
    return [*(one for one in found if one.role is Role.SELF), *decoder]


def _follow(path: Reach, starts: Sequence[gs.Tensor], layers: Sequence[Attention]) -> _Followed:
    tokens, behind = {tensor.name for tensor in starts}, dict[str, int]()
    mixes = {one.mixed.name: (1 << k, one) for k, one in enumerate(layers)}
    for node in path.nodes:
        names = {tensor.name for tensor in node.inputs}
        depends = 0
        for name in names:
            depends |= behind.get(name, 0)
        bit, one = mixes.get(node.outputs[0].name, (0, None))
        handing = names if one is None else {one.asking.name}
        made = [tensor.name for tensor in node.outputs if tensor.name in path.varying]
        behind.update(dict.fromkeys(made, depends | bit))
        if not tokens.isdisjoint(handing):
            tokens.update(made)
    return _Followed(tokens, behind)


def _role(one: Attention, tokens: set[str]) -> Role:
    """What its queries and its keys say.

    Raises:
        UnsupportedModelError: tokens of the input read a decoder's queries, or keys and values are
            not of the same tokens.
    """
    asks, reads = one.asking.name in tokens, one.asked.name in tokens
    if (one.values.name in tokens) != reads:
        raise _refused(one, "has keys of some tokens and values of others")
    if asks and not reads:
        raise _refused(one, "lets the input's tokens read a decoder's queries")
    if asks:
        return Role.SELF
    return Role.CROSS if reads else Role.QUERIES


def _given(
    subject: Subject, path: Reach, first: Attention, batches: Sequence[int]
) -> list[Attention]:
    """The attention among queries ahead of the first cross attention, the same for all inputs."""
    graph, on_path = subject.graph, {id(node) for node in path.nodes}
    # Those of masks and sizes are no products.
    products = [
        node.outputs[0] for node in graph.nodes if node.op == "MatMul" and id(node) not in on_path
    ]
    ahead = find_reach(graph, products, [first.asking])
    softmaxes = [n for n in ahead.nodes if n.op == "Softmax" and id(n) not in on_path]
    if not softmaxes:
        return []
    keep = [node.outputs[0].name for node in softmaxes]
    sizes = {n: typical_graph(subject, n, [*keep, *repeated(graph)]).tensors() for n in batches}
    for node in softmaxes:
        _check_rows(node.outputs[0].name, sizes)
    rows = follow_rows(graph, rows_made(graph, sizes))
    found = [attention_of(node, ahead, sizes, rows, given=True) for node in softmaxes]
    return [one._replace(role=Role.QUERIES) for one in found]


def _check_rows(name: str, sizes: Sizes) -> None:
    """Each row has weights of its own: the gradient of shared ones would be summed over rows.

    Raises:
        UnsupportedModelError: it is not so.
    """
    shapes = {n: list(at[name].shape or ()) if name in at else [] for n, at in sizes.items()}
    same = len(shapes) > 1 and len(set(map(tuple, shapes.values()))) == 1
    for batch, shape in shapes.items():
        if shape and batch > 1 and (same or shape[0] == 1):
            raise UnsupportedModelError(
                f"the attention {name!r} has the same weights {shape} for all rows of the batch; "
                "a file with a fixed batch of 1 can be explained"
            )


def _check_decoder(subject: Subject, found: Sequence[Attention], followed: _Followed) -> None:
    """Queries read what the whole encoder makes, one layer after the other, and nothing else does.

    Raises:
        UnsupportedModelError: it is not so.
    """
    bits = {one.weights.name: 1 << k for k, one in enumerate(found)}
    encoder = sum(bits[one.weights.name] for one in found if one.role is Role.SELF)
    if any(source.embedded for source in subject.sources):
        cross = next(one for one in found if one.role is Role.CROSS)
        raise _refused(cross, "reads a text; cross attention is followed from pictures only")
    if subject.logits.name in followed.tokens:
        cross = next(one for one in found if one.role is Role.CROSS)
        raise _refused(cross, "is not all that reads the input's tokens: the score does, too")
    before = 0
    for one in found:
        asked, asking = (followed.behind.get(t.name, 0) for t in (one.asked, one.asking))
        if one.role is Role.SELF:
            if asked & ~encoder:
                raise _refused(one, "is over tokens that have read a decoder's queries")
            continue
        if one.role is Role.CROSS and asked != encoder:
            raise _refused(one, "reads tokens from the middle of the encoder, or read before")
        if before and not asking & before:
            raise _refused(one, "does not come behind the decoder's layer before it")
        before = bits[one.weights.name]


def _check_whole(decoder: Sequence[Attention]) -> None:
    """Each of its layers has the same attention, as far as that can be told.

    Raises:
        UnsupportedModelError: the first one lacks what the later ones have. The exporter, or a
            tool that shortens files, made a constant of it.
    """
    crossing = [one for one in decoder if one.role is Role.CROSS]
    ends = decoder[0] is crossing[0] and decoder[-1] is crossing[-1]
    if ends and (len(crossing) < len(decoder) or len(crossing) == 1):
        raise _refused(
            decoder[0],
            "has no self attention of the queries before it, which was made a constant when the "
            "file was exported or simplified, or never was; a file with a dynamic batch keeps it",
        )


def _refused(one: Attention, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"the attention {one.weights.name!r} {why}")
