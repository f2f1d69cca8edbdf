"""Nothing is told by a part of a name: a user's file may have any name.

What begins with a name of onnxplain's own is onnxplain's (no file's name does, once `own_names` has
run), and one file says so. Everything else compares whole names.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from support.small import f32, node, small, value

import onnxplain

ROOT = Path(onnxplain.__file__).parent
LOOKS_INSIDE = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition"}
# (file, text): what is looked into is no name of a model's input, output, tensor or node.
ALLOWED = {
    # The one place that knows how onnxplain's own names begin.
    "graph_passes/graph/names.py": {"name", "name or ''", "before"},
    # Texts that are printed: names that exporters make up are shown as "?".
    "graph_passes/graph/dims.py": {"dim"},
    "graph_passes/graph/subscripts.py": {"node.attrs['equation'].replace(' ', '')"},
    "graph_passes/rules/linear.py": {"node.attrs['equation'].replace(' ', '')"},
    # Names of files, folders, addresses, platforms, packages and kinds of images.
    "engine/jobs/batch/": None,
    "engine/commandline/": None,
    "engine/jobs/": None,
    "engine/files/": None,
    "engine/inputs/": None,
    "engine/pictures/": None,
    "engine/reports/": None,
    "engine/export/facts.py": {"name"},
    "engine/running/process.py": {"sys.platform"},
    # Names of operators, with their domains, and of what onnxplain itself wrote.
    "graph_passes/backward/reasons.py": {"operator_name(node)"},
    "graph_passes/prepare/decompositions/machine_learning.py": {"node.name or ''"},
    "engine/running/settings.py": {"text", "part", "own['of']"},
    # Outputs that exporters of detectors name so.
    "graph_passes/select/detector.py": {"n"},
    # Texts of users, and of modules.
    "engine/targets/": None,
    "engine/records/": None,
    "engine/comparing/likeness.py": {"np"},
    "engine/explaining/soundness.py": {"what", "infinite"},
    "models/": None,
}


def _looked_into(path: Path):
    for found in ast.walk(ast.parse(path.read_text())):
        called = found.func if isinstance(found, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in LOOKS_INSIDE:
            yield found.lineno, ast.unparse(called.value)
        if isinstance(found, ast.Compare) and isinstance(found.ops[0], ast.In | ast.NotIn):
            # "x" in node.name
            other = ast.unparse(found.comparators[0])
            if other.endswith((".name", ".op", ".op_type", "name")) and "." in other:
                yield found.lineno, other


def test_nothing_looks_into_a_name() -> None:
    offenders = []
    for folder in ("graph_passes", "engine", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            own = path.relative_to(ROOT).as_posix()
            allowed = next((v for k, v in ALLOWED.items() if own.startswith(k)), set())
            if allowed is not None:
                found = [
                    f"{own}:{n}: {text}" for n, text in _looked_into(path) if text not in allowed
                ]
                offenders += found
    assert not offenders, "\n".join(offenders)


def two_inputs(other: str, hidden: str = "h", layer: str = "n"):
    random = np.random.default_rng(1)
    nodes = [
        node("Concat", ["x", other], ["c"], axis=1),
        node("Relu", ["c"], [hidden], name=layer),
        node("MatMul", [hidden, "w"], ["y"]),
    ]
    weights = {"w": random.normal(size=(8, 3)).astype(np.float32)}
    inputs = [value("x", ["N", 4]), value(other, ["N", 4])]
    return small(nodes, inputs, [value("y", ["N", 3])], weights)


NAMES = [
    *("baseline_of_patient", "baselines", "baseline_x2", "target_2", "attribution_x_old"),
    *("delta_t", "total_x", "onnx", "seed", "x_dim0", "score", "path_rows", "weights"),
]
METHODS = ["deeplift", "expected-gradients", "integrated-gradients", "smoothgrad", "saliency"]


@pytest.mark.parametrize("name", NAMES)
def test_an_input_may_have_any_name(name: str) -> None:
    random = np.random.default_rng(2)
    x, other = random.normal(size=(2, 1, 4)).astype(np.float32)
    baselines = [*random.normal(size=(3, 1, 4)).astype(np.float32)]
    for method in METHODS:
        options = {}
        if method in ("deeplift", "expected-gradients"):
            options = {"baseline": baselines}
        for order in ("x", name):
            found = []
            for own in ("other", name):
                explained = order if order == "x" else own
                explainer = onnxplain.Explainer(two_inputs(own), method, input=explained, **options)
                found.append(explainer({"x": x, own: other}, 0).attribution)
            np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["a/baseline", "b@c", "onnxplain/explain/x@y", "x/onnxplain/baseline"]
)
def test_where_a_nan_arises_is_told_by_whole_names(name: str) -> None:
    nodes = [node("Log", ["x"], ["l"], name=name), node("MatMul", ["l", "w"], ["y"])]
    weights = {"w": np.ones((4, 3), np.float32)}
    model = small(nodes, [value("x", ["N", 4])], [value("y", ["N", 3])], weights)
    with pytest.raises(onnxplain.UnsupportedModelError, match=r"NaN first in 'l' \(made by Log\)"):
        onnxplain.Explainer(model, "saliency")(f32([-1.0, 1.0, 1.0, 1.0]), 0)
