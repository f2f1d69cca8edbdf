"""Detectors in every form of head: boxes and the class's own logit, beside the raw maps."""

from itertools import product

import numpy as np
import onnx
import pytest
from support.detector_nets import Net, decoded, grid, raw_map
from support.detectors import (
    FORMS,
    NAMES,
    ONE_CLASS,
    corners_by_hand,
    detector,
    run,
    without_raw,
)
from support.often import thinned
from support.small import node, small, value

import onnxplain
from onnxplain.engine.targets.boxes import CONFIDENCE, OVERLAP, overlap

# Whose file takes the best few of all places, and suppresses nothing.
PICKED = ("end_to_end", "picked", "rtdetr_picked")


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values, np.float64)))


def picture(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, 3, 64, 64)).astype(np.float32)


def expected(form: str, x: np.ndarray) -> list[tuple[float, int, float, np.ndarray]]:
    """(chance, class, logit, corners) of what is found, the strongest first: by loops."""
    own = detector(form)
    raw = {name: values[0] for name, values in run(own.model, x).items()}
    every = corners_by_hand(form, raw["raw_boxes"])
    logits = np.asarray(raw["raw_classes"], np.float64)
    chances = sigmoid(logits)
    if own.softmax:
        best = logits.max(axis=1, keepdims=True)
        none = best + 0.3 if form == "ultraface" else best * 0.1 + 1.0
        parts = np.exp(np.concatenate([logits, none], axis=1))
        chances = (parts / parts.sum(axis=1, keepdims=True))[:, :-1]
    if own.objectness:
        chances = chances * sigmoid(raw["raw_objectness"])
    if form == "yunet":
        chances = np.sqrt(chances)
    found = []
    for place, corners in enumerate(every):
        classes = range(own.classes)
        for c in [int(np.argmax(logits[place]))] if form == "nms_inside" else classes:
            found.append((float(chances[place, c]), c, float(logits[place, c]), corners))
    found.sort(key=lambda one: -one[0])
    strong = [one for one in found if one[0] >= CONFIDENCE] or found[:1]
    if form in PICKED:
        return strong
    kept = []
    for one in strong:
        if all(one[1] != k[1] or overlap(one[3], k[3]) <= OVERLAP for k in kept):
            kept.append(one)
    return kept[:30] if form == "nms_inside" else kept


@pytest.mark.parametrize("form", FORMS)
def test_boxes_and_logits_are_those_of_the_raw_maps(form):
    x = picture()
    explainer = onnxplain.Explainer(
        without_raw(detector(form).model), "saliency", labels=_labels(form)
    )
    e, right = explainer(x, "all"), expected(form, x)
    assert len(right) > 2, "the case must have boxes"
    assert len(e) == len(right) if form not in PICKED else len(e) > 2
    for target, score, (chance, c, logit, corners) in zip(e.targets, e.score, right, strict=False):
        assert target.chance == pytest.approx(chance, abs=1e-5)
        assert target.label == (NAMES[c] if _labels(form) else f"class {c}")
        assert np.allclose(target.box, corners, atol=1e-2)
        # The class's own number, before Sigmoid and objectness.
        assert score == pytest.approx(logit, abs=1e-4)
    # By its index tuple each is the same again.
    assert explainer(x, e.targets[1].index).score[0] == pytest.approx(e.score[1], abs=1e-5)


def _labels(form: str) -> list[str] | None:
    return None if form in ONE_CLASS else list(NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_the_logits_own(form):
    """Central differences of the raw map's number, at the place of the strongest box."""
    x, own = picture(), detector(form)
    explainer = onnxplain.Explainer(
        without_raw(own.model), "saliency", signed=True, labels=_labels(form)
    )
    e = explainer(x)
    raw = run(own.model, x)["raw_classes"][0]
    place = np.unravel_index(np.argmin(abs(raw - e.score[0])), raw.shape)
    direction = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    h = np.float32(3e-3)
    ahead, behind = (run(own.model, x + s * direction)["raw_classes"][0][place] for s in (h, -h))
    slope = float((e.attribution * direction).sum())
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=2e-2, abs=2e-2)


def test_ways_to_name_a_box():
    x = picture()
    explainer = onnxplain.Explainer(
        without_raw(detector("yolov8").model), "layercam", labels=list(NAMES)
    )
    every = explainer(x, "all").targets
    assert [t.name for t in every] == [f"box{k + 1}" for k in range(len(every))]
    assert explainer(x).targets[0].key == explainer(x, "top1").targets[0].key == "box1"
    assert [t.key for t in explainer(x, "top3").targets] == ["box1", "box2", "box3"]
    of = {name: [t.key for t in every if t.label == name] for name in NAMES}
    for name, keys in of.items():
        for k, key in enumerate(keys):
            asked = name if k == 0 else f"{name}#{k + 1}"
            assert explainer(x, asked).targets[0].key == key
            assert explainer(x, f"{NAMES.index(name)}#{k + 1}").targets[0].key == key
    box = every[2].box
    near = "box:" + ",".join(f"{number + 0.2:.1f}" for number in box)
    assert explainer(x, near).targets[0].key == "box3"
    e = explainer(x, ["box2", "not box1", "box1 - box2", every[0].index])
    assert [t.key for t in e.targets] == ["box2", "not-box1", "box1-minus-box2", e.targets[3].key]
    assert e.score[1] == pytest.approx(-explainer(x, "box1").score[0], abs=1e-5)
    assert e.score[2] == pytest.approx(explainer(x, "box1").score[0] - e.score[0], abs=1e-4)
    assert explainer.scores(x, "box2").score[0] == pytest.approx(e.score[0], abs=1e-4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("box999", "the model found"),
        ("box0", "boxes count from 1"),
        ("wolf", "no label is 'wolf'"),
        ("dog#77", "of class dog"),
        ("box:5,5,1,1", "x0 < x1"),
        ("box:9000,9000,9001,9001", "elsewhere"),
    ],
)
def test_what_is_not_there_is_said(asked, words):
    explainer = onnxplain.Explainer(
        without_raw(detector("yolov8").model), "layercam", labels=list(NAMES)
    )
    with pytest.raises(onnxplain.InvalidInputError, match=words):
        explainer(picture(), asked)


def test_two_pictures_have_their_own_boxes():
    both = np.concatenate([picture(1), picture(2)])
    explainer = onnxplain.Explainer(
        without_raw(detector("yolox").model), "layercam", labels=list(NAMES)
    )
    e = explainer(both)
    for row in range(2):
        alone = explainer(both[row : row + 1])
        assert e.targets[row].index == alone.targets[0].index
        assert np.allclose(e.attribution[row], alone.attribution[0], atol=1e-5)


@pytest.mark.parametrize("form", ["yolov8", "yolov5", "yolox", "yunet"])
def test_maps_are_of_the_boxs_own_scale(form):
    """A box of one scale has evidence where that scale's map has a gradient, nowhere else."""
    explainer = onnxplain.Explainer(without_raw(detector(form).model), "layercam")
    assert explainer.feature_map is not None and explainer.feature_map.count(",") == 2
    e = explainer(picture(), "all")
    assert any(row.any() for row in e.attribution)


def test_what_is_no_detector_is_none():
    """Sequences, masks and classes are what they were."""
    from support import zoo

    for name in ("jax_digits", "unet-dynamo", "vit-torchscript13", "conv_head-torchscript13"):
        assert onnxplain.Explainer(zoo.model(name), "saliency").subject.detector is None


def test_gates_beside_features_are_no_boxes():
    """A list with a Sigmoid's number in each row, and no room for a box ahead of it."""
    import onnx

    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 8, 8] x) => (float[N, 64, 6] y)
        <int64[3] s = {0, 3, 64}, int64[2] parts = {2, 1}> {
            r = Reshape(x, s)
            t = Transpose<perm = [0, 2, 1]>(r)
            a, b = Split<axis = 2>(t, parts)
            g = Sigmoid(b)
            y = Concat<axis = 2>(a, g, t)
        }""")
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    explainer = onnxplain.Explainer(model, "saliency")
    with pytest.raises(onnxplain.InvalidInputError, match="expected boxes and scores side by side"):
        explainer(x)
    assert explainer(x, (5, 2)).score[0] == pytest.approx(x[0, 2, 0, 5])


# Forms with an objectness, and the numbers that their rows hold of a box.
OBJECTNESS = "yolov5", "yolox", "yunet"
SIDES = {
    "yolov8": 0,
    "rtdetr": 0,
    "yolov5": 0,
    "yolox": 0,
    "end_to_end": 0,
    "rtdetr_parts": 0,
    "rtdetr_picked": 0,
    "segment": 0,
    "nms_inside": 0,
    "paddle": 2,
    "yolov7": 1,
}


def _slope(explainer, x, target, number) -> None:
    """The attribution along a direction is the central difference of a number of the outputs."""
    e = explainer(x, target)
    direction = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    h = np.float32(3e-3)
    ahead, behind = (number(x + sign * direction) for sign in (h, -h))
    slope = float((e.attribution * direction).sum())
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=3e-2, abs=3e-2)


@pytest.mark.parametrize(("form", "target"), thinned(product(FORMS, ["box1", "box2"]), 3))
def test_the_objectness_of_a_box(form, target):
    """The raw map's own number at the box's place, or one line where a head has none."""
    x, own = picture(), detector(form)
    how = {"signed": True, "labels": _labels(form), "score": "objectness"}
    explainer = onnxplain.Explainer(without_raw(own.model), "saliency", **how)
    if form not in OBJECTNESS:
        with pytest.raises(onnxplain.InvalidInputError, match="expected an objectness beside"):
            explainer(x, target)
        return
    e = explainer(x, target)
    (place, _) = e.targets[0].places[0].tolist()
    raw = run(own.model, x)["raw_objectness"][0, :, 0]
    assert e.score[0] == pytest.approx(raw[place], abs=1e-4)
    assert e.targets[0].name == f"{target}-objectness"
    assert e.probability == pytest.approx(sigmoid(raw[place]), abs=1e-4)
    _slope(explainer, x, target, lambda x: run(own.model, x)["raw_objectness"][0, place, 0])


@pytest.mark.parametrize("form", FORMS)
def test_the_coordinates_of_a_box(form):
    """The sum of the four as the output has them, or one line where another output does."""
    x, own = picture(), detector(form)
    model = without_raw(own.model)
    how = {"signed": True, "labels": _labels(form), "score": "box"}
    explainer = onnxplain.Explainer(model, "saliency", **how)
    if form not in SIDES:
        with pytest.raises(onnxplain.InvalidInputError, match="expected the boxes' coordinates"):
            explainer(x)
        return

    row = onnxplain.Explainer(model, "saliency", labels=_labels(form))(x).targets[0].places[0]
    name, turned = model.graph.output[0].name, form in ("yolov8", "segment")

    def number(x):
        rows = run(model, x)[name]
        rows = rows[0] if rows.ndim == 3 else rows
        rows = rows.T if turned else rows
        first = SIDES[form]
        own = rows[row[1] if turned else row[0], first : first + 4]
        return float(own.astype(np.float64).sum())

    e = explainer(x)
    assert e.score[0] == pytest.approx(number(x), rel=1e-5)
    assert e.targets[0].name == "box1-box" and e.targets[0].label.endswith(", box")
    _slope(explainer, x, None, number)


def test_class_is_the_default_and_others_are_of_detectors():
    x, model = picture(), without_raw(detector("yolox").model)
    plain = onnxplain.Explainer(model, "saliency", labels=list(NAMES))(x)
    own = onnxplain.Explainer(model, "saliency", labels=list(NAMES), score="class")(x)
    np.testing.assert_array_equal(plain.attribution, own.attribution)
    nodes = [node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
    small_model = small(nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 3])])
    for part in ("class", "objectness", "box"):
        with pytest.raises(onnxplain.InvalidInputError, match="is of a detector's boxes"):
            onnxplain.Explainer(small_model, "saliency", score=part)
    with pytest.raises(onnxplain.InvalidInputError, match="class, objectness, box"):
        onnxplain.Explainer(model, "saliency", score="iou")


@pytest.mark.parametrize("classes", [1, 2, 20, 80, 601])
@pytest.mark.parametrize("turned", [False, True])
def test_any_number_of_classes(classes, turned):
    """Of 84 numbers 4 are no scores: nearly all, and yet not all."""
    net = Net(0)
    boxes, scores = raw_map(net, 4, "boxes"), raw_map(net, classes, "classes")
    whole = net("Concat", decoded(net, boxes), net("Sigmoid", scores), axis=2)
    whole = net("Transpose", whole, perm=[0, 2, 1]) if turned else whole
    net.named(whole, "output0")
    model = net.model()
    labels = [f"kind {k}" for k in range(classes)]
    e = onnxplain.Explainer(without_raw(model), "saliency", labels=labels)(picture())
    raw = run(model, picture())["raw_classes"][0]
    place, label = np.unravel_index(np.argmax(raw), raw.shape)
    assert e.score[0] == pytest.approx(raw.max(), abs=1e-4)
    assert e.targets[0].label == f"kind {label}"
    right = (label + 4, place) if turned else (place, label + 4)
    assert tuple(e.targets[0].places[0]) == right


def test_scores_of_several_strides_without_boxes():
    """The strongest of all outputs, not of the first one; its cell stands for a box."""
    net = Net(0)
    first = 0
    scores = net("Sigmoid", raw_map(net, 3, "classes"))
    for stride, count in zip((8, 16, 32), (64, 16, 4), strict=True):
        begin, end = (net.constant([k], np.int64) for k in (first, first + count))
        part = net("Slice", scores, begin, end, net.constant([1], np.int64))
        net.named(part, f"cls_{stride}", shape=["N", count, 3])
        first += count
    model = net.model()
    raw = run(model, picture())["raw_classes"][0]
    e = onnxplain.Explainer(without_raw(model), "saliency")(picture())
    place, label = np.unravel_index(np.argmax(raw), raw.shape)
    assert e.score[0] == pytest.approx(raw.max(), abs=1e-4)
    assert tuple(e.targets[0].places[0]) == (place, label)
    cell, size = (grid()[k][place] for k in (0, 1))
    assert e.targets[0].box == pytest.approx([*(cell * size), *((cell + 1) * size)])
    with pytest.raises(onnxplain.InvalidInputError, match="expected the boxes' coordinates"):
        onnxplain.Explainer(without_raw(model), "saliency", score="box")(picture())


@pytest.mark.parametrize("form", ["yolov8", "yolox", "rtdetr_picked", "segment"])
def test_half_precision_inside(form):
    """As exporters write it: the net in float16 between two Casts, the outputs in float32."""
    x, whole = picture(), detector(form).model
    model = without_raw(whole)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    for one in model.graph.node:
        for names, own, other in (
            (one.input, "images", "half_in"),
            (one.output, "output", "half_"),
        ):
            for k, name in enumerate(names):
                if name == own or (own == "output" and name.startswith(own)):
                    names[k] = other if own == "images" else other + name
        for attribute in one.attribute:
            if one.op_type == "Cast" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16
    cast = onnx.helper.make_node
    model.graph.node.insert(0, cast("Cast", ["images"], ["half_in"], to=onnx.TensorProto.FLOAT16))
    for output in model.graph.output:
        last = cast("Cast", [f"half_{output.name}"], [output.name], to=onnx.TensorProto.FLOAT)
        model.graph.node.append(last)
    del model.graph.value_info[:]
    e = onnxplain.Explainer(model, "saliency", labels=list(NAMES))(x)
    right = onnxplain.Explainer(without_raw(whole), "saliency", labels=list(NAMES))(x)
    assert e.targets[0].label == right.targets[0].label
    assert e.score == pytest.approx(right.score, rel=0.02, abs=0.02)
    assert np.allclose(e.targets[0].box, right.targets[0].box, atol=0.5)


@pytest.mark.parametrize("form", ["yolov8", "yolox"])
def test_maps_see_more_than_the_boxs_own_cell(form):
    """Behind convolutions of 1 x 1 alone a score has a gradient in one cell: no picture of it."""
    net = Net(0)
    FORMS[form](net)
    nodes, model = net.nodes, net.model()
    # Heads as they are: a convolution of 3 x 3 and an activation ahead of the last one.
    ahead: dict[str, str] = {}
    for node_ in [n for n in nodes if n.op_type == "Conv" and n.attribute[0].ints[0] == 1]:
        source = node_.input[0]
        if source not in ahead:
            w = net.constant(net.random.normal(size=(6, 6, 3, 3)) / 6)
            made = onnx.helper.make_node("Conv", [source, w], [f"{source}_wide"], pads=[1] * 4)
            act = onnx.helper.make_node("Tanh", [made.output[0]], [f"{source}_seen"])
            place = next(k for k, n in enumerate(model.graph.node) if node_.output == n.output)
            model.graph.node.insert(place, act)
            model.graph.node.insert(place, made)
            model.graph.initializer.append(net.constants[-1])
            ahead[source] = act.output[0]
        own = next(n for n in model.graph.node if n.output == node_.output)
        own.input[0] = ahead[source]
    e = onnxplain.Explainer(without_raw(model), "hirescam")(picture())
    assert e.feature_map is not None
    assert all(name in ahead for name in e.feature_map.split(", "))
