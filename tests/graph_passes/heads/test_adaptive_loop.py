"""The Loop that follows an adaptive path in a file, beside the library's `AdaptivePath`.

Also where gradients are let go: there the Loop must settle what the library settles.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser
from support.often import often

import onnxplain
from onnxplain.engine.running.adaptive import AdaptivePath
from onnxplain.graph_passes import finish
from onnxplain.graph_passes.finish.target_input import with_target
from onnxplain.graph_passes.heads.adaptive_loop import adaptive_path, elements_of
from onnxplain.graph_passes.heads.path import ALPHAS, endpoints, path_gradients
from onnxplain.graph_passes.heads.path_state import Rule
from onnxplain.graph_passes.heads.quadrature import FEWEST
from onnxplain.graph_passes.heads.walks import SLOPE

# Kinks and curves; more elements than the estimate of the map's error looks at, or fewer.
NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[{batch},{width}] x) => (float[{batch},3] y) {{
  h = MatMul(x, w1)
  r = Relu(h)
  c = MatMul(r, w2)
  t = Tanh(c)
  y = MatMul(t, w3)
}}
"""
WIDE, NARROW = 2500, 40


def network(batch: int | str, width: int, known: bool) -> onnx.ModelProto:
    """With a width that the file says, or leaves open."""
    random = np.random.default_rng(width)
    text = NETWORK.format(batch=batch, width=width if known else "W")
    model = parser.parse_model(text)
    sizes = {"w1": (width, 24), "w2": (24, 8), "w3": (8, 3)}
    for name, size in sizes.items():
        weight = (random.normal(size=size) * 2 / np.sqrt(size[0])).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    return model


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    given = {value.name: feeds[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(None, given), strict=True))


def followed(subject, x: np.ndarray, classes: np.ndarray, most: int, **stop) -> list[AdaptivePath]:
    """The library's paths of all rows, measured with one session."""
    places = np.stack([np.arange(len(x)), classes], axis=1)
    feeds = {"x": x, "baseline": np.zeros((1, x.shape[1]), np.float32)}
    asked = {"onnxplain/places": places, "onnxplain/place_weights": np.ones(len(x), np.float32)}
    named = endpoints(subject).graph.input
    known = {value.name for value in named}
    assert known == {*feeds, *asked}, known
    feeds[finish.SEED] = run(endpoints(subject), {**feeds, **asked})[finish.SEED]
    content = path_gradients(subject, SLOPE).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    paths = [AdaptivePath(**stop) for _ in x]
    for row, path in enumerate(paths):
        while len(points := path.next_points(most)):
            alphas = np.zeros((len(points), len(x)), np.float32)
            alphas[:, row] = points
            names = [finish.ATTRIBUTION, finish.SCORE]
            found = session.run(names, {**feeds, ALPHAS: alphas})
            gradients, scores = map(np.asarray, found)
            path.add(points, gradients[:, row], scores[:, row])
    return paths


def check(batch: int | str, width: int, known: bool, at_once: int, **stop) -> list[AdaptivePath]:
    model = network(batch, width, known)
    explainer = onnxplain.Explainer(model, "integrated-gradients", baseline=0.0, providers="cpu")
    subject = explainer.subject
    rows = batch if isinstance(batch, int) else 2
    x = np.random.default_rng(5).normal(size=(rows, width)).astype(np.float32)
    x *= np.linspace(1, 4, rows, dtype=np.float32)[:, None]
    classes = np.arange(rows) % 3
    rule = Rule(
        *(stop["steps"], stop["tolerance"], stop["map_tolerance"]),
        *(at_once, elements_of(subject), stop["store"]),
    )
    file = with_target(adaptive_path(subject, SLOPE, rule), subject)
    onnx.checker.check_model(file, full_check=True)
    baseline = np.zeros((1, width), np.float32)
    found = run(file, {"x": x, "baseline": baseline, "target": classes})
    paths = followed(subject, x, classes, at_once, **stop)
    for row, path in enumerate(paths):
        expected = path.attribution()
        off = np.abs(found["attribution"][row] - expected).max()
        assert off <= 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(found["map_error"][row], path.map_error(), rtol=1e-3, atol=1e-7)
    return paths


# (batch, width, whether the file says it, map tolerance)
LET_GO = list(itertools.product([1, 3, "N"], [WIDE, NARROW], [True, False], [None, 0.003]))
BY_DAY = [(1, WIDE, True, None), (3, WIDE, False, 0.003), ("N", NARROW, True, None)]
BY_DAY += [("N", WIDE, False, None), (3, NARROW, True, 0.003)]


@pytest.mark.parametrize(("batch", "width", "known", "of_map"), often(BY_DAY, LET_GO))
def test_where_gradients_are_let_go(batch, width, known, of_map):
    """The store holds the fewest gradients; far more points are measured."""
    at_once = 1 if isinstance(batch, int) else 2
    stop = {"steps": 3 * FEWEST, "tolerance": 1e-9, "map_tolerance": of_map, "store": 0}
    paths = check(batch, width, known, at_once, **stop)
    assert max(path.passes for path in paths) > 2 * FEWEST


@pytest.mark.parametrize(
    ("tolerance", "of_map"), [(0.05, None), (0.001, None), (0.05, 0.05), (None, None)]
)
@pytest.mark.parametrize("batch", [2, "N"])
def test_where_all_are_kept(batch, tolerance, of_map):
    at_once = 1 if isinstance(batch, int) else 2
    stop = {"steps": 40, "tolerance": tolerance, "map_tolerance": of_map, "store": 2**27}
    paths = check(batch, NARROW, True, at_once, **stop)
    assert all(path.passes == 40 for path in paths) == (tolerance is None)


@pytest.mark.parametrize("steps", often([2, 3, 4, 10, 11], [*range(2, 20)]))
def test_the_cap(steps):
    stop = {"steps": steps, "tolerance": 1e-9, "map_tolerance": None, "store": 2**27}
    paths = check("N", NARROW, True, 2, **stop)
    assert {path.passes for path in paths} == {steps}
