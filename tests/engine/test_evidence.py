"""A map put to the test on the spot: the sentence is what the model does."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.digits import write_model, write_photo
from support.small import node as n
from support.small import small, value

import onnxplain
from onnxplain.engine.explanation.evidence import checked_by_hiding, strongest
from onnxplain.engine.records.captions import evidence_text
from onnxplain.engine.records.record import Evidence, Outcome, outcome_of_json
from onnxplain.engine.targets.recorded import TargetRecord
from onnxplain.graph_passes.select.features import with_channels

PICTURE = with_channels(4, 1)


def record(target, score, probability, method="saliency"):
    asked = TargetRecord(index=target, label="seven", output="y")
    return Outcome(method=method, target=asked, score=score, probability=probability)


def corner_counter():
    """Two classes: the sum of squares in the upper left quarter, and nothing."""
    mask = np.zeros((1, 1, 16, 16), np.float32)
    mask[..., :8, :8] = 1 / 8
    weights = {"m": mask, "axes": np.int64([1, 2, 3]), "zero": np.float32([[0.0]])}
    nodes = [
        n("Mul", ["x", "x"], ["q"]),
        n("Mul", ["q", "m"], ["p"]),
        n("ReduceSum", ["p", "axes"], ["s"], keepdims=0),
        n("Reshape", ["s", "shape"], ["c"]),
        n("Mul", ["c", "zero"], ["z"]),
        n("Concat", ["c", "z"], ["y"], axis=1),
    ]
    weights["shape"] = np.int64([-1, 1])
    return small(nodes, [value("x", ["N", 1, 16, 16])], [value("y", ["N", 2])], weights)


def test_it_is_what_the_model_does_without_the_place():
    explainer = onnxplain.Explainer(corner_counter(), "input-x-gradient")
    x = np.zeros((1, 1, 16, 16), np.float32)
    x[..., 3, 3] = 4
    e = explainer(x, 0)
    found = checked_by_hiding(
        explainer, x, e.attribution, PICTURE, record(0, float(e.score[0]), e.probability)
    )
    assert found is not None and found.before is not None
    assert found.before == pytest.approx(e.probability) and found.of == "probability"
    assert found.after < 0.8 * found.before
    # Where nothing is, nothing is lost.
    elsewhere = np.zeros((1, 16, 16), np.float32)
    elsewhere[0, 12:, 12:] = 1
    same = checked_by_hiding(
        explainer, x, elsewhere, PICTURE, record(0, 1.0, e.probability, "grad-cam")
    )
    assert same.after == pytest.approx(same.before, rel=1e-2)
    assert "lower" in evidence_text(replace(record(0, 1, 1), evidence=same))


def test_a_map_of_nothing_says_nothing():
    explainer = onnxplain.Explainer(corner_counter(), "input-x-gradient")
    x = np.ones((1, 1, 16, 16), np.float32)
    assert (
        checked_by_hiding(explainer, x, np.zeros((1, 16, 16)), PICTURE, record(0, 1.0, 0.5)) is None
    )
    assert evidence_text(record(0, 1, 1)) == ""


@pytest.mark.parametrize(
    ("values", "part"),
    [([1] + [0] * 999, 0.01), ([1] * 1000, 0.25), ([10] * 100 + [0] * 900, 0.05)],
)
def test_half_of_the_evidence_within_bounds(values, part):
    chosen = strongest(np.array(values, float).reshape(25, 40))
    assert chosen.mean() == pytest.approx(part, abs=0.002)


@pytest.mark.parametrize(
    ("before", "after", "of", "text"),
    [
        (0.96, 0.08, "probability", "drops seven from 96 % to 8 %"),
        (0.96, 0.6, "probability", "of the photo lowers seven: from 96 % to 60 %"),
        (0.96, 0.95, "probability", "hardly lowers seven: from 96 % to 95 %"),
        (0.5, 0.7, "probability", "does not lower seven: from 50 % to 70 %"),
        (3.25, -1.0, "score", "lowers seven: from 3.25 to -1"),
    ],
)
def test_sentences(before, after, of, text):
    evidence = Evidence(0.12, of, before, after)
    said = evidence_text(replace(record(7, 1, 1), evidence=evidence))
    assert said.startswith("Hiding the strongest 12 %") and text in said


def test_every_record_has_one(command, tmp_path):
    model = write_model(tmp_path)
    photo = write_photo(tmp_path / "7.png", 7)
    asked = ("-m", "grad-cam", "-m", "deeplift", "-t", "top1", "-t", "not 3")
    status, out, err = command("explain", model, photo, "-o", tmp_path / "o", *asked)
    assert status == 0, err
    found = json.loads((tmp_path / "o" / "results.json").read_text())
    for one in found:
        against = "not" in one["target"]["label"]
        assert (one["evidence"] is None) == against
        assert against or evidence_text(outcome_of_json(one)) in out
