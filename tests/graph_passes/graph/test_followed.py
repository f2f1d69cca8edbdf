"""Values that ONNX's shape inference follows: only where that costs little."""

from __future__ import annotations

import onnx
import pytest
from onnx import shape_inference
from support.hostile_constants import parsed

import onnxplain
from onnxplain.graph_passes.graph import inference
from onnxplain.graph_passes.graph.followed import follows_values
from onnxplain.graph_passes.graph.operators import Fact, has

_SHAPES = {"Shape", "Size"}


def doubled(start: str, times: int, made: str = "d{} = Concat <axis = 0> (d{}, d{})") -> str:
    return start + " ".join(made.format(k, k - 1, k - 1) for k in range(1, times + 1))


FEW = {
    "none": "y = Relu (x)",
    "sizes": "s = Shape (x) k = Slice (s, one_, two) m = Concat <axis = 0> (two, k) y = Add (x, x)",
    "to the end": "s = Shape (x) k = Slice (s, one_, far) c = ConstantOfShape (k) y = Add (c, x)",
    "short": doubled("d0 = Identity (two) ", 10) + " y = Relu (x)",
}
DENSE = " ".join(
    f"f{k} = Relu (d{k - 1}) d{k} = Concat <axis = 1> (d{k - 1}, f{k})" for k in range(1, 60)
)
FEW["dense blocks of unknown rank"] = (
    "s = Shape (x) i = Cast <to = 1> (s) j = Cast <to = 7> (i) d0 = Reshape (x, j) "
    f"{DENSE} y = Relu (d59)"
)
MANY = {
    "whole numbers": doubled("d0 = Identity (two) ", 30),
    "computed": doubled("a = Div (two, two) b = Cast <to = 1> (a) d0 = ReduceMean (b) ", 30),
    "by a size": "c = ConstantOfShape (big_) d = Cast <to = 7> (c)",
    "expanded": "c = Expand (two, big_) d = Squeeze (c)",
    "in a branch": "z = If (go) <then_branch = t () => (float[1] q) { "
    + doubled("d0 = Identity (two) ", 30)
    + " q = Cast <to = 1> (d30) }, else_branch = e () => (float[1] r) { r = Cast <to = 1> (two) }>",
}
REFUSED = {
    "by a product": "m = Mul (big_, big_) c = ConstantOfShape (m) d = Cast <to = 7> (c)",
    "by a sum": doubled("d0 = Identity (two) ", 40, "d{} = Add (d{}, d{})")
    + " c = ConstantOfShape (d40) d = Cast <to = 7> (c)",
    "by the shape of x": "s = Shape (x) i = Slice (s, one_, two) m = Mul (i, big_) "
    "n = Mul (m, big_) c = Expand (one_, n) d = Cast <to = 1> (c)",
    "in a range": "m = Mul (big_, big_) e = Squeeze (m) c = Range (zero, e, zero)",
}


def model_of(body: str) -> onnx.ModelProto:
    weights = "int64[1] one_ = {1}, int64[1] two = {2}, int64[1] big_ = {3000000}, bool go = {1}"
    weights += ", int64 zero = {0}, int64[1] far = {9223372036854775807}"
    return parsed(body if "y =" in body else f"{body} y = Relu (x)", ", " + weights)


@pytest.mark.parametrize("body", FEW.values(), ids=FEW)
def test_few_are_followed(body):
    model = model_of(body)
    assert follows_values(model, shape_inference.infer_shapes(model).graph)


@pytest.mark.parametrize("body", MANY.values(), ids=MANY)
def test_many_are_not(body, monkeypatch):
    model, asked = model_of(body), []
    whole = shape_inference.infer_shapes
    monkeypatch.setattr(
        inference.shape_inference,
        "infer_shapes",
        lambda model, **options: asked.append(options) or whole(model, **options),
    )
    assert inference.inferred(model).node
    assert asked == [{}]


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_size_beyond_the_limit_is_refused_by_name(body):
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"node 'c'.*activations_bytes=N"):
        inference.inferred(model_of(body))


def test_the_table_names_what_onnx_follows():
    """A newer ONNX that follows more must not be trusted unseen."""
    schemas = onnx.defs.get_all_schemas()
    followed = {s.name for s in schemas if s.has_data_propagation_function and s.domain == ""}
    assert {name for name in followed if has(name, Fact.CARRIED)} == followed - _SHAPES
