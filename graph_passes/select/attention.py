"""Finding attention: who reads whom among the tokens, layer by layer."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ... import UnsupportedModelError
from ..graph.reach import find_reach
from .attention_layer import Attention, Role, attention_of, repeated, rows_made
from .decoder import with_roles
from .rows.follow import follow_rows
from .rows.places import Place
from .subject import Subject
from .typical import typical_graph

# Whoever asks what is supported asks for the graph, too.
_found: WeakKeyDictionary[Subject, list[Attention]] = WeakKeyDictionary()


def find_attentions(subject: Subject) -> list[Attention]:
    """Every layer of attention between the explained input and the score, in their order.

    All of them are over the same tokens; the last one may have fewer queries, as a pooling has.
    Where a decoder's queries read the tokens, its layers come behind, see `with_roles`.

    Args:
        subject: what is explained; it is not changed.

    Raises:
        UnsupportedModelError: there is none, a Softmax on the way is something else, tokens
            change in number (windows, merging), or a decoder cannot be followed: naming the node.
    """
    if subject not in _found:
        _found[subject] = _find_attentions(subject)
    return _found[subject]


def _find_attentions(subject: Subject) -> list[Attention]:
    path = find_reach(subject.graph, subject.starts, [subject.logits])
    softmaxes = [node for node in path.nodes if node.op == "Softmax"]
    if not softmaxes:
        raise UnsupportedModelError(
            f"no attention between {subject.input.name!r} and the score: no Softmax of queries "
            "times keys that weighs values"
        )
    # Two sizes of a batch that may have any: what grows with it holds its rows.
    batches = (2, 3) if isinstance(subject.batch, str) else (subject.batch or 1,)
    made = repeated(subject.graph)
    sizes = {batch: typical_graph(subject, batch, made).tensors() for batch in batches}
    starts = {source.input.name: Place(0) for source in subject.sources}
    rows = follow_rows(subject.graph, {**rows_made(subject.graph, sizes), **starts})
    found = [attention_of(node, path, sizes, rows) for node in softmaxes]
    layers = with_roles(subject, path, found, batches)
    decoder = [one for one in layers if one.role is not Role.SELF]
    first = next(one for one in layers if one.role is not Role.QUERIES)
    tokens, queries = first.keys, decoder[0].queries if decoder else first.keys
    for one in layers:
        keys = queries if one.role is Role.QUERIES else tokens
        asked = tokens if one.role is Role.SELF else queries
        pools = not decoder and one is layers[-1]
        if one.keys != keys or not (one.queries == asked or pools):
            raise UnsupportedModelError(
                "attention is followed over tokens that stay the same from layer to layer; "
                f"queries x keys of {one.weights.name!r} are {one.queries} x {one.keys}, of the "
                f"first one {first.queries} x {first.keys} (windows or merged tokens?)"
            )
    return layers


def attention_lines(subject: Subject) -> list[str]:
    """A line for each layer; none where there are none that can be followed."""
    try:
        layers = find_attentions(subject)
    except UnsupportedModelError:
        return []
    return [
        f"{one.weights.name}: {one.role.value}, queries x keys {one.queries} x {one.keys}"
        for one in layers
    ]
