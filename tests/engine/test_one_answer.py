"""Two ways to one question give one answer: the library, and its file in plain ONNX Runtime.

Every method on files of several kinds. A new method is in at once; what cannot be the same stands
in `DIFFERS`, with its reason.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support.often import often, thinned
from support.one_question import FEW, FILES, METHODS, images, parsed, source
from support.served import OF_ALL

import onnxplain
from onnxplain.graph_passes.methods import find_method

# (method, file) -> why the file's answer is another one.
DIFFERS: dict[tuple[str, str], str] = {}


def check(
    folder: Path, model: onnx.ModelProto, x: np.ndarray, method: str, **options
) -> onnxplain.Explanation:
    """The file's numbers are the library's to 1e-4."""
    explainer = onnxplain.Explainer(model, method, providers="cpu", threads=1, **options)
    explainer.export(folder / "file.onnx")
    session = onnxruntime.InferenceSession(folder / "file.onnx", providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    expected = explainer(x)
    targets = np.full(len(x), -1)
    found = session.run(None, {session.get_inputs()[0].name: x, "target": targets})
    found = dict(zip(names, found, strict=True))
    largest = np.abs(expected.attribution).max()
    assert largest > 0
    assert np.abs(found["attribution"] - expected.attribution).max() <= 1e-4 * largest
    for name, value in expected.outputs.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)
    assert ("delta" in found) == (expected.delta is not None)
    if expected.delta is not None:
        ends = np.abs(expected.score) + np.abs(expected.baseline_score)
        assert (np.abs(found["delta"] - expected.delta) <= 1e-4 * ends + 1e-6).all()
    if "map_error" in found:
        np.testing.assert_allclose(found["map_error"], expected.map_error, rtol=1e-3, atol=1e-6)
    return expected


@pytest.mark.parametrize(("method", "file"), thinned(itertools.product(METHODS, FILES), 2))
def test_every_method_on_every_file(tmp_path, method, file):
    model = source(file, method)
    few = {name: value for name, value in FEW.items() if find_method(method).takes(name)}
    if reason := DIFFERS.get((method, file)):
        with pytest.raises(AssertionError):
            check(tmp_path, model, images(model, file), method, **few)
        pytest.skip(reason)
    check(tmp_path, model, images(model, file), method, **few)


def test_the_table_names_what_there_is():
    assert set(DIFFERS) <= set(itertools.product(METHODS, FILES)) and all(DIFFERS.values())


ASKED = [
    {},
    {"steps": 50},
    {"steps": 7, "quadrature": "trapezoid"},
    {"steps": 5, "quadrature": "left"},
    {"steps": 6, "quadrature": "right"},
    {"steps": 1, "quadrature": "middle"},
    {"steps": 16, "quadrature": "adaptive"},
    {"tolerance": 0.001},
    {"tolerance": 1e-7, "steps": 30},
    {"map_tolerance": 0.02},
    {"map_tolerance": 1e-4, "steps": 25},
    *({"tolerance": 1e-7, "steps": steps} for steps in (2, 3, 4, 5, 8, 9, 10, 11)),
]


ASKED_OF = list(itertools.product(["digits"], ASKED))
ASKED_OF += itertools.product(["digits of two", "convolutions"], often([{}, {"steps": 50}], ASKED))
ASKED_OF += itertools.product(["one at a time"], often([{"map_tolerance": 0.02}], ASKED))


@pytest.mark.parametrize(("file", "options"), ASKED_OF, ids=str)
def test_integrated_gradients_however_it_is_asked(tmp_path, file, options):
    """With a tolerance the file chooses its points on the way, and says so."""
    method = "integrated-gradients"
    model = source(file, method)
    expected = check(tmp_path, model, images(model, file), method, **options)
    written = onnx.load(tmp_path / "file.onnx")
    (said,) = [entry.value for entry in written.metadata_props if entry.key == "onnxplain"]
    facts = json.loads(said)
    fixed = options.get("quadrature", "gauss-legendre" if options.keys() == {"steps"} else None)
    adaptive = fixed in (None, "adaptive")
    assert facts["quadrature"] == ("adaptive" if adaptive else fixed)
    assert facts["steps"] == options.get("steps", 200)
    assert adaptive == (written.graph.output[-1].name == "map_error")
    if adaptive:
        told = 0.01 if options.get("quadrature") is None else None
        assert facts["tolerance"] == options.get("tolerance", told)
        assert facts["map_tolerance"] == options.get("map_tolerance")
    else:
        assert expected.steps == facts["steps"]


# What the Loops of an exported file might call their own tensors.
NAMES = ("before", "number", "index", "first", "one", "rows", "points", "target", "map_error")


@pytest.mark.parametrize("batch", ["N", "1"])
def test_names_inside_a_file_meet_no_names_of_the_model(tmp_path, batch):
    chain = "\n".join(f"  {b} = Softplus({a})" for a, b in itertools.pairwise(NAMES))
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[{batch},6] x) => (float[{batch},6] y) {{
      before = Identity(x)
    {chain}
      y = Softplus(map_error)
    }}
    """
    model = parsed(text.format(batch=batch, chain=chain))
    x = np.random.default_rng(2).normal(size=(1 if batch == "1" else 3, 6)).astype(np.float32)
    for method in ("integrated-gradients", "expected-gradients", "smoothgrad"):
        check(tmp_path, model, x, method)


@pytest.mark.parametrize("method", OF_ALL)
@pytest.mark.parametrize("file", ["digits", "convolutions", "int8"])
def test_a_batch_of_none(tmp_path, method, file):
    """Empty outputs, whose shapes say so. (Of none the transformer itself cannot answer.)"""
    model = source(file, method)
    few = {name: value for name, value in FEW.items() if find_method(method).takes(name)}
    explainer = onnxplain.Explainer(model, method, providers="cpu", threads=1, **few)
    explainer.export(tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "file.onnx", providers=["CPUExecutionProvider"]
    )
    x = images(model, file)
    feeds = {session.get_inputs()[0].name: x[:0], "target": np.zeros(0, np.int64)}
    found = session.run(None, feeds)
    for value, numbers in zip(session.get_outputs(), found, strict=True):
        assert len(numbers) == 0, value.name
    (found,) = session.run(["attribution"], feeds)
    assert found.shape[1:] == explainer(x[:1]).attribution.shape[1:]
