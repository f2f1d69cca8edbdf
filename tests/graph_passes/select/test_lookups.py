"""Token ids in the ways that exporters hand them over; their padding as a baseline."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from support.small import FLOAT, INT64, ask, node, small, value

import onnxplain

RANDOM = np.random.default_rng(4)
METHODS = ["saliency", "integrated-gradients", "deeplift", "occlusion"]
T1 = RANDOM.standard_normal((50, 4)).astype(np.float32)
T2 = RANDOM.standard_normal((30, 3)).astype(np.float32)
HEAD = RANDOM.standard_normal((7, 2)).astype(np.float32)
TAIL = [
    node("Gather", ["t1", "a"], ["ea"]),
    node("Gather", ["t2", "b"], ["eb"]),
    node("Concat", ["ea", "eb"], ["c"], axis=-1),
    node("Tanh", ["c"], ["h"]),
    node("ReduceMean", ["h"], ["m"], axes=[1], keepdims=0),
    node("MatMul", ["m", "head"], ["y"]),
]
WEIGHTS = {"t1": T1, "t2": T2, "head": HEAD}
I0, I1 = np.asarray(0), np.asarray(1)
APART = {
    "Gather": (
        [node("Gather", ["x", "i0"], ["a"], axis=1), node("Gather", ["x", "i1"], ["b"], axis=1)],
        {"i0": I0, "i1": I1},
    ),
    "Gather from behind": (
        [node("Gather", ["x", "i0"], ["a"], axis=1), node("Gather", ["x", "i1"], ["b"], axis=1)],
        {"i0": I0, "i1": np.asarray(-1)},
    ),
    "Split": (
        [
            node("Split", ["x"], ["p", "q"], axis=1),
            node("Squeeze", ["p", "one"], ["a"]),
            node("Squeeze", ["q", "one"], ["b"]),
        ],
        {"one": np.array([1])},
    ),
    "Slice": (
        [
            node("Slice", ["x", "zero", "one", "one"], ["p"]),
            node("Slice", ["x", "one", "two", "one"], ["q"]),
            node("Squeeze", ["p", "one"], ["a"]),
            node("Squeeze", ["q", "one"], ["b"]),
        ],
        {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])},
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", APART)
@pytest.mark.parametrize("batch", ["N", 1])
def test_rows_of_ids_that_are_taken_apart(cut, method, batch):
    """As two inputs are explained together; each place has the sum over its own rows."""
    nodes, more = APART[cut]
    output = [value("y", [batch, 2])]
    weights = {**WEIGHTS, **more}
    model = small([*nodes, *TAIL], [value("x", [batch, 2, "s"], INT64)], output, weights, opset=17)
    ids = RANDOM.integers(0, 30, (1, 2, 5))
    options = {"window": 1} if method == "occlusion" else {}
    if method == "integrated-gradients":
        options = {"steps": 32}
    explainer = onnxplain.Explainer(model, method, **options)
    e = explainer(ids, 1)
    assert e.attribution.shape == ids.shape
    assert explainer.verify(ids, 1).outputs < 1e-6
    if method == "occlusion":
        hidden = np.tanh(np.concatenate([T1[ids[0, 0]], T2[ids[0, 1]]], 1)) / 5 * HEAD[:, 1]
        expected = np.stack([hidden[:, :4].sum(1), hidden[:, 4:].sum(1)])[None]
        assert np.allclose(e.attribution, expected, atol=1e-6)
        return
    both = small(
        TAIL,
        [value("a", [batch, "s"], INT64), value("b", [batch, "s"], INT64)],
        output,
        WEIGHTS,
    )
    if method == "saliency":
        assert e.attribution.all()
        return
    apart = onnxplain.Explainer(both, method, input=["a", "b"], **options)
    found = apart({"a": ids[:, 0], "b": ids[:, 1]}, 1).attribution
    assert np.allclose(e.attribution, np.stack([found["a"], found["b"]], 1), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_ids_that_two_embeddings_read(method):
    """A sum over the rows of both: as if one table had both rows side by side."""
    ids = RANDOM.integers(0, 30, (2, 5))
    tail = [node("Identity", ["x"], ["a"]), node("Identity", ["x"], ["b"]), *TAIL]
    inputs, output = [value("x", ["N", "s"], INT64)], [value("y", ["N", 2])]
    two = onnxplain.Explainer(small(tail, inputs, output, WEIGHTS), method)
    one = [node("Gather", ["t", "x"], ["c"]), *TAIL[3:]]
    wide = {"t": np.concatenate([T1[:30], T2], 1), "head": HEAD}
    expected = onnxplain.Explainer(small(one, inputs, output, wide), method)(ids, 1)
    assert np.allclose(two(ids, 1).attribution, expected.attribution, atol=1e-5)


def text_model(kind, casts):
    nodes, x = [], "x"
    for place, to in enumerate(casts):
        nodes.append(node("Cast", [x], [f"cast{place}"], to=to))
        x = f"cast{place}"
    nodes += [
        node("Gather", ["t1", x], ["e"]),
        node("Tanh", ["e"], ["h"]),
        node("ReduceMean", ["h"], ["m"], axes=[1], keepdims=0),
        node("MatMul", ["m", "head"], ["y"]),
    ]
    weights = {"t1": T1, "head": HEAD[:4]}
    return small(nodes, [value("x", ["N", 6], kind)], [value("y", ["N", 2])], weights)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("casts", [(6,), (7,), (7, 6), (FLOAT, 7)])
def test_ids_handed_over_as_float(casts, method):
    ids = RANDOM.integers(0, 50, (2, 6))
    plain = onnxplain.Explainer(text_model(INT64, ()), method)(ids, 1)
    e = onnxplain.Explainer(text_model(FLOAT, casts), method)(ids.astype(np.float32), 1)
    assert np.allclose(e.attribution, plain.attribution, atol=1e-6) and e.attribution.any()


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift", "occlusion"])
@pytest.mark.parametrize("kind", ["all", "row", "one", "number"])
def test_padding_as_a_baseline(method, kind):
    model, ids = text_model(INT64, ()), RANDOM.integers(1, 50, (2, 6))
    pad = {"all": np.full((2, 6), 3), "row": np.full(6, 3), "one": np.array([3]), "number": 3}
    explainer = onnxplain.Explainer(model, method, baseline=pad[kind])
    rows = onnxplain.Explainer(model, method, baseline=T1[3])
    assert np.allclose(explainer(ids, 1).attribution, rows(ids, 1).attribution, atol=1e-6)
    expected = ask(model, x=np.full((2, 6), 3))["y"][:, 1]
    if method != "occlusion":
        assert np.allclose(explainer(ids, 1).baseline_score, expected, atol=1e-6)
        assert np.allclose(rows(ids, 1, baseline=pad[kind]).baseline_score, expected, atol=1e-6)
    with pytest.raises(onnxplain.InvalidInputError, match="ids of 0 to 49"):
        onnxplain.Explainer(model, method, baseline=np.array([50]))


@pytest.mark.parametrize("length", ["s", 9])
@pytest.mark.parametrize("axes", [[0, 2], [0, 1]])
@pytest.mark.parametrize("method", METHODS)
def test_a_score_for_each_place_without_a_batch(length, axes, method):
    """[1, s] -> [s]: the list is the one row, a place its class."""
    nodes = [node("Gather", ["t1", "x"], ["e"]), node("Tanh", ["e"], ["h"])]
    if axes == [0, 2]:
        nodes += [node("MatMul", ["h", "v"], ["q"]), node("Squeeze", ["q", "s"], ["y"])]
        weights = {"t1": T1, "v": HEAD[:4, :1], "s": np.array([0, 2])}
    else:
        nodes += [
            node("MatMul", ["h", "v"], ["q"]),
            node("Reshape", ["q", "s"], ["y"]),
        ]
        weights = {"t1": T1, "v": HEAD[:4, :1], "s": np.array([-1])}
    model = small(nodes, [value("x", [1, length], INT64)], [value("y", None)], weights)
    ids = RANDOM.integers(0, 50, (1, 9))
    explainer = onnxplain.Explainer(model, method)
    own = ask(model, x=ids)["y"]
    for target in (7, (7,)):
        e = explainer(ids, target)
        assert np.allclose(e.score, own[7], atol=1e-6) and e.outputs["y"].shape == (9,)
    if method != "occlusion":
        e = explainer(ids, 7)
        assert e.attribution[0, 7] and not np.delete(e.attribution[0], 7).any()
    assert explainer(ids).target == own.argmax()


MOVED = {
    "flattened": "i = Reshape (ids, flat) g = Gather (w, i) m = Reshape (g, back)",
    "turned": "i = Transpose <perm = [1, 0]> (ids) g = Gather (w, i) "
    "m = Transpose <perm = [1, 0, 2]> (g)",
    "an axis more": "i = Unsqueeze (ids, one) g = Gather (w, i) m = Squeeze (g, one)",
    "the last axis more": "i = Unsqueeze (ids, last) g = Gather (w, i) m = Reshape (g, back)",
    "flattened and wider": "c = Cast <to = 7> (ids) i = Reshape (c, flat) g = Gather (w, i) "
    "m = Reshape (g, back)",
}


@pytest.mark.parametrize(
    "method", ["input-x-gradient", "deeplift", "occlusion", "expected-gradients"]
)
@pytest.mark.parametrize("name", MOVED)
def test_ids_that_are_moved_before(name, method):
    """As TensorFlow's BERT flattens and XLNet turns them: the numbers stay those of the ids."""
    random = np.random.default_rng(3)
    w, v = (random.standard_normal(size).astype(np.float32) for size in ((7, 4), (20, 3)))
    w_text, v_text = (", ".join(map(str, array.ravel())) for array in (w, v))

    def model_of(body: str):
        return onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 17]>
            net (int64[N, 5] ids) => (float[N, 3] y)
            <float[7, 4] w = {{{w_text}}}, float[20, 3] v = {{{v_text}}}, int64[1] flat = {{-1}},
             int64[3] back = {{-1, 5, 4}}, int64[2] rows = {{-1, 20}}, int64[1] one = {{1}},
             int64[1] last = {{-1}}>
            {{ {body} t = Tanh (m) f = Reshape (t, rows) y = MatMul (f, v) }}""")

    ids = random.integers(0, 7, (3, 5))
    found, plain = (
        onnxplain.Explainer(model_of(body), method)(ids, 1).attribution
        for body in (MOVED[name], "m = Gather (w, ids)")
    )
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)
