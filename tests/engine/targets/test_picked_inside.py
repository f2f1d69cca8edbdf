"""Detectors whose network picks places on its way: RT-DETR's queries, of the encoder's best.

What is compared with another input is the same query: that of the places picked at the first.
"""

import functools
import io

import numpy as np
import onnxruntime
import pytest
import torch
from trained.drawing import NAMES, SIDE
from trained.parts import corners
from trained.queries import Listed, Queries

import onnxplain

LABELS = list(NAMES)


def network() -> Queries:
    """With weights as they are drawn, but for heads that let queries differ."""
    torch.manual_seed(3)
    net = Queries()
    lasts = [one[2] for one in (net.boxes, *net.box_heads)]  # pyright: ignore
    for head in (net.scores, *net.class_heads, *lasts):
        torch.nn.init.normal_(head.weight, std=0.25)  # pyright: ignore
        torch.nn.init.zeros_(head.bias)  # pyright: ignore
    return net.eval()


class ByRows(torch.nn.Module):
    """The same with queries looked up as Ultralytics does: by row and place, all as one list."""

    def __init__(self, net: Queries):
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x, by_rows=True)


@functools.cache
def file(form: str) -> bytes:
    net, buffer = network(), io.BytesIO()
    image, sizes = torch.zeros(1, 3, SIDE, SIDE), torch.tensor([[SIDE, SIDE]])
    listed = form == "listed"
    module = {"listed": Listed(net), "by rows": ByRows(net)}.get(form, net)
    torch.onnx.export(
        module,
        (image, sizes) if listed else (image,),
        buffer,
        dynamo=False,
        opset_version=17,
        input_names=["images", "orig_target_sizes"] if listed else ["images"],
        output_names=["labels", "boxes", "scores"] if listed else ["output0"],
        dynamic_axes={"images": {0: "N"}, "output0": {0: "N"}} if form == "dynamic" else None,
    )
    return buffer.getvalue()


FORMS = "fixed", "dynamic", "by rows", "listed"


def explainer(form: str, method: str, **options) -> onnxplain.Explainer:
    return onnxplain.Explainer(file(form), method, labels=LABELS, **options)


def picture(seed: int, rows: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, 3, SIDE, SIDE)).astype(np.float32)


def right_score(x: np.ndarray, at: np.ndarray, box: np.ndarray, label: int) -> float:
    """The logit at `x` of the query that finds a box at `at`, with the places picked there."""
    net, at_, x_ = network(), torch.tensor(at), torch.tensor(x)
    with torch.no_grad():
        index = net.picked(at_)
        _, parts = net.decoded(at_)[-1]
        far = (corners(parts[0]) * SIDE - torch.tensor(box)).abs().amax(-1)
        assert far.min() < 1e-2
        return float(net.decoded(x_, index)[-1][0][0, far.argmin(), label])


def test_other_places_are_picked_elsewhere():
    """Else there would be nothing to hold."""
    net = network()
    a, b = (net.picked(torch.tensor(x)).sort()[0] for x in (picture(1), picture(2) * 0.2))
    assert (a != b).any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift"])
def test_the_baselines_score_is_the_same_querys(form, method):
    x, baseline = picture(1), picture(2) * 0.2
    e = explainer(form, method, baseline=baseline)(x, ["box1", "box2"])
    for row, target in enumerate(e.targets):
        label = LABELS.index(target.label)
        own, there = (right_score(p, x, np.array(target.box), label) for p in (x, baseline))
        assert e.score[row] == pytest.approx(own, abs=1e-4)
        assert e.baseline_score[row] == pytest.approx(there, abs=1e-4)
    if method == "deeplift":
        assert max(abs(e.delta)) < 1e-4
    else:
        assert max(abs(e.relative_delta)) < 0.011


@pytest.mark.parametrize("form", FORMS)
def test_hiding_and_scoring_ask_the_same_query(form):
    x, other = picture(1), picture(2)
    own = explainer(form, "occlusion", window=SIDE, stride=SIDE)
    e = own(x)
    box, label = np.array(e.targets[0].box), LABELS.index(e.targets[0].label)
    drop = float(e.score[0]) - right_score(x * 0, x, box, label)
    assert e.attribution.reshape(-1)[0] == pytest.approx(drop, abs=1e-3)
    found = own.scores(other, e.targets[0])
    assert found.score[0] == pytest.approx(right_score(other, x, box, label), abs=1e-4)
    assert own.scores(x, e.targets[0]).score[0] == pytest.approx(e.score[0], abs=1e-5)


def test_rows_of_a_batch_keep_their_own_picks():
    x = picture(5, rows=3)
    own = explainer("dynamic", "integrated-gradients", steps=20)
    together = own(x, [e.targets[0].index for e in map(own, x[:, None])])
    for row in range(3):
        alone = own(x[row : row + 1], together.targets[row].index)
        assert together.baseline_score[row] == pytest.approx(alone.baseline_score[0], abs=1e-4)
        far = np.linalg.norm(together.attribution[row] - alone.attribution[0])
        assert far < 1e-3 * np.linalg.norm(alone.attribution[0])


def test_several_targets_of_different_pictures_are_scored_apart():
    x, other, third = picture(1), picture(2), picture(7)
    own = explainer("dynamic", "grad-cam")
    targets = [own(x).targets[0], own(other).targets[0]]
    found = own.scores(third, targets).score
    assert found == pytest.approx([own.scores(third, t).score[0] for t in targets], abs=1e-5)


@pytest.mark.parametrize("method", ["integrated-gradients", "deeplift", "occlusion"])
def test_a_file_holds_them_as_well(method, tmp_path):
    x, own = picture(1), explainer("fixed", method)
    e = own(x)
    own.export(tmp_path / "e.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    index = np.asarray(e.targets[0].index, np.int64)[None]
    (found,) = session.run(["attribution"], {"images": x, "target": index})
    assert np.linalg.norm(found - e.attribution) < 5e-3 * np.linalg.norm(e.attribution)
