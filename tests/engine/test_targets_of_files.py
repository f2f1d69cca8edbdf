"""An exported file refuses the targets that the library refuses."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from support.small import node, run, small, value

import onnxplain

RANDOM = np.random.default_rng(6)


def _weights(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


CLASSES = small(
    [node("MatMul", ["x", "w"], ["h"]), node("Tanh", ["h"], ["y"])],
    [value("x", ["N", 6])],
    [value("y", ["N", 4])],
    {"w": _weights(6, 4)},
)
LINEAR = small(
    [node("MatMul", ["x", "w"], ["y"])], [value("x", ["N", 6])], [value("y", ["N", 4])],
    {"w": _weights(6, 4)},
)  # fmt: skip
MAP = small(
    [node("Conv", ["x", "w"], ["y"])],
    [value("x", ["N", 2, 4, 4])],
    [value("y", ["N", 4, 4, 4])],
    {"w": _weights(4, 2, 1, 1)},
)
STEPS = small(
    [node("MatMul", ["x", "w"], ["y"])], [value("x", ["N", 3, 6])], [value("y", ["N", 3, 4])],
    {"w": _weights(6, 4)},
)  # fmt: skip
X = {"x": _weights(1, 6)}
CASES = {
    "classes": (CLASSES, X, [-1, 0, 3], [-2, -4, -99, 4, 99]),
    "a linear layer": (LINEAR, X, [-1, 0, 3], [-2, -4, -99, 4, 99]),
    "a map": (MAP, {"x": _weights(1, 2, 4, 4)}, [-1, 0, 3], [-2, -4, -99, 4, 99]),
    "index tuples": (
        STEPS,
        {"x": _weights(1, 3, 6)},
        [(0, 0), (2, 3)],
        [(-1, 0), (0, -1), (-3, -4), (3, 0), (0, 4)],
    ),
}


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "deeplift", "occlusion"])
@pytest.mark.parametrize("name", CASES)
def test_targets_out_of_range(name, method, tmp_path):
    model, feeds, good, bad = CASES[name]
    explainer = onnxplain.Explainer(model, method)
    file = explainer.export(tmp_path / "file.onnx")
    given = {v.name for v in file.graph.input}
    more = {"score": explainer(feeds, good[0]).score} if "score" in given else {}
    for target in good:
        found = _ask(file, feeds | more, target)
        np.testing.assert_allclose(
            found["attribution"], explainer(feeds, target).attribution, rtol=1e-2, atol=1e-4
        )
    for target in bad:
        with pytest.raises(onnxplain.InvalidInputError):
            explainer(feeds, target)
        with pytest.raises(Exception, match=r"(?i)out of|bound|invalid"):
            _ask(file, feeds | more, target)


def _ask(file: onnx.ModelProto, feeds, target):
    onnxruntime.set_default_logger_severity(4)
    try:
        return run(file, feeds | {"target": np.asarray([target], np.int64)})
    finally:
        onnxruntime.set_default_logger_severity(2)
