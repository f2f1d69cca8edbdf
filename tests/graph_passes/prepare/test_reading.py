"""From a file to a graph: what need not be converted is as ONNX's converter makes it."""

import pytest
from onnx import checker, parser, version_converter

from onnxplain.graph_passes.prepare.reading import _WIDENED, CANONICAL_OPSET, convert_opset

BOTH = "float[2,3] x, float[2,3] z"
# How each is written in opset 13: inputs, the type of what it makes, the node.
WRITTEN = {
    **{op: (BOTH, "float", f"{op} (x, z)") for op in ("Add", "Div", "Mul", "PRelu", "Pow", "Sub")},
    **{op: (BOTH, "float", f"{op} (x)") for op in ("Flatten", "Identity", "LeakyRelu", "Relu")},
    "Cast": (BOTH, "int64", "Cast <to = 7> (x)"),
    "Constant": (BOTH, "float", "Constant <value = float[2] {1, 2}> ()"),
    "ConstantOfShape": ("int64[2] x", "float", "ConstantOfShape (x)"),
    "Equal": (BOTH, "bool", "Equal (x, z)"),
    "Reshape": ("float[2,3] x, int64[1] z", "float", "Reshape (x, z)"),
    "Shape": (BOTH, "int64", "Shape (x)"),
    "Size": (BOTH, "int64", "Size (x)"),
    "Squeeze": ("float[1,3] x, int64[1] z", "float", "Squeeze (x, z)"),
    "Transpose": (BOTH, "float", "Transpose <perm = [1, 0]> (x)"),
    "Unsqueeze": ("float[2,3] x, int64[1] z", "float", "Unsqueeze (x, z)"),
    "Where": ("bool[2,3] c, float[2,3] x, float[2,3] z", "float", "Where (c, x, z)"),
}


def head(version: int) -> str:
    return f'<ir_version: 8, opset_import: ["": {version}]>'


def test_each_is_tried():
    assert set(WRITTEN) == _WIDENED


@pytest.mark.parametrize("version", range(13, CANONICAL_OPSET))
@pytest.mark.parametrize("operator", sorted(_WIDENED))
def test_as_the_converter_makes_it(operator, version):
    inputs, kind, node = WRITTEN[operator]
    text = f"{head(version)} g ({inputs}) => ({kind} y) {{ y = {node} }}"
    model = parser.parse_model(text)
    expected = version_converter.convert_version(model, CANONICAL_OPSET)
    found = convert_opset(parser.parse_model(text))
    assert found is not None
    checker.check_model(found)
    assert found.opset_import == expected.opset_import
    assert list(found.graph.node) == list(expected.graph.node)


@pytest.mark.parametrize(
    "node", ["Pad (x, p)", "ReduceMean <axes = [1]> (x)", "Split <axis = 1> (x)"]
)
def test_what_changed_is_converted(node):
    text = f"{head(13)} g (float[2,3] x, int64[4] p) => (float y) {{ y = {node} }}"
    found = convert_opset(parser.parse_model(text))
    assert found is not None
    checker.check_model(found)
    assert found.opset_import[0].version == CANONICAL_OPSET
